"""Webcams by OpenCV; the only source of images that reads the clock."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from typing import Any, Final, Protocol

from typing_extensions import override

from mp2flame.errors import SourceError
from mp2flame.sources.base import FrameReader, Image, TimedImage, require
from mp2flame.sources.images import to_rgb

with require("cv2", "read a webcam"):
    import cv2

_MAX_RETRY_SECONDS: Final = 2.0


class Capture(Protocol):
    """The part of `cv2.VideoCapture` that is used."""

    def grab(self) -> bool:
        """Take the next frame off the device."""

    def retrieve(self) -> tuple[bool, Any]:
        """Decode it: success, and (H, W, 3) BGR."""

    def release(self) -> None:
        """Free the device."""


def open_device(index: int) -> Capture | None:
    """The camera of that index, or None if it cannot be opened."""
    # OpenCV writes to stderr about cameras that are not there; the caller raises a better message.
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        capture = cv2.VideoCapture(index)
        # A queue of old frames would be latency.
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        opened: Capture | None = capture if capture.isOpened() else None
        return opened
    finally:
        cv2.utils.logging.setLogLevel(level)


class WebcamReader(FrameReader):
    """The images of a webcam, with the time at which each was taken off the device.

    While the device is gone there are no images. It is opened again after `retry_seconds`, then at growing intervals
    up to 2 s.

    Args:
        index: the camera, 0 for the first.
        give_up_seconds: seconds without a frame after which the camera counts as lost.
        retry_seconds: seconds before the first attempt to open a lost camera again.
        open_capture: opens a device; None if it is not there.
        clock: returns seconds that only rise.
    """

    live = True

    def __init__(
        self,
        index: int,
        *,
        give_up_seconds: float = 30.0,
        retry_seconds: float = 0.25,
        open_capture: Callable[[int], Capture | None] = open_device,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._index = index
        self._give_up = give_up_seconds
        self._retry = retry_seconds
        self._open_capture = open_capture
        self._clock = clock
        self._closed = threading.Event()
        self._n_returns = 0
        self._lost = False

    @property
    @override
    def warnings(self) -> tuple[str, ...]:
        sentences = []
        if self._n_returns:
            sentences.append(f"camera {self._index} vanished and came back {self._n_returns} times")
        if self._lost:
            sentences.append(f"camera {self._index} is gone; waiting for it")
        return tuple(sentences)

    @override
    def close(self) -> None:
        self._closed.set()

    @override
    def __iter__(self) -> Generator[TimedImage, None, None]:
        self._n_returns, self._lost = 0, False
        capture = self._open_capture(self._index)
        if capture is None:
            raise SourceError(
                f"no camera with index {self._index} can be opened: is it plugged in, in use by another program, "
                "and may this program use it? Other cameras have other indices (0, 1, ...)"
            )
        first: float | None = None
        latest = self._clock()
        try:
            while not self._closed.is_set():
                image, now = self._take(capture)
                if image is None:
                    self._lost = True
                    capture.release()
                    # Not to be released a second time if it does not come back.
                    capture = None
                    capture = self._reopen(latest)
                    if capture is None:
                        return
                    continue
                if self._lost:
                    self._lost, self._n_returns = False, self._n_returns + 1
                latest = now
                first = now if first is None else first
                yield now - first, image
        finally:
            if capture is not None:
                capture.release()

    def _take(self, capture: Capture) -> tuple[Image | None, float]:
        """The next image, or None, and when it was taken."""
        try:
            grabbed = capture.grab()
            now = self._clock()
            good, bgr = capture.retrieve() if grabbed else (False, None)
        except cv2.error:
            # Drivers differ in how they report that the device is gone.
            return None, self._clock()
        if not good or bgr is None or bgr.size == 0:
            return None, now
        return to_rgb(bgr[..., ::-1] if bgr.ndim == 3 else bgr), now

    def _reopen(self, latest: float) -> Capture | None:
        """The camera once it is back; None if the reader is closed meanwhile."""
        wait = self._retry
        while not self._closed.wait(wait):
            # Some devices can be opened but deliver nothing: what counts is the time since the latest frame.
            if self._clock() - latest >= self._give_up:
                raise SourceError(
                    f"camera {self._index} vanished and did not come back within {self._give_up:g} s: plug it in again"
                )
            capture = self._open_capture(self._index)
            if capture is not None:
                return capture
            wait = min(2 * wait, _MAX_RETRY_SECONDS)
        return None
