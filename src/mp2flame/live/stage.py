"""A source whose inside can be exchanged while the corridor runs."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import replace

import numpy as np

from mp2flame.data import Observation
from mp2flame.errors import Mp2FlameError
from mp2flame.live.clock import RoadClock
from mp2flame.sources.base import Source

__all__ = ["Stage"]

_LOGGER = logging.getLogger("mp2flame")
_STEP = 1 / 30


class Stage(Source):
    """Hands on the observations of whichever source is on stage; with none, or when one has ended, it waits.

    Times go on rising from one source to the next by the wall clock between them, so filters and recordings see one
    stream. A source that breaks off is taken off stage and told of; the stage stays.

    Args:
        clock: is told when each frame was taken.
        on_end: called in the reading thread when a source ends by itself, with its error if it had one.
    """

    live = True

    def __init__(self, clock: RoadClock, on_end: Callable[[Exception | None], None]) -> None:
        self._clock = clock
        self._on_end = on_end
        self._source: Source | None = None
        self._changed = threading.Condition()
        self._closed = False
        self._out = 0.0
        self._ended_at: float | None = None

    def show(self, source: Source | None) -> None:
        """Put a source on stage and close the one before."""
        with self._changed:
            if self._closed:
                before, self._source = source, None
            else:
                before, self._source = self._source, source
            self._changed.notify_all()
        if before is not None:
            before.close()

    def __iter__(self) -> Generator[Observation, None, None]:
        """Observations until the stage is closed."""
        while True:
            with self._changed:
                while self._source is None and not self._closed:
                    self._changed.wait()
                source = self._source
                if self._closed or source is None:
                    return
            error: Exception | None = None
            try:
                yield from self._play(source)
            except (Mp2FlameError, OSError) as caught:
                error = caught
            with self._changed:
                left = self._source is source
                if left:
                    self._source = None
            self._ended_at = time.monotonic()
            if left:
                source.close()
                if error is not None:
                    # Whoever has not opened the page yet reads it here.
                    _LOGGER.warning("the source has ended: %s", error)
                self._on_end(error)

    def _play(self, source: Source) -> Generator[Observation, None, None]:
        first: float | None = None
        base = self._out
        # Whether pictures are wanted may change at any frame.
        source.keep_image = self.keep_image
        for observation in source:
            if self._source is not source:
                return
            now = float(observation.time[0])
            if first is None:
                first = now
                if self._ended_at is not None:
                    base += max(_STEP, time.monotonic() - self._ended_at)
            self._out = base + now - first
            self._clock.taken(self._out)
            yield replace(observation, time=np.array([self._out]))
            source.keep_image = self.keep_image

    def close(self) -> None:
        """End the iteration and close what is on stage; safe to call twice and from any thread."""
        with self._changed:
            self._closed = True
            source, self._source = self._source, None
            self._changed.notify_all()
        if source is not None:
            source.close()
