"""Registration of the built-in head's face to another head's: optimal-step non-rigid ICP.

Amberg, Romdhani and Vetter 2007, "Optimal step nonrigid ICP algorithms for surface registration" (CVPR). Every vertex
of the source has an affine map of its own, 3 x 4; a stiffness keeps the maps of neighbors alike and is reduced in
steps. Landmarks attract from the start; the surface attracts a vertex where it has a counterpart: a point near enough
that faces the same way, lies on the same lip, and is not on the boundary of the target, beyond which there is nothing.

Letters: V vertices of a head, S of its face, T of the source's face, F triangles, K landmarks, E edges, M shapes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.resources import as_file, files
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import splu

from mp2flame import rotations
from mp2flame.errors import InputError
from mp2flame.geometry.face_regions import EYE_DISTANCE, head_regions, head_scale, lip_labels
from mp2flame.geometry.mesh import (
    ClosestPoints,
    boundary_vertices,
    closest_points,
    connected_components,
    unique_edges,
    vertex_normals,
)
from mp2flame.head import FlameHead, load_head
from mp2flame.head.landmarks import LandmarkEmbedding, load_embedding

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

_N_SKIN_LANDMARKS: Final = 468  # the irises come after them
_MIN_LANDMARKS: Final = 20
_STIFFNESS: Final = (100.0, 30.0, 10.0, 4.0, 1.5, 0.6, 0.3)
_ROUNDS: Final = 2
"""With each stiffness."""
# Lengths are in eye distances.
_MAX_DISTANCE: Final = 0.25
"""Of a counterpart at the first stiffness; falls to a fifth."""
_LANDMARK_WEIGHT: Final = 3.0
"""Of a landmark without error, in vertices; a landmark whose spread is `_SPREAD_MM` weighs half as much."""
_SPREAD_MM: Final = 0.8
_ON_BOUNDARY: Final = 1e-6
"""A barycentric weight up to which a vertex does not count."""
_REGULARIZATION: Final = 1e-6
"""Towards the identity map, for what neither landmarks nor surface determine."""
_ATTACHED: Final = 0.08
"""Distance from the registered surface up to which a vertex follows it."""
_ATTACHED_AT_BOUNDARY: Final = 0.016
"""The same for a vertex whose closest point is on the boundary."""


@lru_cache(maxsize=1)
def source_head() -> FlameHead:
    """The head whose shapes are carried over: the built-in one."""
    return load_head("builtin")


@lru_cache(maxsize=1)
def source_landmarks() -> LandmarkEmbedding:
    """MediaPipe's landmarks on that head, as `find_landmarks` found them."""
    with as_file(files("mp2flame.retargeting") / "assets" / "builtin_landmarks.npz") as path:
        return load_embedding(path)


@dataclass(frozen=True, eq=False)
class FaceSurface:
    """The skin of a neutral face as a mesh of its own; meters."""

    vertices: Float64
    """(S, 3)."""
    triangles: Int64
    """(F, 3) into `vertices`."""
    rows: Int64
    """(S,) which vertices of the head these are."""
    lip: NDArray[np.int8]
    """(S,) 1 on the upper lip, 2 on the lower, 0 elsewhere."""
    landmark: Int64
    """(K,) the MediaPipe landmarks that lie on the skin."""
    corners: Int64
    """(K, 3) into `vertices`: the corners of each landmark's triangle."""
    barycentric: Float64
    """(K, 3)."""
    spread: Float64
    """(K,) meters by which MediaPipe misses each landmark."""
    eye_distance: float
    """Meters between the eyes' centers."""

    @property
    def triangle_lip(self) -> NDArray[np.int8]:
        """(F,) `lip` of the triangles: that of any corner that has one."""
        labels: NDArray[np.int8] = self.lip[self.triangles].max(axis=1)
        return labels

    @cached_property
    def boundary(self) -> NDArray[np.bool_]:
        """(S,) on the boundary of the mesh."""
        return boundary_vertices(self.triangles, len(self.vertices))

    def landmarks(self, vertices: Float64) -> Float64:
        """(K, 3) the landmarks when the vertices are at `vertices` (S, 3)."""
        positions: Float64 = np.einsum("kc,kcd->kd", self.barycentric, vertices[self.corners])
        return positions


