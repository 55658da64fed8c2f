"""A WebSocket server for web pages and programs; docs/stream_protocol.md describes every byte."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from contextlib import ExitStack, suppress

from mp2flame.data import Observation
from mp2flame.errors import FormatError, MissingExtraError, SourceError
from mp2flame.sources.base import Source
from mp2flame.streams.base import NO_FACE_INTERVAL, SILENCE_TIMEOUT, Address, DropCounter, PacketClock, parse_address
from mp2flame.streams.messages import parse_binary, parse_hello, parse_json, parse_object
from mp2flame.streams.packet import FacePacket

try:
    from websockets.exceptions import ConnectionClosed, ConnectionClosedOK, InvalidHandshake, InvalidURI
    from websockets.sync.client import connect
    from websockets.sync.connection import Connection
except ImportError as error:
    raise MissingExtraError("websockets", "stream", "receive a WebSocket stream") from error
from collections.abc import Sequence
from typing import Any, Literal

from mp2flame.data import Frame, HeadLike
from mp2flame.errors import InputError, SinkError
from mp2flame.sinks.base import Sink
from mp2flame.streams import messages
from mp2flame.streams.broadcast import Broadcaster
from mp2flame.streams.packet import check_single

_LARGEST = 1 << 20
_OPEN_SECONDS = 5.0
_FIRST_WAIT, _LONGEST_WAIT = 0.25, 2.0


class WebSocketSource(Source):
    """Frames of a WebSocket server, each by the newest that has come; a broken connection is made again.

    It ends when the server says that it ends.

    Args:
        address: the server.
        give_up_seconds: how long a broken connection is tried again.

    Raises:
        SourceError: nothing answers there.
    """

    live = True

    def __init__(self, address: Address, *, give_up_seconds: float = 10.0) -> None:
        self._url = f"{address.scheme}://{_host(address)}:{address.port}/"
        self._give_up = give_up_seconds
        self._clock = PacketClock()
        self._drops = DropCounter(address.url)
        self._names: tuple[str | None, ...] | None = None
        self._closed = threading.Event()
        self._returns = 0
        self._heard = 0.0
        self._connected = ExitStack()
        try:
            self._connection = self._connect()
        except (OSError, InvalidHandshake, InvalidURI) as error:
            raise SourceError(f"no WebSocket server answers at {self._url}: {error}") from error

    @classmethod
    def from_url(cls, spec: str) -> WebSocketSource:
        """Connect to `ws://[HOST]:PORT` or `wss://[HOST]:PORT`; without a host, to this machine.

        Raises:
            InputError: the address has another form.
            SourceError: nothing answers there.
        """
        return cls(parse_address(spec))

    @property
    def dropped(self) -> int:
        """Messages that were no frames of this protocol."""
        return self._drops.count

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was dropped, and how often the connection broke."""
        broken = (f"the connection to {self._url} broke and was made again {self._returns} times",)
        return (*self._drops.warnings(), *broken * bool(self._returns))

    def __iter__(self) -> Generator[Observation, None, None]:
        """Frames as they come, until the server ends or `close`.

        Raises:
            SourceError: the connection broke and could not be made again.
        """
        while not self._closed.is_set():
            try:
                observation = self._wait()
            except ConnectionClosedOK:
                return
            except (ConnectionClosed, OSError) as error:
                yield from self._return(error)
                continue
            if observation is not None:
                yield observation

    def close(self) -> None:
        """Close the connection; an iteration in another thread ends."""
        self._closed.set()
        # A reader in another thread is told first; the connection's own thread and socket end then.
        self._connection.close()
        self._connected.close()

    def _connect(self) -> Connection:
        self._connected.close()
        self._names = None
        connection = connect(
            self._url,
            open_timeout=_OPEN_SECONDS,
            close_timeout=1.0,
            compression=None,
            max_size=_LARGEST,
            max_queue=8,
            proxy=None,
        )
        # Newer releases refuse a connection that is not entered.
        return self._connected.enter_context(connection)

    def _wait(self) -> Observation | None:
        newest: FacePacket | None = None
        # The first message is waited for, further ones are taken only if they are there already.
        timeout = NO_FACE_INTERVAL
        with suppress(TimeoutError):
            while True:
                face = self._take(self._connection.recv(timeout=timeout))
                newest = newest if face is None else face
                timeout = 0.0
        now = time.monotonic()
        if newest is not None:
            self._heard = now
            moment = self._clock.stamp(newest.stamp)
            return None if moment is None else newest.observation(moment)
        return self._silence(now)

    def _silence(self, now: float) -> Observation | None:
        if not self._clock.started or now - self._heard < SILENCE_TIMEOUT:
            return None
        return Observation.missing(self._clock.silence())

    def _take(self, message: str | bytes) -> FacePacket | None:
        try:
            if isinstance(message, bytes):
                if self._names is None:
                    raise FormatError("a binary frame before the hello")
                return parse_binary(message, self._names)
            parsed = parse_object(message)
            if parsed.get("type") == "hello":
                self._names = parse_hello(parsed)
                return None
            return parse_json(parsed)
        except FormatError as error:
            self._drops.add(str(error))
            return None

    def _return(self, reason: Exception) -> Generator[Observation, None, None]:
        """Connect again; frames without a face until then."""
        broken, wait = time.monotonic(), _FIRST_WAIT
        while not self._closed.wait(wait):
            missing = self._silence(time.monotonic())
            if missing is not None:
                yield missing
            try:
                self._connection = self._connect()
            except (OSError, InvalidHandshake) as error:
                if time.monotonic() - broken >= self._give_up:
                    raise SourceError(
                        f"the connection to {self._url} broke ({reason}) and could not be made again "
                        f"within {self._give_up:g} s: {error}"
                    ) from error
                wait = min(2 * wait, _LONGEST_WAIT)
            else:
                self._returns += 1
                if self._closed.is_set():
                    self.close()
                return


