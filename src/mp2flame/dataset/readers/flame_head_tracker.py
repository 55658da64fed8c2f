"""Results of flame-head-tracker 4: one `.npz` with scores and parameters for each frame."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mp2flame.dataset.readers.base import TrackedSequence, params_of
from mp2flame.errors import FormatError
from mp2flame.files import read_npz
from mp2flame.formats.foreign import numbered_files

Float32 = NDArray[np.float32]

MARK: Final = "blendshape_scores"
_WIDTHS: Final = {"exp": None, "jaw_pose": 3, "eye_pose": 6, MARK: 52}
"""What is read of a file, and how wide it is; the images inside are never decompressed."""


def read_head_tracker_folder(folder: Path) -> Iterator[TrackedSequence]:
    """flame-head-tracker's folder for a video: `{frame}.npz` with the scores of each frame, numbers from 0.

    Raises:
        FormatError: a file is truncated, or lacks something.
    """
    files = numbered_files(folder)
    rows = [_read_frame(path) for path in files]
    widths = {len(row["exp"]) for row in rows}
    if len(widths) > 1:
        raise FormatError(f"{folder}: expected the same number of coefficients in every file; got {sorted(widths)}")
    columns = {name: np.stack([row[name] for row in rows]) for name in _WIDTHS}
    frame = np.array([int(path.stem) for path in files])
    yield TrackedSequence(
        subject=folder.name,
        name=folder.name,
        source=f"flame-head-tracker {folder}",
        params=params_of(frame, columns["exp"], columns["jaw_pose"], columns["eye_pose"]),
        frame=frame,
        observed={"scores": columns[MARK]},
    )


def _read_frame(path: Path) -> dict[str, Float32]:
    arrays = read_npz(path, "flame-head-tracker's .npz", keys=_WIDTHS.keys())
    rows = {}
    for name, width in _WIDTHS.items():
        if name not in arrays:
            raise FormatError(f"{path} lacks {name}: expected a file of flame-head-tracker 4 (older ones have `pose`)")
        value = arrays[name]
        if value.ndim != 2 or len(value) != 1 or width not in (None, value.shape[1]) or value.dtype.kind not in "fiu":
            raise FormatError(f"{path}: {name} must have shape (1, {width or 'E'}); got {value.shape}")
        rows[name] = value[0].astype(np.float32)
    return rows
