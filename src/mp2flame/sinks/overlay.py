"""A video to judge a tracking by: the posed mesh over the image, through the camera that it was tracked with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from mp2flame.data import Frame, HeadLike
from mp2flame.errors import InputError
from mp2flame.sinks.video import Pixels, VideoSinkBase

if TYPE_CHECKING:
    from mp2flame.sinks.encoders import Encoder

_TINT: Final = (96, 176, 255)
_BACKGROUND: Final = (2, 4, 6)
"""Color of pixels that the mesh does not cover: there the image shows."""
_OPACITY: Final = 0.55


class OverlaySink(VideoSinkBase):
    """Writes the image with the mesh over it (`.mp4`); frames without a face show the image alone.

    Vertices are in the camera's frame: meters, x right, y up, z towards the viewer, the camera at the origin.

    Args:
        path: the final name, `.mp4`.
        head: the head that is shown.
        focal: focal length in pixels of the images.

    Raises:
        MissingExtraError: PyAV, PyVista or Pillow is not installed.
        MissingFileError: the folder does not exist.
        InputError: the suffix is another.
        SinkError: the folder cannot be written to.
    """

    suffixes = (".mp4",)

    def __init__(self, path: str | Path, *, head: HeadLike, focal: float) -> None:
        super().__init__(path, head=head)
        self._focal = focal

    @override
    def _begin(self, frame: Frame) -> Encoder:
        from mp2flame.render import MeshRenderer
        from mp2flame.sinks.encoders import Mp4Encoder

        image = _cropped_image(frame)
        rows, columns = image.shape[:2]
        assert frame.observation.picture is not None
        angle = 2 * float(np.degrees(np.arctan(frame.observation.picture.shape[0] / 2 / self._focal)))
        tint = np.tile(np.array(_TINT, dtype=np.uint8), (len(self._head.neutral_vertices), 1))
        self._renderer = MeshRenderer(
            self._head.faces, vertex_colors=tint, size=(columns, rows), view_angle=angle, background=_BACKGROUND
        )
        return Mp4Encoder(self._file.temporary, (columns, rows))

    @override
    def _compose(self, frame: Frame) -> Pixels:
        canvas: Pixels = _cropped_image(frame).copy()
        if frame.vertices is not None and np.isfinite(frame.vertices).all():
            self._draw_mesh(canvas, frame.vertices)
        return canvas

    def _draw_mesh(self, canvas: Pixels, vertices: NDArray[np.float32]) -> None:
        assert self._renderer is not None
        distance = max(0.05, -float(np.median(vertices[:, 2])))
        self._renderer.set_camera((0.0, 0.0, -distance), distance=distance)
        mesh = self._renderer.render(vertices)
        covered = (mesh != np.array(_BACKGROUND, dtype=np.uint8)).any(axis=2)
        mixed = (1 - _OPACITY) * canvas[covered] + _OPACITY * mesh[covered]
        canvas[covered] = mixed.round().astype(np.uint8)


def _cropped_image(frame: Frame) -> Pixels:
    """The frame's image without an odd last row and column, which videos do not have."""
    image = frame.observation.picture
    if image is None:
        raise InputError("an overlay needs the image; got None")
    rows, columns = (size - size % 2 for size in image.shape[:2])
    cropped: Pixels = image[:rows, :columns]
    return cropped
