"""Fitting the landmarks mapping: alignment, whitening, mirrored faces, networks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from collections.abc import Mapping as Mapping_
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from mp2flame import rotations
from mp2flame.blendshapes import MEDIAPIPE, mirror_permutation
from mp2flame.data import N_LANDMARKS
from mp2flame.errors import InputError
from mp2flame.geometry.symmetry import Symmetry
from mp2flame.mapping.landmark_mlp import LandmarkMapping, align
from mp2flame.regression.mesh_loss import Metric

__all__ = ["Adam", "LandmarkSample", "NetworkConfig", "fit_landmarks", "front_view", "landmark_mirror"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

_INPUTS = 160
# Directions weaker than this share of the strongest one are not blown up to its size when whitening.
_FLOOR = 1e-2
_ROUNDS = 5
_FLIP = np.array([-1.0, 1.0, 1.0], dtype=np.float32)
_SCORE_MIRROR = mirror_permutation(MEDIAPIPE)


Layers = list[tuple[Float32, Float32]]


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
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
    settings: NetworkConfig,
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


@dataclass(frozen=True, kw_only=True, eq=False)
class LandmarkSample:
    """Frames to fit on, in memory, with the rest frame of each one's subject."""

    points: Float32
    """(N, 478, 3) upright landmarks, see `mp2flame.mapping.landmark_mlp.upright`."""
    scores: Float32
    """(N, 52)"""
    truth: Float32
    """(N, E + 9) expression, jaw, left eye, right eye."""
    subject: NDArray[np.intp]
    """(N,) row of the rest arrays."""
    rest_points: Float32
    """(S, 478, 3) upright landmarks at rest."""
    rest_scores: Float32
    """(S, 52)"""
    rest_transforms: Float32
    """(S, 4, 4) head transform at rest."""


def front_view(points: Float32, transforms: Float32) -> Float64:
    """Upright landmarks (N, 478, 3) turned to the front by the head transforms (N, 4, 4), centred, of unit size."""
    turn = rotations.nearest_rotation(transforms[:, :3, :3])
    turned = points.astype(np.float64) @ turn
    turned -= turned.mean(axis=1, keepdims=True)
    result: Float64 = turned / np.sqrt((turned**2).sum(axis=2).mean(axis=1))[:, None, None]
    return result


def landmark_mirror(front: Float64) -> NDArray[np.intp]:
    """Which landmark each one changes places with in a mirrored face, (478,), from front views at rest.

    The pairs are those that lay the mean face onto its own mirror image best (the assignment problem).

    Raises:
        InputError: the pairs found are no mirror, because the faces are few or far from symmetric.
    """
    mean = front.mean(axis=0)
    cost = ((mean[:, None] - (mean * _FLIP)[None]) ** 2).sum(axis=2)
    pairs: NDArray[np.intp] = linear_sum_assignment(cost)[1]
    if (pairs[pairs] != np.arange(N_LANDMARKS)).any():
        raise InputError(
            "expected rest faces that are nearly symmetric; their landmarks do not pair: check the rest frames"
        )
    return pairs


def _alignment(sample: LandmarkSample, mirror: NDArray[np.intp]) -> tuple[Float32, Float32, Float32, Float32]:
    """Weights of the landmarks, the mean rest, the subjects' rests on it, and the frames relative to their rests.

    Landmarks that move little with expression weigh more: the inverse of their mean square motion, found in a few
    rounds of aligning and measuring.
    """
    mean = front_view(sample.rest_points, sample.rest_transforms).mean(axis=0)
    mean = ((mean + (mean * _FLIP)[mirror]) / 2).astype(np.float32)
    weights = np.full(N_LANDMARKS, 1 / N_LANDMARKS, dtype=np.float32)
    moved = np.zeros_like(sample.points)
    neutral = np.zeros_like(sample.rest_points)
    for _ in range(_ROUNDS):
        mean = mean - weights @ mean
        neutral = align(sample.rest_points, mean, weights) + mean
        neutral -= (weights @ neutral)[:, None]
        for number in range(len(neutral)):
            rows = sample.subject == number
            moved[rows] = align(sample.points[rows], neutral[number], weights)
        motion = (moved**2).sum(axis=2).mean(axis=0)
        inverse = 1 / np.maximum(motion + motion[mirror], 1e-12)
        last, weights = weights, (inverse / inverse.sum()).astype(np.float32)
    return last, mean, neutral, moved


