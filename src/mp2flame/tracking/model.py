"""What tracking has to know of a head, learned once from renders of it and stored by the head's hash."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mp2flame.errors import InputError
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
    on_image: Callable[[], None] = lambda: None,
    log: Callable[[str], None] = lambda _: None,
) -> TrackerModel:
    """Find a head's landmarks and learn their errors; what was learned before is read from the folder.

    Args:
        head: the head; the identity that it carries is not used.
        landmarker: MediaPipe's face landmarker file.
        landmark_images: the number of images to find the landmarks in.
        error_images: the number of images to learn their errors from.
        folder: where to store it; None is `heads` in mp2flame's cache folder.
        on_image: called after each image; not called for what was learned before.
        log: called with a warning if the folder cannot be written.

    Raises:
        InputError: the head has no expression, or MediaPipe does not see its face; that error names an image of it.
        MissingExtraError: PyVista or MediaPipe is not installed.
    """
    head = head.with_shape(np.zeros(0))
    if not n_active_expression(head):
        raise InputError(
            f"expected a head with expression components; {head.version} has none that move it, so there is nothing to "
            "track but jaw and eyes: load the head with its expression (a FLAME file has 50 or 100 components)"
        )
    messages: list[str] = []
    calls: Any = {"folder": folder, "on_image": on_image, "log": messages.append}
    embedding = cached_landmarks(head, landmarker, settings=landmark_images, **calls)
    errors = cached_error_model(head, landmarker, embedding, settings=error_images, **calls)
    for message in dict.fromkeys(messages):
        log(message)
    return TrackerModel(head, embedding, errors)
