"""Euler angles and Unity's quaternions against SciPy, and against what the words say."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mp2flame.rotations import matrix
from mp2flame.sources.face_packet import head_from_angles, matrix_from_euler
from mp2flame.streams.rotation_conventions import matrix_from_unity, unity_from_matrix, yaw_pitch_roll


def yaw_pitch_roll_matrix(yaw: float, pitch: float, roll: float) -> np.ndarray:
    return head_from_angles(yaw, pitch, roll, 1.0)[:3, :3]


_TURNS = [
    *Rotation.random(200, random_state=0).as_matrix(),
    np.eye(3),
    *matrix(np.eye(3) * np.pi),
    *matrix(np.eye(3) * 1e-9),
]
_FORWARD, _LEFT = np.array([0.0, 0.0, 1.0]), np.array([1.0, 0.0, 0.0])


def test_euler_angles_are_those_of_scipy() -> None:
    for x, y, z in np.random.default_rng(1).uniform(-3, 3, (50, 3)):
        expected = Rotation.from_euler("YXZ", [y, x, z]).as_matrix()
        np.testing.assert_allclose(matrix_from_euler(x, y, z), expected, atol=1e-12)


@pytest.mark.parametrize("turn", _TURNS)
def test_round_trips(turn: np.ndarray) -> None:
    np.testing.assert_allclose(yaw_pitch_roll_matrix(*yaw_pitch_roll(turn)), turn, atol=1e-9)
    np.testing.assert_allclose(matrix_from_unity(unity_from_matrix(turn)), turn, atol=1e-9)


@pytest.mark.parametrize("pitch", [np.pi / 2, -np.pi / 2])
def test_looking_straight_up_and_down(pitch: float) -> None:
    turn = yaw_pitch_roll_matrix(0.4, pitch, 0.3)
    np.testing.assert_allclose(yaw_pitch_roll_matrix(*yaw_pitch_roll(turn)), turn, atol=1e-7)


def test_the_words_for_the_angles() -> None:
    assert (yaw_pitch_roll_matrix(0.3, 0, 0) @ _FORWARD)[0] > 0, "yaw > 0 turns to the subject's left"
    assert (yaw_pitch_roll_matrix(0, 0.3, 0) @ _FORWARD)[1] > 0, "pitch > 0 looks up"
    assert (yaw_pitch_roll_matrix(0, 0, 0.3) @ _LEFT)[1] > 0, "roll > 0 raises the left ear"


@pytest.mark.parametrize("turn", _TURNS[:20])
def test_unity_sees_the_mirror_image(turn: np.ndarray) -> None:
    mirror = np.diag([-1.0, 1.0, 1.0])
    # Unity multiplies its quaternions as everybody does; only its axes are left-handed.
    in_unity = Rotation.from_quat(unity_from_matrix(turn)).as_matrix()
    np.testing.assert_allclose(in_unity, mirror @ turn @ mirror, atol=1e-9)


def test_quaternions_of_either_sign_and_length() -> None:
    turn = _TURNS[3]
    quaternion = np.array(unity_from_matrix(turn))
    np.testing.assert_allclose(matrix_from_unity(-quaternion), turn, atol=1e-9)
    np.testing.assert_allclose(matrix_from_unity(1.3 * quaternion), turn, atol=1e-9)
