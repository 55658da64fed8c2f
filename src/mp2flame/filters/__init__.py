"""FLAME parameters along time."""

from mp2flame.filters.base import Filter
from mp2flame.filters.chain import Chain, default_filters
from mp2flame.filters.hold import Hold
from mp2flame.filters.limits import Limits
from mp2flame.filters.one_euro import OneEuro

__all__ = ["Chain", "Filter", "Hold", "Limits", "OneEuro", "default_filters"]
