"""Recordings (`.jsonl`), written and read: a header line, then one line for each frame. See docs/formats/recording.md.

A recording grows under its final name, so that a crash costs no more than the last line. It takes that name with its
first frame: what had the name before is safe until then.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from mp2flame.blendshapes import MEDIAPIPE, reorder
from mp2flame.data import N_LANDMARKS, FlameParams, Frame, HeadLike, Observation, concatenate, replace_unchecked
from mp2flame.errors import FormatError, InputError, SinkError, SourceError, plain
from mp2flame.files import AtomicFile, check_regular, lock, write_errors
from mp2flame.formats.base import FILE_VECTORS
from mp2flame.sinks.base import Sink
from mp2flame.sources.base import Source
from mp2flame.validation import check_array, check_header, check_number

FORMAT: Final = "mp2flame-recording"
VERSION: Final = 1
_LONGEST_LINE: Final = 1 << 20
"""A line of this package has some 12 kB; a longer one belongs to another kind of file."""
_FIELDS: Final = ("expression", *FILE_VECTORS)

# --- reading ---------------------------------------------------------------------------------------------------------


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
    """(2,) width and height in pixels, where there was an image."""
    shape: NDArray[np.float32] | None
    """(S,) identity coefficients."""


class RecordingSource(Source):
    """The observations of a recording, with the times at which they were made. Memory does not grow with its length.

    A last line that was cut off (a crash, a full disk) is left out and noted in `warnings`; a damaged line anywhere
    else raises `FormatError` with its number.

    Args:
        path: the file. Its header is read at once.

    Raises:
        MissingFileError: there is no such file.
        FormatError: it does not begin with the header of a recording, or a newer version wrote it.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._warnings: tuple[str, ...] = ()
        self._closed = False
        check_regular(self.path, "recording")
        with self.path.open("rb") as file:
            self.header = _read_header(file.readline(_LONGEST_LINE), self.path)

    @classmethod
    def from_url(cls, spec: str) -> RecordingSource:
        """The source that `open_source` makes of a file's name."""
        return cls(spec)

    @property
    @override
    def warnings(self) -> tuple[str, ...]:
        return self._warnings

    @override
    def __iter__(self) -> Generator[Observation, None, None]:
        if self._closed:
            raise SourceError("this source is closed: open it again to read it again")
        return self._observations()

    def _observations(self) -> Generator[Observation, None, None]:
        for observation, _ in self.frames():
            if self._closed:
                return
            yield observation

    @override
    def close(self) -> None:
        self._closed = True

    def frames(self) -> Iterator[tuple[Observation, FlameParams | None]]:
        """Single frames: what was observed, and the parameters that it gave, where the recording holds them.

        Raises:
            FormatError: a line other than the last is damaged, or there is no frame.
        """
        latest = -np.inf
        self._warnings = ()
        with self.path.open("rb") as file:
            file.readline(_LONGEST_LINE)
            number = 1
            while line := file.readline(_LONGEST_LINE):
                number += 1
                try:
                    frame = _read_frame(_object(line), self.header)
                    if frame[0].time[0] < latest:
                        raise InputError(f"expected rising times; got {frame[0].time[0]} after {latest}")
                except (InputError, ValueError, RecursionError, OverflowError) as error:
                    if not line.endswith(b"\n") and len(line) < _LONGEST_LINE:
                        self._warnings = (f"the last line of {self.path} (line {number}) is cut off and was left out",)
                        break
                    raise FormatError(f"{self.path}, line {number} is damaged: {plain(error)}") from error
                latest = frame[0].time[0]
                yield frame
        if latest == -np.inf:
            raise _no_frames(self.path)


def read_recording(path: str | Path) -> Iterator[tuple[Observation, FlameParams | None]]:
    """The frames of a recording, as `RecordingSource.frames` gives them; the header is checked at once.

    Raises:
        MissingFileError: there is no such file.
        FormatError: it is no recording, a newer version wrote it, or a line other than the last is damaged.
    """
    return RecordingSource(path).frames()


def load_recorded_params(path: Path) -> FlameParams:
    """The parameters of a recording as one sequence; frames without parameters are NaN.

    Raises:
        FormatError: no frame has parameters, their widths differ, or as `read_recording` does.
    """
    # Only the times of the observations are kept, line by line.
    frames = [(observation.time, params) for observation, params in read_recording(path)]
    first = next((params for _, params in frames if params is not None), None)
    if first is None:
        raise FormatError(f"{path} holds no FLAME parameters: drive it with a mapping (mp2flame drive {path})")
    nan = np.full((1, first.n_expression), np.nan, dtype=np.float32)
    absent = FlameParams(time=np.zeros(1), found=np.zeros(1, dtype=np.bool_), expression=nan, shape=first.shape)
    try:
        return concatenate(replace_unchecked(absent, time=time) if row is None else row for time, row in frames)
    except InputError as error:
        raise FormatError(f"{path}: {error}") from error


