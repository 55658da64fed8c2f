"""Video files by PyAV (FFmpeg's libraries): true times, variable rate, rotation, damaged files as far as readable."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import numpy as np
from typing_extensions import override

from mp2flame.errors import FormatError, MissingFileError, SourceError, plain
from mp2flame.files import check_regular
from mp2flame.sources.base import TIME_TOLERANCE, FrameReader, Image, RisingTimes, TimedImage, require
from mp2flame.sources.images import check_image_size

with require("av", "read video files"):
    import av
    from av.sidedata.sidedata import Type as SideData
    from av.video.reformatter import VideoReformatter

_DEFAULT_FPS: Final = 25.0
# A playlist or a reference movie must not make this program open an address on the network.
_OPTIONS: Final = {"protocol_whitelist": "file"}


class VideoReader(FrameReader):
    """The images of a video file, upright and at their own times, one in memory at a time.

    Args:
        path: the file. Its header is read at once.

    Raises:
        MissingFileError: there is no such file.
        FormatError: the file is no video, or holds no images (audio only).
        SourceError: the file may not be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._warnings: tuple[str, ...] = ()
        self._times_rise = True
        self._idle_decoder: _Decoder | None = None
        self._closed = False
        self._lock = threading.Lock()
        check_regular(path, "video")
        with closing(self._open()) as decoder:
            self._n_frames, self._fps, self._duration = decoder.n_frames, decoder.fps, decoder.duration

    @property
    @override
    def n_frames(self) -> int | None:
        return self._n_frames

    @property
    @override
    def fps(self) -> float | None:
        return self._fps

    @property
    @override
    def warnings(self) -> tuple[str, ...]:
        return self._warnings

    @override
    def __iter__(self) -> Generator[TimedImage, None, None]:
        return self._read(reuse=False)

    def _read(self, *, reuse: bool) -> Generator[TimedImage, None, None]:
        self._warnings = ()
        step = 1 / (self._fps or _DEFAULT_FPS)
        times = RisingTimes(step)
        errors = DecodeErrors()
        end, n_read = 0.0, 0
        with self._decoder(reuse=reuse) as decoder:
            for frame in decoder.frames(errors):
                time = times(frame.time)
                end = time + (float((frame.duration or 0) * (frame.time_base or 0)) or step)
                n_read += 1
                # Kept up to date, for a caller that stops early.
                self._warnings = (*errors.warnings(), *times.warnings())
                self._times_rise = not (times.n_corrected or times.n_gaps)
                yield time, decoder.image(frame)
        if n_read == 0:
            raise FormatError(f"the video {plain(self._path)} holds no frames that can be read{errors.reason()}")
        if self._duration is not None and self._duration - end > 1.5 * step and not times.n_gaps:
            cut_off = (
                f"the video ends after {end:.2f} s of the {self._duration:.2f} s that its header promises: it is cut "
                f"off; the {n_read} frames that are there were read"
            )
            self._warnings = (*self._warnings, cut_off)

    @override
    def begin_at(self, seconds: float) -> Generator[TimedImage, None, None]:
        """Timed images from the first one at or after a moment, decoded from the nearest key frame before it.

        A file whose times had to be corrected, or that states no start time, is read from its beginning. The file
        stays open for the next call, until `close`.
        """
        if seconds > 0 and self._times_rise:
            with self._decoder(reuse=True) as decoder:
                start = decoder.start
                if start is not None:
                    with suppress(av.FFmpegError):
                        decoder.seek(start + seconds)
                    for frame in decoder.frames(DecodeErrors()):
                        time = -1.0 if frame.time is None else frame.time - start
                        if time >= seconds - TIME_TOLERANCE:
                            yield time, decoder.image(frame)
                    return
        for time, image in self._read(reuse=True):
            if time >= seconds - TIME_TOLERANCE:
                yield time, image

    @override
    def close(self) -> None:
        with self._lock:
            self._closed = True
            if self._idle_decoder is not None:
                self._idle_decoder.close()
            self._idle_decoder = None

    @contextmanager
    def _decoder(self, *, reuse: bool) -> Iterator[_Decoder]:
        """The file from its beginning. With `reuse` it is the decoder of the last time, and left open for the next.

        A decoder has threads, and memory for each: opened anew for every loop of a video they would add up.
        """
        with self._lock:
            decoder = self._idle_decoder if reuse else None
            if reuse:
                self._idle_decoder = None
        if decoder is not None and not decoder.rewind():
            decoder.close()
            decoder = None
        decoder = decoder or self._open()
        try:
            yield decoder
        finally:
            with self._lock:
                if reuse and not self._closed and self._idle_decoder is None:
                    self._idle_decoder = decoder
                else:
                    decoder.close()

    def _open(self) -> _Decoder:
        try:
            container = av.open(f"file:{self._path}", options=_OPTIONS)
        except PermissionError as error:
            raise SourceError(f"the video {plain(self._path)} may not be read: {error.strerror}") from error
        except FileNotFoundError as error:
            raise MissingFileError(f"no video file {plain(self._path)}") from error
        except (av.FFmpegError, OSError, ValueError) as error:
            raise FormatError(
                f"{plain(self._path)} is not a video that can be read, or its index is cut off ({_reason(error)}); "
                "`ffmpeg -i` on it says more"
            ) from error
        try:
            return _Decoder(container, self._path)
        except FormatError:
            container.close()
            raise


