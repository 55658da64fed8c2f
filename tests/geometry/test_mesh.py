"""The camera is the renderer's, and rays meet what a plain loop says they meet."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("pyvista", reason="needs the extra render")

from mp2flame.geometry.camera import Camera
from mp2flame.geometry.mesh import cast_rays
from mp2flame.render import MeshRenderer

_VIEWS = [(0.0, 0.0, 0.6), (25.0, -12.0, 0.7), (-31.0, 18.0, 0.5)]


@pytest.mark.parametrize(("yaw", "pitch", "distance"), _VIEWS)
def test_points_fall_where_the_renderer_draws_them(yaw: float, pitch: float, distance: float) -> None:
    camera = Camera(np.array([0.01, -0.02, 0.05]), distance, yaw, pitch, (320, 200), 28.0)
    point = np.array([0.03, 0.02, 0.09])
    # A small square that faces the camera.
    corners = point + 0.004 * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) @ camera.axes[:2]
    with MeshRenderer(
        [[0, 1, 2], [0, 2, 3]],
        vertex_colors=np.full((4, 3), 255, dtype=np.uint8),
        size=camera.size,
        view_angle=camera.view_angle,
        background=(0, 0, 0),
    ) as renderer:
        camera.aim(renderer)
        light = renderer.render(corners).astype(np.float64).sum(axis=2)
    rows, columns = np.indices(light.shape) + 0.5
    centre = np.array([(light * columns).sum(), (light * rows).sum()]) / light.sum()
    np.testing.assert_allclose(camera.project(point), centre, atol=0.2)


@pytest.mark.parametrize(("yaw", "pitch", "distance"), _VIEWS)
def test_rays_undo_projection(yaw: float, pitch: float, distance: float) -> None:
    camera = Camera(np.array([0.0, 0.03, 0.08]), distance, yaw, pitch)
    points = np.random.default_rng(0).normal(scale=0.05, size=(20, 3))
    away = points - camera.position
    expected = away / np.linalg.norm(away, axis=1, keepdims=True)
    np.testing.assert_allclose(camera.rays(camera.project(points)), expected, atol=1e-12)
    np.testing.assert_allclose(camera.axes @ camera.axes.T, np.eye(3), atol=1e-12)


def _first_hit(
    vertices: NDArray[np.float64], faces: NDArray[np.int64], origin: NDArray[np.float64], ray: NDArray[np.float64]
) -> tuple[int, NDArray[np.float64]]:
    """Triangle by triangle: solve origin + t ray = the weighted corners."""
    best, found, weights = np.inf, -1, np.full(3, np.nan)
    for face, corners in enumerate(vertices[faces]):
        system = np.stack([corners[1] - corners[0], corners[2] - corners[0], -ray], axis=1)
        u, v, t = np.linalg.solve(system, origin - corners[0])
        if min(u, v, 1 - u - v) >= 0 and 0 < t < best:
            best, found, weights = t, face, np.array([1 - u - v, u, v])
    return found, weights


def test_rays_meet_what_a_plain_loop_says() -> None:
    rng = np.random.default_rng(3)
    vertices = rng.normal(size=(40, 3))
    faces = np.stack([rng.permutation(40)[:3] for _ in range(60)])
    origin = np.array([0.2, 0.1, 5.0])
    rays = rng.normal(scale=(0.15, 0.15, 0.0), size=(80, 3)) - [0, 0, 1]
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    hits = cast_rays(vertices, faces, origin, rays)
    assert 10 < (hits.triangle >= 0).sum() < 80
    for k, ray in enumerate(rays):
        face, weights = _first_hit(vertices, faces, origin, ray)
        assert hits.triangle[k] == face
        np.testing.assert_allclose(hits.barycentric[k], weights, atol=1e-6)
        normal = np.cross(*(vertices[faces[face, 1:]] - vertices[faces[face, 0]]))
        facing = 0.0 if face < 0 else abs(normal @ ray) / np.linalg.norm(normal)
        assert hits.cosine[k] == pytest.approx(facing, abs=1e-9)
