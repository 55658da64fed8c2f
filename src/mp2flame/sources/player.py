"""Files played at their own pace, as the stand-in of a camera: play, pause, loop and scrub."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from typing import TypeVar

from mp2flame.data import Observation
from mp2flame.errors import SourceError
from mp2flame.sources.base import TIME_TOLERANCE, FrameReader, Source, TimedImage
from mp2flame.sources.detection import DetectedSource

_DEFAULT_STEP = 1 / 30
_SHOWN_AT_LEAST_EVERY = 0.2
"""Seconds: late frames are left out, but not for longer than this."""

_Item = TypeVar("_Item")


@dataclass
class _Run:
    """One way through a file, from the start, or from where it was scrubbed to."""

    first: float | None = None
    """The file's time of the first frame."""
    last: float = 0.0
    """The file's time of the latest frame."""
    step: float = _DEFAULT_STEP
    due: float = field(default_factory=time.monotonic)
    """When the latest frame should be shown."""
    shown: float = field(default_factory=time.monotonic)
    """When a frame was shown last."""

    @property
    def elapsed(self) -> float:
        """Seconds from the first frame to the latest."""
        return 0.0 if self.first is None else self.last - self.first


class Player:
    """The buttons of a player, and where it is; may be used from any thread.

    Args:
        loop: begin again at the end.
        duration: seconds, where it is known beforehand; else it is known once the end was reached.
    """

    def __init__(self, *, loop: bool = True, duration: float | None = None) -> None:
        self.loop = loop
        self.duration = duration
        self.position = 0.0
        """Seconds into the file of the frame shown last."""
        self.skipped = 0
        """Frames left out because they came too late."""
        self._playing = True
        self._wanted: float | None = None
        self._closed = False
        self._changed = threading.Condition()

    @property
    def playing(self) -> bool:
        """Whether it plays; False while it is paused."""
        return self._playing

    def play(self) -> None:
        """Go on from where it is; at the end of a file that does not loop, from its beginning."""
        with self._changed:
            self._playing = True
            self._changed.notify_all()

    def pause(self) -> None:
        """Stay at the frame that is shown."""
        with self._changed:
            self._playing = False

    def seek(self, seconds: float) -> None:
        """Show the first frame at or after a moment of the file, and go on from there if it plays."""
        with self._changed:
            self._wanted = max(0.0, seconds)
            self._changed.notify_all()

    def close(self) -> None:
        """Wake who waits, and end what plays."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def frames(
        self,
        begin: Callable[[float], Generator[_Item, None, None]],
        time_of: Callable[[_Item], float],
        retimed: Callable[[_Item, float], _Item],
    ) -> Generator[_Item, None, None]:
        """Items in their own pace, endlessly if it loops, until `close`.

        Args:
            begin: starts at a moment of the file, or before it.
            time_of: an item's time in the file, seconds, rising from 0.
            retimed: the item with another time; times rise without end, whatever is repeated or skipped.
        """
        out = start = 0.0
        while True:
            run = _Run()
            items = begin(start)
            try:
                for item in items:
                    now = time_of(item)
                    if now < start - TIME_TOLERANCE:
                        continue
                    if not self._turn(run, now):
                        break
                    if self._late(run):
                        self.skipped += 1
                        continue
                    self.position = now
                    run.shown = time.monotonic()
                    yield retimed(item, out + run.elapsed)
                    self._make_way(run)
                else:
                    self._at_end(run)
            finally:
                items.close()
            out += run.elapsed + run.step
            with self._changed:
                if self._closed:
                    return
                start, self._wanted = self._wanted or 0.0, None

    def _turn(self, run: _Run, now: float) -> bool:
        """Wait until a frame of the file's time `now` is due; False if there is a jump or an end instead."""
        if run.first is None:
            run.first = run.last = now
            run.due = time.monotonic()
            return True
        run.step = max(now - run.last, 1e-4)
        run.last = now
        run.due += run.step
        paused = self._wait(run.due)
        run.due += paused or 0.0
        return paused is not None

    def _make_way(self, run: _Run) -> None:
        """Leave the processor to what is done with a frame, where there is time, before the next one is decoded."""
        spare = run.due + run.step - time.monotonic()
        with self._changed:
            if spare > 0 and self._wanted is None and not self._closed:
                self._changed.wait(spare / 3)

    def _at_end(self, run: _Run) -> None:
        if run.first is None:
            # An empty file must not spin.
            time.sleep(_SHOWN_AT_LEAST_EVERY)
            return
        self.duration = run.last + run.step
        if not self.loop and self._wanted is None:
            self.pause()
        self._wait(run.due + run.step)

    def _wait(self, due: float) -> float | None:
        """Wait until a moment, longer while paused: the seconds spent paused, or None if there is a jump or an end."""
        paused = 0.0
        with self._changed:
            while not self._closed and self._wanted is None:
                if not self._playing:
                    began = time.monotonic()
                    self._changed.wait()
                    paused += time.monotonic() - began
                    continue
                left = due + paused - time.monotonic()
                if left <= 0:
                    return paused
                self._changed.wait(left)
            return None

    @staticmethod
    def _late(run: _Run) -> bool:
        now = time.monotonic()
        return now - run.due > max(run.step, _DEFAULT_STEP) and now - run.shown < _SHOWN_AT_LEAST_EVERY


