"""What can be decided about a subject only once all of it is written: which columns there are, and what is rest.

Files are read again in batches and written anew, so that memory does not grow with their length.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mp2flame.dataset.store import columns_of, is_neutral_file, neutral_file, pieces_of
from mp2flame.dataset.table import FrameTable
from mp2flame.dataset.writer import write_rows

__all__ = ["finalize_subject"]

Float64 = NDArray[np.float64]

_REST_FRAMES = 10


def finalize_subject(folder: Path, subject: str, *, estimate_neutral: bool) -> int:
    """Give all files of a subject the columns that each has, and mark rest frames where there are none.

    Args:
        folder: the subject's.
        subject: whose.
        estimate_neutral: mark the calmest frames where no frame is marked.

    Returns:
        How many frames were marked.
    """
    files = sorted(folder.glob("*.parquet"))
    columns = sorted(set.intersection(*(set(columns_of(file)) for file in files)))
    calm: dict[Path, list[int]] = {}
    if estimate_neutral and not any(is_neutral_file(file) for file in files):
        calm = _calmest(files, subject, columns)
    for file in files:
        if calm.get(file) or len(columns_of(file)) > len(columns):
            _rewrite(file, subject, columns, calm.get(file, []))
    return sum(len(numbers) for numbers in calm.values())


def _batches(file: Path, subject: str, columns: Sequence[str]) -> Iterator[tuple[int, FrameTable]]:
    """A file's rows, with the number of the first of each batch."""
    start = 0
    for piece in pieces_of(file, subject):
        for rows in piece.batches(columns, threads=True):
            yield start, rows
            start += len(rows)


def _rewrite(file: Path, subject: str, columns: Sequence[str], calm: list[int]) -> None:
    neutral: list[FrameTable] = []

    def others() -> Iterator[FrameTable]:
        for start, rows in _batches(file, subject, columns):
            marked = np.isin(np.arange(start, start + len(rows)), calm)
            if marked.any():
                neutral.append(rows[np.flatnonzero(marked)].as_neutral())
            yield rows[np.flatnonzero(~marked)] if marked.any() else rows

    new = file.with_name(f"new-{file.name}")
    write_rows(new, others())
    file.unlink()
    if new.exists():
        new.rename(file)
    if neutral:
        write_rows(neutral_file(file), neutral)


def _calmest(files: Sequence[Path], subject: str, columns: Sequence[str]) -> dict[Path, list[int]]:
    """The usable frames whose parameters are nearest to zero, in units of their spread; at most a tenth of them."""
    count, spread = _spread(files, subject, columns)
    keep = min(_REST_FRAMES, max(1, count // 10)) if count else 0
    moving = spread > 0
    sizes: Float64 = np.zeros(0)
    places: list[tuple[Path, int]] = []
    for file in files:
        for start, rows in _batches(file, subject, columns):
            good = np.flatnonzero(rows.usable)
            size = np.square(rows.parameters[good][:, moving] / spread[moving]).sum(axis=1)
            sizes = np.concatenate([sizes, size])
            places += [(file, start + int(number)) for number in good]
            best = np.argsort(sizes, kind="stable")[:keep]
            sizes, places = sizes[best], [places[number] for number in best]
    calm: dict[Path, list[int]] = {}
    for file, number in places:
        calm.setdefault(file, []).append(number)
    return calm


def _spread(files: Sequence[Path], subject: str, columns: Sequence[str]) -> tuple[int, Float64]:
    """How many usable frames there are, and the standard deviation of each of their parameters."""
    count, first = 0, None
    sums = squares = np.zeros(0)
    for file in files:
        for _, rows in _batches(file, subject, columns):
            values = rows.parameters[rows.usable].astype(np.float64)
            if first is None and len(values):
                first = values[0].copy()
                sums, squares = np.zeros_like(first), np.zeros_like(first)
            if first is not None and len(values):
                # From the first frame on, so that a parameter that never moves has no spread at all.
                values -= first
                count += len(values)
                sums, squares = sums + values.sum(axis=0), squares + (values**2).sum(axis=0)
    if not count:
        return 0, sums
    return count, np.sqrt(np.maximum(squares / count - (sums / count) ** 2, 0))
