"""A picture to judge landmarks by eye: the head from three sides with a dot on each."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mp2flame.errors import MissingExtraError
from mp2flame.files import AtomicFile, write_errors
from mp2flame.geometry.camera import Camera
from mp2flame.geometry.mesh import cast_rays
from mp2flame.head import FlameHead
from mp2flame.head.landmarks import LandmarkEmbedding
from mp2flame.render import MeshRenderer

try:
    from PIL import Image, ImageDraw
except ImportError as error:  # pragma: no cover - exercised by the bare-install test
    raise MissingExtraError("pillow", "render", "draw landmarks") from error

__all__ = ["landmark_picture", "save_picture"]

Picture = NDArray[np.uint8]

_YAWS: Final = (-45.0, 0.0, 45.0)
_SIZE: Final = (720, 720)
_VIEW_ANGLE: Final = 20.0
_DISTANCE: Final = 0.72
_EYES_ABOVE_MIDDLE: Final = 0.025
_SURE, _UNSURE = 0.0005, 0.004
"""Spread of a green and of a red dot, metres."""
_HIDDEN: Final = 0.004
"""A dot this far behind the surface is not drawn, metres."""
_RADIUS: Final = 2.2


def landmark_picture(head: FlameHead, embedding: LandmarkEmbedding, colors: Picture | None = None) -> Picture:
    """The head at rest from three sides, with a dot on each landmark that can be seen from there.

    Dots go from green, where MediaPipe misses by half a millimetre or less, to red, by four or more; they are blue
    where the embedding does not tell.

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
    target = head.joints()[3:5].mean(axis=0) - [0.0, _EYES_ABOVE_MIDDLE, 0.0]
    positions = embedding.positions(vertices, head.faces)
    with MeshRenderer(head.faces, vertex_colors=head.vertex_colors, size=_SIZE, view_angle=_VIEW_ANGLE) as renderer:
        views = []
        for yaw in _YAWS:
            camera = Camera(target, _DISTANCE, yaw, 0.0, _SIZE, _VIEW_ANGLE)
            camera.aim(renderer)
            seen = _seen(camera, vertices, head.faces, positions)
            picture = renderer.render(vertices, colors)
            views.append(_dotted(picture, camera.project(positions[seen]), _tones(embedding)[seen]))
    return np.concatenate(views, axis=1)


def _seen(
    camera: Camera, vertices: NDArray[np.float64], faces: NDArray[np.integer], positions: NDArray[np.float64]
) -> NDArray[np.bool_]:
    hits = cast_rays(vertices, faces, camera.position, camera.rays(camera.project(positions)))
    met = np.einsum("kc,kcd->kd", hits.barycentric, vertices[faces.astype(np.int64)[hits.triangle]])
    behind = np.linalg.norm(positions - camera.position, axis=1) - np.linalg.norm(met - camera.position, axis=1)
    hidden: NDArray[np.bool_] = behind > _HIDDEN
    return ~hidden


def _tones(embedding: LandmarkEmbedding) -> NDArray[np.int64]:
    """(K, 3) RGB."""
    if embedding.spread is None:
        return np.tile([40, 90, 230], (len(embedding), 1))
    doubt = np.clip((embedding.spread - _SURE) / (_UNSURE - _SURE), 0, 1)[:, None]
    tones: NDArray[np.float64] = (1 - doubt) * np.array([20, 200, 40]) + doubt * np.array([230, 20, 20])
    return np.round(tones).astype(np.int64)


def _dotted(picture: Picture, pixels: NDArray[np.float64], tones: NDArray[np.int64]) -> Picture:
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    for (x, y), tone in zip(pixels.tolist(), tones.tolist(), strict=True):
        draw.ellipse((x - _RADIUS, y - _RADIUS, x + _RADIUS, y + _RADIUS), fill=tuple(tone))
    return np.asarray(image)


def save_picture(picture: Picture, path: Path) -> None:
    """Write a picture (H, W, 3) as PNG.

    Raises:
        MissingFileError: the folder does not exist.
        SinkError: it cannot be written.
    """
    part = AtomicFile(path)
    try:
        with write_errors(path, "nothing was written"), part.temporary.open("wb") as file:
            Image.fromarray(picture).save(file, format="PNG")
        part.publish()
    finally:
        part.discard()
