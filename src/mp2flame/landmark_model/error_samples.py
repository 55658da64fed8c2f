"""Pictures of a head whose every parameter is known, and by how much MediaPipe's landmarks miss it in each.

Letters: N pictures, K landmarks, E expression and S identity coefficients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mp2flame.data import FlameParams
from mp2flame.errors import InputError
from mp2flame.geometry.camera import Camera
from mp2flame.geometry.skinned_points import n_active_expression, n_estimated_identity
from mp2flame.head import FlameHead
from mp2flame.head.landmarks import LandmarkEmbedding
from mp2flame.landmark_model.offsets import offsets
from mp2flame.mapping.linear import N_ROTATIONS
from mp2flame.synthesis.appearance import Painter, random_palette
from mp2flame.synthesis.studio import FRONTAL, View, random_view, tinted

__all__ = ["Rehearsal", "Script", "rehearse"]

Float64 = NDArray[np.float64]
Picture = NDArray[np.uint8]

_EYES_ABOVE_MIDDLE: Final = 0.03
_STRENGTH: Final = (0.2, 1.2)
"""Standard deviation of a face's expression coefficients, drawn anew for each face."""
_JAW: Final = 0.32
"""Widest opening of the jaw, radians; half of the mouths are shut."""
_JAW_ASIDE: Final = (0.03, 0.01)
_GAZE: Final = (0.10, 0.17)
"""Standard deviation of the eyes' turns up and down, and sideways, radians; both eyes turn alike."""


@dataclass(frozen=True)
class Script:
    """How many pictures, and which ones."""

    people: int = 400
    """Identities. How MediaPipe misses a person has to be told from who the person is, and that takes many."""
    pictures: int = 4
    """Of each; the first is at rest."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.people < 1 or self.pictures < 2:
            raise InputError(f"expected people and at least 2 pictures of each; got {self.people}, {self.pictures}")


@dataclass(frozen=True, eq=False)
class Rehearsal:
    """The pictures in which MediaPipe found the face; cameras do not lean, so camera axes are upright."""

    errors: Float64
    """(N, K, 3) metres, as `mp2flame.landmark_model.offsets.offsets` gives them, for a head of usual size."""
    view: Float64
    """(N, 2) x and y of the unit vector from the head to the camera, in the head's axes."""
    face: Float64
    """(N, E + 9) expression, jaw, left eye, right eye."""
    identity: Float64
    """(N, S') the leading identity coefficients; all others are zero."""
    person: NDArray[np.int64]
    """(N,) who it was."""
    rest: NDArray[np.bool_]
    """(N,) the face is at rest."""


def rehearse(
    head: FlameHead,
    embedding: LandmarkEmbedding,
    landmarker: Path,
    script: Script,
    *,
    on_picture: Callable[[], None] | None = None,
) -> Rehearsal:
    """Photograph a head as many people and measure MediaPipe's landmarks.

    Args:
        head: who sits; the identity that it carries is not used.
        embedding: where the landmarks lie.
        landmarker: MediaPipe's face landmarker file.
        script: which pictures.
        on_picture: called after each.

    Raises:
        InputError: MediaPipe finds the face in less than half of the pictures.
        MissingExtraError: PyVista or MediaPipe is not installed.
    """
    from mp2flame.render import MeshRenderer
    from mp2flame.sources.detector import FaceDetector

    shots: list[tuple[Float64, Float64, _Scene]] = []
    detector = FaceDetector(landmarker, mode="image")
    try:
        with MeshRenderer(head.faces, size=Camera.size, view_angle=Camera.view_angle) as renderer:
            for scene in _scenes(head, embedding, script):
                camera = _camera(scene.person, scene.view)
                camera.aim(renderer)
                renderer.set_lights(*scene.view.lights)
                vertices = scene.person(scene.face)[0]
                seen = detector.detect(renderer.render(vertices, scene.colors), 0.0)
                if on_picture is not None:
                    on_picture()
                if not seen.found[0]:
                    continue
                assert seen.landmarks is not None
                points = camera.to_camera(embedding.positions(vertices, head.faces))[None]
                found = seen.landmarks[:, embedding.landmark_index]
                errors = offsets(points, found, focal=camera.focal, size=camera.size)[0]
                shots.append((errors / scene.size, camera.axes[2], scene))
    finally:
        detector.close()
    if 2 * len(shots) < script.people * script.pictures:
        raise InputError(
            f"expected a head that MediaPipe can see ({head.version}); it found the face in {len(shots)} of "
            f"{script.people * script.pictures} pictures only"
        )
    return _collected(shots)


