"""How much work a calibration takes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from mp2flame.errors import InputError
from mp2flame.regression.mlp import NetworkConfig

if TYPE_CHECKING:
    from mp2flame.head import FlameHead

__all__ = ["DEFAULT", "QUICK", "Quality"]

_CARRIED_STEPS: Final = 3000
"""Networks that learn longer on faces of carried-over shapes learn how such faces are drawn, rather than faces."""


@dataclass(frozen=True, kw_only=True)
class Quality:
    """How many pictures, and how long the networks learn."""

    people: int = 300
    """Identities to fit on."""
    held_out: int = 30
    """Identities that nothing is fitted on, to measure by."""
    frames: int = 40
    """Pictures of each, besides the one at rest."""
    rounds: int = 3
    """Rounds in which people are photographed; what the regression got wrong comes more often in the next."""
    networks: NetworkConfig = field(default_factory=NetworkConfig)
    """For the landmarks kind."""

    def __post_init__(self) -> None:
        least = {"people": 2, "held_out": 1, "frames": 1, "rounds": 1}
        for name, low in least.items():
            if getattr(self, name) < low:
                raise InputError(f"expected {name} of at least {low}; got {getattr(self, name)}")

    def by_round(self) -> list[range]:
        """The numbers of the people of each round, the held-out ones last in a list of their own."""
        rounds = min(self.rounds, self.people)
        edges = [self.people * i // rounds for i in range(rounds + 1)]
        spans = [range(edges[i], edges[i + 1]) for i in range(rounds)]
        return [*spans, range(self.people, self.people + self.held_out)]

    def networks_for(self, head: FlameHead) -> NetworkConfig:
        """How long networks learn on pictures of this head: shorter where its shapes are carried over."""
        if head.arrays.blendshapes is not None:
            return self.networks
        return replace(self.networks, steps=min(self.networks.steps, _CARRIED_STEPS))


DEFAULT: Final = Quality()
QUICK: Final = Quality(people=75, held_out=10, frames=32, rounds=2, networks=NetworkConfig(steps=2500))
