"""Pictures with times to `.mp4` and `.gif`, by PyAV (FFmpeg). Memory does not grow with the length of the film."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mp2flame.errors import MissingExtraError, SinkError

try:
    import av
    from av.filter import Graph
    from av.video.reformatter import Colorspace
except ImportError as error:  # pragma: no cover - exercised by the bare-install test
    raise MissingExtraError("av", "track", "write films") from error

__all__ = ["Encoder", "GifEncoder", "Mp4Encoder"]

_TICKS = 90_000
"""MPEG's clock, ticks in a second: fine enough for the true times of a source of varying rate."""

_GIF_RATE = 15
_GIF_TICKS = 100
_PALETTE_SIZE = (16, 16)
_BT709 = 1


class Encoder(ABC):
    """Takes pictures of one even size in rising time."""

    @abstractmethod
    def add(self, picture: NDArray[np.uint8], time: float) -> None:
        """Append a picture.

        Args:
            picture: (H, W, 3) uint8 RGB.
            time: seconds from the first picture.

        Raises:
            OSError: the file cannot be written.
        """

    @abstractmethod
    def close(self) -> None:
        """Finish the file.

        Raises:
            OSError: it cannot be completed.
        """

    @abstractmethod
    def abort(self) -> None:
        """Let go of the file, complete or not; never fails."""


class Mp4Encoder(Encoder):
    """H.264 in `.mp4`, with each picture at its own time.

    Args:
        path: the file, whatever its suffix.
        size: width and height, even.
        crf: x264's constant quality; 18 is hardly told from the original, larger is worse and smaller.
        full_color: keep the colour of every pixel, as an intermediate wants it and most players do not.

    Raises:
        SinkError: this FFmpeg has no x264.
        OSError: the file cannot be made.
    """

    def __init__(self, path: Path, size: tuple[int, int], *, crf: int = 18, full_color: bool = False) -> None:
        if "libx264" not in av.codecs_available:
            raise SinkError("this PyAV has no H.264 encoder: install the wheel from PyPI (pip install --upgrade av)")
        self._last = -1
        self._container = av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"})
        stream = self._container.add_stream("libx264", rate=30)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv444p" if full_color else "yuv420p"
        # Without B-frames the order of decoding is that of showing, and the last picture's duration is kept.
        stream.options = {"crf": str(crf), "preset": "veryfast" if full_color else "medium", "bf": "0"}
        context = stream.codec_context
        context.time_base = Fraction(1, _TICKS)
        # Unmarked films are shown with other colours by players that guess differently.
        context.color_range = context.colorspace = context.color_primaries = context.color_trc = _BT709
        self._stream = stream
        self._duration = _TICKS // 30

    def add(self, picture: NDArray[np.uint8], time: float) -> None:
        """Append a picture; one at or before the time of the last is moved just behind it."""
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(
            format=self._stream.pix_fmt, dst_colorspace=Colorspace.ITU709
        )
        ticks = max(round(time * _TICKS), self._last + 1)
        if self._last >= 0:
            self._duration = ticks - self._last
        self._last = frame.pts = ticks
        frame.time_base = Fraction(1, _TICKS)
        self._mux(frame)

    def close(self) -> None:
        """Finish the file; the last picture stays as long as the one before it."""
        self._mux(None)
        self._container.close()

    def abort(self) -> None:
        """Let go of the file, complete or not."""
        # FFmpeg tries to complete the file, which fails again for the reason that brought us here.
        with suppress(OSError, ValueError):
            self._container.close()

    def _mux(self, frame: av.VideoFrame | None) -> None:
        for packet in self._stream.encode(frame):
            packet.duration = self._duration
            self._container.mux(packet)


