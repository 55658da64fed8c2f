"""Live Link Face: Unreal's app for iPhones, and programs that send as it does."""

from __future__ import annotations

from typing import Any

from mp2flame.sources.datagrams import DatagramSource
from mp2flame.streams import livelink
from mp2flame.streams.address import Address, parse_address
from mp2flame.streams.packet import WireFace

__all__ = ["LiveLinkSource"]

_PORT = 11111


class LiveLinkSource(DatagramSource):
    """Frames of a Live Link Face app that sends to this machine; time is the packets' own time code.

    Args:
        address: where to listen.
        angles: the unit of the head's angles: `radians`, `degrees` or `half-turns`.
    """

    largest = 1024

    def __init__(self, address: Address, *, angles: str = "radians") -> None:
        self._unit = livelink.ANGLE_UNITS[angles]
        super().__init__(address)

    @classmethod
    def from_spec(cls, spec: str, **options: Any) -> LiveLinkSource:
        """Listen on `livelink://[HOST]:[PORT][?angles=radians|degrees|half-turns]`, port 11111 if none is given.

        Raises:
            InputError: the address has another form.
            SourceError: the port cannot be listened on.
        """
        address = parse_address(spec, port=_PORT, settings=("angles",))
        return cls(address, angles=address.choice("angles", livelink.ANGLE_UNITS, "radians"), **options)

    def _decode(self, data: bytes) -> WireFace:
        packet = livelink.parse(data)
        sender = f"{packet.device}/{packet.subject}"
        if packet.values is None:
            return WireFace(found=False, sender=sender)
        return livelink.face_of(packet.values, self._unit, stamp=packet.stamp, sender=sender)
