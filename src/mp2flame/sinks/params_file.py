"""FLAME parameters into a `.npz`, a `.csv`, or a folder `flame_param` with one file for each frame."""

from __future__ import annotations

from pathlib import Path

from mp2flame.data import Frame, HeadLike
from mp2flame.formats import open_writer
from mp2flame.sinks.base import Sink

__all__ = ["ParamsFileSink"]


class ParamsFileSink(Sink):
    """Writes every frame's parameters; the file is there when the sink is closed, and not before.

    Args:
        path: the final name; its suffix names the format, as for `mp2flame.formats.open_writer`.
        head: the head that is driven; GaussianAvatars' offsets are written where it is a FLAME head.

    Raises:
        InputError: no format has this suffix.
        MissingFileError: the folder does not exist.
        SinkError: the folder cannot be written to.
    """

    def __init__(self, path: str | Path, *, head: HeadLike) -> None:
        self.name = str(path)
        self._writer = open_writer(path, head_vertices=len(head.neutral_vertices))

    def write(self, frame: Frame) -> None:
        """Add one frame.

        Raises:
            SinkError: it cannot be written; nothing is left under the final name.
        """
        self._writer.write(frame.params, frame.observation.scores)

    def close(self) -> None:
        """Give the file its name; safe to call twice.

        Raises:
            SinkError: it cannot be completed, or there was no frame.
        """
        self._writer.close()

    def abort(self) -> None:
        """Let go; nothing is left behind."""
        self._writer.abort()
