"""A WebSocket server in a thread of its own, in which every client has room for one message: the latest."""

from __future__ import annotations

import asyncio
import logging
import re
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from http import HTTPStatus
from typing import Final, TypeAlias

from mp2flame.errors import MissingExtraError, SinkError, plain

try:
    from websockets.asyncio.server import Server, ServerConnection, serve
    from websockets.exceptions import ConnectionClosed
    from websockets.http11 import Request, Response
except ImportError as error:
    raise MissingExtraError("websockets", "stream", "send and receive WebSocket streams") from error

_LOOPBACK_PAGES: Final = re.compile(r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?")
_MESH_REQUEST: Final = '{"request":"mesh"}'
_START_SECONDS: Final = 10.0
_STOP_SECONDS: Final = 5.0
_GOODBYE_SECONDS: Final = 1.0


_Post: TypeAlias = "tuple[str, str | bytes]"
"""A hello, and a frame that belongs to it."""


class _Client:
    """One connection and its mailbox."""

    def __init__(self, connection: ServerConnection, latest: _Post | None) -> None:
        self.connection = connection
        # `taken` is the latest post that came into the mailbox, read or not.
        self.mailbox = self.taken = latest
        self.changed = asyncio.Event()
        self.changed.set()
        self.hello: str | None = None
        """The hello that it was sent."""
        self.wants_mesh = False
        self.sending_since: float | None = None


class Broadcaster:
    """Serves the latest message to any number of clients; `publish` never waits for any of them.

    Args:
        host: where to listen.
        port: 0 for any that is free.
        origins: web pages that may connect besides those of this machine, such as `https://example.com`.
        mesh: makes the reply to a client's request for the mesh.
        max_clients: further clients are refused.
        send_timeout: a client that takes no byte of a message for so many seconds is disconnected.

    Raises:
        SinkError: it cannot listen there.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        origins: Sequence[str],
        mesh: Callable[[], bytes],
        max_clients: int = 128,
        send_timeout: float = 20.0,
    ) -> None:
        self.port = port
        self._host = host
        self._origins = origins
        self._mesh = mesh
        self._max_clients = max_clients
        self._send_timeout = send_timeout
        self._clients: set[_Client] = set()
        self._latest: _Post | None = None
        self._scheduled = False
        self._ready = threading.Event()
        self._failure: OSError | UnicodeError | None = None
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="mp2flame-websocket", daemon=True)
        self._thread.start()
        if not self._ready.wait(_START_SECONDS) or self._failure is not None:
            self.close()
            reason = getattr(self._failure, "strerror", None) or self._failure or f"no answer in {_START_SECONDS:g} s"
            raise SinkError(
                f"cannot serve on {plain(host)}:{port}: {reason}; is the port in use? Choose another"
            ) from self._failure

    @property
    def clients(self) -> int:
        """How many are connected."""
        return len(self._clients)

    def publish(self, hello: str, message: str | bytes) -> None:
        """Put a frame in every mailbox, in place of one not yet sent; a client first gets a hello that is new to it."""
        self._latest = (hello, message)
        # One call at a time waits in the loop; it takes what is the latest by then.
        if not self._scheduled:
            self._scheduled = True
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._deliver)

    def close(self) -> None:
        """Close all connections and end the thread; safe to call twice."""
        if self._thread.is_alive():
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(_STOP_SECONDS)

    def _deliver(self) -> None:
        self._scheduled = False
        now = self._loop.time()
        for client in self._clients:
            if client.taken is not self._latest:
                client.mailbox = client.taken = self._latest
                client.changed.set()
            if client.sending_since is not None and now - client.sending_since > self._send_timeout:
                client.connection.transport.abort()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        except (OSError, UnicodeError) as error:
            self._failure = error
        finally:
            self._loop.close()
            self._ready.set()

    async def _serve(self) -> None:
        # websockets would log a line for every client that breaks off.
        logger = logging.getLogger("mp2flame.websocket")
        logger.setLevel(logging.CRITICAL)
        server: Server = await serve(
            self._handle,
            self._host,
            self.port,
            # None: programs, which send no origin; browsers always do.
            origins=[None, _LOOPBACK_PAGES, *self._origins],  # type: ignore[list-item]
            process_request=self._admit,
            compression=None,
            open_timeout=5.0,
            close_timeout=1.0,
            max_size=1024,
            max_queue=2,
            write_limit=16384,
            server_header=None,
            logger=logger,
        )
        self.port = int(next(iter(server.sockets)).getsockname()[1])
        self._ready.set()
        await self._stop.wait()
        server.close()
        closing = asyncio.ensure_future(server.wait_closed())
        await asyncio.wait([closing], timeout=_GOODBYE_SECONDS)
        # A client that does not read, or never finishes its handshake, does not answer the close either.
        for connection in list(server.handlers):
            connection.transport.abort()
        await closing

    def _admit(self, connection: ServerConnection, _: Request) -> Response | None:
        if len(self._clients) < self._max_clients:
            return None
        return connection.respond(
            HTTPStatus.SERVICE_UNAVAILABLE, f"{self._max_clients} clients are connected already\n"
        )

    async def _handle(self, connection: ServerConnection) -> None:
        client = _Client(connection, self._latest)
        self._clients.add(client)
        requests = asyncio.ensure_future(_take_requests(client))
        try:
            with suppress(ConnectionClosed):
                while not requests.done():
                    await self._send(client)
        finally:
            self._clients.discard(client)
            requests.cancel()
            await asyncio.gather(requests, return_exceptions=True)

    async def _send(self, client: _Client) -> None:
        """Wait for something to send, and send it."""
        await client.changed.wait()
        client.changed.clear()
        client.sending_since = self._loop.time()
        post, client.mailbox = client.mailbox, None
        if post is not None and client.hello != post[0]:
            client.hello = post[0]
            await client.connection.send(post[0])
        if client.wants_mesh and client.hello is not None:
            client.wants_mesh = False
            await client.connection.send(self._mesh())
        if post is not None:
            await client.connection.send(post[1])
        client.sending_since = None


async def _take_requests(client: _Client) -> None:
    """Take requests for the mesh; any other message ends the connection."""
    try:
        async for message in client.connection:
            if message != _MESH_REQUEST:
                await client.connection.close(1008, f"expected {_MESH_REQUEST}")
                break
            client.wants_mesh = True
            client.changed.set()
    finally:
        client.changed.set()
