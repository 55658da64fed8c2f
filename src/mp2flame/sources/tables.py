"""Blendshapes in JSON: BEAT's and EMAGE's, and LAM's `bsData.json`."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite
from pathlib import Path
from typing import Any, TextIO

from mp2flame.blendshapes import ARKIT, canonical_name, order_names
from mp2flame.data import Observation
from mp2flame.errors import FormatError, InputError, MissingFileError
from mp2flame.sources.base import Source
from mp2flame.streams.livelink import ANGLE_UNITS, exact_frame_rate
from mp2flame.streams.packet import FacePacket, checked_scores, head_transform
from mp2flame.streams.rotation_conventions import yaw_pitch_roll_matrix

_TIMECODE = re.compile(r"(\d{1,2}):(\d{1,2}):(\d{1,2})[:;](\d{1,3})(\.\d{1,9})?")
_HEAD = ("headyaw", "headpitch", "headroll")
_DAY = 86400.0


@dataclass(frozen=True)
class _Columns:
    width: int
    scores: dict[int, str]
    head: tuple[int, ...]
    timecode: int | None
    count: int | None
    seconds: int | None
    found: int | None


class LiveLinkCsvSource(Source):
    """The rows of a table whose header names blendshapes, in any casing and order.

    Times come from the column `Timecode` (HH:MM:SS:FF.sub), else from `time` in seconds, else from the row's number.
    Rows without values, as the app writes them when it sees no face, are frames without a face.

    Args:
        path: the file.
        fps: frames per second of the time code; by default 60, or 30 where no frame number reaches 30.
        angles: the unit of the head's angles: `radians`, `degrees` or `half-turns`.

    Raises:
        InputError: the unit is unknown, or the frame rate no frame rate.
        MissingFileError: there is no such file.
        FormatError: the header names no blendshapes.
    """

    def __init__(self, path: str | Path, *, fps: float | None = None, angles: str = "radians") -> None:
        self._path = Path(path)
        if angles not in ANGLE_UNITS:
            raise InputError(f"expected angles in {', '.join(ANGLE_UNITS)}; got {angles!r}")
        self._unit = ANGLE_UNITS[angles]
        if not self._path.is_file():
            raise MissingFileError(f"no file {self._path}")
        given = None if fps is None else float(exact_frame_rate(fps))
        self._files: list[TextIO] = []
        self._faceless = 0
        self._columns, self._rows, self._rate, self._has_times = self._survey(given)

    @classmethod
    def from_url(cls, spec: str, *, fps: float | None = None, angles: str = "radians") -> LiveLinkCsvSource:
        """Open a `.csv` file; see the class."""
        return cls(spec, fps=fps, angles=angles)

    @property
    def n_frames(self) -> int | None:
        """The number of rows."""
        return self._rows

    @property
    def fps(self) -> float | None:
        """Of the time code; a table with seconds has none."""
        return None if self._columns.seconds is not None else self._rate

    @property
    def warnings(self) -> tuple[str, ...]:
        """Whether the times had to be made up."""
        if self._has_times:
            return ()
        return (f"{self._path} has no usable times, so its rows are taken as {self._rate:g} per second",)

    def close(self) -> None:
        """Close the file."""
        for file in self._files:
            file.close()
        self._files.clear()

    def __iter__(self) -> Generator[Observation, None, None]:
        """Frames in rising time.

        Raises:
            FormatError: a row has another width than the header, or a value is no number.
        """
        first: float | None = None
        last, days = -1.0, 0.0
        for index, (line, row) in enumerate(self._read()):
            seconds = index / self._rate
            if self._has_times:
                moment = self._moment(row)
                assert moment is not None, "the survey has seen that every row has its time"
                first = moment if first is None else first
                if moment + days - first < last - _DAY / 2:
                    days += self._day
                seconds = moment + days - first
            last = seconds
            yield self._face(row, line).observation(seconds)

    def _survey(self, given: float | None) -> tuple[_Columns, int, float, bool]:
        """What the header names; how many rows there are, at which rate, and whether their times can be used."""
        rows = 0
        highest, whole = -1, True
        for _, row in self._read(header=True):
            if not rows:
                columns = _columns(row, self._path)
            elif columns.timecode is not None:
                match = _TIMECODE.fullmatch(row[columns.timecode].strip()) if len(row) > columns.timecode else None
                whole = whole and match is not None
                highest = max(highest, int(match[4]) if match else -1)
            rows += 1
        if not rows:
            raise FormatError(f"{self._path} is empty; expected a header with blendshape names")
        rate = given if given is not None else 60.0 if highest >= 30 or highest < 0 else 30.0
        self._columns, self._rate = columns, rate
        has_times = whole and rows > 1 and self._rising()
        return columns, rows - 1, rate, has_times

    def _rising(self) -> bool:
        if self._columns.timecode is None and self._columns.seconds is None:
            return False
        moments = (self._moment(row) for _, row in self._read())
        # Only once a day may time run backwards.
        return all(
            a is not None and b is not None and (b > a or (self._columns.timecode is not None and a - b > _DAY / 2))
            for a, b in pairwise(moments)
        )

    def _moment(self, row: Sequence[str]) -> float | None:
        place = self._columns.timecode if self._columns.timecode is not None else self._columns.seconds
        if place is None or place >= len(row):
            return None
        if self._columns.timecode is None:
            value = _number(row[place])
            return value if value is not None and isfinite(value) else None
        match = _TIMECODE.fullmatch(row[place].strip())
        if match is None:
            return None
        hours, minutes, seconds, frame = (int(part) for part in match.groups()[:4])
        # Seconds of a time code are counted in nominal frames: at 29.97 a minute lasts 60.06 s.
        nominal = max(1, round(self._rate))
        frames = (hours * 3600 + minutes * 60 + seconds) * nominal + frame + float(match[5] or 0)
        return frames / self._rate

    @property
    def _day(self) -> float:
        """The seconds until a time code begins anew: a day in nominal frames."""
        return _DAY * max(1, round(self._rate)) / self._rate

    def _face(self, row: Sequence[str], line: int) -> FacePacket:
        columns = self._columns
        if columns.count is not None and len(row) > columns.count and row[columns.count].strip() in ("", "0"):
            return FacePacket(found=False)
        if columns.found is not None and len(row) > columns.found and row[columns.found].strip() in ("0", "False", ""):
            return FacePacket(found=False)
        if len(row) != columns.width:
            raise FormatError(f"{self._path}, line {line}: expected {columns.width} columns; got {len(row)}")
        try:
            scores = checked_scores((name, float(row[place])) for place, name in columns.scores.items())
            angles = [float(row[place]) * self._unit for place in columns.head]
        except (ValueError, FormatError) as error:
            raise FormatError(f"{self._path}, line {line}: {error}") from error
        if not all(map(isfinite, angles)):
            raise FormatError(f"{self._path}, line {line}: a head angle that is not finite")
        head = head_transform(yaw_pitch_roll_matrix(*angles)) if angles else None
        return FacePacket(scores=scores, head=head)

    def _read(self, *, header: bool = False) -> Iterator[tuple[int, list[str]]]:
        """Line numbers and rows that are not empty; without the header unless asked for."""
        with self._path.open(encoding="utf-8-sig", newline="") as file:
            self._files.append(file)
            try:
                reader = csv.reader(file)
                rows = ((reader.line_num, row) for row in reader if any(cell.strip() for cell in row))
                if not header:
                    next(rows, None)
                yield from rows
            except (UnicodeDecodeError, csv.Error) as error:
                raise FormatError(f"{self._path} is no table in UTF-8: {error}") from error
            except ValueError:
                # The file was closed in the middle.
                return
            finally:
                if file in self._files:
                    self._files.remove(file)


def _columns(header: Sequence[str], path: Path) -> _Columns:
    """Which column holds what.

    Raises:
        FormatError: no blendshape is named, or one comes twice.
    """
    cells = [cell.strip() for cell in header]
    folded = [cell.lower() for cell in cells]
    scores = {place: name for place, cell in enumerate(cells) if (name := canonical_name(cell)) in ARKIT}
    if len(scores) < 3:
        raise FormatError(f"{path}: expected a header that names blendshapes such as EyeBlinkLeft; got {cells[:4]}")
    if len(set(scores.values())) != len(scores):
        raise FormatError(f"{path}: a blendshape has two columns")

    def place(name: str) -> int | None:
        return folded.index(name) if name in folded else None

    head = tuple(folded.index(name) for name in _HEAD if name in folded)
    return _Columns(
        width=len(cells),
        scores={place: str(name) for place, name in scores.items()},
        head=head if len(head) == len(_HEAD) else (),
        timecode=place("timecode"),
        count=place("blendshapecount"),
        seconds=place("time"),
        found=place("found"),
    )


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


class BlendshapeJsonSource(Source):
    """Frames of a file `{"names": [...], "frames": [{"weights": [...], "time": ...}, ...]}`.

    Times are the frames' own; where they have none, or these do not rise, the frame's number at `fps`, else at the
    file's own `metadata.fps`. Head rotations, whose unit no document states, are not read.

    Args:
        path: the file.
        fps: frames per second where the file states no times.
        order: the order of the weights where the file names none: `beat`, `arkit`, `lam`, ...

    Raises:
        MissingFileError: there is no such file.
        FormatError: it is not such a file.
        InputError: it names no blendshapes and `order` is not given, or it states no times and `fps` is not given.
    """

    def __init__(self, path: str | Path, *, fps: float | None = None, order: str | None = None) -> None:
        self._path = Path(path)
        content = self._load()
        frames = content.get("frames")
        if not isinstance(frames, list) or not frames or not all(isinstance(frame, dict) for frame in frames):
            raise FormatError(f'{path}: expected a list "frames" of objects with "weights"; is it BEAT\'s or LAM\'s?')
        self._weights = [self._weights_of(frame, index) for index, frame in enumerate(frames)]
        self._names = self._names_of(content, len(self._weights[0]), order)
        self._times, self._rate = self._times_of(content, frames, fps)
        self._closed = False

    @classmethod
    def from_url(cls, spec: str, *, fps: float | None = None, order: str | None = None) -> BlendshapeJsonSource:
        """Open a `.json` file; see the class."""
        return cls(spec, fps=fps, order=order)

    @property
    def n_frames(self) -> int | None:
        """The number of frames."""
        return len(self._weights)

    @property
    def fps(self) -> float | None:
        """As the file or the caller states it."""
        return self._rate

    def close(self) -> None:
        """End an iteration."""
        self._closed = True

    def __iter__(self) -> Generator[Observation, None, None]:
        """Frames in rising time.

        Raises:
            FormatError: a frame has another number of weights, or one far outside of 0..1.
        """
        self._closed = False
        for index, (time, weights) in enumerate(zip(self._times, self._weights, strict=True)):
            if self._closed:
                return
            if len(weights) != len(self._names):
                raise FormatError(
                    f"{self._path}, frame {index}: expected {len(self._names)} weights; got {len(weights)}"
                )
            named = zip(self._names, weights, strict=True)
            try:
                scores = checked_scores((name, value) for name, value in named if name is not None)
            except FormatError as error:
                raise FormatError(f"{self._path}, frame {index}: {error}") from error
            yield FacePacket(scores=scores).observation(time)

    def _load(self) -> dict[str, Any]:
        if not self._path.is_file():
            raise MissingFileError(f"no file {self._path}")
        try:
            content = json.loads(self._path.read_text(encoding="utf-8-sig"))
        except (ValueError, RecursionError) as error:
            raise FormatError(f"{self._path} is no JSON file, or is cut off: {error}") from error
        if not isinstance(content, dict):
            raise FormatError(f"{self._path}: expected an object; got {type(content).__name__}")
        return content

    def _weights_of(self, frame: dict[str, Any], index: int) -> list[float]:
        weights = frame.get("weights")
        if not isinstance(weights, list) or not all(
            isinstance(value, int | float) and not isinstance(value, bool) for value in weights
        ):
            raise FormatError(f'{self._path}, frame {index}: expected a list of numbers "weights"')
        return weights

    def _names_of(self, content: dict[str, Any], width: int, order: str | None) -> Sequence[str | None]:
        metadata = content.get("metadata")
        names = content.get("names") or (metadata.get("blendshape_names") if isinstance(metadata, dict) else None)
        if not names:
            if order is None:
                raise InputError(
                    f"{self._path} does not name its {width} blendshapes: state their order "
                    "(order='beat' for BEAT and EMAGE, 'lam' for LAM, 'arkit' for Apple's)"
                )
            return order_names(order, width)
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise FormatError(f'{self._path}: expected a list of texts "names"')
        known = [canonical_name(name) for name in names]
        found = [name for name in known if name is not None]
        if not found or len(set(found)) != len(found):
            raise FormatError(f'{self._path}: expected distinct ARKit names in "names"; got {names[:3]}')
        return known

    def _times_of(
        self, content: dict[str, Any], frames: list[dict[str, Any]], fps: float | None
    ) -> tuple[list[float], float | None]:
        metadata = content.get("metadata")
        rate = fps if fps is not None else metadata.get("fps") if isinstance(metadata, dict) else None
        if rate is not None and not (isinstance(rate, int | float) and isfinite(rate) and rate > 0):
            raise FormatError(f"{self._path}: expected a frame rate above 0; got {rate!r}")
        times = [frame.get("time") for frame in frames]
        numbers = [float(time) for time in times if isinstance(time, int | float) and isfinite(time)]
        if fps is None and len(numbers) == len(times) and all(b > a for a, b in pairwise(numbers)):
            return [time - numbers[0] for time in numbers], rate
        if rate is None:
            raise InputError(f"{self._path} states no rising times and no frame rate: give it (fps=60 for BEAT)")
        return [index / rate for index in range(len(frames))], float(rate)
