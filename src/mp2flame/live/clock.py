"""When each frame was taken, to tell how long its whole road is, detection included."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from typing import Any

from numpy.typing import NDArray

from mp2flame.data import Observation
from mp2flame.sources.detection import Detector

__all__ = ["RoadClock", "TimedDetector"]

_KEPT = 256
_RATE_SECONDS = 2.0


class RoadClock:
    """Moments of `time.perf_counter`, by the time that a frame carries; safe between threads."""

    def __init__(self) -> None:
        self._taken: OrderedDict[float, float] = OrderedDict()
        self._picture: float | None = None
        self._frames: deque[float] = deque(maxlen=_KEPT)
        self._lock = threading.Lock()

    def picture(self, moment: float) -> None:
        """The next frame's picture was there at this moment, before detection; called in the reading thread."""
        self._picture = moment

    def taken(self, time_of_frame: float) -> None:
        """A frame leaves its source with this time on it."""
        now = time.perf_counter()
        moment, self._picture = (now if self._picture is None else self._picture), None
        with self._lock:
            self._taken[time_of_frame] = moment
            self._frames.append(now)
            if len(self._taken) > _KEPT:
                self._taken.popitem(last=False)

    def since(self, time_of_frame: float) -> float | None:
        """Seconds since the frame with this time was taken; None if that is too long ago to know."""
        with self._lock:
            moment = self._taken.get(time_of_frame)
        return None if moment is None else time.perf_counter() - moment

    def rate(self) -> float:
        """Frames a second over the last two seconds."""
        now = time.perf_counter()
        with self._lock:
            recent = [moment for moment in self._frames if now - moment <= _RATE_SECONDS]
        return (len(recent) - 1) / (recent[-1] - recent[0]) if len(recent) > 2 else 0.0


class TimedDetector:
    """Another detector, with its duration taken.

    Args:
        detector: sees the faces.
        clock: is told when each picture was there.
        note: is told how many seconds each detection took.
    """

    def __init__(self, detector: Detector, clock: RoadClock, note: Any) -> None:
        self._detector = detector
        self._clock = clock
        self._note = note

    def detect(self, picture: NDArray[Any], time_of_frame: float, *, keep_image: bool = False) -> Observation:
        """What is seen in one picture (H, W, 3)."""
        began = time.perf_counter()
        self._clock.picture(began)
        observation = self._detector.detect(picture, time_of_frame, keep_image=keep_image)
        self._note(time.perf_counter() - began)
        return observation

    def reset(self) -> None:
        """Forget what was seen and free what is held."""
        self._detector.reset()
