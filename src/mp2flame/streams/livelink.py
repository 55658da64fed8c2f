"""Live Link Face packets, which Unreal's Live Link takes as if a phone had sent them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from fractions import Fraction
from math import floor, isfinite, pi
from typing import Any, Final
from uuid import uuid4

from mp2flame.blendshapes import ARKIT
from mp2flame.data import FlameParams, HeadLike, Observation
from mp2flame.errors import FormatError, InputError
from mp2flame.streams.base import Address, UdpSinkBase, UdpSource, parse_address
from mp2flame.streams.packet import FacePacket, arkit_scores, checked_scores, head_rotation, head_transform, rotation
from mp2flame.streams.rotation_conventions import yaw_pitch_roll, yaw_pitch_roll_matrix

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


def exact_frame_rate(fps: float) -> Fraction:
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


def face_of(values: Sequence[float], unit: float, *, stamp: float | None = None, sender: str = "") -> FacePacket:
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
    return FacePacket(scores=scores, head=head_transform(turn), stamp=stamp, sender=sender)


_PORT = 11111


class LiveLinkSource(UdpSource):
    """Frames of a Live Link Face app that sends to this machine; time is the packets' own time code.

    Args:
        address: where to listen.
        angles: the unit of the head's angles: `radians`, `degrees` or `half-turns`.
    """

    largest = 1024

    def __init__(self, address: Address, *, angles: str = "radians") -> None:
        self._unit = ANGLE_UNITS[angles]
        super().__init__(address)

    @classmethod
    def from_url(cls, spec: str, **options: Any) -> LiveLinkSource:
        """Listen on `livelink://[HOST]:[PORT][?angles=radians|degrees|half-turns]`, port 11111 if none is given.

        Raises:
            InputError: the address has another form.
            SourceError: the port cannot be listened on.
        """
        address = parse_address(spec, port=_PORT, settings=("angles",))
        return cls(address, angles=address.choice("angles", ANGLE_UNITS, "radians"), **options)

    def _decode(self, data: bytes) -> FacePacket:
        packet = parse(data)
        sender = f"{packet.device}/{packet.subject}"
        if packet.values is None:
            return FacePacket(found=False, sender=sender)
        return face_of(packet.values, self._unit, stamp=packet.stamp, sender=sender)


_PORT = 11111
_FPS = 60.0


class LiveLinkSink(UdpSinkBase):
    """Sends 52 blendshapes and the angles of head and eyes; without a face, the short packet that says so.

    The time code is the local time of day at which the sink was made, plus the frames' own time.

    Args:
        address: the receiver.
        frame_rate: frames per second that the time code counts in; 29.97 is written as 30000/1001.
        subject: the name in Unreal's list.
        angles: the unit of the angles: `radians`, `degrees` or `half-turns`.
        device: the device id, 36 characters as a rule; a new one if None.
        seconds_of_day: the time code of a frame at time 0; now if None.

    Raises:
        InputError: a setting is out of its range.
        SinkError: no address is known for the host.
    """

    def __init__(
        self,
        address: Address,
        *,
        frame_rate: float | None = None,
        subject: str = "mp2flame",
        angles: str = "radians",
        device: str | None = None,
        seconds_of_day: float | None = None,
    ) -> None:
        if angles not in ANGLE_UNITS:
            raise InputError(f"expected angles in {', '.join(ANGLE_UNITS)}; got {angles!r}")
        self._rate = exact_frame_rate(_FPS if frame_rate is None else frame_rate)
        self._unit = ANGLE_UNITS[angles]
        self._faceless = LiveLinkPacket(device=str(uuid4()).upper() if device is None else device, subject=subject)
        # Names that are too long show now, and not with the first frame.
        pack(self._faceless)
        self._midnight = _seconds_of_day() if seconds_of_day is None else seconds_of_day
        super().__init__(address)

    @classmethod
    def from_url(cls, url: str, *, head: HeadLike, **options: Any) -> LiveLinkSink:  # noqa: ARG003 - the receiver has its own head
        """Send to `livelink://HOST[:PORT][?fps=29.97&subject=NAME&angles=UNIT]`, port 11111 if none is given.

        Raises:
            InputError: the address has another form.
            SinkError: no address is known for the host.
        """
        address = parse_address(url, port=_PORT, settings=("fps", "subject", "angles"), host_needed=True)
        written: dict[str, Any] = {
            "subject": address.text("subject", "mp2flame"),
            "angles": address.choice("angles", ANGLE_UNITS, "radians"),
            "frame_rate": address.number("fps", None),
        }
        return cls(address, **{**options, **{name: value for name, value in written.items() if value is not None}})

    def _packet(self, observation: Observation, params: FlameParams) -> bytes:
        if not observation.found[0]:
            return pack(self._faceless)
        frame, sub_frame = timecode(self._midnight + float(observation.time[0]), self._rate)
        angles: list[float] = []
        for turn in (head_rotation(params), rotation(params.leye_pose), rotation(params.reye_pose)):
            angles += (0.0, 0.0, 0.0) if turn is None else (angle / self._unit for angle in yaw_pitch_roll(turn))
        packet = replace(
            self._faceless,
            frame=frame,
            sub_frame=sub_frame,
            numerator=self._rate.numerator,
            denominator=self._rate.denominator,
            values=(*arkit_scores(observation).tolist(), *angles),
        )
        return pack(packet)


def _seconds_of_day() -> float:
    now = datetime.now().astimezone()
    return (now - now.replace(hour=0, minute=0, second=0, microsecond=0)).total_seconds()
