"""What all UDP sinks share: one datagram a frame, sent at once or not at all."""

from __future__ import annotations

import logging
import socket
from abc import abstractmethod
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from mp2flame.data import FlameParams, Observation
from mp2flame.errors import SinkError
from mp2flame.sinks.base import Sink
from mp2flame.streams.address import Address
from mp2flame.streams.packet import check_single

__all__ = ["DatagramSink"]

_LOGGER = logging.getLogger("mp2flame")
_LARGEST = 65507


class DatagramSink(Sink):
    """Sends each frame as one UDP datagram. Never waits: a frame that the network does not take is counted as lost.

    Nobody has to listen; a receiver may come and go.

    Args:
        address: to whom.

    Raises:
        SinkError: no address is known for the host.
    """

    policy: ClassVar[Literal["every", "latest"]] = "latest"
    instant: ClassVar[bool] = True

    def __init__(self, address: Address) -> None:
        self._url = address.url
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

    def write(self, observation: Observation, params: FlameParams, vertices: NDArray[np.float32] | None) -> None:  # noqa: ARG002 - no datagram holds them
        """Send one frame.

        Raises:
            SinkError: the sink is closed, or the frame is too large for a datagram.
            InputError: there is more than one frame.
        """
        if not self._open:
            raise SinkError(f"cannot send to {self._url}: it is closed")
        check_single(observation)
        data = self._packet(observation, params)
        if len(data) > _LARGEST:
            raise SinkError(f"a frame of {len(data)} bytes does not fit a datagram ({_LARGEST}) to {self._url}")
        try:
            self._socket.sendto(data, self._target)
            self.sent += 1
        except OSError as error:
            # A full buffer, a cable pulled out, nobody there: the next frame may find its way.
            if not self.lost:
                _LOGGER.warning("%s: a frame was not sent (%s); further ones are only counted", self._url, error)
            self.lost += 1

    def close(self) -> None:
        """Close the socket."""
        self._open = False
        self._socket.close()

    @abstractmethod
    def _packet(self, observation: Observation, params: FlameParams) -> bytes:
        """The datagram of one frame."""
