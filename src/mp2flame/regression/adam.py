"""Stochastic descent for the small models fitted here."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["Adam"]

Float32 = NDArray[np.float32]

_MEAN_DECAY = 0.9
_SQUARE_DECAY = 0.99
_WARM_UP = 100


class Adam:
    """Adam (Kingma and Ba 2015) with a short warm-up and a cosine decay of the step to zero; changes arrays in place.

    Args:
        parameters: the arrays to train.
        rate: the largest step.
        steps: how many steps there will be.
    """

    def __init__(self, parameters: Sequence[Float32], *, rate: float, steps: int) -> None:
        self._parameters = parameters
        self._means = [np.zeros_like(p) for p in parameters]
        self._squares = [np.zeros_like(p) for p in parameters]
        self._rate = rate
        self._steps = steps
        self._step = 0

    def step(self, gradients: Sequence[Float32]) -> None:
        """Move every parameter once, against its gradient."""
        self._step += 1
        t = self._step
        decay = 0.5 * (1 + math.cos(math.pi * t / self._steps)) * min(1.0, t / _WARM_UP)
        rate = self._rate * decay * math.sqrt(1 - _SQUARE_DECAY**t) / (1 - _MEAN_DECAY**t)
        for i, gradient in enumerate(gradients):
            self._means[i] += (1 - _MEAN_DECAY) * (gradient - self._means[i])
            self._squares[i] += (1 - _SQUARE_DECAY) * (gradient * gradient - self._squares[i])
            size = np.sqrt(self._squares[i]) + np.float32(1e-8)
            np.subtract(self._parameters[i], np.float32(rate) * self._means[i] / size, out=self._parameters[i])
