"""Live Link Face's packet, version 6: big-endian, one datagram a frame, usually to UDP port 11111."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import floor, isfinite, pi
from typing import Final

from mp2flame.blendshapes import ARKIT
from mp2flame.errors import FormatError, InputError
from mp2flame.streams.packet import WireFace, checked_scores, head_transform
from mp2flame.streams.rotation_conventions import yaw_pitch_roll_matrix

__all__ = ["ANGLES", "ANGLE_UNITS", "LiveLinkPacket", "face_of", "frame_rate", "pack", "parse", "timecode"]

ANGLES: Final = tuple(
    f"{part}{angle}" for part in ("Head", "LeftEye", "RightEye") for angle in ("Yaw", "Pitch", "Roll")
)
"""What follows the 52 blendshapes in a packet and in the CSV."""

ANGLE_UNITS: Final = {"radians": 1.0, "degrees": pi / 180, "half-turns": pi}
"""Radians of one unit. Unreal's own ARKit plugin writes half turns; no document says what every app writes."""

_VERSION = 6
_COUNT = len(ARKIT) + len(ANGLES)
_LONGEST_NAME = 256
_LARGEST_ANGLE = 720.0
_TIME = struct.Struct(">ifii")
_VALUES = struct.Struct(f">B{_COUNT}f")


@dataclass(frozen=True, kw_only=True)
class LiveLinkPacket:
    """One packet; without a face it carries no values."""

    device: str
    """The phone's UUID as text."""
    subject: str
    """The name under which Unreal lists the face."""
    frame: int = 0
    """Number of the frame since midnight, at the frame rate."""
    sub_frame: float = 0.0
    """How far into that frame, 0..1."""
    numerator: int = 60
    denominator: int = 1
    values: tuple[float, ...] | None = None
    """52 blendshapes in ARKit's order, then yaw, pitch and roll of head, left eye and right eye; or None."""

    @property
    def stamp(self) -> float | None:
        """Seconds since midnight on the sender's clock; None where the packet's frame rate or number is no time.

        A denominator of 0 is what some senders write below 60 frames per second.
        """
        rate = self.numerator / self.denominator if self.numerator > 0 and self.denominator > 0 else 0.0
        if not (1.0 <= rate <= 1000.0 and self.frame >= 0 and 0.0 <= self.sub_frame <= 1.0):
            return None
        return (self.frame + self.sub_frame) / rate


def frame_rate(fps: float) -> Fraction:
    """The frame rate as broadcasters write it: 30 is 30/1, 29.97 is 30000/1001; others to within 1/1001.

    Raises:
        InputError: not a positive number below 1000.
    """
    if not (isfinite(fps) and 0.001 <= fps <= 1000):
        raise InputError(f"expected a frame rate between 0.001 and 1000; got {fps}")
    nearest = round(fps)
    if nearest and abs(fps - nearest) < 1e-3:
        return Fraction(nearest)
    dropping = Fraction(round(fps * 1.001) * 1000, 1001)
    if dropping and abs(fps - float(dropping)) < 5e-3:
        return dropping
    return Fraction(fps).limit_denominator(1001)


def timecode(seconds_of_day: float, rate: Fraction) -> tuple[int, float]:
    """The frame's number since midnight and how far into that frame (0 <= sub-frame < 1)."""
    frames = (seconds_of_day % 86400.0) * float(rate)
    number = floor(frames)
    # The largest float32 below 1: rounding must not carry into the next frame.
    return number, min(frames - number, 1 - 2**-24)


def _text(name: str, what: str) -> bytes:
    encoded = name.encode()
    if len(encoded) > _LONGEST_NAME:
        raise InputError(f"expected a {what} of at most {_LONGEST_NAME} bytes; got {len(encoded)}")
    return struct.pack(">i", len(encoded)) + encoded


def pack(packet: LiveLinkPacket) -> bytes:
    """The packet's bytes.

    Raises:
        InputError: a name is too long, a denominator is 0, or there are not 61 values.
    """
    head = bytes([_VERSION]) + _text(packet.device, "device id") + _text(packet.subject, "subject name")
    if packet.values is None:
        return head
    if len(packet.values) != _COUNT:
        raise InputError(f"expected {_COUNT} values; got {len(packet.values)}")
    if packet.numerator < 1 or packet.denominator < 1:
        raise InputError(f"expected a frame rate above 0; got {packet.numerator}/{packet.denominator}")
    time = _TIME.pack(packet.frame, packet.sub_frame, packet.numerator, packet.denominator)
    return head + time + _VALUES.pack(_COUNT, *packet.values)


def _name(data: bytes, place: int, what: str) -> tuple[str, int]:
    if len(data) < place + 4:
        raise FormatError(f"a Live Link packet cut off before its {what}")
    (length,) = struct.unpack_from(">i", data, place)
    end = place + 4 + length
    if not 0 <= length <= _LONGEST_NAME or end > len(data):
        raise FormatError(f"a Live Link packet whose {what} claims {length} bytes")
    try:
        return data[place + 4 : end].decode(), end
    except UnicodeDecodeError as error:
        raise FormatError(f"a Live Link packet whose {what} is no UTF-8 text") from error


def parse(data: bytes) -> LiveLinkPacket:
    """Read one packet.

    Raises:
        FormatError: another version, cut off, too long, or a value that is not finite.
    """
    if not data or data[0] != _VERSION:
        raise FormatError(f"no Live Link Face packet of version {_VERSION}")
    device, place = _name(data, 1, "device id")
    subject, place = _name(data, place, "subject name")
    rest = data[place:]
    # Without a face, apps end the packet here, or behind a frame time that nothing follows.
    if len(rest) in (0, _TIME.size) or (len(rest) == _TIME.size + 1 and rest[-1] == 0):
        return LiveLinkPacket(device=device, subject=subject)
    if len(rest) != _TIME.size + _VALUES.size:
        raise FormatError(
            f"a Live Link packet with {len(rest)} bytes behind its names, not {_TIME.size + _VALUES.size}"
        )
    frame, sub_frame, numerator, denominator = _TIME.unpack_from(rest)
    count, *values = _VALUES.unpack_from(rest, _TIME.size)
    if count != _COUNT:
        raise FormatError(f"a Live Link packet with {count} values, not {_COUNT}")
    if not all(map(isfinite, values)):
        raise FormatError("a Live Link packet with a value that is not finite")
    return LiveLinkPacket(
        device=device,
        subject=subject,
        frame=frame,
        sub_frame=sub_frame,
        numerator=numerator,
        denominator=denominator,
        values=tuple(values),
    )


def face_of(values: Sequence[float], unit: float, *, stamp: float | None = None, sender: str = "") -> WireFace:
    """The face in 61 values.

    Args:
        values: 52 blendshapes in ARKit's order, then nine angles.
        unit: radians of one unit of the angles.
        stamp: seconds on the sender's clock.
        sender: who sent it.

    Raises:
        FormatError: a score or an angle is far outside of its range.
    """
    yaw, pitch, roll = values[len(ARKIT) : len(ARKIT) + 3]
    if max(abs(yaw), abs(pitch), abs(roll)) > _LARGEST_ANGLE:
        raise FormatError(f"expected head angles of at most {_LARGEST_ANGLE:g}; got {yaw:g}, {pitch:g}, {roll:g}")
    turn = yaw_pitch_roll_matrix(yaw * unit, pitch * unit, roll * unit)
    scores = checked_scores(zip(ARKIT, values[: len(ARKIT)], strict=True))
    return WireFace(scores=scores, head=head_transform(turn), stamp=stamp, sender=sender)
