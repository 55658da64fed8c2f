"""Live Link Face packets, which Unreal's Live Link takes as if a phone had sent them."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import uuid4

from mp2flame.data import FlameParams, Observation
from mp2flame.errors import InputError
from mp2flame.sinks.base import HeadSurface
from mp2flame.sinks.datagrams import DatagramSink
from mp2flame.streams import livelink
from mp2flame.streams.address import Address, parse_address
from mp2flame.streams.packet import arkit_scores, head_rotation, rotation
from mp2flame.streams.rotation_conventions import yaw_pitch_roll

__all__ = ["LiveLinkSink"]

_PORT = 11111
_FPS = 60.0


class LiveLinkSink(DatagramSink):
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
        if angles not in livelink.ANGLE_UNITS:
            raise InputError(f"expected angles in {', '.join(livelink.ANGLE_UNITS)}; got {angles!r}")
        self._rate = livelink.frame_rate(_FPS if frame_rate is None else frame_rate)
        self._unit = livelink.ANGLE_UNITS[angles]
        self._faceless = livelink.LiveLinkPacket(
            device=str(uuid4()).upper() if device is None else device, subject=subject
        )
        # Names that are too long show now, and not with the first frame.
        livelink.pack(self._faceless)
        self._midnight = _seconds_of_day() if seconds_of_day is None else seconds_of_day
        super().__init__(address)

    @classmethod
    def from_url(cls, url: str, *, head: HeadSurface, **options: Any) -> LiveLinkSink:  # noqa: ARG003 - the receiver has its own head
        """Send to `livelink://HOST[:PORT][?fps=29.97&subject=NAME&angles=UNIT]`, port 11111 if none is given.

        Raises:
            InputError: the address has another form.
            SinkError: no address is known for the host.
        """
        address = parse_address(url, port=_PORT, settings=("fps", "subject", "angles"), host_needed=True)
        written: dict[str, Any] = {
            "subject": address.text("subject", "mp2flame"),
            "angles": address.choice("angles", livelink.ANGLE_UNITS, "radians"),
            "frame_rate": address.number("fps", None),
        }
        return cls(address, **{**options, **{name: value for name, value in written.items() if value is not None}})

    def _packet(self, observation: Observation, params: FlameParams) -> bytes:
        if not observation.found[0]:
            return livelink.pack(self._faceless)
        frame, sub_frame = livelink.timecode(self._midnight + float(observation.time[0]), self._rate)
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
        return livelink.pack(packet)


def _seconds_of_day() -> float:
    now = datetime.now().astimezone()
    return (now - now.replace(hour=0, minute=0, second=0, microsecond=0)).total_seconds()
