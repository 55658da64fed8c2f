"""Recordings of this package, and the folders of tracked persons, whose videos are recordings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mp2flame.data import FlameParams, Observation, concatenate
from mp2flame.dataset.readers.base import TrackedSequence
from mp2flame.errors import FormatError
from mp2flame.formats.recording import RecordingSource
from mp2flame.formats.tracked_person import read_tracked_videos


def read_own_recording(path: Path) -> Iterator[TrackedSequence]:
    """A recording of this package with parameters, such as one that a drive or a tracking wrote.

    Raises:
        FormatError: it is damaged, or holds no parameters.
    """
    recording = RecordingSource(path)
    frames = [
        (number, observation.without_picture(), params)
        for number, (observation, params) in enumerate(recording.frames())
        if params is not None
    ]
    if not frames:
        raise FormatError(f"{path} holds no parameters: only recordings of driven or tracked heads can be learned from")
    observed = concatenate(_same_fields([observation for _, observation, _ in frames]))
    columns: dict[str, NDArray[np.float32]] = {"scores": observed.scores}
    if observed.landmarks is not None and observed.head_transform is not None:
        columns["landmarks"] = observed.landmarks.reshape(len(observed), -1)
        columns["head_transform"] = observed.head_transform.reshape(len(observed), -1)
    size = observed.image_size
    yield TrackedSequence(
        subject=path.stem,
        name=path.stem,
        source=f"recording {path}",
        head_version=recording.header.head_version,
        head_hash=recording.header.head_hash,
        params=concatenate(params for _, _, params in frames),
        frame=np.array([number for number, _, _ in frames]),
        observed=columns,
        named_scores=True,
        image_size=None if size is None else (int(size[0]), int(size[1])),
        timed=True,
    )


def _same_fields(frames: list[Observation]) -> list[Observation]:
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


def read_tracked_person(folder: Path) -> Iterator[TrackedSequence]:
    """Every video of a person; frames that fit badly are left out, those of the neutral face are marked.

    Raises:
        FormatError: a file is damaged, or a newer version wrote it.
    """
    for name, video in read_tracked_videos(folder).items():
        for sequence in read_own_recording(folder / f"{name}.jsonl"):
            time = sequence.params.time
            found = sequence.params.found & ~_frames_at(time, video.bad_times)
            params: FlameParams = replace(sequence.params, found=found)
            yield replace(
                sequence,
                subject=folder.name,
                source=f"tracked {sequence.source}",
                params=params,
                neutral=found & _frames_at(time, video.neutral_times),
            )


def _frames_at(time: NDArray[np.float64], listed: Sequence[float]) -> NDArray[np.bool_]:
    """(N,) the frames at listed times, to within half of the shortest frame interval, whatever decimals were written.

    Args:
        time: (N,) seconds, rising.
        listed: seconds.
    """
    chosen = np.zeros(len(time), dtype=np.bool_)
    if len(listed):
        nearest = np.abs(time[:, None] - np.asarray(listed)[None]).argmin(axis=0)
        tolerance = 0.5 * float(np.diff(time).min(initial=np.inf))
        chosen[nearest[np.abs(time[nearest] - listed) <= tolerance]] = True
    return chosen
