"""The source that detects faces in the images of a reader, which are read ahead in a thread of their own."""

from __future__ import annotations

import queue
import threading
import weakref
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final, Protocol, TypeVar

from numpy.typing import NDArray
from typing_extensions import override

from mp2flame.data import Observation
from mp2flame.sources.base import FrameReader, Source, closed_error
from mp2flame.sources.images import mirror_image, to_rgb

_Item = TypeVar("_Item")
_POLL_SECONDS: Final = 0.2
_STOP_SECONDS: Final = 1.0


class Detector(Protocol):
    """What `DetectedSource` needs of a detector; `mp2flame.sources.detector.FaceDetector` is one."""

    def detect(self, image: NDArray[Any], time: float, *, keep_image: bool = False) -> Observation:
        """The face in one image (H, W, 3)."""

    def reset(self) -> None:
        """Forget previous images and free resources."""


class DetectedSource(Source):
    """Observations of the faces in a reader's images.

    Nothing is read or detected before the first observation is asked for. Each iteration starts with the first image
    and a detector without a memory, so a file gives the same observations every time; a new iteration ends the one
    before. An iteration that is dropped frees the device at once.

    Args:
        reader: where images come from.
        detector: finds faces in them.
        mirror: the images are mirrored: they are flipped before detection, and handed on so.
    """

    def __init__(self, reader: FrameReader, detector: Detector, *, mirror: bool = False) -> None:
        self.reader = self._origin = reader
        self.detector = detector
        self.mirror = mirror
        self.live = reader.live
        self.detection_seconds = 0.0
        """Duration of the latest detection."""
        self._closed = threading.Event()
        # Weak: a source and its iteration that held each other would be freed by the garbage collector, at any
        # moment and in any thread, and not when the last name for them is gone.
        self._iteration: weakref.ref[Generator[Observation, None, None]] | None = None

    @override
    def __iter__(self) -> Generator[Observation, None, None]:
        if self._closed.is_set():
            raise closed_error()
        self._end_iteration()
        iteration = self._observe()
        self._iteration = weakref.ref(iteration)
        return iteration

    def _observe(self) -> Generator[Observation, None, None]:
        # A camera's image is taken when it is needed; a file's is decoded by then.
        frames = iter(self.reader) if self.live else prefetch(iter(self.reader), stop=self._closed)
        self.detector.reset()
        try:
            for time, image in frames:
                if self._closed.is_set():
                    return
                if image is None:
                    yield Observation.missing(time)
                    continue
                upright = mirror_image(to_rgb(image)) if self.mirror else image
                start = perf_counter()
                observation = self.detector.detect(upright, time, keep_image=self.keep_image)
                self.detection_seconds = perf_counter() - start
                yield observation
        finally:
            frames.close()
            self.detector.reset()

    @override
    def close(self) -> None:
        self._closed.set()
        self.reader.close()
        self._end_iteration()

    def _end_iteration(self) -> None:
        iteration = None if self._iteration is None else self._iteration()
        if iteration is not None:
            # If it runs in another thread it cannot be closed from here; it sees `_closed` at its next frame.
            with suppress(ValueError):
                iteration.close()


@dataclass(frozen=True)
class _End:
    """Follows the last item."""

    error: Exception | None


def prefetch(
    items: Generator[_Item, None, None], *, size: int = 2, stop: threading.Event | None = None
) -> Generator[_Item, None, None]:
    """The same items in the same order, made in a thread of their own; an exception is raised in its place.

    Nothing is made before the first item is asked for. Closing this closes `items`.

    Args:
        items: made one by one; closed at the end, in the thread that makes them.
        size: how many are made before they are asked for, at least 2.
        stop: ends the wait for an item when set, from any thread.
    """
    # One more item waits outside the queue until there is room.
    ready: queue.Queue[_Item | _End] = queue.Queue(maxsize=size - 1)
    stopping = threading.Event()
    # A daemon: an iteration that nobody ends must not keep the program from ending.
    thread = threading.Thread(target=_make, args=(items, ready, stopping), name="mp2flame-prefetch", daemon=True)
    thread.start()
    try:
        while not isinstance(item := _take(ready, stop), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        stopping.set()
        # Makes room for the item that may wait.
        with suppress(queue.Empty):
            while True:
                ready.get_nowait()
        if thread is not threading.current_thread():
            thread.join(_STOP_SECONDS)


def _make(items: Generator[_Item, None, None], ready: queue.Queue[_Item | _End], stopping: threading.Event) -> None:
    error: Exception | None = None
    try:
        for item in items:
            ready.put(item)
            if stopping.is_set():
                break
    except Exception as caught:  # noqa: BLE001 - raised again where the items are taken
        error = caught
    finally:
        items.close()
        if not stopping.is_set():
            ready.put(_End(error))


def _take(ready: queue.Queue[_Item | _End], stop: threading.Event | None) -> _Item | _End:
    while stop is None or not stop.is_set():
        with suppress(queue.Empty):
            return ready.get(timeout=_POLL_SECONDS)
    return _End(None)
