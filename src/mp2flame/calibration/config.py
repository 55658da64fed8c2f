"""The amount of work in a calibration."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from mp2flame.errors import InputError
from mp2flame.regression.mlp import NetworkConfig

if TYPE_CHECKING:
    from mp2flame.head import FlameHead

_TRANSFERRED_STEPS: Final = 3000
"""Most training steps on faces of carried-over shapes: longer training fits the sampling of such faces, not faces."""


@dataclass(frozen=True, kw_only=True)
class CalibrationConfig:
    """The number of images, and the training of the networks."""

    subjects: int = 300
    """Identities to fit on."""
    held_out: int = 30
    """Identities to evaluate on, on which nothing is fitted."""
    images: int = 40
    """Of each subject, besides the neutral one."""
    network: NetworkConfig = field(default_factory=NetworkConfig)
    """For the mapping from landmarks."""

    def __post_init__(self) -> None:
        for name, least in {"subjects": 2, "held_out": 1, "images": 1}.items():
            if getattr(self, name) < least:
                raise InputError(f"expected {name} of at least {least}; got {getattr(self, name)}")

    def network_for(self, head: FlameHead) -> NetworkConfig:
        """The training for images of this head: shorter where its shapes are carried over from another head."""
        if head.arrays.blendshapes is not None:
            return self.network
        return replace(self.network, steps=min(self.network.steps, _TRANSFERRED_STEPS))


DEFAULT: Final = CalibrationConfig()
QUICK: Final = CalibrationConfig(subjects=75, held_out=10, images=32, network=NetworkConfig(steps=2500))
