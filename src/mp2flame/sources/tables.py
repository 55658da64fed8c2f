"""Files of named blendshapes, one row a frame: Live Link Face's CSV and similar, BEAT's, EMAGE's and LAM's JSON."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Generator, Sequence
from fractions import Fraction
from itertools import pairwise
from math import isfinite, nan
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from typing_extensions import override

from mp2flame.blendshapes import ARKIT, MEDIAPIPE, canonical_name, order_names, reorder
from mp2flame.data import Observation
from mp2flame.errors import FormatError, InputError, plain
from mp2flame.files import check_regular
from mp2flame.sources.base import RisingTimes, Source, closed_error
from mp2flame.sources.face_packet import ANGLE_UNITS, checked_scores, distinct_names, head_from_angles
from mp2flame.validation import check_number

_MAX_BYTES: Final = 1 << 30
_MIN_NAMES: Final = 3
_TIMECODE: Final = re.compile(r"(\d{1,2}):(\d{1,2}):(\d{1,2})[:;](\d{1,3})(\.\d{1,9})?")
_HEAD_ANGLES: Final = ("headyaw", "headpitch", "headroll")
_DAY: Final = 86400


class TableSource(Source):
    """Frames of a file that is read whole.

    Args:
        moments: rising seconds of the frames; longer gaps than an hour are left out.
        step: seconds between frames, in place of such a gap.
        names: ARKit's names.
        scores: the scores of each frame, in the order of `names`.
        found: which frames have a face; by default all.
        heads: (4, 4) of each frame, if the file has them.
        fps: frames per second, if the file has a rate.
        warnings: sentences about the file.
    """

    def __init__(
        self,
        moments: Sequence[float],
        step: float,
        names: Sequence[str],
        scores: Sequence[Sequence[float]],
        *,
        found: Sequence[bool] | None = None,
        heads: Sequence[ArrayLike] = (),
        fps: float | None = None,
        warnings: Sequence[str] = (),
    ) -> None:
        times = RisingTimes(step)
        values = np.array(scores, dtype=np.float32)
        self._frames = Observation(
            time=[times(moment) for moment in moments],
            found=[True] * len(values) if found is None else found,
            scores=reorder(values, names, MEDIAPIPE),
            head_transform=np.array(heads, dtype=np.float32) if heads else None,
            tongue_out=values[:, list(names).index("tongueOut")] if "tongueOut" in names else None,
        )
        self._fps = fps
        self._warnings = (*warnings, *times.warnings())
        self._closed = False

    @property
    @override
    def n_frames(self) -> int | None:
        return len(self._frames)

    @property
    @override
    def fps(self) -> float | None:
        return self._fps

    @property
    @override
    def warnings(self) -> tuple[str, ...]:
        return self._warnings

    @override
    def __iter__(self) -> Generator[Observation, None, None]:
        if self._closed:
            raise closed_error()
        return self._observations()

    def _observations(self) -> Generator[Observation, None, None]:
        for frame in self._frames:
            if self._closed:
                return
            yield frame

    @override
    def close(self) -> None:
        self._closed = True


class BlendshapeCsvSource(TableSource):
    """The rows of a table whose header names blendshapes, in any casing and order.

    Times are those of the column `Timecode` (HH:MM:SS:FF.sub), else of the column `time` in seconds, else the row's
    number. Rows without values, as the app writes them when it finds no face, are frames without a face.

    Args:
        path: the file.
        fps: frames per second of the time code; by default 60, or 30 where no frame number reaches 30.
        angles: the unit of the head's angles: `radians`, `degrees` or `half-turns`.

    Raises:
        InputError: the unit is unknown, or the frame rate is out of range.
        MissingFileError: there is no such file.
        FormatError: the header names no blendshapes, a row has another width, or a value is not a number.
    """

    def __init__(self, path: str | Path, *, fps: float | None = None, angles: str = "radians") -> None:
        if angles not in ANGLE_UNITS:
            raise InputError(f"expected angles in {', '.join(ANGLE_UNITS)}; got {plain(repr(angles))}")
        rate = None if fps is None else float(exact_frame_rate(fps))
        table = _CsvTable(Path(path), ANGLE_UNITS[angles])
        if table.time_column == "time":
            rate = rate or 60.0
            moments = [number for cell in table.times if isfinite(number := _number(cell))]
        else:
            codes = [code for cell in table.times if (code := _TIMECODE.fullmatch(cell))]
            rate = rate or (60.0 if max((int(code[4]) for code in codes), default=60) >= 30 else 30.0)
            moments = _seconds(codes, rate)
        warnings = []
        if len(moments) != len(table.found) or any(later <= earlier for earlier, later in pairwise(moments)):
            moments = [row / rate for row in range(len(table.found))]
            warnings.append(f"{plain(path)} has no usable times, so its rows are taken as {rate:g} per second")
        super().__init__(
            moments,
            1 / rate,
            table.names,
            table.scores,
            found=table.found,
            heads=table.heads,
            fps=None if "time" in table.header else rate,
            warnings=warnings,
        )


class _CsvTable:
    """A table, read whole. Scores and heads of rows without a face are those of zeros."""

    def __init__(self, path: Path, unit: float) -> None:
        check_regular(path, "table", limit=_MAX_BYTES)
        self._unit = unit
        self.found: list[bool] = []
        self.times: list[str] = []
        self.scores: list[list[float]] = []
        self.heads: list[NDArray[np.float64]] = []
        try:
            with path.open(encoding="utf-8-sig", newline="") as file:
                reader = csv.reader(file)
                rows = (row for row in reader if any(cell.strip() for cell in row))
                self._read_header(next(rows, []), path)
                try:
                    for row in rows:
                        self._read_row(row)
                except UnicodeDecodeError:
                    raise
                except ValueError as error:
                    raise FormatError(f"{plain(path)}, line {reader.line_num}: {plain(error)}") from error
        except (UnicodeDecodeError, csv.Error) as error:
            raise FormatError(f"{plain(path)} is no table in UTF-8: {plain(error)}") from error
        except OSError as error:
            raise FormatError(f"{plain(path)} cannot be read: {error.strerror}") from error
        if not self.found:
            raise FormatError(f"{plain(path)} has a header but no rows")

    def _read_header(self, cells: Sequence[str], path: Path) -> None:
        if not cells:
            raise FormatError(f"{plain(path)} is empty; expected a header with blendshape names")
        self.header = [canonical_name(cell) or cell.strip().lower() for cell in cells]
        self.names = [name for name in self.header if name in ARKIT]
        if len(self.names) < _MIN_NAMES:
            raise FormatError(
                f"{plain(path)}: expected a header that names blendshapes such as EyeBlinkLeft; got {plain(cells[:4])}"
            )
        if len(set(self.names)) != len(self.names):
            raise FormatError(f"{plain(path)}: a blendshape has two columns")
        self._angles = _HEAD_ANGLES if {*_HEAD_ANGLES} <= {*self.header} else ()
        self.time_column = next((name for name in ("timecode", "time") if name in self.header), "")

    def _read_row(self, cells: Sequence[str]) -> None:
        row = dict(zip(self.header, map(str.strip, cells), strict=False))
        found = row.get("blendshapecount") not in ("", "0") and row.get("found") not in ("", "0", "False")
        if found and len(cells) != len(self.header):
            raise FormatError(f"expected {len(self.header)} columns; got {len(cells)}")
        scores = checked_scores((name, float(row[name]) if found else 0.0) for name in self.names)
        if self._angles:
            yaw, pitch, roll = (float(row[name]) if found else 0.0 for name in self._angles)
            self.heads.append(head_from_angles(yaw, pitch, roll, self._unit))
        self.scores.append(list(scores.values()))
        self.times.append(row.get(self.time_column, ""))
        self.found.append(found)


class BlendshapeJsonSource(TableSource):
    """Frames of a file `{"names": [...], "frames": [{"weights": [...], "time": ...}, ...]}`.

    Times are the frames' own. Where they are absent or do not rise, they are the frame's number at `fps`, or at the
    file's own `metadata.fps`. Head rotations, whose unit no document states, are not read.

    Args:
        path: the file.
        fps: frames per second where the file states no times.
        order: the order of the weights where the file does not name them: `beat`, `arkit`, `lam`, ...

    Raises:
        MissingFileError: there is no such file.
        FormatError: the file has another structure, or a weight is far out of 0..1.
        InputError: the file names no blendshapes and `order` is None, or it has no times and `fps` is None.
    """

    def __init__(self, path: str | Path, *, fps: float | None = None, order: str | None = None) -> None:
        path = Path(path)
        content = _load_json(path)
        frames, metadata = content.get("frames"), content.get("metadata")
        if not isinstance(frames, list) or not frames or not all(isinstance(frame, dict) for frame in frames):
            raise FormatError(
                f'{plain(path)}: expected a list "frames" of objects with "weights", as in files of BEAT or LAM'
            )
        metadata = metadata if isinstance(metadata, dict) else {}
        scores: list[dict[str, float]] = []
        try:
            names = _json_names(content.get("names") or metadata.get("blendshape_names"), order, frames[0])
            for frame in frames:
                scores.append(_frame_scores(frame, names))  # noqa: PERF401 - its length says which frame is broken
        except (FormatError, OverflowError) as error:
            raise FormatError(f"{plain(path)}, frame {len(scores)}: {plain(error)}") from error
        except InputError as error:
            raise InputError(f"{plain(path)}: {error}") from error
        moments, rate = _json_times(frames, metadata, fps, path)
        rows = [list(row.values()) for row in scores]
        super().__init__(moments, 1 / (rate or 30.0), list(scores[0]), rows, fps=rate)


def exact_frame_rate(fps: float) -> Fraction:
    """The frame rate as broadcasters write it: 30 is 30/1, 29.97 is 30000/1001; others to within 1/1001.

    Raises:
        InputError: not a number from 0.001 to 1000.
    """
    fps = check_number("the frame rate fps", fps, at_least=0.001, at_most=1000)
    nearest = round(fps)
    if nearest and abs(fps - nearest) < 1e-3:
        return Fraction(nearest)
    ntsc = Fraction(round(fps * 1.001) * 1000, 1001)
    if ntsc and abs(fps - float(ntsc)) < 5e-3:
        return ntsc
    return Fraction(fps).limit_denominator(1001)


def _seconds(codes: Sequence[re.Match[str]], rate: float) -> list[float]:
    """Seconds of time codes, rising through midnight."""
    # Seconds of a time code are counted in nominal frames: at 29.97 a minute lasts 60.06 s.
    nominal = max(1, round(rate))
    moments: list[float] = []
    midnights = 0
    for code in codes:
        hours, minutes, seconds, frame = (int(part) for part in code.groups()[:4])
        frames = ((midnights * 24 + hours) * 3600 + minutes * 60 + seconds) * nominal + frame + float(code[5] or 0)
        if moments and frames / rate < moments[-1] - _DAY / 2:
            midnights += 1
            frames += _DAY * nominal
        moments.append(frames / rate)
    return moments


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return nan


def _load_json(path: Path) -> dict[str, Any]:
    check_regular(path, "JSON file", limit=_MAX_BYTES)
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise FormatError(f"{plain(path)} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{plain(path)} is no JSON file, or is cut off: {plain(error)}") from error
    if not isinstance(content, dict):
        raise FormatError(f"{plain(path)}: expected an object; got {type(content).__name__}")
    return content


def _json_names(names: object, order: str | None, frame: dict[str, Any]) -> Sequence[str | None]:
    """ARKit's names in the order of the weights; None for other names."""
    if not names:
        width = len(_weights(frame))
        if order is None:
            raise InputError(
                f"the file does not name its {width} blendshapes: state their order "
                "(order='beat' for BEAT and EMAGE, 'lam' for LAM, 'arkit' for Apple's)"
            )
        return order_names(order, width)
    return distinct_names(names)


