"""Plausible colours for a head that brings none, such as a FLAME file: MediaPipe reads brows and lips by their colour.

Eyes and the inside of the mouth come from the head's own geometry; lips, brows and lashes from where MediaPipe's
landmarks lie, once they are known.

Letters: V vertices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from mp2flame.data import N_LANDMARKS
from mp2flame.errors import InputError
from mp2flame.geometry.face_regions import EYE_DISTANCE, eye_centers, mouth_center, visible_vertices
from mp2flame.geometry.mesh import connected_components
from mp2flame.head import FlameHead
from mp2flame.head.landmarks import LandmarkEmbedding

__all__ = ["Painter", "Palette", "random_palette"]

Float64 = NDArray[np.float64]
Colors = NDArray[np.uint8]
Rgb = tuple[float, float, float]

# MediaPipe's indices along two edges of a patch, from one end to the other: outer and inner edge of each lip, upper
# and lower edge of each brow. Lash lines are a single edge.
_LIPS: Final = (
    ((61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291), (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)),
    ((61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291), (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)),
)
_BROWS: Final = (((70, 63, 105, 66, 107), (46, 53, 52, 65, 55)), ((300, 293, 334, 296, 336), (276, 283, 282, 295, 285)))
_UPPER_LASHES: Final = ((33, 246, 161, 160, 159, 158, 157, 173, 133), (263, 466, 388, 387, 386, 385, 384, 398, 362))
_LOWER_LASHES: Final = ((33, 7, 163, 144, 145, 153, 154, 155, 133), (263, 249, 390, 373, 374, 380, 381, 382, 362))

# Metres, of a head whose eyes are as far apart as usual.
_IRIS_RADIUS: Final = 0.0059
_PUPIL_RADIUS: Final = 0.0022
_LIP_EDGE: Final = 0.002
_BROW_EDGE: Final = 0.002
_LASH_EDGE: Final = 0.0022
_DEPTH: Final = 0.25
"""What a distance to the front counts: lips and brows swell between their edges."""
_CAVITY: Final = (0.042, 0.034, 0.11)
"""Half axes of the ellipsoid round the mouth in which what cannot be seen from outside is the inside of the mouth."""


@dataclass(frozen=True)
class Palette:
    """RGB, 0..255."""

    skin: Rgb = (206, 160, 136)
    lips: Rgb = (176, 98, 92)
    brows: Rgb = (72, 52, 42)
    lashes: Rgb = (46, 34, 30)
    iris: Rgb = (84, 96, 92)
    white: Rgb = (226, 220, 214)
    cavity: Rgb = (84, 36, 34)


def random_palette(rng: np.random.Generator) -> Palette:
    """Somebody's colours: skin from light to dark, lips redder than it, hair from fair to black."""
    depth = rng.uniform()
    skin = (1 - depth) * np.array([222, 180, 160]) + depth * np.array([104, 70, 54]) + rng.normal(scale=4, size=3)
    hair = rng.beta(1.2, 2.5) * (1 - depth) * np.array([150, 116, 82]) + np.array([30, 24, 22])
    iris = np.array([(74, 52, 40), (96, 112, 122), (88, 100, 72)][rng.integers(3)]) + rng.normal(scale=6, size=3)
    return Palette(
        skin=_rgb(skin),
        lips=_rgb(skin * [0.86, 0.62, 0.66]),
        brows=_rgb(hair),
        lashes=_rgb(hair * 0.6),
        iris=_rgb(iris),
    )


def _rgb(values: Float64) -> Rgb:
    red, green, blue = np.clip(values, 0, 255).tolist()
    return red, green, blue


