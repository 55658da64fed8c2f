"""A video: the driving image on the left, the driven head on the right."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from typing_extensions import override

from mp2flame.data import Frame, HeadLike
from mp2flame.errors import InputError, MissingExtraError
from mp2flame.files import AtomicFile
from mp2flame.sinks.base import FileSink

try:
    from PIL import Image, ImageDraw, ImageFont
except ImportError as error:  # pragma: no cover - exercised by the bare-install test
    raise MissingExtraError("pillow", "render", "write videos") from error

if TYPE_CHECKING:
    from mp2flame.render import MeshRenderer
    from mp2flame.sinks.encoders import Encoder

Pixels = NDArray[np.uint8]
"""(H, W, 3) RGB."""

_HEIGHTS: Final = {".mp4": (256, 720), ".gif": (160, 320)}
"""Least and largest height in pixels by suffix; in between it is the image's own."""
_WIDEST: Final = 2.0
_VIEW_ANGLE: Final = 26.0
_BACKGROUND: Final = (236, 238, 241)
# Brighter than the lights of synthesis, under which MediaPipe detects heads: people watch this video.
_LIGHTS: Final = (((-0.4, 0.6, 1.0), 0.8), ((0.8, 0.2, 0.8), 0.42), ((0.0, -0.5, 0.9), 0.22))


class VideoSinkBase(FileSink):
    """Composes an image of every frame and encodes it.

    Args:
        path: the final name, with one of the `suffixes`.
        head: the head that is shown.

    Raises:
        MissingExtraError: PyAV or PyVista is not installed.
        MissingFileError: the folder does not exist.
        InputError: the suffix is another.
        SinkError: the folder cannot be written to.
    """

    needs_vertices = True
    needs_image = True
    suffixes: ClassVar[tuple[str, ...]]

    def __init__(self, path: str | Path, *, head: HeadLike) -> None:
        # Missing packages are reported now, and not after the first frame.
        import mp2flame.render
        import mp2flame.sinks.encoders  # noqa: F401 - as above

        super().__init__(path)
        self._head = head
        self._suffix = self.path.suffix.lower()
        if self._suffix not in self.suffixes:
            raise InputError(f"expected a video {' or '.join(self.suffixes)}; got {self.path.name}")
        self._file = AtomicFile(self.path)
        self._first_time = 0.0
        # Made by the first frame, in the thread that writes: a render window belongs to one thread.
        self._renderer: MeshRenderer | None = None
        self._encoder: Encoder | None = None

    @abstractmethod
    def _begin(self, frame: Frame) -> Encoder:
        """Make the renderer and the encoder that suit the first frame.

        Raises:
            InputError: the frame lacks what is shown.
        """

    @abstractmethod
    def _compose(self, frame: Frame) -> Pixels:
        """The image to encode.

        Raises:
            InputError: the frame lacks what is shown.
        """

    @override
    def _write(self, frame: Frame) -> None:
        time = float(frame.observation.time[0])
        if self._encoder is None:
            self._first_time = time
            self._encoder = self._begin(frame)
        self._encoder.add(self._compose(frame), time - self._first_time)

    @override
    def _publish(self) -> None:
        assert self._encoder is not None
        self._encoder.close()
        self._encoder = None
        self._file.publish()

    @override
    def _discard(self) -> None:
        if self._encoder is not None:
            self._encoder.abort()
        if self._renderer is not None:
            self._renderer.close()
        # PyVista's window is freed now, and not when the interpreter is half gone.
        self._encoder = self._renderer = None
        self._file.discard()


