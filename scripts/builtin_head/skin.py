"""Joints and skin weights: root, neck, jaw, left eye, right eye, each of 1..4 hanging as in FLAME (-1, 0, 1, 1, 1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from scripts.builtin_head.eyeball import EQUATOR, N_SEGMENTS
from scripts.builtin_head.mesh import REGIONS, Mesh

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scripts.builtin_head.wheel import Wheel

PARENTS = (-1, 0, 1, 1, 1)
JAW = 2

# Along the neck's axis from the cut, meters: where the root and the neck joint sit and where the neck has turned fully.
_ROOT_AT, _NECK_AT, _HEAD_AT = 0.012, 0.045, 0.085


@dataclass(frozen=True)
class Skeleton:
    """What skinning needs."""

    regressor: NDArray[np.float64]
    """(5, V), rows sum to 1."""
    joints: NDArray[np.float64]
    """(5, 3), meters: the regressor applied to the template."""
    weights: NDArray[np.float64]
    """(V, 5), rows sum to 1."""
    jaw_turn: NDArray[np.float64]
    """The rotation (3, 3) of the jaw in jawOpen at weight 1."""


def rig(mesh: Mesh, wheel: Wheel) -> Skeleton:
    """Place the joints and weight the vertices.

    The jaw's hinge and turn are those of the lower teeth in `jawOpen`, which move there as a rigid body; its weights
    are how far each vertex goes along with that rigid motion.
    """
    opened = mesh.carry(wheel.face_unit("jawOpen"))
    opened = (opened + mesh.mirrored(opened)) / 2
    turn, hinge = _hinge(mesh, opened)
    regressor = _regressor(mesh, hinge)
    joints = regressor @ mesh.template
    jaw = _jaw_weights(mesh, opened, turn, joints[JAW])
    head = _smoothstep(_along_neck(mesh), _ROOT_AT, _HEAD_AT)
    weights = np.stack([1 - head, head * (1 - jaw), head * jaw, np.zeros_like(jaw), np.zeros_like(jaw)], axis=1)
    for joint, side in ((3, "left"), (4, "right")):
        weights[mesh.eye(side)] = np.eye(5)[joint]
    return Skeleton(regressor, joints, weights / weights.sum(axis=1, keepdims=True), turn)


def _smoothstep(value: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    share = np.clip((value - low) / (high - low), 0, 1)
    return np.asarray(share * share * (3 - 2 * share))


def _along_neck(mesh: Mesh) -> NDArray[np.float64]:
    return (mesh.template - mesh.cut[0]) @ mesh.cut[1]


def _hinge(mesh: Mesh, opened: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rotation about x (3, 3) and the fixed point (3,) in the middle plane, from the teeth that move."""
    moving = (mesh.region == REGIONS["teeth"]) & (np.linalg.norm(opened, axis=1) > 1e-3)
    before = mesh.template[moving][:, 1:]
    after = before + opened[moving][:, 1:]
    p, q = before - before.mean(axis=0), after - after.mean(axis=0)
    angle = np.arctan2((p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0]).sum(), (p * q).sum())
    c, s = np.cos(angle), np.sin(angle)
    plane = np.array([[c, -s], [s, c]])
    hinge = np.linalg.solve(np.eye(2) - plane, after.mean(axis=0) - plane @ before.mean(axis=0))
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]]), np.array([0.0, *hinge])


def _regressor(mesh: Mesh, hinge: NDArray[np.float64]) -> NDArray[np.float64]:
    height = _along_neck(mesh)
    skin = (mesh.region == REGIONS["face"]) | (mesh.region == REGIONS["back of the head and neck"])
    point, axis = mesh.cut
    x, behind = np.abs(mesh.template[:, 0]), mesh.template[:, 2] - hinge[2]
    # the jaw's hinge lies between the skin in front of the two ears
    condyles = skin & (np.abs(mesh.template[:, 1] - hinge[1]) < 0.025) & (np.abs(behind) < 0.03) & (x > 0.04)
    result = np.zeros((5, len(mesh.template)))
    center = point * [0, 1, 1]
    for joint, (rows, target) in enumerate(
        [
            (skin & (np.abs(height - _ROOT_AT) < 0.012), center + _ROOT_AT * axis),
            (skin & (np.abs(height - _NECK_AT) < 0.012), center + _NECK_AT * axis),
            (condyles, hinge),
        ]
    ):
        result[joint, rows] = _weights_meeting(mesh.template[rows], target)
    result = (result + result[:, mesh.mirror]) / 2
    ring = 1 + EQUATOR * N_SEGMENTS + np.arange(N_SEGMENTS)
    for joint, side in ((3, "left"), (4, "right")):
        result[joint, mesh.eye(side).start + ring] = 1 / N_SEGMENTS
    return result


def _weights_meeting(points: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """The smallest weights (n,) that sum to 1 and whose mean of `points` (n, 3) is `target`."""
    system = np.vstack([(points - target).T, np.ones(len(points))])
    weights: NDArray[np.float64] = np.linalg.pinv(system) @ np.array([0.0, 0.0, 0.0, 1.0])
    return weights


def _jaw_weights(
    mesh: Mesh, opened: NDArray[np.float64], turn: NDArray[np.float64], hinge: NDArray[np.float64]
) -> NDArray[np.float64]:
    rigid = (mesh.template - hinge) @ (turn - np.eye(3)).T
    length = (rigid**2).sum(axis=1)
    share = np.clip((opened * rigid).sum(axis=1) / (length + 1e-6), 0, 1)
    skin = np.isin(mesh.region, [REGIONS["face"], REGIONS["back of the head and neck"], REGIONS["mouth cavity"]])
    neighbors = adjacency(mesh.faces, len(share))
    for _ in range(4):
        smooth = 0.5 * share + 0.5 * (neighbors @ share)
        share = np.where(skin, smooth, share)
    return np.asarray((share + share[mesh.mirror]) / 2)


def adjacency(faces: NDArray[np.uint32], n: int) -> sparse.csr_matrix:
    """The matrix (n, n) that takes the mean over each vertex's neighbors."""
    pairs = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).astype(np.intp)
    both = np.concatenate([pairs, pairs[:, ::-1]])
    links = sparse.csr_matrix((np.ones(len(both)), both.T), shape=(n, n))
    links.data[:] = 1.0
    return sparse.csr_matrix(sparse.diags(1 / np.asarray(links.sum(axis=1)).ravel()) @ links)
