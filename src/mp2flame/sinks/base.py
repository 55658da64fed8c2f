"""The base classes of sinks: where frames go, what they need and at which pace they take them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from mp2flame.data import FlameParams, Frame, Observation
from mp2flame.errors import InputError, SinkError
from mp2flame.files import write_errors

if TYPE_CHECKING:
    from typing_extensions import Self


class Sink(ABC):
    """Takes single frames (N = 1) in rising time."""

    name: str = ""
    """The target, a file name or an address: drops, timings and messages speak of the sink by it."""
    needs_vertices: bool = False
    """The pipeline poses the head only if an open sink says True."""
    needs_image: bool = False
    """The source keeps images only if an open sink says True."""
    policy: Literal["every", "latest"] = "every"
    """`every`: no frame may be lost (files). `latest`: a slow sink sees the newest frame only (viewers, network)."""
    instant: bool = False
    """`write` does not block. The pipeline calls it on its own thread, before the head is posed unless the sink needs
    vertices. `close` may be called from another thread than `write`, but not at the same time."""

    @abstractmethod
    def write(self, frame: Frame) -> None:
        """Take one frame, whose vertices and image may be None where the sink does not need them.

        Raises:
            SinkError: the frame cannot be written; the message names what was kept so far.
        """

    @abstractmethod
    def close(self) -> None:
        """Finish and publish what was written; safe to call twice.

        Raises:
            SinkError: the result cannot be completed.
        """

    def abort(self) -> None:
        """Finish without publishing; by default the same as `close`."""
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self.abort()


class FileSink(Sink):
    """Writes one file or folder, which appears under its final name when the sink is closed, and not before.

    Subclasses write to a temporary sibling of the path: `_write` adds a frame, `_publish` gives the result its name,
    and `_discard`, which is always called last, removes what is left.

    Args:
        path: the final name.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.name = str(path)
        self.n_frames = 0
        """Number of frames that were written."""
        self._open = True

    @override
    def write(self, frame: Frame) -> None:
        if len(frame.observation) != 1:
            raise InputError(f"expected a single frame; got {len(frame.observation)}: write them one by one")
        with self._adding(1):
            self._write(frame)

    @contextmanager
    def _adding(self, n_frames: int) -> Iterator[None]:
        """Count the frames that are added inside. A failure discards the file: half a frame may have been written."""
        if not self._open:
            raise SinkError(f"cannot write {self.path}: it is closed")
        try:
            with write_errors(self.path, self._lost()):
                yield
        except SinkError:
            self.abort()
            raise
        self.n_frames += n_frames

    @override
    def close(self) -> None:
        if not self._open:
            return
        try:
            if self.n_frames == 0:
                raise SinkError(f"{self.path} was not made: there was no frame to write")
            with write_errors(self.path, self._lost()):
                self._publish()
        finally:
            self.abort()

    @override
    def abort(self) -> None:
        if self._open:
            self._open = False
            self._discard()

    def _lost(self) -> str:
        return f"its {self.n_frames} frames are lost and nothing was left under that name"

    @abstractmethod
    def _write(self, frame: Frame) -> None: ...

    @abstractmethod
    def _publish(self) -> None: ...

    @abstractmethod
    def _discard(self) -> None: ...


def write_frames(
    sinks: Sequence[Sink],
    frames: Iterable[tuple[Observation, FlameParams]],
    *,
    head: Callable[[FlameParams], NDArray[np.float32]] | None = None,
    on_frame: Callable[[Frame], None] | None = None,
) -> None:
    """Write finished parameters to sinks and close them; an error aborts them all.

    Args:
        sinks: where each frame goes.
        frames: single frames in rising time, with images where a sink needs them.
        head: gives the vertices (1, V, 3) for sinks that need them.
        on_frame: called after each frame, for progress.

    Raises:
        SinkError: a sink failed.
    """
    with ExitStack() as stack:
        for sink in sinks:
            stack.enter_context(sink)
        posed = head if any(sink.needs_vertices for sink in sinks) else None
        for observation, params in frames:
            frame = Frame(observation, params, None if posed is None else posed(params)[0])
            for sink in sinks:
                sink.write(frame)
            if on_frame is not None:
                on_frame(frame)
