"""The 52 shapes as jaw and eye rotations, pose correctives and expression coefficients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mp2flame.blendshapes import ARKIT, mirror_permutation
from mp2flame.rotations import from_matrix, matrix
from scripts.builtin_head.components import principal
from scripts.builtin_head.mesh import REGIONS, REST
from scripts.builtin_head.shape_gains import GAINS, ROLLED_IN
from scripts.builtin_head.skin import JAW

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scripts.builtin_head.mesh import Mesh
    from scripts.builtin_head.skin import Skeleton
    from scripts.builtin_head.wheel import Wheel

N_EXPRESSION = 50
_N_SAMPLES = 4000
_JAW_SLOT = 9 * (JAW - 1)
_SIDES = ("Left", "Right")


@dataclass(frozen=True)
class Shapes:
    """The 52 shapes in Apple's order, and the bases they are made of."""

    directions: NDArray[np.float64]
    """Expression components (V, 3, 50), meters for each unit."""
    correctives: NDArray[np.float64]
    """Pose correctives (V, 3, 36): for each entry of R - I of joints 1..4, row by row."""
    expression: NDArray[np.float64]
    """(52, 50)."""
    jaw_pose: NDArray[np.float64]
    """(52, 3), radians."""
    eye_poses: NDArray[np.float64]
    """(2, 52, 3), left first, radians."""


def build(mesh: Mesh, skeleton: Skeleton, wheel: Wheel) -> Shapes:
    """Split each shape into rotations and a rest, and the rests into principal components."""
    moves = _moves(mesh, wheel)
    jaw_pose = _jaw_poses(mesh, skeleton, moves)
    correctives = _correctives(mesh, skeleton, moves, jaw_pose)
    rest = np.zeros_like(moves)
    for index, name in enumerate(ARKIT):
        rest[index] = moves[index]
        if np.any(jaw_pose[index]):
            rest[index] = _unposed(mesh, skeleton, moves[index], jaw_pose[index], correctives)
        if name == "mouthClose":  # by its definition it closes the lips of an open jaw
            opened = moves[ARKIT.index("jawOpen")]
            rest[index] = _unposed(mesh, skeleton, opened + moves[index], jaw_pose[ARKIT.index("jawOpen")], correctives)
    rest = _both_sides(mesh, rest)
    directions, coefficients = principal(rest, sample_weights(_N_SAMPLES), mesh.mirror, N_EXPRESSION)
    return Shapes(directions, correctives, coefficients, jaw_pose, _eye_poses(mesh, wheel))


