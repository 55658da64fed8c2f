"""A data set on disk: Parquet, one folder for each subject, one row for each frame. See docs/formats/dataset.md."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote

import numpy as np
from numpy.typing import NDArray

from mp2flame.data import HeadLike
from mp2flame.dataset.table import WIDTHS, FrameTable, concatenate_tables
from mp2flame.errors import FormatError, HeadMismatchError, InputError, MissingExtraError, MissingFileError, plain
from mp2flame.files import read_bounded
from mp2flame.validation import check_header, check_number

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError as error:  # pragma: no cover - exercised by the bare-install test
    raise MissingExtraError("pyarrow", "train", "read and write data sets") from error

FORMAT: Final = "mp2flame-dataset"
VERSION: Final = 1
MANIFEST: Final = "dataset.json"
_MANIFEST_BYTES: Final = 64 << 20
_MAX_EXPRESSION: Final = 10_000
_SUBJECT: Final = "subject="
_NEUTRAL: Final = "rest-"
_BATCH_BYTES: Final = 12 << 20
"""Memory of larger batches goes back to the system after each, and asking for it again takes a third as long as
decoding."""
_INDEX: Final = {
    "sequence": pa.string(),
    "frame": pa.int64(),
    "time": pa.float64(),
    "found": pa.bool_(),
    "rest": pa.bool_(),
    "image_size": pa.list_(pa.int32(), 2),
    "video": pa.bool_(),
}
"""Columns that every file has; files of earlier versions have no `video`."""


def arrow_table(rows: FrameTable) -> pa.Table:
    """The rows as an Arrow table: fixed-size lists of float32 for columns of several numbers."""
    n = len(rows)
    sizes = pa.nulls(n, _INDEX["image_size"])
    if rows.image_size is not None:
        sizes = pa.array([list(rows.image_size)] * n, _INDEX["image_size"])
    arrays: dict[str, Any] = {
        "sequence": pa.array(rows.sequence.tolist(), pa.string()).dictionary_encode(),
        "frame": pa.array(rows.frame, pa.int64()),
        "time": pa.array(rows.time, pa.float64()),
        "found": pa.array(rows.found),
        "rest": pa.array(rows.neutral),
        "image_size": sizes,
        "video": pa.array(np.full(n, rows.video)),
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
        self.metadata = _read_manifest(self.path)
        folders = sorted(entry for entry in self.path.iterdir() if entry.name.startswith(_SUBJECT))
        self._folders = {unquote(folder.name[len(_SUBJECT) :]): folder for folder in folders}
        if not self._folders:
            raise FormatError(f"{self.path} holds no subject: expected folders named {_SUBJECT}<name>")

    @property
    def subjects(self) -> tuple[str, ...]:
        """The subjects' names, sorted."""
        return tuple(sorted(self._folders))

    @cached_property
    def n_expression(self) -> int:
        """E, the number of expression coefficients of every frame.

        Raises:
            FormatError: the manifest states another number than the files have.
        """
        stated = int(self.metadata["n_expression"])
        for file in (file for subject in self.subjects for file in self.files(subject)):
            _check_schema(file, read_schema(file), ["expression"], stated)
            break
        return stated

    @property
    def head_version(self) -> str | None:
        """The version of the head that the parameters are for, in words; None where it was not stated."""
        return self.metadata.get("head_version") or None

    def check_head(self, head: HeadLike) -> None:
        """Refuse a head that the parameters are not for.

        Raises:
            HeadMismatchError: the data set states another head.
            InputError: it has more expression coefficients than the head.
        """
        stated = str(self.metadata.get("head_hash") or "")
        if stated and stated != head.hash:
            raise HeadMismatchError(
                f"the data set's parameters are for {self.head_version or 'another head'} (hash {stated[:12]}); "
                f"the head given is {head.version} (hash {head.hash[:12]}): give the head that the data was tracked "
                "with"
            )
        if head.n_expression < self.n_expression:
            raise InputError(
                f"the data has {self.n_expression} expression coefficients and the head {head.n_expression}: "
                "give the head that the data was tracked with"
            )

    def files(self, subject: str, *, neutral: bool | None = None) -> list[Path]:
        """A subject's Parquet files; only those of neutral frames, or only the others, or all for None.

        Raises:
            InputError: there is no such subject.
        """
        if subject not in self._folders:
            raise InputError(f"expected a subject among {', '.join(self.subjects[:20])}; got {subject!r}")
        files = sorted(self._folders[subject].glob("*.parquet"))
        return [file for file in files if neutral is None or is_neutral_file(file) == neutral]

    def has_column(self, name: str) -> bool:
        """Whether every file has this column.

        Raises:
            FormatError: a file is truncated.
        """
        return all(name in read_schema(file).names for subject in self.subjects for file in self.files(subject))

    def count_rows(self) -> int:
        """Frames, without those of neutral faces, whether usable or not; nothing but the files' ends is read.

        Raises:
            FormatError: a file is truncated.
        """
        count = 0
        for file in (file for subject in self.subjects for file in self.files(subject, neutral=False)):
            with _read_errors(file):
                count += int(pq.read_metadata(file).num_rows)
        return count

    def batches(
        self, columns: Sequence[str], *, subjects: Sequence[str] | None = None, neutral: bool | None = False
    ) -> Iterator[FrameTable]:
        """The frames in batches of one file each, in a fixed order; memory does not grow with their number.

        Args:
            columns: which columns of numbers to read.
            subjects: whose frames; None for everybody's.
            neutral: True for neutral frames only, False for all others, None for both.

        Raises:
            FormatError: a file is damaged, or lacks a column.
        """
        for subject in self.subjects if subjects is None else subjects:
            for file in self.files(subject, neutral=neutral):
                yield from read_file(file, subject, columns, int(self.metadata["n_expression"]))

    def neutral(self, subject: str, columns: Sequence[str]) -> FrameTable | None:
        """The subject's neutral frames that are usable; None where there is none."""
        parts = [rows[rows.usable] for rows in self.batches(columns, subjects=[subject], neutral=True)]
        parts = [part for part in parts if len(part)]
        return concatenate_tables(parts) if parts else None


