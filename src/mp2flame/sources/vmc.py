"""Performers of the Virtual Motion Capture protocol: VSeeFace, VMagicMirror, Waidayo and many others."""

from __future__ import annotations

from mp2flame.sources.datagrams import DatagramSource
from mp2flame.streams.address import Address, parse_address
from mp2flame.streams.packet import WireFace
from mp2flame.streams.vmc import MARIONETTE_PORT, VmcListener

__all__ = ["VmcSource"]


class VmcSource(DatagramSource):
    """Frames of a performer that sends ARKit's blendshapes ("Perfect Sync"); VRM's own presets are not read.

    Args:
        address: where to listen.
    """

    largest = 16384

    def __init__(self, address: Address) -> None:
        self._listener = VmcListener()
        super().__init__(address)

    @classmethod
    def from_spec(cls, spec: str) -> VmcSource:
        """Listen on `vmc://[HOST]:[PORT]`, port 39539 if none is given.

        Raises:
            InputError: the address has another form.
            SourceError: the port cannot be listened on.
        """
        return cls(parse_address(spec, port=MARIONETTE_PORT))

    def _decode(self, data: bytes) -> WireFace | None:
        return self._listener.take(data)
