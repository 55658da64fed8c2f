"""The error model finds a bias and covariances that were put in, and reads what it wrote."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mp2flame.errors import FormatError, InputError, MissingFileError
from mp2flame.geometry.camera import Camera
from mp2flame.landmark_model.error_model import (
    ErrorSamples,
    Information,
    LandmarkErrorModel,
    LowRankCovariance,
    fit_error_model,
    landmark_offsets,
    landmark_slopes,
    load_error_model,
)
from tests.helpers.landmark_samples import project_landmarks

Float64 = NDArray[np.float64]
_K, _E, _S, _SUBJECTS, _IMAGES = 30, 6, 5, 150, 4
_MM = 1e-3


def _truth(rng: np.random.Generator) -> tuple[Float64, Float64, Float64]:
    """Bias (F, 3K), components of a subject (3, 3K) and of an image (4, 3K)."""
    bias = rng.normal(scale=_MM, size=(3 + _E + 9 + _S, 3 * _K))
    return bias, rng.normal(scale=_MM, size=(3, 3 * _K)), rng.normal(scale=_MM, size=(4, 3 * _K))


def _samples(seed: int = 1) -> ErrorSamples:
    bias, of_subject, of_image = _truth(np.random.default_rng(0))
    rng = np.random.default_rng(seed)
    n = _SUBJECTS * _IMAGES
    subject = np.repeat(np.arange(_SUBJECTS), _IMAGES)
    neutral = np.tile(np.arange(_IMAGES) == 0, _SUBJECTS)
    face = rng.normal(size=(n, _E + 9)) * ~neutral[:, None]
    view, identity = rng.normal(scale=0.2, size=(n, 2)), rng.normal(size=(_SUBJECTS, _S))[subject]
    features = np.concatenate([np.ones((n, 1)), view, face, identity], axis=1)
    errors = features @ bias + rng.normal(size=(_SUBJECTS, 3))[subject] @ of_subject
    errors += rng.normal(size=(n, 4)) @ of_image + rng.normal(scale=0.3 * _MM, size=errors.shape)
    return ErrorSamples(errors.reshape(n, _K, 3), view, face, identity, subject)


@pytest.fixture(scope="module")
def model() -> LandmarkErrorModel:
    return fit_error_model(_samples())


def test_errors_that_were_put_in_are_measured() -> None:
    rng = np.random.default_rng(2)
    camera = Camera(np.array([0.0, 0.02, 0.08]), 0.6, 12.0, -7.0)
    points = np.array([0.0, 0.02, 0.08]) + rng.normal(scale=0.04, size=(478, 3))
    errors = rng.normal(scale=2 * _MM, size=(478, 3))
    # MediaPipe's z has no origin.
    errors[:, 2] -= errors[:, 2].mean()
    slopes = landmark_slopes(project_landmarks(points, camera, errors)[None], camera.intrinsics)
    np.testing.assert_allclose(landmark_offsets(camera.to_camera(points)[None], slopes)[0], errors, atol=2e-7)


def test_the_bias_is_found(model: LandmarkErrorModel) -> None:
    bias, _, _ = _truth(np.random.default_rng(0))
    view = np.array([[0.0, 0.0], [0.3, -0.1]])
    expected = bias[0] + view @ bias[1:3]
    assert np.sqrt(((model.view_bias(view) - expected) ** 2).mean()) < 0.5 * _MM
    assert model.n_face == _E + 9
    # The ridge shrinks the responses: 450 images against a penalty worth 100.
    for found, true in ((model.face_response, bias[3:-_S]), (model.identity_response, bias[-_S:])):
        gain = (found * true).sum() / (true**2).sum()
        assert 0.7 < gain < 1.02
        assert np.corrcoef(found.ravel(), true.ravel())[0, 1] > 0.95


def _dense(covariance: LowRankCovariance) -> Float64:
    return np.asarray(covariance.components.T @ covariance.components + np.diag(covariance.noise**2))


def test_both_covariances_are_found(model: LandmarkErrorModel) -> None:
    _, of_subject, of_image = _truth(np.random.default_rng(0))
    noise = (0.3 * _MM) ** 2 * np.eye(3 * _K)
    image = of_image.T @ of_image + noise
    for found, true in ((model.absolute, of_subject.T @ of_subject + image), (model.relative, 2 * image)):
        # What the shrunk bias leaves adds to the diagonal.
        assert np.corrcoef(_dense(found).ravel(), true.ravel())[0, 1] > 0.9
        np.testing.assert_allclose(found.deviation.mean(), np.sqrt(np.diag(true)).mean(), rtol=0.35)


def test_information_is_the_inverse_of_the_covariance(model: LandmarkErrorModel) -> None:
    rng = np.random.default_rng(3)
    jacobian, residual = rng.normal(size=(2, 4, 3 * _K)), rng.normal(size=(2, 3 * _K))
    weight = rng.uniform(0.1, 1, 3 * _K)
    for each in (None, weight):
        part = model.relative
        dense = np.linalg.inv(
            part.components.T @ part.components + np.diag(part.noise**2 / (1 if each is None else each))
        )
        matrix, right = Information(part, each).normal(jacobian, residual)
        np.testing.assert_allclose(matrix, jacobian @ dense @ jacobian.swapaxes(1, 2), rtol=1e-6)
        np.testing.assert_allclose(right, np.einsum("ndm,mk,nk->nd", jacobian, dense, residual), rtol=1e-6, atol=1e-3)
        square = np.einsum("nm,mk,nk->n", residual, dense, residual)
        np.testing.assert_allclose(Information(part, each).square(residual), square, rtol=1e-6)


def test_a_larger_head_has_larger_errors(model: LandmarkErrorModel) -> None:
    larger = model.scaled(1.2)
    np.testing.assert_allclose(larger.view_bias(np.zeros((1, 2))), 1.2 * model.view_bias(np.zeros((1, 2))))
    np.testing.assert_allclose(larger.absolute.deviation, 1.2 * model.absolute.deviation)


def test_an_image_that_was_not_understood_does_not_count(model: LandmarkErrorModel) -> None:
    samples = _samples()
    errors = samples.errors.copy()
    errors[7] += 0.1
    spoilt = fit_error_model(replace(samples, errors=errors))
    np.testing.assert_allclose(spoilt.bias, model.bias, atol=0.3 * _MM)
    np.testing.assert_allclose(spoilt.absolute.deviation, model.absolute.deviation, rtol=0.05)


def test_a_model_is_read_as_it_was_written(model: LandmarkErrorModel, tmp_path: Path) -> None:
    model.save(tmp_path / "a.safetensors")
    back = load_error_model(tmp_path / "a.safetensors")
    np.testing.assert_allclose(back.bias, model.bias, atol=1e-9)
    np.testing.assert_allclose(_dense(back.relative), _dense(model.relative), atol=1e-11)
    assert back.n_face == model.n_face
    first = (tmp_path / "a.safetensors").read_bytes()
    model.save(tmp_path / "b.safetensors")
    assert (tmp_path / "b.safetensors").read_bytes() == first
    (tmp_path / "cut.safetensors").write_bytes(first[: len(first) // 2])
    with pytest.raises(FormatError, match="truncated"):
        load_error_model(tmp_path / "cut.safetensors")
    (tmp_path / "other.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    with pytest.raises(FormatError, match="another kind of file"):
        load_error_model(tmp_path / "other.safetensors")
    with pytest.raises(MissingFileError, match="no such file"):
        load_error_model(tmp_path / "none.safetensors")


def test_too_few_subjects_are_refused() -> None:
    samples = _samples()
    few = samples.subject < 2
    fields = ("errors", "view", "face", "identity", "subject")
    with pytest.raises(InputError, match="several subjects with neutral and other faces; got 2, 6"):
        fit_error_model(ErrorSamples(*(getattr(samples, name)[few] for name in fields)))
