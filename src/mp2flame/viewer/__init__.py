"""A browser page as a live sink."""

from mp2flame.errors import MissingExtraError

try:
    import viser  # noqa: F401 - what is missing is told in a sentence
except ImportError as error:
    raise MissingExtraError("viser", "viewer", "show heads in a browser") from error

from mp2flame.viewer.director import Director
from mp2flame.viewer.hosts import only_this_machine, who_can_see
from mp2flame.viewer.page import Page
from mp2flame.viewer.sink import PictureSink, ViewerSink

__all__ = ["Director", "Page", "PictureSink", "ViewerSink", "only_this_machine", "who_can_see"]
