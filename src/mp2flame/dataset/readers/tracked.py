"""The folders that `mp2flame track` writes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mp2flame.dataset.readers.base import TrackedSequence
from mp2flame.dataset.readers.paired import read_own_recording
from mp2flame.formats.tracked_person import PERSON_FILE, read_tracked_videos


def is_tracked_person(folder: Path) -> bool:
    """Whether a folder holds a tracked person."""
    return (folder / PERSON_FILE).is_file()


def read_tracked_person(folder: Path) -> Iterator[TrackedSequence]:
    """Every video of a person; frames that fit badly are left out, those of the neutral face are marked.

    Raises:
        FormatError: a file is damaged, or a newer version wrote it.
    """
    for name, video in read_tracked_videos(folder).items():
        for sequence in read_own_recording(folder / f"{name}.jsonl"):
            time = sequence.params.time
            found = sequence.params.found & ~_frames_at(time, video.bad_times)
            yield replace(
                sequence,
                subject=folder.name,
                source=f"tracked {sequence.source}",
                params=replace(sequence.params, found=found),
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
