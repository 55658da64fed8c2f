"""What tracking has to know of a head, learned once from renders of it and stored by the head's hash."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from mp2flame.downloads import cache_folder
from mp2flame.errors import InputError, Mp2FlameError
from mp2flame.files import check_writable
from mp2flame.geometry.camera import Intrinsics
from mp2flame.geometry.skinned_points import SkinnedPoints, estimated_columns, n_active_expression
from mp2flame.head import FlameHead
from mp2flame.head.landmarks import LandmarkEmbedding
from mp2flame.landmark_model import correspondences, error_model
from mp2flame.landmark_model.cache import cached_error_model, cached_landmarks
from mp2flame.landmark_model.error_model import LandmarkErrorModel
from mp2flame.synthesis.render import RenderSettings
from mp2flame.tracking.config import TrackerConfig, TrackOptions
from mp2flame.tracking.solver import initial_states
from mp2flame.tracking.state import StateLayout


@dataclass(frozen=True, eq=False)
class TrackerModel:
    """A head that can be tracked with."""

    head: FlameHead
    """At its mean identity."""
    embedding: LandmarkEmbedding
    """Where MediaPipe's landmarks lie on it."""
    error_model: LandmarkErrorModel
    """How MediaPipe's landmarks deviate from them."""

    @cached_property
    def points(self) -> SkinnedPoints:
        """The landmarks of the mean identity; identity (S'), then expression (E) moves them."""
        points = SkinnedPoints.at_landmarks(self.head, self.embedding)
        return points.select_coefficients(estimated_columns(self.head))

    @cached_property
    def mean_points(self) -> SkinnedPoints:
        """The landmarks of the mean identity; expression moves them."""
        return self.points.with_fixed(np.zeros(len(self.error_model.identity_response)))


@dataclass(frozen=True, eq=False)
class Setup:
    """What all steps of tracking one person share."""

    model: TrackerModel
    options: TrackOptions
    config: TrackerConfig

    @cached_property
    def layout(self) -> StateLayout:
        """Of the states."""
        return StateLayout(n_active_expression(self.model.head), 1 if self.options.head_pose == "neck_pose" else 0)

    def camera(self, size: tuple[int, int]) -> Intrinsics:
        """The camera to start from: of the given focal length, else a usual one for images of this size."""
        return Intrinsics(self.options.focal or self.config.identity.usual_focal * max(size), size)

    def initial_states(
        self, camera: Intrinsics, landmarks: NDArray[np.floating], head_rotations: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """States (N, D) of the mean identity to start from; see `solver.initial_states`."""
        return initial_states(self.model.mean_points, self.layout, camera, landmarks, head_rotations)


def fit_tracker_model(
    head: FlameHead,
    landmarker: Path,
    *,
    landmark_images: RenderSettings = correspondences.DEFAULT_IMAGES,
    error_images: RenderSettings = error_model.DEFAULT_IMAGES,
    folder: Path | None = None,
    on_image: Callable[[], None] | None = None,
) -> TrackerModel:
    """Find a head's landmarks and learn their errors; what was learned before is read from the folder.

    Args:
        head: the head; the identity that it carries is not used.
        landmarker: MediaPipe's face landmarker file.
        landmark_images: the number of images to find the landmarks in.
        error_images: the number of images to learn their errors from.
        folder: where to store it; None is `heads` in mp2flame's cache folder.
        on_image: called after each image; not called for what was learned before.

    Raises:
        InputError: the head has no expression, or MediaPipe does not see its face; that error names an image of it.
        MissingExtraError: PyVista or MediaPipe is not installed.
        SinkError: the folder cannot be written; see `stored_model`.
    """
    head = head.with_shape(np.zeros(0))
    if not n_active_expression(head):
        raise InputError(
            f"expected a head with expression components; {head.version} has none that move it, so there is nothing to "
            "track but jaw and eyes: load the head with its expression (a FLAME file has 50 or 100 components)"
        )
    place, count = _default_folder() if folder is None else folder, on_image or (lambda: None)
    embedding = cached_landmarks(head, landmarker, settings=landmark_images, folder=place, on_image=count)
    errors = cached_error_model(head, landmarker, embedding, settings=error_images, folder=place, on_image=count)
    return TrackerModel(head, embedding, errors)


@contextmanager
def stored_model(
    head: FlameHead, landmarker: Path, *, on_image: Callable[[], None] | None = None
) -> Iterator[tuple[TrackerModel, Path, tuple[str, ...]]]:
    """Fit a head's model in the cache folder, or in a temporary copy of it for the block where it cannot be written.

    Arguments and errors are those of `fit_tracker_model`.

    Yields:
        The model; the folder, for `fit_tracker_model` in other processes; and warnings that the model is not kept.
    """
    place, n_images = _default_folder(), 0
    try:
        place.mkdir(parents=True, exist_ok=True)
        check_writable(place / "model")
    except (OSError, Mp2FlameError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
    else:
        yield fit_tracker_model(head, landmarker, folder=place, on_image=on_image), place, ()
        return

    def count() -> None:
        nonlocal n_images
        n_images += 1
        if on_image is not None:
            on_image()

    with TemporaryDirectory(prefix="mp2flame-") as temporary:
        copy = Path(temporary) / "heads"
        if place.is_dir():
            shutil.copytree(place, copy)
        model = fit_tracker_model(head, landmarker, folder=copy, on_image=count)
        warning = (
            f"what was learned of the head is not kept and will be learned again: cannot write {place} ({reason}); set "
            "MP2FLAME_CACHE to a folder that can be written"
        )
        yield model, copy, (warning,) if n_images else ()


def _default_folder() -> Path:
    return cache_folder() / "heads"
