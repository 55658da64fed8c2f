"""The folders that `mp2flame track` writes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mp2flame.dataset.readers.base import TrackedSequence
from mp2flame.dataset.readers.paired import read_own_recording
from mp2flame.errors import FormatError
from mp2flame.tracking.results import FORMAT, PERSON_FILE, VERSION

__all__ = ["PERSON_FILE", "is_tracked_person", "read_tracked_person"]


def is_tracked_person(folder: Path) -> bool:
    """Whether a folder holds a tracked person."""
    return (folder / PERSON_FILE).is_file()


def read_tracked_person(folder: Path) -> Iterator[TrackedSequence]:
    """Every video of a person; frames that fit badly are left out, those at rest are marked.

    Raises:
        FormatError: a file is damaged, or a newer version wrote it.
    """
    path = folder / PERSON_FILE
    try:
        told: dict[str, Any] = json.loads(path.read_bytes())
        if told["format"] != FORMAT or int(told["format_version"]) > VERSION:
            raise FormatError(
                f"{path}: expected {FORMAT}, version {VERSION}; got {told['format']}, {told['format_version']}"
            )
        videos = [
            (str(name), list(entry["rest_times"]), list(entry["bad_times"])) for name, entry in told["videos"].items()
        ]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"{path} is damaged: {error!r}") from error
    for name, rest, bad in videos:
        for sequence in read_own_recording(folder / f"{name}.jsonl"):
            yield _marked(sequence, folder.name, rest, bad)


def _marked(sequence: TrackedSequence, subject: str, rest: list[float], bad: list[float]) -> TrackedSequence:
    at_rest, dropped = (np.isin(sequence.params.time, times) for times in (rest, bad))
    found = sequence.params.found & ~dropped
    params = replace(sequence.params, found=found)
    return replace(sequence, subject=subject, source=f"tracked {sequence.source}", params=params, rest=at_rest & found)
