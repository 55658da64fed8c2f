"""Triangle meshes: normals, boundary, connected components, closest points and ray casting.

Letters: V vertices, F triangles, P points, K rays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_matrix, csgraph
from scipy.spatial import cKDTree

from mp2flame.errors import MissingExtraError

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

_CANDIDATES: Final = 8
"""Triangles per point that the first search for the closest point considers; it is repeated with more where needed."""
_BATCH: Final = 1 << 18
"""Pairs of a point and a candidate triangle that are in memory at once."""
_RAY_LENGTH: Final = 10.0
"""Meters."""


def triangle_areas_and_normals(corners: Float64) -> tuple[Float64, Float64]:
    """Areas (F,) and unit normals (F, 3) of triangles with corners (F, 3, 3), counter-clockwise from outside."""
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(cross, axis=1)
    return length / 2, cross / np.maximum(length, 1e-30)[:, None]


def vertex_normals(vertices: Float64, triangles: Int64) -> Float64:
    """(V, 3) unit normals: the mean normal of the adjacent triangles, weighted by their areas."""
    area, normal = triangle_areas_and_normals(vertices[triangles])
    total = np.zeros_like(vertices)
    for corner in range(3):
        np.add.at(total, triangles[:, corner], area[:, None] * normal)
    result: Float64 = total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)
    return result


def unique_edges(triangles: Int64) -> tuple[Int64, Int64]:
    """The edges (E, 2) of a mesh, lower vertex first, and the number of triangles (E,) at each."""
    edges = np.sort(triangles[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    unique, count = np.unique(edges, axis=0, return_counts=True)
    return unique, count


def boundary_vertices(triangles: Int64, n_vertices: int) -> NDArray[np.bool_]:
    """(V,) the vertices of edges that belong to one triangle only."""
    edges, count = unique_edges(triangles)
    mask = np.zeros(n_vertices, dtype=np.bool_)
    mask[edges[count == 1].ravel()] = True
    return mask


def connected_components(triangles: NDArray[np.integer], n_vertices: int) -> Int64:
    """(V,) the number of the connected component of each vertex: skin, eyeballs, lashes or teeth of a head."""
    ends = triangles.astype(np.int64).ravel(), np.roll(triangles.astype(np.int64), 1, axis=1).ravel()
    edges = coo_matrix((np.ones(triangles.size), ends), shape=(n_vertices, n_vertices))
    return np.asarray(csgraph.connected_components(edges, directed=False)[1], dtype=np.int64)


@dataclass(frozen=True, eq=False)
class ClosestPoints:
    """The closest point of a mesh for each of P points."""

    triangle: Int64
    """(P,) the triangle that it lies on."""
    barycentric: Float64
    """(P, 3) the weights of the triangle's corners."""
    distance: Float64
    """(P,) its distance; infinite where no triangle is allowed."""


