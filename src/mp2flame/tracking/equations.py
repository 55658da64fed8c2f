"""The landmarks' misses as a function of the unknowns, with derivatives, and normal equations made of them.

Letters: N frames, K landmarks, D unknowns of a frame (`Layout`), F = 3K numbers of a frame.

The world is the camera's: metres, x right, y up, z towards the viewer, the camera at the origin, so what is seen has
z < 0. A miss is where MediaPipe says a landmark is minus where the head has it, at the head's own depth, as
`mp2flame.landmark_model.offsets.offsets` has it, then turned about the camera's axis so that the head stands
upright. From that comes off what the head's `LandmarkErrorModel` predicts, and what is known of the person. The turn to
upright and the view that the bias depends on are taken from the head's rotation and held while a step is made.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mp2flame import rotations
from mp2flame.geometry.skinned_points import SkinnedPoints
from mp2flame.landmark_model.error_model import Information, LandmarkErrorModel
from mp2flame.parallel import in_threads
from mp2flame.tracking.state import Layout, chunks

__all__ = [
    "Lens",
    "Scene",
    "Sight",
    "face_derivatives",
    "face_equations",
    "face_misses",
    "miss_derivatives",
    "misses",
    "uprights",
    "views",
]

Float64 = NDArray[np.float64]

_CHUNK = 8
"""Frames whose derivatives are in memory at once."""


@dataclass(frozen=True)
class Lens:
    """What turns pixels into directions."""

    focal: float
    """Focal length, pixels."""
    size: tuple[int, int]
    """Width and height of the picture, pixels; its middle is on the axis."""

    @property
    def middle(self) -> Float64:
        """(2,) pixels right and down from the picture's corner."""
        return np.array(self.size) / 2.0

    def pixels(self, points: Float64) -> Float64:
        """(..., 2) where points (..., 3) in camera axes are seen, pixels right and down from the picture's corner."""
        across, up = (self.focal * points[..., i] / -points[..., 2] for i in (0, 1))
        return np.stack([across, -up], axis=-1) + self.middle

    def tangents(self, places: Float64) -> Float64:
        """(..., 2) metres right and up for each metre of depth, of places (..., 2) in pixels."""
        result: Float64 = (places - self.middle) * (1.0, -1.0) / self.focal
        return result


@dataclass(frozen=True, eq=False)
class Sight:
    """N frames as they were seen."""

    tangents: Float64
    """(N, K, 3) metres right, up and towards the viewer for each metre of depth."""
    trust: Float64
    """(N, K) how much each landmark counts, 0..1."""

    @classmethod
    def through(cls, lens: Lens, landmarks: NDArray[np.floating], trust: Float64 | None = None) -> Sight:
        """Normalised landmarks (N, K, 3) through a lens."""
        points = np.asarray(landmarks, dtype=np.float64)
        scale = np.array([lens.size[0], -lens.size[1], -lens.size[0]]) / lens.focal
        return cls((points - (0.5, 0.5, 0.0)) * scale, np.ones(points.shape[:2]) if trust is None else trust)

    def __getitem__(self, rows: slice | NDArray[np.integer]) -> Sight:
        return Sight(self.tangents[rows], self.trust[rows])

    def __len__(self) -> int:
        return len(self.tangents)


def misses(points: Float64, tangents: Float64) -> Float64:
    """(N, K, 3) metres in camera axes, of points (N, K, 3) that are seen under these tangents."""
    depth = -points[..., 2]
    place = tangents * depth[..., None]
    place[..., 2] = tangents[..., 2] * depth.mean(axis=1, keepdims=True)
    result: Float64 = place - points
    result[..., 2] -= result[..., 2].mean(axis=1, keepdims=True)
    return result


