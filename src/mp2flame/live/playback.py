"""What is on stage: a source by its name, its player's buttons, its mirror, or the sliders."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mp2flame.live.clock import RoadClock, TimedDetector
from mp2flame.live.sliders import SliderSource
from mp2flame.live.stage import Stage
from mp2flame.sources import open_source
from mp2flame.sources.detection import DetectedSource
from mp2flame.sources.player import Player, play_in_real_time

__all__ = ["Playback"]

_CAMERAS = {f"Camera {index}": str(index) for index in range(4)}


class Playback:
    """Opens sources and puts them on the stage; methods may be called from any thread.

    Args:
        landmarker: MediaPipe's bundle, or None to find or fetch it.
        mirror: the camera's picture is mirrored.
        note_detection: is told how many seconds each detection took.
        on_end: called when a source ends by itself, with its error if it had one.
    """

    def __init__(
        self,
        landmarker: Path | None,
        *,
        mirror: bool,
        note_detection: Callable[[float], None],
        on_end: Callable[[Exception | None], None],
    ) -> None:
        self.clock = RoadClock()
        self.stage = Stage(self.clock, on_end)
        self.spec = ""
        """The name of the source that is open, or was before the camera was switched off."""
        self.transport: Player | None = None
        self._landmarker = landmarker
        self._mirror = mirror
        self._note_detection = note_detection
        self._detected: DetectedSource | None = None
        self._sliders: SliderSource | None = None
        self._loop = True
        self._lock = threading.RLock()
        self._specs = dict(_CAMERAS)

    @property
    def names(self) -> tuple[str, ...]:
        """What has been opened, by names fit for a list, and the cameras that may be there."""
        return tuple(self._specs)

    @property
    def by_hand(self) -> bool:
        """Whether the sliders are on stage."""
        return self._sliders is not None

    def open(self, spec: str) -> None:
        """Put a source on stage; what was there stays if the new one cannot be opened.

        Args:
            spec: one of `names`, or what `open_source` understands.

        Raises:
            Mp2FlameError: as `open_source`.
        """
        with self._lock:
            spec = self._specs.get(spec, spec)
            source, transport = play_in_real_time(open_source(spec, landmarker=self._landmarker))
            detected = source if isinstance(source, DetectedSource) else None
            if detected is not None:
                detected.mirror = self._mirror
                detected.detector = TimedDetector(detected.detector, self.clock, self._note_detection)
            self.spec, self.transport, self._detected, self._sliders = spec, transport, detected, None
            if transport is not None:
                transport.loop = self._loop
            self.stage.show(source)
            if spec not in self._specs.values():
                name = Path(spec).name if Path(spec).exists() else spec
                self._specs = {(spec if name in self._specs else name): spec, **self._specs}

    @property
    def name(self) -> str:
        """The name, out of `names`, of the source that is open."""
        return next(name for name, spec in self._specs.items() if spec == self.spec)

    def use_sliders(self) -> None:
        """Let go of the source and put the sliders on stage."""
        with self._lock:
            self._sliders, self.transport, self._detected = SliderSource(), None, None
            self.stage.show(self._sliders)

    def set_weights(self, weights: NDArray[np.float32]) -> None:
        """Give the sliders' weights (52,) to the stage, if they are on it."""
        sliders = self._sliders
        if sliders is not None:
            sliders.set(weights)

    def nudge(self) -> None:
        """Have a frame at once, if the sliders are on stage."""
        sliders = self._sliders
        if sliders is not None:
            sliders.nudge()

    def set_mirror(self, *, on: bool) -> None:
        """The camera's picture is mirrored, from the next frame on."""
        with self._lock:
            self._mirror = on
            if self._detected is not None:
                self._detected.mirror = on

    def set_loop(self, *, on: bool) -> None:
        """Begin files again at their end; does not wait for a source that is being opened."""
        self._loop = on
        transport = self.transport
        if transport is not None:
            transport.loop = on

    def close(self) -> None:
        """Free everything."""
        self.stage.close()
