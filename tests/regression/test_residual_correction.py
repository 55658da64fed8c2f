"""The residual correction against closed forms: a linear world in which the right answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from mp2flame import rotations
from mp2flame.data import N_LANDMARKS
from mp2flame.errors import InputError
from mp2flame.mapping.residual_correction import (
    N_VIEW,
    VIEW_MIRROR,
    ResidualCorrection,
    eye_distance,
    view_features,
)
from mp2flame.regression.residual_correction import fit_residual_correction

_SIZE = 3 * N_LANDMARKS
_WIDTH = 12


class _World:
    """Displacements linear in parameters and view, with landmark errors of a few directions and white noise."""

    def __init__(self, seed: int, *, noise: float = 1e-3) -> None:
        rng = np.random.default_rng(seed)
        self.response = rng.normal(size=(_WIDTH, _SIZE)) * 0.01
        self.view_response = rng.normal(size=(N_VIEW, _SIZE)) * 0.01
        self._factors = rng.normal(size=(5, _SIZE)) * 0.003
        self._noise = noise
        self._rng = rng

    def draw(self, n: int) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Displacements (n, 3K), parameters (n, P) and view features (n, 13)."""
        params = self._rng.normal(size=(n, _WIDTH))
        view = self._rng.normal(size=(n, N_VIEW)) * 0.3
        error = self._rng.normal(size=(n, 5)) @ self._factors + self._rng.normal(size=(n, _SIZE)) * self._noise
        displacement = params @ self.response + view @ self.view_response + error
        return displacement.astype(np.float32), params.astype(np.float32), view.astype(np.float32)


def _fitted(world: _World, *, timid: float) -> ResidualCorrection:
    displacement, truth, view = world.draw(3000)
    return fit_residual_correction(
        displacement, truth, view, np.zeros(N_VIEW, np.float32), (truth * np.float32(timid)).astype(np.float32)
    )


def test_response_and_view_response_are_those_of_the_world() -> None:
    world = _World(0)
    fitted = _fitted(world, timid=0.8)
    np.testing.assert_allclose(fitted.response, world.response, atol=1e-3)
    np.testing.assert_allclose(fitted.view_response, world.view_response, atol=4e-3)


def test_the_gain_maps_what_parameters_explain_onto_them_and_shrinks_it() -> None:
    world = _World(1)
    fitted = _fitted(world, timid=1.0)
    # For the gain S B (B' S B + R)^-1 of a Kalman filter, gain' B' has eigenvalues between 0 and 1, whatever S and R.
    eigenvalues = np.linalg.eigvals(fitted.gain.T.astype(float) @ fitted.response.T)
    np.testing.assert_allclose(eigenvalues.imag, 0, atol=1e-6)
    assert eigenvalues.real.min() > 0
    assert eigenvalues.real.max() < 1


def test_a_timid_estimate_of_an_unusual_face_is_brought_to_the_truth() -> None:
    world = _World(2)
    fitted = _fitted(world, timid=0.95)
    displacement, truth, view = world.draw(200)
    # What renders do not show: another person's way of moving, outside of all that was fitted on.
    unusual = np.random.default_rng(3).normal(size=displacement.shape).astype(np.float32) * np.float32(0.01)
    timid = (0.5 * truth).astype(np.float32)
    corrected = fitted(timid, displacement + unusual, view)
    assert np.abs(corrected - truth).mean() < 0.3 * np.abs(timid - truth).mean()


def test_what_renders_show_is_not_corrected() -> None:
    world = _World(4)
    displacement, truth, view = world.draw(3000)
    estimate = (truth + np.random.default_rng(5).normal(size=truth.shape) * 0.1).astype(np.float32)
    fitted = fit_residual_correction(displacement, truth, view, np.zeros(N_VIEW, np.float32), estimate)
    assert np.mean((fitted(estimate, displacement, view) == estimate).all(axis=1)) > 0.4


def test_the_view_alone_moves_nothing() -> None:
    world = _World(6, noise=0.0)
    fitted = _fitted(world, timid=0.9)
    view = np.random.default_rng(7).normal(size=(50, N_VIEW)).astype(np.float32) * np.float32(0.3)
    displacement = (view @ world.view_response).astype(np.float32)
    corrected = fitted(np.zeros((50, _WIDTH), np.float32), displacement, view)
    np.testing.assert_allclose(corrected, 0, atol=0.05)


def test_view_features_of_a_mirrored_head() -> None:
    angles = np.random.default_rng(8).normal(size=(20, 3)) * 0.12
    transforms = np.tile(np.eye(4), (2, 20, 1, 1))
    transforms[0, :, :3, :3] = rotations.matrix(angles)
    transforms[1, :, :3, :3] = rotations.matrix(angles * [1, -1, -1])
    straight, mirrored = (view_features(one) for one in transforms)
    np.testing.assert_allclose(mirrored, straight * VIEW_MIRROR, atol=1e-5)
    np.testing.assert_allclose(straight[:, :3], angles, atol=1e-5)


def test_view_features_ignore_the_scale_and_stop_growing() -> None:
    transforms = np.tile(np.eye(4), (2, 1, 1))
    transforms[0, :3, :3] = 1.7 * rotations.matrix(np.array([0.0, 0.9, 0.0]))
    transforms[1, :3, :3] = rotations.matrix(np.array([0.0, 1.3, 0.0]))
    features = view_features(transforms)
    np.testing.assert_allclose(features[0], features[1], atol=1e-5)


def test_eye_distance_is_between_the_outer_corners() -> None:
    points = np.zeros((2, N_LANDMARKS, 3))
    points[:, 263] = [3.0, 4.0, 0.0]
    np.testing.assert_allclose(eye_distance(points), 5.0)


@pytest.mark.parametrize("name", ["gain", "response", "view_response", "usual_residuals", "default_view"])
def test_wrong_shapes_are_refused(name: str) -> None:
    fields = {
        "gain": np.zeros((_SIZE, _WIDTH)),
        "response": np.zeros((_WIDTH, _SIZE)),
        "view_response": np.zeros((N_VIEW, _SIZE)),
        "usual_residuals": np.zeros((4, _SIZE)),
        "unusual_size": np.ones(1),
        "default_view": np.zeros(N_VIEW),
    }
    ResidualCorrection(**fields)  # type: ignore[arg-type]
    wrong = {**fields, name: np.zeros((3, 3, 3))}
    with pytest.raises(InputError, match="ResidualCorrection"):
        ResidualCorrection(**wrong)  # type: ignore[arg-type]