def face_surface(head: FlameHead, embedding: LandmarkEmbedding) -> FaceSurface:
    """The skin of a head's face, at the identity that is baked in.

    Raises:
        HeadMismatchError, InputError: the landmarks are another head's, or the head has no face.
    """
    embedding.check_head(head)
    neutral, faces = head.neutral_vertices.astype(np.float64), head.faces.astype(np.int64)
    triangles = faces[head_regions(head)["face"][faces].all(axis=1)]
    # The largest component: the skin without tear ducts and the like.
    component = connected_components(triangles, len(neutral))[triangles[:, 0]]
    triangles = triangles[component == np.bincount(component).argmax()]
    rows = np.unique(triangles)
    place = np.full(len(neutral), -1)
    place[rows] = np.arange(len(rows))
    corners = place[embedding.corners(faces)]
    on_skin = (corners >= 0).all(axis=1) & (embedding.landmark_index < _N_SKIN_LANDMARKS)
    spread = np.full(len(embedding), 1e-3) if embedding.spread is None else embedding.spread
    return FaceSurface(
        vertices=neutral[rows],
        triangles=place[triangles],
        rows=rows,
        lip=lip_labels(head)[rows],
        landmark=embedding.landmark_index[on_skin],
        corners=corners[on_skin],
        barycentric=embedding.barycentric[on_skin],
        spread=spread[on_skin],
        eye_distance=EYE_DISTANCE * head_scale(head),
    )


@dataclass(frozen=True, eq=False)
class Correspondence:
    """The built-in head's face, registered to another head's."""

    source: FaceSurface
    """The built-in head's."""
    target: FaceSurface
    """The other head's."""
    registered: Float64
    """(T, 3) meters: where the built-in head's vertices lie on the other head."""
    closest: ClosestPoints
    """For each of the S vertices, its counterpart on the built-in head's face."""
    attached: NDArray[np.bool_]
    """(S,) which vertices have a counterpart."""
    beyond: NDArray[np.bool_]
    """(S,) which lie past the boundary of the built-in head's face: ears, neck."""

    def carry(self, values: Float64) -> Float64:
        """Values (M, T, D) of the built-in head's vertices at the other head's (M, S, D); zero where not attached."""
        corners = self.source.triangles[self.closest.triangle]
        at = np.einsum("sc,mscd->msd", self.closest.barycentric, values[:, corners])
        carried: Float64 = np.where(self.attached[:, None], at, 0.0)
        return carried

    def regions(self, head: FlameHead) -> Mapping[str, NDArray[np.bool_]]:
        """The built-in head's region masks (V,) on the other head, by the names in `REGIONS`."""
        masks = {}
        for name, own in head_regions(source_head()).items():
            fraction = self.carry(own[self.source.rows].astype(np.float64)[None, :, None])[0, :, 0]
            mask = np.zeros(head.n_vertices, dtype=np.bool_)
            mask[self.target.rows[self.attached & (fraction > 0.5)]] = True
            masks[name] = mask
        return MappingProxyType(masks)


def correspond(head: FlameHead, embedding: LandmarkEmbedding) -> Correspondence:
    """Register the built-in head's face to that of a head.

    Args:
        head: any head, at the identity that is baked in.
        embedding: where MediaPipe's landmarks lie on it, see `find_landmarks`.

    Raises:
        HeadMismatchError: the landmarks are another head's.
        InputError: the head has no face, or eyes that do not turn, or too few landmarks are known.
    """
    source, target = face_surface(source_head(), source_landmarks()), face_surface(head, embedding)
    registered = register(source, target)
    closest = closest_points(
        target.vertices,
        registered,
        source.triangles,
        normals=vertex_normals(target.vertices, target.triangles),
        labels=(target.lip, source.triangle_lip),
    )
    near = closest.distance < _ATTACHED * target.eye_distance
    at_boundary = ~_inside(source, closest)
    attached: NDArray[np.bool_] = near & (
        ~at_boundary | (closest.distance < _ATTACHED_AT_BOUNDARY * target.eye_distance)
    )
    return Correspondence(source, target, registered, closest, attached, at_boundary & ~near)


def _inside(surface: FaceSurface, closest: ClosestPoints) -> NDArray[np.bool_]:
    """Whether closest points lie off the boundary of the surface."""
    inner = ~surface.boundary[surface.triangles[closest.triangle]] & (closest.barycentric > _ON_BOUNDARY)
    return np.asarray(inner.any(axis=1))


