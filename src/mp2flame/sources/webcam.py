"""Webcams by OpenCV; the one source of pixels that reads the clock."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from typing import Any, Protocol

from mp2flame.errors import SourceError
from mp2flame.sources.base import FrameReader, TimedImage
from mp2flame.sources.images import to_rgb
from mp2flame.sources.optional import importing

with importing("cv2", "read a webcam"):
    import cv2

__all__ = ["Capture", "WebcamReader"]

_FIRST_WAIT = 0.25
_LONGEST_WAIT = 2.0


class Capture(Protocol):
    """The part of `cv2.VideoCapture` that is used."""

    def grab(self) -> bool:
        """Take the next frame off the device."""

    def retrieve(self) -> tuple[bool, Any]:
        """Decode it: success, and (H, W, 3) BGR."""

    def release(self) -> None:
        """Let go of the device."""


def open_device(index: int) -> Capture | None:
    """The camera of that index, or None if it cannot be opened."""
    # OpenCV complains on stderr about cameras that are not there; ours to say.
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        capture = cv2.VideoCapture(index)
        # Old frames in a queue would be latency.
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        opened: Capture | None = capture if capture.isOpened() else None
        return opened
    finally:
        cv2.utils.logging.setLogLevel(level)


class WebcamReader(FrameReader):
    """The pictures of a webcam, with the time at which each was taken off the device.

    When the device vanishes nothing is emitted; it is opened again after 0.25 s, then at growing intervals up to 2 s.

    Args:
        index: the camera, 0 for the first.
        give_up_seconds: how long without a frame before the camera counts as lost.
        open_capture: opens a device; None if it is not there.
        clock: seconds that only rise.
    """

    live = True

    def __init__(
        self,
        index: int,
        *,
        give_up_seconds: float = 30.0,
        open_capture: Callable[[int], Capture | None] = open_device,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._index = index
        self._give_up = give_up_seconds
        self._open_capture = open_capture
        self._clock = clock
        self._closed = threading.Event()
        self._returns = 0
        self._lost = False

    @property
    def warnings(self) -> tuple[str, ...]:
        """How often the camera vanished."""
        found = []
        if self._returns:
            found.append(f"camera {self._index} vanished and came back {self._returns} times")
        if self._lost:
            found.append(f"camera {self._index} is gone; waiting for it")
        return tuple(found)

    def close(self) -> None:
        """End the iteration at its next frame, and at once where it waits for the camera to come back."""
        self._closed.set()

    def __iter__(self) -> Generator[TimedImage, None, None]:
        """Pictures with seconds since the first one.

        Raises:
            SourceError: there is no such camera, or it stayed away too long.
        """
        self._returns, self._lost = 0, False
        capture = self._open_capture(self._index)
        if capture is None:
            raise SourceError(
                f"no camera with index {self._index} can be opened: is it plugged in, in use by another program, "
                "and may this program use it? Other cameras have other indices (0, 1, ...)"
            )
        first: float | None = None
        seen = self._clock()
        try:
            while not self._closed.is_set():
                picture, now = self._take(capture)
                if picture is None:
                    self._lost = True
                    capture.release()
                    # Not to be released again if it does not come back.
                    capture = None
                    capture = self._reopen(seen)
                    if capture is None:
                        return
                    continue
                if self._lost:
                    self._lost, self._returns = False, self._returns + 1
                seen = now
                first = now if first is None else first
                yield now - first, picture
        finally:
            if capture is not None:
                capture.release()

    def _take(self, capture: Capture) -> tuple[Any, float]:
        """The next picture in RGB, or None, and when it was taken."""
        try:
            grabbed = capture.grab()
            now = self._clock()
            good, bgr = capture.retrieve() if grabbed else (False, None)
        except cv2.error:
            # Drivers differ in how they say that the device is gone.
            return None, self._clock()
        if not good or bgr is None or bgr.size == 0:
            return None, now
        return to_rgb(bgr[..., ::-1] if bgr.ndim == 3 else bgr), now

    def _reopen(self, seen: float) -> Capture | None:
        """The camera once it is back; None if the reader is closed meanwhile."""
        wait = _FIRST_WAIT
        while not self._closed.wait(wait):
            # Some devices can be opened but deliver nothing: what counts is the time without a frame.
            if self._clock() - seen >= self._give_up:
                raise SourceError(
                    f"camera {self._index} vanished and did not come back within {self._give_up:g} s: plug it in again"
                )
            capture = self._open_capture(self._index)
            if capture is not None:
                return capture
            wait = min(2 * wait, _LONGEST_WAIT)
        return None
