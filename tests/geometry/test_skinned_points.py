"""Points of a head against the head itself, and their derivatives against finite differences."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mp2flame import rotations
from mp2flame.geometry.skinned_points import SkinnedPoints, n_active_expression, rotation_derivatives
from mp2flame.head import FlameHead
from tests.helpers.heads import load_arrays, pose_of, random_arrays, random_params
from tests.helpers.tracked_people import random_embedding

_K, _E, _S = 12, 10, 10


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> FlameHead:
    return load_arrays(tmp_path_factory.mktemp("head"), random_arrays())


@pytest.mark.parametrize("scale", [0.0, 1e-9, 1e-3, 0.049, 0.051, 1.0, 3.0])
def test_derivatives_of_rotations_are_those_of_finite_differences(scale: float) -> None:
    vector = np.array([0.5, -0.3, 0.8]) / np.linalg.norm([0.5, -0.3, 0.8]) * scale
    for i, change in enumerate(rotation_derivatives(vector)):
        step = np.eye(3)[i] * 1e-5
        finite = (rotations.matrix(vector + step) - rotations.matrix(vector - step)) / 2e-5
        np.testing.assert_allclose(change, finite, atol=1e-9)


def test_points_lie_where_the_head_has_them(head: FlameHead) -> None:
    params, embedding = random_params(4, _E), random_embedding(head, _K)
    shape = np.linspace(-1, 1, _S)
    expected = embedding.positions(head.with_shape(shape)(params), head.faces)
    poses = np.stack([pose_of(params, i) for i in range(4)]).astype(float)
    points = SkinnedPoints.at_landmarks(head, embedding).with_fixed(shape)
    positions = points.pose(params.expression.astype(float), poses, params.translation.astype(float))
    np.testing.assert_allclose(positions, expected, atol=1e-6)


@pytest.mark.parametrize("joints", [(2, 3, 4, 0), (2, 3, 4, 1), (1,)])
def test_derivatives_of_points_are_those_of_finite_differences(head: FlameHead, joints: tuple[int, ...]) -> None:
    rng = np.random.default_rng(3)
    points = SkinnedPoints.at_landmarks(head, random_embedding(head, _K))
    n = _S + _E

    def pose(values: NDArray[np.float64]) -> NDArray[np.float64]:
        poses = np.zeros((2, 5, 3))
        poses[:, joints] = values[:, n:-3].reshape(2, -1, 3)
        return points.pose(values[:, :n], poses, values[:, -3:])

    values = rng.normal(scale=0.3, size=(2, n + 3 * len(joints) + 3))
    poses = np.zeros((2, 5, 3))
    poses[:, joints] = values[:, n:-3].reshape(2, -1, 3)
    posed = points.differentiate(values[:, :n], poses, values[:, -3:], joints)
    np.testing.assert_allclose(posed.positions, pose(values), atol=1e-12)
    for i in range(values.shape[1]):
        step = np.eye(values.shape[1])[i] * 1e-6
        finite = (pose(values + step) - pose(values - step)) / 2e-6
        np.testing.assert_allclose(posed.jacobian[:, i], finite.swapaxes(1, 2), atol=1e-7)


def test_components_that_move_nothing_are_left_out(tmp_path: Path) -> None:
    arrays = random_arrays()
    arrays["shapedirs"][:, :, 16:] = 0
    assert n_active_expression(load_arrays(tmp_path, arrays)) == 6
