"""A data set on disk: Parquet, one folder for each subject, one row for each frame. See docs/dataset.md."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote

import numpy as np
from numpy.typing import NDArray

from mp2flame.dataset.table import WIDTHS, FrameTable, concatenate_tables
from mp2flame.errors import FormatError, InputError, MissingExtraError, MissingFileError

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError as error:  # pragma: no cover - exercised by the bare-install test
    raise MissingExtraError("pyarrow", "train", "read and write data sets") from error

__all__ = [
    "FORMAT",
    "VERSION",
    "Dataset",
    "Piece",
    "arrow_table",
    "columns_of",
    "is_neutral_file",
    "neutral_file",
    "pieces_of",
    "subject_folder",
]

FORMAT: Final = "mp2flame-dataset"
VERSION: Final = 1
_MANIFEST: Final = "dataset.json"
_SUBJECT: Final = "subject="
_REST: Final = "rest-"
# A batch is in memory once for each thread that reads; memory of larger ones goes back to the system after each, and
# asking for it again takes a third as long as decoding.
_BATCH_BYTES: Final = 12 << 20
_INDEX: Final = ("sequence", "frame", "time", "found", "rest", "image_size")


def subject_folder(subject: str) -> str:
    """The name of a subject's folder, as Hive partitions are named: `subject=<name>`, percent-encoded."""
    return _SUBJECT + quote(subject, safe=" ()+,")


def arrow_table(rows: FrameTable) -> pa.Table:
    """The rows as an Arrow table: fixed-size lists of float32 for columns of several numbers."""
    n = len(rows)
    size = None if rows.image_size is None else pa.array([list(rows.image_size)] * n, pa.list_(pa.int32(), 2))
    arrays: dict[str, Any] = {
        "sequence": pa.array(rows.sequence.tolist(), pa.string()).dictionary_encode(),
        "frame": pa.array(rows.frame, pa.int64()),
        "time": pa.array(rows.time, pa.float64()),
        "found": pa.array(rows.found),
        "rest": pa.array(rows.neutral),
        "image_size": size if size is not None else pa.nulls(n, pa.list_(pa.int32(), 2)),
    }
    for name, column in rows.columns.items():
        flat = pa.array(np.ascontiguousarray(column, dtype=np.float32).reshape(-1))
        arrays[name] = pa.FixedSizeListArray.from_arrays(flat, column.shape[1])
    return pa.table(arrays)


