"""A second mapping beside the first, from the same observations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mp2flame.data import Frame
from mp2flame.filters import Filter
from mp2flame.head import FlameHead
from mp2flame.mapping import BlendshapeMapping
from mp2flame.sinks.base import Sink

__all__ = ["BesideSink"]


class BesideSink(Sink):
    """Maps, filters and poses the latest observation in its own thread. `mapping` and `filters` may be replaced.

    Args:
        mapping: the second mapping.
        filters: its own filters: they have a state.
        head: is posed.
        show: is given the vertices (V, 3).
    """

    name = "second head"
    policy: Literal["every", "latest"] = "latest"

    def __init__(
        self, mapping: BlendshapeMapping, filters: Filter, head: FlameHead, show: Callable[[NDArray[np.float32]], None]
    ) -> None:
        self.mapping = mapping
        self.filters = filters
        self._head = head
        self._show = show

    def write(self, frame: Frame) -> None:
        """Show what the second mapping makes of one frame."""
        self._show(self._head(self.filters(self.mapping(frame.observation)))[0])

    def close(self) -> None:
        """Nothing is held."""
