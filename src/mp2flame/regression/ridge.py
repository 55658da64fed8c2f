"""Linear mappings from the sums of products of their frames: the pseudo-inverse, and ridge regression.

Letters: N frames, B = 52 scores, F = B times the number of features, E expression coefficients, P = E + 9 parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mp2flame.blendshapes import MEDIAPIPE
from mp2flame.data import N_SCORES
from mp2flame.errors import InputError
from mp2flame.geometry.symmetry import Symmetry
from mp2flame.mapping import LinearMapping
from mp2flame.mapping.linear import N_ROTATIONS, expand_features
from mp2flame.regression.context import DataPass, FitContext, subject_folds
from mp2flame.regression.mesh_loss import MeshLoss
from mp2flame.regression.mlp import Adam
from mp2flame.regression.sufficient_statistics import (
    SCORE_MIRROR,
    SufficientStatistics,
    feature_mirror,
    total_statistics,
)

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Bool = NDArray[np.bool_]

STRENGTHS: Final = tuple(float(value) for value in np.geomspace(1e-5, 1e-1, 13))
"""Ridge strengths to choose from, relative to the mean square of a feature."""
_SILENT = 0.05
"""A score that never rises above this carries no information: MediaPipe's silent channels stay far below."""
_DEPENDENT = 1e-11
"""Least eigenvalue of the Gram matrix of unit features below which features are combinations of each other."""
_UNCHOSEN_STRENGTH = 1e-3
"""Where nobody can be held out to choose one."""


def fit_pinv(context: FitContext, data: DataPass) -> LinearMapping:
    """The pseudo-inverse of absolute scores, as the field's notebooks compute it."""
    total = total_statistics(data.folds)
    note = "pseudo-inverse of absolute scores, without intercept"
    return LinearMapping(matrix=pinv_matrix(total).astype(np.float32), metadata=context.describe(total.count, note))


def fit_ridge(context: FitContext, data: DataPass, *, seed: int) -> LinearMapping:
    """Ridge regression on scores relative to the neutral face; mirrored exactly, zero for the neutral face.

    The strength is chosen by cross-validation over subjects, then the output is recalibrated to the least mean distance
    on the frames of each fold, estimated by what was fitted without that fold.
    """
    symmetry = context.symmetry
    folds = {
        number: fold.with_mirror(symmetry.matrix) if symmetry else fold
        for number, fold in enumerate(data.folds)
        if fold.count
    }
    total = total_statistics(folds.values())
    allowed = allowed_weights(total)
    loss = context.loss(np.sqrt(np.diag(total.yy) / total.count).astype(np.float32))
    if len(folds) == 1:
        context.log("one subject only: nobody can be held out, so the strength is not chosen by cross-validation")
        strength, note = _UNCHOSEN_STRENGTH, "not cross-validated"
        matrix = ridge_matrix(total, strength, allowed)
    else:
        strength, errors = choose_strength(list(folds.values()), allowed, loss)
        note = f"by {len(folds)} folds of subjects, held-out squared error {errors[strength]:.4f} of no expression"
        without = {n: ridge_matrix(total - fold, strength, allowed).astype(np.float32) for n, fold in folds.items()}
        held_out = _held_out(context, data, total.features, without)
        matrix = ridge_matrix(total, strength, allowed) @ l1_recalibration(*held_out, loss, seed=seed)
    if symmetry is not None:
        matrix = symmetric_matrix(matrix, symmetry)
    matrix[~allowed] = 0
    neutral = np.mean([data.neutral[table.subject] for table in data.samples], axis=0)
    provenance = f"ridge on {', '.join(total.features)} relative to the neutral face; strength {strength:.3g}, {note}"
    return LinearMapping(
        matrix=matrix.astype(np.float32),
        features=total.features,
        uses_neutral=True,
        default_neutral=((neutral + neutral[SCORE_MIRROR]) / 2).astype(np.float32),
        metadata=context.describe(sum(fold.count for fold in data.folds), provenance),
    )


def _held_out(
    context: FitContext, data: DataPass, features: tuple[str, ...], without: dict[int, Float32]
) -> tuple[Float32, Float32]:
    """Estimates of the sampled frames by the matrix fitted without their fold, and the truth; mirror images too."""
    folds = subject_folds(context.data.subjects)
    symmetry = context.symmetry
    estimates, truths = [], []
    for table in data.samples:
        relative, truth = table.columns["scores"] - data.neutral[table.subject], table.parameters
        matrix = without[folds[table.subject]]
        estimates.append(expand_features(relative, features) @ matrix)
        truths.append(truth)
        if symmetry is not None:
            estimates.append(expand_features(relative[:, SCORE_MIRROR], features) @ matrix)
            truths.append((truth @ symmetry.matrix).astype(np.float32))
    return np.concatenate(estimates), np.concatenate(truths)


def pinv_matrix(statistics: SufficientStatistics) -> Float64:
    """`numpy.linalg.pinv(X) @ Y`, (F, P), from the normal equations.

    Features are scaled to the same size first, so that squaring the condition number costs few digits. Features that
    are combinations of others get the smallest weights, as the pseudo-inverse gives them.

    Raises:
        InputError: there are no frames.
    """
    if statistics.count == 0:
        raise InputError("expected frames to fit on; got none")
    xx, xy = statistics.xx, statistics.xy
    scale = np.sqrt(np.diag(xx))
    used = scale > 0
    matrix = np.zeros_like(xy)
    if used.any():
        size = scale[used]
        gram = xx[np.ix_(used, used)] / np.outer(size, size)
        if np.linalg.eigvalsh(gram)[0] < _DEPENDENT:
            return np.linalg.pinv(xx, rcond=1e-13, hermitian=True) @ xy
        matrix[used] = np.linalg.solve(gram, xy[used] / size[:, None]) / size[:, None]
    return matrix


