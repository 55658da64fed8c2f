"""Fitting the ridge mapping: strength by cross-validation, mirrored faces, correction to least distance."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from mp2flame.blendshapes import MEDIAPIPE, mirror_permutation
from mp2flame.dataset.store import Dataset
from mp2flame.dataset.table import FrameTable
from mp2flame.mapping import LinearMapping
from mp2flame.mapping.linear import expand_features
from mp2flame.regression.context import Setting
from mp2flame.regression.correction import output_correction
from mp2flame.regression.gather import Gathered, subject_folds
from mp2flame.regression.linear_fit import allowed_weights, choose_strength, ridge_matrix, symmetric_matrix
from mp2flame.regression.mesh_loss import Metric
from mp2flame.regression.moments import Moments, total_moments

__all__ = ["fit_ridge", "with_rest"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

_SCORE_MIRROR = mirror_permutation(MEDIAPIPE)
_UNCHOSEN_STRENGTH = 1e-3


def fit_ridge(setting: Setting, got: Gathered, *, seed: int) -> LinearMapping:
    """Ridge regression on rest-relative scores, corrected to least mean distance, mirrored exactly, zero at rest."""
    symmetry = setting.symmetry
    folds = {
        number: fold.with_mirror(symmetry.matrix) if symmetry else fold
        for number, fold in enumerate(got.folds)
        if fold.count
    }
    total = total_moments(list(folds.values()))
    allowed = allowed_weights(total)
    metric = setting.metric(np.sqrt(np.diag(total.yy) / total.count).astype(np.float32))
    strength, note = _strength(setting, list(folds.values()), allowed, metric)
    matrix = ridge_matrix(total, strength, allowed)
    if len(folds) > 1:
        without = {n: ridge_matrix(total - fold, strength, allowed).astype(np.float32) for n, fold in folds.items()}
        matrix = matrix @ output_correction(*_held_out(setting, got, total.features, without), metric, seed=seed)
    if symmetry is not None:
        matrix = symmetric_matrix(matrix, symmetry)
    matrix[~allowed] = 0
    neutral = np.mean([base for _, base in with_rest(setting.data, got)], axis=0)
    provenance = f"ridge on {', '.join(total.features)} relative to rest; strength {strength:.3g}, {note}"
    return LinearMapping(
        matrix=matrix.astype(np.float32),
        features=total.features,
        uses_neutral=True,
        default_neutral=((neutral + neutral[_SCORE_MIRROR]) / 2).astype(np.float32),
        metadata=setting.describe(sum(fold.count for fold in got.folds), provenance),
    )


def _strength(setting: Setting, folds: list[Moments], allowed: NDArray[np.bool_], metric: Metric) -> tuple[float, str]:
    if len(folds) == 1:
        setting.log("one subject only: nobody can be held out, so the strength is not chosen by cross-validation")
        return _UNCHOSEN_STRENGTH, "not cross-validated"
    flat = metric.directions.reshape(len(metric.directions), -1).astype(np.float64)
    choice = choose_strength(folds, allowed, flat @ flat.T)
    held_out = choice.errors[choice.strength]
    return choice.strength, f"by {len(folds)} folds of subjects, held-out squared error {held_out:.4f} of no expression"


def with_rest(data: Dataset, got: Gathered) -> Iterator[tuple[FrameTable, Float32]]:
    """Sampled frames of each subject, with the subject's rest scores."""
    for rows in got.sample.parts():
        neutral = data.neutral(rows.subject, ["scores"])
        assert neutral is not None, "only subjects with a rest frame are sampled"
        yield rows, np.median(neutral.columns["scores"], axis=0).astype(np.float32)


def _held_out(
    setting: Setting, got: Gathered, features: tuple[str, ...], without: dict[int, Float32]
) -> tuple[Float32, Float32]:
    """Estimates of sampled frames by the matrix fitted without their fold, and the truth; mirror images too."""
    places = subject_folds(setting.data.subjects)
    symmetry = setting.symmetry
    estimates, truths = [], []
    for rows, base in with_rest(setting.data, got):
        relative, truth = rows.columns["scores"] - base, rows.parameters
        matrix = without[places[rows.subject]]
        estimates.append(expand_features(relative, features) @ matrix)
        truths.append(truth)
        if symmetry is not None:
            estimates.append(expand_features(relative[:, _SCORE_MIRROR], features) @ matrix)
            truths.append((truth @ symmetry.matrix).astype(np.float32))
    return np.concatenate(estimates), np.concatenate(truths)
