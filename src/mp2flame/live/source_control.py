"""The source in use: opened by name, exchanged while the pipeline runs, played, mirrored, or replaced by sliders."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from pathlib import Path

import numpy as np
from typing_extensions import override

from mp2flame.data import Observation, replace_unchecked
from mp2flame.errors import Mp2FlameError, plain
from mp2flame.live.sliders import SliderSource
from mp2flame.live.state import LiveSettings
from mp2flame.sources import open_source
from mp2flame.sources.base import Source
from mp2flame.sources.detection import DetectedSource
from mp2flame.sources.player import Player, play_in_real_time

_LOGGER = logging.getLogger("mp2flame")
_STEP = 1 / 30
_RATE_SECONDS = 2.0


class SourceController(Source):
    """A source whose inside can be exchanged while the pipeline runs. Methods may be called from any thread.

    Times keep rising from one source to the next by the wall clock between them, so that filters and recordings see
    one stream. A source that ends or fails is detached and reported; the iteration waits for the next one.

    `on_end` is called in the reading thread when a source ends by itself, with its error if it has one.
    """

    live = True

    def __init__(self, settings: LiveSettings, on_end: Callable[[Exception | None], None]) -> None:
        self.current: Source | None = None
        """The source that frames come from now."""
        self.spec = ""
        """The name or path of the source that is open, or was before the sliders took its place."""
        self.specs = {f"Camera {index}": str(index) for index in range(4)}
        """The sources that can be chosen, by names for a list: what has been opened, and the first cameras."""
        self.player: Player | None = None
        """Plays the source, if it is a file."""
        self.sliders: SliderSource | None = None
        """Takes the place of a source while the camera is off."""
        self.detection_seconds = 0.0
        """Duration of the latest detection; 0 for sources without images."""
        self._landmarker = settings.landmarker
        self._mirror = settings.mirror
        self._on_end = on_end
        self._loop = True
        self._changed = threading.Condition()
        self._closed = False
        self._time = 0.0
        self._ended_at: float | None = None
        self._arrivals: deque[float] = deque(maxlen=256)

    @property
    def name(self) -> str:
        """The name, out of `specs`, of the source that is open."""
        return next((name for name, spec in self.specs.items() if spec == self.spec), self.spec)

    @property
    def frame_rate(self) -> float:
        """Frames per second over the last two seconds."""
        now = time.perf_counter()
        recent = [moment for moment in tuple(self._arrivals) if now - moment <= _RATE_SECONDS]
        return (len(recent) - 1) / (recent[-1] - recent[0]) if len(recent) > 2 else 0.0

    def open(self, spec: str) -> None:
        """Use another source, by its name or as `open_source` understands it; on an error, the present one stays."""
        spec = self.specs.get(spec, spec)
        # Without the lock: a file on a network drive may take as long as it likes.
        source, player = play_in_real_time(open_source(spec, landmarker=self._landmarker))
        if isinstance(source, DetectedSource):
            source.mirror = self._mirror
        if player is not None:
            player.loop = self._loop
        self._use(source, player, None)
        self.spec = spec
        if spec not in self.specs.values():
            name = Path(spec).name if Path(spec).exists() else spec
            self.specs = {(spec if name in self.specs else name): spec, **self.specs}

    def use_sliders(self) -> None:
        """Close the source and use sliders in its place."""
        sliders = SliderSource()
        self._use(sliders, None, sliders)

    def _use(self, source: Source, player: Player | None, sliders: SliderSource | None) -> None:
        with self._changed:
            before: Source | None = source
            if not self._closed:
                before, self.current = self.current, source
                self.player, self.sliders, self.detection_seconds = player, sliders, 0.0
            self._changed.notify_all()
        if before is not None:
            before.close()

    def set_mirror(self, on: bool) -> None:
        """Treat the camera's image as mirrored, from the next frame on."""
        self._mirror = on
        source = self.current
        if isinstance(source, DetectedSource):
            source.mirror = on

    def set_playing(self, on: bool) -> None:
        """Play or pause a file."""
        if self.player is not None:
            (self.player.play if on else self.player.pause)()

    def set_loop(self, on: bool) -> None:
        """Start files again at their end."""
        self._loop = on
        if self.player is not None:
            self.player.loop = on

    def seek(self, seconds: float) -> None:
        """Go to a time of a file."""
        if self.player is not None:
            self.player.seek(seconds)

    def refresh(self) -> None:
        """Produce a frame at once if the sliders are in use, because what is made of them has changed."""
        sliders = self.sliders
        if sliders is not None:
            sliders.refresh()

    @override
    def __iter__(self) -> Generator[Observation, None, None]:
        while True:
            with self._changed:
                while self.current is None and not self._closed:
                    self._changed.wait()
                source = self.current
            if source is None:
                return
            error: Exception | None = None
            try:
                yield from self._play(source)
            except (Mp2FlameError, OSError) as caught:
                error = caught
            self._ended_at = time.monotonic()
            with self._changed:
                detached = self.current is source
                if detached:
                    self.current = None
            if detached:
                source.close()
                if error is not None:
                    # A user who has not opened the page reads it here.
                    _LOGGER.warning("the source has stopped: %s", plain(error))
                self._on_end(error)

    def _play(self, source: Source) -> Generator[Observation, None, None]:
        first: float | None = None
        base = self._time
        # Whether images are needed may change at any frame.
        source.keep_image = self.keep_image
        for observation in source:
            if self.current is not source:
                return
            now = float(observation.time[0])
            if first is None:
                first = now
                if self._ended_at is not None:
                    base += max(_STEP, time.monotonic() - self._ended_at)
            self._time = base + now - first
            self._arrivals.append(time.perf_counter())
            if isinstance(source, DetectedSource):
                self.detection_seconds = source.detection_seconds
            yield replace_unchecked(observation, time=np.array([self._time]))
            source.keep_image = self.keep_image

    @override
    def close(self) -> None:
        with self._changed:
            self._closed = True
            source, self.current = self.current, None
            self._changed.notify_all()
        if source is not None:
            source.close()
