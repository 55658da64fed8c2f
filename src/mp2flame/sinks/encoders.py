"""Images with times to `.mp4` and `.gif`, by PyAV (FFmpeg). Memory does not grow with the length of the video."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar, Final

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

_BT709: Final = 1
_GIF_RATE: Final = 15
_GIF_PALETTE_IMAGES: Final = 75
"""The palette is made from so many images at the start, which wait in memory until then."""


class Encoder(ABC):
    """Takes images of one even size in rising time.

    Args:
        path: the file, whatever its suffix.
        size: width and height, even.
        options: of FFmpeg's muxer.

    Raises:
        OSError: the file cannot be made.
    """

    kind: ClassVar[str]
    """FFmpeg's name of the container."""
    codec: ClassVar[str]
    """FFmpeg's name of the encoder."""
    ticks: ClassVar[int]
    """Ticks in a second of the container's clock."""
    longest: ClassVar[float]
    """Seconds that one frame can last."""

    def __init__(self, path: Path, size: tuple[int, int], options: dict[str, str]) -> None:
        self._last = -1
        self._duration = round(self.ticks / 30)
        self._container = av.open(str(path), "w", format=self.kind, options=options)
        self._stream: Any = self._container.add_stream(self.codec, rate=30)
        self._stream.width, self._stream.height = size
        self._stream.codec_context.time_base = Fraction(1, self.ticks)

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

    def close(self) -> None:
        """Finish the file; the last image stays as long as the one before it.

        Raises:
            OSError: it cannot be completed.
        """
        self._mux(None)
        self._container.close()

    def abort(self) -> None:
        """Close the file, complete or not; never fails."""
        # FFmpeg tries to complete the file, which fails again for the reason that led here.
        with suppress(OSError, ValueError):
            self._container.close()

    def _timed(self, frame: av.VideoFrame, time: float) -> av.VideoFrame:
        """The frame at its time; one at or before the time of the last is moved just behind it."""
        pts = max(round(time * self.ticks), self._last + 1)
        gap = (pts - self._last) / self.ticks
        if self._last >= 0 and gap > self.longest:
            raise SinkError(
                f"the source jumps {gap:.0f} s from one frame to the next, and a frame of .{self.kind} lasts at most "
                f"{self.longest:.0f} s: write the parts of the source to files of their own"
            )
        self._last = frame.pts = pts
        frame.time_base = Fraction(1, self.ticks)
        return frame

    def _mux(self, frame: av.VideoFrame | None) -> None:
        for packet in self._stream.encode(frame):
            packet.duration = self._duration
            self._container.mux(packet)


class Mp4Encoder(Encoder):
    """H.264 in `.mp4`, with each image at its own time.

    Args:
        path: the file, whatever its suffix.
        size: width and height, even.
        crf: x264's constant quality; 18 is hardly told from the original, larger is worse and smaller.
        full_color: keep the color of every pixel, as an intermediate file wants it and most players do not.
        fragmented: write a fragment with its own index each second, so that a crash costs no more than about a second;
            fast and with little memory, for images that are encoded while they are taken.

    Raises:
        SinkError: this FFmpeg has no x264.
        OSError: the file cannot be made.
    """

    kind = "mp4"
    codec = "libx264"
    # Fine enough for the true times of a source of varying rate.
    ticks = 90_000
    longest = (2**31 - 1) / ticks

    def __init__(
        self, path: Path, size: tuple[int, int], *, crf: int = 18, full_color: bool = False, fragmented: bool = False
    ) -> None:
        if "libx264" not in av.codecs_available:
            raise SinkError("this PyAV has no H.264 encoder: install the wheel from PyPI (pip install --upgrade av)")
        movflags = "frag_keyframe+empty_moov+default_base_moof" if fragmented else "+faststart"
        super().__init__(path, size, {"movflags": movflags, "flush_packets": str(int(fragmented))})
        # Without B-frames the order of decoding is that of showing, and the last image's duration is kept.
        options = {"crf": str(crf), "preset": "veryfast" if full_color else "medium", "bf": "0"}
        if fragmented:
            # What x264 still looks ahead at is lost in a crash, and so is a fragment until its last frame.
            options |= {"g": "30", "preset": "ultrafast", "tune": "zerolatency"}
        self._stream.options = options
        self._stream.pix_fmt = "yuv444p" if full_color else "yuv420p"
        context = self._stream.codec_context
        # Videos without these marks are shown with other colors by players that guess differently.
        context.color_range = context.colorspace = context.color_primaries = context.color_trc = _BT709

    @override
    def add(self, image: NDArray[np.uint8], time: float) -> None:
        stream = self._stream
        frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(
            stream.width, stream.height, format=stream.pix_fmt, dst_colorspace=Colorspace.ITU709
        )
        before = self._last
        self._timed(frame, time)
        if before >= 0:
            self._duration = self._last - before
        self._mux(frame)


