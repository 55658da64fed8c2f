"""The Virtual Motion Capture protocol, for VRM avatars in VSeeFace, Warudo, Unity and Blender."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mp2flame.data import FlameParams, Observation
from mp2flame.errors import InputError
from mp2flame.sinks.base import HeadSurface
from mp2flame.sinks.datagrams import DatagramSink
from mp2flame.streams import vmc
from mp2flame.streams.address import Address, parse_address
from mp2flame.streams.packet import arkit_scores, head_rotation, rotation

__all__ = ["VmcSink"]

_BONES = ("head", "jaw", "eyes")


class VmcSink(DatagramSink):
    """Sends ARKit's blendshapes and bones, one OSC bundle a frame.

    Avatars with all of ARKit's blendshapes move jaw and eyes by these, and would move them twice by bones as well;
    so only the head's bone is sent unless others are asked for.

    Args:
        address: the receiver.
        case: `camel` (`browInnerUp`) or `pascal` (`BrowInnerUp`): names are case-sensitive to receivers.
        bones: among `head`, `jaw` and `eyes`.

    Raises:
        InputError: there is no such casing or bone.
        SinkError: no address is known for the host.
    """

    def __init__(self, address: Address, *, case: str = "camel", bones: tuple[str, ...] = ("head",)) -> None:
        if case not in vmc.CASES:
            raise InputError(f"expected case among {', '.join(vmc.CASES)}; got {case!r}")
        unknown = [bone for bone in bones if bone not in _BONES]
        if unknown:
            raise InputError(f"expected bones among {', '.join(_BONES)}; got {', '.join(unknown)}")
        self._case = case
        self._bones = bones
        super().__init__(address)

    @classmethod
    def from_url(cls, url: str, *, head: HeadSurface, **options: Any) -> VmcSink:  # noqa: ARG003 - the receiver has its own head
        """Send to `vmc://HOST[:PORT][?case=camel|pascal&bones=head,jaw,eyes]`, port 39539 if none is given.

        Raises:
            InputError: the address has another form.
            SinkError: no address is known for the host.
        """
        address = parse_address(url, port=vmc.MARIONETTE_PORT, settings=("case", "bones"), host_needed=True)
        bones = tuple(filter(None, address.text("bones", "head").split(",")))
        return cls(address, case=address.choice("case", vmc.CASES, "camel"), bones=bones, **options)

    def _packet(self, observation: Observation, params: FlameParams) -> bytes:
        scores = arkit_scores(observation).tolist() if observation.found[0] else None
        return vmc.bundle(float(observation.time[0]), scores, self._rotations(params), case=self._case)

    def _rotations(self, params: FlameParams) -> dict[str, NDArray[np.float64]]:
        wanted = {
            "Head": head_rotation(params) if "head" in self._bones else None,
            "Jaw": rotation(params.jaw_pose) if "jaw" in self._bones else None,
            "LeftEye": rotation(params.leye_pose) if "eyes" in self._bones else None,
            "RightEye": rotation(params.reye_pose) if "eyes" in self._bones else None,
        }
        return {bone: turn for bone, turn in wanted.items() if turn is not None}
