"""A live session: the corridor and the page that steers it."""

from mp2flame.live.session import LiveSession
from mp2flame.live.settings import LiveSettings

__all__ = ["LiveSession", "LiveSettings"]
