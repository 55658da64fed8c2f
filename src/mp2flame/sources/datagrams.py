"""What all UDP sources share: one socket, the newest frame only, and packets that are not to be trusted."""

from __future__ import annotations

import logging
import selectors
import socket
import threading
import time
from abc import abstractmethod
from collections.abc import Generator
from typing import ClassVar

from mp2flame.data import Observation
from mp2flame.errors import FormatError, SourceError
from mp2flame.sources.base import Source
from mp2flame.sources.packet_clock import PacketClock
from mp2flame.streams.address import Address
from mp2flame.streams.packet import WireFace

__all__ = ["DatagramSource", "Drops"]

_LOGGER = logging.getLogger("mp2flame")

PATIENCE = 0.5
"""Seconds of silence after which the face counts as gone."""
BEAT = 0.1
"""Seconds between the frames without a face that follow."""
_LOYALTY = 2.0
"""A second sender is not listened to until the first has been silent for so many seconds."""
_MOST_AT_ONCE = 256


class Drops:
    """Counts the packets that were dropped and warns once.

    Args:
        what: the stream's address, for the messages.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._first = ""
        self.count = 0

    def add(self, reason: str) -> None:
        """Count one more."""
        if not self.count:
            self._first = reason
            _LOGGER.warning("%s: a packet was dropped: %s; further ones are only counted", self._what, reason)
        self.count += 1

    def remarks(self) -> tuple[str, ...]:
        """One sentence, or none."""
        return (f"{self.count} packets from {self._what} were dropped; the first: {self._first}",) * bool(self.count)


class DatagramSource(Source):
    """Frames from UDP packets, each by the newest that has come; nothing is queued but by the system's own buffer.

    Before the first packet nothing is yielded. When packets stop, frames without a face follow, until they go on.

    Args:
        address: where to listen; an empty host is every network of this machine.

    Raises:
        SourceError: the port cannot be listened on.
    """

    live: ClassVar[bool] = True

    largest: ClassVar[int] = 8192
    """Bytes of the largest packet that can be right."""
    keep_alive_seconds: ClassVar[float | None] = None
    """After how much silence `_keep_alive` is called, again and again; None for never."""

    def __init__(self, address: Address, *, only_from: str | None = None) -> None:
        self._address = address
        self._only_from = only_from
        self._clock = PacketClock()
        self._drops = Drops(address.url)
        self._owner: tuple[str, str] | None = None
        self._owner_seen = 0.0
        self._heard = 0.0
        self._kept_alive = 0.0
        self._closed = False
        # Held while the sockets are in use, so that `close` from another thread does not pull them away.
        self._lock = threading.Lock()
        self._socket = _listen(address)
        self._waker, self._woken = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._socket, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._socket.getsockname()[1])

    @property
    def dropped(self) -> int:
        """Packets that were no frames of this protocol, or came from elsewhere."""
        return self._drops.count

    @property
    def remarks(self) -> tuple[str, ...]:
        """What was dropped, or that nothing came."""
        if not self._clock.started and not self._drops.count:
            return (f"no packet has come to {self._address.url}",)
        return self._drops.remarks()

    @abstractmethod
    def _decode(self, data: bytes) -> WireFace | None:
        """The face in a packet; None if the packet is right but does not end a frame.

        Raises:
            FormatError: the packet is not of this protocol.
        """

    def _keep_alive(self) -> None:
        """Ask the sender to go on sending."""

    def __iter__(self) -> Generator[Observation, None, None]:
        """Frames as they come, until `close`.

        Raises:
            SourceError: the socket failed.
        """
        while True:
            with self._lock:
                if self._closed:
                    return
                observation = self._wait()
            if observation is not None:
                yield observation

    def close(self) -> None:
        """Stop listening; a frame that is waited for in another thread is not waited for any longer."""
        self._closed = True
        try:
            self._waker.send(b"\0")
        except OSError:
            return
        with self._lock:
            self._selector.close()
            for open_socket in (self._socket, self._waker, self._woken):
                open_socket.close()

    def _wait(self) -> Observation | None:
        now = time.monotonic()
        if self.keep_alive_seconds is not None and now - self._last_sign() >= self.keep_alive_seconds:
            self._kept_alive = now
            self._keep_alive()
        ready = self._selector.select(self._until_next(now))
        if self._closed:
            return None
        if any(key.fileobj is self._socket for key, _ in ready):
            observation = self._drain()
            if observation is not None:
                return observation
        now = time.monotonic()
        if self._clock.started and now - self._heard >= PATIENCE:
            self._heard = now - PATIENCE + BEAT
            return Observation.missing(self._clock.silence())
        return None

    def _until_next(self, now: float) -> float | None:
        moments = []
        if self._clock.started:
            moments.append(self._heard + PATIENCE)
        if self.keep_alive_seconds is not None:
            moments.append(self._last_sign() + self.keep_alive_seconds)
        return max(0.0, min(moments) - now) if moments else None

    def _last_sign(self) -> float:
        return max(self._kept_alive, self._owner_seen)

    def _drain(self) -> Observation | None:
        """The newest frame of all packets that wait."""
        newest: WireFace | None = None
        for _ in range(_MOST_AT_ONCE):
            try:
                data, sender = self._socket.recvfrom(65536)
            except (BlockingIOError, ConnectionResetError):
                # Windows reports here that an earlier answer of ours was not wanted.
                break
            except OSError as error:
                raise SourceError(f"the socket of {self._address.url} failed: {error}") from error
            face = self._take(data, str(sender[0]))
            newest = newest if face is None else face
        if newest is None:
            return None
        time_ = self._clock.stamp(newest.stamp)
        return None if time_ is None else newest.observation(time_)

    def _take(self, data: bytes, host: str) -> WireFace | None:
        now = time.monotonic()
        loyal = self._owner is not None and now - self._owner_seen < _LOYALTY
        if self._only_from not in (None, host) or (loyal and self._owner is not None and self._owner[0] != host):
            self._drops.add(f"it came from {host}, which is not the sender that is listened to")
            return None
        if len(data) > self.largest:
            self._drops.add(f"{len(data)} bytes, where a frame has at most {self.largest}")
            return None
        try:
            face = self._decode(data)
        except FormatError as error:
            self._drops.add(str(error))
            return None
        owner = (host, "" if face is None else face.sender)
        if loyal and face is not None and owner != self._owner:
            self._drops.add(f"it is from another subject at {host}")
            return None
        self._owner, self._owner_seen = owner, now
        if face is not None:
            self._heard = now
        return face


def _listen(address: Address) -> socket.socket:
    """A UDP socket that does not block."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_DGRAM)
    try:
        listening.bind((address.host, address.port))
    except OSError as error:
        listening.close()
        raise SourceError(
            f"cannot listen on {address.url}: {error.strerror or error}; "
            "is another program (or another mp2flame) listening on this port?"
        ) from error
    listening.setblocking(False)
    return listening
