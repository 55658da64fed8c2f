"""What the protocols share: addresses, time stamps, dropped packets, UDP sources and UDP sinks."""

from __future__ import annotations

import ipaddress
import logging
import socket
import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Final
from urllib.parse import parse_qs, urlsplit

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self, override

from mp2flame.blendshapes import ARKIT, MEDIAPIPE, reorder
from mp2flame.data import FlameParams, Frame, HeadLike, Observation
from mp2flame.errors import FormatError, InputError, SinkError, SourceError, plain
from mp2flame.rotations import matrix
from mp2flame.sinks.base import Sink
from mp2flame.sources.base import Source, closed_error
from mp2flame.sources.face_packet import FacePacket

_LOGGER: Final = logging.getLogger("mp2flame")

SILENCE_TIMEOUT: Final = 0.5
"""Seconds without a packet after which the face counts as gone."""
NO_FACE_INTERVAL: Final = 0.1
"""Seconds between the frames without a face that follow."""
SENDER_LOCK_SECONDS: Final = 2.0
"""Packets of a second sender are dropped until the first has been silent for so many seconds."""

# Stamps that differ from our own clock by more seconds began anew: a restart, midnight, another sender.
_CLOCK_JUMP: Final = 0.5
_MIN_STEP: Final = 1e-3
_MAX_PACKETS: Final = 256
_MAX_DATAGRAM: Final = 65507


@dataclass(frozen=True)
class Address:
    """Where a stream comes from or goes to, and the settings after its `?`; a wrong setting is an `InputError`."""

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
        """A setting that must be one of the choices."""
        value = self.text(name, default)
        if value not in choices:
            raise InputError(f"expected {name}= one of {', '.join(choices)} in {plain(self.url)}; got {plain(value)}")
        return value

    def number(self, name: str, default: float) -> float:
        """A setting that must be a positive number."""
        text = self.text(name, str(default))
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not 0 < value < float("inf"):
            raise InputError(f"expected {name}= a positive number in {plain(self.url)}; got {plain(text)}")
        return value


