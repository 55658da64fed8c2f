"""iFacialMocap's text frames: `name-value|...|=head#x,y,z,px,py,pz|rightEye#x,y,z|leftEye#x,y,z|`."""

from __future__ import annotations

import re
from math import isfinite, radians
from typing import Final

from mp2flame.blendshapes import canonical_name
from mp2flame.errors import FormatError
from mp2flame.streams.packet import WireFace, checked_scores, head_transform
from mp2flame.streams.rotation_conventions import matrix_from_euler

__all__ = ["HANDSHAKE", "PORT", "parse"]

PORT: Final = 49983
HANDSHAKE: Final = b"iFacialMocap_sahuasouryya9218sauhuiayeta91555dy3719|sendDataVersion=v2"
"""What a phone waits for before it sends to the asker's port 49983."""

_NUMBER = r"[-+]?\d{1,12}(?:\.\d{0,20})?(?:[eE][-+]?\d{1,3})?"
# Version 1 writes name-value, version 2 name&value, so that a value may be negative.
_SCORE = re.compile(rf"([A-Za-z][A-Za-z0-9_]{{0,63}})(?:-|&)({_NUMBER})", re.ASCII)
_PART = re.compile(rf"([A-Za-z][A-Za-z0-9_]{{0,63}})#({_NUMBER}(?:,{_NUMBER}){{0,15}})", re.ASCII)


def _head(numbers: str) -> WireFace:
    values = [float(number) for number in numbers.split(",")]
    if len(values) not in (3, 6) or not all(map(isfinite, values)):
        raise FormatError(f"an iFacialMocap head of {len(values)} numbers, not 3 angles or 3 angles and 3 lengths")
    # The axes are ARKit's, which are ours: x > 0 looks down, y > 0 turns to the subject's left; degrees and metres.
    x, y, z = (radians(value) for value in values[:3])
    place = [100 * value for value in values[3:]] or [0.0, 0.0, 0.0]
    if max(abs(value) for value in (*values[:3], *place)) > 1e5:
        raise FormatError("an iFacialMocap head that is turned or placed out of this world")
    return WireFace(head=head_transform(matrix_from_euler(x, y, z), place))


def parse(data: bytes) -> WireFace:
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
    return WireFace(found=tracking, scores=checked_scores(named), head=head)
