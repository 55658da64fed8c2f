"""Fitting the residual correction of a landmarks mapping: how landmarks answer to parameters, and how they miss.

Letters: N frames, K = 478 landmarks, P = E + 9 parameters.

A ridge regression gives the landmarks' displacement as a linear function of the parameters and of the head's rotation.
Its residuals, over people that differ, give the covariance R of the landmark errors as a low-rank matrix plus a
diagonal (factor analysis). With the prior covariance S of the parameters the gain is (B R^-1 B' + S^-1)^-1 B R^-1.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from mp2flame.data import N_LANDMARKS
from mp2flame.mapping.residual_correction import ResidualCorrection

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

_RIDGE: Final = 3.0
"""Penalty on standardized features, as if so many frames had shown no displacement."""
_FACTORS: Final = 120
"""Largest rank of the low-rank part of the landmark errors' covariance."""
_MODEL_ERROR: Final = 3e-4
"""Variance added for what renders lack of real faces: 1.7 percent of the eye distance for each coordinate."""
_USUAL_RANK: Final = 60
"""Largest number of directions in which residuals of renders are usual."""
_PRIOR: Final = 0.6
"""The prior covariance of the estimate's error on real faces as a fraction of that of the parameters themselves."""
_BROW_PRIOR: Final = 10.0
"""Factor, less one, of the prior variance in the direction that moves the brows most: estimates from landmarks alone
are most timid there, because MediaPipe's brows follow the head's rotation more than the face."""
_BROWS: Final = (46, 52, 53, 55, 63, 65, 66, 70, 105, 107, 276, 282, 283, 285, 293, 295, 296, 300, 334, 336)


def fit_residual_correction(
    displacement: Float32, truth: Float32, view: Float32, default_view: Float32, estimate: Float32
) -> ResidualCorrection:
    """The correction from rendered or tracked frames.

    Args:
        displacement: (N, 3K) aligned landmarks minus those of the subject's neutral frames, in eye distances.
        truth: (N, P) the parameters.
        view: (N, 13) view features minus those of the subject's neutral frames.
        default_view: (13,) mean view features of the neutral frames.
        estimate: (N, P) the parameters that are corrected, as the networks give them.
    """
    response, view_response = _response(displacement, truth, view)
    residual = displacement - truth @ response - view @ view_response
    # R^-1 B' by the Woodbury identity, for R = factors' factors + diagonal.
    factors, diagonal = _error_covariance(residual)
    weighted = factors / diagonal
    inner = np.eye(len(factors)) + weighted @ factors.T
    projected = (response / diagonal).T - weighted.T @ np.linalg.solve(inner, weighted @ response.T)
    information = response @ projected + np.linalg.inv(_prior(truth, response))
    gain = np.linalg.solve(information, projected.T)
    basis, size = _usual_residuals(residual + (truth - estimate) @ response)
    return ResidualCorrection(
        gain=gain.T.astype(np.float32),
        response=response.astype(np.float32),
        view_response=view_response.astype(np.float32),
        usual_residuals=basis.astype(np.float32),
        unusual_size=np.array([size], dtype=np.float32),
        default_view=default_view,
    )


def _usual_residuals(residual: Float64) -> tuple[Float64, float]:
    """The main directions (U, 3K) of the residuals that the estimate leaves, and the median size of what they miss."""
    _, vectors = np.linalg.eigh(residual.T @ residual)
    basis = vectors[:, -min(_USUAL_RANK, len(residual) // 8) :].T
    unusual = residual - (residual @ basis.T) @ basis
    return basis, float(np.median(np.sqrt((unusual**2).mean(axis=1))))


def _response(displacement: Float32, truth: Float32, view: Float32) -> tuple[Float64, Float64]:
    """(P, 3K) and (13, 3K): displacement by parameter and by view feature, by ridge regression."""
    features = np.concatenate([truth, view], axis=1).astype(np.float64)
    scale = features.std(axis=0)
    # A parameter that never moves, such as an unused coefficient, gets a response of zero.
    inverse = np.where(scale > 1e-9, 1 / np.maximum(scale, 1e-9), 0)
    standardized = features * inverse
    normal = standardized.T @ standardized + _RIDGE * np.eye(features.shape[1])
    weights = inverse[:, None] * np.linalg.solve(normal, standardized.T @ displacement)
    return weights[: truth.shape[1]], weights[truth.shape[1] :]


def _error_covariance(residual: Float64) -> tuple[Float64, Float64]:
    """(F, 3K) factors and (3K,) diagonal of the residuals' covariance, with the model error on the diagonal."""
    centered = residual - residual.mean(axis=0)
    covariance = centered.T @ centered / len(centered)
    values, vectors = np.linalg.eigh(covariance)
    rank = min(_FACTORS, len(centered) // 4)
    factors = np.sqrt(np.maximum(values[-rank:], 0))[:, None] * vectors[:, -rank:].T
    diagonal = np.maximum(np.diag(covariance) - (factors**2).sum(axis=0), 0) + _MODEL_ERROR
    return factors, diagonal


def _prior(truth: Float32, response: Float64) -> Float64:
    """(P, P) covariance of the estimate's error before the correction, enlarged where parameters move the brows."""
    covariance = np.atleast_2d(np.cov(truth, rowvar=False))
    size = len(covariance)
    root = np.linalg.cholesky(covariance + 1e-6 * np.eye(size))
    brows = response.reshape(size, N_LANDMARKS, 3)[:, list(_BROWS), :2].reshape(size, -1)
    moved = root.T @ brows
    energy = moved @ moved.T
    largest = np.linalg.eigvalsh(energy)[-1]
    enlarged: Float64 = root @ (np.eye(size) + _BROW_PRIOR * energy / max(float(largest), 1e-20)) @ root.T
    return _PRIOR * enlarged
