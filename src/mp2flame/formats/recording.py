"""Recordings (`.jsonl`) read back: a header line, then one line for each frame. See docs/recording_format.md."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mp2flame.blendshapes import MEDIAPIPE, reorder
from mp2flame.data import N_LANDMARKS, FlameParams, Observation
from mp2flame.errors import FormatError, InputError, MissingFileError

__all__ = ["FORMAT", "POSES", "VERSION", "Recording", "RecordingHeader", "read_recording"]

FORMAT = "mp2flame-recording"
VERSION = 1
POSES = ("jaw_pose", "neck_pose", "global_orient", "leye_pose", "reye_pose", "translation")
# A line of ours has some 12 kB; what is longer is another kind of file.
_LONGEST_LINE = 1 << 20


@dataclass(frozen=True, kw_only=True, eq=False)
class RecordingHeader:
    """What holds for a whole recording."""

    scores: tuple[str, ...]
    """The blendshape names, in the order of each frame's scores."""
    head_version: str
    """The version of the head that was driven, in words."""
    head_hash: str
    """Its hash, or empty."""
    image_size: NDArray[np.int64] | None
    """(2,) width and height in pixels, where a picture was seen."""
    shape: NDArray[np.float32] | None
    """(S,) identity coefficients."""


def read_recording(path: str | Path) -> Recording:
    """Open a recording; its header is read and checked now, its frames when iterated.

    Raises:
        MissingFileError: there is no such file.
        FormatError: it does not begin with the header of a recording, or a newer version wrote it.
    """
    return Recording(Path(path))


class Recording:
    """A recording on disk: iterate for `(Observation, FlameParams or None)` of one frame each, as often as you like.

    Memory does not grow with its length. A last line that was cut off (a crash, a full disk) is passed over and
    noted in `warnings`; a damaged line anywhere else raises `FormatError` with its number.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise MissingFileError(f"no recording {path}")
        self.path = path
        self._warnings: tuple[str, ...] = ()
        with path.open("rb") as file:
            self.header = _header(file.readline(_LONGEST_LINE), path)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user should know about the frames read so far."""
        return self._warnings

    def __iter__(self) -> Iterator[tuple[Observation, FlameParams | None]]:
        latest = -np.inf
        self._warnings = ()
        with self.path.open("rb") as file:
            file.readline(_LONGEST_LINE)
            number = 1
            while line := file.readline(_LONGEST_LINE):
                number += 1
                try:
                    frame = _frame(_object(line), self.header)
                    if frame[0].time[0] < latest:
                        raise InputError(f"expected rising times; got {frame[0].time[0]} after {latest}")
                except (InputError, ValueError, RecursionError) as error:
                    if not line.endswith(b"\n") and len(line) < _LONGEST_LINE:
                        self._warnings = (f"the last line of {self.path} (line {number}) is cut off and was left out",)
                        return
                    raise FormatError(f"{self.path}, line {number} is damaged: {error}") from error
                latest = frame[0].time[0]
                yield frame


def _not_a_number(name: str) -> None:
    raise ValueError(f"{name} is not a number")


def _object(line: bytes) -> dict[str, Any]:
    value = json.loads(line, parse_constant=_not_a_number)
    if not isinstance(value, dict):
        raise InputError(f"expected a JSON object; got {type(value).__name__}")
    return value


def _header(line: bytes, path: Path) -> RecordingHeader:
    try:
        header = _object(line)
        if header.get("format") != FORMAT:
            raise InputError(f"expected a first line with format {FORMAT!r}; got {str(header.get('format'))[:40]!r}")
        if not isinstance(header.get("version"), int) or header["version"] > VERSION:
            raise InputError(
                f"it has version {header.get('version')} and this program reads up to {VERSION}: upgrade mp2flame"
            )
        head = header.get("head") or {}
        return RecordingHeader(
            scores=_names(header.get("scores")),
            head_version=str(head.get("version", "unknown")),
            head_hash=str(head.get("hash", "")),
            image_size=_optional(header, "image_size", lambda size: _numbers(size, (2,)).astype(np.int64)),
            shape=_optional(header, "shape", lambda shape: _numbers(shape, (None,))),
        )
    except (InputError, ValueError, AttributeError, RecursionError) as error:
        raise FormatError(f"{path} is not a recording that can be read: {error}") from error


def _names(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise InputError("expected a list of blendshape names under scores")
    unknown = sorted(set(value) - set(MEDIAPIPE))
    if unknown or len(set(value)) != len(value):
        raise InputError(f"expected distinct MediaPipe blendshape names; got {', '.join(unknown) or 'some twice'}")
    return tuple(value)


def _optional(holder: dict[str, Any], name: str, read: Callable[[Any], NDArray[Any]]) -> NDArray[Any] | None:
    value = holder.get(name)
    return None if value is None else read(value)


def _numbers(value: object, shape: Sequence[int | None]) -> NDArray[np.float32]:
    array = np.array(value)
    fits = len(shape) == array.ndim and all(want in (None, got) for want, got in zip(shape, array.shape, strict=True))
    if not fits or array.dtype.kind not in "fiu":
        raise InputError(f"expected numbers of shape {tuple(shape)}; got {array.shape} of {array.dtype}")
    with np.errstate(over="ignore"):
        return array.astype(np.float32)


def _landmarks(text: object) -> NDArray[np.float32]:
    try:
        data = base64.b64decode(text, validate=True)  # type: ignore[arg-type]
    except (TypeError, binascii.Error) as error:
        raise InputError(f"landmarks are no base64: {error}") from error
    if len(data) != N_LANDMARKS * 12:
        raise InputError(f"expected {N_LANDMARKS * 12} bytes of landmarks; got {len(data)}")
    return np.frombuffer(data, dtype="<f4").reshape(1, N_LANDMARKS, 3).astype(np.float32)


def _frame(line: dict[str, Any], header: RecordingHeader) -> tuple[Observation, FlameParams | None]:
    time, found = line.get("time"), line.get("found")
    if isinstance(time, bool) or not isinstance(time, int | float) or not isinstance(found, bool):
        raise InputError(f"expected time in seconds and found true or false; got {time!r} and {found!r}")
    # A size of its own stands in a line only where it is not the header's.
    size = _optional(line, "image_size", lambda value: _numbers(value, (2,)).astype(np.int64))
    size = header.image_size if size is None else size
    times, flags = np.array([float(time)]), np.array([found])
    if found:
        scores = reorder(_numbers(line.get("scores"), (len(header.scores),))[None], header.scores, MEDIAPIPE)
        observation = Observation(
            time=times,
            found=flags,
            scores=scores,
            landmarks=_optional(line, "landmarks", _landmarks),
            head_transform=_optional(line, "head_transform", lambda value: _numbers(value, (16,)).reshape(1, 4, 4)),
            image_size=size,
        )
    else:
        observation = Observation.missing(float(time), image_size=size)
    params = line.get("params")
    if params is None:
        return observation, None
    if not isinstance(params, dict):
        raise InputError(f"expected params as a JSON object; got {type(params).__name__}")
    poses = {name: _numbers(params[name], (3,))[None] for name in POSES if name in params}
    expression = _numbers(params.get("expression"), (None,))[None]
    return observation, FlameParams(time=times, found=flags, expression=expression, shape=header.shape, **poses)
