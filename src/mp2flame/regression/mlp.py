"""Fitting the landmarks mapping: alignment, whitening, mirrored faces, networks."""

from __future__ import annotations

from collections.abc import Mapping as Mapping_
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from mp2flame import rotations
from mp2flame.blendshapes import MEDIAPIPE, mirror_permutation
from mp2flame.data import N_LANDMARKS
from mp2flame.errors import InputError
from mp2flame.geometry.surface import Symmetry
from mp2flame.mapping.landmarks import LandmarkMapping, align
from mp2flame.regression.mesh_loss import Metric
from mp2flame.regression.network import NetworkSettings, train_networks

__all__ = ["LandmarkSample", "fit_landmarks", "front_view", "landmark_mirror"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

_INPUTS = 160
# Directions weaker than this share of the strongest one are not blown up to its size when whitening.
_FLOOR = 1e-2
_ROUNDS = 5
_FLIP = np.array([-1.0, 1.0, 1.0], dtype=np.float32)
_SCORE_MIRROR = mirror_permutation(MEDIAPIPE)


@dataclass(frozen=True, kw_only=True, eq=False)
class LandmarkSample:
    """Frames to fit on, in memory, with the rest frame of each one's subject."""

    points: Float32
    """(N, 478, 3) upright landmarks, see `mp2flame.mapping.landmarks.upright`."""
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
    rest = np.zeros_like(sample.rest_points)
    for _ in range(_ROUNDS):
        mean = mean - weights @ mean
        rest = align(sample.rest_points, mean, weights) + mean
        rest -= (weights @ rest)[:, None]
        for number in range(len(rest)):
            rows = sample.subject == number
            moved[rows] = align(sample.points[rows], rest[number], weights)
        motion = (moved**2).sum(axis=2).mean(axis=0)
        inverse = 1 / np.maximum(motion + motion[mirror], 1e-12)
        last, weights = weights, (inverse / inverse.sum()).astype(np.float32)
    return last, mean, rest, moved


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
    settings: NetworkSettings | None = None,
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
        settings=settings or NetworkSettings(),
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
