"""The server, its camera and its light."""

from __future__ import annotations

import contextlib
import io
import math
import socket
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mp2flame.errors import MissingExtraError, SinkError
from mp2flame.live.access import may_connect

try:
    import viser
except ImportError as error:  # pragma: no cover - exercised by the bare-install test
    raise MissingExtraError("viser", "viewer", "show the head in a browser") from error

__all__ = ["open_server"]

_VIEW_ANGLE = 26.0
_BACKGROUND = (234, 236, 240)


class _Server(viser.ViserServer):  # type: ignore[misc]
    """viser without its public tunnel: a face stays on this machine unless `--host` says otherwise."""

    def request_share_url(self, verbose: bool = True) -> str | None:  # noqa: ARG002 - viser's signature
        """Refuse."""
        return None


def open_server(host: str, port: int, rest_vertices: NDArray[np.float32]) -> Any:
    """A running server that looks at a head from the front.

    Args:
        host: the address to listen on.
        port: the first port to try; 0 lets the system choose.
        rest_vertices: (V, 3) metres, the head at rest.

    Raises:
        SinkError: it cannot listen there.
    """
    try:
        # viser listens in a thread of its own, and would wait for ever for one that cannot.
        socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
        # viser prints a box with addresses; this program says its own, with who can see them.
        with contextlib.redirect_stdout(io.StringIO()):
            server = _Server(host=host, port=port, label="mp2flame", verbose=False)
    except OSError as error:
        raise SinkError(f"cannot listen on {host}:{port} ({error}): choose another --port or --host") from error
    _keep_strangers_out(server, host)
    server.gui.configure_theme(show_logo=False, show_share_button=False, brand_color=(47, 105, 175))
    server.scene.set_up_direction("+y")
    _aim(server, rest_vertices)
    _light(server)
    return server


def _keep_strangers_out(server: Any, host: str) -> None:
    """Close connections from other people's web pages, before anything is sent to them."""
    sockets = server._websock_server  # viser has no public place for this

    async def check(client: Any) -> None:
        connection = sockets._live_connections[client.client_id]
        if not may_connect(connection.request.headers, host):
            await connection.close(1008, "this page is not for other web pages")

    sockets.on_client_connect(check)


def _aim(server: Any, rest: NDArray[np.float32]) -> None:
    low, high = rest.min(axis=0), rest.max(axis=0)
    middle = (low + high) / 2
    distance = 0.62 * float(max(high - low)) / math.tan(math.radians(_VIEW_ANGLE / 2)) + float(high[2] - middle[2])
    server.initial_camera.look_at = tuple(middle.tolist())
    server.initial_camera.position = (float(middle[0]), float(middle[1]), float(middle[2]) + distance)
    server.initial_camera.fov = math.radians(_VIEW_ANGLE)
    server.initial_camera.near = 0.01


def _light(server: Any) -> None:
    """A warm key from the upper left, a cool fill from the right, a rim from behind, and sky all round."""
    scene = server.scene
    scene.configure_default_lights(enabled=False)
    scene.configure_environment_map(None)
    scene.set_background_image(np.full((2, 2, 3), _BACKGROUND, dtype=np.uint8), format="png")
    scene.add_light_directional("/light/key", color=(255, 243, 230), intensity=2.1, position=(-0.5, 0.6, 1.0))
    scene.add_light_directional("/light/fill", color=(225, 235, 255), intensity=0.9, position=(0.9, 0.2, 0.7))
    scene.add_light_directional("/light/rim", intensity=1.5, position=(0.3, 0.8, -1.0))
    scene.add_light_hemisphere("/light/sky", sky_color=(255, 255, 255), ground_color=(170, 150, 140), intensity=0.9)
