"""One face's surface laid on another: optimal-step non-rigid ICP (Amberg, Romdhani and Vetter 2007, CVPR).

Every vertex of the source has an affine map of its own, 3 x 4; neighbours' maps are kept alike by a stiffness that is
let go step by step. Landmarks pull from the start; the surface pulls where a vertex has a counterpart: a point near
enough that faces the same way, lies on the same lip, and is not on the target's rim, beyond which there is nothing.

Letters: S vertices of the source, K landmarks that both have, E edges. Lengths are in eye distances.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import splu

from mp2flame import rotations
from mp2flame.errors import InputError
from mp2flame.geometry.mesh import closest_points
from mp2flame.retargeting.face_surface import Skin, vertex_normals

__all__ = ["register"]

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

_STIFFNESS: Final = (100.0, 30.0, 10.0, 4.0, 1.5, 0.6, 0.3)
_ROUNDS: Final = 2
_REACH: Final = 0.25
"""How far off a counterpart may be at the first stiffness; falls to a fifth."""
_SURE_MM: Final = 0.8
"""A landmark whose spread is this many millimetres weighs as much as this many vertices do:"""
_LANDMARK_WEIGHT: Final = 3.0
_MIN_LANDMARKS: Final = 20
_TOUCH: Final = 1e-6
_FIRMNESS: Final = 1e-6
"""Towards the map that changes nothing, for what neither landmarks nor surface say."""


@dataclass(frozen=True, eq=False)
class _Pull:
    """Where vertices should go: (S,) weights and (S, 3) goals."""

    weight: Float64
    goal: Float64


class _Target:
    """The surface that pulls."""

    def __init__(self, source: Skin, target: Skin) -> None:
        self._source = source
        self._vertices = target.vertices / target.eye_distance
        self._triangles, self._rim, self._lip = target.triangles, target.rim, target.triangle_lip

    def pull(self, moved: Float64, reach: float) -> _Pull:
        """What the surface says of vertices that are now at `moved` (S, 3)."""
        nearest = closest_points(
            moved,
            self._vertices,
            self._triangles,
            normals=vertex_normals(moved, self._source.triangles),
            max_distance=reach,
            labels=(self._source.lip, self._lip),
        )
        corners = self._triangles[nearest.triangle]
        goal = np.einsum("sc,scd->sd", nearest.barycentric, self._vertices[corners])
        # A nearest point on the rim means that the target ends there, or that the source's own rim is beyond it.
        inner = ~self._rim[corners] & (nearest.barycentric > _TOUCH)
        used = (nearest.distance < reach) & inner.any(axis=1)
        return _Pull(used.astype(np.float64), goal)


def register(source: Skin, target: Skin) -> Float64:
    """Where the source's vertices go (S, 3), metres, so that its surface lies on the target's.

    Args:
        source: the surface that moves.
        target: the surface that it is laid on.

    Raises:
        InputError: the two share too few landmarks.
    """
    _, own, other = np.intersect1d(source.landmark, target.landmark, return_indices=True)
    if len(own) < _MIN_LANDMARKS:
        raise InputError(f"expected at least {_MIN_LANDMARKS} landmarks on both faces; got {len(own)}")
    unit = target.eye_distance
    goals = target.landmarks(target.vertices)[other] / unit
    spread = np.hypot(source.spread[own], target.spread[other]) * 1000
    weight = _LANDMARK_WEIGHT / (1 + (spread / _SURE_MM) ** 2)
    start = source.vertices / unit
    moved = _similarity(source.landmarks(start)[own], goals, weight, start)
    solver = _Solver(moved, source, own, weight, goals)
    surface = _Target(source, target)
    for step, stiffness in enumerate(_STIFFNESS):
        reach = _REACH * 0.2 ** (step / (len(_STIFFNESS) - 1))
        for _ in range(_ROUNDS):
            moved = solver.solve(stiffness, surface.pull(moved, reach))
    return moved * unit


def _similarity(points: Float64, goals: Float64, weight: Float64, vertices: Float64) -> Float64:
    """`vertices` moved by the similarity that takes points nearest to goals (Umeyama 1991)."""
    share = (weight / weight.sum())[:, None]
    middle, end = (share * points).sum(axis=0), (share * goals).sum(axis=0)
    centred = points - middle
    covariance = (share * (goals - end)).T @ centred
    turn = rotations.nearest_rotation(covariance)
    scale = np.trace(turn.T @ covariance) / (share * centred**2).sum()
    result: Float64 = scale * (vertices - middle) @ turn.T + end
    return result


class _Solver:
    """The normal equations of all affine maps (4 S unknowns for each of x, y, z), with what stays the same kept."""

    def __init__(self, start: Float64, source: Skin, own: Int64, weight: Float64, goals: Float64) -> None:
        n = len(start)
        self._points = np.concatenate([start, np.ones((n, 1))], axis=1)
        edges = np.unique(np.sort(source.triangles[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1), axis=0)
        rows = np.repeat(np.arange(len(edges)), 2)
        signs = np.tile([1.0, -1.0], len(edges))
        incidence = sparse.csr_matrix((signs, (rows, edges.ravel())), shape=(len(edges), n))
        laplacian = incidence.T @ incidence
        self._order = (_elimination(laplacian)[:, None] * 4 + np.arange(4)).ravel()
        self._stiff = sparse.kron(laplacian, sparse.eye(4), format="csc")
        values = source.barycentric[own][:, :, None] * self._points[source.corners[own]]
        columns = source.corners[own][:, :, None] * 4 + np.arange(4)
        rows = np.repeat(np.arange(len(own)), 12)
        marks = sparse.csr_matrix((values.ravel(), (rows, columns.ravel())), shape=(len(own), 4 * n))
        weighted = marks.multiply(weight[:, None]).tocsr()
        self._marks = (marks.T @ weighted).tocsc()
        self._marks_right = weighted.T @ goals
        self._same = np.tile(np.eye(4)[:, :3], (n, 1))
        self._columns = (np.arange(n)[:, None] * 4 + np.arange(4)).ravel()
        self._design = sparse.csr_matrix(
            (self._points.ravel(), (np.repeat(np.arange(n), 4), self._columns)), shape=(n, 4 * n)
        )

    def solve(self, stiffness: float, pull: _Pull) -> Float64:
        """(S, 3) the vertices under the maps that balance stiffness, landmarks and the surface."""
        weighted = self._design.multiply(pull.weight[:, None]).tocsr()
        left = stiffness * self._stiff + self._marks + (self._design.T @ weighted).tocsc()
        right = weighted.T @ pull.goal + self._marks_right
        order = self._order
        left = (left + _FIRMNESS * sparse.eye(left.shape[0])).tocsr()[order][:, order].tocsc()
        factor = splu(left, permc_spec="NATURAL", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
        maps = np.zeros_like(right)
        maps[order] = factor.solve((right + _FIRMNESS * self._same)[order])
        result: Float64 = self._design @ maps
        return result


def _elimination(laplacian: sparse.csr_matrix) -> Int64:
    """An order of the vertices in which elimination fills in little (minimum degree); fit for four unknowns each."""
    size = laplacian.shape[0]
    factor = splu((laplacian + sparse.eye(size)).tocsc(), permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True})
    result: Int64 = np.argsort(factor.perm_c)
    return result
