"""Regions of a face, from the head itself: where its eyes and its mouth are decides where lips, lids and brows are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from mp2flame import rotations
from mp2flame.data import FlameParams
from mp2flame.errors import InputError
from mp2flame.mapping.linear import N_ROTATIONS

if TYPE_CHECKING:
    from mp2flame.head import FlameHead

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Regions = Mapping[str, NDArray[np.bool_]]

REGIONS: Final = ("face", "lips", "lids", "brows", "jaw line")

# All lengths below are of a head whose eyes are this far apart, and scale with the distance of the eyes.
EYE_DISTANCE = 0.0624
_VIEWS = (-60, -30, 0, 30, 60)
_CELL = 0.0025
_BEHIND = 0.006
_FACE_DEPTH = 0.085  # of face skin behind the eyes, ears included
_FACE_LABEL = 0
_JAW_OPENING = 0.15
"""Radians, to tell the lips apart."""
_UPPER_LIP, _LOWER_LIP = 0.35, 0.65
"""Fractions of the largest movement of a lip vertex: vertices below the first belong to the upper lip, those above the
second to the lower one."""


def _moved(head: FlameHead, column: int, size: float) -> Float64:
    """Vertices (V, 3) with one parameter set, counted from the first rotation (0..2 jaw, 3..5 left eye, 6..8 right)."""
    values = np.zeros((1, head.n_expression + N_ROTATIONS))
    values[0, head.n_expression + column] = size
    vertices: Float64 = head(FlameParams.from_rows(values))[0].astype(np.float64)
    return vertices


def eye_centers(head: FlameHead) -> Float64:
    """Where the left and the right eye turn about, (2, 3) metres.

    Every vertex that an eye carries along moves on a plane across the turning axis; the centre is the one point
    that explains all the displacements of two turns about different axes in the least-squares sense.

    Raises:
        InputError: nothing moves with an eye.
    """
    neutral = head.neutral_vertices.astype(np.float64)
    return np.stack([_pivot(head, neutral, 3 + 3 * side) for side in range(2)])


def _pivot(head: FlameHead, neutral: Float64, column: int) -> Float64:
    systems, sides = [], []
    for axis in range(2):
        turn = rotations.matrix(np.eye(3)[axis] * 0.3)
        posed = _moved(head, column + axis, 0.3)
        rows = np.linalg.norm(posed - neutral, axis=1) > 1e-4
        if not rows.any():
            raise InputError("expected a head whose eyes turn; nothing moves with the eye pose of this one")
        # posed = turn (v - c) + c, so (I - turn) c = posed - turn v.
        systems.append(np.eye(3) - turn)
        sides.append(np.median(posed[rows] - neutral[rows] @ turn.T, axis=0))
    centre: Float64 = np.linalg.lstsq(np.concatenate(systems), np.concatenate(sides), rcond=None)[0]
    return centre


def _mouth(head: FlameHead, skin: NDArray[np.bool_], eyes: Float64) -> tuple[int, int] | None:
    """The vertices of upper and lower lip between which an opening jaw parts the face; None without a jaw."""
    neutral = head.neutral_vertices.astype(np.float64)
    middle, scale = eyes.mean(axis=0), _scale(eyes)
    strip = skin & (np.abs(neutral[:, 0] - middle[0]) < 0.008 * scale) & (neutral[:, 2] > middle[2])
    strip &= (neutral[:, 1] < middle[1] - 0.04 * scale) & (neutral[:, 1] > middle[1] - 0.12 * scale)
    rows = np.flatnonzero(strip)
    rows = rows[np.argsort(neutral[rows, 1])]
    lowered = (neutral - _moved(head, 0, 0.2))[rows, 1]
    if len(rows) < 2 or lowered.max() < 1e-4:
        return None
    # The lower lip goes down with the jaw, the upper one stays.
    edge = int(np.argmax(lowered[:-1] - lowered[1:]))
    return int(rows[edge + 1]), int(rows[edge])


def mouth_center(head: FlameHead, skin: NDArray[np.bool_], eyes: Float64) -> Float64:
    """The point between the lips, (3,) metres.

    A head without a jaw has it 1.3 eye distances below the eyes, as facial canons say.

    Args:
        head: the head.
        skin: (V,) which vertices can be seen from outside.
        eyes: (2, 3) the eyes' centres.
    """
    neutral = head.neutral_vertices.astype(np.float64)
    middle = eyes.mean(axis=0)
    lips = _mouth(head, skin, eyes)
    if lips is None:
        centre: Float64 = middle - [0.0, 1.3 * EYE_DISTANCE * _scale(eyes), 0.0]
        near = skin & (np.linalg.norm(neutral[:, :2] - centre[:2], axis=1) < 0.01 * _scale(eyes))
        centre[2] = neutral[near, 2].max(initial=middle[2])
        return centre
    centre = neutral[list(lips)].mean(axis=0)
    centre[0] = middle[0]
    return centre


def lip_edges(head: FlameHead, regions: Regions) -> tuple[int, int]:
    """The vertices in the middle of the upper and of the lower lip's edge.

    Raises:
        InputError: the head has no jaw that parts the lips.
    """
    eyes = eye_centers(head)
    lips = _mouth(head, visible_vertices(head.neutral_vertices.astype(np.float64), head.faces, _scale(eyes)), eyes)
    if lips is None or not regions["face"][list(lips)].all():
        raise InputError("expected a head whose jaw parts its lips; this one's does not")
    return lips


def _scale(eyes: Float64) -> float:
    return float(np.linalg.norm(eyes[0] - eyes[1])) / EYE_DISTANCE


def visible_vertices(vertices: Float64, faces: NDArray[np.integer], scale: float = 1.0) -> NDArray[np.bool_]:
    """(V,) which vertices some view from the front or the sides sees: skin, not the inside of a mouth.

    A depth buffer of points spread over the triangles, in five views.
    """
    corners = vertices[faces.astype(np.int64)]
    shares = np.array([(1, 1, 1), (3, 1, 1), (1, 3, 1), (1, 1, 3), (1, 1, 0), (0, 1, 1), (1, 0, 1)], dtype=np.float64)
    spread = (shares / shares.sum(axis=1, keepdims=True)) @ corners
    points = np.concatenate([vertices, spread.reshape(-1, 3)])
    seen = np.zeros(len(vertices), dtype=np.bool_)
    for degrees in _VIEWS:
        sine, cosine = np.sin(np.radians(degrees)), np.cos(np.radians(degrees))
        across = points[:, 0] * cosine - points[:, 2] * sine
        depth = points[:, 0] * sine + points[:, 2] * cosine
        cells = np.floor(np.stack([across, points[:, 1]], axis=1) / (_CELL * scale)).astype(np.int64)
        cells -= cells.min(axis=0)
        nearest = np.full(cells.max(axis=0) + 1, -np.inf)
        np.maximum.at(nearest, (cells[:, 0], cells[:, 1]), depth)
        own = cells[: len(vertices)]
        seen |= depth[: len(vertices)] > nearest[own[:, 0], own[:, 1]] - _BEHIND * scale
    return seen


def _face(head: FlameHead, neutral: Float64, skin: NDArray[np.bool_], eyes: Float64) -> NDArray[np.bool_]:
    """The head's own label where it carries labels; else seen skin of the front that no eye carries along."""
    if head.region is not None:
        return np.asarray(head.region == _FACE_LABEL)
    carried = np.zeros(len(neutral), dtype=np.bool_)
    for column in (3, 6):
        carried |= np.linalg.norm(_moved(head, column, 0.3) - neutral, axis=1) > 1e-4
    scale, middle = _scale(eyes), eyes.mean(axis=0)
    above = neutral[:, 1] - middle[1]
    front = (neutral[:, 2] > middle[2] - _FACE_DEPTH * scale) & (above > -0.16 * scale) & (above < 0.09 * scale)
    face: NDArray[np.bool_] = skin & front & ~carried
    return face


