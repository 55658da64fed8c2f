"""Video files by PyAV (FFmpeg's libraries): true times, variable rate, rotation, and as much as a damaged file has."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mp2flame.errors import FormatError, MissingFileError, SourceError
from mp2flame.sources.decoding import Damage, Decoder, reason_of
from mp2flame.sources.extras import importing
from mp2flame.sources.frames import CLOSE, FrameReader, RisingTimes, TimedPicture

with importing("av", "read video files"):
    import av

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
        return self._pictures(keep=False)

    def _pictures(self, *, keep: bool) -> Generator[TimedPicture, None, None]:
        self._remarks = ()
        rate = self._header.frame_rate or _DEFAULT_RATE
        times = RisingTimes(1 / rate)
        damage = Damage()
        end = 0.0
        count = 0
        with self._decoder(keep=keep) as decoder:
            for frame in decoder.frames(damage):
                time = times(frame.time)
                end = time + float((frame.duration or 0) * (frame.time_base or 0) or 1 / rate)
                count += 1
                # Kept up to date, for a reader that stops early.
                self._remarks = damage.remarks()
                self._rises = times.corrected == 0
                yield time, decoder.picture(frame)
        if count == 0:
            raise FormatError(f"the video {self._path} holds no frames that can be read{damage.reason()}")
        self._remarks = (*damage.remarks(), *self._closing_remarks(count, end, times))

    def begin_at(self, seconds: float) -> Generator[TimedPicture, None, None]:
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
                    for frame in decoder.frames(Damage()):
                        time = -1.0 if frame.time is None else frame.time - start
                        if time >= seconds - CLOSE:
                            yield time, decoder.picture(frame)
                    return
        for time, picture in self._pictures(keep=True):
            if time >= seconds - CLOSE:
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
    return _Header(frame_count=count or None, frame_rate=rate, seconds=seconds)


def _is_cover(stream: Any) -> bool:
    """The picture on the sleeve of an audio file."""
    return bool(stream.disposition & av.stream.Disposition.attached_pic)
