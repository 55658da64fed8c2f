"""Checkpoints of metrical-tracker and INSTA: `.frame` files, which PyTorch writes, read without it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mp2flame import rotations
from mp2flame.data import FlameParams
from mp2flame.dataset.readers.base import (
    TrackedSequence,
    nearby_images,
    params_of,
    sequence_of_frames,
    trailing_number,
)
from mp2flame.errors import FormatError, plain
from mp2flame.files import read_bounded, read_zip_member
from mp2flame.head.safe_pickle import arrays, read_pickle
from mp2flame.sources.images import list_images

Float32 = NDArray[np.float32]

_MAX_BYTES: Final = 64 << 20
"""A checkpoint has some 100 kB; the tracker's full one with the optimizer's state a few megabytes."""


def read_checkpoints(folder: Path, images: Path | None) -> Iterator[TrackedSequence]:
    """metrical-tracker's and INSTA's `.frame` files, read without PyTorch and without running anything in them.

    Rotations are stored as the first two rows of their matrices. The eyelids' two numbers, which no FLAME coefficient
    stands for, are left out.

    Raises:
        FormatError: a file is damaged or of another layout.
        UnsafePickleError: a file names anything but plain arrays.
    """
    files = sorted(folder.glob("*.frame"), key=lambda path: trailing_number(path.name))
    parts = [_read_checkpoint(path) for path in files]
    subject = folder.parent if folder.name == "checkpoint" else folder
    place = images or nearby_images(subject)
    found = {trailing_number(path.name): path for path in list_images(place)}
    numbers = [trailing_number(path.name) for path in files]
    yield sequence_of_frames(
        parts,
        numbers,
        [found.get(number, place / f"{number:05d}.png") for number in numbers],
        subject=subject.name,
        name="frames",
        source=f"metrical-tracker {folder}",
    )


def _read_checkpoint(path: Path) -> FlameParams:
    data = read_bounded(path, ".frame file", limit=_MAX_BYTES)
    if data[:2] == b"PK":
        # torch.save since 1.6: a zip archive with the pickle and, for tensors, their storages.
        data = read_zip_member(path, "data.pkl", ".frame file", limit=_MAX_BYTES) or b""
    content = read_pickle(data, str(path))
    flame = content.get("flame") if isinstance(content, dict) else None
    if not isinstance(flame, dict):
        raise FormatError(f"{path}: expected metrical-tracker's dictionary with `flame`")
    values = {}
    for name, width in (("exp", None), ("jaw", 6), ("eyes", 12)):
        if name not in flame:
            raise FormatError(f"{path}: expected flame.{name}; got {plain(', '.join(sorted(map(str, flame))))}")
        value = arrays({name: flame[name]}, str(path))[name].astype(np.float32)
        if value.ndim != 2 or len(value) != 1 or width not in (None, value.shape[1]):
            raise FormatError(f"{path}: flame.{name} must have shape (1, {width or 'E'}); got {value.shape}")
        values[name] = value
    turns = _from_two_rows(np.concatenate([values["jaw"], values["eyes"]], axis=1).reshape(3, 6))
    return params_of(np.zeros(1, dtype=np.int64), values["exp"], turns[:1], turns[1:].reshape(1, 6))


def _from_two_rows(six: Float32) -> Float32:
    """Axis-angle (n, 3) of rotations given by the first two rows of their matrices (n, 6) (Zhou et al. 2019)."""
    rows = six.reshape(-1, 2, 3).astype(np.float64)
    third = np.cross(rows[:, 0], rows[:, 1])[:, None]
    return rotations.nearest_axis_angle(np.concatenate([rows, third], axis=1)).astype(np.float32)
