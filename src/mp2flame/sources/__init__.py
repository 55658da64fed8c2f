"""Pixels or packets to observations."""

from mp2flame.sources.base import Source
from mp2flame.sources.registry import open_source

__all__ = ["Source", "open_source"]
