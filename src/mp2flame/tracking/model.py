"""What tracking has to know of a head, learned once from renders of it and kept by the head's hash."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np

from mp2flame.downloads import cache_folder
from mp2flame.errors import FormatError, InputError, MissingFileError
from mp2flame.geometry.skinned_points import SkinnedPoints, estimated_columns, n_active_expression
from mp2flame.head import FlameHead
from mp2flame.head.landmarks import LandmarkEmbedding
from mp2flame.landmark_model.cache import prepare_head
from mp2flame.landmark_model.error_model import LandmarkErrorModel, fit_error_model, load_error_model
from mp2flame.landmark_model.error_samples import Script, rehearse
from mp2flame.synthesis.landmark_samples import Plan

__all__ = ["Study", "study_head"]

_EDITION: Final = 1
"""Goes up when the method changes, so that what was learned before is learned again."""


@dataclass(frozen=True, eq=False)
class Study:
    """A head that can be tracked with."""

    head: FlameHead
    """At its mean identity."""
    embedding: LandmarkEmbedding
    """Where MediaPipe's landmarks lie on it."""
    response: LandmarkErrorModel
    """How they answer to what it does."""

    @cached_property
    def points(self) -> SkinnedPoints:
        """The landmarks of the mean identity; the coefficients that are estimated move them."""
        return SkinnedPoints.at_landmarks(self.head, self.embedding).select_coefficients(estimated_columns(self.head))

    @cached_property
    def usual_points(self) -> SkinnedPoints:
        """The same with the mean identity fixed; expression moves them."""
        return self.points.with_fixed(np.zeros(len(self.response.identity_response)))


def study_head(
    head: FlameHead,
    landmarker: Path,
    *,
    plan: Plan | None = None,
    script: Script | None = None,
    folder: Path | None = None,
    on_picture: Callable[[], None] | None = None,
) -> Study:
    """Find a head's landmarks and learn how MediaPipe sees it; what was learned before is read from the folder.

    Args:
        head: the head; the identity that it carries is not used.
        landmarker: MediaPipe's face landmarker file.
        plan: pictures to find the landmarks in; None is the default one.
        script: pictures to learn the response from; None is the default one.
        folder: where to keep it; None is `heads` in mp2flame's cache folder.
        on_picture: called after each picture; not called for what was learned before.

    Raises:
        InputError: the head has no expression, or MediaPipe does not see its face; that error names a picture of it.
        MissingExtraError: PyVista or MediaPipe is not installed.
    """
    head, script = head.with_shape(np.zeros(0)), script or Script()
    if not n_active_expression(head):
        raise InputError(
            f"expected a head with expression components; {head.version} has none that move it, so there is nothing to "
            "track but jaw and eyes: load the head with its expression (a FLAME file has 50 or 100 components)"
        )
    place = cache_folder() / "heads" if folder is None else folder
    prepared = prepare_head(head, landmarker, plan=plan, folder=place, on_picture=on_picture)
    file = place / f"{head.hash[:12]}-{_fingerprint(head, landmarker, script, plan)}.response.npz"
    try:
        return Study(head, prepared.embedding, load_error_model(file))
    except (MissingFileError, FormatError):
        # Not learned yet, or damaged since: learned now.
        place.mkdir(parents=True, exist_ok=True)
    rehearsal = rehearse(head, prepared.embedding, landmarker, script, on_picture=on_picture)
    response = fit_error_model(rehearsal)
    response.save(file)
    return Study(head, prepared.embedding, response)


def _fingerprint(head: FlameHead, landmarker: Path, script: Script, plan: Plan | None) -> str:
    model = hashlib.sha256(landmarker.read_bytes()).hexdigest()
    what = f"{_EDITION} {head.hash} {head.vertex_colors is not None} {model} {script} {plan or Plan()}"
    return hashlib.sha256(what.encode()).hexdigest()[:12]
