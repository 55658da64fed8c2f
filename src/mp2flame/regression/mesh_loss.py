"""The loss of the fits: the distance on the head between two sets of parameters, which is linear in their difference.

Letters: N frames, E expression coefficients, P = E + 9 parameters, V vertices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mp2flame.geometry.face_regions import head_regions
from mp2flame.geometry.symmetry import head_jacobian
from mp2flame.mapping.linear import N_ROTATIONS

if TYPE_CHECKING:
    from mp2flame.head import FlameHead

Float32 = NDArray[np.float32]

_FACE_POINTS = 250
_REGION_POINTS = 50
_MM_PER_RADIAN = 3.0
"""A radian of jaw or eye counts as this many millimeters of the whole face, so that 20 degrees of gaze weigh about as
much as a strong expression."""
_SMOOTH_MM = 1e-3


@dataclass(frozen=True, eq=False)
class MeshLoss:
    """Mean distance, in millimeters, of sample points that move linearly with the parameters."""

    directions: Float32
    """(P, K, 3) millimeters that each of K points moves for one unit of each parameter."""

    def gradient(self, difference: Float32) -> Float32:
        """The gradient, by the difference, of the distance averaged over frames and points.

        The distances are not squared, so a fit by them estimates the median, which leaves a face neutral where the
        input carries no information.

        Args:
            difference: (N, P) predicted minus true parameters.
        """
        n, k = len(difference), self.directions.shape[1]
        flat = self.directions.reshape(len(self.directions), -1)
        moved = (difference @ flat).reshape(n, k, 3)
        moved /= np.sqrt((moved * moved).sum(axis=2, keepdims=True) + np.float32(_SMOOTH_MM**2))
        gradient: Float32 = (moved.reshape(n, -1) @ flat.T) / np.float32(n * k)
        return gradient

    def distance(self, difference: Float32) -> float:
        """The distance in millimeters, averaged over frames and points."""
        flat = self.directions.reshape(len(self.directions), -1)
        moved = (difference @ flat).reshape(len(difference), -1, 3)
        return float(np.sqrt((moved * moved).sum(axis=2)).mean())

    def scaled(self, unit: Float32) -> MeshLoss:
        """The same loss for parameters in the given units (P,)."""
        return MeshLoss(self.directions * unit[:, None, None])

    def for_coefficients(self, n_expression: int) -> MeshLoss:
        """The same loss for the first `n_expression` coefficients and the rotations."""
        return MeshLoss(np.concatenate([self.directions[:n_expression], self.directions[-N_ROTATIONS:]]))


def head_loss(head: FlameHead) -> MeshLoss:
    """The loss of a head: points spread over its face, more of them on lips, lids and brows, and its rotations."""
    rng, regions = np.random.default_rng(0), head_regions(head)
    counts = {"face": _FACE_POINTS, "lips": _REGION_POINTS, "lids": _REGION_POINTS, "brows": _REGION_POINTS}
    rows = np.concatenate([rng.permutation(np.flatnonzero(regions[name]))[:n] for name, n in counts.items()])
    directions = head_jacobian(head)[:, rows] * 1000
    # Each of three joints has a point that it alone moves; together they weigh as much as all other points.
    turns = np.zeros((len(directions), 3, 3), dtype=np.float32)
    for column in range(N_ROTATIONS):
        turns[head.n_expression + column, column // 3, column % 3] = _MM_PER_RADIAN * len(rows) / 3
    return MeshLoss(np.concatenate([directions, turns], axis=1).astype(np.float32))


def plain_loss(spread: Float32) -> MeshLoss:
    """The loss where no head is known: every parameter is a point of its own, in units of its spread.

    Args:
        spread: (P,) standard deviation of each parameter in the data; zero where it never moves.
    """
    scale = np.where(spread > 0, 1 / np.maximum(spread, 1e-12), 0)
    directions = np.zeros((len(spread), len(spread), 3), dtype=np.float32)
    directions[np.arange(len(spread)), np.arange(len(spread)), 0] = scale
    return MeshLoss(directions)
