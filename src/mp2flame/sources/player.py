"""Plays files in real time as if they were cameras: play, pause, loop and seek."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Final, TypeVar

import numpy as np
from typing_extensions import override

from mp2flame.data import Observation, replace_unchecked
from mp2flame.sources.base import TIME_TOLERANCE, FrameReader, Source, TimedImage, closed_error
from mp2flame.sources.detection import DetectedSource

_DEFAULT_STEP: Final = 1 / 30
_MAX_SECONDS_WITHOUT_FRAME: Final = 0.2
"""Late frames are skipped, but not for longer than this."""

_Item = TypeVar("_Item")


@dataclass
class _Pass:
    """One pass through a file, from its beginning or from the position of a seek."""

    first: float | None = None
    """The file's time of the first frame."""
    last: float = 0.0
    """The file's time of the latest frame."""
    step: float = _DEFAULT_STEP
    due: float = field(default_factory=time.monotonic)
    """When to show the latest frame."""
    shown: float = field(default_factory=time.monotonic)
    """When a frame was shown last."""

    @property
    def elapsed(self) -> float:
        """Seconds from the first frame to the latest."""
        return 0.0 if self.first is None else self.last - self.first

    def is_late(self, tolerance: float) -> bool:
        """Whether the latest frame should be skipped."""
        now = time.monotonic()
        return now - self.due > max(self.step, tolerance) and now - self.shown < _MAX_SECONDS_WITHOUT_FRAME


class Player:
    """The controls and the position of a playback; may be used from any thread.

    Args:
        loop: start again at the end.
        duration: seconds, where it is known beforehand; otherwise it is known once the end was reached.
        tolerance: seconds that a frame may be late without being skipped.
    """

    def __init__(self, *, loop: bool = True, duration: float | None = None, tolerance: float = _DEFAULT_STEP) -> None:
        self.loop = loop
        self.duration = duration
        self.position = 0.0
        """Seconds into the file of the frame shown last."""
        self.skipped = 0
        """Frames left out because they came too late."""
        self._tolerance = tolerance
        self.playing = True
        """Whether it plays; changed by `play` and `pause`."""
        self._target: float | None = None
        self._closed = False
        self._changed = threading.Condition()

    def play(self) -> None:
        """Continue from the current position; at the end of a file that does not loop, from its beginning."""
        with self._changed:
            self.playing = True
            self._changed.notify_all()

    def pause(self) -> None:
        """Stay at the frame that is shown."""
        with self._changed:
            self.playing = False
            self._changed.notify_all()

    def seek(self, seconds: float) -> None:
        """Show the first frame at or after a moment of the file, and continue from there if it plays."""
        with self._changed:
            self._target = max(0.0, seconds)
            self._changed.notify_all()

    def close(self) -> None:
        """End the playback."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def frames(
        self,
        begin: Callable[[float], Generator[_Item, None, None]],
        time_of: Callable[[_Item], float],
        with_time: Callable[[_Item, float], _Item],
    ) -> Generator[_Item, None, None]:
        """Items in real time, until `close` (a file that does not loop waits at its end).

        Args:
            begin: starts the items at a moment of the file, or before it.
            time_of: an item's time in the file, seconds, rising from 0.
            with_time: the item with another time; these times rise through loops and seeks.
        """
        offset = start = 0.0
        while True:
            current = _Pass()
            items = begin(start)
            try:
                for item in items:
                    now = time_of(item)
                    if now < start - TIME_TOLERANCE:
                        continue
                    if not self._wait_until_due(current, now):
                        break
                    if current.is_late(self._tolerance):
                        self.skipped += 1
                        continue
                    self.position = now
                    current.shown = time.monotonic()
                    yield with_time(item, offset + current.elapsed)
                    self._yield_processor(current)
                else:
                    self._wait_at_end(current)
            finally:
                items.close()
            offset += current.elapsed + current.step
            with self._changed:
                if self._closed:
                    return
                start, self._target = self._target or 0.0, None

    def _wait_until_due(self, current: _Pass, now: float) -> bool:
        """Wait until the frame of the file's time `now` is due; False if there is a seek or an end instead."""
        if current.first is None:
            current.first = current.last = now
            current.due = time.monotonic()
            return True
        current.step = max(now - current.last, 1e-4)
        current.last = now
        current.due += current.step
        paused = self._wait(current.due)
        current.due += paused or 0.0
        return paused is not None

    def _yield_processor(self, current: _Pass) -> None:
        """Sleep for part of the spare time, so that downstream work does not compete with decoding."""
        spare = current.due + current.step - time.monotonic()
        with self._changed:
            if spare > 0 and self._target is None and not self._closed:
                self._changed.wait(spare / 3)

    def _wait_at_end(self, current: _Pass) -> None:
        if current.first is None:
            # An empty file must not spin.
            self._wait(time.monotonic() + _MAX_SECONDS_WITHOUT_FRAME)
            return
        self.duration = current.last + current.step
        if not self.loop and self._target is None:
            self.pause()
        self._wait(current.due + current.step)

    def _wait(self, due: float) -> float | None:
        """Wait until a moment, longer while paused: the seconds spent paused, or None if there is a seek or an end."""
        paused = 0.0
        with self._changed:
            while not self._closed and self._target is None:
                if not self.playing:
                    began = time.monotonic()
                    self._changed.wait()
                    paused += time.monotonic() - began
                    continue
                left = due + paused - time.monotonic()
                if left <= 0:
                    return paused
                self._changed.wait(left)
            return None


class ReaderPlayer(FrameReader):
    """The images of a file as a camera would deliver them.

    Args:
        reader: the file.
        player: its controls.
    """

    live = True

    def __init__(self, reader: FrameReader, player: Player) -> None:
        self._reader = self._origin = reader
        self._player = player
        self.mode = reader.mode

    @override
    def __iter__(self) -> Generator[TimedImage, None, None]:
        return self._player.frames(self._reader.begin_at, lambda item: item[0], lambda item, moment: (moment, item[1]))

    @override
    def close(self) -> None:
        self._player.close()
        self._reader.close()


class SourcePlayer(Source):
    """A file without images, such as a recording, in real time.

    Args:
        source: the file.
        player: its controls.
    """

    live = True

    def __init__(self, source: Source, player: Player) -> None:
        self._source = self._origin = source
        self._player = player
        self._closed = False

    @override
    def __iter__(self) -> Generator[Observation, None, None]:
        if self._closed:
            raise closed_error()
        return self._player.frames(self._begin, _time_of, _with_time)

    def _begin(self, _: float) -> Generator[Observation, None, None]:
        start: float | None = None
        for observation in self._source:
            if start is None:
                start = _time_of(observation)
            yield _with_time(observation, _time_of(observation) - start)

    @override
    def close(self) -> None:
        self._closed = True
        self._player.close()
        self._source.close()


def _time_of(observation: Observation) -> float:
    return float(observation.time[0])


def _with_time(observation: Observation, moment: float) -> Observation:
    time_ = np.array([moment])
    time_.flags.writeable = False
    return replace_unchecked(observation, time=time_)


def play_in_real_time(source: Source) -> tuple[Source, Player | None]:
    """A file as a live source with its player; a source that is live already, unchanged, without one."""
    if source.live:
        return source, None
    duration = source.n_frames / source.fps if source.n_frames is not None and source.fps else None
    player = Player(duration=duration)
    if isinstance(source, DetectedSource):
        reader = ReaderPlayer(source.reader, player)
        return DetectedSource(reader, source.detector, mirror=source.mirror), player
    return SourcePlayer(source, player), player
