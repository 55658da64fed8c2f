"""What every source is: an iterable of single-frame `Observation`s in rising time, and a device to let go of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, ClassVar

from mp2flame.data import Observation
from mp2flame.sources.expectations import Expectations

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Source"]


class Source(Expectations, ABC):
    """A stream of observations, one frame each (N = 1), in rising time.

    Iterating starts at the first frame; a source that is not live can be iterated again. Leaving the `with` block
    (or `close`) frees the device, also in the middle of an iteration.
    """

    live: ClassVar[bool] = False
    """Frames come at their own pace and are lost if not taken; False for files, which wait."""

    keep_picture: bool = False
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
