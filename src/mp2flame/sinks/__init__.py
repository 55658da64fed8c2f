"""Where frames go."""

from mp2flame.sinks.base import HeadSurface, Sink
from mp2flame.sinks.opening import open_sink

__all__ = ["HeadSurface", "Sink", "open_sink"]
