"""Files of named blendshapes, one row a frame: Live Link Face's CSV and similar, BEAT's, EMAGE's and LAM's JSON."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from math import isfinite
from pathlib import Path
from typing import Any, Final

import numpy as np
from typing_extensions import override

from mp2flame.blendshapes import ARKIT, MEDIAPIPE, canonical_name, order_names, reorder
from mp2flame.data import Observation
from mp2flame.errors import FormatError, InputError, plain
from mp2flame.files import check_regular
from mp2flame.sources.base import RisingTimes, Source, closed_error
from mp2flame.sources.face_packet import ANGLE_UNITS, checked_scores, head_from_angles
from mp2flame.validation import check_number

_MAX_BYTES: Final = 1 << 30
_MIN_NAMES: Final = 3
_TIMECODE: Final = re.compile(r"(\d{1,2}):(\d{1,2}):(\d{1,2})[:;](\d{1,3})(\.\d{1,9})?")
_HEAD_ANGLES: Final = ("headyaw", "headpitch", "headroll")
_DAY: Final = 86400


class TableSource(Source):
    """Frames of a file that is read whole.

    Args:
        frames: all of them.
        fps: frames per second, where the file has a rate.
        warnings: sentences about the file.
    """

    def __init__(self, frames: Observation, fps: float | None, warnings: Sequence[str] = ()) -> None:
        self._frames = frames
        self._fps = fps
        self._warnings = tuple(warnings)
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
        path = Path(path)
        table = _Table(path, ANGLE_UNITS[angles])
        moments, rate = table.moments(None if fps is None else float(exact_frame_rate(fps)))
        warnings = []
        if moments is None:
            moments = [row / rate for row in range(len(table.found))]
            warnings.append(f"{plain(path)} has no usable times, so its rows are taken as {rate:g} per second")
        times = RisingTimes(1 / rate)
        frames = _batch([times(moment) for moment in moments], table.found, table.names, table.scores, table.heads)
        super().__init__(frames, None if table.has_seconds else rate, (*warnings, *times.warnings()))


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
        names = content.get("names") or metadata.get("blendshape_names")
        width = len(_weights(frames[0], path, 0))
        spelled = _known_names(names, path) if names else _stated_names(order, width, path)
        scores = []
        for index, frame in enumerate(frames):
            weights = _weights(frame, path, index)
            if len(weights) != len(spelled):
                raise FormatError(f"{plain(path)}, frame {index}: expected {len(spelled)} weights; got {len(weights)}")
            named = zip(spelled, weights, strict=True)
            try:
                scores.append(checked_scores((name, value) for name, value in named if name is not None))
            except (FormatError, OverflowError) as error:
                raise FormatError(f"{plain(path)}, frame {index}: {error}") from error
        moments, rate = _json_times(frames, metadata, fps, path)
        times = RisingTimes(1 / (rate or 30.0))
        found = [True] * len(frames)
        rows = [list(row.values()) for row in scores]
        super().__init__(
            _batch([times(moment) for moment in moments], found, list(scores[0]), rows, []), rate, times.warnings()
        )


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


def _batch(
    times: Sequence[float],
    found: Sequence[bool],
    names: Sequence[str],
    scores: Sequence[Sequence[float]],
    heads: Sequence[Any],
) -> Observation:
    """All frames of a table; rows where `found` is False may hold anything."""
    values = np.array(scores, dtype=np.float32)
    return Observation(
        time=np.array(times),
        found=np.array(found),
        scores=reorder(values, names, MEDIAPIPE),
        head_transform=np.array(heads, dtype=np.float32) if heads else None,
        tongue_out=values[:, list(names).index("tongueOut")] if "tongueOut" in names else None,
    )


@dataclass(frozen=True)
class _Columns:
    """Which column of a table holds what."""

    width: int
    names: list[str]
    scores: list[int]
    head: list[int]
    timecode: int | None
    count: int | None
    seconds: int | None
    found: int | None


@dataclass
class _Table:
    """A CSV table, read whole; scores and angles of rows without a face are zero."""

    path: Path
    unit: float
    scores: list[list[float]] = field(default_factory=list)
    heads: list[Any] = field(default_factory=list)
    found: list[bool] = field(default_factory=list)
    time_cells: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        rows = _read_rows(self.path)
        header = next(rows, None)
        if header is None:
            raise FormatError(f"{plain(self.path)} is empty; expected a header with blendshape names")
        self._columns = columns = _find_columns(header[1], self.path)
        self.names = columns.names
        self.has_seconds = columns.seconds is not None
        time_column = columns.seconds if columns.timecode is None else columns.timecode
        for line, row in rows:
            self.time_cells.append(_cell(row, time_column) or "")
            found = _cell(row, columns.count) not in ("", "0") and _cell(row, columns.found) not in ("", "0", "False")
            self.found.append(found)
            try:
                self._add(row if found else ["0"] * columns.width)
            except (ValueError, FormatError) as error:
                raise FormatError(f"{plain(self.path)}, line {line}: {plain(error)}") from error
        if not self.found:
            raise FormatError(f"{plain(self.path)} has a header but no rows")

    def _add(self, row: Sequence[str]) -> None:
        columns = self._columns
        if len(row) != columns.width:
            raise FormatError(f"expected {columns.width} columns; got {len(row)}")
        values = (float(row[place]) for place in columns.scores)
        self.scores.append(list(checked_scores(zip(columns.names, values, strict=True)).values()))
        if columns.head:
            yaw, pitch, roll = (float(row[place]) for place in columns.head)
            self.heads.append(head_from_angles(yaw, pitch, roll, self.unit))

    def moments(self, fps: float | None) -> tuple[list[float] | None, float]:
        """Seconds of the rows, or None where not all rows have rising times; and the frame rate."""
        if self._columns.timecode is None:
            numbers = [_number(cell) for cell in self.time_cells]
            moments = [number for number in numbers if number is not None]
            rate = fps or 60.0
        else:
            matches = [_TIMECODE.fullmatch(cell) for cell in self.time_cells]
            codes = [match for match in matches if match is not None]
            highest = max((int(code[4]) for code in codes), default=60)
            rate = fps or (60.0 if highest >= 30 else 30.0)
            moments = _seconds(codes, rate)
        usable = len(moments) == len(self.found) and all(later > earlier for earlier, later in pairwise(moments))
        return (moments if usable else None), rate


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


def _read_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Line numbers and rows that are not empty."""
    check_regular(path, "table", limit=_MAX_BYTES)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            for row in reader:
                if any(cell.strip() for cell in row):
                    yield reader.line_num, row
    except (UnicodeDecodeError, csv.Error) as error:
        raise FormatError(f"{plain(path)} is no table in UTF-8: {plain(error)}") from error
    except OSError as error:
        raise FormatError(f"{plain(path)} cannot be read: {error.strerror}") from error


