"""An image to check landmarks by eye: the head from three sides with a dot on each."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from mp2flame.geometry.camera import Camera
from mp2flame.geometry.mesh import cast_rays
from mp2flame.head import FlameHead
from mp2flame.head.landmarks import LandmarkEmbedding
from mp2flame.render import MeshRenderer

Pixels = NDArray[np.uint8]

_YAWS: Final = (-45.0, 0.0, 45.0)
_SIZE: Final = (720, 720)
_VIEW_ANGLE: Final = 20.0
_DISTANCE: Final = 0.72
_EYES_ABOVE_CENTER: Final = 0.025
_GREEN, _RED = 0.0005, 0.004
"""Spread of a green and of a red dot, meters."""
_HIDDEN: Final = 0.004
"""A dot this far behind the surface is not drawn, meters."""
_RADIUS: Final = 2.2


def plot_landmarks(head: FlameHead, embedding: LandmarkEmbedding, colors: Pixels | None = None) -> Pixels:
    """The neutral head from three sides, with a dot on each landmark that is visible from there.

    Dots go from green, where MediaPipe errs by half a millimeter or less, to red, by four or more; they are blue where
    the embedding does not tell.

    Args:
        head: the head.
        embedding: its landmarks.
        colors: (V, 3) RGB of the head; None takes its own.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        HeadMismatchError: the landmarks are another head's.
    """
    embedding.check_head(head)
    vertices = head.neutral_vertices.astype(np.float64)
    target = head.joints()[3:5].mean(axis=0) - [0.0, _EYES_ABOVE_CENTER, 0.0]
    positions, dots = embedding.positions(vertices, head.faces), _dot_colors(embedding)
    views = []
    with MeshRenderer(head.faces, vertex_colors=head.vertex_colors, size=_SIZE, view_angle=_VIEW_ANGLE) as renderer:
        for yaw in _YAWS:
            camera = Camera(target, _DISTANCE, yaw, size=_SIZE, view_angle=_VIEW_ANGLE)
            camera.aim(renderer)
            visible = _visible(camera, vertices, head.faces, positions)
            image = Image.fromarray(renderer.render(vertices, colors))
            draw = ImageDraw.Draw(image)
            for (x, y), color in zip(camera.project(positions[visible]).tolist(), dots[visible].tolist(), strict=True):
                draw.ellipse((x - _RADIUS, y - _RADIUS, x + _RADIUS, y + _RADIUS), fill=tuple(color))
            views.append(np.asarray(image))
    return np.concatenate(views, axis=1)


def _visible(
    camera: Camera, vertices: NDArray[np.float64], faces: NDArray[np.integer], positions: NDArray[np.float64]
) -> NDArray[np.bool_]:
    hits = cast_rays(vertices, faces, camera.position, camera.rays(camera.project(positions)))
    met = np.einsum("kc,kcd->kd", hits.barycentric, vertices[faces.astype(np.int64)[hits.triangle]])
    behind = np.linalg.norm(positions - camera.position, axis=1) - np.linalg.norm(met - camera.position, axis=1)
    hidden: NDArray[np.bool_] = behind > _HIDDEN
    return ~hidden


def _dot_colors(embedding: LandmarkEmbedding) -> NDArray[np.int64]:
    """(K, 3) RGB."""
    if embedding.spread is None:
        return np.tile([40, 90, 230], (len(embedding), 1))
    red = np.clip((embedding.spread - _GREEN) / (_RED - _GREEN), 0, 1)[:, None]
    colors: NDArray[np.float64] = (1 - red) * np.array([20, 200, 40]) + red * np.array([230, 20, 20])
    return np.round(colors).astype(np.int64)
