"""Recordings (`.jsonl`) played back as a source, with the times at which they were made."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

from mp2flame.data import Observation
from mp2flame.errors import SourceError
from mp2flame.formats.recording import read_recording
from mp2flame.sources.base import Source

__all__ = ["RecordingSource"]


class RecordingSource(Source):
    """The observations of a recording; what was done with them then is left aside.

    Args:
        path: the file. Its header is read at once.

    Raises:
        MissingFileError: there is no such file.
        FormatError: it is not a recording.
    """

    def __init__(self, path: str | Path) -> None:
        self._recording = read_recording(path)
        self._closed = False

    @classmethod
    def from_url(cls, spec: str) -> RecordingSource:
        """The source that `open_source` makes of a file's name."""
        return cls(spec)

    @property
    def warnings(self) -> tuple[str, ...]:
        """A last line that was cut off."""
        return self._recording.warnings

    def __iter__(self) -> Generator[Observation, None, None]:
        """Observations in the order in which they were recorded.

        Raises:
            SourceError: the source is closed.
            FormatError: a line other than the last is damaged.
        """
        if self._closed:
            raise SourceError("this source is closed: open it again to read it again")
        return self._observe()

    def _observe(self) -> Generator[Observation, None, None]:
        for observation, _ in self._recording:
            if self._closed:
                return
            yield observation

    def close(self) -> None:
        """End an iteration at its next frame; safe to call twice."""
        self._closed = True
