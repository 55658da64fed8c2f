"""Fitting the linear mappings from moments: the field's pseudo-inverse, and ridge regression."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

from mp2flame.blendshapes import MEDIAPIPE, mirror_permutation
from mp2flame.data import N_SCORES
from mp2flame.errors import InputError
from mp2flame.geometry.symmetry import Symmetry
from mp2flame.mapping.linear import N_ROTATIONS
from mp2flame.parallel import one_blas_thread
from mp2flame.regression.moments import Moments, total_moments

__all__ = ["STRENGTHS", "allowed_weights", "choose_strength", "pinv_matrix", "ridge_matrix", "symmetric_matrix"]

Float64 = NDArray[np.float64]
Bool = NDArray[np.bool_]

STRENGTHS: Final = tuple(float(value) for value in np.geomspace(1e-5, 1e-1, 13))
"""Ridge strengths to choose from, relative to the mean square of a feature."""

# A score that never rises above this tells nothing: MediaPipe's silent channels stay far below.
_SILENT = 0.05
# Features of unit size whose Gram matrix has an eigenvalue below this are combinations of each other.
_DEPENDENT = 1e-11


def pinv_matrix(moments: Moments) -> Float64:
    """What `numpy.linalg.pinv(X) @ Y` gives, (F, E + 9), from the normal equations.

    Features are brought to the same size first, so that squaring the condition number costs few digits. Features that
    are combinations of others get the smallest weights, as the pseudo-inverse gives them.

    Raises:
        InputError: there are no frames.
    """
    if moments.count == 0:
        raise InputError("expected frames to fit on; got none")
    size = np.sqrt(np.diag(moments.xx))
    live = size > 0
    matrix = np.zeros_like(moments.xy)
    if not live.any():
        return matrix
    scale = size[live]
    gram = moments.xx[np.ix_(live, live)] / np.outer(scale, scale)
    with one_blas_thread():
        factor, indefinite = lapack.dpotrf(gram, lower=1)
        norm = float(np.abs(gram).sum(axis=0).max())
        # The 1-norm of the inverse bounds its largest eigenvalue, and is estimated in a tenth of the time.
        smallest = 0.0 if indefinite else norm * lapack.dpocon(factor, norm, uplo="L")[0]
        if smallest > _DEPENDENT:
            weights, _ = lapack.dpotrs(factor, moments.xy[live] / scale[:, None], lower=1)
            matrix[live] = weights / scale[:, None]
        else:
            matrix = np.linalg.pinv(moments.xx, rcond=1e-13, hermitian=True) @ moments.xy
    return matrix


def allowed_weights(moments: Moments) -> Bool:
    """(F, E + 9) which weights may differ from zero.

    Channels that never fire get none; jaw channels do not turn the eyes, and eye channels do not move the jaw.
    """
    n_outputs = moments.xy.shape[1]
    e = n_outputs - N_ROTATIONS
    allowed = np.repeat((moments.peak > _SILENT)[:, None], n_outputs, axis=1)
    for row, name in enumerate(MEDIAPIPE):
        if name.startswith("jaw"):
            allowed[row, e + 3 :] = False
        if name.startswith("eye"):
            allowed[row, e : e + 3] = False
    return np.tile(allowed, (len(moments.features), 1))


def ridge_matrix(moments: Moments, strength: float, allowed: Bool) -> Float64:
    """Ridge regression without intercept, each output on the features that it may read.

    (X'X + s t I)^-1 X'Y, with t the mean of X'X's diagonal over the features that fire.
    """
    matrix = np.zeros_like(moments.xy)
    patterns, which = np.unique(allowed, axis=1, return_inverse=True)
    diagonal = np.diag(moments.xx)[allowed.any(axis=1)]
    penalty = strength * (float(diagonal.mean()) if len(diagonal) else 0.0)
    for number in range(patterns.shape[1]):
        rows, columns = np.flatnonzero(patterns[:, number]), np.flatnonzero(which.reshape(-1) == number)
        if len(rows):
            gram = moments.xx[np.ix_(rows, rows)] + penalty * np.eye(len(rows))
            matrix[np.ix_(rows, columns)] = np.linalg.solve(gram, moments.xy[np.ix_(rows, columns)])
    return matrix


@dataclass(frozen=True)
class Choice:
    """A ridge strength and what it was chosen by."""

    strength: float
    errors: dict[float, float]
    """Held-out squared error of each strength, relative to no expression at all."""


def choose_strength(folds: Sequence[Moments], allowed: Bool, weight: Float64) -> Choice:
    """The strength whose matrices, fitted on all other folds, err least on each fold.

    Args:
        folds: moments of each fold; no subject is in two of them.
        allowed: (F, E + 9) as of `allowed_weights`.
        weight: (E + 9, E + 9) what a pair of parameter errors costs.
    """
    total = total_moments(folds)
    nothing = float((total.yy * weight).sum())
    errors = {}
    for strength in STRENGTHS:
        squared = 0.0
        for fold in folds:
            m = ridge_matrix(total - fold, strength, allowed)
            residual = fold.yy - m.T @ fold.xy - fold.xy.T @ m + m.T @ fold.xx @ m
            squared += float((residual * weight).sum())
        errors[strength] = squared / nothing if nothing > 0 else 0.0
    return Choice(min(errors, key=lambda strength: errors[strength]), errors)


def symmetric_matrix(matrix: Float64, symmetry: Symmetry) -> Float64:
    """The nearest matrix that maps mirrored scores to the mirrored parameters exactly."""
    places = mirror_permutation(MEDIAPIPE)
    order = np.concatenate([places + N_SCORES * block for block in range(len(matrix) // N_SCORES)])
    mirrored: Float64 = (matrix + matrix[order] @ symmetry.matrix) / 2
    return mirrored
