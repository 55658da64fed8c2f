"""Rendering heads and detecting their faces: the one loop through which all synthetic images go."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from mp2flame.data import FlameParams, Observation
from mp2flame.errors import InputError, Mp2FlameError
from mp2flame.geometry.camera import Camera
from mp2flame.head import FlameHead
from mp2flame.mapping.wrappers import estimate_frontal_rotation
from mp2flame.synthesis.appearance import SubjectColors
from mp2flame.synthesis.views import FRONTAL, IDENTITY_STD, View, random_view

Image = NDArray[np.uint8]

_MAX_MISSES: Final = 16
"""Images without a detected face that are tolerated even if they outnumber those with one."""
_CHECKED_VIEWS: Final = 16
_CHECKED_TURNS: Final = np.radians([[0, 0, 0], [10, 0, 0], [-10, 0, 0], [0, 15, 0], [0, -15, 0]]).astype(np.float32)


@dataclass(frozen=True)
class RenderSettings:
    """The number of images of synthetic subjects."""

    subjects: int
    """Identities."""
    images: int
    """Of each subject; the first has a neutral face."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.subjects < 1 or self.images < 2:
            raise InputError(f"expected subjects and at least 2 images of each; got {self.subjects}, {self.images}")


@dataclass(frozen=True, eq=False)
class Scene:
    """A posed head that is about to be rendered."""

    subject: FlameHead
    """The head at the subject's identity; the camera is centered on its neutral face."""
    params: FlameParams
    """One frame."""
    view: View
    colors: Image
    """(V, 3) RGB of the vertices."""
    number: int = 0
    """Of the subject."""

    @property
    def camera(self) -> Camera:
        """The camera of the image."""
        return self.view.camera(self.subject)


class RenderedDetector(AbstractContextManager["RenderedDetector"]):
    """A renderer followed by MediaPipe's face landmarker. Use it as a context manager.

    Args:
        faces: (F, 3) triangles of the heads.
        landmarker: MediaPipe's face landmarker file.
        fast: leave edges unsmoothed and expect at most one face, which takes a quarter of the time. MediaPipe scales
            images down before it detects landmarks, so smooth edges change little.

    Raises:
        MissingExtraError: PyVista or MediaPipe is not installed.
    """

    def __init__(self, faces: NDArray[np.integer], landmarker: Path, *, fast: bool = False) -> None:
        from mp2flame.render import MeshRenderer
        from mp2flame.sources.detector import FaceDetector

        self._detector = FaceDetector(landmarker, mode="portrait" if fast else "image")
        self._renderer = MeshRenderer(
            faces, size=Camera.size, view_angle=Camera.view_angle, background=View.background, smooth_edges=not fast
        )
        self._colors: Image | None = None

    def detect(self, scene: Scene, vertices: NDArray[np.float32] | None = None) -> tuple[Observation, Image]:
        """Render a scene, 512 x 512 pixels, and detect its face.

        Args:
            scene: the scene.
            vertices: (V, 3) of its posed head where they are known already.
        """
        scene.camera.aim(self._renderer)
        self._renderer.set_lights(*scene.view.lights)
        self._renderer.set_background(scene.view.background)
        posed = scene.subject(scene.params)[0] if vertices is None else vertices
        # Colors are handed over only where they change: that takes longer than moving the vertices.
        image = self._renderer.render(posed, None if scene.colors is self._colors else scene.colors)
        self._colors = scene.colors
        return self._detector.detect(image, 0.0), image

    @override
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._renderer.close()
        self._detector.close()


