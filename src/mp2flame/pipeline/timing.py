"""How long each stage takes, and process-wide settings for low latency."""

from __future__ import annotations

import gc
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import numpy as np

_LATEST: Final = 512
_SWITCH_SECONDS: Final = 0.0005
"""Python lets a thread compute for ten times as long before another may, longer than a frame takes end to end."""


@dataclass(frozen=True)
class StageTiming:
    """Durations of one stage over the latest frames."""

    p50: float
    """Median, milliseconds."""
    p95: float
    """95th percentile, milliseconds."""
    frames: int
    """Number of frames that the figures rest on."""


@dataclass
class Stopwatch:
    """Collects the latest durations by the name of the stage; may be read and written from any thread."""

    _rings: dict[str, deque[float]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, stage: str, seconds: float) -> None:
        """Add one duration, in seconds."""
        with self._lock:
            self._rings.setdefault(stage, deque(maxlen=_LATEST)).append(seconds)

    def summary(self) -> dict[str, StageTiming]:
        """Median and 95th percentile of each stage, in the order in which the stages were first added."""
        with self._lock:
            rings = {stage: np.array(ring) for stage, ring in self._rings.items()}
        middle = {stage: np.percentile(ring, [50, 95]) * 1e3 for stage, ring in rings.items()}
        return {stage: StageTiming(float(p50), float(p95), len(rings[stage])) for stage, (p50, p95) in middle.items()}


class _LowLatency:
    """How many callers ask for low latency at the moment, and what was set before the first."""

    lock = threading.Lock()
    users = 0
    switch_interval = 0.0


@contextmanager
def low_latency_interpreter(*, enabled: bool = True) -> Iterator[None]:
    """Set a short switch interval between threads, and freeze the garbage collector's heap, for the whole process.

    Objects that exist already are left out of the search for cycles, which would stop a frame for all of them.
    """
    if not enabled:
        yield
        return
    with _LowLatency.lock:
        if _LowLatency.users == 0:
            _LowLatency.switch_interval = sys.getswitchinterval()
            sys.setswitchinterval(min(_SWITCH_SECONDS, _LowLatency.switch_interval))
            gc.freeze()
        _LowLatency.users += 1
    try:
        yield
    finally:
        with _LowLatency.lock:
            _LowLatency.users -= 1
            if _LowLatency.users == 0:
                sys.setswitchinterval(_LowLatency.switch_interval)
                gc.unfreeze()