def _no_frames(path: Path) -> FormatError:
    return FormatError(f"{path} holds no frames: the recording was stopped before the first")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number")


def _object(line: bytes) -> dict[str, Any]:
    value = json.loads(line, parse_constant=_refuse_constant)
    if not isinstance(value, dict):
        raise InputError(f"expected a JSON object; got {type(value).__name__}")
    return value


def _read_header(line: bytes, path: Path) -> RecordingHeader:
    if not line or (b"mp2flame" in line[:40] and not line.endswith(b"\n") and len(line) < _LONGEST_LINE):
        raise _no_frames(path)
    try:
        header = _object(line)
        named = {"format": header.get("format"), "format_version": header.get("version")}
        check_header(named, expected=FORMAT, newest=VERSION, source="its first line")
        names = header.get("scores")
        if not isinstance(names, list) or sorted({*map(str, names)} & {*MEDIAPIPE}) != sorted(map(str, names)):
            raise InputError(f"expected distinct MediaPipe blendshape names under scores; got {plain(names)}")
        head, size, shape = header.get("head") or {}, header.get("image_size"), header.get("shape")
        return RecordingHeader(
            scores=tuple(names),
            head_version=str(head.get("version", "unknown")),
            head_hash=str(head.get("hash", "")),
            image_size=None if size is None else check_array("image_size", size, (2,), np.int64),
            shape=None if shape is None else check_array("shape", shape, ("S",), np.float32),
        )
    except (InputError, ValueError, AttributeError, RecursionError, OverflowError) as error:
        raise FormatError(f"{path} is not a recording that can be read: {plain(error)}") from error


def _landmarks(text: object) -> NDArray[np.float32]:
    try:
        data = base64.b64decode(text, validate=True)  # type: ignore[arg-type]
    except (TypeError, binascii.Error) as error:
        raise InputError(f"landmarks are no base64: {error}") from error
    if len(data) != N_LANDMARKS * 12:
        raise InputError(f"expected {N_LANDMARKS * 12} bytes of landmarks; got {len(data)}")
    return np.frombuffer(data, dtype="<f4").reshape(1, N_LANDMARKS, 3).astype(np.float32)


def _read_frame(line: dict[str, Any], header: RecordingHeader) -> tuple[Observation, FlameParams | None]:
    time, found = [check_number("time", line.get("time"))], line.get("found")
    if not isinstance(found, bool):
        raise InputError(f"expected found to be true or false; got {found!r}")
    # A size of its own stands in a line only where it is not the header's.
    size = line.get("image_size", header.image_size)
    if found:
        scores = check_array("scores", line.get("scores"), (len(header.scores),), np.float32)  # type: ignore[arg-type]
        transform = line.get("head_transform")
        observation = Observation(
            time=time,
            found=[found],
            scores=reorder(scores[None], header.scores, MEDIAPIPE),
            landmarks=None if line.get("landmarks") is None else _landmarks(line["landmarks"]),
            head_transform=None if transform is None else np.reshape(transform, (1, 4, 4)),
            image_size=size,
        )
    else:
        observation = Observation.missing(time[0], image_size=size)
    params = line.get("params")
    if params is None:
        return observation, None
    if not isinstance(params, dict):
        raise InputError(f"expected params as a JSON object; got {type(params).__name__}")
    values: dict[str, Any] = {name: [params.get(name)] for name in _FIELDS if name in params or name == "expression"}
    return observation, FlameParams(time=time, found=[found], shape=header.shape, **values)


# --- writing ---------------------------------------------------------------------------------------------------------


