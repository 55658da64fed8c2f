"""Scores and parameters in two files, or one after the other: BEAT and LAM with EMAGE, and our own recordings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mp2flame.data import FlameParams, Observation, concatenate
from mp2flame.dataset.readers.base import TrackedSequence
from mp2flame.errors import FormatError
from mp2flame.formats import load_params
from mp2flame.formats.recording import RecordingSource
from mp2flame.sources.tables import BlendshapeJsonSource

__all__ = ["read_own_recording", "read_speech"]


def read_speech(scores: Path, params: Path, *, order: str | None) -> Iterator[TrackedSequence]:
    """Blendshapes of BEAT or LAM (`.json`) with the parameters of EMAGE (`.npz`), joined by time.

    Every frame of the parameters gets the scores nearest in time, at most half a frame away.

    Args:
        scores: the JSON.
        params: the `.npz`.
        order: of the JSON's weights where it names none.

    Raises:
        FormatError: one is damaged, or they do not overlap in time.
    """
    truth = load_params(params)
    with BlendshapeJsonSource(scores, order=order, fps=None if order is None else 60.0) as source:
        seen = concatenate(frame.without_picture() for frame in source)
    nearest = np.clip(np.searchsorted(seen.time, truth.time), 1, max(len(seen) - 1, 1))
    nearest = np.where(
        np.abs(seen.time[nearest - 1] - truth.time) <= np.abs(seen.time[nearest % len(seen)] - truth.time),
        nearest - 1,
        nearest % len(seen),
    )
    step = float(np.median(np.diff(truth.time))) if len(truth) > 1 else 1 / 30
    both = np.flatnonzero(np.abs(seen.time[nearest] - truth.time) <= step / 2 + 1e-6)
    if not len(both):
        raise FormatError(f"{scores} and {params} have no moment in common")
    yield TrackedSequence(
        subject=params.stem,
        name=params.stem,
        # EMAGE's expression space is that of SMPL-X 2020.
        head_version="FLAME 2020",
        source=f"speech {scores} with {params}",
        params=truth[both],
        frame=both,
        seen={"scores": seen.scores[nearest[both]]},
    )


def read_own_recording(path: Path) -> Iterator[TrackedSequence]:
    """A recording of this package with parameters, such as one that a drive or a tracking wrote.

    Raises:
        FormatError: it is damaged, or holds no parameters.
    """
    recording = RecordingSource(path)
    frames = [(seen.without_picture(), params) for seen, params in recording.frames() if params is not None]
    if not frames:
        raise FormatError(f"{path} holds no parameters: only recordings of driven or tracked heads can be learned from")
    seen = concatenate(_uniform([observation for observation, _ in frames]))
    params: FlameParams = concatenate(p for _, p in frames)
    columns: dict[str, NDArray[np.float32]] = {"scores": seen.scores}
    if seen.landmarks is not None and seen.head_transform is not None:
        columns["landmarks"] = seen.landmarks.reshape(len(seen), -1)
        columns["head_transform"] = seen.head_transform.reshape(len(seen), -1)
    size = seen.image_size
    yield TrackedSequence(
        subject=path.stem,
        name=path.stem,
        source=f"recording {path}",
        head_version=recording.header.head_version,
        head_hash=recording.header.head_hash,
        params=params,
        frame=np.arange(len(params)),
        seen=columns,
        image_size=None if size is None else (int(size[0]), int(size[1])),
    )


def _uniform(frames: list[Observation]) -> list[Observation]:
    """Frames with the same fields: one without a face has no landmarks, where others have."""
    for name, shape in (("landmarks", (1, 478, 3)), ("head_transform", (1, 4, 4))):
        if any(getattr(frame, name) is not None for frame in frames):
            blank = np.full(shape, np.nan, dtype=np.float32)
            frames = [
                replace(frame, **{name: blank})  # type: ignore[arg-type]
                if getattr(frame, name) is None and not frame.found[0]
                else frame
                for frame in frames
            ]
    return frames
