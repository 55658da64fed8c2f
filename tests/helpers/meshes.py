"""Meshes for tests: the built-in head with fewer vertices and without labels, as a FLAME file is; a wavy sheet."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyvista
from numpy.typing import NDArray

from mp2flame.geometry.mesh import closest_points
from mp2flame.head import FlameHead
from mp2flame.head.arrays import HeadArrays
from mp2flame.head.landmarks import LandmarkEmbedding


def cut_head(head: FlameHead, embedding: LandmarkEmbedding, n_vertices: int) -> tuple[FlameHead, LandmarkEmbedding]:
    """A head with `n_vertices` of another's vertices, which move as they did, and the landmarks on it."""
    rows, faces = _thinned(head, n_vertices)
    own = head.arrays
    arrays = HeadArrays(
        v_template=own.v_template[rows],
        faces=faces.astype(np.uint32),
        shapedirs=own.shapedirs[rows],
        posedirs=own.posedirs[rows],
        regressor=_regressor(own.v_template[rows].astype(np.float64), head.joints().astype(np.float64)),
        weights=own.weights[rows],
        parents=own.parents,
        n_shape=own.n_shape,
    )
    cut = replace(head, arrays=arrays, version="other")
    points = embedding.positions(head.template, head.faces)
    nearest = closest_points(points, arrays.v_template.astype(np.float64), faces)
    moved = replace(embedding, face_index=nearest.triangle, barycentric=nearest.barycentric, head_hash=cut.hash)
    return cut, moved


def _thinned(head: FlameHead, n_vertices: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which vertices stay, and their triangles; VTK's decimation adds no point."""
    cells = np.hstack([np.full((len(head.faces), 1), 3), head.faces.astype(np.int64)]).ravel()
    mesh = pyvista.PolyData(head.template, cells)
    mesh.point_data["row"] = np.arange(head.n_vertices)
    # Decimation falls short of what is asked; a few loose vertices then make the number exact.
    share = 1 - n_vertices / head.n_vertices + 0.03
    thin = mesh.decimate_pro(share, preserve_topology=True, boundary_vertex_deletion=False)
    rows = thin.point_data["row"].astype(np.int64)
    faces = rows[thin.faces.reshape(-1, 4)[:, 1:].astype(np.int64)]
    kept = np.unique(faces)
    assert len(kept) <= n_vertices
    spare = np.setdiff1d(np.arange(head.n_vertices), kept)[: n_vertices - len(kept)]
    rows = np.sort(np.concatenate([kept, spare]))
    return rows, np.searchsorted(rows, faces)


def _regressor(vertices: NDArray[np.float64], joints: NDArray[np.float64]) -> NDArray[np.float32]:
    """(5, V) the smallest weights that sum to one and give the joints."""
    system = np.concatenate([vertices.T, np.ones((1, len(vertices)))])
    goals = np.concatenate([joints.T, np.ones((1, len(joints)))])
    weights: NDArray[np.float32] = np.linalg.lstsq(system, goals, rcond=None)[0].T.astype(np.float32)
    return weights


def wavy_sheet(n: int = 12) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """A wavy sheet, (n * n, 3), and its triangles."""
    x, y = (grid.ravel() for grid in np.meshgrid(np.linspace(-1, 1, n), np.linspace(-1, 1, n)))
    at = np.arange(n * n).reshape(n, n)
    a, b, c, d = at[:-1, :-1].ravel(), at[:-1, 1:].ravel(), at[1:, :-1].ravel(), at[1:, 1:].ravel()
    vertices = np.stack([x, y, 0.2 * np.sin(2 * x) + 0.1 * y], axis=1)
    return vertices, np.concatenate([np.stack([a, b, c], 1), np.stack([b, d, c], 1)])
