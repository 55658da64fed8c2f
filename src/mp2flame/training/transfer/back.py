"""The way back: the weights of ARKit's shapes that move a head as FLAME parameters do.

Letters: N frames, V vertices, K shapes that move the head.

For each frame the weights w of 0 to 1 that minimise the squared distance of all vertices, |D w - m|², with D (3V, K)
what the shapes do at weight 1 and m what the parameters do, both on the mean identity that does not turn its head, plus
the sum of c_k w_k (the lasso of Tibshirani 1996, whose weights follow m without jumps): a face is said with few shapes,
where their sum would do with many. By the normal equations that is a small problem, whatever V: bounded least squares,
solved by an active set (Stark and Parker 1995, "Bounded-variable least squares").
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, solve_triangular
from scipy.optimize import lsq_linear

from mp2flame import rotations
from mp2flame.blendshapes import ARKIT, MEDIAPIPE
from mp2flame.errors import InputError
from mp2flame.head import FlameHead
from mp2flame.mapping import Mapping, check_head
from mp2flame.signals import N_SCORES, FlameParams, Observation

__all__ = ["ArkitSolver", "arkit_shapes"]

Float64 = NDArray[np.float64]

_FRAMES: Final = 128
"""Posed together."""
_DAMPING: Final = 1e-3
"""Of each shape's own squared movement. Shapes that nearly do the same share the work instead of fighting."""
_SPARE: Final = 0.01
"""Of a weight, which a shape loses that nothing else could replace: the price of using it. One that would bring less of
its movement than this is left out."""
_STILL: Final = 1e-4
"""Metres, root mean square over the vertices that move: a shape below it does nothing."""


def arkit_shapes(head: FlameHead, mapping: Mapping | None = None, *, any_head: bool = False) -> FlameParams:
    """The parameters of ARKit's 52 shapes, one row each in Apple's order.

    Args:
        head: the head.
        mapping: of this head, for sources that speak ARKit, as `mp2flame transfer` makes it; None asks the head itself.
        any_head: do not check that the mapping was made for this head.

    Raises:
        InputError: the head does not carry the shapes, or the mapping reads more than scores.
        HeadMismatchError: the mapping is another head's.
    """
    if mapping is None:
        return head.blendshapes()
    check_head(
        mapping, head_hash=head.hash, head_version=head.version, n_expression=head.n_expression, any_head=any_head
    )
    scores = np.zeros((len(ARKIT), N_SCORES), dtype=np.float32)
    for row, name in enumerate(ARKIT):
        if name in MEDIAPIPE:
            scores[row, MEDIAPIPE.index(name)] = 1.0
    n = len(ARKIT)
    return mapping(Observation(time=np.zeros(n), found=np.ones(n, dtype=np.bool_), scores=scores))


@dataclass(frozen=True, eq=False)
class _Shapes:
    """K shapes and their normal equations."""

    rows: tuple[int, ...]
    """Their places in MediaPipe's order."""
    moves: NDArray[np.float32]
    """(K, 3V) metres at weight 1."""
    factor: Float64
    """(K, K) upper triangular, its square the damped Gram matrix of the moves."""
    price: Float64
    """(K,) what a weight of 1 costs."""


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
        self._rest = np.ascontiguousarray(head(FlameParams.neutral(n_expression=head.n_expression))[0])
        moves = self._moves(shapes)
        moving = np.abs(moves).max(axis=0) > 0
        size = np.sqrt((moves**2).sum(axis=1) / max(1, moving.sum() / 3))
        usable = [i for i, name in enumerate(ARKIT) if name in MEDIAPIPE and size[i] > _STILL]
        if not usable:
            raise InputError(f"expected shapes that move the head ({head.version}); none does")
        chosen = moves[usable]
        gram = chosen.astype(np.float64) @ chosen.T
        price = _SPARE * gram.diagonal()
        gram[np.diag_indices_from(gram)] *= 1 + _DAMPING
        places = tuple(MEDIAPIPE.index(ARKIT[i]) for i in usable)
        self._shapes = _Shapes(places, chosen, cholesky(gram), price)
        self.names = tuple(ARKIT[i] for i in usable)
        """The shapes that this head makes; the others always get 0."""
        self.unexplained = 0.0
        """Of all frames so far: root mean square of the movement that is left, relative to all of it."""
        self._left = self._all = 0.0

    def __call__(self, params: FlameParams, *, on_frame: Callable[[], None] | None = None) -> Observation:
        """What a phone would have said of these N frames: scores, and the head's rotation without a place.

        Args:
            params: for this head; their identity, rotations of the head and translation move no shape.
            on_frame: called after each frame.

        Raises:
            InputError: there are more coefficients than the head has.
        """
        n = len(params)
        found = params.found & np.isfinite(params.expression).all(axis=1)
        scores = np.zeros((n, N_SCORES), dtype=np.float32)
        for row, weights in self._weights(params, np.flatnonzero(found)):
            scores[row, list(self._shapes.rows)] = weights
            if on_frame is not None:
                on_frame()
        transform = np.tile(np.eye(4, dtype=np.float32), (n, 1, 1))
        transform[:, :3, :3] = rotations.matrix(params.global_orient) @ rotations.matrix(params.neck_pose)
        return Observation(time=params.time, found=found, scores=scores, head_transform=transform)

    def _weights(self, params: FlameParams, rows: NDArray[np.intp]) -> Iterator[tuple[int, Float64]]:
        shapes = self._shapes
        for start in range(0, len(rows), _FRAMES):
            batch = rows[start : start + _FRAMES]
            moved = self._moves(params[batch])
            pull = (moved @ shapes.moves.T).astype(np.float64) - shapes.price
            right = solve_triangular(shapes.factor, pull.T, trans="T").T
            for row, move, target in zip(batch, moved, right, strict=True):
                weights = lsq_linear(shapes.factor, target, bounds=(0.0, 1.0), method="bvls").x
                self._left += float(((move - weights @ shapes.moves) ** 2).sum())
                self._all += float((move**2).sum())
                yield int(row), weights
        self.unexplained = float(np.sqrt(self._left / self._all)) if self._all else 0.0

    def _moves(self, params: FlameParams) -> NDArray[np.float32]:
        """(N, 3V) metres that the face moves, on the mean identity, with the head still."""
        face = FlameParams(
            time=params.time,
            found=params.found,
            expression=params.expression,
            jaw_pose=params.jaw_pose,
            leye_pose=params.leye_pose,
            reye_pose=params.reye_pose,
            shape=np.zeros(self._head.n_shape, dtype=np.float32),
        )
        moves: NDArray[np.float32] = np.ascontiguousarray(self._head(face)) - self._rest
        return moves.reshape(len(params), -1)
