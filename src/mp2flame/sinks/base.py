"""The base class of sinks: where frames go, what they need and at which pace they take them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import TYPE_CHECKING, Literal

from mp2flame.data import Frame

if TYPE_CHECKING:
    from typing_extensions import Self


class Sink(ABC):
    """Takes single frames (N = 1) in rising time.

    A file appears under its final name only when the sink is closed; `abort` (an exception inside the `with` block)
    leaves nothing under that name, except where the format is meant to survive a crash (JSON lines).
    """

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
        """Let go without publishing; by default the same as `close`."""
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
