"""The terms of the objective, the solution of their equations and the identity, against finite differences."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from mp2flame import rotations
from mp2flame.geometry.camera import Intrinsics
from mp2flame.head import FlameHead
from mp2flame.landmark_model.error_model import LandmarkErrorModel, LowRankCovariance, landmark_offsets
from mp2flame.tracking.config import PriorConfig, TrackerConfig, TrackOptions
from mp2flame.tracking.identity import IdentityProblem, IdentityView
from mp2flame.tracking.model import Setup, TrackerModel
from mp2flame.tracking.objective import NormalEquations, Objective
from mp2flame.tracking.state import StateLayout
from mp2flame.tracking.terms.landmarks import (
    LandmarkTerm,
    PersonModel,
    upright_rotations,
    view_directions,
)
from mp2flame.tracking.terms.priors import EyePrior, FacePrior, TemporalPrior
from tests.helpers.heads import load_arrays, random_arrays
from tests.helpers.terms import check_term
from tests.helpers.tracked_people import random_embedding

Float64 = NDArray[np.float64]

_K, _E, _S = 12, 10, 10
_STEP = 1e-6
_CAMERA = Intrinsics(700.0, (640, 480))


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> FlameHead:
    return load_arrays(tmp_path_factory.mktemp("head"), random_arrays())


def _model(head: FlameHead, rng: np.random.Generator) -> TrackerModel:
    bias = rng.normal(scale=1e-3, size=(3 + _E + 9 + _S, 3 * _K))
    covariance = LowRankCovariance(rng.normal(scale=1e-3, size=(5, 3 * _K)), rng.uniform(4e-4, 9e-4, 3 * _K))
    error_model = LandmarkErrorModel(bias, covariance, covariance, _E + 9)
    return TrackerModel(head, random_embedding(head, _K), error_model)


def _states(rng: np.random.Generator, n: int) -> Float64:
    states = rng.normal(scale=0.3, size=(n, StateLayout(_E).width))
    states[:, -3:] = rng.normal(scale=0.02, size=(n, 3)) - [0, 0, 0.9]
    return states


def _landmark_term(model: TrackerModel, joint: int = 0) -> LandmarkTerm:
    rng = np.random.default_rng(3)
    points, bias = model.points.with_fixed(rng.normal(size=_S)), rng.normal(scale=1e-3, size=3 * _K)
    person = PersonModel(points, StateLayout(_E, joint), model.error_model, bias, _CAMERA, TrackerConfig())
    landmarks = rng.uniform(0.3, 0.7, size=(3, _K, 3))
    return LandmarkTerm.of(person, landmarks, rng.uniform(0.2, 1.0, size=(3, _K)))


def _prior(kind: str) -> EyePrior | FacePrior | TemporalPrior:
    layout = StateLayout(_E)
    if kind == "eyes":
        return EyePrior(layout, PriorConfig())
    if kind == "face":
        return FacePrior(layout, np.array([0.5, 1.0, 2.0]), PriorConfig())
    return TemporalPrior.of(layout, np.array([0.0, 0.1, 0.15]), np.array([0, 0, 1]), PriorConfig())


@pytest.mark.parametrize("kind", ["eyes", "face", "time"])
def test_priors_keep_the_contract(kind: str) -> None:
    check_term(_prior(kind), _states(np.random.default_rng(1), 3))


@pytest.mark.parametrize("joint", [0, 1])
def test_the_landmark_term_keeps_the_contract(head: FlameHead, joint: int) -> None:
    model = _model(head, np.random.default_rng(2))
    # View and upright turn are held during a step: without bias, and with one variance for all, they change no cost.
    same = LowRankCovariance(np.zeros((1, 3 * _K)), np.full(3 * _K, 5e-4))
    unbiased = LandmarkErrorModel(0 * model.error_model.bias, same, same, _E + 9)
    term = _landmark_term(replace(model, error_model=unbiased), joint)
    term = replace(term, model=replace(term.model, person_bias=np.zeros(3 * _K)))
    check_term(term, _states(np.random.default_rng(4), 3))


@pytest.mark.parametrize("joint", [0, 1])
def test_derivatives_of_landmark_residuals_are_those_of_finite_differences(head: FlameHead, joint: int) -> None:
    states = _states(np.random.default_rng(3), 3)
    term = _landmark_term(_model(head, np.random.default_rng(2)), joint)
    person, layout = term.model, term.model.layout
    rotation = rotations.matrix(layout.rotation(states))
    upright, view = upright_rotations(rotation), person.error_model.view_bias(view_directions(rotation))

    def held(values: Float64) -> Float64:
        """The residuals, with view and upright turn as they are at `states`."""
        points = landmark_offsets(person.points.pose(*layout.arguments(values)), term.slopes) @ upright
        predicted = view + layout.face(values) @ person.error_model.face_response
        return np.asarray(points.reshape(3, -1) - predicted - person.person_bias)

    np.testing.assert_allclose(held(states), term.residuals(states), atol=1e-12)
    analytic = term.jacobian(states)
    for i in range(layout.width):
        step = np.eye(layout.width)[i] * _STEP
        finite = (held(states + step) - held(states - step)) / (2 * _STEP)
        np.testing.assert_allclose(analytic[:, i], finite, atol=1e-7)


def test_an_outlier_loses_its_weight_once_the_solution_is_near(head: FlameHead) -> None:
    model = _model(head, np.random.default_rng(2))
    term = _landmark_term(model)
    states = _states(np.random.default_rng(5), 3)
    points = term.model.points.pose(*term.model.layout.arguments(states))
    slopes = np.asarray(points / -points[..., 2:])
    slopes[..., 2] = 0.0
    slopes[1, 4, 0] += 0.1
    term = replace(term, slopes=slopes, weights=np.ones((3, _K)), base_weights=np.ones((3, _K)))
    equations = NormalEquations.zeros(*states.shape)
    assert term.reweighted(states, equations, 1) is term
    weights = term.reweighted(states, equations, 2).weights
    assert weights[1, 4] < 0.1
    assert (weights == 1).mean() > 0.9


def test_lively_faces_are_held_less_than_neutral_ones() -> None:
    prior, states = FacePrior(StateLayout(_E), np.ones(2), PriorConfig()), np.zeros((2, StateLayout(_E).width))
    states[1, :_E] = 3.0
    equations = NormalEquations.zeros(*states.shape)
    equations.blocks[:] = 1e6 * np.eye(states.shape[1])
    scale = prior.reweighted(states, equations, 1).scale
    assert scale[0] > 1 > scale[1]


def test_steps_solve_the_dense_system() -> None:
    rng = np.random.default_rng(7)
    n, d = 6, 4
    root = rng.normal(size=(n, d, d))
    equations = NormalEquations(
        root @ root.swapaxes(1, 2) + np.eye(d), rng.normal(size=(n, d)), rng.uniform(0.1, 5, size=(n - 1, d))
    )
    equations.coupling[2] = 0  # a cut
    dense = np.zeros((n * d, n * d))
    for i in range(n):
        dense[i * d : i * d + d, i * d : i * d + d] = equations.blocks[i]
    for i in range(n - 1):
        change = np.zeros((d, n * d))
        change[:, i * d : i * d + d], change[:, i * d + d : i * d + 2 * d] = -np.eye(d), np.eye(d)
        dense += change.T @ np.diag(equations.coupling[i]) @ change
    expected = np.linalg.solve(dense, -equations.gradient.ravel())
    np.testing.assert_allclose(equations.step().ravel(), expected, atol=1e-10)


def test_one_step_reaches_the_minimum_of_a_quadratic_objective() -> None:
    states = _states(np.random.default_rng(8), 3)
    objective = Objective([_prior(kind) for kind in ("eyes", "face", "time")])
    lowest = states + objective.linearize(states).step()
    cost = objective.cost(lowest)
    for seed in range(5):
        other = lowest + 1e-3 * np.random.default_rng(seed).normal(size=lowest.shape)
        assert objective.cost(other) > cost


def test_derivatives_of_the_identity_problem_are_those_of_finite_differences(head: FlameHead) -> None:
    rng = np.random.default_rng(4)
    model = _model(head, rng)
    model.error_model.bias[1:3] = 0  # the view is held during a step
    states = _states(rng, 3)
    # Heads without roll: the upright turn is held as well.
    states[:, _E + 10 : _E + 12] = 0
    landmarks = rng.uniform(0.3, 0.7, size=(3, _K, 3))
    views = [IdentityView(x, state, video) for x, state, video in zip(landmarks, states, (0, 1, 1), strict=True)]
    problem = IdentityProblem(
        Setup(model, TrackOptions(), TrackerConfig()), views, [_CAMERA, Intrinsics(500.0, (400, 400))]
    )
    unknowns = problem.start + np.concatenate([rng.normal(scale=0.5, size=_S), np.zeros(18), [0.1, -0.2]])
    jacobian = problem.linearize(unknowns)[1]
    analytic = np.zeros((3, problem.width, 3 * _K))
    for i, video in enumerate((0, 1, 1)):
        analytic[i, problem.columns(i, video)] = jacobian[i]
    turned = [i for i in range(_S, _S + 18) if (i - _S) % 6 in (1, 2)]
    for i in (i for i in range(problem.width) if i not in turned):
        step = np.eye(problem.width)[i] * _STEP
        finite = (problem.linearize(unknowns + step)[0] - problem.linearize(unknowns - step)[0]) / (2 * _STEP)
        np.testing.assert_allclose(analytic[:, i], finite, atol=2e-7)