@lru_cache(maxsize=2)
def head_regions(head: FlameHead) -> Regions:
    """(V,) masks by the names in `REGIONS`, from the neutral mesh and from what moves when jaw and eyes turn.

    Raises:
        InputError: the head's eyes do not turn, or a region comes out empty.
    """
    neutral = head.neutral_vertices.astype(np.float64)
    eyes = eye_centers(head)
    scale, middle = _scale(eyes), eyes.mean(axis=0)
    skin = visible_vertices(neutral, head.faces, scale)
    face = _face(head, neutral, skin, eyes)
    mouth = mouth_center(head, skin, eyes)
    x, y, z = ((neutral - middle) / scale).T
    lips = np.linalg.norm((neutral - mouth) / scale * [1.0, 1.3, 0.5], axis=1) < 0.035
    lids = (np.hypot(np.abs(x) - EYE_DISTANCE / 2, 1.3 * y) < 0.02) & (z > -0.02)
    brows = (y > 0.011) & (y < 0.039) & (z > -0.02) & (np.abs(x) < 0.055)
    jaw_line = ~lips & (y < (mouth[1] - middle[1]) / scale) & (y > -0.15)
    masks = {"face": face, "lips": face & lips, "lids": face & lids, "brows": face & brows, "jaw line": face & jaw_line}
    empty = [name for name, mask in masks.items() if not mask.any()]
    if empty:
        raise InputError(f"expected a head with a face; found no vertices for {', '.join(empty)}")
    return MappingProxyType(masks)


