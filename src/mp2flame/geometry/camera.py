"""The camera that `MeshRenderer.look` places, as geometry: where a point falls in the picture, where a pixel looks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from mp2flame.render import MeshRenderer

__all__ = ["Camera", "Intrinsics"]

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Intrinsics:
    """A pinhole camera without a place: pixels from points in its own coordinates, and back.

    Pixels and camera coordinates are those of `Camera`; the principal point is the center of the image.
    """

    focal: float
    """Focal length, pixels."""
    size: tuple[int, int]
    """Width and height of the image, pixels."""

    @property
    def center(self) -> Float64:
        """(2,) the principal point, pixels."""
        return np.array(self.size) / 2.0

    def project(self, points: Float64) -> Float64:
        """Pixels (..., 2) of points (..., 3) in camera coordinates."""
        across, up = (self.focal * points[..., i] / -points[..., 2] for i in (0, 1))
        return np.stack([across, -up], axis=-1) + self.center

    def slopes(self, pixels: Float64) -> Float64:
        """(..., 2) metres right and up for each metre of depth, of pixels (..., 2)."""
        slopes: Float64 = (pixels - self.center) * (1.0, -1.0) / self.focal
        return slopes


@dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole camera that looks at a point; its picture's up is the world's +Y.

    Pixels are continuous, x right and y down from the picture's upper left corner. Camera coordinates are metres,
    x right, y up, z towards the viewer, so what is seen has z < 0.
    """

    target: Float64
    """(3,) metres, the point in the middle of the picture."""
    distance: float
    """Metres from the target."""
    yaw: float = 0.0
    """Degrees that the camera goes round to the subject's left."""
    pitch: float = 0.0
    """Degrees that the camera goes up."""
    size: tuple[int, int] = (512, 512)
    """Width and height of the picture, pixels."""
    view_angle: float = 30.0
    """Vertical opening angle, degrees."""

    @property
    def focal(self) -> float:
        """Focal length, pixels."""
        return self.size[1] / 2 / float(np.tan(np.radians(self.view_angle) / 2))

    @property
    def axes(self) -> Float64:
        """(3, 3) the camera's right, up and backward directions in the world, as rows."""
        turn, rise = np.radians([self.yaw, self.pitch])
        back = np.array([np.sin(turn) * np.cos(rise), np.sin(rise), np.cos(turn) * np.cos(rise)])
        right = np.array([np.cos(turn), 0.0, -np.sin(turn)])
        return np.stack([right, np.cross(back, right), back])

    @property
    def position(self) -> Float64:
        """(3,) metres."""
        place: Float64 = self.target + self.distance * self.axes[2]
        return place

    def aim(self, renderer: MeshRenderer) -> None:
        """Make a renderer of this size and view angle look as this camera does."""
        renderer.set_camera(self.target, distance=self.distance, yaw=self.yaw, pitch=self.pitch)

    def to_camera(self, points: ArrayLike) -> Float64:
        """World points (..., 3) in camera coordinates."""
        moved: Float64 = (np.asarray(points, dtype=np.float64) - self.position) @ self.axes.T
        return moved

    def project(self, points: ArrayLike) -> Float64:
        """Pixels (..., 2) of world points (..., 3) in front of the camera."""
        seen = self.to_camera(points)
        centred = self.focal * seen[..., :2] / -seen[..., 2:]
        pixels: Float64 = centred * (1.0, -1.0) + np.array(self.size) / 2
        return pixels

    def rays(self, pixels: ArrayLike) -> Float64:
        """(..., 3) unit directions in the world that pixels (..., 2) look along."""
        centred = (np.asarray(pixels, dtype=np.float64) - np.array(self.size) / 2) * (1.0, -1.0)
        seen = np.concatenate([centred, np.full((*centred.shape[:-1], 1), -self.focal)], axis=-1) @ self.axes
        directions: Float64 = seen / np.linalg.norm(seen, axis=-1, keepdims=True)
        return directions
