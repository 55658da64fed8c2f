"""What every writer of parameter files is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

from mp2flame.data import FlameParams, Float32
from mp2flame.errors import SinkError
from mp2flame.files import write_errors

__all__ = ["ParamsWriter"]


class ParamsWriter(ABC):
    """Takes parameters piece by piece, in rising time, and publishes the file when it is closed.

    Memory does not grow with the number of frames.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.n_frames = 0
        self._open = True

    def write(self, params: FlameParams, scores: Float32 | None = None) -> None:
        """Add N frames.

        Args:
            params: the parameters.
            scores: (N, 52) the blendshape scores that they came from, for formats that keep them.

        Raises:
            SinkError: the file cannot be written, or is closed already; nothing is left behind.
            InputError: the number of expression coefficients changed.
        """
        if not self._open:
            raise SinkError(f"cannot write {self.path}: it is closed")
        try:
            with write_errors(self.path, self._lost()):
                self._write(params, scores)
        except SinkError:
            # Half a row may have been written: what follows would not fit behind it.
            self.abort()
            raise
        self.n_frames += len(params)

    def close(self) -> None:
        """Publish the file; safe to call twice.

        Raises:
            SinkError: it cannot be completed, or no frame was written; nothing is left under its name.
        """
        if not self._open:
            return
        self._open = False
        try:
            if self.n_frames == 0:
                raise SinkError(f"{self.path} was not made: there was no frame to write")
            with write_errors(self.path, self._lost()):
                self._publish()
        finally:
            self._discard()

    def abort(self) -> None:
        """Let go without publishing; nothing is left behind. Safe to call twice."""
        if self._open:
            self._open = False
            self._discard()

    def _lost(self) -> str:
        return f"its {self.n_frames} frames are lost and nothing was left under that name"

    @abstractmethod
    def _write(self, params: FlameParams, scores: Float32 | None) -> None: ...

    @abstractmethod
    def _publish(self) -> None: ...

    @abstractmethod
    def _discard(self) -> None: ...
