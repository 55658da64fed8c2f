"""Rotations as other programs write them: yaw, pitch and roll; Unity's quaternions.

Ours are right-handed, +Y up, the face looks to +Z, +X is the subject's left. Unity's are left-handed, +Y up, the face
looks to +Z, +X is the subject's right, so that the two differ by a mirror in X.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mp2flame.rotations import from_matrix, matrix

__all__ = ["matrix_from_euler", "matrix_from_unity", "unity_from_matrix", "yaw_pitch_roll", "yaw_pitch_roll_matrix"]

_Float = NDArray[np.float64]


def matrix_from_euler(x: float, y: float, z: float) -> _Float:
    """The rotation (3, 3) Ry(y) · Rx(x) · Rz(z), radians: roll first, then pitch, then yaw, as Unity and Unreal do."""
    turns = matrix(np.array([[0.0, y, 0.0], [x, 0.0, 0.0], [0.0, 0.0, z]]))
    turned: _Float = turns[0] @ turns[1] @ turns[2]
    return turned


def _euler_from_matrix(rotation: _Float) -> tuple[float, float, float]:
    r = rotation
    cosine = np.hypot(r[1, 0], r[1, 1])
    x = float(np.arctan2(-r[1, 2], cosine))
    if cosine < 1e-9:
        # Looking straight up or down, yaw and roll are one turn: all of it is yaw.
        return x, float(np.arctan2(-r[2, 0], r[0, 0])), 0.0
    return x, float(np.arctan2(r[0, 2], r[2, 2])), float(np.arctan2(r[1, 0], r[1, 1]))


def yaw_pitch_roll(rotation: ArrayLike) -> tuple[float, float, float]:
    """Live Link's angles in radians of a rotation matrix (3, 3).

    Yaw > 0 turns to the subject's left, pitch > 0 looks up, roll > 0 tilts to the subject's right (the left ear rises).
    """
    x, y, z = _euler_from_matrix(np.asarray(rotation, dtype=np.float64))
    return y, -x, z


def yaw_pitch_roll_matrix(yaw: float, pitch: float, roll: float) -> _Float:
    """The rotation matrix (3, 3) of Live Link's angles in radians; see `yaw_pitch_roll`."""
    return matrix_from_euler(-pitch, yaw, roll)


def unity_from_matrix(rotation: ArrayLike) -> tuple[float, float, float, float]:
    """Unity's quaternion (x, y, z, w) of a rotation matrix (3, 3)."""
    vector = from_matrix(np.asarray(rotation, dtype=np.float64))
    angle = float(np.linalg.norm(vector))
    x, y, z = vector * (0.5 * np.sinc(angle / (2 * np.pi)))
    # A mirror in X turns the sense of the rotations about Y and Z.
    return float(x), float(-y), float(-z), float(np.cos(angle / 2))


def matrix_from_unity(quaternion: ArrayLike) -> _Float:
    """The rotation matrix (3, 3) of Unity's quaternion (x, y, z, w), which need not be of unit length, but not zero."""
    x, y, z, w = np.asarray(quaternion, dtype=np.float64)
    sign = -1.0 if w < 0 else 1.0
    vector = sign * np.array([x, -y, -z])
    sine = float(np.linalg.norm(vector))
    angle = 2 * float(np.arctan2(sine, sign * w))
    scale = angle / sine if sine > 1e-12 else 0.0
    return matrix(vector * scale)
