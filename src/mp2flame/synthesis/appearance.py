"""Vertex colors of synthetic subjects.

A head with colors of its own keeps them, times a random gain. A head without colors, such as a FLAME file, gets
procedural ones, because MediaPipe detects brows and lips by their color: eyes and mouth cavity are found by the head's
geometry; lips, brows and lashes by MediaPipe's landmarks, once their places on the head are known.

Letters: V vertices.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from mp2flame.data import N_LANDMARKS
from mp2flame.errors import InputError
from mp2flame.geometry.face_regions import eye_centers, eyeballs, head_scale, mouth_center, visible_vertices
from mp2flame.geometry.mesh import connected_components
from mp2flame.head import FlameHead
from mp2flame.head.landmarks import LandmarkEmbedding

Float64 = NDArray[np.float64]
Colors = NDArray[np.uint8]
Rgb = tuple[float, float, float]
Line = tuple[int, ...]

# MediaPipe's indices along two edges of a patch, from one end to the other: outer and inner edge of each lip, upper
# and lower edge of each brow. Lash lines are a single edge.
_LIPS: Final = (
    ((61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291), (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)),
    ((61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291), (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)),
)
_BROWS: Final = (((70, 63, 105, 66, 107), (46, 53, 52, 65, 55)), ((300, 293, 334, 296, 336), (276, 283, 282, 295, 285)))
_UPPER_LASHES: Final = ((33, 246, 161, 160, 159, 158, 157, 173, 133), (263, 466, 388, 387, 386, 385, 384, 398, 362))
_LOWER_LASHES: Final = ((33, 7, 163, 144, 145, 153, 154, 155, 133), (263, 249, 390, 373, 374, 380, 381, 382, 362))

# Meters, of a head whose eyes are as far apart as usual.
_IRIS_RADIUS: Final = 0.0059
_PUPIL_RADIUS: Final = 0.0022
_LIP_EDGE: Final = 0.002
_BROW_EDGE: Final = 0.002
_LASH_EDGE: Final = 0.0022
_DEPTH: Final = 0.25
"""Weight of distances along z: lips and brows bulge between their edges."""
_CAVITY: Final = (0.042, 0.034, 0.11)
"""Half axes of an ellipsoid around the mouth; vertices inside it that are hidden from outside are the mouth cavity."""


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
    """Random colors: skin from light to dark, lips redder than the skin, hair from fair to black."""
    darkness = rng.uniform()
    skin = (1 - darkness) * np.array([222, 180, 160]) + darkness * np.array([104, 70, 54]) + rng.normal(scale=4, size=3)
    hair = rng.beta(1.2, 2.5) * (1 - darkness) * np.array([150, 116, 82]) + np.array([30, 24, 22])
    iris = np.array([(74, 52, 40), (96, 112, 122), (88, 100, 72)][rng.integers(3)]) + rng.normal(scale=6, size=3)
    return Palette(
        skin=_rgb(skin),
        lips=_rgb(skin * [0.86, 0.62, 0.66]),
        brows=_rgb(hair),
        lashes=_rgb(hair * 0.6),
        iris=_rgb(iris),
    )


def random_albedo_gain(colors: Colors, rng: np.random.Generator) -> Colors:
    """The colors (V, 3) with a random gain: lighter or darker, warmer or cooler."""
    brightness = rng.uniform(0.45, 1.08)
    warmth = rng.normal(scale=0.03)
    gain = brightness * np.array([1 + warmth, 1.0, 1 - warmth])
    return np.clip(colors * gain, 0, 255).astype(np.uint8)


def _rgb(values: Float64) -> Rgb:
    red, green, blue = np.clip(values, 0, 255).tolist()
    return red, green, blue


class SubjectColors:
    """Vertex colors of a head's subjects.

    Args:
        head: the head.
        embedding: where the landmarks lie on it, for a head without colors; None paints eyes and mouth cavity alone.

    Raises:
        InputError: the embedding lacks landmarks of lips, brows or lids.
    """

    def __init__(self, head: FlameHead, embedding: LandmarkEmbedding | None = None) -> None:
        self._albedo = ProceduralAlbedo(head, embedding) if head.vertex_colors is None else None
        self._neutral = head.vertex_colors if self._albedo is None else self._albedo.paint(Palette())

    def __call__(self, rng: np.random.Generator | None = None) -> Colors:
        """(V, 3) RGB of a random subject; without `rng`, the head's own or the standard colors."""
        assert self._neutral is not None
        if rng is None:
            return self._neutral
        if self._albedo is None:
            return random_albedo_gain(self._neutral, rng)
        return self._albedo.paint(random_palette(rng))