def register(source: FaceSurface, target: FaceSurface) -> Float64:
    """Where the source's vertices go (S, 3), meters, so that its surface lies on the target's.

    Raises:
        InputError: the two share too few landmarks.
    """
    _, own, other = np.intersect1d(source.landmark, target.landmark, return_indices=True)
    if len(own) < _MIN_LANDMARKS:
        raise InputError(f"expected at least {_MIN_LANDMARKS} landmarks on both faces; got {len(own)}")
    unit = target.eye_distance
    vertices, triangle_lip = target.vertices / unit, target.triangle_lip
    goals = target.landmarks(vertices)[other]
    spread_mm = np.hypot(source.spread[own], target.spread[other]) * 1000
    weight = _LANDMARK_WEIGHT / (1 + (spread_mm / _SPREAD_MM) ** 2)
    start = source.vertices / unit
    moved = _similarity(source.landmarks(start)[own], goals, weight, start)
    solver = _Solver(moved, source, own, weight, goals)
    for step, stiffness in enumerate(_STIFFNESS):
        reach = _MAX_DISTANCE * 0.2 ** (step / (len(_STIFFNESS) - 1))
        for _ in range(_ROUNDS):
            closest = closest_points(
                moved,
                vertices,
                target.triangles,
                normals=vertex_normals(moved, source.triangles),
                labels=(source.lip, triangle_lip),
                max_distance=reach,
            )
            # A closest point on the boundary means that the target ends there, or that the source's own boundary lies
            # beyond it.
            used = (closest.distance < reach) & _inside(target, closest)
            corners = vertices[target.triangles[closest.triangle]]
            moved = solver.solve(stiffness, used, np.einsum("sc,scd->sd", closest.barycentric, corners))
    return moved * unit


def _similarity(points: Float64, goals: Float64, weight: Float64, vertices: Float64) -> Float64:
    """`vertices` moved by the similarity transform that takes points closest to goals (Umeyama 1991)."""
    share = (weight / weight.sum())[:, None]
    middle, end = (share * points).sum(axis=0), (share * goals).sum(axis=0)
    centered = points - middle
    covariance = (share * (goals - end)).T @ centered
    turn = rotations.nearest_rotation(covariance)
    scale = np.trace(turn.T @ covariance) / (share * centered**2).sum()
    moved: Float64 = scale * (vertices - middle) @ turn.T + end
    return moved


class _Solver:
    """The normal equations of all affine maps (4 S unknowns for each of x, y, z); constant parts are computed once."""

    def __init__(self, start: Float64, source: FaceSurface, own: Int64, weight: Float64, goals: Float64) -> None:
        n = len(start)
        points = np.concatenate([start, np.ones((n, 1))], axis=1)
        edges = unique_edges(source.triangles)[0]
        signs = np.tile([1.0, -1.0], len(edges))
        incidence = sparse.csr_matrix((signs, (np.repeat(np.arange(len(edges)), 2), edges.ravel())), (len(edges), n))
        laplacian = incidence.T @ incidence
        self._order = (_elimination_order(laplacian)[:, None] * 4 + np.arange(4)).ravel()
        self._stiffness = sparse.kron(laplacian, sparse.eye(4), format="csc")
        values = source.barycentric[own][:, :, None] * points[source.corners[own]]
        columns = source.corners[own][:, :, None] * 4 + np.arange(4)
        rows = np.repeat(np.arange(len(own)), 12)
        landmarks = sparse.csr_matrix((values.ravel(), (rows, columns.ravel())), (len(own), 4 * n))
        weighted = landmarks.multiply(weight[:, None]).tocsr()
        self._left, self._right = (landmarks.T @ weighted).tocsc(), weighted.T @ goals
        self._left += _REGULARIZATION * sparse.eye(4 * n)
        self._right += _REGULARIZATION * np.tile(np.eye(4)[:, :3], (n, 1))
        self._vertices = sparse.csr_matrix((points.ravel(), (np.repeat(np.arange(n), 4), np.arange(4 * n))), (n, 4 * n))

    def solve(self, stiffness: float, used: NDArray[np.bool_], goals: Float64) -> Float64:
        """(S, 3) the vertices under the maps that balance stiffness, landmarks and, where used, goals (S, 3)."""
        weighted = self._vertices.multiply(used[:, None].astype(np.float64)).tocsr()
        left = stiffness * self._stiffness + self._left + (self._vertices.T @ weighted).tocsc()
        right = weighted.T @ goals + self._right
        order = self._order
        left = left.tocsr()[order][:, order].tocsc()
        factor = splu(left, permc_spec="NATURAL", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
        maps = np.zeros_like(right)
        maps[order] = factor.solve(right[order])
        moved: Float64 = self._vertices @ maps
        return moved


def _elimination_order(laplacian: sparse.csr_matrix) -> Int64:
    """An order of the vertices with little fill-in (minimum degree), which also serves four unknowns of each."""
    matrix = (laplacian + sparse.eye(laplacian.shape[0])).tocsc()
    factor = splu(matrix, permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True})
    order: Int64 = np.argsort(factor.perm_c)
    return order
