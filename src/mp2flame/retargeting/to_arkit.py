"""The way back: the weights of ARKit's shapes that move a head as FLAME parameters do.

Letters: N frames, V vertices, K shapes that move the head.

For each frame the weights w of 0 to 1 that minimise the squared distance of all vertices, |D w - m|², with D (3V, K)
what the shapes do at weight 1 and m what the parameters do, both on the head's own identity and with the head still,
plus the sum of c_k w_k (the lasso of Tibshirani 1996, whose weights follow m without jumps): a face is said with few
shapes, where their sum would do with many. By the normal equations that is a small problem, whatever V: bounded least
squares, solved by an active set (Stark and Parker 1995, "Bounded-variable least squares").
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, solve_triangular
from scipy.optimize import lsq_linear

from mp2flame import rotations
from mp2flame.blendshapes import ARKIT, MEDIAPIPE, reorder
from mp2flame.data import FlameParams, Observation
from mp2flame.errors import InputError
from mp2flame.head import FlameHead
from mp2flame.mapping import BlendshapeMapping, check_compatible

__all__ = ["ArkitSolver", "arkit_shapes"]

_FRAMES: Final = 128
"""Posed together."""
_DAMPING: Final = 1e-3
"""Of each shape's own squared movement. Shapes that nearly do the same share the work instead of fighting."""
_SPARE: Final = 0.01
"""Of a weight, which a shape loses that nothing else could replace: the price of using it. One that would bring less of
its movement than this is left out."""
_STILL: Final = 1e-4
"""Metres, root mean square over the vertices that move: a shape below it does nothing."""


def arkit_shapes(
    head: FlameHead, mapping: BlendshapeMapping | None = None, *, allow_head_mismatch: bool = False
) -> FlameParams:
    """The parameters of ARKit's 52 shapes, one row each in Apple's order.

    Args:
        head: the head.
        mapping: of this head, for sources that speak ARKit, as `mp2flame transfer` makes it; None asks the head itself.
        allow_head_mismatch: do not check that the mapping was made for this head.

    Raises:
        InputError: the head does not carry the shapes, or the mapping reads more than scores.
        HeadMismatchError: the mapping is another head's.
    """
    if mapping is None:
        return head.blendshapes()
    check_compatible(mapping, head, allow_mismatch=allow_head_mismatch)
    n = len(ARKIT)
    one_by_one = reorder(np.eye(n), ARKIT, MEDIAPIPE)
    return mapping(Observation(time=np.zeros(n), found=np.ones(n, dtype=np.bool_), scores=one_by_one))


class ArkitSolver:
    """Parameters to weights of ARKit's shapes.

    Args:
        head: the head that the parameters are for.
        shapes: 52 rows in Apple's order, as `arkit_shapes` gives them.

    Raises:
        InputError: the shapes are not 52, or none moves the head.
    """

    def __init__(self, head: FlameHead, shapes: FlameParams) -> None:
        if len(shapes) != len(ARKIT):
            raise InputError(f"expected the {len(ARKIT)} shapes of ARKit; got {len(shapes)}")
        self._head = head
        moves = self._moves(shapes)
        moving = np.abs(moves).max(axis=0) > 0
        size = np.sqrt((moves**2).sum(axis=1) / max(1, moving.sum() / 3))
        usable = [i for i, name in enumerate(ARKIT) if name in MEDIAPIPE and size[i] > _STILL]
        if not usable:
            raise InputError(f"expected shapes that move the head ({head.version}); none does")
        self.names = tuple(ARKIT[i] for i in usable)
        """The K shapes that this head makes; the others always get 0."""
        self._shapes = moves[usable]
        gram = self._shapes.astype(np.float64) @ self._shapes.T
        self._price = _SPARE * gram.diagonal()
        gram[np.diag_indices_from(gram)] *= 1 + _DAMPING
        self._factor = cholesky(gram)
        self._left = self._all = 0.0

    @property
    def unexplained(self) -> float:
        """Of all frames so far: root mean square of the movement that is left, relative to all of it."""
        return math.sqrt(self._left / self._all) if self._all else 0.0

    def __call__(self, params: FlameParams, *, on_frame: Callable[[], None] | None = None) -> Observation:
        """What a phone would have said of these N frames: scores, and the head's rotation without a place.

        Args:
            params: for this head; their identity, rotations of the head and translation move no shape.
            on_frame: called after each frame.

        Raises:
            InputError: there are more coefficients than the head has.
        """
        weights = np.zeros((len(params), len(self.names)))
        rows = np.flatnonzero(params.found)
        for start in range(0, len(rows), _FRAMES):
            batch = rows[start : start + _FRAMES]
            moved = self._moves(params[batch])
            for row, target in zip(batch, self._targets(moved), strict=True):
                weights[row] = lsq_linear(self._factor, target, bounds=(0.0, 1.0), method="bvls").x
                if on_frame is not None:
                    on_frame()
            self._left += float(((moved - weights[batch] @ self._shapes) ** 2).sum())
            self._all += float((moved.astype(np.float64) ** 2).sum())
        transform = np.tile(np.eye(4, dtype=np.float32), (len(params), 1, 1))
        transform[:, :3, :3] = rotations.matrix(params.global_orient) @ rotations.matrix(params.neck_pose)
        scores = reorder(weights, self.names, MEDIAPIPE)
        return Observation(time=params.time, found=params.found, scores=scores, head_transform=transform)

    def _targets(self, moved: NDArray[np.float32]) -> NDArray[np.float64]:
        """(N, K) what the factor's product with the weights should be, for movements (N, 3V)."""
        pull = (moved @ self._shapes.T).astype(np.float64) - self._price
        targets: NDArray[np.float64] = solve_triangular(self._factor, pull.T, trans="T").T
        return targets

    def _moves(self, params: FlameParams) -> NDArray[np.float32]:
        """(N, 3V) metres that the face moves, with the head still, on the identity that the head has."""
        moves: NDArray[np.float32] = self._head(FlameParams.from_rows(params.to_rows())) - self._head.neutral_vertices
        return moves.reshape(len(params), -1)