class ProceduralAlbedo:
    """Paints the parts of a face: skin, lips, brows, lashes, eyes and mouth cavity.

    Args:
        head: the head, at any identity.
        embedding: where the landmarks lie, at least those around lips, brows and lids, which FLAME's own file has; None
            paints eyes and mouth cavity alone.

    Raises:
        InputError: the embedding lacks landmarks of lips, brows or lids.
    """

    def __init__(self, head: FlameHead, embedding: LandmarkEmbedding | None = None) -> None:
        head = head.with_shape(np.zeros(0))
        self._vertices = head.neutral_vertices.astype(np.float64)
        self._scale = head_scale(head) if eyeballs(head).any() else 1.0
        self._layers: list[tuple[str, Float64]] = []
        if eyeballs(head).any():
            self._add_cavity(head)
        if embedding is not None:
            self._add_features(_painted_landmarks(embedding, embedding.positions(self._vertices, head.faces)))
        if eyeballs(head).any():
            self._add_eyes(head)

    def paint(self, palette: Palette) -> Colors:
        """(V, 3) uint8 RGB."""
        colors = np.tile(np.array(palette.skin, dtype=np.float64), (len(self._vertices), 1))
        for name, opacity in self._layers:
            color = np.zeros(3) if name == "pupil" else np.array(getattr(palette, name))
            colors += opacity[:, None] * (color - colors)
        return np.clip(np.round(colors), 0, 255).astype(np.uint8)

    def _add_cavity(self, head: FlameHead) -> None:
        hidden = ~visible_vertices(head)
        near = np.linalg.norm((self._vertices - mouth_center(head)) / np.array(_CAVITY) / self._scale, axis=1) < 1
        part = connected_components(head.faces, head.n_vertices)
        # A component that is mostly hidden and mostly near the mouth belongs to the cavity as a whole: gums show
        # between the lips, throats are deep.
        inside = np.minimum(np.bincount(part, hidden), np.bincount(part, near)) > 0.5 * np.bincount(part)
        self._layers.append(("cavity", ((near & hidden) | inside[part]).astype(np.float64)))

    def _add_features(self, landmarks: Float64) -> None:
        for name, patches, edge in (("lips", _LIPS, _LIP_EDGE), ("brows", _BROWS, _BROW_EDGE)):
            self._layers.append((name, self._near(landmarks, patches, edge)))
        for lines, opacity in ((_UPPER_LASHES, 0.9), (_LOWER_LASHES, 0.45)):
            self._layers.append(
                ("lashes", opacity * self._near(landmarks, [(line, line) for line in lines], _LASH_EDGE))
            )

    def _near(self, landmarks: Float64, patches: Iterable[tuple[Line, Line]], edge: float) -> Float64:
        """(V,) 1 up to half of `edge` from the patches between pairs of lines, falling smoothly to 0 at `edge`."""
        points = np.concatenate([_patch(landmarks[list(a)], landmarks[list(b)]) for a, b in patches])
        flat = np.array([1.0, 1.0, _DEPTH])
        distance, _ = cKDTree(points * flat).query(self._vertices * flat)
        closeness = np.clip(2 - 2 * distance / (edge * self._scale), 0, 1)
        smooth: Float64 = closeness * closeness * (3 - 2 * closeness)
        return smooth

    def _add_eyes(self, head: FlameHead) -> None:
        centers = eye_centers(head)
        nearest = np.linalg.norm(self._vertices[:, None] - centers, axis=2).argmin(axis=1)
        x, y, z = (self._vertices - centers[nearest]).T
        radial = np.where(z > 0, np.hypot(x, y), np.inf) / self._scale
        for name, radius in (("white", np.inf), ("iris", _IRIS_RADIUS), ("pupil", _PUPIL_RADIUS)):
            self._layers.append((name, (eyeballs(head) & (radial <= radius)).astype(np.float64)))


def _painted_landmarks(embedding: LandmarkEmbedding, positions: Float64) -> Float64:
    """(478, 3) positions by MediaPipe's index, NaN where they are not known and nothing is painted by them."""
    landmarks = np.full((N_LANDMARKS, 3), np.nan)
    landmarks[embedding.landmark_index] = positions
    lines = [*(line for pair in (*_LIPS, *_BROWS) for line in pair), *_UPPER_LASHES, *_LOWER_LASHES]
    lacking = [k for line in lines for k in line if not np.isfinite(landmarks[k]).all()]
    if lacking:
        raise InputError(
            f"expected landmarks around lips, brows and lids to paint by; {len(set(lacking))} of them are missing, "
            f"such as MediaPipe's {lacking[0]}: give an embedding of all 478 landmarks"
        )
    return landmarks


def _patch(first: Float64, second: Float64) -> Float64:
    """Points (P, 3) spread densely between two edges (M, 3) whose ends lie across from each other."""
    along = np.linspace(0, len(first) - 1, 8 * len(first))
    left = along.astype(int).clip(max=len(first) - 2)
    fraction = (along - left)[:, None]
    edges = [(1 - fraction) * edge[left] + fraction * edge[left + 1] for edge in (first, second)]
    across = np.linspace(0, 1, 8)[:, None, None]
    points: Float64 = ((1 - across) * edges[0] + across * edges[1]).reshape(-1, 3)
    return points
