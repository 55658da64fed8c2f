"""The model of landmark errors: it finds a bias and a covariance that were put in, and says how sure it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import multivariate_normal

pytest.importorskip("vtk", reason="needs the extra render")

import mp2flame
from mp2flame.data import N_LANDMARKS
from mp2flame.errors import FormatError, InputError, MissingFileError
from mp2flame.head.landmarks import LandmarkEmbedding
from mp2flame.landmark_model import offsets as error_model
from mp2flame.landmark_model.offsets import ErrorModel, fit_errors, load_errors, sitting_errors
from mp2flame.synthesis.landmark_samples import Sitting
from tests.helpers.landmark_samples import all_landmarks, made_up_sitting, seen_landmarks

Float64 = NDArray[np.float64]
_N = 120


@pytest.fixture(scope="module")
def head() -> mp2flame.FlameHead:
    return mp2flame.load_head("builtin")


@pytest.fixture(scope="module")
def embedding(head: mp2flame.FlameHead) -> LandmarkEmbedding:
    rng = np.random.default_rng(5)
    front = np.flatnonzero(head.template[head.faces.astype(np.int64)].min(axis=1)[:, 2] > 0.09)
    return all_landmarks(rng.choice(front, N_LANDMARKS), rng.dirichlet(np.ones(3), N_LANDMARKS), head)


def _truth(rng: np.random.Generator) -> tuple[Float64, Float64]:
    """Bias (3, 478, 3) and four components (4, 478, 3), z relative to its mean as MediaPipe's is."""
    bias = rng.normal(scale=1e-3, size=(3, N_LANDMARKS, 3))
    components = rng.normal(scale=1e-3, size=(4, N_LANDMARKS, 3))
    for part in (bias, components):
        part[..., 2] -= part[..., 2].mean(axis=1, keepdims=True)
    return bias, components


def _sitting(head: mp2flame.FlameHead, embedding: LandmarkEmbedding, n: int, seed: int) -> Sitting:
    bias, components = _truth(np.random.default_rng(0))
    rng = np.random.default_rng(seed)
    plain = made_up_sitting([head] * n, embedding, np.zeros((n, N_LANDMARKS, 3)), rng)
    view = np.stack([camera.axes[2, :2] for camera in plain.cameras])
    errors = bias[0] + np.einsum("nf,fkd->nkd", view, bias[1:])
    errors += np.einsum("nq,qkd->nkd", rng.normal(size=(n, 4)), components)
    errors += rng.normal(scale=3e-4, size=errors.shape)
    points = embedding.positions(plain.vertices, head.faces)
    seen = [seen_landmarks(p, c, e) for p, c, e in zip(points, plain.cameras, errors, strict=True)]
    return replace(plain, landmarks=np.stack(seen))


@pytest.fixture(scope="module")
def model(head: mp2flame.FlameHead, embedding: LandmarkEmbedding) -> ErrorModel:
    return fit_errors(_sitting(head, embedding, _N, 1), embedding, head.faces)


def test_errors_are_those_that_were_put_in(head: mp2flame.FlameHead, embedding: LandmarkEmbedding) -> None:
    rng = np.random.default_rng(2)
    put = rng.normal(scale=2e-3, size=(6, N_LANDMARKS, 3))
    put[..., 2] -= put[..., 2].mean(axis=1, keepdims=True)
    errors, view = sitting_errors(made_up_sitting([head] * 6, embedding, put, rng), embedding, head.faces)
    np.testing.assert_allclose(errors, put, atol=2e-7)
    assert np.abs(view).max() < 1


def test_bias_is_found(model: ErrorModel) -> None:
    bias, _ = _truth(np.random.default_rng(0))
    view = np.array([[0.0, 0.0], [0.3, -0.1], [-0.2, 0.2]])
    expected = bias[0] + np.einsum("nf,fkd->nkd", view, bias[1:])
    found = model.bias_at(view)
    assert found.shape == (3, N_LANDMARKS, 3)
    # Four components of a millimetre, averaged over 120 pictures.
    assert np.sqrt(((found - expected) ** 2).mean()) < 4 * 2e-3 / np.sqrt(_N)


def test_covariance_is_found(model: ErrorModel) -> None:
    _, components = _truth(np.random.default_rng(0))
    flat = components.reshape(4, -1)
    true = flat.T @ flat + 9e-8 * np.eye(flat.shape[1])
    found = model.covariance()
    assert np.linalg.norm(found - true) < 0.35 * np.linalg.norm(true)
    np.testing.assert_allclose(found.diagonal().sum(), true.diagonal().sum(), rtol=0.25)
    # Independent errors would have no more than the diagonal.
    assert np.linalg.norm(found - np.diag(found.diagonal())) > 0.7 * np.linalg.norm(true)


