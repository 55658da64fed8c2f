"""Our own WebSocket stream: a server that sends frames to web pages and programs, and a client as a source."""

from __future__ import annotations

import ipaddress
import logging
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Final

from typing_extensions import override

from mp2flame.data import Frame, HeadLike
from mp2flame.errors import FormatError, InputError, MissingExtraError, SinkError, SourceError, plain
from mp2flame.sinks.base import Sink
from mp2flame.sources.face_packet import FacePacket
from mp2flame.streams import messages
from mp2flame.streams.base import Address, PacketSource, check_single, parse_address
from mp2flame.streams.broadcast import Broadcaster

try:
    from websockets.exceptions import ConnectionClosed, ConnectionClosedOK, InvalidHandshake, InvalidURI
    from websockets.sync.client import connect
    from websockets.sync.connection import Connection
except ImportError as error:
    raise MissingExtraError("websockets", "stream", "send and receive WebSocket streams") from error

_LOGGER: Final = logging.getLogger("mp2flame")
_ENCODINGS: Final = ("binary", "json")
_LOOPBACK: Final = "127.0.0.1"
_MAX_MESSAGE_BYTES: Final = 1 << 20
_OPEN_SECONDS: Final = 5.0
_MIN_RETRY_SECONDS, _MAX_RETRY_SECONDS = 0.25, 4.0
# A connection that held for so long is healthy: after it the first retry is quick again.
_HEALTHY_SECONDS: Final = 10.0


class WebSocketSource(PacketSource):
    """Frames of a WebSocket server, each from the newest that has come; a broken connection is made again.

    The source ends when the server closes the connection normally.

    Args:
        address: the server.
        give_up_seconds: for how long a broken connection is tried again without receiving a frame.

    Raises:
        SourceError: no server answers there.
    """

    def __init__(self, address: Address, *, give_up_seconds: float = 10.0) -> None:
        super().__init__(address.url)
        host = address.host or _LOOPBACK
        self._url = f"{address.scheme}://{f'[{host}]' if ':' in host else host}:{address.port}/"
        self._give_up = give_up_seconds
        self._names: tuple[str | None, ...] | None = None
        self._n_returns = 0
        self._open_connection = ExitStack()
        self._connection: Connection | None = None
        self._connected_at = self._retry_at = 0.0
        self._retry_seconds = _MIN_RETRY_SECONDS
        self._broken_since: float | None = None
        self._break_reason = self._failure = ""
        try:
            self._connect()
        except (OSError, UnicodeError, InvalidHandshake, InvalidURI) as error:
            raise SourceError(f"no WebSocket server answers at {plain(self._url)}: {plain(error)}") from error

    @classmethod
    def from_url(cls, url: str) -> WebSocketSource:
        """Connect to `ws://[HOST]:PORT` or `wss://[HOST]:PORT`; without a host, to this machine.

        Raises:
            InputError: the address has another form.
            SourceError: no server answers there.
        """
        return cls(parse_address(url))

    @property
    @override
    def warnings(self) -> tuple[str, ...]:
        broken = (f"the connection to {plain(self._url)} broke and was made again {self._n_returns} times",)
        return (*self._drops.warnings(), *broken * bool(self._n_returns))

    @override
    def close(self) -> None:
        self._closed.set()
        connection = self._connection
        if connection is not None:
            # A reader in another thread is woken first; the connection's own thread and socket end then.
            connection.close()
        self._open_connection.close()

    def _connect(self) -> None:
        self._open_connection.close()
        self._names = None
        connection = connect(
            self._url,
            open_timeout=_OPEN_SECONDS,
            close_timeout=1.0,
            compression=None,
            max_size=_MAX_MESSAGE_BYTES,
            max_queue=8,
            proxy=None,
        )
        # Newer releases refuse a connection that is not entered.
        self._connection = self._open_connection.enter_context(connection)
        self._connected_at = time.monotonic()

    @override
    def _receive(self, timeout: float) -> FacePacket | None:
        if self._connection is None:
            self._closed.wait(timeout)
            self._reconnect()
            return None
        newest: FacePacket | None = None
        try:
            while True:
                packet = self._parse(self._connection.recv(timeout=timeout))
                newest = newest if packet is None else packet
                # Further messages are taken only if they are there already.
                timeout = 0.0
        except TimeoutError:
            pass
        except ConnectionClosedOK:
            self.close()
        except (ConnectionClosed, OSError) as error:
            self._note_break(error)
        if newest is not None:
            self._broken_since = None
        return newest

    def _parse(self, message: str | bytes) -> FacePacket | None:
        try:
            if isinstance(message, bytes):
                if self._names is None:
                    raise FormatError("a binary frame before the hello")
                return messages.parse_binary(message, self._names)
            content = messages.parse_object(message)
            if content.get("type") == "hello":
                self._names = messages.parse_hello(content)
                return None
            return messages.parse_json(content)
        except FormatError as error:
            self._drops.add(error)
            return None

    def _note_break(self, error: Exception) -> None:
        now = time.monotonic()
        self._connection = None
        # The error holds the reason that the server gave.
        self._break_reason = self._failure = plain(error)
        if now - self._connected_at >= _HEALTHY_SECONDS:
            self._retry_seconds = _MIN_RETRY_SECONDS
        if self._broken_since is None:
            self._broken_since = now
        self._retry_at = now + self._retry_seconds

    def _reconnect(self) -> None:
        now = time.monotonic()
        if self._broken_since is not None and now - self._broken_since >= self._give_up:
            raise SourceError(
                f"the connection to {plain(self._url)} broke ({self._break_reason}) and brought no frame again within "
                f"{self._give_up:g} s: {self._failure}"
            )
        if self._closed.is_set() or now < self._retry_at:
            return
        # Also after a success: a server that breaks every connection is not asked again and again without a pause.
        self._retry_seconds = min(2 * self._retry_seconds, _MAX_RETRY_SECONDS)
        self._retry_at = now + self._retry_seconds
        try:
            self._connect()
        except (OSError, InvalidHandshake) as error:
            self._failure = plain(error)
            return
        self._n_returns += 1
        if self._closed.is_set():
            self.close()


