"""What sinks that film share: frames composed one by one, and a film that has its name only once it is whole."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from mp2flame.data import Frame, HeadLike, Observation
from mp2flame.errors import InputError, SinkError
from mp2flame.files import AtomicFile, write_errors
from mp2flame.sinks.base import Sink

if TYPE_CHECKING:
    from mp2flame.render import MeshRenderer
    from mp2flame.sinks.encoders import Encoder

__all__ = ["FilmingSink", "Picture"]

Picture = NDArray[np.uint8]
Vertices = NDArray[np.float32]


class FilmingSink(Sink):
    """A sink that composes a picture of every frame and films it.

    Args:
        path: the final name, with one of the `suffixes`.
        head: the head that is shown.

    Raises:
        MissingExtraError: PyAV or PyVista is not installed.
        MissingFileError: the folder does not exist.
        InputError: the suffix is another.
        SinkError: the folder cannot be written to.
    """

    needs_vertices: bool = True
    needs_image: bool = True
    suffixes: ClassVar[tuple[str, ...]]

    def __init__(self, path: str | Path, *, head: HeadLike) -> None:
        # What is missing shows now, and not after the first frame.
        import mp2flame.render
        import mp2flame.sinks.encoders  # noqa: F401 - as above

        self._path, self._head = Path(path), head
        self._suffix = self._path.suffix.lower()
        if self._suffix not in self.suffixes:
            raise InputError(f"expected a film {' or '.join(self.suffixes)}; got {self._path.name}")
        self.name = str(path)
        self._part = AtomicFile(self._path)
        self._n_frames = 0
        self._open = True
        self._first_time = 0.0
        # Made by the first frame, in the thread that writes: a render window belongs to one thread.
        self._renderer: MeshRenderer | None = None
        self._encoder: Encoder | None = None

    @abstractmethod
    def _begin(self, observation: Observation) -> Encoder:
        """Make the renderer and the encoder that the first frame asks for."""

    @abstractmethod
    def _compose(self, observation: Observation, vertices: Vertices | None) -> Picture:
        """The picture to film."""

    @abstractmethod
    def _check(self, observation: Observation, vertices: Vertices | None) -> None:
        """Refuse a frame that lacks what is filmed.

        Raises:
            InputError: naming it.
        """

    def write(self, frame: Frame) -> None:
        """Film one frame.

        Raises:
            SinkError: the film cannot be written, or is closed.
            InputError: what is filmed is not there.
        """
        if not self._open:
            raise SinkError(f"cannot write {self._path}: it is closed")
        self._check(frame.observation, frame.vertices)
        try:
            with write_errors(self._path, self._lost()):
                if self._encoder is None:
                    self._first_time = float(frame.observation.time[0])
                    self._encoder = self._begin(frame.observation)
                canvas = self._compose(frame.observation, frame.vertices)
                self._encoder.add(canvas, float(frame.observation.time[0]) - self._first_time)
        except SinkError:
            self.abort()
            raise
        self._n_frames += 1

    def close(self) -> None:
        """Finish the film and give it its name; safe to call twice.

        Raises:
            SinkError: it cannot be completed, or there was no frame; nothing is left under its name.
        """
        if not self._open:
            return
        try:
            if self._encoder is None:
                raise SinkError(f"{self._path} was not made: there was no frame to film")
            with write_errors(self._path, self._lost()):
                self._encoder.close()
                self._part.publish()
                self._encoder = None
        finally:
            self.abort()

    def abort(self) -> None:
        """Let go; nothing is left behind. Safe to call twice."""
        self._open = False
        if self._encoder is not None:
            self._encoder.abort()
            self._encoder = None
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None
        self._part.discard()

    def _lost(self) -> str:
        return f"its {self._n_frames} frames are lost and nothing was left under that name"