def miss_derivatives(moves: Float64, tangents: Float64) -> Float64:
    """(N, D, 3, K) how misses change where the points move by (N, D, 3, K)."""
    slopes = tangents.swapaxes(1, 2)[:, None]
    nearer = moves[:, :, 2:]
    result = np.empty_like(moves)
    np.multiply(slopes[:, :, :2], nearer, out=result[:, :, :2])
    np.multiply(slopes[:, :, 2:], nearer.mean(axis=3, keepdims=True), out=result[:, :, 2:])
    result += moves
    result[:, :, 2] -= result[:, :, 2].mean(axis=2, keepdims=True)
    return np.negative(result, out=result)


def uprights(turns: Float64) -> Float64:
    """(N, 3, 3) rotations of camera axes about z that set heads turned by (N, 3, 3) upright."""
    lean = np.arctan2(turns[:, 0, 1], turns[:, 1, 1])
    result = np.zeros((len(turns), 3, 3))
    result[:, 0, 0] = result[:, 1, 1] = np.cos(lean)
    result[:, 0, 1], result[:, 1, 0] = -np.sin(lean), np.sin(lean)
    result[:, 2, 2] = 1.0
    return result


def views(turns: Float64) -> Float64:
    """(N, 2) x and y of the direction to the camera, in the axes of heads turned by (N, 3, 3)."""
    return turns[:, 2, :2]


@dataclass(frozen=True, eq=False)
class Scene:
    """What is known before a video is solved."""

    points: SkinnedPoints
    """The person's landmarks; expression moves them."""
    layout: Layout
    """Of the rows."""
    response: LandmarkErrorModel
    """What MediaPipe does with this head, for the person's size."""
    own: Float64
    """(F,) metres: what MediaPipe misses of this person."""
    lens: Lens
    """Of the camera."""


def face_misses(scene: Scene, rows: Float64, sight: Sight) -> Float64:
    """(N, F) metres that nothing explains, of rows (N, D)."""
    layout = scene.layout
    face = rows[:, : layout.n_expression]
    positions = scene.points.pose(face, layout.poses(rows), layout.translation(rows))
    turns = rotations.matrix(layout.turn(rows))
    seen = misses(positions, sight.tangents) @ uprights(turns).swapaxes(1, 2)
    foretold = scene.response.view_bias(views(turns)) + rows[:, : layout.n_face] @ scene.response.face_response
    left: Float64 = seen.reshape(len(rows), -1) - foretold - scene.own
    return left


def face_derivatives(scene: Scene, rows: Float64, sight: Sight) -> Float64:
    """(N, D, F) how `face_misses` change with the unknowns, view and turn to upright held."""
    layout, n = scene.layout, len(rows)
    face = rows[:, : layout.n_expression]
    posed = scene.points.differentiate(face, layout.poses(rows), layout.translation(rows), layout.moving)
    upright = uprights(rotations.matrix(layout.turn(rows))).swapaxes(1, 2)
    changes = miss_derivatives(posed.jacobian, sight.tangents).swapaxes(2, 3) @ upright[:, None]
    jacobian: Float64 = changes.reshape(n, layout.width, -1)
    jacobian[:, : layout.n_face] -= scene.response.face_response
    return jacobian


def face_equations(scene: Scene, rows: Float64, sight: Sight) -> tuple[Float64, Float64]:
    """Normal equations of each frame on its own, at rows (N, D), without priors.

    Returns:
        Matrices (N, D, D) and right-hand sides (N, D) of `matrix · step = -right`.
    """
    n, d = rows.shape
    matrix, right = np.zeros((n, d, d)), np.zeros((n, d))
    spread = scene.response.relative
    plain = Information(spread)

    def add(part: slice) -> None:
        seen = sight[part]
        residual, jacobian = (function(scene, rows[part], seen) for function in (face_misses, face_derivatives))
        matrix[part], right[part] = plain.normal(jacobian, residual)
        for i in np.flatnonzero((seen.trust < 1).any(axis=1)):
            doubting = Information(spread, np.repeat(seen.trust[i], 3))
            one = slice(i, i + 1)
            normal = doubting.normal(jacobian[one], residual[one])
            matrix[part.start + i], right[part.start + i] = (x[0] for x in normal)

    for _ in in_threads(add, chunks(n, _CHUNK)):
        pass
    return matrix, right
