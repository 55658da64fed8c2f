"""The page's web server: who may connect, what a browser may send, and the scene's camera and lights.

viser has no public hook for the handshake of a connection or for the messages of a browser: pyproject.toml pins the
minor version whose private parts are used here.
"""

from __future__ import annotations

import contextlib
import io
import logging
import math
import socket
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit
from weakref import WeakSet

import numpy as np
import viser
import viser.infra._infra as viser_connections
from numpy.typing import NDArray
from viser import _messages as messages

from mp2flame.errors import InputError, SinkError
from mp2flame.streams.base import is_loopback

_PORTS_TO_TRY = 1000
_VIEW_ANGLE = 26.0
_BACKGROUND = (234, 236, 240)
_LONGEST_TEXT = 4096
_LARGEST_MESSAGE = 16 * 2**20
"""Bytes; the largest message of a browser is a screenshot."""
_CLOSE_SECONDS = 0.5
"""How long connections that do not answer, such as that of a machine asleep, may hold up the end of the server."""


def is_allowed(host_header: str, origin: str | None, host: str) -> bool:
    """Whether a request is addressed to this server and comes from its own page or from a program.

    A browser lets any web page connect to this machine and only states the page's origin. Therefore the origin must be
    the server itself; programs send none. Host is compared with a list and never looked up: a name that a stranger has
    made resolve to this machine (DNS rebinding) is not on it. An IP address cannot be rebound, so a server that is
    open to the network accepts every one, which covers all addresses of this machine.

    Args:
        host_header: the request's Host.
        origin: the request's Origin, if it has one.
        host: the address on which the server listens.
    """
    try:
        name = urlsplit(f"//{host_header}").hostname or ""
    except ValueError:
        return False
    if name not in ("localhost", "127.0.0.1", "::1", host.lower()):
        own, is_address = socket.gethostname().lower(), ":" in name or name.replace(".", "").isdecimal()
        if is_loopback(host) or not (is_address or name in (own, f"{own}.local")):
            return False
    return origin is None or origin in (f"http://{host_header}", f"https://{host_header}")


def open_server(host: str, port: int, vertices: NDArray[np.float32]) -> tuple[Any, Callable[[], None]]:
    """A running viser server whose camera looks at a head from the front, and a function that closes it.

    Args:
        host: the address to listen on.
        port: the first port to try; 0 lets the system choose.
        vertices: (V, 3) meters, of the head.

    Raises:
        InputError: the port is not between 0 and 65535.
        SinkError: the address is not one of this machine's, or no port is free.
    """
    port = _free_port(host, port)
    # viser prints a box of addresses; the command prints its own line, with who can see the page.
    with contextlib.redirect_stdout(io.StringIO()), _checked_handshakes(host) as connections:
        server = viser.ViserServer(host=host, port=port, label="mp2flame", verbose=False)
    _check_messages(server)
    server.gui.configure_theme(show_logo=False, show_share_button=False, brand_color=(47, 105, 175))
    server.scene.set_up_direction("+y")
    _place_camera(server, vertices)
    _add_lights(server)
    return server, partial(_close, server, connections)


def _close(server: Any, connections: WeakSet[Any]) -> None:
    """Disconnect the browsers, also those that no longer answer, for which viser would wait, and free the port."""

    def abort() -> None:
        for connection in list(connections):
            with contextlib.suppress(RuntimeError):  # The loop has ended.
                connection.loop.call_soon_threadsafe(connection.transport.abort)

    timer = threading.Timer(_CLOSE_SECONDS, abort)
    timer.start()
    with contextlib.redirect_stdout(io.StringIO()):
        server.stop()
    timer.cancel()