def _host(address: Address) -> str:
    host = address.host or "127.0.0.1"
    return f"[{host}]" if ":" in host else host


_ENCODINGS = ("binary", "json")


class WebSocketSink(Sink):
    """Serves every client one hello message, then the latest frame whenever it has taken the one before.

    Listens on this machine only unless a host is given; web pages of other machines are refused unless allowed.

    Args:
        host: where to listen; empty for 127.0.0.1.
        port: 0 for any that is free.
        head: the head that is driven.
        encoding: of the frames, `binary` or `json`.
        origins: web pages of other machines that may connect, such as `https://example.com`; `null` allows pages
            that are opened as files.

    Raises:
        InputError: there is no such encoding.
        SinkError: it cannot listen there.
    """

    policy: Literal["every", "latest"] = "latest"
    instant: bool = True

    def __init__(
        self,
        host: str,
        port: int,
        *,
        head: HeadLike,
        encoding: str = "binary",
        origins: Sequence[str] = (),
    ) -> None:
        if encoding not in _ENCODINGS:
            raise InputError(f"expected an encoding among {', '.join(_ENCODINGS)}; got {encoding!r}")
        self.host = host or "127.0.0.1"
        """Where it listens."""
        self._encoding = encoding
        self._head = head
        self._sequence = 0
        self._hello: tuple[int, str] | None = None
        self._open = True
        self._broadcaster = Broadcaster(self.host, port, origins=origins, answer=self._mesh)
        self.name = f"ws://{self.host}:{self.port}"

    @classmethod
    def from_url(cls, url: str, *, head: HeadLike, **options: Any) -> WebSocketSink:
        """Serve on `ws://[HOST]:PORT[?format=binary|json&vertices=1&origin=https://example.com]`.

        Raises:
            InputError: the address has another form.
            SinkError: it cannot listen there.
        """
        address = parse_address(url, settings=("format", "vertices", "origin"))
        kind = WebSocketMeshSink if address.choice("vertices", ("0", "1"), "0") == "1" else cls
        settings: dict[str, Any] = {"encoding": address.choice("format", _ENCODINGS, "binary")}
        if "origin" in address.settings:
            settings["origins"] = tuple(address.settings["origin"])
        return kind(address.host, address.port, head=head, **{**options, **settings})

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._broadcaster.port

    @property
    def clients(self) -> int:
        """How many are connected."""
        return self._broadcaster.clients

    def write(self, frame: Frame) -> None:
        """Hand a frame to all clients; returns at once.

        Raises:
            SinkError: the sink is closed.
            InputError: there is more than one frame.
        """
        if not self._open:
            raise SinkError(f"cannot serve on {self.host}:{self.port}: it is closed")
        check_single(frame.observation)
        if self._encoding == "binary":
            vertices = frame.vertices if self.needs_vertices else None
            message: str | bytes = messages.binary_frame(frame.observation, frame.params, self._sequence, vertices)
        else:
            message = messages.json_frame(frame.observation, frame.params, self._sequence)
        self._sequence += 1
        self._broadcaster.publish(self._greeting(frame.params.n_expression), message)

    def close(self) -> None:
        """Say goodbye to all clients and stop serving."""
        self._open = False
        self._broadcaster.close()

    def _greeting(self, n_expression: int) -> str:
        if self._hello is None or self._hello[0] != n_expression:
            about = {
                "version": self._head.version,
                "hash": self._head.hash,
                "n_vertices": len(self._head.neutral_vertices),
                "n_faces": len(self._head.faces),
            }
            self._hello = (n_expression, messages.hello(n_expression, about, encoding=self._encoding))
        return self._hello[1]

    def _mesh(self) -> bytes:
        return messages.mesh(self._head.neutral_vertices, self._head.faces, self._head.vertex_colors)


class WebSocketMeshSink(WebSocketSink):
    """The same, with the head's vertices in every frame, for pages that have no head of their own.

    Raises:
        InputError: the encoding is not binary.
    """

    needs_vertices: bool = True

    def __init__(self, host: str, port: int, *, head: HeadLike, **options: Any) -> None:
        if options.get("encoding", "binary") != "binary":
            raise InputError("vertices are sent in binary frames only: leave out format=json or vertices=1")
        super().__init__(host, port, head=head, **options)
