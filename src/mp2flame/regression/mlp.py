"""The landmarks mapping: alignment, whitening, mirrored faces, and small multilayer perceptrons trained in NumPy.

Letters: N frames, S subjects, E expression coefficients, P = E + 9 parameters, K network inputs, M networks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from mp2flame import rotations
from mp2flame.blendshapes import MEDIAPIPE, mirror_permutation
from mp2flame.data import N_LANDMARKS
from mp2flame.geometry.landmark_mirror import LANDMARK_MIRROR
from mp2flame.geometry.symmetry import Symmetry
from mp2flame.mapping.landmark_mlp import LandmarkMapping, align
from mp2flame.mapping.residual_correction import VIEW_MIRROR, ResidualCorrection, eye_distance, view_features
from mp2flame.regression.mesh_loss import MeshLoss
from mp2flame.regression.residual_correction import fit_residual_correction

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Layers = list[tuple[Float32, Float32]]

_N_INPUTS = 160
_FLOOR = 1e-2
"""Directions weaker than this share of the strongest one are not scaled up to its size when whitening."""
_ALIGNMENT_ROUNDS = 5
_FLIP = np.array([-1.0, 1.0, 1.0], dtype=np.float32)
_SCORE_MIRROR = mirror_permutation(MEDIAPIPE)


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Sizes and strengths; the defaults were chosen on held-out people."""

    members: int = 2
    """Networks whose outputs are averaged."""
    hidden: tuple[int, ...] = (256, 256, 256)
    """Widths of the hidden layers."""
    steps: int = 6000
    """Optimization steps, whatever the number of frames."""
    batch: int = 128
    """Frames in a step."""
    rate: float = 2e-3
    """Largest learning rate."""
    drop: float = 0.1
    """Dropout: the share of hidden units switched off at random in training."""
    noise: float = 0.1
    """Standard deviation of the noise added to the whitened inputs in training."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LandmarkSamples:
    """Frames to fit on, in memory, with the neutral face of each one's subject."""

    points: Float32
    """(N, 478, 3) upright landmarks, see `mp2flame.mapping.landmark_mlp.upright`."""
    scores: Float32
    """(N, 52)"""
    parameters: Float32
    """(N, P) expression, jaw, left eye, right eye."""
    subject: NDArray[np.intp]
    """(N,) row of the neutral arrays."""
    neutral_points: Float32
    """(S, 478, 3) upright landmarks of the neutral faces."""
    neutral_scores: Float32
    """(S, 52)"""
    neutral_transforms: Float32
    """(S, 4, 4) head transforms of the neutral faces."""
    transforms: Float32
    """(N, 4, 4) head transforms."""


def fit_landmarks(
    samples: LandmarkSamples,
    loss: MeshLoss,
    symmetry: Symmetry | None,
    *,
    config: NetworkConfig | None = None,
    seed: int = 0,
    metadata: Mapping[str, str] | None = None,
) -> LandmarkMapping:
    """A landmarks mapping from frames in memory; the same seed gives the same bytes.

    Args:
        samples: the frames.
        loss: the distance to minimize.
        symmetry: the head's mirror; None fits without mirrored faces.
        config: sizes of the networks.
        seed: of everything random.
        metadata: for the mapping file.
    """
    weights, mean, neutral, moved = _alignment(samples)
    relative = samples.scores - samples.neutral_scores[samples.subject]
    inputs = np.concatenate([moved.reshape(len(moved), -1), relative], axis=1)
    truth = samples.parameters
    if symmetry is not None:
        inputs = np.concatenate([inputs, _mirrored(inputs)])
        truth = np.concatenate([truth, truth @ symmetry.matrix.astype(np.float32)])
    whitening = _whitening(inputs)
    white = inputs @ whitening
    layers = _train(white, truth, loss, config or NetworkConfig(), np.random.default_rng(seed))
    default_scores = samples.neutral_scores.mean(axis=0)
    default_scores = (default_scores + default_scores[_SCORE_MIRROR]) / 2
    mapping = LandmarkMapping(
        alignment_weights=weights,
        default_landmarks=mean,
        default_scores=default_scores,
        whitening=whitening,
        layers=tuple(layers),
        metadata=dict(metadata or {}),
    )
    return replace(mapping, correction=_correction(samples, neutral, moved, symmetry, mapping.network(white)))


