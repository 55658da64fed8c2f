"""Rays onto a mesh, by VTK."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mp2flame.errors import MissingExtraError

try:
    from vtkmodules.util.numpy_support import numpy_to_vtk, numpy_to_vtkIdTypeArray
    from vtkmodules.vtkCommonCore import mutable, vtkPoints
    from vtkmodules.vtkCommonDataModel import vtkCellArray, vtkGenericCell, vtkPolyData, vtkStaticCellLocator
except ImportError as error:  # pragma: no cover - exercised by the bare-install test
    raise MissingExtraError("vtk", "render", "cast landmarks onto heads") from error

__all__ = ["Hits", "cast"]

_REACH = 10.0  # metres
_TOLERANCE = 1e-9


@dataclass(frozen=True, eq=False)
class Hits:
    """What K rays met first."""

    face: NDArray[np.int64]
    """(K,) triangle, -1 where a ray met nothing."""
    barycentric: NDArray[np.float64]
    """(K, 3) weights of the triangle's corners; NaN where a ray met nothing."""
    facing: NDArray[np.float64]
    """(K,) cosine between the ray and the triangle's normal, whichever side was met; 0 where a ray met nothing."""


def cast(vertices: ArrayLike, faces: ArrayLike, origin: ArrayLike, directions: ArrayLike) -> Hits:
    """The first triangle along each ray.

    Args:
        vertices: (V, 3) metres.
        faces: (F, 3).
        origin: (3,) where all rays start.
        directions: (K, 3) unit vectors.
    """
    points, triangles = np.asarray(vertices, dtype=np.float64), np.asarray(faces, dtype=np.int64)
    start, along = np.asarray(origin, dtype=np.float64), np.asarray(directions, dtype=np.float64)
    locator = _locator(points, triangles)
    face = np.full(len(along), -1, dtype=np.int64)
    barycentric = np.full((len(along), 3), np.nan)
    place, where = [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]
    # References that VTK writes its answers into; its stub knows them as plain numbers.
    position: Any = mutable(0.0)
    subcell: Any = mutable(0)
    index: Any = mutable(0)
    cell = vtkGenericCell()
    ends: list[list[float]] = (start + _REACH * along).tolist()
    for ray, end in enumerate(ends):
        if locator.IntersectWithLine(start.tolist(), end, _TOLERANCE, position, where, place, subcell, index, cell):
            face[ray] = int(index)
            barycentric[ray] = 1 - place[0] - place[1], place[0], place[1]
    edges = points[triangles[face, 1:]] - points[triangles[face, :1]]
    normals = np.cross(edges[:, 0], edges[:, 1])
    length = np.maximum(np.linalg.norm(normals, axis=1), 1e-30)
    facing = np.abs((normals * along).sum(axis=1)) / length
    return Hits(face, barycentric, np.where(face < 0, 0.0, facing))


def _locator(points: NDArray[np.float64], triangles: NDArray[np.int64]) -> vtkStaticCellLocator:
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
