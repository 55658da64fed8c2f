"""Threads between the stages of the pipeline: a bounded queue behind the source, and a worker for each sink.

A full queue of an `every` sink blocks a file source and counts drops of a live one; the queue of a `latest` sink holds
one frame, and a newer frame takes its place. A sink that never blocks is written in the pipeline's own thread.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from typing import Final, Generic, TypeVar

from typing_extensions import override

from mp2flame.data import Frame
from mp2flame.pipeline.timing import Stopwatch
from mp2flame.sinks.base import Sink

_FILE_CAPACITY: Final = 8
_LIVE_CAPACITY: Final = 64

_Item = TypeVar("_Item")


class BoundedQueue(Generic[_Item]):
    """A bounded first-in first-out queue for one writer and one reader, with an end.

    Args:
        capacity: how many items wait at most.
        wait: a full queue makes the writer wait (True), or loses its oldest item, which is counted (False).
    """

    def __init__(self, capacity: int, *, wait: bool) -> None:
        self.dropped = 0
        self._items: deque[_Item] = deque()
        self._capacity = capacity
        self._wait = wait
        self._ended = False
        self._changed = threading.Condition()

    def put(self, item: _Item) -> bool:
        """Add an item; False if the queue has ended and nobody will take it."""
        with self._changed:
            while self._wait and len(self._items) >= self._capacity and not self._ended:
                self._changed.wait()
            if self._ended:
                return False
            if len(self._items) >= self._capacity:
                self._items.popleft()
                self.dropped += 1
            self._items.append(item)
            self._changed.notify_all()
            return True

    def end(self, *, discard: bool = False) -> None:
        """No more items will come; with `discard`, what waits is dropped too."""
        with self._changed:
            self._ended = True
            if discard:
                self._items.clear()
            self._changed.notify_all()

    def __iter__(self) -> Iterator[_Item]:
        while True:
            with self._changed:
                # A wait without a limit would keep Ctrl-C from the main thread on some platforms.
                while not self._items and not self._ended:
                    self._changed.wait(0.2)
                if not self._items:
                    return
                item = self._items.popleft()
                self._changed.notify_all()
            yield item


class SinkWorker(ABC):
    """Writes, closes and aborts one sink, and keeps the first error of it.

    Args:
        sink: where the frames go.
        name: by which drops and timings speak of it.
        stopwatch: collects the time of each write, and the time from the source to its end.
    """

    def __init__(self, sink: Sink, name: str, stopwatch: Stopwatch) -> None:
        self.sink = sink
        self.name = name
        self.error: Exception | None = None
        self.written = 0
        self._stopwatch = stopwatch

    @property
    def early(self) -> bool:
        """The sink is written before the head is posed, which it does not wait for."""
        return self.sink.instant and not self.sink.needs_vertices

    @property
    @abstractmethod
    def dropped(self) -> int:
        """Frames that were replaced by newer ones or found no place."""

    @abstractmethod
    def put(self, frame: Frame) -> None:
        """Give the sink a frame; one that failed or has ended takes nothing."""

    @abstractmethod
    def finish(self, *, failed: bool = False) -> None:
        """Write what waits and close the sink.

        Args:
            failed: the run has failed, which a sink without a single frame must not complain about: abort it.
        """

    def _write(self, frame: Frame) -> None:
        started = time.perf_counter()
        self.sink.write(frame)
        ended = time.perf_counter()
        self.written += 1
        self._stopwatch.add(self.name, ended - started)
        self._stopwatch.add(f"arrival to {self.name}", ended - frame.arrival)

    def _close(self, *, failed: bool) -> None:
        if failed and self.written == 0:
            self.sink.abort()
        else:
            self.sink.close()

    def _fail(self, error: Exception) -> None:
        self.error = error
        try:
            self.sink.abort()
        except Exception as second:  # noqa: BLE001 - the first error is the one to report
            error.__context__ = second


class InlineSink(SinkWorker):
    """Writes at once, in the thread that calls `put`."""

    dropped = 0

    def __init__(self, sink: Sink, name: str, stopwatch: Stopwatch) -> None:
        super().__init__(sink, name, stopwatch)
        self._open = True
        self._lock = threading.Lock()

    @override
    def put(self, frame: Frame) -> None:
        with self._lock:
            if not self._open:
                return
            try:
                self._write(frame)
            except Exception as error:  # noqa: BLE001 - reported by the pipeline
                self._open = False
                self._fail(error)

    @override
    def finish(self, *, failed: bool = False) -> None:
        with self._lock:
            if not self._open:
                return
            self._open = False
            try:
                self._close(failed=failed)
            except Exception as error:  # noqa: BLE001 - reported by the pipeline
                self._fail(error)


class SinkThread(SinkWorker):
    """Writes, closes and aborts the sink in a thread of its own.

    Args:
        live: the source will not wait.
    """

    def __init__(self, sink: Sink, name: str, stopwatch: Stopwatch, *, live: bool) -> None:
        super().__init__(sink, name, stopwatch)
        latest = sink.policy == "latest"
        capacity = 1 if latest else _LIVE_CAPACITY if live else _FILE_CAPACITY
        self._queue: BoundedQueue[Frame] = BoundedQueue(capacity, wait=not (latest or live))
        self._failed = False
        self._thread = threading.Thread(target=self._run, name=f"mp2flame-{name}", daemon=True)
        self._thread.start()

    @property
    @override
    def dropped(self) -> int:
        return self._queue.dropped

    @override
    def put(self, frame: Frame) -> None:
        self._queue.put(frame)

    @override
    def finish(self, *, failed: bool = False) -> None:
        self._failed = failed
        self._queue.end()
        self._thread.join()

    def _run(self) -> None:
        try:
            for frame in self._queue:
                self._write(frame)
            self._close(failed=self._failed)
        except Exception as error:  # noqa: BLE001 - reported by the pipeline, in its own thread
            self._queue.end(discard=True)
            self._fail(error)


def make_worker(sink: Sink, name: str, stopwatch: Stopwatch, *, live: bool) -> SinkWorker:
    """The worker that suits a sink."""
    return InlineSink(sink, name, stopwatch) if sink.instant else SinkThread(sink, name, stopwatch, live=live)
