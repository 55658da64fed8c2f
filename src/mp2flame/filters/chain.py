"""Filters one after the other."""

from __future__ import annotations

from mp2flame.errors import InputError
from mp2flame.filters.base import Filter
from mp2flame.filters.hold import Hold
from mp2flame.filters.limits import Limits
from mp2flame.filters.one_euro import OneEuro
from mp2flame.filters.rows import Rows

__all__ = ["Chain", "default_filters"]


class Chain(Filter):
    """Each filter gets what the one before gives.

    Raises:
        InputError: no filter is given.
    """

    def __init__(self, *filters: Filter) -> None:
        if not filters:
            raise InputError("expected at least one filter for a chain; got none")
        self._filters = filters

    def step(self, rows: Rows) -> None:
        """Filter N frames where they are.

        Raises:
            InputError: time runs backwards, or the number of coefficients changed since the last call.
        """
        for part in self._filters:
            part.step(rows)

    def reset(self) -> None:
        """Reset every filter."""
        for part in self._filters:
            part.reset()


def default_filters(*, smoothing: float = 1.0) -> Chain:
    """Smoothing (2 takes away twice as much as 1), then what to show without a face, then limits.

    Smoothing comes first, where rows without a face are still told by NaN and are not mistaken for a face that
    stands still; limits come last, because a face that comes back fades in on top of what was shown.
    """
    return Chain(OneEuro(smoothing=smoothing), Hold(), Limits())