def parse_address(
    url: str, *, port: int | None = None, settings: Collection[str] = (), host_needed: bool = False
) -> Address:
    """Parse an address strictly.

    Args:
        url: for example `vmc://127.0.0.1:39539?case=pascal`.
        port: the default; None where an address must have one.
        settings: the names that may follow the `?`.
        host_needed: refuse an address without a host.

    Raises:
        InputError: it has another form, or a part that is not known.
    """
    shown = plain(repr(url))
    try:
        parts = urlsplit(url)
        number = parts.port if parts.port is not None else port
        query = parse_qs(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError as error:
        raise InputError(f"expected an address such as udp://127.0.0.1:9000; got {shown} ({plain(error)})") from error
    form = f"{plain(parts.scheme)}://{'HOST' if host_needed else '[HOST]'}:{'PORT' if port is None else port}"
    if parts.path not in ("", "/") or parts.fragment or parts.username is not None or not parts.scheme:
        raise InputError(f"expected an address of the form {form}; got {shown}")
    if host_needed and not parts.hostname:
        raise InputError(f"expected an address with a host, {form}; got {shown}")
    if number is None:
        raise InputError(f"expected an address with a port, {form}; got {shown}")
    unknown = sorted(set(query) - set(settings))
    if unknown:
        known = ", ".join(sorted(settings)) or "none"
        raise InputError(f"unknown setting {plain(', '.join(unknown))} in {shown}; {parts.scheme}:// knows: {known}")
    return Address(url, parts.scheme, parts.hostname or "", number, query)


class DropCounter:
    """Counts dropped packets of a stream and logs a warning for the first."""

    def __init__(self, url: str) -> None:
        self._url = plain(url)
        self._first = ""
        self.count = 0

    def add(self, reason: object) -> None:
        """Count one more; `reason` may hold text of the sender."""
        if not self.count:
            self._first = plain(reason)
            _LOGGER.warning("%s: a packet was dropped: %s; further ones are only counted", self._url, self._first)
        self.count += 1

    def warnings(self) -> tuple[str, ...]:
        """One sentence, or none."""
        return (f"{self.count} packets from {self._url} were dropped; the first: {self._first}",) * bool(self.count)


class PacketClock:
    """Seconds since the first packet: by the sender's stamps where they are plausible, else by the time of receipt.

    Stamps of a sender may stand still, jump or run backwards; the result rises strictly. `now` returns our own seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._start: float | None = None
        self._last = -1.0
        self._stamp: float | None = None
        self._offset: float | None = None
        self._trusted = True

    @property
    def started(self) -> bool:
        """A packet has come."""
        return self._start is not None

    def stamp(self, sent: float | None) -> float | None:
        """The time of a packet that arrives now with this stamp; None if it is older than the last and is dropped."""
        elapsed = self._elapsed()
        if sent is None or not self._trusted:
            return self._advance(elapsed)
        if self._offset is None or abs(sent - self._offset - elapsed) > _CLOCK_JUMP:
            self._offset = sent - max(elapsed, self._last + _MIN_STEP)
        elif self._stamp is not None and sent < self._stamp:
            return None
        if sent == self._stamp:
            # Two frames with one stamp: this sender's stamps are too coarse, or stand still.
            self._trusted = False
            return self._advance(elapsed)
        self._stamp = sent
        return self._advance(sent - self._offset)

    def silence(self) -> float:
        """The time of a frame without a packet."""
        return self._advance(self._elapsed())

    def _elapsed(self) -> float:
        now = self._now()
        self._start = now if self._start is None else self._start
        return now - self._start

    def _advance(self, seconds: float) -> float:
        self._last = max(seconds, self._last + _MIN_STEP if self._last >= 0 else 0.0)
        return self._last


class PacketSource(Source):
    """Frames from packets, each from the newest that has come; nothing is queued but by the system's own buffer.

    Before the first packet there are no frames. While packets stay away there are frames without a face.
    """

    live = True

    def __init__(self, url: str) -> None:
        self._drops = DropCounter(url)
        self._clock = PacketClock()
        self._received = 0.0
        self._closed = threading.Event()

    @abstractmethod
    def _receive(self, timeout: float) -> FacePacket | None:
        """The newest packet, or None if there is none within `timeout` seconds.

        Raises:
            SourceError: the stream broke.
        """

    @property
    def dropped(self) -> int:
        """Packets that were not of this protocol, or of another sender."""
        return self._drops.count

    @property
    @override
    def warnings(self) -> tuple[str, ...]:
        return self._drops.warnings()

    @override
    def __iter__(self) -> Generator[Observation, None, None]:
        if self._closed.is_set():
            raise closed_error()
        return self._observations()

    def _observations(self) -> Generator[Observation, None, None]:
        while not self._closed.is_set():
            packet = self._receive(NO_FACE_INTERVAL)
            now = time.monotonic()
            if packet is not None:
                self._received = now
                moment = self._clock.stamp(packet.stamp)
                if moment is not None:
                    yield packet.observation(moment)
            elif self._clock.started and now - self._received >= SILENCE_TIMEOUT:
                self._received = now - SILENCE_TIMEOUT + NO_FACE_INTERVAL
                yield Observation.missing(self._clock.silence())


class DatagramSource(PacketSource):
    """Frames from UDP packets of one sender.

    Args:
        address: where to listen; an empty host is every network of this machine.
        only_from: the address of the only sender to accept; None for the first that sends.

    Raises:
        SourceError: the port cannot be listened on.
    """

    max_bytes: ClassVar[int] = 8192
    """Size of the largest valid packet."""

    @classmethod
    @abstractmethod
    def from_url(cls, url: str) -> Self:
        """Open the source of an address such as `vmc://:39539`.

        Raises:
            InputError: the address has another form.
            SourceError: the port cannot be listened on.
        """

    def __init__(self, address: Address, *, only_from: str | None = None) -> None:
        super().__init__(address.url)
        self._url = plain(address.url)
        self._only_from = only_from
        self._sender: tuple[str, str] | None = None
        self._sender_seen = 0.0
        self._socket = socket.socket(socket.AF_INET6 if ":" in address.host else socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.bind((address.host, address.port))
        except (OSError, UnicodeError) as error:
            self._socket.close()
            raise SourceError(
                f"cannot listen on {self._url}: {getattr(error, 'strerror', None) or error}; "
                "is another program (or another mp2flame) listening on this port?"
            ) from error

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._socket.getsockname()[1])

    @property
    @override
    def warnings(self) -> tuple[str, ...]:
        if not self._clock.started and not self._drops.count:
            return (f"no packet has come to {self._url}",)
        return self._drops.warnings()

    @abstractmethod
    def _decode(self, data: bytes) -> FacePacket | None:
        """The face in a packet; None if the packet is valid but does not complete a frame.

        Raises:
            FormatError: the packet is not of this protocol.
        """

    @override
    def close(self) -> None:
        # An iteration in another thread sees the flag within its timeout, or the socket's end.
        self._closed.set()
        self._socket.close()

    @override
    def _receive(self, timeout: float) -> FacePacket | None:
        newest: FacePacket | None = None
        try:
            self._socket.settimeout(timeout)
            for _ in range(_MAX_PACKETS):
                data, sender = self._socket.recvfrom(_MAX_DATAGRAM + 1)
                packet = self._accept(data, str(sender[0]))
                newest = newest if packet is None else packet
                # Further packets are taken only if they are there already.
                self._socket.settimeout(0.0)
        except (TimeoutError, BlockingIOError, ConnectionResetError):
            # Windows reports by a reset that an earlier packet of ours was not wanted.
            pass
        except OSError as error:
            if not self._closed.is_set():
                raise SourceError(f"the socket of {self._url} failed: {error}") from error
        return newest

    def _accept(self, data: bytes, host: str) -> FacePacket | None:
        now = time.monotonic()
        locked = self._sender is not None and now - self._sender_seen < SENDER_LOCK_SECONDS
        if self._only_from not in (None, host) or (locked and self._sender is not None and self._sender[0] != host):
            self._drops.add(f"it came from {host}, not from the accepted sender")
            return None
        if len(data) > self.max_bytes:
            self._drops.add(f"{len(data)} bytes; a frame has at most {self.max_bytes}")
            return None
        try:
            packet = self._decode(data)
        except FormatError as error:
            self._drops.add(error)
            return None
        sender = (host, "" if packet is None else packet.sender)
        if locked and packet is not None and sender != self._sender:
            self._drops.add(f"it is from another subject at {host}")
            return None
        self._sender, self._sender_seen = sender, now
        return packet


class DatagramSink(Sink):
    """Sends each frame as one UDP datagram; a frame that the network does not take is counted as lost.

    Nobody has to listen; a receiver may come and go.

    Args:
        address: the receiver.

    Raises:
        SinkError: the host's address cannot be found.
    """

    policy = "latest"
    instant = True

    @classmethod
    @abstractmethod
    def from_url(cls, url: str, *, head: HeadLike | None = None) -> Self:
        """Open the sink of an address such as `vmc://127.0.0.1:39539`; the receiver has its own head.

        Raises:
            InputError: the address has another form.
            SinkError: the host's address cannot be found.
        """

    def __init__(self, address: Address) -> None:
        self.name = address.url
        self.sent = 0
        """Frames that were sent."""
        self.lost = 0
        """Frames that the network did not take."""
        self._open = True
        try:
            known = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_DGRAM)
        except (OSError, UnicodeError) as error:
            raise SinkError(
                f"no address is known for {plain(address.host)} in {plain(address.url)}: {error}"
            ) from error
        # `localhost` is ::1 first on many machines, but receivers of these protocols listen by IPv4.
        chosen = min(known, key=lambda entry: entry[0] != socket.AF_INET)
        self._target = chosen[4]
        self._socket = socket.socket(chosen[0], socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)

    @abstractmethod
    def encode(self, frame: Frame) -> bytes:
        """The datagram of one frame."""

    @override
    def write(self, frame: Frame) -> None:
        if not self._open:
            raise SinkError(f"cannot send to {plain(self.name)}: it is closed")
        check_single(frame)
        data = self.encode(frame)
        if len(data) > _MAX_DATAGRAM:
            raise SinkError(f"a frame of {len(data)} bytes does not fit a datagram ({_MAX_DATAGRAM}) to {self.name}")
        try:
            self._socket.sendto(data, self._target)
            self.sent += 1
        except OSError as error:
            # A full buffer, a network that is down, nobody there: the next frame may arrive.
            if not self.lost:
                _LOGGER.warning("%s: a frame was not sent (%s); further ones are only counted", self.name, error)
            self.lost += 1

    @override
    def close(self) -> None:
        self._open = False
        self._socket.close()


def check_single(frame: Frame) -> None:
    """Refuse a frame that holds several.

    Raises:
        InputError: N > 1.
    """
    n = len(frame.observation)
    if n != 1:
        raise InputError(f"expected a single frame; got {n}: write them one by one")


def arkit_scores(observation: Observation) -> NDArray[np.float32]:
    """(52,) scores of a single frame in ARKit's order; tongueOut is 0 where it is not known. NaN without a face."""
    scores: NDArray[np.float32] = reorder(observation.scores[0], MEDIAPIPE, ARKIT)
    if not observation.found[0]:
        scores[:] = np.nan
    elif observation.tongue_out is not None:
        scores[ARKIT.index("tongueOut")] = observation.tongue_out[0]
    return scores


def rotation(pose: NDArray[np.float32]) -> NDArray[np.float64] | None:
    """(3, 3) of a single frame's axis-angle (1, 3); None where it is not known."""
    return matrix(pose[0]) if np.isfinite(pose).all() else None


def head_rotation(params: FlameParams) -> NDArray[np.float64] | None:
    """(3, 3) rotation of a single frame's head, by the root and the neck; None where it is not known."""
    root, neck = rotation(params.global_orient), rotation(params.neck_pose)
    return None if root is None or neck is None else root @ neck


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens on `host`; names other than localhost count as open."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def describe_exposure(host: str, access: str = "see the camera's image and control this session") -> str:
    """One sentence about who can reach a server that listens on `host`.

    Args:
        host: the address.
        access: what a client can do.
    """
    if is_loopback(host):
        return f"only this machine can {access}"
    everywhere = host in ("0.0.0.0", "::", "")  # noqa: S104 - compared, not listened on
    where = "any address of this machine" if everywhere else host
    return f"everyone on the network who reaches {where} can {access}, without a password"


def describe_stream(address: str) -> str:
    """The end of a sentence about a stream: who can connect to it, if this machine serves it; otherwise nothing."""
    parts = urlsplit(address)
    if parts.scheme.lower() != "ws":
        return ""
    return f"; {describe_exposure(parts.hostname or '127.0.0.1', 'receive the face that is sent')}"
