"""FLAME parameters along time."""

from mp2flame.filters.base import Chain, Filter
from mp2flame.filters.hold import Hold
from mp2flame.filters.limits import Limits
from mp2flame.filters.one_euro import OneEuro

__all__ = ["Chain", "Filter", "Hold", "Limits", "OneEuro", "default_filters"]


def default_filters(*, smoothing: float = 1.0) -> Chain:
    """Smoothing (2 removes twice as much as 1), then values for frames without a face, then limits.

    Smoothing comes first, where frames without a face are still NaN and are not mistaken for a face that does not
    move; limits come last, because a face that comes back fades in on top of what was shown.
    """
    return Chain(OneEuro(smoothing=smoothing), Hold(), Limits())