def _free_port(host: str, port: int) -> int:
    """The first free port. viser tries further ports itself, but waits forever where there is none."""
    if not 0 <= port <= 65535:
        raise InputError(f"expected a port from 0 to 65535; got {port}")
    for candidate in range(port, min(port + _PORTS_TO_TRY, 65536)):
        with contextlib.suppress(OSError):
            socket.create_server((host, candidate), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
            return candidate
    raise SinkError(
        f"{host} is not an address of this machine, or no port from {port} on is free: choose another --port or --host"
    )


@contextlib.contextmanager
def _checked_handshakes(host: str) -> Iterator[WeakSet[Any]]:
    """Servers that viser starts meanwhile answer 403 to requests that are not allowed, before anything is exchanged.

    Yields:
        The connections that they will have.
    """
    library = viser_connections.websockets.asyncio.server
    serve = library.serve
    # Port scanners and browsers that go away are no news; websockets would print a traceback for each.
    logger = logging.getLogger("mp2flame.live.server")
    logger.setLevel(logging.CRITICAL)

    connections: WeakSet[Any] = WeakSet()

    def connect(*args: Any, **options: Any) -> Any:
        connection = library.ServerConnection(*args, **options)
        connections.add(connection)
        return connection

    def checked(*args: Any, process_request: Any, **options: Any) -> Any:
        def process(connection: Any, request: Any) -> Any:
            hosts, origins = (request.headers.get_all(name) for name in ("Host", "Origin"))
            if len(hosts) == 1 and len(origins) < 2 and is_allowed(hosts[0], next(iter(origins), None), host):
                return process_request(connection, request)
            return connection.respond(HTTPStatus.FORBIDDEN, "this page is not for other web pages\n")

        options |= {"logger": logger, "server_header": None, "max_size": _LARGEST_MESSAGE}
        options |= {"create_connection": connect}
        return serve(*args, process_request=process, **options)

    library.serve = checked
    try:
        yield connections
    finally:
        library.serve = serve


def _check_messages(server: Any) -> None:
    """Let through what the page's own controls send, and drop everything else that a client may send to the server."""
    sockets = server._websock_server
    handle = sockets._handle_incoming_message

    async def checked(client: Any, message: Any) -> None:
        control = server.gui._gui_input_handle_from_uuid.get(getattr(message, "uuid", None))
        if isinstance(message, messages.GuiUpdateMessage) and control and is_valid(control, message.updates):
            await handle(client, message)

    sockets._handle_incoming_message = checked


def is_valid(control: Any, updates: dict[str, Any]) -> bool:
    """Whether a browser's update of a control is one that the control can make: its value, of its kind and range."""
    value = updates.get("value")
    if set(updates) != {"value"}:
        return False
    if hasattr(control, "options"):
        return value in control.options
    if hasattr(control, "min"):
        # False for NaN too.
        return isinstance(value, (int, float)) and not isinstance(value, bool) and control.min <= value <= control.max
    if isinstance(control.value, str):
        return isinstance(value, str) and len(value) <= _LONGEST_TEXT
    return isinstance(value, bool)


def _place_camera(server: Any, vertices: NDArray[np.float32]) -> None:
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    middle = (low + high) / 2
    distance = 0.62 * float(max(high - low)) / math.tan(math.radians(_VIEW_ANGLE / 2)) + float(high[2] - middle[2])
    camera = server.initial_camera
    camera.look_at = tuple(middle.tolist())
    camera.position = (float(middle[0]), float(middle[1]), float(middle[2]) + distance)
    camera.fov = math.radians(_VIEW_ANGLE)
    camera.near = 0.01


def _add_lights(server: Any) -> None:
    """A warm key light from the upper left, a cool fill from the right, a rim light from behind, and a sky."""
    scene = server.scene
    scene.configure_default_lights(enabled=False)
    scene.configure_environment_map(None)
    scene.set_background_image(np.full((2, 2, 3), _BACKGROUND, dtype=np.uint8), format="png")
    scene.add_light_directional("/light/key", color=(255, 243, 230), intensity=2.1, position=(-0.5, 0.6, 1.0))
    scene.add_light_directional("/light/fill", color=(225, 235, 255), intensity=0.9, position=(0.9, 0.2, 0.7))
    scene.add_light_directional("/light/rim", intensity=1.5, position=(0.3, 0.8, -1.0))
    scene.add_light_hemisphere("/light/sky", sky_color=(255, 255, 255), ground_color=(170, 150, 140), intensity=0.9)
