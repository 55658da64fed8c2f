"""Threads between rooms: a bounded inbox behind the source, and a lane with its own thread for each sink.

A lane of an `every` sink blocks a file source when it is full and counts drops of a live one; a lane of a `latest`
sink holds one frame, and a newer frame takes its place. A sink that never waits needs no thread: it is on a short lane.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

from mp2flame.data import Frame
from mp2flame.pipeline.timing import Stopwatch
from mp2flame.sinks.base import Sink

__all__ = ["Inbox", "Lane", "ShortLane", "lane_for"]

_FILE_CAPACITY = 8
_LIVE_CAPACITY = 64

_Item = TypeVar("_Item")


class Inbox(Generic[_Item]):
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
        """Add an item; False if the inbox has ended and nobody will take it."""
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
        """No more items will come; with `discard`, what waits is thrown away too."""
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


class ShortLane:
    """One sink that is written at once, in the thread that hands the frame over.

    Args:
        sink: where the frames go.
        name: by which drops and timings speak of it.
        stopwatch: is told how long a frame took from the source to the end of the write.
    """

    def __init__(self, sink: Sink, name: str, stopwatch: Stopwatch) -> None:
        self.sink = sink
        self.name = name
        self.error: Exception | None = None
        self.written = self.dropped = 0
        self._stopwatch = stopwatch
        self._open = True
        self._lock = threading.Lock()

    def put(self, frame: Frame) -> None:
        """Write a frame; a lane that failed or has ended takes nothing."""
        with self._lock:
            if not self._open:
                return
            started = time.perf_counter()
            try:
                self.sink.write(frame)
            except Exception as error:  # noqa: BLE001 - kept and told by the corridor, as of every sink
                self.error, self._open = error, False
                _abort(self.sink, error)
                return
            ended = time.perf_counter()
            self.written += 1
            self._stopwatch.add(self.name, ended - started)
            self._stopwatch.add(f"arrival to {self.name}", ended - frame.arrival)

    def finish(self) -> None:
        """Close the sink."""
        with self._lock:
            if not self._open:
                return
            self._open = False
            try:
                self.sink.close()
            except Exception as error:  # noqa: BLE001 - kept and told by the corridor, as of every sink
                self.error = error
                _abort(self.sink, error)


class Lane:
    """One sink and the thread in which it is written, closed and aborted.

    Args:
        sink: where the frames go.
        name: by which drops and timings speak of it.
        live: the source will not wait.
        stopwatch: is told how long a frame took from the source to the end of the write.
    """

    def __init__(self, sink: Sink, name: str, *, live: bool, stopwatch: Stopwatch) -> None:
        self.sink = sink
        self.name = name
        self.error: Exception | None = None
        self.written = 0
        latest = sink.policy == "latest"
        capacity = 1 if latest else _LIVE_CAPACITY if live else _FILE_CAPACITY
        self._inbox: Inbox[Frame] = Inbox(capacity, wait=not (latest or live))
        self._stopwatch = stopwatch
        self._thread = threading.Thread(target=self._run, name=f"mp2flame-{name}", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Frames that were replaced by newer ones or found no place."""
        return self._inbox.dropped

    def put(self, frame: Frame) -> None:
        """Hand a frame over; a failed lane takes nothing."""
        self._inbox.put(frame)

    def finish(self) -> None:
        """Write what waits, close the sink, end the thread."""
        self._inbox.end()
        self._thread.join()

    def _run(self) -> None:
        try:
            for frame in self._inbox:
                started = time.perf_counter()
                self.sink.write(frame)
                ended = time.perf_counter()
                self.written += 1
                self._stopwatch.add(self.name, ended - started)
                self._stopwatch.add(f"arrival to {self.name}", ended - frame.arrival)
            self.sink.close()
        except Exception as error:  # noqa: BLE001 - kept and raised by the corridor, in its own thread
            self.error = error
            self._inbox.end(discard=True)
            _abort(self.sink, error)


def lane_for(sink: Sink, name: str, *, live: bool, stopwatch: Stopwatch) -> Lane | ShortLane:
    """The lane that suits a sink."""
    return ShortLane(sink, name, stopwatch) if sink.instant else Lane(sink, name, live=live, stopwatch=stopwatch)


def _abort(sink: Sink, first: Exception) -> None:
    try:
        sink.abort()
    except Exception as error:  # noqa: BLE001 - the first error is the one to tell
        first.__context__ = error
