"""What was seen and what the head did, as JSON lines that survive a crash."""

from __future__ import annotations

from pathlib import Path

from mp2flame.data import Frame, HeadLike
from mp2flame.formats.recording_writer import RecordingWriter
from mp2flame.sinks.base import Sink

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

    def __init__(self, path: str | Path, *, head: HeadLike, landmarks: bool = True) -> None:
        self.name = str(path)
        self._writer = RecordingWriter(Path(path), head_version=head.version, head_hash=head.hash, landmarks=landmarks)

    def write(self, frame: Frame) -> None:
        """Append one frame.

        Raises:
            SinkError: it cannot be written; the frames before are kept.
        """
        self._writer.write(frame.observation, frame.params)

    def close(self) -> None:
        """Finish; safe to call twice.

        Raises:
            SinkError: not even the header can be written.
        """
        self._writer.close()

    def abort(self) -> None:
        """Finish without asking for more; what was written stays."""
        self._writer.abort()
