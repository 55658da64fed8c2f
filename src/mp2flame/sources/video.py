"""Video files by PyAV (FFmpeg's libraries): true times, variable rate, rotation, and as much as a damaged file has."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from mp2flame.errors import FormatError, MissingFileError, SourceError
from mp2flame.sources.extras import importing
from mp2flame.sources.frames import CLOSE, FrameReader, Picture, RisingTimes, TimedPicture

with importing("av", "read video files"):
    import av
    from av.sidedata.sidedata import Type as SideData
    from av.video.reformatter import VideoReformatter

__all__ = ["VideoReader"]

_DEFAULT_RATE: Final = 25.0
# A playlist or a reference movie must not make this program open an address on the network.
_OPTIONS: Final = {"protocol_whitelist": "file"}


@dataclass(frozen=True)
class _Header:
    """What a file says about itself before it is read."""

    frame_count: int | None
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
        self._remarks: tuple[str, ...] = ()
        self._rises = True
        if not path.exists():
            raise MissingFileError(f"no video file {path}")
        if path.is_dir():
            raise FormatError(f"expected a video file; {path} is a folder")
        with closing(self._open()) as container:
            self._header = _read_header(container, self._stream(container))

    @property
    def frame_count(self) -> int | None:
        """How many frames the header promises, or its duration times its rate."""
        return self._header.frame_count

    @property
    def frame_rate(self) -> float | None:
        """Frames per second on average, as the header says."""
        return self._header.frame_rate

    @property
    def remarks(self) -> tuple[str, ...]:
        """A truncated end, damaged parts and odd times met in the latest iteration."""
        return self._remarks

    def __iter__(self) -> Generator[TimedPicture, None, None]:
        """Pictures with their times from the first one.

        Raises:
            FormatError: no picture at all could be read.
        """
        self._remarks = ()
        rate = self._header.frame_rate or _DEFAULT_RATE
        times = RisingTimes(1 / rate)
        damage = _Damage()
        end = 0.0
        count = 0
        with closing(self._open()) as container:
            stream = self._stream(container)
            stream.thread_type = "AUTO"
            converter = _Converter(stream)
            for frame in _decode(container, stream, damage):
                time = times(frame.time)
                end = time + float((frame.duration or 0) * (frame.time_base or 0) or 1 / rate)
                count += 1
                # Kept up to date, for a reader that stops early.
                self._remarks = damage.remarks()
                self._rises = times.corrected == 0
                yield time, converter(frame)
        if count == 0:
            raise FormatError(f"the video {self._path} holds no frames that can be read{damage.reason()}")
        self._remarks = (*damage.remarks(), *self._closing_remarks(count, end, times))

    def begin_at(self, seconds: float) -> Generator[TimedPicture, None, None]:
        """Timed pictures from the first one at or after a moment, decoded from the nearest key frame before it.

        A file whose times had to be corrected, or does not say where it begins, is read from its beginning.

        Raises:
            FormatError: the file is no longer what it was.
        """
        with closing(self._open()) as container:
            stream = self._stream(container)
            if seconds > 0 and self._rises and stream.start_time is not None and stream.time_base is not None:
                stream.thread_type = "AUTO"
                converter = _Converter(stream)
                start = float(stream.start_time * stream.time_base)
                with suppress(av.FFmpegError):
                    container.seek(int((start + seconds) / stream.time_base), stream=stream)
                for frame in _decode(container, stream, _Damage()):
                    time = -1.0 if frame.time is None else frame.time - start
                    if time >= seconds - CLOSE:
                        yield time, converter(frame)
                return
        yield from super().begin_at(seconds)

    def _closing_remarks(self, count: int, end: float, times: RisingTimes) -> Iterator[str]:
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
                f"{self._path} is not a video that can be read, or its index is cut off ({_reason(error)}); "
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


class _Damage:
    """What could not be decoded."""

    def __init__(self) -> None:
        self.packets = 0
        self.stopped: str | None = None
        self.last = ""

    def remarks(self) -> tuple[str, ...]:
        found = []
        if self.packets:
            found.append(f"{self.packets} damaged parts of the video were skipped ({self.last})")
        if self.stopped is not None:
            found.append(f"the video breaks off ({self.stopped}); what was read before is kept")
        return tuple(found)

    def reason(self) -> str:
        reason = self.stopped or self.last
        return f" ({reason})" if reason else ""


def _decode(container: Any, stream: Any, damage: _Damage) -> Iterator[Any]:
    """Frames in order of presentation; damaged packets are skipped and counted."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except (av.FFmpegError, OSError) as error:
            damage.stopped = _reason(error)
            return
        if packet is None:
            return
        try:
            frames = packet.decode()
        except (av.FFmpegError, OSError) as error:
            damage.packets += 1
            damage.last = _reason(error)
            continue
        yield from frames


class _Converter:
    """Frames to upright RGB pictures with square pixels."""

    def __init__(self, stream: Any) -> None:
        self._reformatter = VideoReformatter()
        self._aspect = float(stream.sample_aspect_ratio or 1)
        self._matrix: tuple[int, int, int, int] | None = None

    def __call__(self, frame: Any) -> Picture:
        if self._matrix is None:
            self._matrix = _display_matrix(frame)
        width = round(frame.width * self._aspect) if self._aspect > 0 else frame.width
        rgb = self._reformatter.reformat(frame, width=max(width, 1), format="rgb24")
        picture: Picture = rgb.to_ndarray()  # type: ignore[assignment]
        return _turned(picture, self._matrix)


def _display_matrix(frame: Any) -> tuple[int, int, int, int]:
    """The 2 x 2 part (a, b, c, d) of the frame's display matrix: x' = a x + c y, y' = b x + d y."""
    data = frame.side_data.get(SideData.DISPLAYMATRIX)
    if data is None:
        return 1, 0, 0, 1
    a, b, _, c, d = np.frombuffer(data, dtype=np.int32)[:5].tolist()
    return a, b, c, d


def _turned(picture: Picture, matrix: tuple[int, int, int, int]) -> Picture:
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


def _read_header(container: Any, stream: Any) -> _Header:
    rate = float(stream.average_rate) if stream.average_rate else None
    seconds = None
    if stream.duration is not None and stream.time_base is not None:
        seconds = float(stream.duration * stream.time_base)
    elif container.duration is not None and len(container.streams) == 1:
        seconds = container.duration / av.time_base
    count = stream.frames or (round(seconds * rate) if seconds is not None and rate is not None else None)
    return _Header(frame_count=count or None, frame_rate=rate, seconds=seconds)


def _is_cover(stream: Any) -> bool:
    """The picture on the sleeve of an audio file."""
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
