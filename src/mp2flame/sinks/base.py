"""What every sink is: a place where frames go, that says what it needs and at which pace it takes them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from mp2flame.data import FlameParams, Observation

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["HeadSurface", "Sink"]


@dataclass(frozen=True, kw_only=True)
class HeadSurface:
    """What a sink may know of the head that is driven; it imports no head itself."""

    faces: NDArray[np.uint32]
    """(F, 3) vertex indices."""
    rest_vertices: NDArray[np.float32]
    """(V, 3) metres, the driven person at rest: what a camera frames."""
    vertex_colors: NDArray[np.uint8] | None = None
    """(V, 3) RGB, or None where the head brings none."""
    version: str = "unknown"
    """The head's version in words, for metadata."""
    hash: str = ""
    """The head's hash, for metadata."""


class Sink(ABC):
    """Takes single frames (N = 1) in rising time.

    A file appears under its final name only when the sink is closed; `abort` (an exception inside the `with` block)
    leaves nothing under that name, except where the format is meant to survive a crash (JSON lines).
    """

    needs_vertices: ClassVar[bool] = False
    """The pipeline poses the head only if some open sink says True."""
    needs_picture: ClassVar[bool] = False
    """The source hands pictures along only if some open sink says True."""
    policy: ClassVar[Literal["every", "latest"]] = "every"
    """`every`: no frame may be lost (files). `latest`: a slow sink sees the newest frame only (viewers, network)."""
    instant: ClassVar[bool] = False
    """`write` never waits for anyone (a datagram, a mailbox): the pipeline calls it as soon as what it needs is there,
    before posing where that is not the vertices, without the detour of another thread. Close may be called from another
    thread than write, but not at the same time."""

    @abstractmethod
    def write(self, observation: Observation, params: FlameParams, vertices: NDArray[np.float32] | None) -> None:
        """Take one frame.

        Args:
            observation: what was seen, N = 1.
            params: what the head does, N = 1.
            vertices: (V, 3) metres, or None where `needs_vertices` is False.

        Raises:
            SinkError: it cannot be written; what was kept so far is named in the message.
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
