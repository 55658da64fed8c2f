"""An open video file and the pictures in it, decoded by PyAV (FFmpeg's libraries)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from mp2flame.sources.extras import importing
from mp2flame.sources.frames import Picture

with importing("av", "read video files"):
    import av
    from av.sidedata.sidedata import Type as SideData
    from av.video.reformatter import VideoReformatter

__all__ = ["Damage", "Decoder", "reason_of"]


class Damage:
    """What could not be decoded."""

    def __init__(self) -> None:
        self.packets = 0
        self.stopped: str | None = None
        self.last = ""

    def remarks(self) -> tuple[str, ...]:
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

    def frames(self, damage: Damage) -> Iterator[Any]:
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


def reason_of(error: Exception) -> str:
    """What FFmpeg or the system says, in few words."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
