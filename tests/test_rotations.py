"""Rotations against SciPy's, near zero and near half turns on purpose."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from mp2flame import rotations
from mp2flame.errors import InputError


def _vectors() -> NDArray[np.float64]:
    rng = np.random.default_rng(0)
    direction = rng.normal(size=(400, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    angles = np.concatenate(
        [
            rng.uniform(0, np.pi, 100),
            10.0 ** rng.uniform(-12, -1, 100),
            np.pi - 10.0 ** rng.uniform(-9, -1, 100),
            np.zeros(100),
        ]
    )
    scaled: NDArray[np.float64] = direction * angles[:, None]
    return scaled


def test_matrix_agrees_with_scipy() -> None:
    vectors = _vectors()
    np.testing.assert_allclose(rotations.matrix(vectors), Rotation.from_rotvec(vectors).as_matrix(), atol=1e-14)


def test_from_matrix_agrees_with_scipy_and_comes_back() -> None:
    vectors = _vectors()
    found = rotations.from_matrix(Rotation.from_rotvec(vectors).as_matrix())
    np.testing.assert_allclose(rotations.matrix(found), rotations.matrix(vectors), atol=1e-12)
    gentle = np.linalg.norm(vectors, axis=1) < np.pi - 1e-3
    np.testing.assert_allclose(found[gentle], vectors[gentle], atol=1e-9)


def test_exact_half_turns() -> None:
    for axis in np.eye(3):
        found = rotations.from_matrix(rotations.matrix(np.pi * axis))
        np.testing.assert_allclose(np.abs(found), np.pi * axis, atol=1e-7)


def test_compose_and_inverse() -> None:
    a, b = _vectors()[:100], _vectors()[100:200]
    expected = (Rotation.from_rotvec(a) * Rotation.from_rotvec(b)).as_rotvec()
    np.testing.assert_allclose(rotations.compose(a, b), expected, atol=1e-9)
    np.testing.assert_allclose(rotations.compose(a, rotations.inverse(a)), 0, atol=1e-9)


def test_nearest_rotation_is_a_rotation_and_undoes_noise_and_scale() -> None:
    rng = np.random.default_rng(3)
    true = Rotation.from_rotvec(_vectors()[:50]).as_matrix()
    found = rotations.nearest_rotation(1.7 * true + rng.normal(scale=1e-6, size=true.shape))
    np.testing.assert_allclose(found, true, atol=1e-5)
    np.testing.assert_allclose(np.linalg.det(rotations.nearest_rotation(-true)), 1, atol=1e-9)


def test_nearest_rotation_is_that_of_kabsch() -> None:
    anything = np.random.default_rng(5).normal(size=(300, 3, 3))
    u, singular, vt = np.linalg.svd(anything)
    u[..., 2] *= np.linalg.det(u @ vt)[:, None]
    # Where the two smallest singular values nearly cancel, many rotations are as near.
    clear = singular[:, 1] - singular[:, 2] > 0.01
    assert clear.mean() > 0.9
    np.testing.assert_allclose(rotations.nearest_rotation(anything)[clear], (u @ vt)[clear], atol=1e-9)


def test_nearest_axis_angle_is_that_of_the_nearest_rotation() -> None:
    rng = np.random.default_rng(4)
    turned = 1.3 * Rotation.from_rotvec(_vectors()).as_matrix()
    anything = rng.normal(size=(200, 3, 3))
    for linear in (turned, anything, anything[0]):
        expected = Rotation.from_matrix(rotations.nearest_rotation(linear))
        found = Rotation.from_rotvec(rotations.nearest_axis_angle(linear))
        assert np.max((found * expected.inv()).magnitude()) < 1e-6
    assert rotations.nearest_axis_angle(anything[0]).shape == (3,)


@pytest.mark.parametrize("call", [rotations.matrix, rotations.from_matrix])
def test_wrong_shape_is_named(call) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=r"\(2, 4\)"):
        call(np.zeros((2, 4)))
