"""The information matrix of landmark errors against the dense inverse of their covariance."""

from __future__ import annotations

import numpy as np
import pytest

from mp2flame.landmark_model.error_model import Information, LowRankCovariance


@pytest.mark.parametrize("weighted", [False, True])
def test_information_is_the_inverse_of_the_covariance(weighted: bool) -> None:
    rng, k = np.random.default_rng(6), 12
    covariance = LowRankCovariance(rng.normal(scale=1e-3, size=(5, 3 * k)), rng.uniform(4e-4, 9e-4, 3 * k))
    weights = rng.uniform(0.01, 1, 3 * k) if weighted else None
    noise = covariance.noise**2 if weights is None else covariance.noise**2 / weights
    dense = np.linalg.inv(covariance.components.T @ covariance.components + np.diag(noise))
    jacobian, residual = rng.normal(size=(2, 4, 3 * k)), rng.normal(size=(2, 3 * k))
    information = Information(covariance, weights)
    matrix, gradient = information.normal(jacobian, residual)
    np.testing.assert_allclose(matrix, jacobian @ dense @ jacobian.swapaxes(1, 2), rtol=1e-6)
    np.testing.assert_allclose(gradient, np.einsum("ndf,fg,ng->nd", jacobian, dense, residual), rtol=1e-6)
    square = np.einsum("nf,fg,ng->n", residual, dense, residual)
    np.testing.assert_allclose(information.square(residual), square, rtol=1e-6)
