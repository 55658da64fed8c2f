"""CSV: one row for each frame under named columns, for spreadsheets and pandas.

    time, found, expression_0 ..., jaw_pose_x ... translation_z, [shape_0 ...], then MediaPipe's blendshape names

Numbers have nine digits, enough to get the same float32 back. Cells of a frame without a face are empty.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mp2flame.blendshapes import MEDIAPIPE
from mp2flame.data import FlameParams, Float32
from mp2flame.errors import FormatError, InputError
from mp2flame.files import AtomicFile, write_errors
from mp2flame.formats.writer import ParamsWriter

__all__ = ["CsvWriter", "read_csv"]

_POSES = ("jaw_pose", "neck_pose", "global_orient", "leye_pose", "reye_pose", "translation")


def _columns(name: str, width: int) -> list[str]:
    return [f"{name}_{axis}" for axis in ("xyz" if name in _POSES else range(width))]


def _cells(values: NDArray[Any]) -> list[str]:
    return ["" if math.isnan(value) else f"{value:.9g}" for value in values.tolist()]


class CsvWriter(ParamsWriter):
    """Writes the table row by row into a temporary sibling. Score columns are there if the first frame brings scores.

    Args:
        path: the final name.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._part = AtomicFile(path)
        with write_errors(path, "nothing was written"):
            self._file = self._part.temporary.open("w", encoding="utf-8", newline="")
        self._rows = csv.writer(self._file, lineterminator="\n")
        self._n_expression: int | None = None
        self._with_scores = False
        self._shape: list[str] = []

    def _write(self, params: FlameParams, scores: Float32 | None) -> None:
        if self._n_expression is None:
            self._begin(params, scores)
        if params.n_expression != self._n_expression:
            raise InputError(f"expected {self._n_expression} expression coefficients; got {params.n_expression}")
        values = [params.expression, *(getattr(params, name) for name in _POSES)]
        for row in range(len(params)):
            cells = [cell for field in values for cell in _cells(field[row])]
            cells += self._shape
            if self._with_scores:
                cells += [""] * len(MEDIAPIPE) if scores is None else _cells(scores[row])
            self._rows.writerow([repr(float(params.time[row])), int(params.found[row]), *cells])

    def _begin(self, params: FlameParams, scores: Float32 | None) -> None:
        self._n_expression = params.n_expression
        self._with_scores = scores is not None
        shape = np.zeros(0) if params.shape is None else params.shape
        self._shape = _cells(shape)
        header = ["time", "found", *_columns("expression", params.n_expression)]
        for name in _POSES:
            header += _columns(name, 3)
        header += _columns("shape", len(shape))
        self._rows.writerow(header + (list(MEDIAPIPE) if self._with_scores else []))

    def _publish(self) -> None:
        self._file.close()
        self._part.publish()

    def _discard(self) -> None:
        # On a full disk even closing fails, and there is nothing left to save.
        with suppress(OSError):
            self._file.close()
        self._part.discard()


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
            n_expression = _count(header)
            if "time" not in place or n_expression == 0 or len(place) != len(header):
                raise FormatError(
                    f"{path}: expected a table with the columns time, found, expression_0 and so on; got "
                    f"{', '.join(header[:4]) or 'nothing'} (a Live Link Face CSV is a source: mp2flame drive {path})"
                )
            table = _numbers(lines, len(header), path)
    except (UnicodeDecodeError, csv.Error) as error:
        raise FormatError(f"{path} is no CSV table: {error}") from error
    return _params(table, place, n_expression, path)


def _count(header: Sequence[str]) -> int:
    names = set(header)
    count = 0
    while f"expression_{count}" in names:
        count += 1
    return count


def _numbers(lines: Any, width: int, path: Path) -> NDArray[np.float64]:
    table: list[NDArray[np.float64]] = []
    for cells in lines:
        if len(cells) != width:
            raise FormatError(f"{path}, line {lines.line_num}: expected {width} cells; got {len(cells)}")
        try:
            table.append(np.array([float(cell) if cell else math.nan for cell in cells]))
        except ValueError as error:
            raise FormatError(f"{path}, line {lines.line_num}: expected numbers; {error}") from error
    if not table:
        raise FormatError(f"{path}: expected at least one row; got none")
    return np.stack(table)


def _params(table: NDArray[np.float64], place: dict[str, int], n_expression: int, path: Path) -> FlameParams:
    def block(names: list[str]) -> NDArray[np.float32]:
        absent = [name for name in names if name not in place]
        if absent:
            raise FormatError(f"{path}: expected the columns {', '.join(names)}; got no {', '.join(absent)}")
        return table[:, [place[name] for name in names]].astype(np.float32)

    found = table[:, place["found"]] == 1 if "found" in place else np.ones(len(table), dtype=np.bool_)
    n_shape = sum(name.startswith("shape_") for name in place)
    try:
        # What is too large for float32 becomes infinite, and is refused with a sentence.
        with np.errstate(over="ignore"):
            poses = {name: block(_columns(name, 3)) for name in _POSES if f"{name}_x" in place}
            return FlameParams(
                time=table[:, place["time"]],
                found=found,
                expression=block(_columns("expression", n_expression)),
                shape=block(_columns("shape", n_shape))[0] if n_shape else None,
                **poses,
            )
    except InputError as error:
        raise FormatError(f"{path}: {error}") from error