class RecordingSink(Sink):
    """Writes a recording; also after `abort` or a crash, the frames so far stay, under the final name.

    Args:
        path: the file.
        head: the head that is driven, named in the header; None where there are no parameters.
        landmarks: keep MediaPipe's landmarks, which make up four fifths of the file.

    Raises:
        MissingFileError: the folder does not exist.
        InputError: the name is a folder.
        SinkError: the file cannot be made, or another process is writing it.
    """

    def __init__(self, path: str | Path, *, head: HeadLike | None = None, landmarks: bool = True) -> None:
        self.path = Path(path)
        self.name = str(path)
        self.n_frames = 0
        """Number of frames that were written."""
        self._head = ("unknown", "") if head is None else (head.version, head.hash)
        self._landmarks = landmarks
        self._image_size: list[int] | None = None
        self._temporary = AtomicFile(self.path)
        try:
            with write_errors(self.path, "nothing was written"):
                self._refuse_if_locked()
                # Unbuffered: a line is the system's as soon as `write` returns, whatever becomes of this process.
                self._file = self._temporary.temporary.open("r+b", buffering=0)
                lock(self._file, self._locked)
        except SinkError:
            self._temporary.discard()
            raise

    @override
    def write(self, frame: Frame) -> None:
        self.append(frame.observation, frame.params)

    def append(self, observation: Observation, params: FlameParams | None = None) -> None:
        """Add one frame (N = 1), with its parameters or without.

        Raises:
            SinkError: the line cannot be written, another process writes this recording, or it is closed; the frames
                before are kept.
            InputError: more than one frame.
        """
        if self._file.closed:
            raise SinkError(f"cannot write {self.path}: it is closed")
        if len(observation) != 1 or (params is not None and len(params) != 1):
            raise InputError("a recording takes single frames; write the rows one by one")
        if self.n_frames == 0:
            self._image_size = None if observation.image_size is None else observation.image_size.tolist()
            header = self._header(None if params is None else params.shape)
            self._add(f"{header}\n{self._line(observation, params)}\n")
            self._take_name()
        else:
            self._add(f"{self._line(observation, params)}\n")
        self.n_frames += 1

    @override
    def close(self) -> None:
        if self._file.closed:
            return
        status = os.fstat(self._file.fileno())
        self.abort()
        if self.n_frames == 0:
            raise SinkError(f"{self.path} was not made: there was no frame to write")
        if not self.path.exists() or not os.path.samestat(status, self.path.stat()):
            raise SinkError(
                f"{self.path} was removed or replaced while it was written: its {self.n_frames} frames are lost"
            )

    @override
    def abort(self) -> None:
        self._file.close()
        self._temporary.discard()

    def _take_name(self) -> None:
        try:
            with write_errors(self.path, "nothing was written"):
                self._refuse_if_locked()
                self._temporary.publish()
        except SinkError:
            self.abort()
            raise

    @property
    def _locked(self) -> str:
        return f"cannot write {self.path}: another process is recording to it; choose another name"

    def _refuse_if_locked(self) -> None:
        with suppress(FileNotFoundError), self.path.open("rb") as file:
            lock(file, self._locked)

    def _header(self, shape: NDArray[np.float32] | None) -> str:
        header: dict[str, Any] = {
            "format": FORMAT,
            "version": VERSION,
            "scores": list(MEDIAPIPE),
            "head": dict(zip(("version", "hash"), self._head, strict=True)),
            "image_size": self._image_size,
            "shape": None if shape is None else shape.tolist(),
        }
        return json.dumps(header)

    def _line(self, observation: Observation, params: FlameParams | None) -> str:
        found = bool(observation.found[0])
        parts = [f'"time":{float(observation.time[0])!r}', f'"found":{"true" if found else "false"}']
        size = None if observation.image_size is None else observation.image_size.tolist()
        if size is not None and size != self._image_size:
            parts.append(f'"image_size":{size}')
        if found:
            parts.append(f'"scores":{_list(observation.scores[0])}')
            if observation.head_transform is not None:
                parts.append(f'"head_transform":{_list(observation.head_transform[0].ravel())}')
            if observation.landmarks is not None and self._landmarks:
                data = base64.b64encode(observation.landmarks[0].astype("<f4").tobytes()).decode("ascii")
                parts.append(f'"landmarks":"{data}"')
        if params is not None and all(np.isfinite(getattr(params, name)).all() for name in _FIELDS):
            values = ",".join(f'"{name}":{_list(getattr(params, name)[0])}' for name in _FIELDS)
            parts.append(f'"params":{{{values}}}')
        return "{" + ",".join(parts) + "}"

    def _add(self, text: str) -> None:
        left = memoryview(text.encode("ascii"))
        with write_errors(self.path, f"its first {self.n_frames} frames are kept"):
            start = self._file.tell()
            try:
                while left:
                    left = left[self._file.write(left) :]
            except OSError:
                # A torn line in the middle would spoil what a later, successful one adds behind it.
                with suppress(OSError):
                    self._file.truncate(start)
                    self._file.seek(start)
                raise


def _list(values: NDArray[np.float32]) -> str:
    # Nine digits name a float32 exactly, in half the space of the 17 that `json` would write.
    return "[" + ",".join([f"{value:.9g}" for value in values.tolist()]) + "]"
