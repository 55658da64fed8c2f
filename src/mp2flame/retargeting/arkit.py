"""Between ARKit's 52 weights and a head's parameters, both ways.

`arkit_mapping` goes from weights to parameters: each weight adds its shape's parameters. `ArkitSolver` goes back.

Letters: N frames, V vertices, K shapes that move the head.

For each frame the solver finds the weights w of 0 to 1 that minimize the squared distance of all vertices, |D w - m|²,
with D (3V, K) what the shapes do at weight 1 and m what the parameters do, both on the head's own identity and without
head rotation, plus the sum of c_k w_k (the lasso of Tibshirani 1996, which makes weights sparse, and follows m without
jumps). By the normal equations that is a small problem, whatever V: bounded least squares, solved by an active set
(Stark and Parker 1995, "Bounded-variable least squares").
"""

from __future__ import annotations

import json
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
from mp2flame.mapping import BlendshapeMapping, LinearMapping, check_compatible
from mp2flame.retargeting.registration import source_head
from mp2flame.retargeting.transfer import Transfer

_BATCH: Final = 128
"""Frames that are posed together."""
_DAMPING: Final = 1e-3
"""Ridge penalty relative to each shape's squared movement: shapes that do nearly the same share the weight."""
_SPARSITY: Final = 0.01
"""L1 penalty per shape, relative to its squared movement: weights below this vanish."""
_STILL: Final = 1e-4
"""Meters, root mean square over the vertices that move: a shape that moves less does not count."""


def arkit_mapping(head: FlameHead, transfer: Transfer, *, date: str = "") -> LinearMapping:
    """The parameters of ARKit's shapes as a mapping: zero scores give the neutral head.

    `tongueOut` is not among the scores that a mapping reads, and omitted shapes do nothing.

    Args:
        head: the head that the shapes were carried over to.
        transfer: the result of `transfer_shapes` for it.
        date: ISO 8601, for the file's metadata.
    """
    explained = {name: round(float(transfer.explained[ARKIT.index(name)]), 3) for name in transfer.made}
    metadata = {
        "head_version": head.version,
        "head_hash": head.hash,
        "training_subjects": "0",
        "training_frames": "0",
        "metrics": json.dumps({"explained": explained}, sort_keys=True),
        "licence": head.metadata.get("licence") or "the head's own",
        "date": date,
        "provenance": (
            f"ARKit's shapes of the built-in head (CC0-1.0, hash {source_head().hash[:12]}), carried over by "
            "deformation transfer; no images of people and no training data; omitted: "
            f"{', '.join(transfer.omitted) or 'none'}"
        ),
    }
    matrix = reorder(transfer.shapes.to_rows().T, ARKIT, MEDIAPIPE).T
    return LinearMapping(matrix=matrix, metadata=metadata)


def arkit_shapes(
    head: FlameHead, mapping: BlendshapeMapping | None = None, *, allow_head_mismatch: bool = False
) -> FlameParams:
    """The parameters of ARKit's 52 shapes, one row each in Apple's order.

    Args:
        head: the head.
        mapping: of this head, for sources that send ARKit's weights, as `mp2flame transfer` makes it; None takes the
            shapes of the head itself.
        allow_head_mismatch: do not check that the mapping was made for this head.

    Raises:
        InputError: the head has no shapes, or the mapping reads more than scores.
        HeadMismatchError: the mapping is another head's.
    """
    if mapping is None:
        return head.blendshapes()
    check_compatible(mapping, head, allow_mismatch=allow_head_mismatch)
    n = len(ARKIT)
    scores = reorder(np.eye(n), ARKIT, MEDIAPIPE)
    return mapping(Observation(time=np.zeros(n), found=np.ones(n, dtype=np.bool_), scores=scores))


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
        self._penalty = _SPARSITY * gram.diagonal()
        gram[np.diag_indices_from(gram)] *= 1 + _DAMPING
        self._factor = cholesky(gram)
        self._residual = self._total = 0.0

    @property
    def unexplained(self) -> float:
        """Of all frames so far: root mean square residual of the movement, relative to the movement."""
        return math.sqrt(self._residual / self._total) if self._total else 0.0

    def __call__(self, params: FlameParams, *, on_frame: Callable[[], None] | None = None) -> Observation:
        """The weights of N frames as scores, and the head's rotation without a position.

        Args:
            params: for this head; identity, rotation of the head and translation move no shape.
            on_frame: called after each frame.

        Raises:
            InputError: there are more coefficients than the head has.
        """
        weights = np.zeros((len(params), len(self.names)))
        rows = np.flatnonzero(params.found)
        for start in range(0, len(rows), _BATCH):
            batch = rows[start : start + _BATCH]
            moved = self._moves(params[batch])
            gradient = (moved @ self._shapes.T).astype(np.float64) - self._penalty
            targets = solve_triangular(self._factor, gradient.T, trans="T").T
            for row, target in zip(batch, targets, strict=True):
                weights[row] = lsq_linear(self._factor, target, bounds=(0.0, 1.0), method="bvls").x
                if on_frame is not None:
                    on_frame()
            self._residual += float(((moved - weights[batch] @ self._shapes) ** 2).sum())
            self._total += float((moved.astype(np.float64) ** 2).sum())
        transform = np.tile(np.eye(4, dtype=np.float32), (len(params), 1, 1))
        transform[:, :3, :3] = rotations.matrix(params.global_orient) @ rotations.matrix(params.neck_pose)
        scores = reorder(weights, self.names, MEDIAPIPE)
        return Observation(time=params.time, found=params.found, scores=scores, head_transform=transform)

    def _moves(self, params: FlameParams) -> NDArray[np.float32]:
        """(N, 3V) meters that the face moves, without head rotation, on the identity of the head."""
        moves: NDArray[np.float32] = self._head(FlameParams.from_rows(params.to_rows())) - self._head.neutral_vertices
        return moves.reshape(len(params), -1)
