"""Our own WebSocket stream, as `--send ws://` serves it."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from contextlib import ExitStack, suppress
from typing import ClassVar

from mp2flame.data import Observation
from mp2flame.errors import FormatError, MissingExtraError, SourceError
from mp2flame.sources.base import Source
from mp2flame.sources.datagrams import BEAT, PATIENCE, Drops
from mp2flame.sources.packet_clock import PacketClock
from mp2flame.streams.address import Address, parse_address
from mp2flame.streams.messages import parse_binary, parse_hello, parse_json, parse_object
from mp2flame.streams.packet import WireFace

try:
    from websockets.exceptions import ConnectionClosed, ConnectionClosedOK, InvalidHandshake, InvalidURI
    from websockets.sync.client import connect
    from websockets.sync.connection import Connection
except ImportError as error:
    raise MissingExtraError("websockets", "stream", "receive a WebSocket stream") from error

__all__ = ["WebSocketSource"]

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

    live: ClassVar[bool] = True

    def __init__(self, address: Address, *, give_up_seconds: float = 10.0) -> None:
        self._url = f"{address.scheme}://{_host(address)}:{address.port}/"
        self._give_up = give_up_seconds
        self._clock = PacketClock()
        self._drops = Drops(address.url)
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
    def from_spec(cls, spec: str) -> WebSocketSource:
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
    def remarks(self) -> tuple[str, ...]:
        """What was dropped, and how often the connection broke."""
        broken = (f"the connection to {self._url} broke and was made again {self._returns} times",)
        return (*self._drops.remarks(), *broken * bool(self._returns))

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
        newest: WireFace | None = None
        # The first message is waited for, further ones are taken only if they are there already.
        timeout = BEAT
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
        if not self._clock.started or now - self._heard < PATIENCE:
            return None
        return Observation.missing(self._clock.silence())

    def _take(self, message: str | bytes) -> WireFace | None:
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
