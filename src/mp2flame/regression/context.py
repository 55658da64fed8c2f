"""What every fit needs to know about its data's head: distance, mirror, description."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mp2flame.dataset.store import Dataset
from mp2flame.errors import HeadMismatchError, InputError
from mp2flame.geometry.symmetry import Symmetry, head_symmetry
from mp2flame.mapping.linear import N_ROTATIONS
from mp2flame.regression.mesh_loss import Metric, head_metric, plain_metric

if TYPE_CHECKING:
    from mp2flame.head import FlameHead

__all__ = ["Setting", "check_head"]

Float32 = NDArray[np.float32]


def check_head(data: Dataset, head: FlameHead) -> None:
    """Refuse a head that the data's parameters are not for.

    Raises:
        HeadMismatchError: the data states another head.
        InputError: the data has more coefficients than the head.
    """
    stated = str(data.metadata.get("head_hash") or "")
    if stated and stated != head.hash:
        raise HeadMismatchError(
            f"the data set's parameters are for {data.head_version or 'another head'} (hash {stated[:12]}); "
            f"the head given is {head.version} (hash {head.hash[:12]}): give the head that the data was tracked with"
        )
    if head.n_expression < data.n_expression:
        raise InputError(
            f"the data has {data.n_expression} expression coefficients and the head {head.n_expression}: "
            "give the head that the data was tracked with"
        )


@dataclass(frozen=True, eq=False)
class Setting:
    """A data set and the head that its parameters are for.

    Raises:
        InputError: the parameters cannot be for this head.
    """

    data: Dataset
    head: FlameHead | None
    log: Callable[[str], None]
    """Told in sentences what a user should know."""

    def __post_init__(self) -> None:
        if self.head is not None:
            check_head(self.data, self.head)

    @cached_property
    def symmetry(self) -> Symmetry | None:
        """How the data's parameters mirror; None, said once, where that cannot be told."""
        if self.head is None:
            self.log("without --head no mirrored faces are added: their parameters are found from the head's symmetry")
            return None
        symmetry = head_symmetry(self.head)
        if symmetry is None:
            self.log("this head is not symmetric enough to mirror: no mirrored faces are added")
            return None
        # The data may have only the first coefficients of the head.
        size = len(symmetry.matrix)
        keep = np.r_[0 : self.data.n_expression, size - N_ROTATIONS : size]
        return Symmetry(symmetry.matrix[np.ix_(keep, keep)], symmetry.error_mm)

    def metric(self, spread: Float32) -> Metric:
        """The distance to fit by: the head's, or in units of each parameter's spread (E + 9,)."""
        if self.head is None:
            return plain_metric(spread)
        directions = head_metric(self.head).directions
        return Metric(np.concatenate([directions[: self.data.n_expression], directions[-N_ROTATIONS:]]))

    def describe(self, frames: int, note: str) -> dict[str, str]:
        """Metadata for the mapping file."""
        return {
            "head_version": self.data.head_version or (self.head.version if self.head else ""),
            "head_hash": self.head.hash if self.head else str(self.data.metadata.get("head_hash") or ""),
            "training_subjects": str(len(self.data.subjects)),
            "training_frames": str(frames),
            "provenance": note,
        }