class GifEncoder(Encoder):
    """A looping `.gif` of at most 15 pictures a second, with one palette made for the whole film.

    The palette is known only when the film is over, so the pictures wait in a temporary film beside the file.

    Args:
        path: the file, whatever its suffix.
        size: width and height, even.

    Raises:
        OSError: the file cannot be made.
    """

    def __init__(self, path: Path, size: tuple[int, int]) -> None:
        self._path = path
        self._size = size
        self._waiting = path.with_name(f"{path.name}.pictures")
        self._due = 0.0
        self._film = Mp4Encoder(self._waiting, size, crf=6, full_color=True)

    def add(self, picture: NDArray[np.uint8], time: float) -> None:
        """Append a picture, unless it comes sooner than a fifteenth of a second after the last."""
        # A little early is on time: the source's own times are rounded.
        if time >= self._due - 0.1 / _GIF_RATE:
            self._film.add(picture, time)
            self._due = max(self._due + 1 / _GIF_RATE, time)

    def close(self) -> None:
        """Make the palette and the file."""
        try:
            self._film.close()
            palette = self._palette()
            self._encode(palette)
        finally:
            self._waiting.unlink(missing_ok=True)

    def abort(self) -> None:
        """Let go of the file and of what waits."""
        self._film.abort()
        self._waiting.unlink(missing_ok=True)

    def _frames(self) -> Iterator[av.VideoFrame]:
        with av.open(str(self._waiting)) as film:
            for frame in film.decode(video=0):
                picture = frame.reformat(format="rgb24", src_colorspace=Colorspace.ITU709)
                picture.pts, picture.time_base = round(frame.time * _GIF_TICKS), Fraction(1, _GIF_TICKS)
                yield picture

    def _palette(self) -> av.VideoFrame:
        graph = Graph()
        pictures, sink = _buffer(graph, self._size, "rgb24"), graph.add("buffersink")
        graph.link_nodes(pictures, graph.add("palettegen", stats_mode="full"), sink).configure()
        palettes: list[av.VideoFrame] = []
        for frame in chain(self._frames(), [None]):
            pictures.push(frame)
            # Pictures pile up in front of a filter that nobody asks for its result.
            palettes += _ready(sink)
        return palettes[0]

    def _encode(self, palette: av.VideoFrame) -> None:
        graph = Graph()
        pictures, colors = _buffer(graph, self._size, "rgb24"), _buffer(graph, _PALETTE_SIZE, palette.format.name)
        # An ordered pattern stands still where the picture does; scattered dots would swarm.
        chooser, sink = graph.add("paletteuse", dither="bayer", bayer_scale="5"), graph.add("buffersink")
        pictures.link_to(chooser, 0, 0)
        colors.link_to(chooser, 0, 1)
        chooser.link_to(sink)
        graph.configure()
        palette.pts, palette.time_base = 0, Fraction(1, _GIF_TICKS)
        colors.push(palette)
        colors.push(None)
        with av.open(str(self._path), "w", format="gif", options={"loop": "0"}) as container:
            stream = container.add_stream("gif", rate=_GIF_TICKS)
            stream.width, stream.height = self._size
            stream.pix_fmt = "pal8"
            stream.codec_context.time_base = Fraction(1, _GIF_TICKS)
            last, duration = 0, round(_GIF_TICKS / _GIF_RATE)
            for frame in chain(self._frames(), [None]):
                pictures.push(frame)
                for colored in _ready(sink):
                    duration, last = colored.pts - last or duration, colored.pts
                    for packet in stream.encode(colored):
                        packet.duration = duration
                        container.mux(packet)
            container.mux(stream.encode(None))


def _buffer(graph: Graph, size: tuple[int, int], pixel_format: str) -> Any:
    width, height = size
    return graph.add_buffer(
        width=width, height=height, format=av.VideoFormat(pixel_format), time_base=Fraction(1, _GIF_TICKS)
    )


def _ready(sink: Any) -> Iterator[av.VideoFrame]:
    with suppress(av.error.BlockingIOError, av.error.EOFError):
        while True:
            yield sink.pull()