def detect_scenes(
    head: FlameHead,
    landmarker: Path,
    scenes: Iterable[Scene],
    *,
    fast: bool = False,
    first_required: bool = True,
    missed_image: Path | None = None,
    on_image: Callable[[], None] = lambda: None,
) -> Iterator[tuple[Scene, Observation]]:
    """Render scenes of a head, and yield those in which MediaPipe finds the face, with what it finds.

    Args:
        head: the head, of any identity.
        landmarker: MediaPipe's face landmarker file.
        scenes: what to render.
        fast: see `RenderedDetector`.
        first_required: refuse the head if there is no face in the first image.
        missed_image: where to save the first image without a detected face (PNG), if the head is refused.
        on_image: called after each image.

    Raises:
        InputError: MediaPipe finds no face in the first image, or in most images.
        MissingExtraError: PyVista or MediaPipe is not installed.
    """
    found, missed = 0, 0
    first_missed: Image | None = None
    with RenderedDetector(head.faces, landmarker, fast=fast) as detector:
        for scene in scenes:
            observation, image = detector.detect(scene)
            on_image()
            if observation.found[0]:
                found += 1
                yield scene, observation
                continue
            missed += 1
            first_missed = image if first_missed is None else first_missed
            if (first_required and not found) or missed > max(found, _MAX_MISSES):
                break
    if first_missed is not None and missed > found:
        raise not_detectable(head, found, found + missed, image=first_missed, path=missed_image)


def not_detectable(
    head: FlameHead, found: int, total: int, *, image: Image | None = None, path: Path | None = None
) -> InputError:
    """The error for a head in which MediaPipe finds no face; it names the image if that can be saved."""
    place = ""
    if image is not None and path is not None:
        from mp2flame.render import save_image

        with suppress(Mp2FlameError):
            save_image(image, path)
            place = f": see {path}"
    return InputError(
        f"expected a head in whose images MediaPipe finds a face; it found one in {found} of {total} images of this "
        f"head ({head.version}){place}"
    )


def check_detectable(head: FlameHead, landmarker: Path, colors: SubjectColors, missed_image: Path) -> None:
    """Refuse a head in which MediaPipe finds no face, within a second and before minutes of rendering.

    The head is rendered with a neutral face: from the front, and as sixteen random subjects in random views.

    Raises:
        InputError: MediaPipe finds no face in the first image, or in most of the others; the error names an image.
    """
    rng = np.random.default_rng(0)
    neutral = FlameParams.neutral(n_expression=head.n_expression)

    def scenes() -> Iterator[Scene]:
        yield Scene(head, neutral, FRONTAL, colors())
        for _ in range(_CHECKED_VIEWS):
            shape = rng.normal(scale=IDENTITY_STD, size=head.n_shape).astype(np.float32)
            view = random_view(rng, roll_and_background=True)
            yield Scene(head.with_shape(shape), neutral, view, colors())

    for _ in detect_scenes(head, landmarker, scenes(), fast=True, missed_image=missed_image):
        pass


def measure_frontal_rotation(
    head: FlameHead, landmarker: Path, colors: SubjectColors, *, subjects: int = 8, seed: int = 0
) -> NDArray[np.float64]:
    """The rotation that MediaPipe reports of a head that faces the camera, averaged over identities and head turns.

    Args:
        head: the head; it is rendered with the mean identity and with random ones.
        landmarker: MediaPipe's face landmarker file.
        colors: of its vertices.
        subjects: the number of random identities.
        seed: draws them.

    Returns:
        (3,) axis-angle, radians; a mapping for this head keeps it in its metadata (`MappingInfo.frontal_rotation`).

    Raises:
        InputError: MediaPipe finds no face in any of the images.
        MissingExtraError: PyVista or MediaPipe is not installed.
    """
    rng = np.random.default_rng(seed)
    reported, truth = [], []
    with RenderedDetector(head.faces, landmarker, fast=True) as detector:
        for std in [0.0] + [IDENTITY_STD] * subjects:
            subject = head.with_shape((std * rng.standard_normal(head.n_shape)).astype(np.float32))
            for turn in _CHECKED_TURNS:
                params = FlameParams(
                    time=np.zeros(1),
                    found=np.ones(1, dtype=np.bool_),
                    expression=np.zeros((1, head.n_expression), dtype=np.float32),
                    global_orient=turn[None],
                )
                observation, _ = detector.detect(Scene(subject, params, FRONTAL, colors()))
                if observation.found[0]:
                    assert observation.head_transform is not None
                    reported.append(observation.head_transform[0])
                    truth.append(turn)
    if not truth:
        raise not_detectable(head, 0, len(_CHECKED_TURNS) * (1 + subjects))
    return estimate_frontal_rotation(np.stack(reported), np.stack(truth))
