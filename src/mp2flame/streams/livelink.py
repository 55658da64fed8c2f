"""Live Link Face: packets, version 6, of Unreal's iPhone app; big-endian, one UDP datagram a frame."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from datetime import datetime
from fractions import Fraction
from math import floor, isfinite
from typing import Final
from uuid import uuid4

from typing_extensions import Self, override

from mp2flame.blendshapes import ARKIT
from mp2flame.data import Frame, HeadLike
from mp2flame.errors import FormatError, InputError
from mp2flame.sources.face_packet import ANGLE_UNITS, FacePacket, checked_scores, head_from_angles
from mp2flame.sources.tables import exact_frame_rate
from mp2flame.streams.base import (
    Address,
    DatagramSink,
    DatagramSource,
    arkit_scores,
    head_rotation,
    parse_address,
    rotation,
)
from mp2flame.streams.rotation_conventions import yaw_pitch_roll

ANGLES: Final = tuple(
    f"{part}{angle}" for part in ("Head", "LeftEye", "RightEye") for angle in ("Yaw", "Pitch", "Roll")
)
"""What follows the 52 blendshapes in a packet and in the CSV."""

_PORT: Final = 11111
_DEFAULT_FPS: Final = 60.0
_VERSION: Final = 6
_N_VALUES: Final = len(ARKIT) + len(ANGLES)
_MAX_NAME_BYTES: Final = 256
_TIME: Final = struct.Struct(">ifii")
_VALUES: Final = struct.Struct(f">B{_N_VALUES}f")


@dataclass(frozen=True, kw_only=True)
class LiveLinkPacket:
    """One packet; without a face it has no values."""

    device: str
    """The phone's UUID as text."""
    subject: str
    """The name under which Unreal lists the face."""
    frame: int = 0
    """Number of the frame since midnight, at the frame rate."""
    sub_frame: float = 0.0
    """Fraction of that frame, 0..1."""
    numerator: int = 60
    denominator: int = 1
    values: tuple[float, ...] | None = None
    """52 blendshapes in ARKit's order, then yaw, pitch and roll of head, left eye and right eye; or None."""

    @property
    def stamp(self) -> float | None:
        """Seconds since midnight on the sender's clock; None where the packet's frame rate or number is not plausible.

        Some senders write a denominator of 0 below 60 frames per second.
        """
        rate = self.numerator / self.denominator if self.numerator > 0 and self.denominator > 0 else 0.0
        if not (1.0 <= rate <= 1000.0 and self.frame >= 0 and 0.0 <= self.sub_frame <= 1.0):
            return None
        return (self.frame + self.sub_frame) / rate


def timecode(seconds_of_day: float, rate: Fraction) -> tuple[int, float]:
    """The frame's number since midnight and the fraction of that frame (0 <= sub-frame < 1)."""
    frames = (seconds_of_day % 86400.0) * float(rate)
    number = floor(frames)
    # The largest float32 below 1: rounding must not carry into the next frame.
    return number, min(frames - number, 1 - 2**-24)


def pack(packet: LiveLinkPacket) -> bytes:
    """The packet's bytes.

    Raises:
        InputError: a name is too long, a denominator is 0, or there are not 61 values.
    """
    data = bytes([_VERSION])
    for text, what in ((packet.device, "device id"), (packet.subject, "subject name")):
        encoded = text.encode()
        if len(encoded) > _MAX_NAME_BYTES:
            raise InputError(f"expected a {what} of at most {_MAX_NAME_BYTES} bytes; got {len(encoded)}")
        data += struct.pack(">i", len(encoded)) + encoded
    if packet.values is None:
        return data
    if len(packet.values) != _N_VALUES:
        raise InputError(f"expected {_N_VALUES} values; got {len(packet.values)}")
    if packet.numerator < 1 or packet.denominator < 1:
        raise InputError(f"expected a frame rate above 0; got {packet.numerator}/{packet.denominator}")
    data += _TIME.pack(packet.frame, packet.sub_frame, packet.numerator, packet.denominator)
    return data + _VALUES.pack(_N_VALUES, *packet.values)


def parse(data: bytes) -> LiveLinkPacket:
    """Read one packet.

    Raises:
        FormatError: another version, cut off, too long, or a value is not finite.
    """
    if not data or data[0] != _VERSION:
        raise FormatError(f"not a Live Link Face packet of version {_VERSION}")
    device, place = _parse_name(data, 1, "device id")
    subject, place = _parse_name(data, place, "subject name")
    rest = data[place:]
    # Without a face, apps end the packet here, or after a frame time with no values.
    if len(rest) in (0, _TIME.size) or (len(rest) == _TIME.size + 1 and rest[-1] == 0):
        return LiveLinkPacket(device=device, subject=subject)
    if len(rest) != _TIME.size + _VALUES.size:
        raise FormatError(f"a Live Link packet with {len(rest)} bytes after its names, not {_TIME.size + _VALUES.size}")
    frame, sub_frame, numerator, denominator = _TIME.unpack_from(rest)
    count, *values = _VALUES.unpack_from(rest, _TIME.size)
    if count != _N_VALUES or not all(map(isfinite, values)):
        raise FormatError(f"a Live Link packet with {count} values, not {_N_VALUES}, or one that is not finite")
    return LiveLinkPacket(
        device=device,
        subject=subject,
        frame=frame,
        sub_frame=sub_frame,
        numerator=numerator,
        denominator=denominator,
        values=tuple(values),
    )


