"""What each parameter does to a head's vertices, and how the head mirrors: both asked of the head as a function."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from mp2flame.data import FlameParams
from mp2flame.mapping.linear import N_ROTATIONS

if TYPE_CHECKING:
    from mp2flame.head import FlameHead

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

_OPEN_JAW: Final = 0.1
"""Radians: rotations are taken as linear near a slightly open mouth."""
_ASYMMETRY: Final = 0.003
"""Meters, of the mirrored neutral mesh, above which a head counts as not symmetric."""


def vertex_jacobian(head: FlameHead, row: Float64, columns: Iterable[int], turn: float) -> Float64:
    """(C, V, 3) meters that vertices move for one unit of C parameters, by central differences.

    Args:
        head: the head.
        row: (E + 9,) the parameters about which to differentiate.
        columns: of the C parameters.
        turn: the step of rotations, radians.
    """
    steps = [(i, 1.0 if i < head.n_expression else turn) for i in columns]
    result = np.zeros((len(steps), head.n_vertices, 3))
    for place, (column, step) in enumerate(steps):
        pair = np.repeat(row[None], 2, axis=0)
        pair[:, column] += (step, -step)
        after, before = head(FlameParams.from_rows(pair)).astype(np.float64)
        result[place] = (after - before) / (2 * step)
    return result


@lru_cache(maxsize=2)
def head_jacobian(head: FlameHead) -> Float32:
    """(E + 9, V, 3) meters that vertices move for one unit of each parameter, near a slightly open mouth."""
    width = head.n_expression + N_ROTATIONS
    jacobian = vertex_jacobian(head, np.eye(width)[head.n_expression] * _OPEN_JAW, range(width), turn=0.05)
    result = jacobian.astype(np.float32)
    result.flags.writeable = False
    return result


@dataclass(frozen=True, eq=False)
class Symmetry:
    """How parameters mirror."""

    matrix: Float64
    """(E + 9, E + 9) such that `joined @ matrix` are the parameters of the mirrored face."""
    error_mm: float
    """The largest difference between a mirrored expression's vertices and those of its mirrored parameters."""


@lru_cache(maxsize=2)
def head_symmetry(head: FlameHead) -> Symmetry | None:
    """The mirror of a head's parameters, from the head's own left-right symmetry; None where it has none.

    Vertices are paired by where they mirror to on the neutral mesh. The mirror of an expression component is then the
    combination of components that moves the paired vertices as the mirrored component does, in the least-squares sense.
    """
    neutral = head.neutral_vertices.astype(np.float64)
    flip = np.array([-1.0, 1.0, 1.0])
    distance, partner = cKDTree(neutral).query(neutral * flip)
    if np.quantile(distance, 0.95) > _ASYMMETRY:
        return None
    e = head.n_expression
    basis = head_jacobian(head)[:e].astype(np.float64)
    mirrored = (basis[:, partner] * flip).reshape(e, -1)
    flat = basis.reshape(e, -1)
    # Components that move nothing measurable have no mirror; they stay zero.
    combination = np.linalg.pinv(flat @ flat.T, rcond=1e-9, hermitian=True) @ (flat @ mirrored.T)
    error = np.abs(combination.T @ flat - mirrored).max() * 1000
    matrix = np.zeros((e + N_ROTATIONS, e + N_ROTATIONS))
    matrix[:e, :e] = combination.T
    # A mirrored axis-angle keeps x (nodding) and negates y and z; the eyes change places.
    turn = np.diag([1.0, -1.0, -1.0])
    matrix[e : e + 3, e : e + 3] = turn
    matrix[e + 3 : e + 6, e + 6 :] = turn
    matrix[e + 6 :, e + 3 : e + 6] = turn
    return Symmetry(matrix, float(error))
