"""The camera is the renderer's: points fall where they are drawn, and rays undo projection."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("pyvista", reason="needs the extra render")

from mp2flame.geometry.camera import Camera
from mp2flame.render import MeshRenderer

# Yaw, pitch, roll in degrees, distance in meters.
_VIEWS = [(0.0, 0.0, 0.0, 0.6), (25.0, -12.0, 0.0, 0.7), (-31.0, 18.0, 0.0, 0.5), (20.0, 10.0, 15.0, 0.6)]


@pytest.mark.parametrize(("yaw", "pitch", "roll", "distance"), _VIEWS)
def test_points_fall_where_the_renderer_draws_them(yaw: float, pitch: float, roll: float, distance: float) -> None:
    camera = Camera(np.array([0.01, -0.02, 0.05]), distance, yaw, pitch, roll, (320, 200), 28.0)
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
    center = np.array([(light * columns).sum(), (light * rows).sum()]) / light.sum()
    np.testing.assert_allclose(camera.project(point), center, atol=0.2)


@pytest.mark.parametrize(("yaw", "pitch", "roll", "distance"), _VIEWS)
def test_rays_undo_projection(yaw: float, pitch: float, roll: float, distance: float) -> None:
    camera = Camera(np.array([0.0, 0.03, 0.08]), distance, yaw, pitch, roll)
    points = np.random.default_rng(0).normal(scale=0.05, size=(20, 3))
    away = points - camera.position
    expected = away / np.linalg.norm(away, axis=1, keepdims=True)
    np.testing.assert_allclose(camera.rays(camera.project(points)), expected, atol=1e-12)
    np.testing.assert_allclose(camera.axes @ camera.axes.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(camera.axes) == pytest.approx(1.0)