def _correction(
    samples: LandmarkSamples, neutral: Float32, moved: Float32, symmetry: Symmetry | None, estimate: Float32
) -> ResidualCorrection:
    unit = eye_distance(neutral).astype(np.float32)[samples.subject]
    displacement = moved.reshape(len(moved), -1) / unit[:, None]
    neutral_view = view_features(samples.neutral_transforms)
    view = view_features(samples.transforms) - neutral_view[samples.subject]
    truth, default_view = samples.parameters, neutral_view.mean(axis=0)
    if symmetry is not None:
        displacement = np.concatenate([displacement, _mirrored_landmarks(displacement)])
        view = np.concatenate([view, view * VIEW_MIRROR])
        truth = np.concatenate([truth, truth @ symmetry.matrix.astype(np.float32)])
        default_view = (default_view + default_view * VIEW_MIRROR) / 2
    return fit_residual_correction(displacement, truth, view, default_view, estimate)


def front_view(points: Float32, transforms: Float32) -> Float64:
    """Upright landmarks (N, 478, 3) turned to the front by the head transforms (N, 4, 4), centered, of unit size."""
    turned = points.astype(np.float64) @ rotations.nearest_rotation(transforms[:, :3, :3])
    turned -= turned.mean(axis=1, keepdims=True)
    result: Float64 = turned / np.sqrt((turned**2).sum(axis=2).mean(axis=1))[:, None, None]
    return result


def _alignment(samples: LandmarkSamples) -> tuple[Float32, Float32, Float32, Float32]:
    """Weights (478,), the mean neutral face (478, 3), the subjects' ones (S, 478, 3), and the frames relative to them.

    Landmarks that move little with expression get larger weights: the inverse of their mean square motion, found by
    aligning and measuring in a few rounds.
    """
    mean = front_view(samples.neutral_points, samples.neutral_transforms).mean(axis=0)
    mean = ((mean + (mean * _FLIP)[LANDMARK_MIRROR]) / 2).astype(np.float32)
    weights = last = np.full(N_LANDMARKS, 1 / N_LANDMARKS, dtype=np.float32)
    moved, neutral = np.zeros_like(samples.points), samples.neutral_points
    for _ in range(_ALIGNMENT_ROUNDS):
        mean = mean - weights @ mean
        neutral = align(samples.neutral_points, mean, weights) + mean
        neutral -= (weights @ neutral)[:, None]
        for number in range(len(neutral)):
            rows = samples.subject == number
            moved[rows] = align(samples.points[rows], neutral[number], weights)
        motion = (moved**2).sum(axis=2).mean(axis=0)
        inverse = 1 / np.maximum(motion + motion[LANDMARK_MIRROR], 1e-12)
        last, weights = weights, (inverse / inverse.sum()).astype(np.float32)
    return last, mean, neutral, moved


def _whitening(inputs: Float32) -> Float32:
    """(1486, K) from inputs relative to the neutral face to uncorrelated ones, the strongest K of about unit size.

    The principal components of the second moments, not of the covariance: zero stays zero. Landmarks and scores enter
    with equal total variance.
    """
    split = 3 * N_LANDMARKS
    scale = np.ones(inputs.shape[1])
    scale[:split] = 1 / np.sqrt((inputs[:, :split] ** 2).mean(dtype=np.float64) * split)
    scale[split:] = 1 / np.sqrt((inputs[:, split:] ** 2).mean(dtype=np.float64) * (inputs.shape[1] - split))
    scaled = (inputs * scale).astype(np.float32)
    values, vectors = np.linalg.eigh((scaled.T @ scaled).astype(np.float64) / len(scaled))
    values, vectors = values[::-1][:_N_INPUTS], vectors[:, ::-1][:, :_N_INPUTS]
    result: Float64 = scale[:, None] * vectors / np.sqrt(np.maximum(values, 0) + _FLOOR * values[0])
    return result.astype(np.float32)


def _mirrored(inputs: Float32) -> Float32:
    split = 3 * N_LANDMARKS
    return np.concatenate([_mirrored_landmarks(inputs[:, :split]), inputs[:, split:][:, _SCORE_MIRROR]], axis=1)


def _mirrored_landmarks(flat: Float32) -> Float32:
    points = flat.reshape(-1, N_LANDMARKS, 3)[:, LANDMARK_MIRROR] * _FLIP
    return points.reshape(flat.shape)


