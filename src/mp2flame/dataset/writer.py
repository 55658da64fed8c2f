"""Writing a data set folder: all of it, or nothing under the final name."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mp2flame.dataset.store import (
    FORMAT,
    MANIFEST,
    VERSION,
    arrow_table,
    is_neutral_file,
    neutral_file,
    read_file,
    read_schema,
    subject_folder,
)
from mp2flame.dataset.table import PARAMETERS, WIDTHS, FrameTable
from mp2flame.errors import InputError
from mp2flame.files import AtomicFolder, write_errors

if TYPE_CHECKING:
    from typing_extensions import Self

_ROWS = 65_536
"""Of a row group; the writer holds about one in memory."""
_BYTES = 48 << 20
_NEUTRAL_FRAMES = 10


class DatasetWriter:
    """Takes frames of any subject in any order; `finish` gives the folder its name.

    Args:
        path: the folder to make; it must not hold anything yet.
        head_version: the head that the parameters are for, in words.
        head_hash: its hash, where known.

    Raises:
        MissingFileError: the folder around it does not exist.
        InputError: the folder is not empty.
    """

    def __init__(self, path: Path, *, head_version: str = "", head_hash: str = "") -> None:
        self._folder = AtomicFolder(path)
        self._head = {"head_version": head_version, "head_hash": head_hash}
        self._files = 0
        self._n_expression: int | None = None
        self.frames = 0
        """Frames written so far."""

    def set_head(self, version: str, digest: str) -> None:
        """State the head after all, once the inputs were read."""
        self._head = {"head_version": version, "head_hash": digest}

    def add(self, rows: FrameTable) -> None:
        """Write frames of one subject; neutral frames go to files of their own.

        Raises:
            InputError: a column is not as wide as it should be, or there are more or fewer coefficients than before.
            SinkError: they cannot be written.
        """
        width = rows.columns["expression"].shape[1]
        if self._n_expression not in (None, width):
            raise InputError(
                f"expected the same number of expression coefficients in the whole data set; got {self._n_expression} "
                f"and, for subject {rows.subject}, {width}: build one data set for each"
            )
        self._n_expression = width
        widths = {**WIDTHS, "expression": width}
        for name, column in rows.columns.items():
            if name not in widths or column.shape != (len(rows), widths[name]):
                raise InputError(f"expected {name} with {widths.get(name)} numbers for each frame; got {column.shape}")
        for kind, chosen in (("rest", rows.neutral), ("part", ~rows.neutral)):
            if chosen.any():
                self._write(rows if chosen.all() else rows[np.flatnonzero(chosen)], kind)

    def _write(self, rows: FrameTable, kind: str) -> None:
        folder = self._folder.temporary / subject_folder(rows.subject)
        with write_errors(self._folder.path, "nothing is kept of this data set"):
            folder.mkdir(exist_ok=True)
            _write_file(folder / f"{kind}-{self._files:05d}.parquet", [rows])
        self._files += 1
        self.frames += len(rows)

    def estimate_neutral(self, subject: str) -> int:
        """Mark the frames of a subject whose parameters are nearest to zero as neutral, unless some are marked already.

        Returns:
            How many frames were marked: at most ten, at most a tenth of those that are usable.

        Raises:
            SinkError: they cannot be written.
        """
        files = sorted((self._folder.temporary / subject_folder(subject)).glob("*.parquet"))
        if any(map(is_neutral_file, files)):
            return 0
        assert self._n_expression is not None, "the subject has frames"
        with write_errors(self._folder.path, "nothing is kept of this data set"):
            chosen = _nearest_to_zero(files, subject, self._n_expression)
            for file, numbers in chosen.items():
                _mark_neutral(file, subject, numbers, self._n_expression)
        return sum(len(numbers) for numbers in chosen.values())

    def finish(self, details: dict[str, Any]) -> None:
        """Write the manifest and publish the folder.

        Args:
            details: further entries of the manifest: `sources`, `left_out`.

        Raises:
            InputError: no frame was added.
            SinkError: it cannot be written.
        """
        if self._n_expression is None:
            raise InputError("no frame can be used: there is nothing to make a data set of")
        manifest = {
            "format": FORMAT,
            "format_version": VERSION,
            "n_expression": self._n_expression,
            "frames": self.frames,
            **self._head,
            **details,
        }
        with write_errors(self._folder.path, "nothing is kept of this data set"):
            text = json.dumps(manifest, indent=1, sort_keys=True)
            (self._folder.temporary / MANIFEST).write_text(text + "\n", encoding="utf-8")
            self._folder.publish()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._folder.discard()


def _write_file(path: Path, parts: Iterable[FrameTable]) -> None:
    """Write frames with columns alike to one file, in row groups of bounded size; without frames there is no file."""
    with ExitStack() as stack:
        file: pq.ParquetWriter | None = None
        for rows in parts:
            size = min(_ROWS, max(1, _BYTES // (4 * sum(column.shape[1] for column in rows.columns.values()))))
            for start in range(0, len(rows), size):
                table = arrow_table(rows[start : start + size])
                if file is None:
                    file = stack.enter_context(pq.ParquetWriter(path, table.schema, **_packing(table.schema)))
                file.write_table(table)


def _packing(schema: pa.Schema) -> dict[str, Any]:
    """Bytes of equal significance next to each other, then zstd, which halves float32 of faces; and checksums."""
    lists = [field.name for field in schema if pa.types.is_fixed_size_list(field.type)]
    return {
        "compression": "zstd",
        "compression_level": 1,
        "use_dictionary": ["sequence"],
        "use_byte_stream_split": [f"{name}.list.element" for name in lists if name != "image_size"],
        "write_statistics": False,
        "write_page_checksum": True,
    }


def _numbered(file: Path, subject: str, columns: Sequence[str], n_expression: int) -> Iterator[tuple[int, FrameTable]]:
    """A file's frames in batches, with the number of the first of each batch: memory does not grow with the file."""
    start = 0
    for rows in read_file(file, subject, columns, n_expression):
        yield start, rows
        start += len(rows)


