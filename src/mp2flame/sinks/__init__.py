"""Where frames go: files, videos and network streams."""

from mp2flame.sinks.base import FileSink, Sink, write_frames
from mp2flame.sinks.registry import open_sink, open_sinks

__all__ = ["FileSink", "Sink", "open_sink", "open_sinks", "write_frames"]
