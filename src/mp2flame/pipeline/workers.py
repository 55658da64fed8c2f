"""Threads between the stages of the pipeline: a bounded queue behind the source, and a worker for each sink.

A full queue of an `every` sink blocks a file source and counts drops of a live one; the queue of a `latest` sink holds
one frame, and a newer frame takes its place. A sink that never blocks is written in the pipeline's own thread.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
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


class InlineSink:
    """A sink that is written in the thread of the pipeline.

    Args:
        sink: where the frames go.
        name: by which drops and timings speak of it.
        stopwatch: collects the time of each write, and the time from the source to its end.
    """

    def __init__(self, sink: Sink, name: str, stopwatch: Stopwatch) -> None:
        self.sink = sink
        self.name = name
        self.error: Exception | None = None
        """The first error of the sink, which is aborted then and gets no more frames."""
        self.written = 0
        self._stopwatch = stopwatch
        self._open = True
        self._lock = threading.Lock()

    @property
    def early(self) -> bool:
        """The sink is written before the head is posed, which it does not wait for."""
        return self.sink.instant and not self.sink.needs_vertices

    @property
    def dropped(self) -> int:
        """Frames that were replaced by newer ones or found no place."""
        return 0

    def put(self, frame: Frame) -> None:
        """Write a frame; a sink that failed or is closed takes nothing."""
        with self._lock:
            if self._open:
                self._guard(lambda: self._write(frame))

    def finish(self, *, failed: bool = False) -> None:
        """Write what waits and close the sink.

        Args:
            failed: the run has failed, so a sink without a single frame is aborted, and does not complain about that.
        """
        with self._lock:
            if self._open:
                self._guard(self.sink.abort if failed and not self.written else self.sink.close)
                self._open = False

    def _write(self, frame: Frame) -> None:
        started = time.perf_counter()
        self.sink.write(frame)
        ended = time.perf_counter()
        self.written += 1
        self._stopwatch.add(self.name, ended - started)
        self._stopwatch.add(f"arrival to {self.name}", ended - frame.arrival)

    def _guard(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:  # noqa: BLE001 - reported by the pipeline
            self.error, self._open = error, False
            try:
                self.sink.abort()
            except Exception as second:  # noqa: BLE001 - the first error is the one to report
                error.__context__ = second


class SinkThread(InlineSink):
    """A sink that is written, closed and aborted in a thread of its own.

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
        for frame in self._queue:
            super().put(frame)
            if self.error is not None:
                self._queue.end(discard=True)
        super().finish(failed=self._failed)
