"""iFacialMocap on an iPhone, and MeowFace on Android, which speaks the same language."""

from __future__ import annotations

import re
import socket
from contextlib import suppress
from math import isfinite, radians
from typing import Final

from mp2flame.blendshapes import canonical_name
from mp2flame.errors import FormatError, InputError, SourceError
from mp2flame.streams.base import Address, UdpSource, parse_address
from mp2flame.streams.packet import FacePacket, checked_scores, head_transform
from mp2flame.streams.rotation_conventions import matrix_from_euler

PORT: Final = 49983
HANDSHAKE: Final = b"iFacialMocap_sahuasouryya9218sauhuiayeta91555dy3719|sendDataVersion=v2"
"""What a phone waits for before it sends to the asker's port 49983."""

_NUMBER = r"[-+]?\d{1,12}(?:\.\d{0,20})?(?:[eE][-+]?\d{1,3})?"
# Version 1 writes name-value, version 2 name&value, so that a value may be negative.
_SCORE = re.compile(rf"([A-Za-z][A-Za-z0-9_]{{0,63}})(?:-|&)({_NUMBER})", re.ASCII)
_PART = re.compile(rf"([A-Za-z][A-Za-z0-9_]{{0,63}})#({_NUMBER}(?:,{_NUMBER}){{0,15}})", re.ASCII)


def _head(numbers: str) -> FacePacket:
    values = [float(number) for number in numbers.split(",")]
    if len(values) not in (3, 6) or not all(map(isfinite, values)):
        raise FormatError(f"an iFacialMocap head of {len(values)} numbers, not 3 angles or 3 angles and 3 lengths")
    # The axes are ARKit's, which are ours: x > 0 looks down, y > 0 turns to the subject's left; degrees and metres.
    x, y, z = (radians(value) for value in values[:3])
    place = [100 * value for value in values[3:]] or [0.0, 0.0, 0.0]
    if max(abs(value) for value in (*values[:3], *place)) > 1e5:
        raise FormatError("an iFacialMocap head that is turned or placed out of this world")
    return FacePacket(head=head_transform(matrix_from_euler(x, y, z), place))


def parse(data: bytes) -> FacePacket:
    """Read one frame, version 1 or 2.

    Names that are no ARKit blendshape are passed over: the apps send extras of their own.

    Raises:
        FormatError: not such a frame, or one with a broken part.
    """
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError as error:
        raise FormatError("no iFacialMocap frame: not plain text") from error
    shapes, _, parts = text.strip("\r\n\0").partition("=")
    named: list[tuple[str, float]] = []
    tracking = True
    for item in filter(None, shapes.split("|")):
        match = _SCORE.fullmatch(item)
        if match is None:
            raise FormatError(f"no iFacialMocap frame: {item[:40]!r} is no name and value")
        name, value = canonical_name(match[1]), float(match[2])
        if match[1] == "trackingStatus":
            tracking = value != 0
        if name is not None and name != "_neutral":
            named.append((name, value / 100))
    if not named:
        raise FormatError("no iFacialMocap frame: no ARKit blendshape in it")
    head = None
    for item in filter(None, parts.split("|")):
        match = _PART.fullmatch(item)
        if match is None:
            raise FormatError(f"an iFacialMocap frame with a broken part {item[:40]!r}")
        if match[1] == "head":
            head = _head(match[2]).head
    return FacePacket(found=tracking, scores=checked_scores(named), head=head)


class IFacialMocapSource(UdpSource):
    """Frames of a phone, which is asked to send once a second while nothing comes from it.

    Args:
        phone: the phone's address.
        listen: the port that it answers to, which it chooses: 49983.

    Raises:
        SourceError: the phone's name is not known, or the port cannot be listened on.
    """

    keep_alive_seconds = 1.0

    def __init__(self, phone: Address, *, listen: int = PORT) -> None:
        try:
            host = socket.getaddrinfo(phone.host, phone.port, socket.AF_INET, socket.SOCK_DGRAM)[0][4][0]
        except OSError as error:
            raise SourceError(f"no address is known for {phone.host!r} in {phone.url}: {error}") from error
        self._phone = (str(host), phone.port)
        super().__init__(Address(phone.url, phone.scheme, "", listen), only_from=str(host))

    @classmethod
    def from_url(cls, spec: str) -> IFacialMocapSource:
        """Ask the phone `ifacialmocap://HOST[:PORT][?listen=PORT]`; both ports are 49983 if not given.

        Raises:
            InputError: the address has another form.
            SourceError: see the class.
        """
        phone = parse_address(spec, port=PORT, settings=("listen",), host_needed=True)
        listen = phone.number("listen", PORT)
        if listen is None or listen != int(listen) or listen > 65535:
            raise InputError(f"expected listen= a port, 1 to 65535, in {spec}; got {listen:g}")
        return cls(phone, listen=int(listen))

    def _keep_alive(self) -> None:
        # A phone that is not there yet is asked again.
        with suppress(OSError):
            self._socket.sendto(HANDSHAKE, self._phone)

    def _decode(self, data: bytes) -> FacePacket:
        return parse(data)
