"""The Virtual Motion Capture protocol, for VRM avatars in VSeeFace, Warudo, Unity and Blender."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mp2flame.blendshapes import ARKIT, canonical_name
from mp2flame.errors import FormatError, MissingExtraError
from mp2flame.streams.packet import FacePacket, checked_scores, head_transform
from mp2flame.streams.rotation_conventions import matrix_from_unity, unity_from_matrix

try:
    from pythonosc.osc_bundle_builder import IMMEDIATELY, OscBundleBuilder
    from pythonosc.osc_message_builder import OscMessageBuilder
except ImportError as error:
    raise MissingExtraError("python-osc", "stream", "send and receive VMC") from error
from mp2flame.data import FlameParams, HeadLike, Observation
from mp2flame.errors import InputError
from mp2flame.streams.base import Address, UdpSinkBase, UdpSource, parse_address
from mp2flame.streams.packet import arkit_scores, head_rotation, rotation

DEFAULT_PORT: Final = 39539
"""Where receivers of a performance listen."""

CASES: Final = ("camel", "pascal")
"""`browInnerUp` as ARKit and MediaPipe write it, or `BrowInnerUp` as many VRM models name their clips."""

_BUNDLE = b"#bundle\0"
_DEEPEST = 4
_OK, _TIME, _BONE = "/VMC/Ext/OK", "/VMC/Ext/T", "/VMC/Ext/Bone/Pos"
_VALUE, _APPLY = "/VMC/Ext/Blend/Val", "/VMC/Ext/Blend/Apply"
# Addresses that are read, and the argument types that they may have.
_READ: Final = {
    _OK: re.compile(r",i{1,4}"),
    _TIME: re.compile(r",[fd]"),
    _BONE: re.compile(r",sf{7}"),
    _VALUE: re.compile(r",s[fdi]"),
    _APPLY: re.compile(r",?"),
}
_NUMBERS: Final = {kind: struct.Struct(f">{kind}") for kind in "ifd"}


def cased(name: str, case: str) -> str:
    """A blendshape's name in this casing."""
    return name[0].upper() + name[1:] if case == "pascal" else name


def _message(address: str, *arguments: tuple[str, Any]) -> Any:
    builder = OscMessageBuilder(address)
    for kind, value in arguments:
        builder.add_arg(value, kind)
    return builder.build()


def bundle(
    time: float,
    scores: Sequence[float] | None,
    bones: Mapping[str, NDArray[np.float64]],
    *,
    case: str = "camel",
) -> bytes:
    """One frame as one OSC bundle: OK, T, the bones, each blendshape's value, Apply.

    Args:
        time: seconds.
        scores: 52 in ARKit's order; None without a face, which leaves out the blendshapes and says so in OK.
        bones: rotations (3, 3) in our axes by Unity's bone name, relative to the parent bone.
        case: how names are written; see `CASES`.
    """
    frame = OscBundleBuilder(IMMEDIATELY)
    # Loaded; calibrated; the normal calibration; tracking.
    frame.add_content(_message(_OK, ("i", 1), ("i", 3), ("i", 0), ("i", int(scores is not None))))
    frame.add_content(_message(_TIME, ("f", time)))
    for bone, turn in bones.items():
        numbers = (0.0, 0.0, 0.0, *unity_from_matrix(turn))
        frame.add_content(_message(_BONE, ("s", bone), *(("f", number) for number in numbers)))
    if scores is not None:
        for name, score in zip(ARKIT, scores, strict=True):
            frame.add_content(_message(_VALUE, ("s", cased(name, case)), ("f", float(score))))
        frame.add_content(_message(_APPLY))
    built: bytes = frame.build().dgram
    return built


def _messages(data: bytes, depth: int = 0) -> Iterator[bytes]:
    """The messages of a packet, bundles taken apart."""
    if data.startswith(b"/"):
        yield data
        return
    if not data.startswith(_BUNDLE) or len(data) < 16 or depth == _DEEPEST:
        raise FormatError("no OSC packet, or bundles within bundles beyond reason")
    place = 16
    while place < len(data):
        size = struct.unpack_from(">i", data, place)[0] if place + 4 <= len(data) else 0
        if size <= 0 or size % 4 or place + 4 + size > len(data):
            raise FormatError(f"an OSC bundle with an element of {size} bytes where {len(data) - place} are left")
        yield from _messages(data[place + 4 : place + 4 + size], depth + 1)
        place += 4 + size


