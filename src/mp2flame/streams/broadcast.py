"""A WebSocket server in a thread of its own, in which every client has a mailbox for one message: the latest."""

from __future__ import annotations

import asyncio
import logging
import re
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from http import HTTPStatus
from weakref import WeakSet

from mp2flame.errors import MissingExtraError, SinkError

try:
    from websockets.asyncio.server import Server, ServerConnection, serve
    from websockets.exceptions import ConnectionClosed
    from websockets.http11 import Request, Response
except ImportError as error:
    raise MissingExtraError("websockets", "stream", "serve a WebSocket stream") from error


_LOOPBACK_PAGES = re.compile(r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?")
_MOST_CLIENTS = 128
_START_SECONDS = 10.0
_STOP_SECONDS = 5.0
_GOODBYE_SECONDS = 1.0
_PATIENCE = 20.0
"""A client that takes no byte of a message for so many seconds is disconnected."""


class _Client:
    """One connection and its mailbox."""

    def __init__(self, connection: ServerConnection) -> None:
        self.connection = connection
        self.sending_since: float | None = None
        self.changed = asyncio.Event()
        self.message: str | bytes | None = None
        self.greeted: str | None = None
        self.asked = False


class Broadcaster:
    """Serves the latest message to any number of clients (at most 128); `publish` never waits for any of them.

    Args:
        host: where to listen.
        port: 0 for any that is free.
        origins: web pages that may connect besides those of this machine, such as `https://example.com`.
        answer: the reply to a client's request for the mesh, made when it is asked for.

    Raises:
        SinkError: it cannot listen there.
    """

    def __init__(self, host: str, port: int, *, origins: Sequence[str], answer: Callable[[], bytes]) -> None:
        self.port = port
        self._host = host
        self._origins = origins
        self._answer = answer
        self._clients: set[_Client] = set()
        self._connections: WeakSet[ServerConnection] = WeakSet()
        self._hello: str | None = None
        self._latest: str | bytes | None = None
        self._woken = False
        self._ready = threading.Event()
        self._failure: OSError | None = None
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="mp2flame-websocket", daemon=True)
        self._thread.start()
        self._ready.wait(_START_SECONDS)
        if self._failure is not None:
            self._thread.join(_STOP_SECONDS)
            reason = self._failure.strerror or self._failure
            raise SinkError(
                f"cannot serve on {host}:{port}: {reason}; is the port in use? Choose another"
            ) from self._failure

    @property
    def clients(self) -> int:
        """How many are connected."""
        return len(self._clients)

    def publish(self, hello: str, message: str | bytes) -> None:
        """Put a message in every mailbox, in place of one that was not yet sent.

        Args:
            hello: what a client must have been told before; sent when it is new to the client.
            message: the frame.
        """
        self._hello, self._latest = hello, message
        # One call at a time waits in the loop; it will find what is the latest then.
        if not self._woken:
            self._woken = True
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._deliver)

    def close(self) -> None:
        """Say goodbye to all clients and end the thread; safe to call twice."""
        if self._thread.is_alive():
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(_STOP_SECONDS)

    def _deliver(self) -> None:
        self._woken = False
        now = self._loop.time()
        for client in self._clients:
            client.message = self._latest
            client.changed.set()
            if client.sending_since is not None and now - client.sending_since > _PATIENCE:
                client.connection.transport.abort()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        except OSError as error:
            self._failure = error
        finally:
            self._loop.close()
            self._ready.set()

    async def _serve(self) -> None:
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
            logger=_quiet_logger(),
        )
        self.port = int(next(iter(server.sockets)).getsockname()[1])
        self._ready.set()
        await self._stop.wait()
        server.close()
        goodbye = asyncio.ensure_future(server.wait_closed())
        await asyncio.wait([goodbye], timeout=_GOODBYE_SECONDS)
        # Whoever does not read does not read the goodbye either.
        for connection in list(self._connections):
            connection.transport.abort()
        await goodbye

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:  # noqa: ARG002 - its form is given
        if len(self._clients) < _MOST_CLIENTS:
            return None
        return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, f"{_MOST_CLIENTS} clients are connected already\n")

    async def _handle(self, connection: ServerConnection) -> None:
        client = _Client(connection)
        client.message = self._latest
        client.changed.set()
        self._clients.add(client)
        self._connections.add(connection)
        tasks = [asyncio.ensure_future(self._feed(client)), asyncio.ensure_future(_listen(client))]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._clients.discard(client)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _feed(self, client: _Client) -> None:
        with suppress(ConnectionClosed):
            while True:
                await client.changed.wait()
                client.changed.clear()
                client.sending_since = self._loop.time()
                if self._hello is not None and client.greeted != self._hello:
                    client.greeted = self._hello
                    await client.connection.send(self._hello)
                if client.asked and client.greeted is not None:
                    client.asked = False
                    await client.connection.send(self._answer())
                message, client.message = client.message, None
                if message is not None:
                    await client.connection.send(message)
                client.sending_since = None


async def _listen(client: _Client) -> None:
    """Take requests; anything else ends the connection."""
    with suppress(ConnectionClosed):
        async for message in client.connection:
            if message != '{"request":"mesh"}':
                await client.connection.close(1008, 'expected {"request":"mesh"}')
                return
            client.asked = True
            client.changed.set()


def _quiet_logger() -> logging.Logger:
    """Clients that break off are no news; websockets would write a line for each."""
    logger = logging.getLogger("mp2flame.websocket")
    logger.setLevel(logging.CRITICAL)
    return logger