def allowed_weights(statistics: SufficientStatistics) -> Bool:
    """(F, P) the weights that may differ from zero.

    Scores that never fire get none; jaw scores do not turn the eyes, and eye scores do not move the jaw.
    """
    n_parameters = statistics.xy.shape[1]
    e = n_parameters - N_ROTATIONS
    allowed = np.repeat((statistics.peak > _SILENT)[:, None], n_parameters, axis=1)
    for row, name in enumerate(MEDIAPIPE):
        if name.startswith("jaw"):
            allowed[row, e + 3 :] = False
        if name.startswith("eye"):
            allowed[row, e : e + 3] = False
    return np.tile(allowed, (len(statistics.features), 1))


def ridge_matrix(statistics: SufficientStatistics, strength: float, allowed: Bool) -> Float64:
    """Ridge regression without intercept, each parameter on the features that it may depend on.

    (X'X + s t I)^-1 X'Y, with s the strength and t the mean of X'X's diagonal over the features that fire.
    """
    xx, xy = statistics.xx, statistics.xy
    matrix = np.zeros_like(xy)
    patterns, which = np.unique(allowed, axis=1, return_inverse=True)
    diagonal = np.diag(xx)[allowed.any(axis=1)]
    penalty = strength * (float(diagonal.mean()) if len(diagonal) else 0.0)
    for number in range(patterns.shape[1]):
        rows, columns = np.flatnonzero(patterns[:, number]), np.flatnonzero(which.reshape(-1) == number)
        if len(rows):
            gram = xx[np.ix_(rows, rows)] + penalty * np.eye(len(rows))
            matrix[np.ix_(rows, columns)] = np.linalg.solve(gram, xy[np.ix_(rows, columns)])
    return matrix


def choose_strength(
    folds: Sequence[SufficientStatistics], allowed: Bool, loss: MeshLoss
) -> tuple[float, dict[float, float]]:
    """The strength whose matrices, each fitted on all other folds, have the least squared error on each fold.

    Args:
        folds: statistics of each fold; no subject is in two of them.
        allowed: (F, P) see `allowed_weights`.
        loss: weighs the errors of the parameters.

    Returns:
        The strength, and the held-out squared error of every strength, relative to no expression at all.
    """
    flat = loss.directions.reshape(len(loss.directions), -1).astype(np.float64)
    weight = flat @ flat.T
    total = total_statistics(folds)
    neutral_error = float((total.yy * weight).sum())
    errors = {}
    for strength in STRENGTHS:
        squared = 0.0
        for fold in folds:
            m = ridge_matrix(total - fold, strength, allowed)
            residual = fold.yy - m.T @ fold.xy - fold.xy.T @ m + m.T @ fold.xx @ m
            squared += float((residual * weight).sum())
        errors[strength] = squared / neutral_error if neutral_error > 0 else 0.0
    return min(errors, key=lambda strength: errors[strength]), errors


def symmetric_matrix(matrix: Float64, symmetry: Symmetry) -> Float64:
    """The nearest matrix that maps mirrored scores to the mirrored parameters exactly."""
    order = feature_mirror(len(matrix) // N_SCORES)
    mirrored: Float64 = (matrix + matrix[order] @ symmetry.matrix) / 2
    return mirrored


_STEPS = 600
_BATCH = 256
_RATE = 2e-2


def l1_recalibration(estimates: Float32, truth: Float32, loss: MeshLoss, *, seed: int) -> Float64:
    """(P, P) such that `estimates @ matrix` has the least mean distance to the truth.

    Ridge regression estimates the mean of the faces that look like the scores, and so overshoots where faces are mostly
    neutral; distances that are not squared lead to the median. Expression, jaw and eyes are recalibrated apart. On
    people held out this takes the distance on the face from 0.574 to 0.549 of no expression, and on the brows from
    1.14 to 0.96 (four splits of 40 rendered people).

    Args:
        estimates: (N, P) of frames that the estimates were not fitted on.
        truth: (N, P) parameters of the same frames.
        loss: distance on the head.
        seed: of the order of the frames.
    """
    n, width = truth.shape
    e = width - N_ROTATIONS
    unit = np.where(truth.std(axis=0) > 0, truth.std(axis=0), 1).astype(np.float32)
    scaled = loss.scaled(unit)
    allowed = np.zeros((width, width), dtype=np.float32)
    for start, stop in ((0, e), (e, e + 3), (e + 3, width)):
        allowed[start:stop, start:stop] = 1
    x, y = estimates / unit, truth / unit
    matrix = np.eye(width, dtype=np.float32)
    optimizer = Adam([matrix], rate=_RATE, steps=_STEPS)
    rng = np.random.default_rng(seed)
    for _ in range(_STEPS):
        rows = rng.integers(0, n, min(_BATCH, n))
        gradient = scaled.gradient(x[rows] @ matrix - y[rows])
        optimizer.step([(x[rows].T @ gradient) * allowed])
    result: Float64 = matrix.astype(np.float64) * (unit[None] / unit[:, None])
    return result