def _parse_name(data: bytes, place: int, what: str) -> tuple[str, int]:
    if len(data) < place + 4:
        raise FormatError(f"a Live Link packet cut off before its {what}")
    (length,) = struct.unpack_from(">i", data, place)
    end = place + 4 + length
    if not 0 <= length <= _MAX_NAME_BYTES or end > len(data):
        raise FormatError(f"a Live Link packet whose {what} has {length} bytes by its header")
    try:
        return data[place + 4 : end].decode(), end
    except UnicodeDecodeError as error:
        raise FormatError(f"a Live Link packet whose {what} is not UTF-8 text") from error


def face_of(packet: LiveLinkPacket, unit: float) -> FacePacket:
    """The face in a packet whose angles are in `unit` radians.

    Raises:
        FormatError: a score or an angle is far out of range.
    """
    sender = f"{packet.device}/{packet.subject}"
    if packet.values is None:
        return FacePacket(found=False, sender=sender)
    scores = checked_scores(zip(ARKIT, packet.values[: len(ARKIT)], strict=True))
    yaw, pitch, roll = packet.values[len(ARKIT) : len(ARKIT) + 3]
    return FacePacket(scores=scores, head=head_from_angles(yaw, pitch, roll, unit), stamp=packet.stamp, sender=sender)


class LiveLinkSource(DatagramSource):
    """Frames of a Live Link Face app that sends to this machine; time is the packets' own time code.

    Its address is `livelink://[HOST]:[PORT][?angles=radians|degrees|half-turns]`, by default port 11111.

    Args:
        address: where to listen.
        angles: the unit of the head's angles: `radians`, `degrees` or `half-turns`.
    """

    max_bytes = 1024

    def __init__(self, address: Address, *, angles: str = "radians") -> None:
        self._unit = _unit_of(angles)
        super().__init__(address)

    @classmethod
    @override
    def from_url(cls, url: str) -> Self:
        address = parse_address(url, port=_PORT, settings=("angles",))
        return cls(address, angles=address.choice("angles", ANGLE_UNITS, "radians"))

    @override
    def _decode(self, data: bytes) -> FacePacket:
        return face_of(parse(data), self._unit)


class LiveLinkSink(DatagramSink):
    """Sends 52 blendshapes and the angles of head and eyes; without a face, the short packet that says so.

    The time code is the local time of day at which the sink was opened, plus the frames' own time. Its address is
    `livelink://HOST[:PORT][?fps=29.97&subject=NAME&angles=UNIT]`, by default port 11111.

    Args:
        address: the receiver.
        frame_rate: frames per second of the time code; 29.97 is written as 30000/1001.
        subject: the name in Unreal's list.
        angles: the unit of the angles: `radians`, `degrees` or `half-turns`.
        device: the device id, usually 36 characters; a new one if None.
        seconds_of_day: the time code of a frame at time 0; now if None.

    Raises:
        InputError: a setting is out of range.
        SinkError: the host's address cannot be found.
    """

    def __init__(
        self,
        address: Address,
        *,
        frame_rate: float = _DEFAULT_FPS,
        subject: str = "mp2flame",
        angles: str = "radians",
        device: str | None = None,
        seconds_of_day: float | None = None,
    ) -> None:
        self._rate = exact_frame_rate(frame_rate)
        self._unit = _unit_of(angles)
        self._no_face = LiveLinkPacket(device=str(uuid4()).upper() if device is None else device, subject=subject)
        # A name that is too long is refused here, not with the first frame.
        pack(self._no_face)
        self._start = _seconds_of_day() if seconds_of_day is None else seconds_of_day
        super().__init__(address)

    @classmethod
    @override
    def from_url(cls, url: str, *, head: HeadLike | None = None) -> Self:
        address = parse_address(url, port=_PORT, settings=("fps", "subject", "angles"), host_needed=True)
        return cls(
            address,
            frame_rate=address.number("fps", _DEFAULT_FPS),
            subject=address.text("subject", "mp2flame"),
            angles=address.choice("angles", ANGLE_UNITS, "radians"),
        )

    @override
    def encode(self, frame: Frame) -> bytes:
        if not frame.observation.found[0]:
            return pack(self._no_face)
        number, sub_frame = timecode(self._start + float(frame.observation.time[0]), self._rate)
        params = frame.params
        angles: list[float] = []
        for turn in (head_rotation(params), rotation(params.leye_pose), rotation(params.reye_pose)):
            angles += (0.0, 0.0, 0.0) if turn is None else (angle / self._unit for angle in yaw_pitch_roll(turn))
        packet = replace(
            self._no_face,
            frame=number,
            sub_frame=sub_frame,
            numerator=self._rate.numerator,
            denominator=self._rate.denominator,
            values=(*arkit_scores(frame.observation).tolist(), *angles),
        )
        return pack(packet)


def _unit_of(angles: str) -> float:
    if angles not in ANGLE_UNITS:
        raise InputError(f"expected angles in {', '.join(ANGLE_UNITS)}; got {angles!r}")
    return ANGLE_UNITS[angles]


def _seconds_of_day() -> float:
    now = datetime.now().astimezone()
    return (now - now.replace(hour=0, minute=0, second=0, microsecond=0)).total_seconds()