def _string(data: bytes, place: int) -> tuple[str, int]:
    """A text that ends with a zero byte and is filled up to a multiple of four, and the place behind it."""
    end = data.find(b"\0", place)
    behind = (end // 4 + 1) * 4
    if end < 0 or behind > len(data):
        raise FormatError("an OSC message that is cut off within a text")
    try:
        return data[place:end].decode(), behind
    except UnicodeDecodeError as error:
        raise FormatError("an OSC message with a text that is no UTF-8") from error


def _read(data: bytes) -> tuple[str, list[Any]] | None:
    """Address and arguments of a message; None for an address of VMC that is not needed here."""
    address, place = _string(data, 0)
    if address not in _READ:
        if not address.startswith("/VMC/"):
            raise FormatError(f"an OSC message for {address[:40]!r}, which is not VMC")
        return None
    tags, place = _string(data, place) if place < len(data) else ("", place)
    if not _READ[address].fullmatch(tags):
        raise FormatError(f"a {address} message with other arguments than it should have")
    arguments: list[Any] = []
    for tag in tags[1:]:
        if tag == "s":
            text, place = _string(data, place)
            arguments.append(text)
            continue
        number = _NUMBERS[tag]
        if place + number.size > len(data):
            raise FormatError(f"a {address} message that is cut off")
        arguments += number.unpack_from(data, place)
        place += number.size
    if place != len(data):
        raise FormatError(f"a {address} message with {len(data) - place} bytes too many")
    if not all(isfinite(argument) for argument in arguments if not isinstance(argument, str)):
        raise FormatError(f"a {address} message with a number that is not finite")
    return address, arguments


class VmcListener:
    """Puts frames together: blendshapes stay as they are until a message changes them, Apply ends a frame.

    What it holds is bounded: 52 scores and two bones.
    """

    def __init__(self) -> None:
        self._scores: dict[str, float] = {}
        self._bones: dict[str, NDArray[np.float64]] = {}
        self._tracking = True
        self._stamp: float | None = None

    def take(self, data: bytes) -> FacePacket | None:
        """Read one packet; a face if it ends a frame or says that none is tracked.

        Raises:
            FormatError: no VMC packet; nothing of it was taken.
        """
        # All of it is read before any of it counts.
        messages = [message for part in _messages(data) if (message := _read(part)) is not None]
        changes = _Changes()
        for address, arguments in messages:
            changes.add(address, arguments)
        self._scores |= checked_scores(changes.scores.items())
        self._bones |= changes.bones
        self._stamp = changes.stamp if changes.stamp is not None else self._stamp
        if changes.tracking is not None:
            self._tracking = changes.tracking
        if changes.tracking is False:
            return FacePacket(found=False, stamp=self._stamp)
        if not (changes.applied and self._scores):
            return None
        return FacePacket(found=self._tracking, scores=dict(self._scores), head=self._head(), stamp=self._stamp)

    def _head(self) -> NDArray[np.float64] | None:
        if not self._bones:
            return None
        neck, head = self._bones.get("Neck", np.eye(3)), self._bones.get("Head", np.eye(3))
        return head_transform(neck @ head)


class _Changes:
    """What the messages of one packet change."""

    def __init__(self) -> None:
        self.scores: dict[str, float] = {}
        self.bones: dict[str, NDArray[np.float64]] = {}
        self.stamp: float | None = None
        self.tracking: bool | None = None
        self.applied = False

    def add(self, address: str, arguments: list[Any]) -> None:
        if address == _VALUE:
            name = canonical_name(arguments[0])
            if name is not None and name != "_neutral":
                self.scores[name] = float(arguments[1])
        elif address == _BONE:
            self._add_bone(arguments[0], np.array(arguments[4:]))
        elif address == _TIME:
            self.stamp = float(arguments[0])
        elif address == _OK and len(arguments) == 4:
            self.tracking = arguments[3] != 0
        elif address == _APPLY:
            self.applied = True

    def _add_bone(self, bone: str, quaternion: NDArray[np.float64]) -> None:
        if bone not in ("Head", "Neck"):
            return
        if not 0.5 < np.linalg.norm(quaternion) < 2.0:
            raise FormatError(f"a {bone} bone whose quaternion is not of unit length")
        self.bones[bone] = matrix_from_unity(quaternion)


class VmcSource(UdpSource):
    """Frames of a performer that sends ARKit's blendshapes ("Perfect Sync"); VRM's own presets are not read.

    Args:
        address: where to listen.
    """

    largest = 16384

    def __init__(self, address: Address) -> None:
        self._listener = VmcListener()
        super().__init__(address)

    @classmethod
    def from_url(cls, spec: str) -> VmcSource:
        """Listen on `vmc://[HOST]:[PORT]`, port 39539 if none is given.

        Raises:
            InputError: the address has another form.
            SourceError: the port cannot be listened on.
        """
        return cls(parse_address(spec, port=DEFAULT_PORT))

    def _decode(self, data: bytes) -> FacePacket | None:
        return self._listener.take(data)


_BONES = ("head", "jaw", "eyes")


class VmcSink(UdpSinkBase):
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
        if case not in CASES:
            raise InputError(f"expected case among {', '.join(CASES)}; got {case!r}")
        unknown = [bone for bone in bones if bone not in _BONES]
        if unknown:
            raise InputError(f"expected bones among {', '.join(_BONES)}; got {', '.join(unknown)}")
        self._case = case
        self._bones = bones
        super().__init__(address)

    @classmethod
    def from_url(cls, url: str, *, head: HeadLike, **options: Any) -> VmcSink:  # noqa: ARG003 - the receiver has its own head
        """Send to `vmc://HOST[:PORT][?case=camel|pascal&bones=head,jaw,eyes]`, port 39539 if none is given.

        Raises:
            InputError: the address has another form.
            SinkError: no address is known for the host.
        """
        address = parse_address(url, port=DEFAULT_PORT, settings=("case", "bones"), host_needed=True)
        bones = tuple(filter(None, address.text("bones", "head").split(",")))
        return cls(address, case=address.choice("case", CASES, "camel"), bones=bones, **options)

    def _packet(self, observation: Observation, params: FlameParams) -> bytes:
        scores = arkit_scores(observation).tolist() if observation.found[0] else None
        return bundle(float(observation.time[0]), scores, self._rotations(params), case=self._case)

    def _rotations(self, params: FlameParams) -> dict[str, NDArray[np.float64]]:
        wanted = {
            "Head": head_rotation(params) if "head" in self._bones else None,
            "Jaw": rotation(params.jaw_pose) if "jaw" in self._bones else None,
            "LeftEye": rotation(params.leye_pose) if "eyes" in self._bones else None,
            "RightEye": rotation(params.reye_pose) if "eyes" in self._bones else None,
        }
        return {bone: turn for bone, turn in wanted.items() if turn is not None}