class GifEncoder(Encoder):
    """A looping `.gif` of at most 15 images a second, with one palette made from the first five seconds.

    Raises:
        OSError: the file cannot be made.
    """

    kind = codec = "gif"
    ticks = 100
    longest = (2**16 - 1) / ticks

    def __init__(self, path: Path, size: tuple[int, int]) -> None:
        super().__init__(path, size, {"loop": "0"})
        self._stream.pix_fmt = "pal8"
        self._size = size
        self._due = 0.0
        self._waiting: list[av.VideoFrame] = []
        # PyAV frees a graph that nothing refers to, while its ends are in use.
        self._graph: tuple[Graph, Any, Any] | None = None
        self._shown = 0

    @override
    def add(self, image: NDArray[np.uint8], time: float) -> None:
        # A little early is on time: the source's own times are rounded.
        if time < self._due - 0.1 / _GIF_RATE:
            return
        self._due = max(self._due + 1 / _GIF_RATE, time)
        frame = self._timed(av.VideoFrame.from_ndarray(image, format="rgb24"), time)
        if self._graph is not None:
            self._color(frame)
            return
        self._waiting.append(frame)
        if len(self._waiting) == _GIF_PALETTE_IMAGES:
            self._begin()

    @override
    def close(self) -> None:
        if self._graph is None:
            self._begin()
        self._color(None)
        super().close()

    @override
    def abort(self) -> None:
        self._waiting.clear()
        super().abort()

    def _begin(self) -> None:
        """Make the palette, and encode the images that waited for it."""
        graph = Graph()
        images, sink = self._source(graph, self._size, "rgb24"), graph.add("buffersink")
        graph.link_nodes(images, graph.add("palettegen", stats_mode="full"), sink).configure()
        for frame in (*self._waiting, None):
            images.push(frame)
        (palette,) = _ready(sink)

        graph = Graph()
        images, sink = self._source(graph, self._size, "rgb24"), graph.add("buffersink")
        colors = self._source(graph, (palette.width, palette.height), palette.format.name)
        # An ordered pattern stands still where the image does; scattered dots would swarm.
        chooser = graph.add("paletteuse", dither="bayer", bayer_scale="5")
        images.link_to(chooser, 0, 0)
        colors.link_to(chooser, 0, 1)
        chooser.link_to(sink)
        graph.configure()
        palette.pts, palette.time_base = 0, Fraction(1, self.ticks)
        colors.push(palette)
        colors.push(None)
        self._graph = graph, images, sink
        for frame in self._waiting:
            self._color(frame)
        self._waiting.clear()

    def _source(self, graph: Graph, size: tuple[int, int], pixel_format: str) -> Any:
        width, height = size
        time_base = Fraction(1, self.ticks)
        return graph.add_buffer(width=width, height=height, format=av.VideoFormat(pixel_format), time_base=time_base)

    def _color(self, frame: av.VideoFrame | None) -> None:
        """Encode what the palette's graph makes of a frame; None ends it."""
        assert self._graph is not None
        _, images, sink = self._graph
        images.push(frame)
        for colored in _ready(sink):
            self._duration, self._shown = colored.pts - self._shown or round(self.ticks / _GIF_RATE), colored.pts
            self._mux(colored)


def _ready(sink: Any) -> Iterator[av.VideoFrame]:
    """The frames that a filter graph has finished."""
    with suppress(av.error.BlockingIOError, av.error.EOFError):
        while True:
            yield sink.pull()