class WebSocketSink(Sink):
    """Serves every client one hello message, then the latest frame whenever the client has taken the one before.

    Listens on this machine only unless a host is given; web pages of other machines are refused unless allowed.

    Args:
        host: where to listen; empty for 127.0.0.1.
        port: 0 for any that is free.
        head: the head that is driven.
        encoding: of the frames, `binary` or `json`.
        vertices: put the head's vertices into every binary frame, for pages that have no head of their own.
        origins: web pages of other machines that may connect, such as `https://example.com`; `null` allows pages
            that are opened as files.

    Raises:
        InputError: there is no such encoding, or it has no vertices.
        SinkError: the port cannot be listened on.
    """

    policy = "latest"
    instant = True

    def __init__(
        self,
        host: str,
        port: int,
        *,
        head: HeadLike,
        encoding: str = "binary",
        vertices: bool = False,
        origins: Sequence[str] = (),
    ) -> None:
        if encoding not in _ENCODINGS:
            raise InputError(f"expected an encoding among {', '.join(_ENCODINGS)}; got {plain(encoding)}")
        if vertices and encoding != "binary":
            raise InputError("vertices are sent in binary frames only: remove format=json or vertices=1")
        self.host = host or _LOOPBACK
        """Where it listens."""
        self.needs_vertices = vertices
        self._encoding = encoding
        self._head = head
        self._sequence = 0
        self._hello: tuple[int, str] | None = None
        self._open = True
        self._broadcaster = Broadcaster(self.host, port, origins=origins, mesh=lambda: messages.mesh(head))
        self.name = f"ws://{self.host}:{self.port}"
        if not _is_loopback(self.host):
            _LOGGER.warning(
                "%s: everyone on the network who reaches this address can watch the face, without a password", self.name
            )

    @classmethod
    def from_url(cls, url: str, *, head: HeadLike) -> WebSocketSink:
        """Serve on `ws://[HOST]:PORT[?format=binary|json&vertices=1&origin=https://example.com]`.

        Raises:
            InputError: the address has another form.
            SinkError: the port cannot be listened on.
        """
        address = parse_address(url, settings=("format", "vertices", "origin"))
        return cls(
            address.host,
            address.port,
            head=head,
            encoding=address.choice("format", _ENCODINGS, "binary"),
            vertices=address.choice("vertices", ("0", "1"), "0") == "1",
            origins=tuple(address.settings.get("origin", ())),
        )

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._broadcaster.port

    @property
    def clients(self) -> int:
        """How many are connected."""
        return self._broadcaster.clients

    @override
    def write(self, frame: Frame) -> None:
        if not self._open:
            raise SinkError(f"cannot serve on {self.name}: it is closed")
        check_single(frame)
        n_expression = frame.params.n_expression
        if self._hello is None or self._hello[0] != n_expression:
            self._hello = (n_expression, messages.hello(n_expression, self._head, encoding=self._encoding))
        if self._encoding == "binary":
            message: str | bytes = messages.binary_frame(frame, self._sequence, with_vertices=self.needs_vertices)
        else:
            message = messages.json_frame(frame, self._sequence)
        self._sequence += 1
        self._broadcaster.publish(self._hello[1], message)

    @override
    def close(self) -> None:
        self._open = False
        self._broadcaster.close()


def _is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address; a name other than localhost may lead anywhere."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
