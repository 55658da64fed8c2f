"""What all UDP sinks share: one datagram a frame, sent at once or not at all."""

from __future__ import annotations

import logging
import selectors
import socket
import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal
from urllib.parse import parse_qs, urlsplit

from mp2flame.data import FlameParams, Frame, Observation
from mp2flame.errors import FormatError, InputError, SinkError, SourceError
from mp2flame.sinks.base import Sink
from mp2flame.sources.base import Source
from mp2flame.streams.packet import FacePacket, check_single


@dataclass(frozen=True)
class Address:
    """Where a stream comes from or goes to, and the settings written behind its `?`."""

    url: str
    """As it was given, for messages."""
    scheme: str
    host: str
    """Empty where the address names none, as in `livelink://:11111`."""
    port: int
    settings: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def text(self, name: str, default: str) -> str:
        """The setting of this name; the last one counts."""
        return self.settings.get(name, [default])[-1]

    def choice(self, name: str, choices: Collection[str], default: str) -> str:
        """A setting that must be one of the choices.

        Raises:
            InputError: it is none of them.
        """
        value = self.text(name, default)
        if value not in choices:
            raise InputError(f"expected {name}= one of {', '.join(choices)} in {self.url}; got {value!r}")
        return value

    def number(self, name: str, default: float | None) -> float | None:
        """A setting that must be a positive number.

        Raises:
            InputError: it is not.
        """
        if name not in self.settings:
            return default
        try:
            value = float(self.settings[name][-1])
        except ValueError:
            value = -1.0
        if not 0 < value < float("inf"):
            raise InputError(f"expected {name}= a positive number in {self.url}; got {self.settings[name][-1]!r}")
        return value


