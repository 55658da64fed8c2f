"""A source whose scores are set by hand, for when the camera is switched off."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator

import numpy as np
from numpy.typing import NDArray

from mp2flame.blendshapes import ARKIT, MEDIAPIPE, reorder
from mp2flame.data import Observation
from mp2flame.sources.base import Source

__all__ = ["SliderSource", "observe_weights"]

_STEP = 1 / 30


def observe_weights(weights: NDArray[np.float32], moment: float = 0.0) -> Observation:
    """One frame of a face that looks straight ahead with these weights (52,) in ARKit's order."""
    return Observation(
        time=np.array([moment]),
        found=np.ones(1, dtype=np.bool_),
        scores=reorder(weights[None], ARKIT, MEDIAPIPE),
        head_transform=np.eye(4, dtype=np.float32)[None],
        tongue_out=weights[None, ARKIT.index("tongueOut")],
    )


class SliderSource(Source):
    """Thirty frames a second of what the sliders say, and one at once whenever a slider moves."""

    live = True

    def __init__(self) -> None:
        self._weights = np.zeros(len(ARKIT), dtype=np.float32)
        self._moved = False
        self._closed = False
        self._changed = threading.Condition()

    def set(self, weights: NDArray[np.float32]) -> None:
        """Show these weights (52,), in ARKit's order."""
        with self._changed:
            self._weights = weights.astype(np.float32)
            self._moved = True
            self._changed.notify_all()

    def nudge(self) -> None:
        """Give a frame at once, because what is made of the weights has changed."""
        with self._changed:
            self._moved = True
            self._changed.notify_all()

    def __iter__(self) -> Generator[Observation, None, None]:
        """Observations until it is closed."""
        started = time.monotonic()
        while True:
            with self._changed:
                if not self._moved and not self._closed:
                    self._changed.wait(_STEP)
                self._moved = False
                if self._closed:
                    return
                weights = self._weights
            yield observe_weights(weights, time.monotonic() - started)

    def close(self) -> None:
        """End the iteration; safe to call twice."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