class ReaderPlayer(FrameReader):
    """The pictures of a file as a camera would give them.

    Args:
        reader: the file.
        transport: plays it.
    """

    live = True

    def __init__(self, reader: FrameReader, transport: Player) -> None:
        self._reader = reader
        self._transport = transport
        self.mode = reader.mode

    @property
    def fps(self) -> float | None:
        """Frames per second on average, where the file knows it."""
        return self._reader.fps

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the file's reader has to say."""
        return self._reader.warnings

    def __iter__(self) -> Generator[TimedImage, None, None]:
        """Timed pictures, until it is closed."""
        return self._transport.frames(
            self._reader.begin_at, lambda item: item[0], lambda item, moment: (moment, item[1])
        )

    def close(self) -> None:
        """End the iteration."""
        self._transport.close()
        self._reader.close()


class SourcePlayer(Source):
    """A file without pixels, such as a recording, in its own pace.

    Args:
        source: the file.
        transport: plays it.
    """

    live = True

    def __init__(self, source: Source, transport: Player) -> None:
        self._source = source
        self._transport = transport
        self._closed = False

    @property
    def fps(self) -> float | None:
        """Frames per second on average, where the file knows it."""
        return self._source.fps

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the file's source has to say."""
        return self._source.warnings

    def __iter__(self) -> Generator[Observation, None, None]:
        """Observations, until it is closed.

        Raises:
            SourceError: it is closed.
        """
        if self._closed:
            raise SourceError("this source is closed: open it again to play it again")
        return self._transport.frames(self._begin, _time_of, _retimed)

    def _begin(self, _: float) -> Generator[Observation, None, None]:
        start: float | None = None
        for observation in self._source:
            if start is None:
                start = _time_of(observation)
            yield _retimed(observation, _time_of(observation) - start)

    def close(self) -> None:
        """End the iteration and free the file; safe to call twice."""
        self._closed = True
        self._transport.close()
        self._source.close()


def _time_of(observation: Observation) -> float:
    return float(observation.time[0])


def _retimed(observation: Observation, moment: float) -> Observation:
    return replace(observation, time=observation.time * 0 + moment)


def play_in_real_time(source: Source) -> tuple[Source, Player | None]:
    """A file as a live source with its transport; a source that is live already, as it is, without one."""
    if source.live:
        return source, None
    rate = source.fps
    duration = source.n_frames / rate if source.n_frames is not None and rate else None
    transport = Player(duration=duration)
    if isinstance(source, DetectedSource):
        reader = ReaderPlayer(source.reader, transport)
        return DetectedSource(reader, source.detector, mirror=source.mirror), transport
    return SourcePlayer(source, transport), transport
