"""The page as a sink."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from mp2flame.signals import FlameParams, Observation
from mp2flame.sinks.base import Sink
from mp2flame.viewer.page import Page

__all__ = ["ViewerSink"]


class ViewerSink(Sink):
    """Shows the newest frame. The page, which outlives a run, is closed by whoever made it.

    Args:
        page: where to show it.
        on_head: is told of each frame as soon as its head is on its way to the browsers.
    """

    needs_vertices: ClassVar[bool] = True
    needs_picture: ClassVar[bool] = True
    policy: ClassVar[Literal["every", "latest"]] = "latest"

    def __init__(self, page: Page, on_head: Callable[[Observation], None] = lambda _: None) -> None:
        self._page = page
        self._on_head = on_head

    def write(self, observation: Observation, params: FlameParams, vertices: NDArray[np.float32] | None) -> None:  # noqa: ARG002 - a page shows vertices
        """Show one frame: the head first, then the picture that it comes from."""
        if vertices is not None:
            self._page.show_head(vertices)
        self._on_head(observation)
        if observation.picture is not None:
            self._page.show_picture(observation.picture)

    def close(self) -> None:
        """The page stays."""