def sample_weights(count: int) -> NDArray[np.float64]:
    """Plausible faces (count, 52): a few shapes at a time, both sides mostly together, gaze of both eyes together.

    The second half is the mirror image of the first, so that no side is favoured.
    """
    rng = np.random.default_rng(2023)
    weights = np.zeros((count // 2, len(ARKIT)))
    for index, name in enumerate(ARKIT):
        if not name.endswith("Right"):
            active = rng.random(len(weights)) < _how_often(name)
            weights[:, index] = active * rng.random(len(weights)) ** 1.5
    for index, name in enumerate(ARKIT):
        if name.endswith("Right"):
            left = weights[:, ARKIT.index(name[:-5] + "Left")]
            if name in ("jawRight", "mouthRight"):
                weights[:, index] = np.where(left == 0, rng.random(len(weights)) * (rng.random(len(weights)) < 0.15), 0)
            else:
                alone = rng.random(len(weights)) < 0.15
                weights[:, index] = np.where(alone, 0.3, 0.85 + 0.3 * rng.random(len(weights))) * left
    for first, second in (("In", "Out"), ("Up", "Down")):
        _exclude(weights, f"eyeLook{first}", f"eyeLook{second}", rng)
    return np.concatenate([weights, weights[:, mirror_permutation(ARKIT)]])


def _how_often(name: str) -> float:
    if name == "tongueOut":
        return 0.04
    if name.startswith(("eyeLook", "mouthSmile", "jawOpen", "brow", "eyeBlink")):
        return 0.5
    return 0.25


def _exclude(weights: NDArray[np.float64], one: str, other: str, rng: np.random.Generator) -> None:
    """Both eyes look one way: of two opposite gaze shapes only one is on, and the eyes agree."""
    first = rng.random(len(weights)) < 0.5
    a, b = ([ARKIT.index(name + side) for side in _SIDES] for name in (one, other))
    if one.endswith("In"):  # one eye looks in while the other looks out
        b = b[::-1]
        size = np.maximum(weights[:, a[0]], weights[:, b[0]])
        for index in (*a, *b):
            apart = 0.7 + 0.6 * rng.random(len(weights))  # eyes never agree exactly
            weights[:, index] = apart * size * (first if index in (a[0], b[0]) else ~first)
        return
    for index in (*a, *b):
        weights[:, index] *= first if index in a else ~first


def _moves(mesh: Mesh, wheel: Wheel) -> NDArray[np.float64]:
    """Where each shape at weight 1 takes the vertices (52, V, 3), meters, gains included, eyeballs left out."""
    moves = np.stack([GAINS.get(name, 1.0) * mesh.carry(wheel.face_unit(name)) for name in ARKIT])
    for side in _SIDES:  # a blink ends where the source's ends, though the lids start higher
        wide = mesh.carry(wheel.face_unit("eyeWide" + side))
        moves[ARKIT.index("eyeBlink" + side)] -= REST["eyeWide" + side] * wide
        half = _own_half(mesh, 1.0 if side == "Left" else -1.0)
        for name, share in ROLLED_IN.items():
            moves[ARKIT.index("mouthPress" + side)] += share * half * moves[ARKIT.index(name)]
    for side in ("left", "right"):
        moves[:, mesh.eye(side)] = 0
    return _both_sides(mesh, moves)


def _own_half(mesh: Mesh, sign: float) -> NDArray[np.float64]:
    """1 on one side of the face, 0 on the other (V, 1), smooth across the middle of the mouth."""
    share = np.clip(0.5 + sign * mesh.template[:, :1] / 0.03, 0, 1)
    return np.asarray(share * share * (3 - 2 * share))


def _both_sides(mesh: Mesh, moves: NDArray[np.float64]) -> NDArray[np.float64]:
    """Make each shape (52, V, 3) the exact mirror image of its other side."""
    image = np.stack([mesh.mirrored(moves[index]) for index in mirror_permutation(ARKIT)])
    return (moves + image) / 2


def _jaw_poses(mesh: Mesh, skeleton: Skeleton, moves: NDArray[np.float64]) -> NDArray[np.float64]:
    poses = np.zeros((len(ARKIT), 3))
    poses[ARKIT.index("jawOpen")] = GAINS.get("jawOpen", 1.0) * from_matrix(skeleton.jaw_turn)
    teeth = (mesh.region == REGIONS["teeth"]) & (skeleton.weights[:, JAW] > 0.5)
    lever = (mesh.template - skeleton.joints[JAW])[teeth]
    around = np.cross([0.0, 1.0, 0.0], lever)
    sideways = moves[ARKIT.index("jawLeft")][teeth]
    angle = (around[:, 0] * sideways[:, 0]).sum() / (around[:, 0] ** 2).sum()
    poses[ARKIT.index("jawLeft"), 1] = angle
    poses[ARKIT.index("jawRight"), 1] = -angle
    return poses


def _unposed(
    mesh: Mesh,
    skeleton: Skeleton,
    move: NDArray[np.float64],
    jaw_pose: NDArray[np.float64],
    correctives: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """The displacement (V, 3) before skinning that takes the template to `template + move` under a jaw pose.

    With `correctives`, what those already do is left out.
    """
    turn = matrix(jaw_pose)
    weight = skeleton.weights[:, JAW, None, None]
    blend = (1 - weight) * np.eye(3) + weight * turn
    hinge = skeleton.joints[JAW]
    goal = mesh.template + move - weight[:, :, 0] * (hinge - turn @ hinge)
    before = np.linalg.solve(blend, goal[..., None])[..., 0] - mesh.template
    if correctives is not None:
        before -= correctives[..., _JAW_SLOT : _JAW_SLOT + 9] @ (turn - np.eye(3)).ravel()
    return np.asarray(before)


def _correctives(
    mesh: Mesh, skeleton: Skeleton, moves: NDArray[np.float64], jaw_pose: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Correctives that are exact at jawOpen, and for the part of jawLeft that jawRight mirrors.

    Each acts through the two entries of R - I that are the sine of its angle, so it grows linearly with the pose.
    """
    result = np.zeros((*mesh.template.shape, 36))
    index = ARKIT.index("jawOpen")
    opened = _unposed(mesh, skeleton, moves[index], jaw_pose[index])
    sine = np.sin(jaw_pose[index, 0])
    result[..., _JAW_SLOT + 7] = opened / (2 * sine)
    result[..., _JAW_SLOT + 5] = -opened / (2 * sine)
    left, right = (
        _unposed(mesh, skeleton, moves[index], jaw_pose[index])
        for index in (ARKIT.index("jawLeft"), ARKIT.index("jawRight"))
    )
    sine = np.sin(jaw_pose[ARKIT.index("jawLeft"), 1])
    result[..., _JAW_SLOT + 2] = (left - right) / (4 * sine)
    result[..., _JAW_SLOT + 6] = -(left - right) / (4 * sine)
    return result


def _eye_poses(mesh: Mesh, wheel: Wheel) -> NDArray[np.float64]:
    poses = np.zeros((2, len(ARKIT), 3))
    for part, axis in (("Up", 0), ("Down", 0), ("In", 1), ("Out", 1)):
        name = f"eyeLook{part}"
        turn = from_matrix(mesh.eyeball.turn(wheel.face_unit(name + "Left")))
        angle = GAINS.get(name + "Left", 1.0) * turn[axis]
        poses[0, ARKIT.index(name + "Left"), axis] = angle
        poses[1, ARKIT.index(name + "Right"), axis] = angle if axis == 0 else -angle
    return poses
