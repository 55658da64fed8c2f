"""Landmarks are found where they were put on a head, whatever the errors of their detections."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("vtk", reason="needs the extra render")

import mp2flame
from mp2flame.data import N_LANDMARKS
from mp2flame.errors import InputError
from mp2flame.landmark_model.correspondences import IRISES, LandmarkSamples, fit_embedding
from tests.helpers.landmark_samples import all_landmarks, synthetic_samples

_N = 24


@pytest.fixture(scope="module")
def head() -> mp2flame.FlameHead:
    return mp2flame.load_head("builtin")


def _people(head: mp2flame.FlameHead, n: int, rng: np.random.Generator) -> list[mp2flame.FlameHead]:
    return [head.with_shape(rng.normal(scale=0.8, size=head.n_shape)) for _ in range(n)]


def _points(head: mp2flame.FlameHead, rng: np.random.Generator) -> NDArray[np.int64]:
    """Triangles (478,) of the face's front skin, and of the eyeballs' front for the irises."""
    faces = head.faces.astype(np.int64)
    corners = head.template[faces].astype(np.float64)
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    frontal = normal[:, 2] > 0.8 * np.linalg.norm(normal, axis=1)
    middle = corners.mean(axis=1)
    assert head.region is not None
    # Region 0 is the face; cheeks and forehead are smooth, so that no image hides one point behind another.
    skin = (head.region[faces] == 0).all(axis=1) & frontal & (middle[:, 2] > 0.085) & (np.abs(middle[:, 0]) > 0.025)
    skin &= (middle[:, 1] < 0.0) | (middle[:, 1] > 0.05)
    chosen = rng.choice(np.flatnonzero(skin), N_LANDMARKS)
    for side, label in enumerate((6, 5)):
        ball = (head.region[faces] == label).all(axis=1) & frontal
        off = np.linalg.norm(middle[:, :2] - head.joints()[4 - side, :2], axis=1)
        iris = np.flatnonzero(ball & (off < 0.004))
        first = IRISES.start + 5 * side
        chosen[first : first + 5] = rng.choice(iris, 5)
    return chosen


@pytest.mark.parametrize(("noise", "limit"), [(0.0, 0.0008), (0.001, 0.0016)])
def test_points_put_on_a_head_are_found(head: mp2flame.FlameHead, noise: float, limit: float) -> None:
    rng = np.random.default_rng(1)
    truth = all_landmarks(_points(head, rng), rng.dirichlet(np.full(3, 3.0), N_LANDMARKS), head)
    errors = rng.normal(scale=noise, size=(_N, N_LANDMARKS, 3))
    found = fit_embedding(head, synthetic_samples(_people(head, _N, rng), truth, errors, rng))
    away = np.linalg.norm(
        found.positions(head.template, head.faces) - truth.positions(head.template, head.faces), axis=1
    )
    assert np.quantile(away, 0.95) < limit
    assert found.spread is not None
    assert np.median(found.spread) == pytest.approx(noise, abs=0.0003)
    assert found.head_hash == head.hash


def test_a_few_wild_images_change_little(head: mp2flame.FlameHead) -> None:
    rng = np.random.default_rng(2)
    truth = all_landmarks(_points(head, rng), rng.dirichlet(np.full(3, 3.0), N_LANDMARKS), head)
    errors = np.zeros((_N, N_LANDMARKS, 3))
    errors[:3] = [0.02, 0.01, 0.0]
    found = fit_embedding(head, synthetic_samples(_people(head, _N, rng), truth, errors, rng))
    away = np.linalg.norm(
        found.positions(head.template, head.faces) - truth.positions(head.template, head.faces), axis=1
    )
    assert np.median(away) < 0.0008


def _blank(head: mp2flame.FlameHead, n: int) -> LandmarkSamples:
    rng = np.random.default_rng(3)
    truth = all_landmarks(_points(head, rng), np.full((N_LANDMARKS, 3), 1 / 3), head)
    return synthetic_samples([head] * n, truth, np.zeros((n, N_LANDMARKS, 3)), rng)


def test_too_few_images_and_landmarks_beside_the_head_are_refused(head: mp2flame.FlameHead) -> None:
    with pytest.raises(InputError, match="at least 8 images with a face; got 5"):
        fit_embedding(head, _blank(head, 5))
    samples = _blank(head, 8)
    beside = replace(samples, landmarks=samples.landmarks * np.array([0.02, 0.02, 1], dtype=np.float32))
    with pytest.raises(InputError, match="fall beside it"):
        fit_embedding(head, beside)