class Dataset:
    """A data set folder, opened for reading.

    Args:
        path: the folder that `mp2flame dataset build` wrote.

    Raises:
        MissingFileError: there is no such folder.
        FormatError: it is no data set, or a newer version wrote it.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_dir():
            raise MissingFileError(
                f"no data set folder {self.path}; make one with: mp2flame dataset build INPUT -o DIR"
            )
        self.metadata = _manifest(self.path)
        folders = sorted(entry for entry in self.path.iterdir() if entry.name.startswith(_SUBJECT))
        self._folders = {unquote(folder.name[len(_SUBJECT) :]): folder for folder in folders}
        if not self._folders:
            raise FormatError(f"{self.path} holds no subject: expected folders named {_SUBJECT}<name>")

    @property
    def subjects(self) -> tuple[str, ...]:
        """The subjects' names, sorted."""
        return tuple(sorted(self._folders))

    @property
    def n_expression(self) -> int:
        """E, the number of expression coefficients of every frame."""
        return int(self.metadata["n_expression"])

    @property
    def head_version(self) -> str | None:
        """The version of the head that the parameters are for, in words; None where it was not stated."""
        return self.metadata.get("head_version") or None

    def files(self, subject: str, *, neutral: bool | None = None) -> list[Path]:
        """A subject's Parquet files; only those of rest frames, or only the others, or all for None.

        Raises:
            InputError: there is no such subject.
        """
        if subject not in self._folders:
            raise InputError(f"expected a subject among {', '.join(self.subjects[:20])}; got {subject!r}")
        files = sorted(self._folders[subject].glob("*.parquet"))
        return [file for file in files if neutral is None or is_neutral_file(file) == neutral]

    def has_column(self, name: str) -> bool:
        """Whether every subject has this column."""
        return all(name in pq.read_schema(file).names for s in self.subjects for file in self.files(s)[:1])

    def batches(
        self, columns: Sequence[str], *, subjects: Sequence[str] | None = None, neutral: bool | None = False
    ) -> Iterator[FrameTable]:
        """The frames in batches of one subject each, in a fixed order; memory does not grow with their number.

        Args:
            columns: which columns of numbers to read.
            subjects: whose frames; None for everybody's.
            neutral: True for neutral frames only, False for all others, None for both.

        Raises:
            FormatError: a file is truncated, or lacks a column.
        """
        for piece in self.pieces(subjects=subjects, neutral=neutral):
            yield from piece.batches(columns, threads=True)

    def pieces(self, *, subjects: Sequence[str] | None = None, neutral: bool | None = False) -> Iterator[Piece]:
        """The same frames as `batches` has, as parts of files that threads can read beside each other.

        Raises:
            FormatError: a file is truncated.
        """
        for subject in self.subjects if subjects is None else subjects:
            for file in self.files(subject, neutral=neutral):
                yield from pieces_of(file, subject)

    def neutral(self, subject: str, columns: Sequence[str]) -> FrameTable | None:
        """The subject's rest frames that are usable; None where there is none."""
        parts = [rows[rows.usable] for rows in self.batches(columns, subjects=[subject], neutral=True)]
        parts = [part for part in parts if len(part)]
        return concatenate_tables(parts) if parts else None


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / _MANIFEST
    if not path.is_file():
        raise FormatError(f"{folder} is no data set: it has no {_MANIFEST}; make one with: mp2flame dataset build")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        known = manifest["format"] == FORMAT and int(manifest["n_expression"]) > 0
        version = int(manifest["format_version"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise FormatError(f"{path} is damaged: {error!r}") from error
    if not known or version < 1:
        raise FormatError(f"{path} does not describe a data set")
    if version > VERSION:
        raise FormatError(
            f"{path} has version {version}; this mp2flame reads {VERSION}: pip install --upgrade mp2flame"
        )
    return dict(manifest)


@dataclass(frozen=True)
class Piece:
    """A row group of a subject's file."""

    file: Path
    subject: str
    group: int

    def batches(self, columns: Sequence[str], *, threads: bool = False) -> Iterator[FrameTable]:
        """Its frames, in batches of bounded size.

        Args:
            columns: which columns of numbers to read.
            threads: decode the columns beside each other, for a caller that has no threads of its own.

        Raises:
            FormatError: the file is truncated, or lacks a column.
        """
        with _told(self.file), pq.ParquetFile(self.file, memory_map=True) as parquet:
            missing = [name for name in (*_INDEX, *columns) if name not in parquet.schema_arrow.names]
            if missing:
                raise FormatError(
                    f"{self.file} lacks {', '.join(missing)}: build the data set again with what has them"
                )
            read = [*_INDEX, *columns]
            width = sum(getattr(parquet.schema_arrow.field(name).type, "list_size", 1) for name in read)
            size = max(1, _BATCH_BYTES // (4 * width))
            for batch in parquet.iter_batches(size, row_groups=[self.group], columns=read, use_threads=threads):
                yield _rows(batch, self.subject, columns)


def pieces_of(file: Path, subject: str) -> Iterator[Piece]:
    """The row groups of one file.

    Raises:
        FormatError: it is truncated.
    """
    with _told(file):
        groups = pq.read_metadata(file).num_row_groups
    for group in range(groups):
        yield Piece(file, subject, group)


def columns_of(file: Path) -> list[str]:
    """The names of a file's columns of numbers."""
    with _told(file):
        return [name for name in pq.read_schema(file).names if name not in _INDEX]


def is_neutral_file(file: Path) -> bool:
    """Whether a file of a subject holds frames at rest; otherwise it holds all others."""
    return file.name.startswith(_REST)


def neutral_file(file: Path) -> Path:
    """The file of the rest frames that are from the same recording as the frames in `file`."""
    return file.with_name(_REST + file.name.partition("-")[2])


@contextmanager
def _told(file: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise FormatError(f"{file} is truncated or no Parquet file: {error}") from error


def _rows(batch: pa.RecordBatch, subject: str, columns: Sequence[str]) -> FrameTable:
    size = batch.column("image_size")
    first = size[0].as_py() if len(size) else None
    return FrameTable(
        subject=subject,
        sequence=_strings(batch.column("sequence")),
        frame=batch.column("frame").to_numpy(),
        time=batch.column("time").to_numpy(),
        found=batch.column("found").to_numpy(zero_copy_only=False),
        neutral=batch.column("rest").to_numpy(zero_copy_only=False),
        columns={name: _matrix(batch.column(name)) for name in columns},
        image_size=None if first is None else (first[0], first[1]),
    )


def _strings(column: pa.Array) -> NDArray[np.object_]:
    """The strings, each name one object however often it comes."""
    coded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    names = np.array(coded.dictionary.to_pylist(), dtype=np.object_)
    chosen: NDArray[np.object_] = names[coded.indices.to_numpy()]
    return chosen


def _matrix(column: pa.FixedSizeListArray) -> NDArray[np.float32]:
    """A view of the column's own memory, (N, width)."""
    values: NDArray[np.float32] = column.flatten().to_numpy(zero_copy_only=True)
    return values.reshape(-1, column.type.list_size)


def check_columns(rows: FrameTable, n_expression: int) -> None:
    """Refuse rows whose columns do not have the widths of the format.

    Raises:
        InputError: naming the column.
    """
    widths = {**WIDTHS, "expression": n_expression}
    for name, column in rows.columns.items():
        if name not in widths or column.shape != (len(rows), widths[name]):
            raise InputError(f"expected {name} with {widths.get(name)} numbers for each frame; got {column.shape}")
