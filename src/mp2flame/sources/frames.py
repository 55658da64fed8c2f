"""What every reader of pixels is: timed RGB pictures, with no idea of faces."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator
from typing import ClassVar, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mp2flame.sources.expectations import Expectations

__all__ = ["CLOSE", "FrameReader", "Picture", "RisingTimes", "TimedPicture"]

Picture: TypeAlias = NDArray[np.uint8]
"""(H, W, 3) RGB."""

TimedPicture: TypeAlias = "tuple[float, Picture | None]"
"""Seconds from the first frame, and the picture, or None for a frame that could not be read."""

# A step back by this much is a new recording spliced on, not a rounding error of the writer.
_SPLICE_SECONDS = 1.0
_SMALLEST_STEP = 1e-3

CLOSE = 1e-6
"""Seconds: times this near to each other are the same."""


class FrameReader(Expectations, ABC):
    """A stream of pictures in strictly rising time.

    An iteration holds the device and frees it when it ends or is closed; iterating again starts at the first frame.
    """

    live: ClassVar[bool] = False
    """Frames come at their own pace and are lost if not taken."""

    mode: Literal["video", "image"] = "video"
    """`image` where a picture says nothing about the next one."""

    @abstractmethod
    def __iter__(self) -> Generator[TimedPicture, None, None]:
        """Timed pictures.

        Raises:
            SourceError: the device or file cannot be read.
            FormatError: the file is not what it should be.
        """

    def begin_at(self, seconds: float) -> Generator[TimedPicture, None, None]:
        """Timed pictures from the first one at or after a moment; what comes before is read and left out.

        Raises:
            SourceError: the device or file cannot be read.
            FormatError: the file is not what it should be.
        """
        for time, picture in self:
            if time >= seconds - CLOSE:
                yield time, picture

    def close(self) -> None:
        """Wake an iteration that waits for its device, from any thread, so that it ends."""


class RisingTimes:
    """Times as files state them, made to rise strictly and to start at 0.

    A time that repeats or steps back a little is moved just behind its predecessor; after a step back of a second
    or more (files joined end to end) the clock goes on by one frame from where it was.

    Args:
        step: seconds between frames, for frames without a time and at a splice.
    """

    def __init__(self, step: float) -> None:
        self._step = step
        self._offset: float | None = None
        self._last = 0.0
        self.corrected = 0
        """How many times were missing or did not rise."""

    def __call__(self, stated: float | None) -> float:
        """The frame's time in seconds, 0 for the first."""
        if self._offset is None:
            self._offset = -(stated or 0.0)
            return self._last
        time = self._last + self._step if stated is None else stated + self._offset
        if time <= self._last:
            if stated is not None and time <= self._last - _SPLICE_SECONDS:
                self._offset += self._last + self._step - time
                time = self._last + self._step
            else:
                time = self._last + _SMALLEST_STEP
            self.corrected += 1
        elif stated is None:
            self.corrected += 1
        self._last = time
        return time
