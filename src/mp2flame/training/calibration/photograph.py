"""Photographs of a head as many people, and what MediaPipe says of each: training data with known truth.

Letters: N frames, M subjects, E expression coefficients, S identity coefficients.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mp2flame.errors import InputError
from mp2flame.head import FlameHead, load_head
from mp2flame.signals import FlameParams, Observation, concatenate
from mp2flame.training.calibration.sampling import sample_weights
from mp2flame.training.calibration.studio import FRONTAL, Studio, random_view, tinted

__all__ = ["Session", "Subject", "photograph", "to_arrays"]

_IDENTITY_SPREAD: Final = 0.8
"""Standard deviation of identity coefficients; below 1, so that nobody is a caricature."""

_COEFFICIENT_NOISE: Final = 0.15
"""Standard deviation added to expression coefficients, so that faces are not only sums of the 52 shapes."""

_JAW_NOISE: Final = 0.01
"""The same for the jaw, radians."""


@dataclass(frozen=True)
class Session:
    """What every subject's session shares."""

    head_source: str
    """What `load_head` takes: each process loads the head for itself."""
    landmarker: Path
    frames: int
    """Pictures of each subject, besides the one at rest."""
    seed: int


@dataclass(frozen=True)
class Subject:
    """One person's pictures, those in which MediaPipe found the face."""

    number: int
    shape: NDArray[np.float32]
    """(S,) identity."""
    rest: Observation
    """N = 1, at rest, from the front."""
    seen: Observation
    """N frames."""
    truth: FlameParams
    """N frames: what the head really did."""


def _faces(session: Session, head: FlameHead, rng: np.random.Generator) -> FlameParams:
    """Random faces of one subject."""
    shapes = head.blendshapes()
    weights = sample_weights(session.frames, rng)
    noise = rng.normal(scale=_COEFFICIENT_NOISE, size=(session.frames, shapes.n_expression))
    jaw = weights @ shapes.jaw_pose + rng.normal(scale=_JAW_NOISE, size=(session.frames, 3)) * (1.0, 0.5, 0.2)
    jaw[:, 0] = np.maximum(jaw[:, 0], 0)
    return FlameParams(
        time=np.arange(session.frames, dtype=np.float64),
        found=np.ones(session.frames, dtype=np.bool_),
        expression=(weights @ shapes.expression + noise).astype(np.float32),
        jaw_pose=jaw.astype(np.float32),
        leye_pose=weights @ shapes.leye_pose,
        reye_pose=weights @ shapes.reye_pose,
    )


def _subject(session: Session, head: FlameHead, number: int) -> Subject | None:
    """Photograph one subject; None if MediaPipe does not find the face at rest."""
    rng = np.random.default_rng([session.seed, number])
    shape = rng.normal(scale=_IDENTITY_SPREAD, size=head.n_shape).astype(np.float32)
    faces = _faces(session, head, rng)
    with Studio(head, session.landmarker) as studio:
        studio.as_person(shape)
        colors = tinted(studio.colors, rng)
        still = FlameParams.neutral(n_expression=faces.n_expression)
        rest = studio.look(still, FRONTAL, colors)
        if not rest.found[0]:
            return None
        seen = [studio.look(faces[i], random_view(rng), colors) for i in range(session.frames)]
    kept = np.array([observation.found[0] for observation in seen])
    if not kept.any():
        return None
    return Subject(number, shape, rest, concatenate([o for o in seen if o.found[0]]), faces[kept])


_working: list[tuple[Session, FlameHead]] = []


def _begin(session: Session) -> None:
    _working[:] = [(session, load_head(session.head_source))]


def _work(number: int) -> Subject | None:
    session, head = _working[0]
    return _subject(session, head, number)


def photograph(
    session: Session, subjects: int, *, workers: int = 1, on_subject: Callable[[], None] | None = None
) -> Iterator[Subject]:
    """Photograph `subjects` people one after the other, in several processes; the same whatever `workers` is.

    Raises:
        InputError: the head has no named shapes to draw faces from, or nobody's face was found.
    """
    context = multiprocessing.get_context("spawn")
    found = 0
    with context.Pool(workers, initializer=_begin, initargs=(session,)) as pool:
        for subject in pool.imap(_work, range(subjects)):
            if on_subject is not None:
                on_subject()
            if subject is not None:
                found += 1
                yield subject
    if not found:
        raise InputError(f"MediaPipe found no face in pictures of this head ({session.head_source})")


def to_arrays(subjects: list[Subject]) -> dict[str, NDArray[Any]]:
    """The pictures of many subjects as named arrays, in the layout of a data set in one `.npz`.

    Returns:
        `scores` (N, 52), `landmarks` (N, 478, 3), `head_transform` (N, 4, 4), `expression` (N, E), `jaw_pose` (N, 3),
        `eye_pose` (N, 6), `subject` (N,), and each subject's rest frame as `neutral_scores`, `neutral_landmarks`,
        `neutral_head_transform`, `neutral_subject` (M, ...), `shape` (M, S).
    """
    number = [np.full(len(subject.truth), subject.number, dtype=np.int32) for subject in subjects]
    arrays: dict[str, NDArray[Any]] = {
        "subject": np.concatenate(number),
        "neutral_subject": np.array([subject.number for subject in subjects], dtype=np.int32),
        "shape": np.stack([subject.shape for subject in subjects]),
    }
    for name in ("expression", "jaw_pose", "eye_pose"):
        arrays[name] = np.concatenate([getattr(subject.truth, name) for subject in subjects])
    for name in ("scores", "landmarks", "head_transform"):
        arrays[name] = np.concatenate([getattr(subject.seen, name) for subject in subjects])
        arrays[f"neutral_{name}"] = np.concatenate([getattr(subject.rest, name) for subject in subjects])
    return arrays
