"""A last linear step that turns least-squares estimates into ones whose mean distance on the head is least."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mp2flame.mapping.linear import N_ROTATIONS
from mp2flame.regression.mesh_loss import Metric
from mp2flame.regression.mlp import Adam

__all__ = ["output_correction"]

Float32 = NDArray[np.float32]

_STEPS = 600
_BATCH = 256
_RATE = 2e-2


def output_correction(estimates: Float32, truth: Float32, metric: Metric, *, seed: int) -> NDArray[np.float64]:
    """(E + 9, E + 9) such that `estimates @ correction` lies nearer to the truth by the metric.

    Ridge regression aims at the mean of what a face may be doing and so overshoots where faces mostly rest; distances
    that are not squared aim at the median. Expression, jaw and eyes are corrected apart, so that what may not move an
    eye or the jaw still does not.

    Args:
        estimates: (N, E + 9) of frames that the estimates were not fitted on.
        truth: (N, E + 9) the same frames' parameters.
        metric: distance on the head.
        seed: of the order in which frames are looked at.
    """
    n, width = truth.shape
    e = width - N_ROTATIONS
    unit = np.where(truth.std(axis=0) > 0, truth.std(axis=0), 1).astype(np.float32)
    scaled = Metric(metric.directions * unit[:, None, None])
    allowed = np.zeros((width, width), dtype=np.float32)
    for start, stop in ((0, e), (e, e + 3), (e + 3, width)):
        allowed[start:stop, start:stop] = 1
    x, y = estimates / unit, truth / unit
    correction = np.eye(width, dtype=np.float32)
    optimiser = Adam([correction], rate=_RATE, steps=_STEPS)
    rng = np.random.default_rng(seed)
    for _ in range(_STEPS):
        rows = rng.integers(0, n, min(_BATCH, n))
        gradient = scaled.loss_gradient(x[rows] @ correction - y[rows])
        optimiser.step([(x[rows].T @ gradient) * allowed])
    result: NDArray[np.float64] = correction.astype(np.float64) * (unit[None] / unit[:, None])
    return result
