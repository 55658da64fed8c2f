"""Video files by PyAV (FFmpeg's libraries): true times, variable rate, rotation, and as much as a damaged file has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from mp2flame.sources.base import Image
from mp2flame.sources.optional import importing

with importing("av", "read video files"):
    import av
    from av.sidedata.sidedata import Type as SideData
    from av.video.reformatter import VideoReformatter
import threading
from collections.abc import Generator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mp2flame.errors import FormatError, MissingFileError, SourceError
from mp2flame.sources.base import TIME_TOLERANCE, FrameReader, TimedImage
from mp2flame.sources.optional import importing

with importing("av", "read video files"):
    import av


# A step back by this much is a new recording spliced on, not a rounding error of the writer.
_SPLICE_SECONDS = 1.0
_SMALLEST_STEP = 1e-3


class RisingTimes:
    """Times as files state them, made to rise strictly and to start at 0.

    A time that repeats or steps back a little is moved just behind its predecessor; after a step back of a second
    or more (files joined end to end) the clock goes on by one frame from where it was.

    Args:
        step: seconds between frames, for frames without a time and at a splice.
    """

    def __init__(self, step: float) -> None:
        self._step = step
        self._offset: float | None = None
        self._last = 0.0
        self.corrected = 0
        """How many times were missing or did not rise."""

    def __call__(self, stated: float | None) -> float:
        """The frame's time in seconds, 0 for the first."""
        if self._offset is None:
            self._offset = -(stated or 0.0)
            return self._last
        time = self._last + self._step if stated is None else stated + self._offset
        if time <= self._last:
            if stated is not None and time <= self._last - _SPLICE_SECONDS:
                self._offset += self._last + self._step - time
                time = self._last + self._step
            else:
                time = self._last + _SMALLEST_STEP
            self.corrected += 1
        elif stated is None:
            self.corrected += 1
        self._last = time
        return time


class DecodeErrors:
    """What could not be decoded."""

    def __init__(self) -> None:
        self.packets = 0
        self.stopped: str | None = None
        self.last = ""

    def warnings(self) -> tuple[str, ...]:
        """It in sentences."""
        found = []
        if self.packets:
            found.append(f"{self.packets} damaged parts of the video were skipped ({self.last})")
        if self.stopped is not None:
            found.append(f"the video breaks off ({self.stopped}); what was read before is kept")
        return tuple(found)

    def reason(self) -> str:
        """The last of it, in brackets; nothing if there is nothing."""
        reason = self.stopped or self.last
        return f" ({reason})" if reason else ""


class Decoder:
    """An open file and the pictures in it.

    Args:
        container: the file.
        stream: the pictures.
    """

    def __init__(self, container: Any, stream: Any) -> None:
        self._container = container
        self._stream = stream
        stream.thread_type = "AUTO"
        self.picture = _Converter(stream)

    @property
    def start(self) -> float | None:
        """Seconds at which the file says that its pictures begin."""
        if self._stream.start_time is None or self._stream.time_base is None:
            return None
        return float(self._stream.start_time * self._stream.time_base)

    def seek(self, seconds: float) -> None:
        """Go to the key frame at or before a moment, on the file's own clock.

        Raises:
            av.FFmpegError: the file cannot be moved in.
        """
        self._container.seek(int(seconds / self._stream.time_base), stream=self._stream)

    def rewound(self) -> bool:
        """Go to the beginning, if that is possible."""
        if self.start is None:
            return False
        try:
            self.seek(self.start)
        except av.FFmpegError:
            return False
        return True

    def frames(self, damage: DecodeErrors) -> Iterator[Any]:
        """Frames in order of presentation; damaged packets are skipped and counted."""
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except (av.FFmpegError, OSError) as error:
                damage.stopped = reason_of(error)
                return
            if packet is None:
                return
            try:
                frames = packet.decode()
            except (av.FFmpegError, OSError) as error:
                damage.packets += 1
                damage.last = reason_of(error)
                continue
            yield from frames

    def close(self) -> None:
        """Let go of the file."""
        self._container.close()


