"""Checkpoints of metrical-tracker and INSTA: `.frame` files, which torch writes, read without it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mp2flame import rotations
from mp2flame.data import FlameParams
from mp2flame.dataset.readers.base import TrackedSequence
from mp2flame.dataset.readers.images import pictures_beside, stacked, trailing_number
from mp2flame.errors import FormatError, plain
from mp2flame.files import read_bounded, read_zip_member
from mp2flame.head.safe_pickle import arrays, read_pickle
from mp2flame.sources.images import list_images

__all__ = ["read_checkpoints"]

Float32 = NDArray[np.float32]

_MAX_BYTES = 64 << 20


def read_checkpoints(folder: Path, pictures: Path | None) -> Iterator[TrackedSequence]:
    """metrical-tracker's and INSTA's `.frame` files, read without torch and without running anything in them.

    Rotations are stored as the first two rows of their matrices. The eyelids' two numbers, which no FLAME coefficient
    stands for, are left out.

    Raises:
        FormatError: a file is damaged or of another layout.
        UnsafePickleError: a file names anything but plain arrays.
    """
    files = sorted(folder.glob("*.frame"), key=lambda path: trailing_number(path.name))
    parts = [_checkpoint(path) for path in files]
    place = pictures or pictures_beside(folder.parent if folder.name == "checkpoint" else folder)
    found = {trailing_number(path.name): path for path in list_images(place)}
    numbers = [trailing_number(path.name) for path in files]
    subject = (folder.parent if folder.name == "checkpoint" else folder).name
    yield stacked(
        parts,
        subject=subject,
        name="frames",
        source=f"metrical-tracker {folder}",
        frame=numbers,
        pictures=[found.get(number, place / f"{number:05d}.png") for number in numbers],
    )


def _checkpoint(path: Path) -> FlameParams:
    flame = _flame_of(path)
    values = {}
    for name, width in (("exp", None), ("jaw", 6), ("eyes", 12)):
        if name not in flame:
            raise FormatError(f"{path}: expected flame.{name}; got {plain(', '.join(sorted(map(str, flame))))}")
        value = arrays({name: flame[name]}, str(path))[name].astype(np.float32)
        if value.ndim != 2 or len(value) != 1 or width not in (None, value.shape[1]):
            raise FormatError(f"{path}: flame.{name} must have shape (1, {width or 'E'}); got {value.shape}")
        values[name] = value
    turns = np.concatenate([values["jaw"], values["eyes"]], axis=1).reshape(3, 6)
    jaw, left, right = _from_two_rows(turns).astype(np.float32)
    found = np.array([np.isfinite(values["exp"]).all()])
    return FlameParams(
        time=np.zeros(1),
        found=found,
        expression=values["exp"],
        jaw_pose=jaw[None],
        leye_pose=left[None],
        reye_pose=right[None],
    )


def _flame_of(path: Path) -> dict[str, Any]:
    data = read_bounded(path, ".frame file", limit=_MAX_BYTES)
    if data[:2] == b"PK":
        # torch.save since 1.6: a zip with the pickle and, for tensors, their storages.
        data = read_zip_member(path, "data.pkl", ".frame file", limit=_MAX_BYTES) or b""
    content = read_pickle(data, str(path))
    flame = content.get("flame") if isinstance(content, dict) else None
    if not isinstance(flame, dict):
        raise FormatError(f"{path}: expected metrical-tracker's dictionary with `flame`")
    return flame


def _from_two_rows(six: Float32) -> NDArray[np.float64]:
    """Axis-angle (n, 3) of rotations given by the first two rows of their matrices (n, 6) (Zhou et al. 2019)."""
    rows = six.reshape(-1, 2, 3).astype(np.float64)
    third = np.cross(rows[:, 0], rows[:, 1])[:, None]
    return rotations.nearest_axis_angle(np.concatenate([rows, third], axis=1))
