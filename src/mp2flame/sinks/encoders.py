"""Images with times to `.mp4` and `.gif`, by PyAV (FFmpeg). Memory does not grow with the length of the video."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from mp2flame.errors import MissingExtraError, SinkError

try:
    import av
    from av.filter import Graph
    from av.video.reformatter import Colorspace
except ImportError as error:  # pragma: no cover - exercised by the bare-install test
    raise MissingExtraError("av", "track", "write videos") from error

_MP4_TICKS: Final = 90_000
"""Ticks in a second of MPEG's clock: fine enough for the true times of a source of varying rate."""
_MP4_LONGEST: Final = (2**31 - 1) / _MP4_TICKS
"""Seconds that a frame can last in `.mp4`."""
_BT709: Final = 1

_GIF_RATE: Final = 15
_GIF_TICKS: Final = 100
_GIF_LONGEST: Final = (2**16 - 1) / _GIF_TICKS
_GIF_PALETTE_IMAGES: Final = 75
"""The palette is made from so many images at the start, which wait in memory until then."""
_GIF_PALETTE_SIZE: Final = (16, 16)


class Encoder(ABC):
    """Takes images of one even size in rising time."""

    @abstractmethod
    def add(self, image: NDArray[np.uint8], time: float) -> None:
        """Append an image.

        Args:
            image: (H, W, 3) uint8 RGB.
            time: seconds from the first image.

        Raises:
            OSError: the file cannot be written.
            SinkError: the format cannot hold the time between this image and the last one.
        """

    @abstractmethod
    def close(self) -> None:
        """Finish the file.

        Raises:
            OSError: it cannot be completed.
        """

    @abstractmethod
    def abort(self) -> None:
        """Close the file, complete or not; never fails."""


def _check_gap(seconds: float, longest: float, kind: str) -> None:
    if seconds > longest:
        raise SinkError(
            f"the source jumps {seconds:.0f} s from one frame to the next, and a frame lasts at most {longest:.0f} s "
            f"in {kind}: write the parts of the source to files of their own"
        )


class Mp4Encoder(Encoder):
    """H.264 in `.mp4`, with each image at its own time.

    Args:
        path: the file, whatever its suffix.
        size: width and height, even.
        crf: x264's constant quality; 18 is hardly told from the original, larger is worse and smaller.
        full_color: keep the color of every pixel, as an intermediate file wants it and most players do not.
        fragmented: write a fragment with its own index each second, so that a crash costs the last second only.

    Raises:
        SinkError: this FFmpeg has no x264.
        OSError: the file cannot be made.
    """

    def __init__(
        self, path: Path, size: tuple[int, int], *, crf: int = 18, full_color: bool = False, fragmented: bool = False
    ) -> None:
        if "libx264" not in av.codecs_available:
            raise SinkError("this PyAV has no H.264 encoder: install the wheel from PyPI (pip install --upgrade av)")
        self._last = -1
        movflags = "frag_keyframe+empty_moov+default_base_moof" if fragmented else "+faststart"
        options = {"movflags": movflags, "flush_packets": str(int(fragmented))}
        self._container = av.open(str(path), "w", format="mp4", options=options)
        stream = self._container.add_stream("libx264", rate=30)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv444p" if full_color else "yuv420p"
        # Without B-frames the order of decoding is that of showing, and the last image's duration is kept.
        stream.options = {"crf": str(crf), "preset": "veryfast" if full_color else "medium", "bf": "0"}
        if fragmented:
            # x264 hands a frame on only when it has looked ahead; what it holds is lost in a crash.
            stream.options |= {"g": "30", "rc-lookahead": "0", "sync-lookahead": "0"}
        context = stream.codec_context
        context.time_base = Fraction(1, _MP4_TICKS)
        # Videos without these marks are shown with other colors by players that guess differently.
        context.color_range = context.colorspace = context.color_primaries = context.color_trc = _BT709
        self._stream = stream
        self._duration = _MP4_TICKS // 30

    @override
    def add(self, image: NDArray[np.uint8], time: float) -> None:
        frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(
            format=self._stream.pix_fmt, dst_colorspace=Colorspace.ITU709
        )
        # An image at or before the time of the last is moved just behind it.
        ticks = max(round(time * _MP4_TICKS), self._last + 1)
        if self._last >= 0:
            self._duration = ticks - self._last
            _check_gap(self._duration / _MP4_TICKS, _MP4_LONGEST, ".mp4")
        self._last = frame.pts = ticks
        frame.time_base = Fraction(1, _MP4_TICKS)
        self._mux(frame)

    @override
    def close(self) -> None:
        # The last image stays as long as the one before it.
        self._mux(None)
        self._container.close()

    @override
    def abort(self) -> None:
        # FFmpeg tries to complete the file, which fails again for the reason that led here.
        with suppress(OSError, ValueError):
            self._container.close()

    def _mux(self, frame: av.VideoFrame | None) -> None:
        for packet in self._stream.encode(frame):
            packet.duration = self._duration
            self._container.mux(packet)