class _Converter:
    """Frames to upright RGB pictures with square pixels."""

    def __init__(self, stream: Any) -> None:
        self._reformatter = VideoReformatter()
        self._aspect = float(stream.sample_aspect_ratio or 1)
        self._matrix: tuple[int, int, int, int] | None = None

    def __call__(self, frame: Any) -> Image:
        if self._matrix is None:
            self._matrix = _display_matrix(frame)
        width = round(frame.width * self._aspect) if self._aspect > 0 else frame.width
        rgb = self._reformatter.reformat(frame, width=max(width, 1), format="rgb24")
        picture: Image = rgb.to_ndarray()  # type: ignore[assignment]
        return _turned(picture, self._matrix)


def _display_matrix(frame: Any) -> tuple[int, int, int, int]:
    """The 2 x 2 part (a, b, c, d) of the frame's display matrix: x' = a x + c y, y' = b x + d y."""
    data = frame.side_data.get(SideData.DISPLAYMATRIX)
    if data is None:
        return 1, 0, 0, 1
    a, b, _, c, d = np.frombuffer(data, dtype=np.int32)[:5].tolist()
    return a, b, c, d


def _turned(picture: Image, matrix: tuple[int, int, int, int]) -> Image:
    """The picture turned by quarters and flipped as the matrix asks; other angles to the nearest quarter."""
    a, b, c, d = matrix
    if abs(b) > abs(a):
        picture = picture.transpose(1, 0, 2)
        x, y = c, b
    else:
        x, y = a, d
    if x < 0:
        picture = picture[:, ::-1]
    if y < 0:
        picture = picture[::-1]
    return np.ascontiguousarray(picture)


