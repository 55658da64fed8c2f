"""The pinhole camera of `MeshRenderer.set_camera`: projection of points, and rays of pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from mp2flame.render import MeshRenderer

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
        """(..., 2) meters right and up for each meter of depth, of pixels (..., 2)."""
        slopes: Float64 = (pixels - self.center) * (1.0, -1.0) / self.focal
        return slopes


@dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole camera that looks at a point; without roll, up in the image is the world's +Y.

    Pixels are continuous, x right and y down from the upper left corner of the image. Camera coordinates are meters,
    x right, y up, z towards the viewer, so visible points have z < 0.
    """

    target: Float64
    """(3,) meters, the point in the middle of the image."""
    distance: float
    """Meters from the target."""
    yaw: float = 0.0
    """Degrees that the camera goes around to the subject's left."""
    pitch: float = 0.0
    """Degrees that the camera goes up."""
    roll: float = 0.0
    """Degrees by which the scene is tilted to the left of the image."""
    size: tuple[int, int] = (512, 512)
    """Width and height of the image, pixels."""
    view_angle: float = 30.0
    """Vertical opening angle, degrees."""

    @property
    def intrinsics(self) -> Intrinsics:
        """Focal length and size."""
        return Intrinsics(self.size[1] / 2 / float(np.tan(np.radians(self.view_angle) / 2)), self.size)

    @property
    def axes(self) -> Float64:
        """(3, 3) the camera's right, up and backward directions in the world, as rows."""
        yaw, pitch, roll = np.radians([self.yaw, self.pitch, self.roll])
        back = np.array([np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)])
        level = np.array([np.cos(yaw), 0.0, -np.sin(yaw)])
        upright = np.cross(back, level)
        right, up = np.cos(roll) * level - np.sin(roll) * upright, np.sin(roll) * level + np.cos(roll) * upright
        return np.stack([right, up, back])

    @property
    def position(self) -> Float64:
        """(3,) meters."""
        position: Float64 = self.target + self.distance * self.axes[2]
        return position

    def aim(self, renderer: MeshRenderer) -> None:
        """Make a renderer of this size and view angle look as this camera does."""
        renderer.set_camera(self.target, distance=self.distance, yaw=self.yaw, pitch=self.pitch, roll=self.roll)

    def to_camera(self, points: ArrayLike) -> Float64:
        """World points (..., 3) in camera coordinates."""
        local: Float64 = (np.asarray(points, dtype=np.float64) - self.position) @ self.axes.T
        return local

    def project(self, points: ArrayLike) -> Float64:
        """Pixels (..., 2) of world points (..., 3) in front of the camera."""
        return self.intrinsics.project(self.to_camera(points))

    def rays(self, pixels: ArrayLike) -> Float64:
        """(..., 3) unit directions in the world of the rays through pixels (..., 2)."""
        slopes = self.intrinsics.slopes(np.asarray(pixels, dtype=np.float64))
        rays = np.concatenate([slopes, np.full((*slopes.shape[:-1], 1), -1.0)], axis=-1) @ self.axes
        directions: Float64 = rays / np.linalg.norm(rays, axis=-1, keepdims=True)
        return directions