def lip_labels(head: FlameHead) -> NDArray[np.int8]:
    """(V,) 1 on the upper lip, 2 on the lower one, by whether the jaw moves a vertex along; 0 elsewhere."""
    labels = np.zeros(head.n_vertices, dtype=np.int8)
    lips = head_regions(head)["lips"]
    moved = np.linalg.norm(_moved(head, 0, _JAW_OPENING) - head.neutral_vertices, axis=1)
    most = float(moved[lips].max())
    if most > 1e-4 * _JAW_OPENING:
        labels[lips & (moved < _UPPER_LIP * most)] = 1
        labels[lips & (moved > _LOWER_LIP * most)] = 2
    return labels


@dataclass(frozen=True)
class Apertures:
    """The openings of mouth and eyes, each between a pair of vertices, upper and lower."""

    lips: tuple[int, int]
    lids: tuple[tuple[int, int], tuple[int, int]]
    """Of the left and of the right eye."""

    def lip_gap(self, vertices: Float32) -> Float32:
        """(N,) metres from lower to upper lip of posed vertices (N, V, 3)."""
        upper, lower = self.lips
        return vertices[:, upper, 1] - vertices[:, lower, 1]

    def lid_gaps(self, vertices: Float32) -> Float32:
        """(N, 2) metres from lower to upper lid, left and right; negative where they cross."""
        gaps: Float32 = np.stack([vertices[:, upper, 1] - vertices[:, lower, 1] for upper, lower in self.lids], axis=1)
        return gaps


def head_apertures(head: FlameHead, regions: Regions) -> Apertures:
    """The middle of the edges of lips and lids, from the neutral mesh.

    Raises:
        InputError: the lids of this head cannot be told apart.
    """
    eyes = eye_centers(head)
    neutral = head.neutral_vertices.astype(np.float64)
    return Apertures(lip_edges(head, regions), (_lids(neutral, regions, eyes[0]), _lids(neutral, regions, eyes[1])))


def _lids(neutral: Float64, regions: Regions, eye: Float64) -> tuple[int, int]:
    """The lid vertices nearest above and below the widest opening in a strip down the middle of the eye."""
    x, y, z = (neutral - eye).T
    strip = regions["lids"] & (np.abs(x) < 0.06 * EYE_DISTANCE) & (z > 0) & (np.abs(y) < 0.2 * EYE_DISTANCE)
    rows = np.flatnonzero(strip)
    rows = rows[np.argsort(y[rows])]
    if len(rows) < 2:
        raise InputError("expected eyelids above and below the eyes of this head; found none")
    edge = int(np.argmax(np.diff(y[rows])))
    return int(rows[edge + 1]), int(rows[edge])
