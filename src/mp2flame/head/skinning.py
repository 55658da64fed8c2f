"""Linear blend skinning with pose correctives: FLAME's model, in NumPy.

Letters: N frames, V vertices, J = 5 joints, E expression coefficients, P = 36 pose correctives (the entries of R - I of
joints 1 to 4). The model (Li et al. 2017, "Learning a model of facial shape and expression from 4D scans", after SMPL):

    v      = template + expression basis · expression + corrective basis · (R - I)
    joints = regressor · (template + expression basis · expression)
    posed  = sum over joints j of weight_j · (A_j v),   A_j = world_j · inverse(rest_j)

Arrays that are large are kept planar, all x before all y before all z, so that every operation runs along contiguous
memory; frames are skinned a few at a time, so that they stay in the cache.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mp2flame import rotations

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

# Frames that are skinned together: their blended transforms, 240 kB each for FLAME, fit in a core's cache.
_SKIN_FRAMES = 4


@dataclass(frozen=True, eq=False)
class Basis:
    """What posing needs and identity does not change."""

    directions: Float32
    """(P' + E, 3V) planar: the pose correctives that move anything, then expression components."""
    correctives: NDArray[np.intp]
    """(P',) which of the P pose correctives these are."""
    joint_directions: Float64
    """(E, 3J) how expression moves the joints."""
    weights: Float32
    """(J, V) skinning weights."""
    parents: tuple[int, ...]
    """J parent joints; -1 for the root, which is the first."""


@dataclass(frozen=True, eq=False)
class Rest:
    """One identity at rest."""

    vertices: Float32
    """(3V,) planar."""
    joints: Float64
    """(J, 3)."""


def _planar(directions: NDArray[Any]) -> NDArray[Any]:
    """(V, 3, K) as (K, 3V), all x first."""
    planar: NDArray[Any] = directions.transpose(2, 1, 0).reshape(directions.shape[2], -1)
    return planar


def make_basis(
    expression: Float32, correctives: Float32, regressor: Float32, weights: Float32, parents: tuple[int, ...]
) -> Basis:
    """Arrange a head's arrays for posing.

    Args:
        expression: (V, 3, E).
        correctives: (V, 3, P).
        regressor: (J, V).
        weights: (V, J).
        parents: J parent joints.
    """
    n_vertices, _, n_expression = expression.shape
    by_joint = regressor @ expression.reshape(n_vertices, -1)
    moving = np.flatnonzero(correctives.any(axis=(0, 1)))
    return Basis(
        directions=np.concatenate([_planar(correctives)[moving], _planar(expression)]),
        correctives=moving,
        joint_directions=np.ascontiguousarray(by_joint.reshape(-1, n_expression).T, dtype=np.float64),
        weights=np.ascontiguousarray(weights.T),
        parents=parents,
    )


def make_rest(vertices: NDArray[Any], regressor: Float32) -> Rest:
    """Arrange one identity's vertices (V, 3) for posing."""
    return Rest(
        vertices=np.ascontiguousarray(vertices.T, dtype=np.float32).ravel(),
        joints=regressor.astype(np.float64) @ vertices,
    )


def _world(local: Float64, joints: Float64, parents: tuple[int, ...]) -> Float64:
    """(N, J, 4, 4) where each joint's frame goes, given its own rotation (N, J, 3, 3) and rest position (N, J, 3)."""
    n, n_joints = joints.shape[:2]
    offsets = joints.copy()
    offsets[:, 1:] -= joints[:, list(parents[1:])]
    frames = np.zeros((n, n_joints, 4, 4))
    frames[..., :3, :3] = local
    frames[..., :3, 3] = offsets
    frames[..., 3, 3] = 1.0
    for joint, parent in enumerate(parents[1:], start=1):
        frames[:, joint] = frames[:, parent] @ frames[:, joint]
    return frames


def pose_joints(basis: Basis, rest: Rest, expression: Float32, poses: Float32, translation: Float32) -> Float32:
    """The joints (N, J, 3) of N frames, float32, meters; arguments as for `pose_vertices`."""
    n, width = expression.shape
    with np.errstate(invalid="ignore"):
        joints = rest.joints + (expression @ basis.joint_directions[:width]).reshape(n, -1, 3)
        placed = _world(rotations.matrix(poses), joints, basis.parents)[..., :3, 3] + translation[:, None]
    return placed.astype(np.float32)


def _transforms(local: Float64, joints: Float64, parents: tuple[int, ...]) -> Float32:
    """(N, 12, J) the entries, row by row, of each joint's 3 x 4 transform from rest to pose."""
    moved = _world(local, joints, parents)[:, :, :3]
    moved[..., 3] -= (moved[..., :3] @ joints[..., None])[..., 0]
    rows = moved.reshape(*joints.shape[:2], 12).astype(np.float32)
    return np.ascontiguousarray(rows.transpose(0, 2, 1))


class _Skinner:
    """Skins up to `_SKIN_FRAMES` frames at a time, in memory that is allocated once."""

    def __init__(self, basis: Basis, rest: Rest, n: int) -> None:
        self._weights = basis.weights
        self._rest = rest.vertices
        frames, n_vertices = min(n, _SKIN_FRAMES), basis.weights.shape[1]
        self._blended = np.zeros((frames, 3, 4, n_vertices), dtype=np.float32)

    def __call__(self, vertices: Float32, transforms: Float32, translation: Float32) -> None:
        """Turn planar offsets from rest (n, 3V) into skinned vertices where they are."""
        n = len(vertices)
        vertices += self._rest
        blended = self._blended[:n]
        np.matmul(transforms.reshape(n * 12, -1), self._weights, out=blended.reshape(n * 12, -1))
        out = vertices.reshape(n, 3, -1)
        products = blended[:, :, :3]
        products *= out[:, None]
        np.add(blended[:, :, 0], blended[:, :, 1], out=out)
        out += blended[:, :, 2]
        out += blended[:, :, 3]
        if translation.any():
            out += translation[:, :, None]


def pose_vertices(basis: Basis, rest: Rest, expression: Float32, poses: Float32, translation: Float32) -> Float32:
    """The vertices (N, V, 3) of N frames, float32, meters, planar in memory.

    A frame with NaN among its parameters has NaN vertices.

    Args:
        basis: the head.
        rest: the identity.
        expression: (N, E') coefficients, E' <= E; those left out are zero.
        poses: (N, J, 3) axis-angle, radians, of each joint in its parent's frame.
        translation: (N, 3) meters.
    """
    n, width = expression.shape
    with np.errstate(invalid="ignore"):
        local = rotations.matrix(poses)
        joints = rest.joints + (expression @ basis.joint_directions[:width]).reshape(n, -1, 3)
        transforms = _transforms(local, joints, basis.parents)
        correctives = (local[:, 1:] - np.eye(3)).reshape(n, -1)[:, basis.correctives]
        coefficients = np.concatenate([correctives, expression], axis=1, dtype=np.float32, casting="same_kind")
        vertices = coefficients @ basis.directions[: coefficients.shape[1]]
        skin = _Skinner(basis, rest, n)
        for first in range(0, n, _SKIN_FRAMES):
            rows = slice(first, first + _SKIN_FRAMES)
            skin(vertices[rows], transforms[rows], translation[rows])
    planar: Float32 = vertices.reshape(n, 3, -1).transpose(0, 2, 1)
    return planar