class DecodeErrors:
    """What could not be decoded."""

    def __init__(self) -> None:
        self.n_packets = 0
        self.last = ""
        self.end: str | None = None
        """Why the file cannot be read any further."""

    def warnings(self) -> tuple[str, ...]:
        """Sentences about it."""
        sentences = []
        if self.n_packets:
            sentences.append(f"{self.n_packets} damaged parts of the video were skipped ({self.last})")
        if self.end is not None:
            sentences.append(f"the video breaks off ({self.end}); the frames before were kept")
        return tuple(sentences)

    def reason(self) -> str:
        """The last error, in brackets; empty if there was none."""
        reason = self.end or self.last
        return f" ({reason})" if reason else ""


class _Decoder:
    """An open file and its first video stream."""

    def __init__(self, container: Any, path: Path) -> None:
        # A cover image in an audio file is no video.
        cover = av.stream.Disposition.attached_pic
        streams = [stream for stream in container.streams.video if not stream.disposition & cover]
        if not streams:
            kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
            raise FormatError(f"expected a video with images; {plain(path)} holds only {kinds}")
        self._stream = stream = streams[0]
        if stream.codec_context is None:
            raise FormatError(
                f"the images in {plain(path)} are coded in a way that FFmpeg does not know, or its index is cut off"
            )
        self._container = container
        self._path = path
        self._reformatter = VideoReformatter()
        self._aspect = float(stream.sample_aspect_ratio or 1)
        self._matrix: tuple[int, int, int, int] | None = None
        self._check_size(stream.codec_context)
        stream.thread_type = "AUTO"

    @property
    def fps(self) -> float | None:
        """Average frames per second, by the header."""
        return float(self._stream.average_rate) if self._stream.average_rate else None

    @property
    def duration(self) -> float | None:
        """Seconds, by the header."""
        stream = self._stream
        if stream.duration is not None and stream.time_base is not None:
            return float(stream.duration * stream.time_base)
        alone = self._container.duration is not None and len(self._container.streams) == 1
        return self._container.duration / av.time_base if alone else None

    @property
    def n_frames(self) -> int | None:
        """Number of frames, by the header, or by its duration and rate."""
        if self._stream.frames or self.duration is None or self.fps is None:
            return self._stream.frames or None
        return round(self.duration * self.fps) or None

    @property
    def start(self) -> float | None:
        """Seconds at which the images begin, on the file's own clock."""
        if self._stream.start_time is None or self._stream.time_base is None:
            return None
        return float(self._stream.start_time * self._stream.time_base)

    def seek(self, seconds: float) -> None:
        """Go to the key frame at or before a moment, on the file's own clock.

        Raises:
            av.FFmpegError: the file does not allow it.
        """
        self._container.seek(int(seconds / self._stream.time_base), stream=self._stream)

    def rewind(self) -> bool:
        """Go to the beginning; False if the file does not allow it."""
        if self.start is None:
            return False
        try:
            self.seek(self.start)
        except av.FFmpegError:
            return False
        return True

    def frames(self, errors: DecodeErrors) -> Iterator[Any]:
        """Frames in order of presentation; damaged packets are skipped and counted."""
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except (av.FFmpegError, OSError) as error:
                errors.end = _reason(error)
                return
            if packet is None:
                return
            try:
                frames = packet.decode()
            except (av.FFmpegError, OSError) as error:
                errors.n_packets += 1
                errors.last = _reason(error)
                continue
            yield from frames

    def image(self, frame: Any) -> Image:
        """A frame as an upright RGB image with square pixels."""
        if self._matrix is None:
            self._matrix = _display_matrix(frame)
        width = self._check_size(frame)
        image: Any = self._reformatter.reformat(frame, width=width, format="rgb24").to_ndarray()
        return _turn_upright(image, self._matrix)

    def _check_size(self, frame: Any) -> int:
        """The width with square pixels."""
        width: int = max(round(frame.width * self._aspect) if self._aspect > 0 else frame.width, 1)
        check_image_size(max(width, frame.width), frame.height, self._path, FormatError)
        return width

    def close(self) -> None:
        """Free the file."""
        self._container.close()


def _display_matrix(frame: Any) -> tuple[int, int, int, int]:
    """The 2 x 2 part (a, b, c, d) of the frame's display matrix: x' = a x + c y, y' = b x + d y."""
    data = frame.side_data.get(SideData.DISPLAYMATRIX)
    if data is None:
        return 1, 0, 0, 1
    a, b, _, c, d = np.frombuffer(data, dtype=np.int32)[:5].tolist()
    return a, b, c, d


def _turn_upright(image: Image, matrix: tuple[int, int, int, int]) -> Image:
    """The image rotated by quarters and flipped as the matrix asks; other angles to the nearest quarter."""
    a, b, c, d = matrix
    if abs(b) > abs(a):
        image = image.transpose(1, 0, 2)
        x, y = c, b
    else:
        x, y = a, d
    if x < 0:
        image = image[:, ::-1]
    if y < 0:
        image = image[::-1]
    return np.ascontiguousarray(image)


def _reason(error: Exception) -> str:
    """The message of FFmpeg or of the system, without the file's name."""
    return plain(getattr(error, "strerror", None) or str(error) or type(error).__name__)
