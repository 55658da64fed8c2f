"""Pictures of a head as several people, turned, lit and moved, and the landmarks that MediaPipe finds in each.

Letters: N pictures, V vertices, E expression coefficients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from mp2flame.data import FlameParams
from mp2flame.errors import InputError
from mp2flame.geometry.camera import Camera
from mp2flame.head import FlameHead
from mp2flame.synthesis.studio import FRONTAL, View, random_view

if TYPE_CHECKING:
    from mp2flame.render import MeshRenderer
    from mp2flame.sources.detector import FaceDetector

__all__ = ["Dress", "Plan", "Sitting", "photograph"]

Picture = NDArray[np.uint8]
Dress = Callable[[np.random.Generator | None], Picture]
"""Gives a person's vertex colours (V, 3); None asks for the plain ones."""

_IDENTITY_SPREAD: Final = 0.8
"""Standard deviation of identity coefficients; below 1, so that nobody is a caricature."""
_EXPRESSION_SPREAD: Final = 0.6
_N_EXPRESSION: Final = 12
"""Only the leading coefficients move: they carry most of what a face does, and sums of all of them are grimaces."""
_JAW: Final = 0.30
"""Widest opening of the jaw, radians."""
_GAZE: Final = (0.10, 0.16)
"""Standard deviation of the eyes' turns up and down, and sideways, radians."""
_EYES_ABOVE_MIDDLE: Final = 0.03
_GIVE_UP: Final = 16
"""Pictures without a face after which, if they are more than those with one, no more are taken."""


@dataclass(frozen=True)
class Plan:
    """How many pictures, and which ones."""

    people: int = 40
    """Identities, the mean one first. Many people with few pictures each say more than the reverse."""
    pictures: int = 4
    """Of each; the first is at rest from the front."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.people < 1 or self.pictures < 1:
            raise InputError(f"expected at least one person and one picture; got {self.people} and {self.pictures}")


@dataclass(frozen=True, eq=False)
class Sitting:
    """The pictures in which MediaPipe found the face."""

    vertices: NDArray[np.float32]
    """(N, V, 3) metres."""
    landmarks: NDArray[np.float32]
    """(N, 478, 3) normalised, MediaPipe's."""
    cameras: tuple[Camera, ...]
    """N."""
    person: NDArray[np.int64]
    """(N,) who it was."""
    unseen: int = 0
    """Pictures in which MediaPipe found no face."""

    def pixels(self) -> NDArray[np.float64]:
        """(N, 478, 2) the landmarks in pixels."""
        sizes = np.array([camera.size for camera in self.cameras], dtype=np.float64)
        pixels: NDArray[np.float64] = self.landmarks[..., :2] * sizes[:, None]
        return pixels


def photograph(
    head: FlameHead,
    dress: Dress,
    landmarker: Path,
    plan: Plan,
    *,
    on_picture: Callable[[], None] | None = None,
    on_unseen: Callable[[Picture], str] | None = None,
) -> Sitting:
    """Take the pictures of a plan.

    Args:
        head: who sits; the identity that it carries is not used.
        dress: gives each person's colours; the first one's are plain.
        landmarker: MediaPipe's face landmarker file.
        plan: which pictures.
        on_picture: called after each.
        on_unseen: called with the first picture without a face if there are too many; what it returns ends the
            error's sentence.

    Raises:
        InputError: MediaPipe finds no face in the head at rest from the front, or in most other pictures.
        MissingExtraError: PyVista or MediaPipe is not installed.
    """
    from mp2flame.render import MeshRenderer
    from mp2flame.sources.detector import FaceDetector

    shots: list[_Shot] = []
    unseen: list[Picture] = []
    detector = FaceDetector(landmarker, mode="image")
    try:
        with MeshRenderer(head.faces, size=Camera.size, view_angle=Camera.view_angle) as renderer:
            for pose in _poses(head, dress, plan):
                shot, picture = _shoot(renderer, detector, pose)
                if on_picture is not None:
                    on_picture()
                if shot is not None:
                    shots.append(shot)
                else:
                    unseen.append(picture)
                    if not shots or len(unseen) > max(len(shots), _GIVE_UP):
                        raise _not_found(head, unseen[0], len(shots), len(unseen), on_unseen)
    finally:
        detector.close()
    if len(unseen) > len(shots):
        raise _not_found(head, unseen[0], len(shots), len(unseen), on_unseen)
    number, vertices, landmarks, cameras = zip(*shots, strict=True)
    return Sitting(np.stack(vertices), np.stack(landmarks), cameras, np.array(number), len(unseen))