def reason_of(error: Exception) -> str:
    """What FFmpeg or the system says, in few words."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


_DEFAULT_RATE: Final = 25.0
# A playlist or a reference movie must not make this program open an address on the network.
_OPTIONS: Final = {"protocol_whitelist": "file"}


@dataclass(frozen=True)
class _Header:
    """What a file says about itself before it is read."""

    n_frames: int | None
    frame_rate: float | None
    seconds: float | None


class VideoReader(FrameReader):
    """The pictures of a video file, upright and in their own time, one in memory at a time.

    Args:
        path: the file. Its header is read at once.

    Raises:
        MissingFileError: there is no such file.
        FormatError: the file is no video, or holds no pictures (audio only).
        SourceError: the file may not be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._warnings: tuple[str, ...] = ()
        self._rises = True
        self._kept: Decoder | None = None
        self._closed = False
        self._lock = threading.Lock()
        if not path.exists():
            raise MissingFileError(f"no video file {path}")
        if path.is_dir():
            raise FormatError(f"expected a video file; {path} is a folder")
        with closing(self._open()) as container:
            self._header = _read_header(container, self._stream(container))

    @property
    def n_frames(self) -> int | None:
        """How many frames the header promises, or its duration times its rate."""
        return self._header.n_frames

    @property
    def fps(self) -> float | None:
        """Frames per second on average, as the header says."""
        return self._header.frame_rate

    @property
    def warnings(self) -> tuple[str, ...]:
        """A truncated end, damaged parts and odd times met in the latest iteration."""
        return self._warnings

    def __iter__(self) -> Generator[TimedImage, None, None]:
        """Pictures with their times from the first one.

        Raises:
            FormatError: no picture at all could be read.
        """
        return self._pictures(keep=False)

    def _pictures(self, *, keep: bool) -> Generator[TimedImage, None, None]:
        self._warnings = ()
        rate = self._header.frame_rate or _DEFAULT_RATE
        times = RisingTimes(1 / rate)
        damage = DecodeErrors()
        end = 0.0
        count = 0
        with self._decoder(keep=keep) as decoder:
            for frame in decoder.frames(damage):
                time = times(frame.time)
                end = time + float((frame.duration or 0) * (frame.time_base or 0) or 1 / rate)
                count += 1
                # Kept up to date, for a reader that stops early.
                self._warnings = damage.warnings()
                self._rises = times.corrected == 0
                yield time, decoder.picture(frame)
        if count == 0:
            raise FormatError(f"the video {self._path} holds no frames that can be read{damage.reason()}")
        self._warnings = (*damage.warnings(), *self._closing_warnings(count, end, times))

    def begin_at(self, seconds: float) -> Generator[TimedImage, None, None]:
        """Timed pictures from the first one at or after a moment, decoded from the nearest key frame before it.

        A file whose times had to be corrected, or does not say where it begins, is read from its beginning. The file
        stays open for the next time, until `close`.

        Raises:
            FormatError: the file is no longer what it was.
        """
        if seconds > 0 and self._rises:
            with self._decoder(keep=True) as decoder:
                start = decoder.start
                if start is not None:
                    with suppress(av.FFmpegError):
                        decoder.seek(start + seconds)
                    for frame in decoder.frames(DecodeErrors()):
                        time = -1.0 if frame.time is None else frame.time - start
                        if time >= seconds - TIME_TOLERANCE:
                            yield time, decoder.picture(frame)
                    return
        for time, picture in self._pictures(keep=True):
            if time >= seconds - TIME_TOLERANCE:
                yield time, picture

    def close(self) -> None:
        """Let go of the file, if a player's next time was awaited."""
        with self._lock:
            self._closed = True
            if self._kept is not None:
                self._kept.close()
            self._kept = None

    @contextmanager
    def _decoder(self, *, keep: bool) -> Iterator[Decoder]:
        """The file from its beginning; with `keep` as it was left the last time, and kept for the next.

        A decoder has threads, and memory with each: opened anew for every loop of a film they would add up.
        """
        with self._lock:
            decoder, self._kept = (self._kept, None) if keep else (None, self._kept)
        if decoder is not None and not decoder.rewound():
            decoder.close()
            decoder = None
        if decoder is None:
            container = self._open()
            decoder = Decoder(container, self._stream(container))
        try:
            yield decoder
        finally:
            with self._lock:
                if keep and not self._closed and self._kept is None:
                    self._kept = decoder
                else:
                    decoder.close()

    def _closing_warnings(self, count: int, end: float, times: RisingTimes) -> Iterator[str]:
        promised = self._header.seconds
        if promised is not None and promised - end > 1.5 / (self._header.frame_rate or _DEFAULT_RATE):
            yield (
                f"the video ends after {end:.2f} s of the {promised:.2f} s that its header promises: it is cut off; "
                f"the {count} frames that are there were read"
            )
        if times.corrected:
            yield f"{times.corrected} frames had no time or one that did not rise; they follow the frame before closely"

    def _open(self) -> Any:
        try:
            return av.open(f"file:{self._path}", options=_OPTIONS)
        except PermissionError as error:
            raise SourceError(f"the video {self._path} may not be read: {error.strerror}") from error
        except (av.FFmpegError, OSError, ValueError) as error:
            raise FormatError(
                f"{self._path} is not a video that can be read, or its index is cut off ({reason_of(error)}); "
                "`ffmpeg -i` on it says more"
            ) from error

    def _stream(self, container: Any) -> Any:
        pictures = [stream for stream in container.streams.video if not _is_cover(stream)]
        if not pictures:
            kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
            raise FormatError(f"expected a video with pictures; {self._path} holds only {kinds}")
        if pictures[0].codec_context is None:
            raise FormatError(
                f"the pictures in {self._path} are coded in a way that FFmpeg does not know, or its index is cut off"
            )
        return pictures[0]


def _read_header(container: Any, stream: Any) -> _Header:
    rate = float(stream.average_rate) if stream.average_rate else None
    seconds = None
    if stream.duration is not None and stream.time_base is not None:
        seconds = float(stream.duration * stream.time_base)
    elif container.duration is not None and len(container.streams) == 1:
        seconds = container.duration / av.time_base
    count = stream.frames or (round(seconds * rate) if seconds is not None and rate is not None else None)
    return _Header(n_frames=count or None, frame_rate=rate, seconds=seconds)


def _is_cover(stream: Any) -> bool:
    """The picture on the sleeve of an audio file."""
    return bool(stream.disposition & av.stream.Disposition.attached_pic)
