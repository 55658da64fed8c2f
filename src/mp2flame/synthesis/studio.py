"""A studio: a head is posed and lit, a picture is taken, MediaPipe looks at it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mp2flame.data import Observation
from mp2flame.head import FlameHead
from mp2flame.render import NEUTRAL_COLOR, MeshRenderer
from mp2flame.sources.detector import FaceDetector

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["FRONTAL", "Studio", "View", "random_view", "tinted"]

_SIZE = (512, 512)
_VIEW_ANGLE = 30.0


@dataclass(frozen=True)
class View:
    """Where the camera and the lights are for one picture."""

    yaw: float = 0.0
    """Degrees that the camera goes round to the subject's left."""
    pitch: float = 0.0
    """Degrees that the camera goes up."""
    distance: float = 0.62
    """Metres."""
    offset: tuple[float, float] = (0.0, 0.0)
    """Metres by which the camera misses the middle of the head, right and up."""
    lights: tuple[tuple[tuple[float, float, float], float], ...] = ()
    """Direction and brightness of each light; none is the renderer's own studio set-up."""
    roll: float = 0.0
    """Degrees by which the head is tilted in the picture."""
    background: tuple[int, int, int] = (236, 238, 241)
    """RGB, 0..255."""


FRONTAL = View()
"""Straight from the front, evenly lit."""


def random_view(rng: np.random.Generator) -> View:
    """A view as webcams have them: mostly from the front, lit from somewhere above."""
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
    )


def tinted(colors: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Vertex colours of somebody else: lighter or darker, warmer or cooler."""
    depth = rng.uniform(0.45, 1.08)
    warmth = rng.normal(scale=0.03)
    gain = depth * np.array([1 + warmth, 1.0, 1 - warmth])
    return np.clip(colors * gain, 0, 255).astype(np.uint8)


class Studio:
    """One head in front of one camera; use it as a context.

    Edges are not smoothed: MediaPipe makes pictures smaller before it looks, and a picture takes a quarter of the time.

    Args:
        head: who is photographed.
        landmarker: MediaPipe's face landmarker file.

    Raises:
        MissingExtraError: PyVista or MediaPipe is not installed.
    """

    def __init__(self, head: FlameHead, landmarker: Path) -> None:
        plain = np.tile(np.array(NEUTRAL_COLOR, dtype=np.uint8), (head.n_vertices, 1))
        self.colors = plain if head.vertex_colors is None else head.vertex_colors
        self._put_on: NDArray[np.uint8] | None = self.colors
        self._middle = _middle(head)
        self._detector = FaceDetector(landmarker, mode="portrait")
        self._renderer = MeshRenderer(head.faces, size=_SIZE, view_angle=_VIEW_ANGLE, smooth_edges=False)

    def seat(self, person: FlameHead, colors: NDArray[np.uint8] | None = None) -> None:
        """From now on this person is photographed: the same head at another identity.

        Args:
            person: the head.
            colors: (V, 3) RGB of their vertices; None is the head's own.
        """
        self._middle = _middle(person)
        self._put_on = self.colors if colors is None else colors

    def picture(self, vertices: NDArray[np.float32], view: View) -> NDArray[np.uint8]:
        """The person's posed vertices (V, 3) as a picture (512, 512, 3), framed on the middle of the face."""
        self._renderer.set_lights(*view.lights)
        self._renderer.set_background(view.background)
        target = self._middle + np.array([*view.offset, 0.0])
        self._renderer.set_camera(target, distance=view.distance, yaw=view.yaw, pitch=view.pitch, roll=view.roll)
        colors, self._put_on = self._put_on, None
        return self._renderer.render(vertices, colors)

    def look(self, vertices: NDArray[np.float32], view: View, time: float = 0.0) -> Observation:
        """What MediaPipe sees of that picture."""
        return self._detector.detect(self.picture(vertices, view), time)

    def close(self) -> None:
        """Free the window and the detector."""
        self._renderer.close()
        self._detector.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _middle(head: FlameHead) -> NDArray[np.float64]:
    """(3,) metres, between the eyes and a little below: joints 3 and 4 are the eyes in every FLAME head."""
    middle: NDArray[np.float64] = head.joints()[3:5].mean(axis=0) - np.array([0.0, 0.03, 0.0])
    return middle
