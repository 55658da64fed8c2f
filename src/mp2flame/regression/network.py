"""Training a few small networks side by side, by a head's metric, in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from mp2flame.regression.adam import Adam
from mp2flame.regression.mesh_loss import Metric

__all__ = ["NetworkSettings", "train_networks"]

Float32 = NDArray[np.float32]
Layers = list[tuple[Float32, Float32]]


@dataclass(frozen=True, kw_only=True)
class NetworkSettings:
    """Sizes and strengths; the defaults were chosen on held-out people."""

    members: int = 2
    """Networks whose outputs are averaged."""
    hidden: tuple[int, ...] = (256, 256, 256)
    """Widths between input and output."""
    steps: int = 6000
    """Descent steps, whatever the number of frames."""
    batch: int = 128
    """Frames in a step."""
    rate: float = 2e-3
    """Largest step of the descent."""
    drop: float = 0.1
    """Share of hidden units switched off at random in training."""
    noise: float = 0.1
    """Standard deviation of the noise added to the whitened inputs in training."""


def train_networks(
    draw: Callable[[np.random.Generator, int], tuple[Float32, Float32]],
    *,
    spread: Float32,
    n_inputs: int,
    metric: Metric,
    settings: NetworkSettings,
    seed: int,
) -> Layers:
    """Weights (M, in, out) and biases (M, 1, out) of M networks that are zero where their input is zero.

    Args:
        draw: gives a batch: inputs (n, K) and true parameters (n, E + 9).
        spread: (E + 9,) the standard deviation of each parameter, the unit of the networks' last layer.
        n_inputs: K.
        metric: the loss is its distance.
        settings: sizes and strengths.
        seed: of everything random; the same seed gives the same networks.
    """
    rng = np.random.default_rng(seed)
    widths = [n_inputs, *settings.hidden, len(spread)]
    weights, biases = _start(rng, widths, settings.members)
    optimiser = Adam([*weights, *biases], rate=settings.rate, steps=settings.steps)
    unit = np.where(spread > 0, spread, 0).astype(np.float32)
    # In units of the spread, so that every output starts at a like size.
    scaled = Metric(metric.directions * unit[:, None, None])
    inverse = np.where(unit > 0, 1 / np.maximum(unit, np.float32(1e-12)), 0).astype(np.float32)
    for _ in range(settings.steps):
        inputs, truth = draw(rng, settings.batch)
        inputs = inputs + rng.standard_normal(inputs.shape, dtype=np.float32) * np.float32(settings.noise)
        gradients = _gradients(
            weights, biases, inputs=inputs, truth=truth * inverse, metric=scaled, drop=settings.drop, rng=rng
        )
        optimiser.step(gradients)
    weights[-1] *= unit
    biases[-1] *= unit
    return _zeroed(list(zip(weights, biases, strict=True)))


def _start(rng: np.random.Generator, widths: list[int], members: int) -> tuple[list[Float32], list[Float32]]:
    weights = []
    for number, (before, after) in enumerate(pairwise(widths)):
        gain = 0.1 if number == len(widths) - 2 else 1.0
        values = rng.standard_normal((members, before, after), dtype=np.float32)
        weights.append(values * np.float32(gain / np.sqrt(before)))
    return weights, [np.zeros((members, 1, after), dtype=np.float32) for after in widths[1:]]


def _gradients(
    weights: list[Float32],
    biases: list[Float32],
    *,
    inputs: Float32,
    truth: Float32,
    metric: Metric,
    drop: float,
    rng: np.random.Generator,
) -> list[Float32]:
    """Back-propagation through all members at once; a row of zeros is appended to make the output zero at rest."""
    values = np.broadcast_to(
        np.vstack([inputs, np.zeros_like(inputs[:1])]), (len(weights[0]), len(inputs) + 1, inputs.shape[1])
    )
    before, slopes = [values], []
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        total = values @ weight + bias
        gate = 1 / (1 + np.exp(-np.maximum(total, -80.0)))
        kept = (rng.random(total.shape, dtype=np.float32) >= drop) * np.float32(1 / (1 - drop))
        # The row at rest is not dropped from, or rest would be subtracted with noise.
        kept[:, -1] = 1
        slopes.append(gate * (1 + total * (1 - gate)) * kept)
        values = total * gate * kept
        before.append(values)
    output = values @ weights[-1] + biases[-1]
    difference = output[:, :-1] - output[:, -1:] - truth
    members, n, width = difference.shape
    flat = metric.loss_gradient(difference.reshape(members * n, width)).reshape(members, n, width) * np.float32(members)
    gradient = np.concatenate([flat, -flat.sum(axis=1, keepdims=True)], axis=1)
    weight_gradients, bias_gradients = [], []
    for number in range(len(weights) - 1, -1, -1):
        weight_gradients.append(before[number].transpose(0, 2, 1) @ gradient)
        bias_gradients.append(gradient.sum(axis=1, keepdims=True))
        if number:
            gradient = (gradient @ weights[number].transpose(0, 2, 1)) * slopes[number - 1]
    return weight_gradients[::-1] + bias_gradients[::-1]


def _zeroed(layers: Layers) -> Layers:
    """The same networks with the last bias such that zero inputs give zero."""
    values = np.zeros((len(layers[0][0]), 1, layers[0][0].shape[1]), dtype=np.float64)
    for weight, bias in layers[:-1]:
        total = values @ weight + bias
        values = total / (1 + np.exp(-np.maximum(total, -80.0)))
    weight, _ = layers[-1]
    return [*layers[:-1], (weight, -(values @ weight).astype(np.float32))]
