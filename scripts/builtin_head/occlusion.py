"""How much of the sky each vertex sees, from discs in place of the triangles."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CHUNK = 256


def vertex_normals(
    points: NDArray[np.float64], faces: NDArray[np.uint32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Unit normals (V, 3) and each vertex's third of its triangles' area (V,)."""
    a, b, c = (points[faces[:, k]] for k in range(3))
    product = np.cross(b - a, c - a)
    normals, areas = np.zeros_like(points), np.zeros(len(points))
    for k in range(3):
        np.add.at(normals, faces[:, k], product)
        np.add.at(areas, faces[:, k], np.linalg.norm(product, axis=1) / 6)
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12), areas


def openness(points: NDArray[np.float64], faces: NDArray[np.uint32], mirror: NDArray[np.intp]) -> NDArray[np.float64]:
    """The share (V,) of light that reaches each vertex, 0..1.

    Source: Bunnell, "Dynamic Ambient Occlusion and Indirect Lighting", GPU Gems 2, chapter 14: each vertex is a disc
    with its area and normal, and shadows every other by the solid angle at which it is seen.
    """
    normals, areas = vertex_normals(points, faces)
    result = np.zeros(len(points))
    for start in range(0, len(points), _CHUNK):
        rows = slice(start, start + _CHUNK)
        away = points[None] - points[rows, None]
        square = (away**2).sum(axis=2) + 1e-9
        unit = away / np.sqrt(square)[..., None]
        receiver = np.clip(np.einsum("ijk,ik->ij", unit, normals[rows]), 0, 1)
        emitter = np.clip(-np.einsum("ijk,jk->ij", unit, normals), 0, 1)
        shadow = receiver * emitter * areas / (np.pi * square + areas)
        result[rows] = 1 / (1 + shadow.sum(axis=1))
    return (result + result[mirror]) / 2
