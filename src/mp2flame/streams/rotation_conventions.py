"""Rotations as other programs write them: yaw, pitch and roll; Unity's quaternions.

Ours are right-handed, +Y up, the face looks to +Z, +X is the subject's left. Unity's are left-handed, +Y up, the face
looks to +Z, +X is the subject's right, so that the two differ by a mirror in X.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation


def yaw_pitch_roll(rotation: ArrayLike) -> tuple[float, float, float]:
    """Live Link's angles in radians of a rotation matrix (3, 3); see `face_packet.head_from_angles`."""
    r = np.asarray(rotation, dtype=np.float64)
    cosine = np.hypot(r[1, 0], r[1, 1])
    pitch = float(np.arctan2(r[1, 2], cosine))
    if cosine < 1e-9:
        # Looking straight up or down, yaw and roll are the same rotation, of which SciPy warns: all of it is yaw.
        return float(np.arctan2(-r[2, 0], r[0, 0])), pitch, 0.0
    return float(np.arctan2(r[0, 2], r[2, 2])), pitch, float(np.arctan2(r[1, 0], r[1, 1]))


def unity_from_matrix(rotation: ArrayLike) -> tuple[float, float, float, float]:
    """Unity's quaternion (x, y, z, w), w >= 0, of a rotation matrix (3, 3)."""
    x, y, z, w = Rotation.from_matrix(np.asarray(rotation)).as_quat(canonical=True).tolist()
    # A mirror in X reverses the rotations about Y and Z.
    return x, -y, -z, w


def matrix_from_unity(quaternion: ArrayLike) -> NDArray[np.float64]:
    """The rotation matrix (3, 3) of Unity's quaternion (x, y, z, w) of any length above 0."""
    x, y, z, w = np.asarray(quaternion, dtype=np.float64)
    matrix: NDArray[np.float64] = Rotation.from_quat([x, -y, -z, w]).as_matrix()
    return matrix
