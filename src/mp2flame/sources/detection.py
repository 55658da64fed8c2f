"""The source that sees: pictures from a reader through a face detector."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from numpy.typing import NDArray

from mp2flame.data import Observation
from mp2flame.errors import SourceError
from mp2flame.sources.base import FrameReader, Source
from mp2flame.sources.images import mirror_image, to_rgb

_Item = TypeVar("_Item")


@dataclass(frozen=True)
class _End:
    """Behind the last item, and why there are no more."""

    error: Exception | None


class _Reader(Generic[_Item]):
    """Walks through items in a thread of its own, as far as there is room."""

    def __init__(self, items: Generator[_Item, None, None], room: int) -> None:
        self.ready: queue.SimpleQueue[_Item | _End] = queue.SimpleQueue()
        self._items = items
        self._room = threading.Semaphore(room)
        self._stopping = False
        # A walk that nobody ends must not keep the program from ending.
        self._thread = threading.Thread(target=self._run, name="mp2flame-ahead", daemon=True)
        self._thread.start()

    def make_room(self) -> None:
        """Let it read one more item."""
        self._room.release()

    def stop(self) -> None:
        """End the walk and close the items, in their own thread, after the item that is being read."""
        self._stopping = True
        self._room.release()
        self._thread.join()

    def _run(self) -> None:
        error: Exception | None = None
        try:
            while self._room.acquire() and not self._stopping:
                self.ready.put(next(self._items))
        except StopIteration:
            pass
        except Exception as caught:  # noqa: BLE001 - raised again where the items are taken
            error = caught
        finally:
            self._items.close()
            self.ready.put(_End(error))


def read_ahead(items: Generator[_Item, None, None], *, room: int = 2) -> Generator[_Item, None, None]:
    """The same items in the same order, made in a thread of their own; what they raise is raised in its place.

    Nothing is made before the first is asked for. Closing this closes `items`.

    Args:
        items: made one by one; closed at the end, in the thread that makes them.
        room: how many are made before they are asked for.
    """
    reader = _Reader(items, room)
    try:
        while not isinstance(item := reader.ready.get(), _End):
            reader.make_room()
            yield item
        if item.error is not None:
            raise item.error
    finally:
        reader.stop()


class Detector(Protocol):
    """What `DetectedSource` asks of a detector; `mp2flame.sources.detector.FaceDetector` is one."""

    def detect(self, picture: NDArray[Any], time: float, *, keep_image: bool = False) -> Observation:
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
        self.live = reader.live
        self._closed = threading.Event()
        self._walk: Generator[Observation, None, None] | None = None

    @property
    def n_frames(self) -> int | None:
        """How many frames are expected, where the reader knows it."""
        return self.reader.n_frames

    @property
    def fps(self) -> float | None:
        """Frames per second on average, where the reader knows it."""
        return self.reader.fps

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the reader has to say about the frames read so far."""
        return self.reader.warnings

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
                seen = mirror_image(to_rgb(picture)) if self.mirror else picture
                yield self.detector.detect(seen, time, keep_image=self.keep_image)
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
