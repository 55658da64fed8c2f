"""iFacialMocap on an iPhone, and MeowFace on Android: text frames by UDP.

A frame is `name-value|...|=head#x,y,z,px,py,pz|rightEye#x,y,z|leftEye#x,y,z|`.
"""

from __future__ import annotations

import re
import socket
import time
from contextlib import suppress
from math import isfinite, radians
from typing import Final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self, override

from mp2flame.blendshapes import canonical_name
from mp2flame.errors import FormatError, InputError, SourceError, plain
from mp2flame.sources.face_packet import FacePacket, checked_scores, head_transform, matrix_from_euler
from mp2flame.streams.base import Address, DatagramSource, parse_address

PORT: Final = 49983
HANDSHAKE: Final = b"iFacialMocap_sahuasouryya9218sauhuiayeta91555dy3719|sendDataVersion=v2"
"""What a phone waits for before it sends, to port 49983 of the sender of this text."""

_HANDSHAKE_SECONDS: Final = 1.0
_NUMBER: Final = r"[-+]?\d{1,12}(?:\.\d{0,20})?(?:[eE][-+]?\d{1,3})?"
# Version 1 writes name-value, version 2 name&value, so that a value may be negative.
_SCORE: Final = re.compile(rf"([A-Za-z][A-Za-z0-9_]{{0,63}})(?:-|&)({_NUMBER})", re.ASCII)
_PART: Final = re.compile(rf"([A-Za-z][A-Za-z0-9_]{{0,63}})#({_NUMBER}(?:,{_NUMBER}){{0,15}})", re.ASCII)


def parse(data: bytes) -> FacePacket:
    """Read one frame, version 1 or 2; names that are not ARKit's are skipped, since the apps send extras.

    Raises:
        FormatError: this is no such frame, or a part of it is broken.
    """
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError as error:
        raise FormatError("not an iFacialMocap frame: not ASCII text") from error
    shapes, _, parts = text.strip("\r\n\0").partition("=")
    named: list[tuple[str, float]] = []
    tracking = True
    for item in filter(None, shapes.split("|")):
        match = _SCORE.fullmatch(item)
        if match is None:
            raise FormatError(f"not an iFacialMocap frame: {plain(repr(item), 40)} is not a name with a value")
        name, value = canonical_name(match[1]), float(match[2])
        if match[1] == "trackingStatus":
            tracking = value != 0
        if name is not None and name != "_neutral":
            named.append((name, value / 100))
    if not named:
        raise FormatError("not an iFacialMocap frame: it names no ARKit blendshape")
    return FacePacket(found=tracking, scores=checked_scores(named), head=_parse_head(parts))


def _parse_head(parts: str) -> NDArray[np.float64] | None:
    """(4, 4) of the part `head#...`, if there is one."""
    head = None
    for item in filter(None, parts.split("|")):
        match = _PART.fullmatch(item)
        if match is None:
            raise FormatError(f"an iFacialMocap frame with a broken part {plain(repr(item), 40)}")
        if match[1] == "head":
            numbers = [float(number) for number in match[2].split(",")]
            if len(numbers) not in (3, 6) or not all(isfinite(number) and abs(number) <= 1e5 for number in numbers):
                raise FormatError("an iFacialMocap head that is not 3 angles, or 3 angles and 3 lengths, in range")
            # Degrees and meters in ARKit's axes, which are ours: x > 0 looks down, y > 0 turns to the subject's left.
            x, y, z = (radians(angle) for angle in numbers[:3])
            head = head_transform(matrix_from_euler(x, y, z), [100 * length for length in numbers[3:]] or 0.0)
    return head


class IFacialMocapSource(DatagramSource):
    """Frames of a phone, which is asked to send once a second while nothing comes from it.

    Its address is `ifacialmocap://HOST[:PORT][?listen=PORT]`; both ports are 49983 by default.

    Args:
        phone: the phone's address.
        listen: the port to which it answers, by its own choice 49983.

    Raises:
        SourceError: the phone's name is not known, or the port cannot be listened on.
    """

    def __init__(self, phone: Address, *, listen: int = PORT) -> None:
        try:
            host = socket.getaddrinfo(phone.host, phone.port, socket.AF_INET, socket.SOCK_DGRAM)[0][4][0]
        except (OSError, UnicodeError) as error:
            raise SourceError(f"no address is known for {plain(phone.host)} in {plain(phone.url)}: {error}") from error
        self._phone = (str(host), phone.port)
        self._asked = 0.0
        super().__init__(Address(phone.url, phone.scheme, "", listen), only_from=str(host))

    @classmethod
    @override
    def from_url(cls, url: str) -> Self:
        phone = parse_address(url, port=PORT, settings=("listen",), host_needed=True)
        listen = phone.number("listen", PORT)
        if listen != int(listen) or listen > 65535:
            raise InputError(f"expected listen= a port, 1 to 65535, in {plain(url)}; got {listen:g}")
        return cls(phone, listen=int(listen))

    @override
    def _receive(self, timeout: float) -> FacePacket | None:
        now = time.monotonic()
        if now - max(self._asked, self._sender_seen) >= _HANDSHAKE_SECONDS:
            self._asked = now
            # A phone that is not there yet is asked again.
            with suppress(OSError):
                self._socket.sendto(HANDSHAKE, self._phone)
        return super()._receive(timeout)

    @override
    def _decode(self, data: bytes) -> FacePacket:
        return parse(data)
