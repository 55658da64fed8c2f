"""The page as two sinks: the head, which is in a hurry, and the driving picture."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

from mp2flame.data import Frame, Observation
from mp2flame.live.page import Page
from mp2flame.sinks.base import Sink

__all__ = ["PictureSink", "ViewerSink"]

_HEAD_EVERY = 1 / 70
_PICTURE_EVERY = 1 / 35
"""Seconds: screens show sixty pictures a second, and cameras give thirty; more would only keep the detector waiting."""
_LET_PACK = 0.001
"""Seconds in which the server's thread, just woken, finds Python's lock free: else it waits for its turn."""
_HEAD_LEAVES = 0.004
"""Seconds in which the server's own thread packs the head and hands it to the browsers' sockets."""


class ViewerSink(Sink):
    """Shows the newest head, as often as a screen can. The page, which outlives a run, is closed by whoever made it.

    Args:
        page: where to show it.
        on_head: is told of each frame as soon as its head is on its way to the browsers.
    """

    name = "viewer"
    needs_vertices: bool = True
    policy: Literal["every", "latest"] = "latest"
    instant: bool = True

    def __init__(self, page: Page, on_head: Callable[[Observation], None] = lambda _: None) -> None:
        self._page = page
        self._on_head = on_head
        self._head_at = 0.0

    def write(self, frame: Frame) -> None:
        """Show one frame's head; one that comes too soon is left out."""
        now = time.monotonic()
        if now - self._head_at < _HEAD_EVERY:
            return
        self._head_at = now
        if frame.vertices is not None:
            self._page.show_head(frame.vertices)
            if self._page.watched:
                time.sleep(_LET_PACK)
        self._on_head(frame.observation)

    def close(self) -> None:
        """The page stays."""


class PictureSink(Sink):
    """Shows the newest driving picture beside the head, after the head of the same frame.

    Args:
        page: where to show it.
    """

    name = "picture"
    needs_image: bool = True
    policy: Literal["every", "latest"] = "latest"

    def __init__(self, page: Page) -> None:
        self._page = page
        self._picture_at = 0.0

    def write(self, frame: Frame) -> None:
        """Show one frame's picture; one that comes too soon is left out. A frame without one takes the last away."""
        if frame.observation.picture is None:
            # The last pictures of a source may still be on their way when another is put in its place.
            self._page.hide_picture()
            return
        now = time.monotonic()
        if now - self._picture_at >= _PICTURE_EVERY:
            self._picture_at = now
            # Packing a picture takes the processor from the head that is just being sent.
            time.sleep(_HEAD_LEAVES)
            self._page.show_picture(frame.observation.picture)

    def close(self) -> None:
        """The page stays."""
