"""CSV: one row for each frame under named columns, for spreadsheets and pandas.

    time, found, expression_0 ..., jaw_pose_x ... translation_z, [shape_0 ...], then MediaPipe's blendshape names

Numbers have nine digits, enough to get the same float32 back. Cells of a frame without a face are empty.
"""

from __future__ import annotations

import csv
import math
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from mp2flame.blendshapes import MEDIAPIPE
from mp2flame.data import FlameParams, Float32, HeadLike
from mp2flame.errors import FormatError, InputError, plain
from mp2flame.files import AtomicFile, write_errors
from mp2flame.formats.base import FILE_VECTORS, ParamsSink


def _columns(name: str, width: int) -> list[str]:
    return [f"{name}_{axis}" for axis in ("xyz" if name in FILE_VECTORS else range(width))]


def _cells(values: NDArray[Any]) -> list[str]:
    return ["" if math.isnan(value) else f"{value:.9g}" for value in values.tolist()]


class CsvSink(ParamsSink):
    """Writes the table row by row. Score columns are there if the first frame brings scores."""

    def __init__(self, path: str | Path, *, head: HeadLike | None = None) -> None:
        super().__init__(path, head=head)
        self._file = AtomicFile(self.path)
        with write_errors(self.path, "nothing was written"):
            self._text = self._file.temporary.open("w", encoding="utf-8", newline="")
        self._rows = csv.writer(self._text, lineterminator="\n")
        self._with_scores = False
        self._shape: list[str] = []

    @override
    def _append(self, params: FlameParams, scores: Float32 | None) -> None:
        if self.n_frames == 0:
            self._write_header(params, with_scores=scores is not None)
        values = params.to_rows(FILE_VECTORS)
        for row in range(len(params)):
            cells = _cells(values[row]) + self._shape
            if self._with_scores:
                cells += [""] * len(MEDIAPIPE) if scores is None else _cells(scores[row])
            self._rows.writerow([repr(float(params.time[row])), int(params.found[row]), *cells])

    def _write_header(self, params: FlameParams, *, with_scores: bool) -> None:
        self._with_scores = with_scores
        self._shape = [] if params.shape is None else _cells(params.shape)
        header = ["time", "found", *_columns("expression", params.n_expression)]
        for name in FILE_VECTORS:
            header += _columns(name, 3)
        header += _columns("shape", len(self._shape))
        self._rows.writerow(header + (list(MEDIAPIPE) if with_scores else []))

    @override
    def _publish(self) -> None:
        self._text.close()
        self._file.publish()

    @override
    def _discard(self) -> None:
        # On a full disk even closing fails, and there is nothing left to save.
        with suppress(OSError):
            self._text.close()
        self._file.discard()


def read_csv(path: Path) -> FlameParams:
    """The parameters of a table written by this package; columns may be in any order, and poses may be absent.

    Raises:
        FormatError: no such table, a row of another length, or a cell that is no number.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file)
            header = next(lines, [])
            place = {name: index for index, name in enumerate(header)}
            if not {"time", "expression_0"} <= set(place) or len(place) != len(header):
                raise FormatError(
                    f"{path}: expected a table with the columns time, found, expression_0 and so on; got "
                    f"{plain(', '.join(header[:4])) or 'nothing'} "
                    f"(a Live Link Face CSV is a source: mp2flame drive {path})"
                )
            table = np.array([_numbers(cells, len(header), f"{path}, line {lines.line_num}") for cells in lines])
    except (UnicodeDecodeError, csv.Error) as error:
        raise FormatError(f"{path} is no CSV table: {error}") from error
    if not len(table):
        raise FormatError(f"{path}: expected at least one row; got none")

    def block(name: str, width: int) -> NDArray[np.float64]:
        names = _columns(name, width)
        absent = [name for name in names if name not in place]
        if absent:
            raise FormatError(f"{path}: expected the columns {', '.join(names)}; got no {', '.join(absent)}")
        columns: NDArray[np.float64] = table[:, [place[name] for name in names]]
        return columns

    n_expression, n_shape = (
        next(number for number in count() if f"{name}_{number}" not in place) for name in ("expression", "shape")
    )
    try:
        return FlameParams(
            time=table[:, place["time"]],
            found=table[:, place["found"]] == 1 if "found" in place else np.ones(len(table), dtype=np.bool_),
            expression=block("expression", n_expression),
            shape=block("shape", n_shape)[0] if n_shape else None,
            **{name: block(name, 3) for name in FILE_VECTORS if f"{name}_x" in place},
        )
    except InputError as error:
        raise FormatError(f"{path}: {error}") from error


def _numbers(cells: list[str], width: int, where: str) -> NDArray[np.float64]:
    if len(cells) != width:
        raise FormatError(f"{where}: expected {width} cells; got {len(cells)}")
    try:
        return np.array([float(cell) if cell else math.nan for cell in cells])
    except ValueError as error:
        raise FormatError(f"{where}: expected numbers; {plain(error)}") from error
