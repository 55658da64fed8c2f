"""The source that sees: pictures from a reader through a face detector."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import suppress
from typing import Any, ClassVar, Protocol

from numpy.typing import NDArray

from mp2flame.data import Observation
from mp2flame.errors import SourceError
from mp2flame.sources.ahead import read_ahead
from mp2flame.sources.base import Source
from mp2flame.sources.frames import FrameReader
from mp2flame.sources.pictures import mirrored, rgb_picture

__all__ = ["DetectedSource", "Detector", "LiveDetectedSource"]


class Detector(Protocol):
    """What `DetectedSource` asks of a detector; `mp2flame.sources.detector.FaceDetector` is one."""

    def detect(self, picture: NDArray[Any], time: float, *, keep_picture: bool = False) -> Observation:
        """What is seen in one picture (H, W, 3)."""

    def reset(self) -> None:
        """Forget what was seen and free what is held."""


class DetectedSource(Source):
    """Observations of the faces in a reader's pictures.

    Nothing is read or detected before it is iterated; the next pictures of a file are then read while one is looked
    at. Each iteration starts with the first picture and a detector that remembers nothing, so a file gives the same
    observations every time; it ends an iteration that still runs.

    Args:
        reader: where pictures come from.
        detector: what sees faces in them.
        mirror: the pictures are mirrored: they are turned back before detection, and handed on so.
    """

    def __init__(self, reader: FrameReader, detector: Detector, *, mirror: bool = False) -> None:
        self.reader = reader
        self.detector = detector
        self.mirror = mirror
        self._closed = threading.Event()
        self._walk: Generator[Observation, None, None] | None = None

    @property
    def frame_count(self) -> int | None:
        """How many frames are expected, where the reader knows it."""
        return self.reader.frame_count

    @property
    def frame_rate(self) -> float | None:
        """Frames per second on average, where the reader knows it."""
        return self.reader.frame_rate

    @property
    def remarks(self) -> tuple[str, ...]:
        """What the reader has to say about the frames read so far."""
        return self.reader.remarks

    def __iter__(self) -> Generator[Observation, None, None]:
        """One observation for each picture; a picture that could not be read has no face.

        Raises:
            SourceError: the source is closed, or the device or file cannot be read, or the detector failed.
            FormatError: the file is not what it should be.
        """
        if self._closed.is_set():
            raise SourceError("this source is closed: open it again to read it again")
        if self._walk is not None:
            self._walk.close()
        self._walk = self._observe()
        return self._walk

    def _observe(self) -> Generator[Observation, None, None]:
        # A camera's pictures are taken when they are wanted; a file's are ready by then.
        frames = iter(self.reader) if self.live else read_ahead(iter(self.reader))
        self.detector.reset()
        try:
            for time, picture in frames:
                if self._closed.is_set():
                    return
                if picture is None:
                    yield Observation.missing(time)
                    continue
                seen = mirrored(rgb_picture(picture)) if self.mirror else picture
                yield self.detector.detect(seen, time, keep_picture=self.keep_picture)
        finally:
            frames.close()
            self.detector.reset()

    def close(self) -> None:
        """Free the device and the detector; safe to call twice, and from another thread than the one that reads."""
        self._closed.set()
        self.reader.close()
        if self._walk is not None:
            # Running in another thread it cannot be closed from here; it sees the flag at its next frame.
            with suppress(ValueError):
                self._walk.close()


class LiveDetectedSource(DetectedSource):
    """The same from a device whose frames are lost if not taken."""

    live: ClassVar[bool] = True