def _weights(frame: dict[str, Any]) -> list[float]:
    weights = frame.get("weights")
    if not isinstance(weights, list) or not set(map(type, weights)) <= {int, float}:
        raise FormatError('expected a list of numbers "weights"')
    return weights


def _frame_scores(frame: dict[str, Any], names: Sequence[str | None]) -> dict[str, float]:
    weights = _weights(frame)
    if len(weights) != len(names):
        raise FormatError(f"expected {len(names)} weights; got {len(weights)}")
    return checked_scores((name, value) for name, value in zip(names, weights, strict=True) if name is not None)


def _json_times(
    frames: Sequence[dict[str, Any]], metadata: dict[str, Any], fps: float | None, path: Path
) -> tuple[list[float], float | None]:
    """Seconds of the frames, and the frame rate where it is known."""
    rate = metadata.get("fps") if fps is None else check_number("fps", fps, above=0)
    if rate is not None:
        rate = check_number(f"{plain(path)}: the frame rate", rate, above=0, error=FormatError)
    stated: list[Any] = [frame.get("time") for frame in frames]
    if fps is None and set(map(type, stated)) <= {int, float}:
        # An integer may be too large for a float.
        times = np.array([min(max(moment, -1e300), 1e300) for moment in stated])
        if np.isfinite(times).all() and (np.diff(times) > 0).all():
            return (times - times[0]).tolist(), rate
    if rate is None:
        raise InputError(f"{plain(path)} has neither rising times nor a frame rate: state it (fps=60 for BEAT)")
    return [index / rate for index in range(len(frames))], rate
