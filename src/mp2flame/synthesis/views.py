"""Views of a rendered head: camera, lights and background, and how they vary between images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from mp2flame.geometry.camera import Camera

if TYPE_CHECKING:
    from mp2flame.head import FlameHead

IDENTITY_STD: Final = 0.8
"""Standard deviation of identity coefficients; below 1, so that no subject is a caricature."""
CENTER_BELOW_EYES: Final = 0.03
"""Meters from the middle between the eyes down to the center of the image."""


@dataclass(frozen=True)
class View:
    """Camera, lights and background of one image."""

    yaw: float = 0.0
    """Degrees that the camera goes around to the subject's left."""
    pitch: float = 0.0
    """Degrees that the camera goes up."""
    roll: float = 0.0
    """Degrees by which the head is tilted to the left of the image."""
    distance: float = 0.62
    """Meters from the center of the face."""
    offset: tuple[float, float] = (0.0, 0.0)
    """Meters, right and up, from the center of the face to the center of the image."""
    lights: tuple[tuple[tuple[float, float, float], float], ...] = ()
    """Direction and brightness of each light; none for the renderer's own lights."""
    background: tuple[int, int, int] = (236, 238, 241)
    """RGB, 0..255."""

    def camera(self, head: FlameHead) -> Camera:
        """The camera that takes this view of a head, at the identity that is baked into the head."""
        # Joints 3 and 4 are the eyes in every FLAME head.
        target = head.joints()[3:5].mean(axis=0).astype(np.float64)
        target[:2] += (self.offset[0], self.offset[1] - CENTER_BELOW_EYES)
        return Camera(target, self.distance, self.yaw, self.pitch, self.roll)


FRONTAL: Final = View()
"""From the front, evenly lit."""


def random_view(rng: np.random.Generator, *, roll_and_background: bool = False) -> View:
    """A view as of a webcam: mostly from the front, lit from above by a key and a fill light.

    Args:
        rng: draws the view.
        roll_and_background: also tilt the head, and draw the color of the background.
    """
    background = View.background
    if roll_and_background:
        color = rng.uniform(20, 240) + rng.normal(scale=12, size=3)
        red, green, blue = np.clip(color, 0, 255).astype(int).tolist()
        background = (red, green, blue)
    key = rng.normal((0.0, 0.5, 1.0), (0.6, 0.3, 0.1))
    fill = rng.normal((0.0, 0.0, 1.0), (0.6, 0.4, 0.1))
    return View(
        yaw=float(np.clip(rng.normal(scale=13), -32, 32)),
        pitch=float(np.clip(rng.normal(scale=8), -20, 20)),
        distance=float(rng.uniform(0.5, 0.85)),
        offset=(float(rng.normal(scale=0.012)), float(rng.normal(scale=0.012))),
        lights=(
            (tuple(key.tolist()), float(rng.uniform(0.5, 0.95))),
            (tuple(fill.tolist()), float(rng.uniform(0.15, 0.5))),
        ),
        roll=float(rng.normal(scale=6.0)) if roll_and_background else 0.0,
        background=background,
    )