def subject_folder(subject: str) -> str:
    """The name of a subject's folder, as Hive partitions are named: `subject=<name>`, percent-encoded."""
    return _SUBJECT + quote(subject, safe=" ()+,")


def is_neutral_file(file: Path) -> bool:
    """Whether a file of a subject holds frames of the neutral face; otherwise it holds all others."""
    return file.name.startswith(_NEUTRAL)


def neutral_file(file: Path) -> Path:
    """The file of the neutral frames that are from the same recording as the frames in `file`."""
    return file.with_name(_NEUTRAL + file.name.partition("-")[2])


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not path.is_file():
        raise FormatError(f"{folder} is no data set: it has no {MANIFEST}; make one with: mp2flame dataset build")
    try:
        manifest = dict(json.loads(read_bounded(path, "data set's manifest", limit=_MANIFEST_BYTES)))
    except (ValueError, TypeError, RecursionError) as error:
        raise FormatError(f"{path} is damaged: {plain(error)}") from error
    check_header(manifest, expected=FORMAT, newest=VERSION, source=path)
    check_number(
        f"{path}: n_expression",
        manifest.get("n_expression"),
        at_least=1,
        at_most=_MAX_EXPRESSION,
        error=FormatError,
    )
    return manifest


@contextmanager
def _read_errors(file: Path) -> Iterator[None]:
    """Turn what a damaged file makes pyarrow and NumPy raise into a `FormatError`."""
    try:
        yield
    except FormatError:
        raise
    except (pa.ArrowException, OSError, ValueError, TypeError, AttributeError, MemoryError) as error:
        raise FormatError(f"{file} is truncated, damaged or no Parquet file: {plain(error)}") from error


def read_schema(file: Path) -> pa.Schema:
    """The names and types of a file's columns.

    Raises:
        FormatError: it is truncated or no Parquet file.
    """
    with _read_errors(file):
        return pq.read_schema(file)


def read_file(file: Path, subject: str, columns: Sequence[str], n_expression: int) -> Iterator[FrameTable]:
    """One file's frames, in batches of bounded size; checksums of its pages are verified where it has them.

    Raises:
        FormatError: it is damaged, or lacks a column.
    """
    with _read_errors(file), pq.ParquetFile(file, memory_map=True, page_checksum_verification=True) as parquet:
        schema = parquet.schema_arrow
        _check_schema(file, schema, columns, n_expression)
        names = [name for name in (*_INDEX, *columns) if name in schema.names]
        width = sum(getattr(schema.field(name).type, "list_size", 1) for name in names)
        for batch in parquet.iter_batches(max(1, _BATCH_BYTES // (4 * width)), columns=names):
            yield _frame_table(batch, subject, columns)


def _check_schema(file: Path, schema: pa.Schema, columns: Sequence[str], n_expression: int) -> None:
    widths = {**WIDTHS, "expression": n_expression}
    missing = [name for name in (*_INDEX, *columns) if name not in schema.names and name != "video"]
    if missing:
        raise FormatError(f"{file} lacks {', '.join(missing)}: build the data set again from inputs that have them")
    expected = _INDEX | {name: pa.list_(pa.float32(), widths[name]) for name in columns}
    for name, wanted in expected.items():
        found = schema.field(name).type if name in schema.names else wanted
        if pa.types.is_dictionary(found):
            found = found.value_type
        same = found.equals(wanted) or (
            pa.types.is_fixed_size_list(wanted)
            and pa.types.is_fixed_size_list(found)
            and (found.list_size, found.value_type) == (wanted.list_size, wanted.value_type)
        )
        if not same:
            raise FormatError(f"{file}: expected {name} as {wanted}; got {found}")


def _frame_table(batch: pa.RecordBatch, subject: str, columns: Sequence[str]) -> FrameTable:
    nulls = [name for name in batch.schema.names if name != "image_size" and batch.column(name).null_count]
    size = batch.column("image_size")[0].as_py()
    if nulls or (size is not None and min(size) < 1):
        raise ValueError(f"a value of {nulls[0]} is missing" if nulls else f"image_size is {size}")
    return FrameTable(
        subject=subject,
        sequence=_strings(batch.column("sequence")),
        frame=batch.column("frame").to_numpy(),
        time=batch.column("time").to_numpy(),
        found=batch.column("found").to_numpy(zero_copy_only=False),
        neutral=batch.column("rest").to_numpy(zero_copy_only=False),
        columns={name: _matrix(batch.column(name)) for name in columns},
        image_size=None if size is None else (size[0], size[1]),
        video="video" in batch.schema.names and bool(batch.column("video")[0].as_py()),
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
