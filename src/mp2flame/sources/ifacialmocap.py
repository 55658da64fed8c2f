"""iFacialMocap on an iPhone, and MeowFace on Android, which speaks the same language."""

from __future__ import annotations

import socket
from contextlib import suppress

from mp2flame.errors import InputError, SourceError
from mp2flame.sources.datagrams import DatagramSource
from mp2flame.streams import ifacialmocap
from mp2flame.streams.address import Address, parse_address
from mp2flame.streams.packet import WireFace

__all__ = ["IFacialMocapSource"]


class IFacialMocapSource(DatagramSource):
    """Frames of a phone, which is asked to send once a second while nothing comes from it.

    Args:
        phone: the phone's address.
        listen: the port that it answers to, which it chooses: 49983.

    Raises:
        SourceError: the phone's name is not known, or the port cannot be listened on.
    """

    keep_alive_seconds = 1.0

    def __init__(self, phone: Address, *, listen: int = ifacialmocap.PORT) -> None:
        try:
            host = socket.getaddrinfo(phone.host, phone.port, socket.AF_INET, socket.SOCK_DGRAM)[0][4][0]
        except OSError as error:
            raise SourceError(f"no address is known for {phone.host!r} in {phone.url}: {error}") from error
        self._phone = (str(host), phone.port)
        super().__init__(Address(phone.url, phone.scheme, "", listen), only_from=str(host))

    @classmethod
    def from_spec(cls, spec: str) -> IFacialMocapSource:
        """Ask the phone `ifacialmocap://HOST[:PORT][?listen=PORT]`; both ports are 49983 if not given.

        Raises:
            InputError: the address has another form.
            SourceError: see the class.
        """
        phone = parse_address(spec, port=ifacialmocap.PORT, settings=("listen",), host_needed=True)
        listen = phone.number("listen", ifacialmocap.PORT)
        if listen is None or listen != int(listen) or listen > 65535:
            raise InputError(f"expected listen= a port, 1 to 65535, in {spec}; got {listen:g}")
        return cls(phone, listen=int(listen))

    def _keep_alive(self) -> None:
        # A phone that is not there yet is asked again.
        with suppress(OSError):
            self._socket.sendto(ifacialmocap.HANDSHAKE, self._phone)

    def _decode(self, data: bytes) -> WireFace:
        return ifacialmocap.parse(data)
