"""FLAME's model written out with plain loops in float64: slow, and easy to check against the paper by eye."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

Float64 = NDArray[np.float64]


def rotation(axis_angle: Sequence[float] | NDArray[Any]) -> Float64:
    """The rotation matrix as the exponential of the cross-product matrix, its definition."""
    x, y, z = (float(value) for value in axis_angle)
    result: Float64 = scipy.linalg.expm(np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]]))
    return result


def slow_lbs(
    arrays: dict[str, NDArray[Any]], coefficients: NDArray[Any], pose: NDArray[Any], translation: NDArray[Any]
) -> tuple[Float64, Float64]:
    """The vertices (V, 3) and the joints (5, 3) of one frame.

    Args:
        arrays: a head in FLAME's names, dense.
        coefficients: one number for each component of `shapedirs`, identity and expression.
        pose: (5, 3) axis-angle of root, neck, jaw, left eye, right eye.
        translation: (3,).
    """
    template, weights = arrays["v_template"].astype(np.float64), arrays["weights"].astype(np.float64)
    parents = arrays["kintree_table"][0].astype(np.int64)
    rotations = [rotation(vector) for vector in pose]
    features = [rotations[joint][row, column] - float(row == column)
                for joint in range(1, 5) for row in range(3) for column in range(3)]  # fmt: skip
    shaped = np.zeros_like(template)
    corrected = np.zeros_like(template)
    for v in range(len(template)):
        for axis in range(3):
            shaped[v, axis] = template[v, axis] + np.dot(arrays["shapedirs"][v, axis].astype(np.float64), coefficients)
            corrected[v, axis] = shaped[v, axis] + np.dot(arrays["posedirs"][v, axis].astype(np.float64), features)
    joints = arrays["J_regressor"].astype(np.float64) @ shaped
    world = [np.eye(4) for _ in range(5)]
    for joint in range(5):
        local = np.eye(4)
        local[:3, :3] = rotations[joint]
        local[:3, 3] = joints[joint] if joint == 0 else joints[joint] - joints[parents[joint]]
        world[joint] = local if joint == 0 else world[parents[joint]] @ local
    posed = np.zeros_like(template)
    for v in range(len(template)):
        for joint in range(5):
            turned = world[joint][:3, :3] @ (corrected[v] - joints[joint]) + world[joint][:3, 3]
            posed[v] += weights[v, joint] * turned
    return posed + translation, np.array([frame[:3, 3] for frame in world]) + translation
