"""What was seen and what the head did, as JSON lines that survive a crash."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mp2flame.data import FlameParams, Observation
from mp2flame.formats.recording_writer import RecordingWriter
from mp2flame.sinks.base import HeadSurface, Sink

__all__ = ["RecordingSink"]


class RecordingSink(Sink):
    """Writes a recording (`.jsonl`) straight under its final name; also after `abort`, what was written stays.

    Args:
        path: the file; what was under that name is replaced at once.
        head: the head that is driven, named in the header.
        landmarks: keep MediaPipe's landmarks, which make up four fifths of the file.

    Raises:
        MissingFileError: the folder does not exist.
        InputError: the name is a folder.
        SinkError: the file cannot be made.
    """

    def __init__(self, path: str | Path, *, head: HeadSurface, landmarks: bool = True) -> None:
        self._writer = RecordingWriter(Path(path), head_version=head.version, head_hash=head.hash, landmarks=landmarks)

    def write(self, observation: Observation, params: FlameParams, vertices: NDArray[np.float32] | None) -> None:  # noqa: ARG002 - a recording holds no vertices
        """Append one frame.

        Raises:
            SinkError: it cannot be written; the frames before are kept.
        """
        self._writer.write(observation, params)

    def close(self) -> None:
        """Finish; safe to call twice.

        Raises:
            SinkError: not even the header can be written.
        """
        self._writer.close()

    def abort(self) -> None:
        """Finish without asking for more; what was written stays."""
        self._writer.abort()
