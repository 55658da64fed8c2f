"""What each parameter does to a head's vertices, and how the head mirrors: both asked of the head as a function."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from mp2flame.data import FlameParams
from mp2flame.mapping.linear import N_ROTATIONS

if TYPE_CHECKING:
    from mp2flame.head import FlameHead

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

# Rotations are taken as linear about a slightly open jaw, by a difference of this many radians.
_OPEN_JAW = 0.1
_SMALL_TURN = 0.05
# More than this, and the mirrored mesh does not lie on the mesh.
_ASYMMETRY_M = 0.003


@lru_cache(maxsize=2)
def head_jacobian(head: FlameHead) -> Float32:
    """(E + 9, V, 3) metres that vertices move for one unit of each parameter, near a slightly open mouth."""
    e = head.n_expression
    base = np.zeros((1, e + N_ROTATIONS))
    base[0, e] = _OPEN_JAW
    result = np.zeros((e + N_ROTATIONS, head.n_vertices, 3), dtype=np.float32)
    for i in range(e + N_ROTATIONS):
        size = 1.0 if i < e else _SMALL_TURN
        pair = np.repeat(base, 2, axis=0)
        pair[:, i] += (size, -size)
        vertices = head(FlameParams.from_rows(pair))
        result[i] = (vertices[0] - vertices[1]) / (2 * size)
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
    if np.quantile(distance, 0.95) > _ASYMMETRY_M:
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
