"""Where frames go."""

from mp2flame.sinks.base import Sink
from mp2flame.sinks.opening import open_sink

__all__ = ["Sink", "open_sink"]
