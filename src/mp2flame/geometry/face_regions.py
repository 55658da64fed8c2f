"""Regions and openings of a face, from the head itself: eyes and mouth show where lips, lids and brows are.

Letters: N frames, V vertices. Lengths are of a head whose eyes are `EYE_DISTANCE` apart, and scale with that distance.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from mp2flame.data import FlameParams
from mp2flame.errors import InputError

if TYPE_CHECKING:
    from mp2flame.head import FlameHead

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Bools = NDArray[np.bool_]
Regions = Mapping[str, Bools]

REGIONS: Final = ("face", "lips", "lids", "brows", "jaw line")
EYE_DISTANCE: Final = 0.0624
"""Meters."""

_EYES: Final = slice(3, 5)
"""Joints of the left and of the right eye in every FLAME head."""
_VIEWS: Final = (-60, -30, 0, 30, 60)
"""Degrees."""
_CELL: Final = 0.0025
_BEHIND: Final = 0.006
_FACE_DEPTH: Final = 0.085
"""Of face skin behind the eyes, ears included."""
_FACE_LABEL: Final = 0
_UPPER_LIP, _LOWER_LIP = 0.35, 0.65
"""Fractions of the largest movement of a lip vertex with the jaw: vertices below the first belong to the upper lip,
those above the second to the lower one."""


def eyeballs(head: FlameHead) -> Bools:
    """(V,) the vertices that turn with the eyes."""
    return np.asarray(head.arrays.weights[:, _EYES].max(axis=1) > 0.5)


def eye_centers(head: FlameHead) -> Float64:
    """The points about which the left and the right eye turn, (2, 3) meters.

    Raises:
        InputError: nothing turns with an eye.
    """
    if not (head.arrays.weights[:, _EYES] > 0.5).any(axis=0).all():
        raise InputError("expected a head whose eyes turn; nothing moves with the eye pose of this one")
    return head.joints()[_EYES].astype(np.float64)


def head_scale(head: FlameHead) -> float:
    """The distance of the eyes relative to `EYE_DISTANCE`."""
    left, right = eye_centers(head)
    return float(np.linalg.norm(left - right)) / EYE_DISTANCE


@lru_cache(maxsize=4)
def visible_vertices(head: FlameHead) -> Bools:
    """(V,) the vertices of the neutral face that are visible from the front or the sides: not the inside of a mouth.

    Depth buffers of points spread over the triangles, in five views.
    """
    vertices, scale = head.neutral_vertices.astype(np.float64), head_scale(head)
    shares = np.array([(1, 1, 1), (3, 1, 1), (1, 3, 1), (1, 1, 3), (1, 1, 0), (0, 1, 1), (1, 0, 1)], dtype=np.float64)
    spread = (shares / shares.sum(axis=1, keepdims=True)) @ vertices[head.faces.astype(np.int64)]
    points = np.concatenate([vertices, spread.reshape(-1, 3)])
    visible = np.zeros(len(vertices), dtype=np.bool_)
    for degrees in _VIEWS:
        sine, cosine = np.sin(np.radians(degrees)), np.cos(np.radians(degrees))
        across = points[:, 0] * cosine - points[:, 2] * sine
        depth = points[:, 0] * sine + points[:, 2] * cosine
        cells = np.floor(np.stack([across, points[:, 1]], axis=1) / (_CELL * scale)).astype(np.int64)
        cells -= cells.min(axis=0)
        nearest = np.full(cells.max(axis=0) + 1, -np.inf)
        np.maximum.at(nearest, (cells[:, 0], cells[:, 1]), depth)
        own = cells[: len(vertices)]
        visible |= depth[: len(vertices)] > nearest[own[:, 0], own[:, 1]] - _BEHIND * scale
    visible.flags.writeable = False
    return visible


def _jaw_opened(head: FlameHead, angle: float) -> Float64:
    """(V, 3) the vertices with the jaw opened by some radians."""
    params = FlameParams.from_rows([[*[0.0] * head.n_expression, angle, *[0.0] * 8]])
    return np.asarray(head(params)[0], dtype=np.float64)


def _lip_edges(head: FlameHead) -> tuple[int, int] | None:
    """The vertices of upper and lower lip between which an opening jaw parts the face; None without a jaw."""
    neutral, middle, scale = head.neutral_vertices.astype(np.float64), eye_centers(head).mean(axis=0), head_scale(head)
    x, y, z = (neutral - middle).T / scale
    strip = visible_vertices(head) & (np.abs(x) < 0.008) & (z > 0) & (y < -0.04) & (y > -0.12)
    rows = np.flatnonzero(strip)
    rows = rows[np.argsort(neutral[rows, 1])]
    lowered = (neutral - _jaw_opened(head, 0.2))[rows, 1]
    if len(rows) < 2 or lowered.max() < 1e-4:
        return None
    # The lower lip goes down with the jaw, the upper one stays.
    edge = int(np.argmax(lowered[:-1] - lowered[1:]))
    return int(rows[edge + 1]), int(rows[edge])


def mouth_center(head: FlameHead) -> Float64:
    """The point between the lips, (3,) meters; without a jaw 1.3 eye distances below the eyes, as facial canons say."""
    neutral, middle = head.neutral_vertices.astype(np.float64), eye_centers(head).mean(axis=0)
    lips = _lip_edges(head)
    if lips is None:
        center: Float64 = middle - [0.0, 1.3 * EYE_DISTANCE * head_scale(head), 0.0]
        aside = np.linalg.norm(neutral[:, :2] - center[:2], axis=1)
        near = visible_vertices(head) & (aside < 0.01 * head_scale(head))
        center[2] = neutral[near, 2].max(initial=middle[2])
        return center
    center = neutral[list(lips)].mean(axis=0)
    center[0] = middle[0]
    return center


@lru_cache(maxsize=2)
def head_regions(head: FlameHead) -> Regions:
    """(V,) masks by the names in `REGIONS`, from the neutral mesh and from what moves when the jaw turns.

    The face is the head's own label where it has labels; else visible skin of the front.

    Raises:
        InputError: the head's eyes do not turn, or a region comes out empty.
    """
    neutral, middle, scale = head.neutral_vertices.astype(np.float64), eye_centers(head).mean(axis=0), head_scale(head)
    mouth = mouth_center(head)
    x, y, z = ((neutral - middle) / scale).T
    if head.region is not None:
        face = np.asarray(head.region == _FACE_LABEL)
    else:
        face = visible_vertices(head) & ~eyeballs(head) & (z > -_FACE_DEPTH) & (y > -0.16) & (y < 0.09)
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
    moved = np.linalg.norm(_jaw_opened(head, 0.15) - head.neutral_vertices, axis=1)
    most = float(moved[lips].max())
    if most > 1e-5:
        labels[lips & (moved < _UPPER_LIP * most)] = 1
        labels[lips & (moved > _LOWER_LIP * most)] = 2
    return labels


@dataclass(frozen=True)
class Apertures:
    """The openings of mouth and eyes, each between a pair of vertices, upper and lower."""

    lips: tuple[int, int]
    lids: tuple[tuple[int, int], ...]
    """Of the left and of the right eye."""

    def lip_gap(self, vertices: Float32) -> Float32:
        """(N,) meters from lower to upper lip of posed vertices (N, V, 3)."""
        upper, lower = self.lips
        return vertices[:, upper, 1] - vertices[:, lower, 1]

    def lid_gaps(self, vertices: Float32) -> Float32:
        """(N, 2) meters from lower to upper lid, left and right; negative where they cross."""
        gaps: Float32 = np.stack([vertices[:, upper, 1] - vertices[:, lower, 1] for upper, lower in self.lids], axis=1)
        return gaps


def head_apertures(head: FlameHead) -> Apertures:
    """The middle of the edges of lips and lids, from the neutral mesh.

    Raises:
        InputError: the head has no jaw that parts the lips, or no lids above and below an eye.
    """
    lips, regions = _lip_edges(head), head_regions(head)
    if lips is None or not regions["face"][list(lips)].all():
        raise InputError("expected a head whose jaw parts its lips; this one's does not")
    lids = []
    for eye in eye_centers(head):
        # The lid vertices nearest above and below the widest opening in a strip down the middle of the eye.
        x, y, z = (head.neutral_vertices - eye).T
        strip = regions["lids"] & (np.abs(x) < 0.06 * EYE_DISTANCE) & (z > 0) & (np.abs(y) < 0.2 * EYE_DISTANCE)
        rows = np.flatnonzero(strip)
        rows = rows[np.argsort(y[rows])]
        if len(rows) < 2:
            raise InputError("expected eyelids above and below the eyes of this head; found none")
        edge = int(np.argmax(np.diff(y[rows])))
        lids.append((int(rows[edge + 1]), int(rows[edge])))
    return Apertures(lips, tuple(lids))