_Shot = tuple[int, NDArray[np.float32], NDArray[np.float32], Camera]


@dataclass(frozen=True, eq=False)
class _Pose:
    """Somebody about to be photographed."""

    number: int
    person: FlameHead
    params: FlameParams
    view: View
    colors: Picture


def _poses(head: FlameHead, dress: Dress, plan: Plan) -> Iterator[_Pose]:
    for number in range(plan.people):
        rng = np.random.default_rng([plan.seed, number])
        person = head.with_shape(rng.normal(scale=_IDENTITY_SPREAD, size=head.n_shape) * (number > 0))
        colors = dress(rng if number else None)
        yield _Pose(number, person, FlameParams.neutral(n_expression=head.n_expression), FRONTAL, colors)
        for _ in range(plan.pictures - 1):
            yield _Pose(number, person, _face(head.n_expression, rng), random_view(rng), colors)


def _face(n_expression: int, rng: np.random.Generator) -> FlameParams:
    """A face that does something: every other mouth is open."""
    expression = np.zeros((1, n_expression), dtype=np.float32)
    moving = min(n_expression, _N_EXPRESSION)
    expression[0, :moving] = rng.normal(scale=_EXPRESSION_SPREAD, size=moving)
    opening = max(0.0, float(rng.uniform(-_JAW, _JAW)))
    up, side = rng.normal(scale=_GAZE)
    eyes = np.array([[up, side, 0.0]], dtype=np.float32)
    return FlameParams(
        time=np.zeros(1),
        found=np.ones(1, dtype=np.bool_),
        expression=expression,
        jaw_pose=np.array([[opening, 0.0, 0.0]], dtype=np.float32),
        leye_pose=eyes,
        reye_pose=eyes,
    )


def _camera(head: FlameHead, view: View) -> Camera:
    # Joints 3 and 4 are the eyes in every FLAME head.
    target = head.joints()[3:5].mean(axis=0).astype(np.float64)
    target[:2] += (view.offset[0], view.offset[1] - _EYES_ABOVE_MIDDLE)
    return Camera(target, view.distance, view.yaw, view.pitch)


def _shoot(renderer: MeshRenderer, detector: FaceDetector, pose: _Pose) -> tuple[_Shot | None, Picture]:
    """What MediaPipe found, None without a face; and the picture."""
    camera = _camera(pose.person, pose.view)
    camera.aim(renderer)
    renderer.set_lights(*pose.view.lights)
    vertices = pose.person(pose.params)[0]
    picture = renderer.render(vertices, pose.colors)
    seen = detector.detect(picture, 0.0)
    if not seen.found[0]:
        return None, picture
    assert seen.landmarks is not None
    return (pose.number, vertices, seen.landmarks[0], camera), picture


def _not_found(
    head: FlameHead, picture: Picture, seen: int, unseen: int, on_unseen: Callable[[Picture], str] | None
) -> InputError:
    ending = f": {on_unseen(picture)}" if on_unseen is not None else ""
    found = (
        f"found the face in {seen} of {seen + unseen} pictures only of this one ({head.version})"
        if seen
        else f"finds no face in a picture of this one ({head.version}) at rest from the front"
    )
    return InputError(f"expected a head that MediaPipe can see; it {found}{ending}")