def parse_address(
    url: str, *, port: int | None = None, settings: Collection[str] = (), host_needed: bool = False
) -> Address:
    """Take an address apart.

    Args:
        url: for example `vmc://127.0.0.1:39539?case=pascal`.
        port: what an absent port means; None where it must be given.
        settings: the names that may come behind `?`.
        host_needed: an address without a host is an error.

    Raises:
        InputError: it has no such form, or a part that is not known.
    """
    try:
        parts = urlsplit(url)
        number = parts.port
        query = parse_qs(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError as error:
        raise InputError(f"expected an address such as udp://127.0.0.1:9000; got {url!r} ({error})") from error
    form = f"{parts.scheme}://{'HOST' if host_needed else '[HOST]'}:{'PORT' if port is None else port}"
    if parts.path not in ("", "/") or parts.fragment or parts.username is not None or not parts.scheme:
        raise InputError(f"expected an address of the form {form}; got {url!r}")
    if host_needed and not parts.hostname:
        raise InputError(f"expected an address with a host, {form}; got {url!r}")
    if number is None and port is None:
        raise InputError(f"expected an address with a port, {form}; got {url!r}")
    unknown = sorted(set(query) - set(settings))
    if unknown:
        known = ", ".join(sorted(settings)) or "none"
        raise InputError(f"unknown setting {', '.join(unknown)} in {url!r}; {parts.scheme}:// knows: {known}")
    chosen = number if number is not None else port
    assert chosen is not None
    return Address(url, parts.scheme, parts.hostname or "", chosen, query)


_JUMP = 0.5
"""Stamps that leave our own clock by more seconds than this began anew: a restart, midnight, another sender."""
_LEAST_STEP = 1e-3


@dataclass(frozen=True)
class _State:
    start: float
    last: float = -1.0
    stamp: float | None = None
    offset: float | None = None
    trusted: bool = True


class PacketClock:
    """Seconds since the first packet: by the sender's stamps where they make sense, else by the time of receipt.

    Args:
        now: our own clock; seconds that only rise.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._state: _State | None = None

    @property
    def started(self) -> bool:
        """A packet has come."""
        return self._state is not None

    def stamp(self, sent: float | None) -> float | None:
        """The time of a packet that comes in now; None if it is older than the last one and should be dropped.

        Args:
            sent: the sender's stamp in seconds, or None if the packet carries none.
        """
        state = self._state or _State(start=self._now())
        elapsed = self._now() - state.start
        if sent is None or not state.trusted:
            return self._advance(state, elapsed)
        offset = state.offset
        if offset is None or abs(sent - offset - elapsed) > _JUMP:
            offset = sent - max(elapsed, state.last + _LEAST_STEP)
        elif state.stamp is not None and sent < state.stamp:
            return None
        if sent == state.stamp:
            # Two frames with one stamp: this sender's stamps are too coarse, or stand still.
            return self._advance(replace(state, trusted=False), elapsed)
        return self._advance(replace(state, stamp=sent, offset=offset), sent - offset)

    def silence(self) -> float:
        """A time between packets, when none has come for a while."""
        assert self._state is not None, "nothing is silent before the first packet"
        return self._advance(self._state, self._now() - self._state.start)

    def _advance(self, state: _State, seconds: float) -> float:
        seconds = max(seconds, state.last + _LEAST_STEP) if state.last >= 0 else max(seconds, 0.0)
        self._state = replace(state, last=seconds)
        return seconds


_LOGGER = logging.getLogger("mp2flame")

SILENCE_TIMEOUT = 0.5
"""Seconds of silence after which the face counts as gone."""
NO_FACE_INTERVAL = 0.1
"""Seconds between the frames without a face that follow."""
SENDER_LOCK_SECONDS = 2.0
"""A second sender is not listened to until the first has been silent for so many seconds."""
_MOST_AT_ONCE = 256


class DropCounter:
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

    def warnings(self) -> tuple[str, ...]:
        """One sentence, or none."""
        return (f"{self.count} packets from {self._what} were dropped; the first: {self._first}",) * bool(self.count)


class UdpSource(Source):
    """Frames from UDP packets, each by the newest that has come; nothing is queued but by the system's own buffer.

    Before the first packet nothing is yielded. When packets stop, frames without a face follow, until they go on.

    Args:
        address: where to listen; an empty host is every network of this machine.

    Raises:
        SourceError: the port cannot be listened on.
    """

    live = True

    largest: ClassVar[int] = 8192
    """Bytes of the largest packet that can be right."""
    keep_alive_seconds: ClassVar[float | None] = None
    """After how much silence `_keep_alive` is called, again and again; None for never."""

    def __init__(self, address: Address, *, only_from: str | None = None) -> None:
        self._address = address
        self._only_from = only_from
        self._clock = PacketClock()
        self._drops = DropCounter(address.url)
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
    def warnings(self) -> tuple[str, ...]:
        """What was dropped, or that nothing came."""
        if not self._clock.started and not self._drops.count:
            return (f"no packet has come to {self._address.url}",)
        return self._drops.warnings()

    @abstractmethod
    def _decode(self, data: bytes) -> FacePacket | None:
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
        if self._clock.started and now - self._heard >= SILENCE_TIMEOUT:
            self._heard = now - SILENCE_TIMEOUT + NO_FACE_INTERVAL
            return Observation.missing(self._clock.silence())
        return None

    def _until_next(self, now: float) -> float | None:
        moments = []
        if self._clock.started:
            moments.append(self._heard + SILENCE_TIMEOUT)
        if self.keep_alive_seconds is not None:
            moments.append(self._last_sign() + self.keep_alive_seconds)
        return max(0.0, min(moments) - now) if moments else None

    def _last_sign(self) -> float:
        return max(self._kept_alive, self._owner_seen)

    def _drain(self) -> Observation | None:
        """The newest frame of all packets that wait."""
        newest: FacePacket | None = None
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

    def _take(self, data: bytes, host: str) -> FacePacket | None:
        now = time.monotonic()
        loyal = self._owner is not None and now - self._owner_seen < SENDER_LOCK_SECONDS
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


_LOGGER = logging.getLogger("mp2flame")
_LARGEST = 65507


class UdpSinkBase(Sink):
    """Sends each frame as one UDP datagram. Never waits: a frame that the network does not take is counted as lost.

    Nobody has to listen; a receiver may come and go.

    Args:
        address: to whom.

    Raises:
        SinkError: no address is known for the host.
    """

    policy: Literal["every", "latest"] = "latest"
    instant: bool = True

    def __init__(self, address: Address) -> None:
        self.name = address.url
        self.sent = 0
        """Frames that were sent."""
        self.lost = 0
        """Frames that the network did not take."""
        self._open = True
        try:
            known = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_DGRAM)
        except OSError as error:
            raise SinkError(f"no address is known for {address.host!r} in {address.url}: {error}") from error
        # `localhost` is ::1 first on many machines, but receivers of these protocols listen by IPv4.
        chosen = min(known, key=lambda entry: entry[0] != socket.AF_INET)
        self._target = chosen[4]
        self._socket = socket.socket(chosen[0], socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)

    def write(self, frame: Frame) -> None:
        """Send one frame.

        Raises:
            SinkError: the sink is closed, or the frame is too large for a datagram.
            InputError: there is more than one frame.
        """
        if not self._open:
            raise SinkError(f"cannot send to {self.name}: it is closed")
        check_single(frame.observation)
        data = self._packet(frame.observation, frame.params)
        if len(data) > _LARGEST:
            raise SinkError(f"a frame of {len(data)} bytes does not fit a datagram ({_LARGEST}) to {self.name}")
        try:
            self._socket.sendto(data, self._target)
            self.sent += 1
        except OSError as error:
            # A full buffer, a cable pulled out, nobody there: the next frame may find its way.
            if not self.lost:
                _LOGGER.warning("%s: a frame was not sent (%s); further ones are only counted", self.name, error)
            self.lost += 1

    def close(self) -> None:
        """Close the socket."""
        self._open = False
        self._socket.close()

    @abstractmethod
    def _packet(self, observation: Observation, params: FlameParams) -> bytes:
        """The datagram of one frame."""
