"""The solver's parts against other authorities: finite differences, dense matrices, the head itself."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from mp2flame import rotations
from mp2flame.geometry.skinned_points import SkinnedPoints, n_active_expression, rotation_derivatives
from mp2flame.head.landmarks import LandmarkEmbedding
from mp2flame.landmark_model.error_model import Information, LandmarkErrorModel, LowRankCovariance
from mp2flame.landmark_model.offsets import offsets
from mp2flame.tracking.equations import (
    Lens,
    Scene,
    Sight,
    face_derivatives,
    face_misses,
    misses,
    uprights,
    views,
)
from mp2flame.tracking.person import View, _Problem
from mp2flame.tracking.smoothing import solve_chain, tied
from mp2flame.tracking.state import Layout, face_rows
from tests.helpers.heads import load_arrays, pose_of, random_arrays, random_params
from tests.helpers.tracked_people import landmarks_of

Float64 = NDArray[np.float64]

_K, _E, _S = 12, 10, 10
_STEP = 1e-6


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    return load_arrays(tmp_path_factory.mktemp("head"), random_arrays())


@pytest.fixture(scope="module")
def points(head) -> SkinnedPoints:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(1)
    embedding = LandmarkEmbedding(
        landmark_index=np.arange(_K),
        face_index=rng.integers(0, len(head.faces), _K),
        barycentric=rng.dirichlet(np.ones(3), _K),
    )
    return SkinnedPoints.at_landmarks(head, embedding)


def _response(rng: np.random.Generator) -> LandmarkErrorModel:
    bias = rng.normal(scale=1e-3, size=(3 + _E + 9 + _S, 3 * _K))
    spread = LowRankCovariance(rng.normal(scale=1e-3, size=(5, 3 * _K)), rng.uniform(4e-4, 9e-4, 3 * _K))
    return LandmarkErrorModel(bias, spread, spread, _E + 9)


def _rows(rng: np.random.Generator, n: int) -> Float64:
    rows = rng.normal(scale=0.3, size=(n, Layout(_E).width))
    rows[:, -3:] = rng.normal(scale=0.02, size=(n, 3)) - [0, 0, 0.9]
    return rows


@pytest.mark.parametrize("scale", [0.0, 1e-9, 1e-3, 0.049, 0.051, 1.0, 3.0])
def test_derivatives_of_rotations_are_those_of_finite_differences(scale: float) -> None:
    vector = np.array([0.5, -0.3, 0.8]) / np.linalg.norm([0.5, -0.3, 0.8]) * scale
    for i, change in enumerate(rotation_derivatives(vector)):
        step = np.eye(3)[i] * 1e-5
        finite = (rotations.matrix(vector + step) - rotations.matrix(vector - step)) / 2e-5
        np.testing.assert_allclose(change, finite, atol=1e-9)


def test_points_lie_where_the_head_has_them(head, points: SkinnedPoints) -> None:  # type: ignore[no-untyped-def]
    params = random_params(4, _E)
    shape = np.linspace(-1, 1, _S)
    posed = head.with_shape(shape)(params)
    rng = np.random.default_rng(1)
    faces, weights = rng.integers(0, len(head.faces), _K), rng.dirichlet(np.ones(3), _K)
    expected = np.einsum("kc,nkcd->nkd", weights, posed[:, head.faces[faces]])
    poses = np.stack([pose_of(params, i) for i in range(4)]).astype(float)
    got = points.with_fixed(shape).pose(face_rows(params)[:, :_E], poses, params.translation.astype(float))
    np.testing.assert_allclose(got, expected, atol=1e-6)


@pytest.mark.parametrize("joint", [0, 1])
def test_derivatives_of_misses_are_those_of_finite_differences(points: SkinnedPoints, joint: int) -> None:
    rng = np.random.default_rng(3)
    rows, layout = _rows(rng, 2), Layout(_E, joint)
    person = points.with_fixed(rng.normal(size=_S))
    tangents = rng.normal(scale=0.1, size=(2, _K, 3))
    sight = Sight(tangents, np.ones((2, _K)))
    scene = Scene(person, layout, _response(rng), rng.normal(scale=1e-3, size=3 * _K), None)  # type: ignore[arg-type]
    turns = rotations.matrix(layout.turn(rows))
    upright, view = uprights(turns).swapaxes(1, 2), scene.response.view_bias(views(turns))

    def held(values: Float64) -> Float64:
        """The misses, with view and upright turn as they are at `rows`."""
        seen = misses(person.pose(values[:, :_E], layout.poses(values), layout.translation(values)), tangents)
        left: Float64 = (
            (seen @ upright).reshape(2, -1) - view - values[:, : _E + 9] @ scene.response.face_response - scene.own
        )
        return left

    np.testing.assert_allclose(held(rows), face_misses(scene, rows, sight), atol=1e-12)
    analytic = face_derivatives(scene, rows, sight)
    for i in range(layout.width):
        step = np.zeros(layout.width)
        step[i] = _STEP
        finite = (held(rows + step) - held(rows - step)) / (2 * _STEP)
        np.testing.assert_allclose(analytic[:, i], finite, atol=1e-7)


def test_derivatives_of_a_person_are_those_of_finite_differences(points: SkinnedPoints) -> None:
    rng = np.random.default_rng(4)
    response = _response(rng)
    response.bias[1:3] = 0  # the view is held while a step is made
    rows = _rows(rng, 3)
    # Heads that do not lean: the turn to upright is held as well.
    rows[:, _E + 9 :][:, [1, 2]] = 0
    landmarks = rng.uniform(0.3, 0.7, size=(3, _K, 3))
    shown = [View(x, row, video) for x, row, video in zip(landmarks, rows, (0, 1, 1), strict=True)]
    problem = _Problem(points, Layout(_E), response, shown, [Lens(700.0, (640, 480)), Lens(500.0, (400, 400))])
    values = problem.start + np.concatenate([rng.normal(scale=0.5, size=_S), np.zeros(18), [0.1, -0.2]])
    change = problem.linearise(values)[1]
    analytic = np.zeros((3, problem.width, 3 * _K))
    for i, video in enumerate((0, 1, 1)):
        analytic[i, problem.columns(i, video)] = change[i]
    turns = [i for i in range(_S, _S + 18) if (i - _S) % 6 in (1, 2)]
    for i in range(problem.width):
        if i in turns:
            continue
        step = np.zeros(problem.width)
        step[i] = _STEP
        finite = (problem.linearise(values + step)[0] - problem.linearise(values - step)[0]) / (2 * _STEP)
        np.testing.assert_allclose(analytic[:, i], finite, atol=2e-7)


def test_misses_are_the_offsets_of_the_error_model() -> None:
    rng = np.random.default_rng(5)
    seen = rng.normal(scale=0.05, size=(3, _K, 3)) - [0, 0, 0.8]
    landmarks = landmarks_of(seen + rng.normal(scale=1e-3, size=seen.shape))
    got = misses(seen, Sight.through(Lens(800.0, (640, 480)), landmarks).tangents)
    np.testing.assert_allclose(got, offsets(seen, landmarks, focal=800.0, size=(640, 480)), atol=1e-12)


@pytest.mark.parametrize("trusting", [True, False])
def test_the_precision_is_the_inverse_of_the_covariance(trusting: bool) -> None:
    rng = np.random.default_rng(6)
    spread = _response(rng).relative
    trust = None if trusting else rng.uniform(0.01, 1, 3 * _K)
    noise = spread.noise**2 if trust is None else spread.noise**2 / trust
    dense = np.linalg.inv(spread.components.T @ spread.components + np.diag(noise))
    jacobian, residual = rng.normal(size=(2, 4, 3 * _K)), rng.normal(size=(2, 3 * _K))
    matrix, right = Information(spread, trust).normal(jacobian, residual)
    np.testing.assert_allclose(matrix, jacobian @ dense @ jacobian.swapaxes(1, 2), rtol=1e-6)
    np.testing.assert_allclose(right, np.einsum("ndf,fg,ng->nd", jacobian, dense, residual), rtol=1e-6)
    square = np.einsum("nf,fg,ng->n", residual, dense, residual)
    np.testing.assert_allclose(Information(spread, trust).square(residual), square, rtol=1e-6)


def test_a_chain_is_solved_as_the_dense_system_is() -> None:
    rng = np.random.default_rng(7)
    n, d = 6, 4
    root = rng.normal(size=(n, d, d))
    matrix, right, rows = root @ root.swapaxes(1, 2) + np.eye(d), rng.normal(size=(n, d)), rng.normal(size=(n, d))
    ties = rng.uniform(0.1, 5, size=(n - 1, d))
    ties[2] = 0  # a cut
    dense, side = np.zeros((n * d, n * d)), right.ravel().copy()
    for i in range(n):
        dense[i * d : i * d + d, i * d : i * d + d] = matrix[i]
    for i in range(n - 1):
        # Half the weighted square of the difference between neighbours, by its gradient and Hessian.
        change = np.zeros((d, n * d))
        change[:, i * d : i * d + d], change[:, i * d + d : i * d + 2 * d] = -np.eye(d), np.eye(d)
        dense += change.T @ np.diag(ties[i]) @ change
        side += change.T @ (ties[i] * (rows[i + 1] - rows[i]))
    steps = solve_chain(*tied(matrix, right, rows, ties), ties)
    np.testing.assert_allclose(steps.ravel(), np.linalg.solve(dense, -side), atol=1e-10)


def test_components_that_move_nothing_are_left_out(tmp_path) -> None:  # type: ignore[no-untyped-def]
    arrays = random_arrays()
    arrays["shapedirs"][:, :, 16:] = 0
    assert n_active_expression(load_arrays(tmp_path, arrays)) == 6