@dataclass(frozen=True, eq=False)
class _Scene:
    """Somebody about to be photographed."""

    number: int
    person: FlameHead
    size: float
    identity: Float64
    face: FlameParams
    at_rest: bool
    view: View
    colors: Picture


def _collected(shots: list[tuple[Float64, Float64, _Scene]]) -> Rehearsal:
    scenes = [scene for _, _, scene in shots]
    return Rehearsal(
        errors=np.stack([error for error, _, _ in shots]),
        view=np.stack([back[:2] for _, back, _ in shots]),
        face=np.concatenate([scene.face.to_rows() for scene in scenes]),
        identity=np.stack([scene.identity for scene in scenes]),
        person=np.array([scene.number for scene in scenes]),
        rest=np.array([scene.at_rest for scene in scenes]),
    )


def _scenes(head: FlameHead, embedding: LandmarkEmbedding, script: Script) -> Iterator[_Scene]:
    painter = Painter(head, embedding) if head.vertex_colors is None else None
    for number in range(script.people):
        rng = np.random.default_rng([script.seed, number])
        identity = rng.normal(size=n_estimated_identity(head))
        person = head.with_shape(identity.astype(np.float32))
        size = _radius(person, embedding) / _radius(head.with_shape(np.zeros(0)), embedding)
        colors = tinted(head.vertex_colors, rng) if head.vertex_colors is not None else None
        if painter is not None:
            colors = painter.paint(random_palette(rng))
        assert colors is not None
        faces = _faces(n_active_expression(head), script.pictures, rng)
        for i in range(script.pictures):
            # People do not always face the camera squarely when they rest.
            view = FRONTAL if i == 0 and number % 2 == 0 else random_view(rng)
            yield _Scene(number, person, size, identity, FlameParams.from_rows(faces[i : i + 1]), i == 0, view, colors)


def _faces(n_expression: int, n: int, rng: np.random.Generator) -> Float64:
    """(n, E + 9) random faces, the first at rest.

    Every coefficient moves in every face: that tells each one's answer from few pictures, better than faces that occur.
    """
    faces = np.zeros((n, n_expression + N_ROTATIONS))
    e = n_expression
    faces[:, :e] = rng.normal(size=(n, e)) * rng.uniform(*_STRENGTH, size=(n, 1))
    faces[:, e] = np.maximum(0.0, rng.uniform(-_JAW, _JAW, size=n))
    faces[:, e + 1 : e + 3] = rng.normal(scale=_JAW_ASIDE, size=(n, 2))
    faces[:, e + 3 : e + 5] = faces[:, e + 6 : e + 8] = rng.normal(scale=_GAZE, size=(n, 2))
    faces[0] = 0.0
    return faces


def _radius(person: FlameHead, embedding: LandmarkEmbedding) -> float:
    """Root mean square distance of the landmarks at rest from their middle, metres."""
    points = embedding.positions(person.neutral_vertices, person.faces)
    return float(np.sqrt(((points - points.mean(axis=0)) ** 2).sum(axis=1).mean()))


def _camera(person: FlameHead, view: View) -> Camera:
    # Joints 3 and 4 are the eyes in every FLAME head.
    target = person.joints()[3:5].mean(axis=0).astype(np.float64)
    target[:2] += (view.offset[0], view.offset[1] - _EYES_ABOVE_MIDDLE)
    return Camera(target, view.distance, view.yaw, view.pitch)