class GifEncoder(Encoder):
    """A looping `.gif` of at most 15 images a second, with one palette made from the first five seconds.

    Args:
        path: the file, whatever its suffix.
        size: width and height, even.

    Raises:
        OSError: the file cannot be made.
    """

    def __init__(self, path: Path, size: tuple[int, int]) -> None:
        self._size = size
        self._due = 0.0
        self._waiting: list[av.VideoFrame] = []
        self._graph: tuple[Graph, Any, Any] | None = None
        self._last, self._duration = 0, round(_GIF_TICKS / _GIF_RATE)
        self._container = av.open(str(path), "w", format="gif", options={"loop": "0"})
        self._stream = self._container.add_stream("gif", rate=_GIF_TICKS)
        self._stream.width, self._stream.height = size
        self._stream.pix_fmt = "pal8"
        self._stream.codec_context.time_base = Fraction(1, _GIF_TICKS)

    @override
    def add(self, image: NDArray[np.uint8], time: float) -> None:
        # A little early is on time: the source's own times are rounded.
        if time < self._due - 0.1 / _GIF_RATE:
            return
        _check_gap(time - self._due, _GIF_LONGEST, ".gif")
        self._due = max(self._due + 1 / _GIF_RATE, time)
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        frame.pts, frame.time_base = round(time * _GIF_TICKS), Fraction(1, _GIF_TICKS)
        if self._graph is not None:
            self._encode(frame)
            return
        self._waiting.append(frame)
        if len(self._waiting) == _GIF_PALETTE_IMAGES:
            self._begin()

    @override
    def close(self) -> None:
        if self._graph is None:
            self._begin()
        self._encode(None)
        self._container.mux(self._stream.encode(None))
        self._container.close()

    @override
    def abort(self) -> None:
        self._waiting.clear()
        with suppress(OSError, ValueError):
            self._container.close()

    def _begin(self) -> None:
        """Make the palette, and encode the images that waited for it."""
        palette = self._palette()
        graph = Graph()
        images = _buffer(graph, self._size, "rgb24")
        colors = _buffer(graph, _GIF_PALETTE_SIZE, palette.format.name)
        # An ordered pattern stands still where the image does; scattered dots would swarm.
        chooser, sink = graph.add("paletteuse", dither="bayer", bayer_scale="5"), graph.add("buffersink")
        images.link_to(chooser, 0, 0)
        colors.link_to(chooser, 0, 1)
        chooser.link_to(sink)
        graph.configure()
        palette.pts, palette.time_base = 0, Fraction(1, _GIF_TICKS)
        colors.push(palette)
        colors.push(None)
        # PyAV frees a graph that nothing refers to, while its ends are in use.
        self._graph = graph, images, sink
        for frame in self._waiting:
            self._encode(frame)
        self._waiting.clear()

    def _palette(self) -> av.VideoFrame:
        graph = Graph()
        images, sink = _buffer(graph, self._size, "rgb24"), graph.add("buffersink")
        graph.link_nodes(images, graph.add("palettegen", stats_mode="full"), sink).configure()
        for frame in (*self._waiting, None):
            images.push(frame)
        return next(_ready(sink))

    def _encode(self, frame: av.VideoFrame | None) -> None:
        assert self._graph is not None
        _, images, sink = self._graph
        images.push(frame)
        for colored in _ready(sink):
            self._duration, self._last = colored.pts - self._last or self._duration, colored.pts
            for packet in self._stream.encode(colored):
                packet.duration = self._duration
                self._container.mux(packet)


def _buffer(graph: Graph, size: tuple[int, int], pixel_format: str) -> Any:
    width, height = size
    return graph.add_buffer(
        width=width, height=height, format=av.VideoFormat(pixel_format), time_base=Fraction(1, _GIF_TICKS)
    )


def _ready(sink: Any) -> Iterator[av.VideoFrame]:
    """The frames that a filter graph has finished."""
    with suppress(av.error.BlockingIOError, av.error.EOFError):
        while True:
            yield sink.pull()