def _nearest_to_zero(files: Sequence[Path], subject: str, n_expression: int) -> dict[Path, NDArray[np.intp]]:
    """The numbers of the frames whose parameters are nearest to zero, in units of their spread, by file."""
    columns = ["scores", *PARAMETERS]
    count, sums, squares = 0, np.zeros(1), np.zeros(1)
    for file in files:
        for _, rows in _numbered(file, subject, columns, n_expression):
            values = rows.parameters[rows.usable].astype(np.float64)
            count, sums, squares = count + len(values), sums + values.sum(0), squares + (values**2).sum(0)
    if not count:
        return {}
    mean_square = squares / count
    spread = np.sqrt(np.maximum(mean_square - (sums / count) ** 2, 0))
    moving = spread > 1e-6 * np.sqrt(mean_square)
    best: list[tuple[float, int, int]] = []
    for place, file in enumerate(files):
        for start, rows in _numbered(file, subject, columns, n_expression):
            usable = np.flatnonzero(rows.usable)
            sizes = np.square(rows.parameters[usable][:, moving] / spread[moving]).sum(axis=1)
            best += [(float(size), place, start + int(number)) for size, number in zip(sizes, usable, strict=True)]
            best = sorted(best)[: min(_NEUTRAL_FRAMES, max(1, count // 10))]
    chosen: dict[Path, list[int]] = {}
    for _, place, number in best:
        chosen.setdefault(files[place], []).append(number)
    return {file: np.array(numbers) for file, numbers in chosen.items()}


def _mark_neutral(file: Path, subject: str, numbers: NDArray[np.intp], n_expression: int) -> None:
    """Move the frames of these numbers to the file of neutral frames beside `file`."""
    columns = [name for name in read_schema(file).names if name in WIDTHS or name == "expression"]
    neutral: list[FrameTable] = []

    def others() -> Iterator[FrameTable]:
        for start, rows in _numbered(file, subject, columns, n_expression):
            marked = np.isin(np.arange(start, start + len(rows)), numbers)
            neutral.append(rows[np.flatnonzero(marked)].as_neutral())
            yield rows[np.flatnonzero(~marked)]

    rewritten = file.with_name(f"new-{file.name}")
    _write_file(rewritten, others())
    file.unlink()
    if rewritten.exists():
        rewritten.rename(file)
    _write_file(neutral_file(file), neutral)
