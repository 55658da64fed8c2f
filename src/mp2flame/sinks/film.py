"""A film: the driving picture on the left, the driven head on the right, as the field shows it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from mp2flame.data import HeadLike, Observation
from mp2flame.errors import InputError, MissingExtraError
from mp2flame.sinks.filming import FilmingSink, Picture

try:
    from PIL import Image, ImageDraw, ImageFont
except ImportError as error:  # pragma: no cover - exercised by the bare-install test
    raise MissingExtraError("pillow", "render", "write films") from error

if TYPE_CHECKING:
    from mp2flame.sinks.encoders import Encoder

__all__ = ["FilmSink", "head_distance"]

_HEIGHTS = {".mp4": (256, 720), ".gif": (160, 320)}
"""Least and largest height in pixels by suffix; in between it is the picture's own."""

_WIDEST = 2.0
_VIEW_ANGLE = 26.0
_BACKGROUND = (236, 238, 241)
# Brighter than the studio in which MediaPipe is shown heads: a film is looked at by people.
_LIGHTS = (((-0.4, 0.6, 1.0), 0.8), ((0.8, 0.2, 0.8), 0.42), ((0.0, -0.5, 0.9), 0.22))


class FilmSink(FilmingSink):
    """Films the head in `.mp4` (H.264, every frame at its own time) or `.gif` (looping, at most 15 pictures a second).

    Without a picture (a recording, a stream of blendshapes) the film shows the head alone. The camera is placed once,
    from the head at rest. Where no face was found, a small mark says so.

    Args:
        path: the final name, `.mp4` or `.gif`.
        head: the head that is driven.
        height: pixels; None takes the picture's height within reasonable limits.

    Raises:
        MissingExtraError: PyAV, PyVista or Pillow is not installed.
        MissingFileError: the folder does not exist.
        InputError: the suffix is another.
        SinkError: the folder cannot be written to.
    """

    suffixes: ClassVar[tuple[str, ...]] = tuple(_HEIGHTS)

    def __init__(self, path: str | Path, *, head: HeadLike, height: int | None = None) -> None:
        if height is not None and height < 2:
            raise InputError(f"expected a height of at least 2 pixels; got {height}")
        super().__init__(path, head=head)
        self._height = height
        self._picture_width = 0
        self._mark: Picture | None = None
        self._vertices = head.neutral_vertices

    def _check(self, observation: Observation, vertices: NDArray[np.float32] | None) -> None:  # noqa: ARG002 - a film goes without a picture
        if vertices is None:
            raise InputError("a film shows the head and needs its vertices; got None")

    def _begin(self, observation: Observation) -> Encoder:
        from mp2flame.render import MeshRenderer
        from mp2flame.sinks.encoders import GifEncoder, Mp4Encoder

        height = self._height or _fitting_height(observation.picture, self._suffix)
        height -= height % 2
        if observation.picture is not None:
            rows, columns = observation.picture.shape[:2]
            self._picture_width = 2 * max(1, round(min(columns / rows, _WIDEST) * height / 2))
        self._height = height
        size = (self._picture_width + height, height)
        self._renderer = MeshRenderer(
            self._head.faces,
            vertex_colors=self._head.vertex_colors,
            size=(height, height),
            view_angle=_VIEW_ANGLE,
            background=_BACKGROUND,
        )
        self._renderer.set_lights(*_LIGHTS)
        rest = self._head.neutral_vertices
        self._renderer.look((rest.min(axis=0) + rest.max(axis=0)) / 2, distance=head_distance(rest))
        self._mark = _no_face_mark(height)
        return (GifEncoder if self._suffix == ".gif" else Mp4Encoder)(self._part.temporary, size)

    def _compose(self, observation: Observation, vertices: NDArray[np.float32] | None) -> Picture:
        assert self._renderer is not None
        assert self._height is not None
        assert vertices is not None
        # A mapping without a filter gives no pose where there is no face: the head stays as it was.
        if np.isfinite(vertices).all():
            self._vertices = vertices
        canvas = np.zeros((self._height, self._picture_width + self._height, 3), dtype=np.uint8)
        if observation.picture is not None and self._picture_width:
            _place(canvas[:, : self._picture_width], observation.picture)
        view = canvas[:, self._picture_width :]
        view[:] = self._renderer.render(self._vertices)
        if not observation.found[0] and self._mark is not None:
            _blend(view, self._mark)
        return canvas


def head_distance(rest_vertices: NDArray[np.float32]) -> float:
    """How far, in metres, the camera stands from the middle of a head so that all of it stays in view as it moves."""
    half = (rest_vertices.max(axis=0) - rest_vertices.min(axis=0)) / 2
    room = 1.06 * float(max(half[0], half[1]))
    return room / float(np.tan(np.radians(_VIEW_ANGLE / 2))) + float(half[2])


def _fitting_height(picture: Picture | None, suffix: str) -> int:
    least, largest = _HEIGHTS[suffix]
    return min(largest, 512) if picture is None else int(np.clip(picture.shape[0], least, largest))


def _place(panel: Picture, picture: Picture) -> None:
    """Scale a picture into the middle of a panel, whole and undistorted; what is left over stays black."""
    height, width = panel.shape[:2]
    scale = min(height / picture.shape[0], width / picture.shape[1])
    # Half a pixel of rounding shall not leave a black line.
    size = [
        room if abs(length * scale - room) < 2 else max(1, round(length * scale))
        for length, room in ((picture.shape[1], width), (picture.shape[0], height))
    ]
    scaled = np.asarray(Image.fromarray(picture).resize((size[0], size[1]), Image.Resampling.LANCZOS, reducing_gap=2.0))
    top, left = (height - size[1]) // 2, (width - size[0]) // 2
    panel[top : top + size[1], left : left + size[0]] = scaled


def _no_face_mark(height: int) -> Picture:
    """(h, w, 4) RGBA: the words "no face" in grey on nothing."""
    size = max(11, height // 28)
    font = ImageFont.load_default(size)
    box = font.getbbox("no face")
    label = Image.new("RGBA", (int(box[2]) + size, int(box[3]) + size), (0, 0, 0, 0))
    ImageDraw.Draw(label).text((size // 2, size // 2), "no face", font=font, fill=(110, 116, 124, 230))
    return np.asarray(label)


def _blend(view: Picture, mark: Picture) -> None:
    """Lay the mark over the lower left corner, as far as it fits."""
    rows, columns = min(mark.shape[0], view.shape[0]), min(mark.shape[1], view.shape[1])
    corner = view[view.shape[0] - rows :, :columns]
    alpha = mark[:rows, :columns, 3:].astype(np.float32) / 255
    corner[:] = (corner * (1 - alpha) + mark[:rows, :columns, :3] * alpha).round().astype(np.uint8)
