"""The Virtual Motion Capture protocol: OSC messages over UDP; VSeeFace, VMagicMirror, Warudo, Unity, Blender.

Messages are built with python-osc, but read here: its reader follows an element of negative length in a bundle for
ever, completes numbers that are cut off, and logs unknown content to the root logger.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self, override

from mp2flame.blendshapes import ARKIT, canonical_name
from mp2flame.data import Frame, HeadLike
from mp2flame.errors import FormatError, InputError, MissingExtraError, plain
from mp2flame.sources.face_packet import FacePacket, checked_scores, head_transform
from mp2flame.streams.base import (
    Address,
    DatagramSink,
    DatagramSource,
    arkit_scores,
    head_rotation,
    parse_address,
    rotation,
)
from mp2flame.streams.rotation_conventions import matrix_from_unity, unity_from_matrix

try:
    from pythonosc.osc_bundle_builder import IMMEDIATELY, OscBundleBuilder
    from pythonosc.osc_message_builder import OscMessageBuilder
except ImportError as error:
    raise MissingExtraError("python-osc", "stream", "send and receive VMC") from error

DEFAULT_PORT: Final = 39539
"""Where receivers of a performance listen."""

CASES: Final = ("camel", "pascal")
"""`browInnerUp` as ARKit and MediaPipe write it, or `BrowInnerUp` as many VRM models name their clips."""

_BONES: Final = ("head", "jaw", "eyes")
_BUNDLE: Final = b"#bundle\0"
_MAX_DEPTH: Final = 4
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
    """A blendshape's name in one of `CASES`."""
    return name[0].upper() + name[1:] if case == "pascal" else name


def _message(address: str, *arguments: tuple[str, Any]) -> Any:
    builder = OscMessageBuilder(address)
    for kind, value in arguments:
        builder.add_arg(value, kind)
    return builder.build()


