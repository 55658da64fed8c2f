"""How far apart two sets of parameters are on the head itself: the loss that fits go by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mp2flame.geometry.face_regions import Regions, head_regions
from mp2flame.geometry.symmetry import head_jacobian
from mp2flame.mapping.linear import N_ROTATIONS

if TYPE_CHECKING:
    from mp2flame.head import FlameHead

__all__ = ["Metric", "head_metric", "plain_metric"]

Float32 = NDArray[np.float32]

_FACE_POINTS = 250
_REGION_POINTS = 50
# A radian of jaw or eye counts as this many millimetres of the whole face, so that 20 degrees of gaze weigh about as
# much as a strong expression.
_MM_PER_RADIAN = 3.0
_SMOOTH_MM = 1e-3


@dataclass(frozen=True, eq=False)
class Metric:
    """Mean distance, in millimetres, of sample points that move linearly with the parameters."""

    directions: Float32
    """(E + 9, P, 3) millimetres that each point moves for one unit of each parameter."""

    def loss_gradient(self, difference: Float32) -> Float32:
        """The gradient, by the difference, of the distance averaged over frames and points.

        The points' distances are not squared, so a fit by them goes for the median, which lets a face rest where
        the input says nothing.

        Args:
            difference: (N, E + 9) predicted minus true parameters.
        """
        n, p = len(difference), self.directions.shape[1]
        flat = self.directions.reshape(len(self.directions), -1)
        moved = (difference @ flat).reshape(n, p, 3)
        moved /= np.sqrt((moved * moved).sum(axis=2, keepdims=True) + np.float32(_SMOOTH_MM**2))
        gradient: Float32 = (moved.reshape(n, -1) @ flat.T) / np.float32(n * p)
        return gradient

    def distance(self, difference: Float32) -> float:
        """The distance in millimetres, averaged over frames and points."""
        flat = self.directions.reshape(len(self.directions), -1)
        moved = (difference @ flat).reshape(len(difference), -1, 3)
        return float(np.sqrt((moved * moved).sum(axis=2)).mean())


def _rotation_points(n_expression: int, count: int) -> Float32:
    """Points that jaw and eyes move and nothing else; together they weigh as much as all `count` other points."""
    each = count / 3
    points = np.zeros((n_expression + N_ROTATIONS, 3, 3), dtype=np.float32)
    for joint in range(3):
        for axis in range(3):
            points[n_expression + 3 * joint + axis, joint, axis] = _MM_PER_RADIAN * each
    return points


def head_metric(head: FlameHead) -> Metric:
    """The metric of a head: points spread over its face, more of them on lips, lids and brows."""
    regions = head_regions(head)
    rows = _sample(regions)
    directions = head_jacobian(head)[:, rows] * 1000
    extra = _rotation_points(head.n_expression, len(rows))
    return Metric(np.concatenate([directions, extra], axis=1).astype(np.float32))


def _sample(regions: Regions) -> NDArray[np.intp]:
    rng = np.random.default_rng(0)
    chosen = [rng.permutation(np.flatnonzero(regions["face"]))[:_FACE_POINTS]]
    chosen += [rng.permutation(np.flatnonzero(regions[name]))[:_REGION_POINTS] for name in ("lips", "lids", "brows")]
    return np.concatenate(chosen)


def plain_metric(spread: Float32) -> Metric:
    """The metric where no head is known: every parameter is a point of its own, in units of its spread.

    Args:
        spread: (E + 9,) standard deviation of each parameter in the data; zero where it never moves.
    """
    scale = np.where(spread > 0, 1 / np.maximum(spread, 1e-12), 0)
    directions = np.zeros((len(spread), len(spread), 3), dtype=np.float32)
    directions[np.arange(len(spread)), np.arange(len(spread)), 0] = scale
    return Metric(directions)
