"""A browser page as a live sink."""

from mp2flame.viewer.director import Director
from mp2flame.viewer.page import Page, only_this_machine, who_can_see
from mp2flame.viewer.sink import ViewerSink

__all__ = ["Director", "Page", "ViewerSink", "only_this_machine", "who_can_see"]