def bundle(
    time: float, scores: Sequence[float] | None, bones: Mapping[str, NDArray[np.float64]], *, case: str = "camel"
) -> bytes:
    """One frame as one OSC bundle: OK, T, the bones, the value of each blendshape, Apply.

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
    data: bytes = frame.build().dgram
    return data


def _messages(data: bytes, depth: int = 0) -> Iterator[bytes]:
    """The messages of a packet, taken out of their bundles."""
    if data.startswith(b"/"):
        yield data
        return
    if not data.startswith(_BUNDLE) or len(data) < 16 or depth == _MAX_DEPTH:
        raise FormatError(f"not an OSC packet, or bundles nested deeper than {_MAX_DEPTH}")
    place = 16
    while place < len(data):
        size = struct.unpack_from(">i", data, place)[0] if place + 4 <= len(data) else 0
        if size <= 0 or size % 4 or place + 4 + size > len(data):
            raise FormatError(f"an OSC bundle with an element of {size} bytes where {len(data) - place} are left")
        yield from _messages(data[place + 4 : place + 4 + size], depth + 1)
        place += 4 + size


def _read_text(data: bytes, place: int) -> tuple[str, int]:
    """A text that ends with a zero byte and is padded to a multiple of four, and the place after it."""
    end = data.find(b"\0", place)
    after = (end // 4 + 1) * 4
    if end < 0 or after > len(data):
        raise FormatError("an OSC message that is cut off within a text")
    try:
        return data[place:end].decode(), after
    except UnicodeDecodeError as error:
        raise FormatError("an OSC message with a text that is not UTF-8") from error


def _read_message(data: bytes) -> tuple[str, list[Any]] | None:
    """Address and arguments of a message; None for an address of VMC that is not needed here."""
    address, place = _read_text(data, 0)
    if address not in _READ:
        if not address.startswith("/VMC/"):
            raise FormatError(f"an OSC message for {plain(repr(address), 40)}, which is not VMC")
        return None
    tags, place = _read_text(data, place) if place < len(data) else ("", place)
    if not _READ[address].fullmatch(tags):
        raise FormatError(f"a {address} message with other arguments than it should have")
    arguments: list[Any] = []
    for tag in tags[1:]:
        if tag == "s":
            text, place = _read_text(data, place)
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


class VmcDecoder:
    """Assembles frames: blendshapes keep their values until a message changes them; Apply completes a frame.

    Its memory is bounded: 52 scores and two bones.
    """

    def __init__(self) -> None:
        self._scores: dict[str, float] = {}
        self._bones: dict[str, NDArray[np.float64]] = {}
        self._tracking = True
        self._stamp: float | None = None

    def decode(self, data: bytes) -> FacePacket | None:
        """Read one packet; a face if it completes a frame or says that no face is tracked.

        Raises:
            FormatError: not a VMC packet; nothing of it is kept.
        """
        # All of it is read before any of it is kept.
        messages = [message for part in _messages(data) if (message := _read_message(part)) is not None]
        named: list[tuple[str, float]] = []
        bones: dict[str, NDArray[np.float64]] = {}
        tracking: bool | None = None
        for address, arguments in messages:
            if address == _VALUE:
                name = canonical_name(arguments[0])
                if name is not None and name != "_neutral":
                    named.append((name, float(arguments[1])))
            elif address == _BONE and arguments[0] in ("Head", "Neck"):
                bones[arguments[0]] = _bone_rotation(arguments[0], arguments[4:])
            elif address == _OK and len(arguments) == 4:
                tracking = arguments[3] != 0
        self._scores |= checked_scores(named)
        self._bones |= bones
        self._stamp = next((float(arguments[0]) for address, arguments in messages if address == _TIME), self._stamp)
        self._tracking = self._tracking if tracking is None else tracking
        if tracking is False:
            return FacePacket(found=False, stamp=self._stamp)
        if not (self._scores and any(address == _APPLY for address, _ in messages)):
            return None
        head = None
        if self._bones:
            head = head_transform(self._bones.get("Neck", np.eye(3)) @ self._bones.get("Head", np.eye(3)))
        return FacePacket(found=self._tracking, scores=dict(self._scores), head=head, stamp=self._stamp)


def _bone_rotation(bone: str, quaternion: Sequence[float]) -> NDArray[np.float64]:
    if not 0.5 < np.linalg.norm(quaternion) < 2.0:
        raise FormatError(f"a {bone} bone whose quaternion is not of unit length")
    return matrix_from_unity(quaternion)


class VmcSource(DatagramSource):
    """Frames of a performer that sends ARKit's blendshapes ("Perfect Sync"); VRM's own presets are not read.

    Its address is `vmc://[HOST]:[PORT]`, by default port 39539.
    """

    max_bytes = 16384

    def __init__(self, address: Address) -> None:
        self._decoder = VmcDecoder()
        super().__init__(address)

    @classmethod
    @override
    def from_url(cls, url: str) -> Self:
        return cls(parse_address(url, port=DEFAULT_PORT))

    @override
    def _decode(self, data: bytes) -> FacePacket | None:
        return self._decoder.decode(data)


class VmcSink(DatagramSink):
    """Sends ARKit's blendshapes and bones, one OSC bundle a frame.

    Avatars with all of ARKit's blendshapes move jaw and eyes by these, and would move them twice by bones as well.
    Therefore only the head's bone is sent by default. Its address is
    `vmc://HOST[:PORT][?case=camel|pascal&bones=head,jaw,eyes]`, by default port 39539.

    Args:
        address: the receiver.
        case: `camel` (`browInnerUp`) or `pascal` (`BrowInnerUp`): names are case-sensitive to receivers.
        bones: among `head`, `jaw` and `eyes`.

    Raises:
        InputError: there is no such casing or bone.
        SinkError: the host's address cannot be found.
    """

    def __init__(self, address: Address, *, case: str = "camel", bones: Sequence[str] = ("head",)) -> None:
        if case not in CASES:
            raise InputError(f"expected case among {', '.join(CASES)}; got {plain(case)}")
        unknown = [bone for bone in bones if bone not in _BONES]
        if unknown:
            raise InputError(f"expected bones among {', '.join(_BONES)}; got {plain(', '.join(unknown))}")
        self._case = case
        self._bones = tuple(bones)
        super().__init__(address)

    @classmethod
    @override
    def from_url(cls, url: str, *, head: HeadLike | None = None) -> Self:
        address = parse_address(url, port=DEFAULT_PORT, settings=("case", "bones"), host_needed=True)
        bones = tuple(filter(None, address.text("bones", "head").split(",")))
        return cls(address, case=address.choice("case", CASES, "camel"), bones=bones)

    @override
    def encode(self, frame: Frame) -> bytes:
        params = frame.params
        rotations = {
            "Head": head_rotation(params) if "head" in self._bones else None,
            "Jaw": rotation(params.jaw_pose) if "jaw" in self._bones else None,
            "LeftEye": rotation(params.leye_pose) if "eyes" in self._bones else None,
            "RightEye": rotation(params.reye_pose) if "eyes" in self._bones else None,
        }
        known = {bone: turn for bone, turn in rotations.items() if turn is not None}
        scores = arkit_scores(frame.observation).tolist() if frame.observation.found[0] else None
        return bundle(float(frame.observation.time[0]), scores, known, case=self._case)