def test_whitening_undoes_the_covariance(model: ErrorModel) -> None:
    whitening, covariance = model.whitening(), model.covariance()
    np.testing.assert_allclose(whitening @ covariance @ whitening.T, np.eye(len(covariance)), atol=1e-6)
    assert not np.triu(whitening, 1).any()


def test_new_pictures_are_as_surprising_as_the_model_says(
    head: mp2flame.FlameHead, embedding: LandmarkEmbedding, model: ErrorModel
) -> None:
    errors, view = sitting_errors(_sitting(head, embedding, 40, 77), embedding, head.faces)
    white = (errors - model.bias_at(view)).reshape(40, -1) @ model.whitening().T
    assert 0.4 < (white**2).mean() < 1.6


def test_surprise_is_the_normal_likelihood() -> None:
    rng = np.random.default_rng(4)
    scatter, left_out = rng.normal(size=(5, 9)), rng.normal(size=(7, 9))
    variance = (scatter**2).sum(axis=0)
    surprise = error_model._surprise(left_out, scatter, variance)
    plain = []
    for a in error_model._AMOUNTS:
        normal = multivariate_normal(np.zeros(9), (1 - a) * scatter.T @ scatter + a * np.diag(variance))
        plain.append(-2 * normal.logpdf(left_out).sum())
    # Constants are left out, so differences are compared.
    np.testing.assert_allclose(surprise - surprise[0], np.array(plain) - plain[0], rtol=1e-9)


def test_a_picture_that_was_not_understood_does_not_count(
    head: mp2flame.FlameHead, embedding: LandmarkEmbedding
) -> None:
    sitting = _sitting(head, embedding, 40, 3)
    landmarks = sitting.landmarks.copy()
    landmarks[7] += 0.1
    spoilt = fit_errors(replace(sitting, landmarks=landmarks), embedding, head.faces)
    clean = fit_errors(sitting, embedding, head.faces)
    assert spoilt.pictures == clean.pictures - 1
    assert np.abs(spoilt.bias[0] - clean.bias[0]).max() < 1.5e-3


def test_round_trip(model: ErrorModel, tmp_path: Path) -> None:
    model.save(tmp_path / "errors.npz")
    back = load_errors(tmp_path / "errors.npz")
    np.testing.assert_array_equal(back.bias, model.bias)
    np.testing.assert_array_equal(back.noise, model.noise)
    np.testing.assert_allclose(back.components, model.components, rtol=1e-6)
    assert (back.pictures, back.head_hash) == (model.pictures, model.head_hash)
    assert list(tmp_path.iterdir()) == [tmp_path / "errors.npz"]


def test_broken_files_are_refused(model: ErrorModel, embedding: LandmarkEmbedding, tmp_path: Path) -> None:
    model.save(tmp_path / "a.npz")
    whole = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    embedding.save(tmp_path / "landmarks.npz")
    np.save(tmp_path / "single.npy", np.zeros(3))
    for name, message in {"cut.npz": "damaged", "single.npy": "damaged", "landmarks.npz": "got mp2flame-embe"}.items():
        with pytest.raises(FormatError, match=message):
            load_errors(tmp_path / name)
    with pytest.raises(MissingFileError, match="no such file"):
        load_errors(tmp_path / "none.npz")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bias": np.zeros((2, 5, 3))}, r"bias must be finite numbers \(3, 5, 3\)"),
        ({"components": np.full((2, 5, 3), np.inf)}, "components must be finite"),
        ({"noise": np.zeros((5, 3))}, "positive"),
    ],
)
def test_wrong_values_are_named(changes: dict[str, Any], message: str) -> None:
    fields: dict[str, Any] = {"bias": np.zeros((3, 5, 3)), "components": np.zeros((2, 5, 3)), "noise": np.ones((5, 3))}
    with pytest.raises(InputError, match=message):
        ErrorModel(**(fields | changes), pictures=20, head_hash="x")


def test_too_few_people_are_refused(head: mp2flame.FlameHead, embedding: LandmarkEmbedding) -> None:
    sitting = made_up_sitting([head] * 12, embedding, np.zeros((12, N_LANDMARKS, 3)), np.random.default_rng(0))
    with pytest.raises(InputError, match="at least 4 people"):
        fit_errors(sitting, embedding, head.faces)


def test_views_of_another_shape_are_refused(model: ErrorModel) -> None:
    with pytest.raises(InputError, match=r"\(N, 2\); got \(3,\)"):
        model.bias_at([0.1, 0.2, 0.3])