def _whitening(inputs: Float32) -> Float32:
    """(1486, K) from rest-relative inputs to uncorrelated ones, the strongest K of about unit size.

    Landmarks and scores enter with equal total variance.
    """
    split = 3 * N_LANDMARKS
    scale = np.ones(inputs.shape[1])
    scale[:split] = 1 / np.sqrt((inputs[:, :split] ** 2).mean(dtype=np.float64) * split)
    scale[split:] = 1 / np.sqrt((inputs[:, split:] ** 2).mean(dtype=np.float64) * (inputs.shape[1] - split))
    scaled = (inputs * scale).astype(np.float32)
    values, vectors = np.linalg.eigh((scaled.T @ scaled).astype(np.float64) / len(scaled))
    values, vectors = values[::-1][:_INPUTS], vectors[:, ::-1][:, :_INPUTS]
    result: Float64 = scale[:, None] * vectors / np.sqrt(np.maximum(values, 0) + _FLOOR * values[0])
    return result.astype(np.float32)


def _mirrored(inputs: Float32, mirror: NDArray[np.intp]) -> Float32:
    split = 3 * N_LANDMARKS
    points = inputs[:, :split].reshape(-1, N_LANDMARKS, 3)[:, mirror] * _FLIP
    return np.concatenate([points.reshape(len(inputs), split), inputs[:, split:][:, _SCORE_MIRROR]], axis=1)


def fit_landmarks(
    sample: LandmarkSample,
    metric: Metric,
    symmetry: Symmetry | None,
    *,
    settings: NetworkConfig | None = None,
    seed: int = 0,
    metadata: Mapping_[str, str] | None = None,
) -> LandmarkMapping:
    """A landmarks mapping from frames in memory.

    Args:
        sample: the frames.
        metric: distance that the fit makes small.
        symmetry: the head's mirror; None fits without mirrored faces.
        settings: sizes of the networks.
        seed: the same seed gives the same bytes.
        metadata: for the mapping file.

    Raises:
        InputError: the rest faces' landmarks do not pair into left and right.
    """
    mirror = landmark_mirror(front_view(sample.rest_points, sample.rest_transforms))
    weights, mean, _, moved = _alignment(sample, mirror)
    relative = sample.scores - sample.rest_scores[sample.subject]
    inputs = np.concatenate([moved.reshape(len(moved), -1), relative], axis=1)
    truth = sample.truth
    if symmetry is not None:
        inputs = np.concatenate([inputs, _mirrored(inputs, mirror)])
        truth = np.concatenate([truth, truth @ symmetry.matrix.astype(np.float32)])
    whitening = _whitening(inputs)
    white = inputs @ whitening

    def draw(rng: np.random.Generator, count: int) -> tuple[Float32, Float32]:
        rows = rng.integers(0, len(white), count)
        return white[rows], truth[rows]

    layers = train_networks(
        draw,
        spread=truth.std(axis=0),
        n_inputs=whitening.shape[1],
        metric=metric,
        settings=settings or NetworkConfig(),
        seed=seed,
    )
    default_scores = sample.rest_scores.mean(axis=0)
    default_scores = (default_scores + default_scores[_SCORE_MIRROR]) / 2
    return LandmarkMapping(
        alignment_weights=weights,
        default_landmarks=mean,
        default_scores=default_scores,
        whitening=whitening,
        layers=tuple(layers),
        metadata=dict(metadata or {}),
    )
