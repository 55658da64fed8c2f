"""Results of IMAvatar and PointAvatar."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from mp2flame.dataset.readers.base import (
    TrackedSequence,
    image_named,
    sequence_of_frames,
    subject_of,
    trailing_number,
)
from mp2flame.files import LARGEST_JSON, read_bounded
from mp2flame.formats import load_params

FILE = "flame_params.json"


def read_imavatar(path: Path) -> Iterator[TrackedSequence]:
    """IMAvatar's and PointAvatar's `flame_params.json`; its images are named in it without their suffix.

    Raises:
        FormatError: it is damaged.
        MissingFileError: none of its images exists.
    """
    params = load_params(path)
    names = [
        str(entry.get("file_path", ""))
        for entry in json.loads(read_bounded(path, "parameter file", limit=LARGEST_JSON))["frames"]
    ]
    numbers = [trailing_number(name) for name in names]
    # load_params places frames by their numbers, with gaps.
    rows = [number - min(numbers) for number in numbers]
    if len(set(numbers)) != len(numbers) or max(rows) >= len(params):
        rows = list(range(len(names)))
    yield sequence_of_frames(
        [params[row] for row in rows],
        numbers,
        [image_named(path.parent / name) for name in names],
        subject=subject_of(path, "flame_params"),
        name=path.stem,
        source=f"IMAvatar {path}",
    )
