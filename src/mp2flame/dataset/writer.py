"""Writing a data set folder: all of it, or nothing under the final name."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mp2flame.dataset.store import FORMAT, VERSION, arrow_table, check_columns, subject_folder
from mp2flame.dataset.table import FrameTable
from mp2flame.errors import InputError
from mp2flame.files import AtomicFolder, write_errors

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["DatasetWriter", "write_rows"]

# Of a row group: this writer, and every thread that reads, holds about one in memory.
_ROWS = 65_536
_BYTES = 48 << 20


class DatasetWriter:
    """Takes rows of any subject in any order; `finish` gives the folder its name.

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
        self._width: int | None = None
        self.frames = 0
        """FrameTable written so far."""

    def state_head(self, version: str, digest: str) -> None:
        """State the head after all, once the inputs were read."""
        self._head = {"head_version": version, "head_hash": digest}

    def add(self, rows: FrameTable) -> None:
        """Write rows of one subject; rest frames go to files of their own.

        Raises:
            InputError: a column is not as wide as it should be, or there are more or fewer coefficients than before.
            SinkError: they cannot be written.
        """
        width = rows.columns["expression"].shape[1]
        if self._width not in (None, width):
            raise InputError(
                f"expected the same number of expression coefficients in the whole data set; got {self._width} "
                f"and, for subject {rows.subject}, {width}: build one data set for each"
            )
        self._width = width
        check_columns(rows, width)
        for kind, chosen in (("rest", rows.neutral), ("part", ~rows.neutral)):
            if chosen.any():
                self._write(rows if chosen.all() else rows[np.flatnonzero(chosen)], kind)

    def _write(self, rows: FrameTable, kind: str) -> None:
        folder = self.part / subject_folder(rows.subject)
        with write_errors(self._folder.path, "nothing is kept of this data set"):
            folder.mkdir(exist_ok=True)
            write_rows(folder / f"{kind}-{self._files:05d}.parquet", [rows])
        self._files += 1
        self.frames += len(rows)

    @property
    def part(self) -> Path:
        """The folder that is written to until the data set has its name."""
        return self._folder.temporary

    def finish(self, notes: dict[str, Any]) -> None:
        """Write the manifest and publish the folder.

        Args:
            notes: what else to say in the manifest: `sources`, `left_out`.

        Raises:
            InputError: no row was added.
            SinkError: it cannot be written.
        """
        if self._width is None:
            raise InputError("no frame can be used: there is nothing to make a data set of")
        manifest = {
            "format": FORMAT,
            "format_version": VERSION,
            "n_expression": self._width,
            "frames": self.frames,
            **self._head,
            **notes,
        }
        with write_errors(self._folder.path, "nothing is kept of this data set"):
            text = json.dumps(manifest, indent=1, sort_keys=True)
            (self._folder.temporary / "dataset.json").write_text(text + "\n", encoding="utf-8")
            self._folder.publish()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._folder.discard()


def write_rows(path: Path, parts: Iterable[FrameTable]) -> None:
    """Write rows with columns alike to one file, in row groups of bounded size; without rows there is no file."""
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
    """Bytes of like weight next to each other, then zstd: float32 of faces takes half the space so."""
    lists = [field.name for field in schema if pa.types.is_fixed_size_list(field.type)]
    return {
        "compression": "zstd",
        "compression_level": 1,
        "use_dictionary": ["sequence"],
        "use_byte_stream_split": [f"{name}.list.element" for name in lists if name != "image_size"],
        "write_statistics": False,
    }
