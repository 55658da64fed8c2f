"""Recordings (`.jsonl`) written: straight under their final name, frame by frame, nothing held back."""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mp2flame.blendshapes import MEDIAPIPE
from mp2flame.data import FlameParams, Observation
from mp2flame.errors import InputError, SinkError
from mp2flame.files import check_writable, write_errors
from mp2flame.formats.recording import FORMAT, POSES, VERSION

__all__ = ["RecordingWriter"]


class RecordingWriter:
    """Appends frames to a new recording; after a crash everything but the last line is there.

    Args:
        path: the file; what was under that name is replaced at once.
        head_version: of the head that is driven, in words.
        head_hash: of its arrays.
        landmarks: keep MediaPipe's landmarks, which make up four fifths of the file.

    Raises:
        MissingFileError: the folder does not exist.
        InputError: the name is a folder.
        SinkError: the file cannot be made.
    """

    def __init__(
        self, path: Path, *, head_version: str = "unknown", head_hash: str = "", landmarks: bool = True
    ) -> None:
        check_writable(path)
        self.path = path
        self.n_frames = 0
        self._head = {"version": head_version, "hash": head_hash}
        self._landmarks = landmarks
        self._started = False
        self._image_size: list[int] | None = None
        with write_errors(path, "nothing was written"):
            # Unbuffered: a line is the system's as soon as `write` returns, whatever becomes of this process.
            self._file = path.open("wb", buffering=0)

    def write(self, observation: Observation, params: FlameParams | None) -> None:
        """Append one frame (N = 1).

        Raises:
            SinkError: the line cannot be written, or the recording is closed; the frames before are kept.
            InputError: more than one frame.
        """
        if self._file.closed:
            raise SinkError(f"cannot write {self.path}: it is closed")
        if len(observation) != 1 or (params is not None and len(params) != 1):
            raise InputError("a recording takes single frames; write the rows one by one")
        if not self._started:
            self._begin(observation.image_size, None if params is None else params.shape)
        self._append(self._line(observation, params))
        self.n_frames += 1

    def close(self) -> None:
        """Finish; safe to call twice. A recording without frames is its header alone.

        Raises:
            SinkError: the header of a recording without frames cannot be written.
        """
        if self._file.closed:
            return
        try:
            if not self._started:
                self._begin(None, None)
        finally:
            self._file.close()

    def abort(self) -> None:
        """Finish without asking for more; what was written stays."""
        self._file.close()

    def _begin(self, image_size: NDArray[np.int64] | None, shape: NDArray[np.float32] | None) -> None:
        self._image_size = None if image_size is None else image_size.tolist()
        header: dict[str, Any] = {
            "format": FORMAT,
            "version": VERSION,
            "scores": list(MEDIAPIPE),
            "head": self._head,
            "image_size": self._image_size,
            "shape": None if shape is None else shape.tolist(),
        }
        self._append(json.dumps(header))
        self._started = True

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
        if params is not None and all(np.isfinite(getattr(params, name)).all() for name in ("expression", *POSES)):
            values = ",".join(f'"{name}":{_list(getattr(params, name)[0])}' for name in ("expression", *POSES))
            parts.append(f'"params":{{{values}}}')
        return "{" + ",".join(parts) + "}"

    def _append(self, line: str) -> None:
        left = memoryview(line.encode("ascii") + b"\n")
        kept = f"its first {self.n_frames} frames are kept"
        with write_errors(self.path, kept):
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