def closest_points(
    points: Float64,
    vertices: Float64,
    triangles: Int64,
    *,
    normals: Float64 | None = None,
    labels: tuple[NDArray[np.int8], NDArray[np.int8]] | None = None,
    min_cosine: float = 0.3,
    max_distance: float = np.inf,
) -> ClosestPoints:
    """The closest point of a mesh among the triangles that are allowed for each point.

    Exact up to `max_distance`: the triangles with the nearest centroids are searched first, and more of them until no
    triangle that is left out can be closer.

    Args:
        points: (P, 3).
        vertices: (V, 3) of the mesh.
        triangles: (F, 3).
        normals: (P, 3) unit normals at the points; triangles whose normals differ too much are not allowed.
        labels: of points (P,) and of triangles (F,), 0 for none; two labels must not differ.
        min_cosine: least cosine of the angle between the normals.
        max_distance: the search may stop at this distance; what is farther may be reported as farther than it is.
    """
    corners = vertices[triangles]
    centroids = corners.mean(axis=1)
    radius = np.linalg.norm(corners - centroids[:, None], axis=2).max(axis=1)
    facing = triangle_areas_and_normals(corners)[1]
    result = ClosestPoints(
        np.zeros(len(points), dtype=np.int64), np.zeros((len(points), 3)), np.full(len(points), np.inf)
    )

    def allowed(rows: Int64, candidates: Int64) -> NDArray[np.bool_]:
        mask = np.ones(len(rows), dtype=np.bool_)
        if normals is not None:
            mask &= (normals[rows] * facing[candidates]).sum(axis=1) >= min_cosine
        if labels is not None:
            own, other = labels[0][rows], labels[1][candidates]
            mask &= (own == 0) | (other == 0) | (own == other)
        return mask

    # A triangle of radius r about its centroid can only be closer than d where its centroid is closer than d + r. So
    # triangles of like size are searched together, centroids in rising distance.
    band = np.floor(np.log2(radius / radius.max())).astype(np.int64)
    for size in np.unique(band):
        members = np.flatnonzero(band == size)
        tree, reach = cKDTree(centroids[members]), float(radius[members].max())
        rows, count = np.arange(len(points)), min(_CANDIDATES, len(members))
        while len(rows):
            unfinished = []
            for batch in np.array_split(rows, 1 + len(rows) * count // _BATCH):
                bound = np.minimum(result.distance[batch], max_distance) + reach
                away, nearest = tree.query(points[batch], k=np.arange(1, count + 1))
                place, column = np.nonzero(away < bound[:, None])
                candidates = members[nearest[place, column]]
                good = allowed(batch[place], candidates)
                _update(result, batch[place[good]], candidates[good], points, corners)
                bound = np.minimum(result.distance[batch], max_distance) + reach
                unfinished.append(batch[away[:, -1] < bound])
            rows = np.concatenate(unfinished) if count < len(members) else rows[:0]
            count = min(4 * count, len(members))
    return result


def _update(result: ClosestPoints, rows: Int64, triangles: Int64, points: Float64, corners: Float64) -> None:
    """Replace each point's result by the closest of these pairs (rows, triangles) where that is closer."""
    try:
        import trimesh
    except ImportError as error:  # pragma: no cover - exercised by the bare-install test
        raise MissingExtraError("trimesh", "render", "find closest points") from error
    if not len(rows):
        return
    feet = trimesh.triangles.closest_point(corners[triangles], points[rows])
    distances = np.linalg.norm(points[rows] - feet, axis=1)
    order = np.lexsort((distances, rows))
    first = order[np.unique(rows[order], return_index=True)[1]]
    first = first[distances[first] < result.distance[rows[first]]]
    weights = trimesh.triangles.points_to_barycentric(corners[triangles[first]], feet[first]).clip(0, 1)
    result.triangle[rows[first]] = triangles[first]
    result.barycentric[rows[first]] = weights / weights.sum(axis=1, keepdims=True)
    result.distance[rows[first]] = distances[first]


@dataclass(frozen=True, eq=False)
class RayHits:
    """The first intersection of each of K rays with a mesh."""

    triangle: Int64
    """(K,) -1 where a ray meets no triangle."""
    barycentric: Float64
    """(K, 3) weights of the triangle's corners; NaN where a ray meets no triangle."""
    cosine: Float64
    """(K,) absolute cosine between ray and triangle normal; 0 where a ray meets no triangle."""


def cast_rays(vertices: ArrayLike, triangles: ArrayLike, origin: ArrayLike, directions: ArrayLike) -> RayHits:
    """The first triangle along each ray, by VTK's cell locator.

    Args:
        vertices: (V, 3) meters.
        triangles: (F, 3).
        origin: (3,) where all rays start.
        directions: (K, 3) unit vectors.

    Raises:
        MissingExtraError: VTK is not installed.
    """
    try:
        from vtkmodules.vtkCommonCore import mutable
        from vtkmodules.vtkCommonDataModel import vtkGenericCell
    except ImportError as error:  # pragma: no cover - exercised by the bare-install test
        raise MissingExtraError("vtk", "render", "cast rays onto heads") from error
    points, cells = np.asarray(vertices, dtype=np.float64), np.asarray(triangles, dtype=np.int64)
    start, rays = np.asarray(origin, dtype=np.float64), np.asarray(directions, dtype=np.float64)
    locator = _cell_locator(points, cells)
    triangle = np.full(len(rays), -1, dtype=np.int64)
    barycentric = np.full((len(rays), 3), np.nan)
    # VTK writes its results into these.
    coordinates, place = [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]
    position, subcell, index, cell = mutable(0.0), mutable(0), mutable(0), vtkGenericCell()
    ends: list[list[float]] = (start + _RAY_LENGTH * rays).tolist()
    for ray, end in enumerate(ends):
        if locator.IntersectWithLine(start.tolist(), end, 1e-9, position, place, coordinates, subcell, index, cell):
            triangle[ray] = int(index)
            barycentric[ray] = 1 - coordinates[0] - coordinates[1], coordinates[0], coordinates[1]
    normals = triangle_areas_and_normals(points[cells[triangle]])[1]
    cosine = np.abs((normals * rays).sum(axis=1))
    return RayHits(triangle, barycentric, np.where(triangle < 0, 0.0, cosine))


def _cell_locator(points: Float64, triangles: Int64) -> Any:
    from vtkmodules.util.numpy_support import numpy_to_vtk, numpy_to_vtkIdTypeArray
    from vtkmodules.vtkCommonCore import vtkPoints
    from vtkmodules.vtkCommonDataModel import vtkCellArray, vtkPolyData, vtkStaticCellLocator

    # The arrays are copied, so that the mesh does not depend on the life of NumPy's memory.
    coordinates = vtkPoints()
    coordinates.SetData(numpy_to_vtk(points, deep=True))
    cells = vtkCellArray()
    cells.SetData(3, numpy_to_vtkIdTypeArray(triangles.ravel(), deep=True))
    mesh = vtkPolyData()
    mesh.SetPoints(coordinates)
    mesh.SetPolys(cells)
    locator = vtkStaticCellLocator()
    locator.SetDataSet(mesh)
    locator.BuildLocator()
    return locator
