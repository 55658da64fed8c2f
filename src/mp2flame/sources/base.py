"""The base classes of sources (observations) and of frame readers (images), and times that always rise."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mp2flame.data import Observation
from mp2flame.errors import MissingExtraError, SourceError

if TYPE_CHECKING:
    from typing_extensions import Self

Image: TypeAlias = NDArray[np.uint8]
"""(H, W, 3) RGB, C-contiguous: MediaPipe finds no face in an array whose rows are padded, and says nothing."""

TimedImage: TypeAlias = "tuple[float, Image | None]"
"""Seconds from the first frame, and the image, or None for a frame that could not be read."""

TIME_TOLERANCE: Final = 1e-6
"""Seconds: times that differ by less are equal."""

# A step back by this much is another recording appended to the first, not a rounding error of the writer.
_SPLICE_SECONDS: Final = 1.0
_SMALLEST_STEP: Final = 1e-3
# A longer pause between two frames is a damaged or meaningless time.
_LARGEST_GAP: Final = 3600.0


class StreamInfo:
    """Optional metadata of a stream of observations or images; subclasses override what they know."""

    live: bool = False
    """Frames arrive at their own pace and are lost if not taken; False for files."""

    _origin: StreamInfo | None = None
    """The stream that this one is made from, which knows the metadata."""

    @property
    def n_frames(self) -> int | None:
        """Expected number of frames, or None; for progress only."""
        return None if self._origin is None or self.live else self._origin.n_frames

    @property
    def fps(self) -> float | None:
        """Average frames per second, or None; never used to make up times."""
        return None if self._origin is None else self._origin.fps

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user should know about the frames read so far, such as a truncated end."""
        return () if self._origin is None else self._origin.warnings


class Source(StreamInfo, ABC):
    """A stream of observations, one frame each (N = 1), in rising time.

    Iterating starts at the first frame; a source that is not live can be iterated again. Leaving the `with` block
    (or `close`) frees the device, also in the middle of an iteration.
    """

    keep_image: bool = False
    """Put the RGB image into `Observation.picture`; set by the pipeline before it iterates."""

    @abstractmethod
    def __iter__(self) -> Iterator[Observation]:
        """Observations in rising time.

        Raises:
            SourceError: the device or file cannot be read.
            FormatError: the file is damaged or of another format.
        """

    @abstractmethod
    def close(self) -> None:
        """Free the device; safe to call twice, and from another thread."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@contextmanager
def require(package: str, purpose: str) -> Iterator[None]:
    """Translate the errors of importing a package of the extra `track`.

    Args:
        package: name as imported.
        purpose: what it is needed for, as the end of "... is needed to".

    Raises:
        MissingExtraError: the package, or one that it needs, is not installed.
        SourceError: it is installed, but a library of the system is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or package, "track", purpose) from error
    except (ImportError, OSError) as error:
        raise SourceError(
            f"{package} is installed but cannot be loaded ({error}); `mp2flame doctor` names the missing library"
        ) from error


def closed_error() -> SourceError:
    """What iterating a closed source raises."""
    return SourceError("this source is closed: open it again to read it again")


class FrameReader(StreamInfo, ABC):
    """A stream of images in strictly rising time.

    An iteration holds the device and frees it when it ends or is closed; iterating again starts at the first frame.
    """

    mode: Literal["video", "image"] = "video"
    """`image` where consecutive images are unrelated."""

    @abstractmethod
    def __iter__(self) -> Generator[TimedImage, None, None]:
        """Timed images.

        Raises:
            SourceError: the device or file cannot be read.
            FormatError: the file is damaged or of another format.
        """

    def begin_at(self, seconds: float) -> Generator[TimedImage, None, None]:
        """Timed images from the first one at or after a moment; by default those before are read and dropped.

        Raises:
            SourceError: the device or file cannot be read.
            FormatError: the file is damaged or of another format.
        """
        for time, image in self:
            if time >= seconds - TIME_TOLERANCE:
                yield time, image

    def close(self) -> None:
        """End an iteration that waits for its device; may be called from any thread."""


class RisingTimes:
    """Converts the times that a file states to seconds that rise strictly from 0.

    A time that repeats or steps back a little is moved just behind its predecessor. After a step back of a second or
    more (files joined end to end) and after a gap of more than an hour, time continues one frame later.

    Args:
        step: seconds between frames, for frames without a time and after a jump.
    """

    def __init__(self, step: float) -> None:
        self._step = step
        self._offset: float | None = None
        self._last = 0.0
        self.n_corrected = 0
        """How many times were missing or did not rise."""
        self.n_gaps = 0
        """How many gaps were left out."""

    def __call__(self, stated: float | None) -> float:
        """The frame's time in seconds, 0 for the first."""
        if self._offset is None:
            self._offset = -(stated or 0.0)
            return self._last
        regular = self._last + self._step
        if stated is None:
            time = regular
            self.n_corrected += 1
        else:
            time = stated + self._offset
            ahead = time - self._last
            if ahead > _LARGEST_GAP:
                self.n_gaps += 1
            elif ahead <= 0:
                self.n_corrected += 1
            if ahead > _LARGEST_GAP or ahead <= -_SPLICE_SECONDS:
                self._offset += regular - time
                time = regular
            elif ahead <= 0:
                time = self._last + _SMALLEST_STEP
        self._last = time
        return time

    def warnings(self) -> tuple[str, ...]:
        """Sentences about the times that were changed."""
        sentences = []
        if self.n_corrected:
            sentences.append(
                f"{self.n_corrected} frames had no time or one that did not rise; each directly follows the frame "
                "before it"
            )
        if self.n_gaps:
            sentences.append(f"{self.n_gaps} gaps of more than an hour between two frames were left out of the times")
        return tuple(sentences)
