"""What every source is: an iterable of single-frame `Observation`s in rising time, and a device to let go of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mp2flame.data import Observation

if TYPE_CHECKING:
    from typing_extensions import Self


Image: TypeAlias = NDArray[np.uint8]
"""(H, W, 3) RGB."""

TimedImage: TypeAlias = "tuple[float, Image | None]"
"""Seconds from the first frame, and the image, or None for a frame that could not be read."""

TIME_TOLERANCE: Final = 1e-6
"""Seconds: times this near to each other are the same."""


class StreamInfo:
    """Of observations or of pictures; whoever knows more says so."""

    @property
    def n_frames(self) -> int | None:
        """How many frames are expected, where that is known; for progress only."""
        return None

    @property
    def fps(self) -> float | None:
        """Frames per second on average, where that is known; never used to make up times."""
        return None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user should know about the frames read so far, such as a truncated end."""
        return ()


class Source(StreamInfo, ABC):
    """A stream of observations, one frame each (N = 1), in rising time.

    Iterating starts at the first frame; a source that is not live can be iterated again. Leaving the `with` block
    (or `close`) frees the device, also in the middle of an iteration.
    """

    live: bool = False
    """Frames come at their own pace and are lost if not taken; False for files, which wait."""

    keep_image: bool = False
    """Set by the pipeline before iterating: put the RGB frame into `Observation.picture`."""

    @abstractmethod
    def __iter__(self) -> Iterator[Observation]:
        """Observations in rising time.

        Raises:
            SourceError: the device or file cannot be read.
            FormatError: the file is not what it should be.
        """

    @abstractmethod
    def close(self) -> None:
        """Free the device; safe to call twice."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class FrameReader(StreamInfo, ABC):
    """A stream of pictures in strictly rising time.

    An iteration holds the device and frees it when it ends or is closed; iterating again starts at the first frame.
    """

    live: bool = False
    """Frames come at their own pace and are lost if not taken."""

    mode: Literal["video", "image"] = "video"
    """`image` where a picture says nothing about the next one."""

    @abstractmethod
    def __iter__(self) -> Generator[TimedImage, None, None]:
        """Timed pictures.

        Raises:
            SourceError: the device or file cannot be read.
            FormatError: the file is not what it should be.
        """

    def begin_at(self, seconds: float) -> Generator[TimedImage, None, None]:
        """Timed pictures from the first one at or after a moment; what comes before is read and left out.

        Raises:
            SourceError: the device or file cannot be read.
            FormatError: the file is not what it should be.
        """
        for time, picture in self:
            if time >= seconds - TIME_TOLERANCE:
                yield time, picture

    def close(self) -> None:
        """Wake an iteration that waits for its device, from any thread, so that it ends."""
