"""The nearest points on a triangle mesh that a point may correspond to.

Letters: P points, F triangles, C candidates for each point.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

__all__ = ["Nearest", "nearest_on_mesh"]

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

_CANDIDATES: Final = 16


@dataclass(frozen=True, eq=False)
class Nearest:
    """One point of a mesh for each of P points."""

    triangle: Int64
    """(P,) the triangle that it lies on."""
    barycentric: Float64
    """(P, 3) the weights of its corners."""
    distance: Float64
    """(P,) how far off it is; infinite where no candidate was allowed."""


def nearest_on_mesh(
    points: Float64,
    vertices: Float64,
    triangles: Int64,
    *,
    normals: Float64 | None = None,
    labels: tuple[NDArray[np.int8], NDArray[np.int8]] | None = None,
    min_cosine: float = 0.3,
) -> Nearest:
    """The nearest allowed point of a mesh for each point, among the triangles whose centres are nearest.

    Args:
        points: (P, 3).
        vertices: (V, 3) of the mesh.
        triangles: (F, 3).
        normals: (P, 3) unit normals at the points; a triangle that faces another way is no match.
        labels: of points (P,) and of triangles (F,); two that both have a label, not zero, must have the same one.
        min_cosine: of the angle between normals.
    """
    corners = vertices[triangles]
    count = min(_CANDIDATES, len(triangles))
    candidates = cKDTree(corners.mean(axis=1)).query(points, k=count)[1].reshape(len(points), count)
    weights, distances = _on_triangles(points[:, None], corners[candidates])
    if normals is not None:
        facing = _unit(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]))
        turned = np.einsum("pd,pcd->pc", normals, facing[candidates]) < min_cosine
        distances = np.where(turned, np.inf, distances)
    if labels is not None:
        own, other = labels[0][:, None], labels[1][candidates]
        distances = np.where((own != 0) & (other != 0) & (own != other), np.inf, distances)
    best = distances.argmin(axis=1)
    rows = np.arange(len(points))
    return Nearest(candidates[rows, best], weights[rows, best], distances[rows, best])


def _unit(vectors: Float64) -> Float64:
    result: Float64 = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
    return result


def _on_triangles(points: Float64, corners: Float64) -> tuple[Float64, Float64]:
    """Barycentric weights (P, C, 3) of the nearest point on each triangle (P, C, 3, 3), and its distance (P, C).

    The nearest point of a triangle is the foot on its plane where that is inside, else the nearest on an edge.
    """
    first, sides = corners[..., 0, :], corners[..., 1:, :] - corners[..., :1, :]
    gram = sides @ sides.swapaxes(-1, -2)
    right = (sides @ (points - first)[..., None])[..., 0]
    determinant = gram[..., 0, 0] * gram[..., 1, 1] - gram[..., 0, 1] ** 2
    safe = np.maximum(determinant, 1e-30)
    u = (gram[..., 1, 1] * right[..., 0] - gram[..., 0, 1] * right[..., 1]) / safe
    v = (gram[..., 0, 0] * right[..., 1] - gram[..., 0, 1] * right[..., 0]) / safe
    best = np.stack([1 - u - v, u, v], axis=-1)
    inside = (best >= 0).all(axis=-1)
    distance = np.where(inside, _distance(points, corners, best), np.inf)
    for a, b in ((0, 1), (1, 2), (2, 0)):
        along = corners[..., b, :] - corners[..., a, :]
        length = np.maximum((along**2).sum(axis=-1), 1e-30)
        share = np.clip((along * (points - corners[..., a, :])).sum(axis=-1) / length, 0, 1)
        weights = np.zeros_like(best)
        weights[..., a], weights[..., b] = 1 - share, share
        away = _distance(points, corners, weights)
        nearer = away < distance
        best = np.where(nearer[..., None], weights, best)
        distance = np.where(nearer, away, distance)
    return best, distance


def _distance(points: Float64, corners: Float64, weights: Float64) -> Float64:
    foot = np.einsum("...c,...cd->...d", weights, corners)
    result: Float64 = np.linalg.norm(points - foot, axis=-1)
    return result