def _find_columns(header: Sequence[str], path: Path) -> _Columns:
    cells = [cell.strip() for cell in header]
    folded = [cell.lower() for cell in cells]
    scores = {place: name for place, cell in enumerate(cells) if (name := canonical_name(cell)) in ARKIT}
    if len(scores) < _MIN_NAMES:
        raise FormatError(
            f"{plain(path)}: expected a header that names blendshapes such as EyeBlinkLeft; got {plain(cells[:4])}"
        )
    if len(set(scores.values())) != len(scores):
        raise FormatError(f"{plain(path)}: a blendshape has two columns")

    def place(name: str) -> int | None:
        return folded.index(name) if name in folded else None

    head = [folded.index(name) for name in _HEAD_ANGLES if name in folded]
    return _Columns(
        width=len(cells),
        names=[str(name) for name in scores.values()],
        scores=list(scores),
        head=head if len(head) == len(_HEAD_ANGLES) else [],
        timecode=place("timecode"),
        count=place("blendshapecount"),
        seconds=place("time"),
        found=place("found"),
    )


def _cell(row: Sequence[str], column: int | None) -> str | None:
    return None if column is None or column >= len(row) else row[column].strip()


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if isfinite(number) else None


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


def _weights(frame: dict[str, Any], path: Path, index: int) -> list[float]:
    weights = frame.get("weights")
    if not isinstance(weights, list) or not set(map(type, weights)) <= {int, float}:
        raise FormatError(f'{plain(path)}, frame {index}: expected a list of numbers "weights"')
    return weights


def _stated_names(order: str | None, width: int, path: Path) -> Sequence[str | None]:
    if order is None:
        raise InputError(
            f"{plain(path)} does not name its {width} blendshapes: state their order "
            "(order='beat' for BEAT and EMAGE, 'lam' for LAM, 'arkit' for Apple's)"
        )
    return order_names(order, width)


def _known_names(names: object, path: Path) -> Sequence[str | None]:
    """ARKit's names in the order of the weights; None for other names."""
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise FormatError(f'{plain(path)}: expected a list of texts "names"')
    canonical = [canonical_name(name) for name in names]
    known = [name for name in canonical if name is not None]
    if not known or len(set(known)) != len(known):
        raise FormatError(f'{plain(path)}: expected distinct ARKit names in "names"; got {plain(names[:3])}')
    return canonical


def _json_times(
    frames: Sequence[dict[str, Any]], metadata: dict[str, Any], fps: float | None, path: Path
) -> tuple[list[float], float | None]:
    """Seconds of the frames, and the frame rate where it is known."""
    rate = metadata.get("fps") if fps is None else check_number("fps", fps, above=0)
    if rate is not None:
        rate = check_number(f"{plain(path)}: the frame rate", rate, above=0, error=FormatError)
    stated = [frame.get("time") for frame in frames]
    if fps is None and set(map(type, stated)) <= {int, float}:
        times = np.array(stated, dtype=object).astype(np.float64)
        if np.isfinite(times).all() and (np.diff(times) > 0).all():
            return (times - times[0]).tolist(), rate
    if rate is None:
        raise InputError(f"{plain(path)} has neither rising times nor a frame rate: state it (fps=60 for BEAT)")
    return [index / rate for index in range(len(frames))], rate