class Painter:
    """Knows which vertex of a head is what, and paints them.

    Args:
        head: the head, at whatever identity.
        embedding: where the landmarks lie, at least those round lips, brows and lids, which FLAME's own file has; None
            paints eyes and the inside of the mouth alone.

    Raises:
        InputError: the embedding lacks landmarks of lips, brows or lids.
    """

    def __init__(self, head: FlameHead, embedding: LandmarkEmbedding | None = None) -> None:
        vertices = head.template.astype(np.float64)
        self._layers: list[tuple[str, Float64]] = []
        carried = head.arrays.weights[:, 3:5].max(axis=1) > 0.5
        joints = head.joints()[3:5].astype(np.float64)
        scale = float(np.linalg.norm(joints[0] - joints[1])) / EYE_DISTANCE
        if carried.any():
            self._inside(head, vertices, scale)
        if embedding is not None:
            self._features(_needed(embedding, embedding.positions(vertices, head.faces)), vertices, scale)
        if carried.any():
            self._eyes(head, vertices, carried, scale)
        self._n = len(vertices)

    def paint(self, palette: Palette) -> Colors:
        """(V, 3) uint8 RGB."""
        colors = np.tile(np.array(palette.skin, dtype=np.float64), (self._n, 1))
        for name, share in self._layers:
            tone = np.zeros(3) if name == "pupil" else np.array(getattr(palette, name))
            colors += share[:, None] * (tone - colors)
        return np.clip(np.round(colors), 0, 255).astype(np.uint8)

    def _inside(self, head: FlameHead, vertices: Float64, scale: float) -> None:
        skin = visible_vertices(vertices, head.faces, scale)
        mouth = mouth_center(head.with_shape(np.zeros(0)), skin, eye_centers(head.with_shape(np.zeros(0))))
        near = np.linalg.norm((vertices - mouth) / np.array(_CAVITY) / scale, axis=1) < 1
        piece = connected_components(head.faces, len(vertices))
        # A piece that hides and is mostly in there is inside as a whole: gums show between the lips, throats are deep.
        inside = np.minimum(np.bincount(piece, ~skin), np.bincount(piece, near)) > 0.5 * np.bincount(piece)
        self._layers.append(("cavity", ((near & ~skin) | inside[piece]).astype(np.float64)))

    def _features(self, landmarks: Float64, vertices: Float64, scale: float) -> None:
        for name, patches, edge in (("lips", _LIPS, _LIP_EDGE), ("brows", _BROWS, _BROW_EDGE)):
            points = np.concatenate([_patch(landmarks[list(a)], landmarks[list(b)]) for a, b in patches])
            self._layers.append((name, _near(points, vertices, edge * scale)))
        for lines, strength in ((_UPPER_LASHES, 0.9), (_LOWER_LASHES, 0.45)):
            points = np.concatenate([_patch(landmarks[list(line)], landmarks[list(line)]) for line in lines])
            self._layers.append(("lashes", strength * _near(points, vertices, _LASH_EDGE * scale)))

    def _eyes(self, head: FlameHead, vertices: Float64, carried: NDArray[np.bool_], scale: float) -> None:
        centres = eye_centers(head.with_shape(np.zeros(0)))
        nearest = np.linalg.norm(vertices[:, None] - centres, axis=2).argmin(axis=1)
        off = vertices - centres[nearest]
        aside = np.where(off[:, 2] > 0, np.hypot(off[:, 0], off[:, 1]), np.inf) / scale
        for name, radius in (("white", np.inf), ("iris", _IRIS_RADIUS), ("pupil", _PUPIL_RADIUS)):
            inside = aside <= radius if np.isfinite(radius) else np.ones(len(vertices), dtype=np.bool_)
            self._layers.append((name, (carried & inside).astype(np.float64)))


def _needed(embedding: LandmarkEmbedding, positions: Float64) -> Float64:
    """(478, 3) positions by MediaPipe's index, NaN where nothing that is painted needs them."""
    landmarks = np.full((N_LANDMARKS, 3), np.nan)
    landmarks[embedding.landmark_index] = positions
    lines = [*(line for pair in (*_LIPS, *_BROWS) for line in pair), *_UPPER_LASHES, *_LOWER_LASHES]
    lacking = [k for line in lines for k in line if not np.isfinite(landmarks[k]).all()]
    if lacking:
        raise InputError(
            f"expected landmarks round lips, brows and lids to paint by; {len(set(lacking))} of them are missing "
            f"(MediaPipe's {lacking[0]}, for one): find them with find_landmarks"
        )
    return landmarks


def _patch(first: Float64, second: Float64) -> Float64:
    """Points (P, 3) spread densely between two edges (M, 3) whose ends lie across from each other."""
    along = np.linspace(0, len(first) - 1, 8 * len(first))
    left = along.astype(int).clip(max=len(first) - 2)
    share = (along - left)[:, None]
    edges = [(1 - share) * edge[left] + share * edge[left + 1] for edge in (first, second)]
    across = np.linspace(0, 1, 8)[:, None, None]
    points: Float64 = ((1 - across) * edges[0] + across * edges[1]).reshape(-1, 3)
    return points


def _near(points: Float64, vertices: Float64, edge: float) -> Float64:
    """(V,) 1 up to half of `edge` metres from the points, falling smoothly to 0 at `edge`."""
    flat = np.array([1.0, 1.0, _DEPTH])
    distance, _ = cKDTree(points * flat).query(vertices * flat)
    closeness = np.clip(2 - 2 * distance / edge, 0, 1)
    smooth: Float64 = closeness * closeness * (3 - 2 * closeness)
    return smooth
