"""A live session: the pipeline and the browser page that controls it."""

from mp2flame.errors import MissingExtraError

try:
    import viser  # noqa: F401 - without it the error below names the extra to install
except ImportError as error:
    raise MissingExtraError("viser", "viewer", "show heads in a browser") from error

from mp2flame.live.session import LiveSession
from mp2flame.live.state import LiveSettings

__all__ = ["LiveSession", "LiveSettings"]