class VideoSink(VideoSinkBase):
    """Writes `.mp4` (H.264, every frame at its own time) or `.gif` (looping, at most 15 images a second).

    Without an image (a recording, a stream of blendshapes) the video shows the head alone. The camera is placed once,
    in front of the neutral head. Where no face was found, a small mark says so.

    Args:
        path: the final name, `.mp4` or `.gif`.
        head: the head that is driven.
        height: pixels; None takes the image's height within reasonable limits.
        origin: (3,) meters, the point of the vertices' coordinates at which the neutral head stands.

    Raises:
        MissingExtraError: PyAV, PyVista or Pillow is not installed.
        MissingFileError: the folder does not exist.
        InputError: the suffix is another.
        SinkError: the folder cannot be written to.
    """

    suffixes = tuple(_HEIGHTS)

    def __init__(
        self, path: str | Path, *, head: HeadLike, height: int | None = None, origin: ArrayLike = (0.0, 0.0, 0.0)
    ) -> None:
        if height is not None and height < 2:
            raise InputError(f"expected a height of at least 2 pixels; got {height}")
        super().__init__(path, head=head)
        self._height = height
        self._origin = np.asarray(origin, dtype=np.float32)
        self._image_width = 0
        self._mark: Image.Image | None = None
        self._view: HeadView | None = None
        self._vertices = head.neutral_vertices

    @override
    def _begin(self, frame: Frame) -> Encoder:
        from mp2flame.sinks.encoders import GifEncoder, Mp4Encoder

        image = frame.observation.picture
        height = self._height or _fitting_height(image, self._suffix)
        height -= height % 2
        if image is not None:
            rows, columns = image.shape[:2]
            self._image_width = 2 * max(1, round(min(columns / rows, _WIDEST) * height / 2))
        self._height = height
        self._view = HeadView(self._head, height)
        self._mark = _no_face_mark(height)
        encoder = GifEncoder if self._suffix == ".gif" else Mp4Encoder
        return encoder(self._file.temporary, (self._image_width + height, height))

    @override
    def _compose(self, frame: Frame) -> Pixels:
        if frame.vertices is None:
            raise InputError("a video shows the head and needs its vertices; got None")
        assert self._view is not None
        assert self._height is not None
        # A mapping without a filter gives no pose where there is no face: the head stays as it was.
        if np.isfinite(frame.vertices).all():
            self._vertices = frame.vertices - self._origin
        canvas = np.zeros((self._height, self._image_width + self._height, 3), dtype=np.uint8)
        if frame.observation.picture is not None and self._image_width:
            _place(canvas[:, : self._image_width], frame.observation.picture)
        view = canvas[:, self._image_width :]
        view[:] = self._view.render(self._vertices)
        if not frame.observation.found[0] and self._mark is not None:
            marked = Image.fromarray(view)
            marked.paste(self._mark, (0, self._height - self._mark.height), self._mark)
            view[:] = np.asarray(marked)
        return canvas

    @override
    def _discard(self) -> None:
        if self._view is not None:
            self._view.close()
            self._view = None
        super()._discard()


class HeadView:
    """Renders a head as videos show it: from the front, with a camera that is placed once, for the neutral head.

    Args:
        head: the head.
        size: width and height of the image in pixels.
    """

    def __init__(self, head: HeadLike, size: int) -> None:
        from mp2flame.render import MeshRenderer

        self._renderer = MeshRenderer(
            head.faces,
            vertex_colors=head.vertex_colors,
            size=(size, size),
            view_angle=_VIEW_ANGLE,
            background=_BACKGROUND,
        )
        self._renderer.set_lights(*_LIGHTS)
        neutral = head.neutral_vertices
        self._renderer.set_camera((neutral.min(axis=0) + neutral.max(axis=0)) / 2, distance=head_distance(neutral))

    def render(self, vertices: NDArray[np.float32]) -> Pixels:
        """The image (size, size, 3) of the vertices (V, 3)."""
        return self._renderer.render(vertices)

    def close(self) -> None:
        """Free the window."""
        self._renderer.close()


def head_distance(neutral_vertices: NDArray[np.float32]) -> float:
    """Distance in meters of the camera from the middle of a head, at which all of it stays in view as it moves."""
    half = (neutral_vertices.max(axis=0) - neutral_vertices.min(axis=0)) / 2
    radius = 1.06 * float(max(half[0], half[1]))
    return radius / float(np.tan(np.radians(_VIEW_ANGLE / 2))) + float(half[2])


def _fitting_height(image: Pixels | None, suffix: str) -> int:
    least, largest = _HEIGHTS[suffix]
    return min(largest, 512) if image is None else int(np.clip(image.shape[0], least, largest))


def _place(panel: Pixels, image: Pixels) -> None:
    """Scale an image into the middle of a panel, whole and undistorted; the rest of the panel stays black."""
    height, width = panel.shape[:2]
    scale = min(height / image.shape[0], width / image.shape[1])
    # Half a pixel of rounding must not leave a black line.
    columns, rows = (
        limit if abs(length * scale - limit) < 2 else max(1, round(length * scale))
        for length, limit in ((image.shape[1], width), (image.shape[0], height))
    )
    scaled = Image.fromarray(image).resize((columns, rows), Image.Resampling.LANCZOS, reducing_gap=2.0)
    top, left = (height - rows) // 2, (width - columns) // 2
    panel[top : top + rows, left : left + columns] = np.asarray(scaled)


def _no_face_mark(height: int) -> Image.Image:
    """The words "no face" in grey on a transparent background."""
    size = max(11, height // 28)
    font = ImageFont.load_default(size)
    _, _, right, bottom = font.getbbox("no face")
    label = Image.new("RGBA", (int(right) + size, int(bottom) + size), (0, 0, 0, 0))
    ImageDraw.Draw(label).text((size // 2, size // 2), "no face", font=font, fill=(110, 116, 124, 230))
    return label