class Adam:
    """Adam (Kingma and Ba 2015) with a short warm-up and a cosine decay to zero; changes the arrays in place.

    Args:
        parameters: the arrays to train.
        rate: the largest learning rate.
        steps: how many steps there will be.
    """

    _MEAN_DECAY = 0.9
    _SQUARE_DECAY = 0.99
    _WARM_UP = 100

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
        decay = 0.5 * (1 + math.cos(math.pi * t / self._steps)) * min(1.0, t / self._WARM_UP)
        rate = self._rate * decay * math.sqrt(1 - self._SQUARE_DECAY**t) / (1 - self._MEAN_DECAY**t)
        for i, gradient in enumerate(gradients):
            self._means[i] += (1 - self._MEAN_DECAY) * (gradient - self._means[i])
            self._squares[i] += (1 - self._SQUARE_DECAY) * (gradient * gradient - self._squares[i])
            size = np.sqrt(self._squares[i]) + np.float32(1e-8)
            np.subtract(self._parameters[i], np.float32(rate) * self._means[i] / size, out=self._parameters[i])


def _train(inputs: Float32, truth: Float32, loss: MeshLoss, config: NetworkConfig, rng: np.random.Generator) -> Layers:
    """Weights (M, in, out) and biases (M, 1, out) of M networks whose output is zero where their input is zero.

    Args:
        inputs: (N, K) whitened.
        truth: (N, P)
        loss: the distance to minimize.
        config: sizes and strengths.
        rng: the source of everything random.
    """
    spread = truth.std(axis=0)
    # The parameters' spread is the unit of the last layer, so that every output starts at a similar size.
    unit = np.where(spread > 0, spread, 0).astype(np.float32)
    inverse = np.where(unit > 0, 1 / np.maximum(unit, np.float32(1e-12)), 0).astype(np.float32)
    scaled = loss.scaled(unit)
    weights, biases = _initial(rng, [inputs.shape[1], *config.hidden, len(spread)], config.members)
    optimizer = Adam([*weights, *biases], rate=config.rate, steps=config.steps)
    for _ in range(config.steps):
        rows = rng.integers(0, len(inputs), config.batch)
        batch = inputs[rows]
        batch = batch + rng.standard_normal(batch.shape, dtype=np.float32) * np.float32(config.noise)
        target = truth[rows] * inverse
        optimizer.step(_gradients(weights, biases, batch, target, loss=scaled, drop=config.drop, rng=rng))
    weights[-1] *= unit
    biases[-1] *= unit
    return _zeroed(list(zip(weights, biases, strict=True)))


def _initial(rng: np.random.Generator, widths: list[int], members: int) -> tuple[list[Float32], list[Float32]]:
    weights = []
    for number, (before, after) in enumerate(pairwise(widths)):
        gain = 0.1 if number == len(widths) - 2 else 1.0
        values = rng.standard_normal((members, before, after), dtype=np.float32)
        weights.append(values * np.float32(gain / np.sqrt(before)))
    return weights, [np.zeros((members, 1, after), dtype=np.float32) for after in widths[1:]]


def _gradients(
    weights: list[Float32],
    biases: list[Float32],
    inputs: Float32,
    truth: Float32,
    *,
    loss: MeshLoss,
    drop: float,
    rng: np.random.Generator,
) -> list[Float32]:
    """Back-propagation through all networks at once, of weights and then of biases.

    A row of zeros is appended to the inputs: its output is subtracted, which makes the output of zero inputs zero.
    """
    values = np.broadcast_to(
        np.vstack([inputs, np.zeros_like(inputs[:1])]), (len(weights[0]), len(inputs) + 1, inputs.shape[1])
    )
    layer_inputs, slopes = [values], []
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        total = values @ weight + bias
        gate = 1 / (1 + np.exp(-np.maximum(total, -80.0)))
        mask = (rng.random(total.shape, dtype=np.float32) >= drop) * np.float32(1 / (1 - drop))
        # Dropout in the row of zeros would add its noise to the output of every frame.
        mask[:, -1] = 1
        slopes.append(gate * (1 + total * (1 - gate)) * mask)
        values = total * gate * mask
        layer_inputs.append(values)
    output = values @ weights[-1] + biases[-1]
    difference = output[:, :-1] - output[:, -1:] - truth
    members, n, width = difference.shape
    flat = loss.gradient(difference.reshape(members * n, width)).reshape(members, n, width) * np.float32(members)
    gradient = np.concatenate([flat, -flat.sum(axis=1, keepdims=True)], axis=1)
    weight_gradients, bias_gradients = [], []
    for number in range(len(weights) - 1, -1, -1):
        weight_gradients.append(layer_inputs[number].transpose(0, 2, 1) @ gradient)
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
