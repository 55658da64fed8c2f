"""What every filter is: `FlameParams` to `FlameParams` along time, with one state that is replaced as a whole."""

from __future__ import annotations

from abc import ABC, abstractmethod

from mp2flame.data import FlameParams
from mp2flame.filters.rows import Rows, from_rows, to_rows

__all__ = ["Filter"]


class Filter(ABC):
    """Call it with a sample (N frames in rising time), get a sample of the same N.

    Feeding a sequence at once or in pieces gives the same result. Times are read from the sample, never from a clock.
    """

    def __call__(self, params: FlameParams) -> FlameParams:
        """Filter N frames that follow those seen before.

        Raises:
            InputError: time runs backwards, or the number of coefficients changed since the last call.
        """
        rows = to_rows(params)
        self.step(rows)
        return from_rows(params, rows)

    @abstractmethod
    def step(self, rows: Rows) -> None:
        """Filter N frames where they are.

        Raises:
            InputError: time runs backwards, or the number of coefficients changed since the last call.
        """

    @abstractmethod
    def reset(self) -> None:
        """Forget everything: what follows is filtered as by a new filter."""
