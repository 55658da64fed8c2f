"""The filters of a live session."""

from __future__ import annotations

from mp2flame.filters import Chain, Filter, Hold, Limits, default_filters

__all__ = ["smoothing_filters"]


def smoothing_filters(amount: float) -> Filter:
    """The filters of a session.

    Args:
        amount: 1 is the default smoothing, 2 takes away twice as much, 0 nothing; what to do without a face, and
            limits, are always in it.
    """
    return Chain(Hold(), Limits()) if amount <= 0 else default_filters(smoothing=amount)
