"""How long each room takes, and how fast frames come: rings of the latest values, safe to read from other threads."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field

import numpy as np

__all__ = ["RoomTime", "Stopwatch"]

_KEPT = 512


@dataclass(frozen=True)
class RoomTime:
    """Durations of one room over the latest frames."""

    p50: float
    """Median, milliseconds."""
    p95: float
    """95th percentile, milliseconds."""
    frames: int
    """How many frames the figures rest on."""


@dataclass
class Stopwatch:
    """Collects durations by room name."""

    _rings: dict[str, deque[float]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, room: str, seconds: float) -> None:
        """Note one duration, in seconds."""
        with self._lock:
            self._rings.setdefault(room, deque(maxlen=_KEPT)).append(seconds)

    def summary(self) -> dict[str, RoomTime]:
        """Median and 95th percentile of each room, in the order in which rooms were first heard of."""
        with self._lock:
            rings = {room: np.array(ring) for room, ring in self._rings.items()}
        middle = {room: np.percentile(ring, [50, 95]) * 1e3 for room, ring in rings.items()}
        return {room: RoomTime(float(p50), float(p95), len(rings[room])) for room, (p50, p95) in middle.items()}
