"""Live Link Face packets against PyLiveLinkFace, byte by byte, and against packets that mean harm."""

from __future__ import annotations

import struct
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mp2flame.blendshapes import ARKIT
from mp2flame.errors import FormatError, InputError
from mp2flame.sources.tables import exact_frame_rate
from mp2flame.streams import livelink
from mp2flame.streams.livelink import LiveLinkPacket

_DEVICE = "0F3C1A52-7A3D-4B55-9E0E-3B1F0A6D2C11"
_VALUES = tuple(float(np.float32(value)) for value in np.random.default_rng(0).uniform(0, 1, 61))
_PACKET = LiveLinkPacket(
    device=_DEVICE, subject="anna", frame=2_000_123, sub_frame=0.25, numerator=60, denominator=1, values=_VALUES
)


def test_an_independent_reader_reads_it() -> None:
    peer = pytest.importorskip("pylivelinkface")
    found, read = peer.PyLiveLinkFace.decode(livelink.pack(_PACKET))
    assert found
    assert (read.name, read.fps, read._denominator, read._frames) == ("anna", 60, 1, 2_000_123)
    assert read._sub_frame == 0.25
    # Its id begins with the "$" that is the length of the id, 36.
    assert read.uuid == "$" + _DEVICE
    for shape, value in zip(peer.FaceBlendShape, _VALUES, strict=True):
        assert read.get_blendshape(shape) == value
    assert [shape.name for shape in peer.FaceBlendShape][52:] == list(livelink.ANGLES)
    assert [shape.name.lower() for shape in peer.FaceBlendShape][:52] == [name.lower() for name in ARKIT]


def test_an_independent_reader_sees_no_face() -> None:
    peer = pytest.importorskip("pylivelinkface")
    found, _ = peer.PyLiveLinkFace.decode(livelink.pack(replace(_PACKET, values=None)))
    assert not found


@pytest.mark.parametrize("fps", [60, 30])
def test_an_independent_sender_is_read(fps: int) -> None:
    peer = pytest.importorskip("pylivelinkface")
    sender = peer.PyLiveLinkFace(name="bert", uuid=_DEVICE, fps=fps)
    sender.set_blendshape(peer.FaceBlendShape.JawOpen, 0.75, no_filter=True)
    sender.set_blendshape(peer.FaceBlendShape.HeadYaw, 0.5, no_filter=True)
    packet = livelink.parse(sender.encode())
    assert (packet.device, packet.subject, packet.numerator) == (_DEVICE, "bert", fps)
    assert packet.values is not None
    face = livelink.face_of(packet, 1.0)
    assert face.scores["jawOpen"] == 0.75
    assert face.head is not None
    np.testing.assert_allclose(face.head[:3, 2], [np.sin(0.5), 0, np.cos(0.5)], atol=1e-6)
    # Below 60 frames per second this sender writes a denominator of 0, which is no time.
    assert (packet.stamp is None) == (fps < 60)


def test_every_byte() -> None:
    data = livelink.pack(_PACKET)
    assert len(data) == 306 + len("anna")
    assert data[:5] == b"\x06\x00\x00\x00\x24"
    assert data[5:41] == _DEVICE.encode()
    assert data[41:49] == b"\x00\x00\x00\x04anna"
    assert struct.unpack(">ifii", data[49:65]) == (2_000_123, 0.25, 60, 1)
    assert data[65] == 61
    assert struct.unpack(">61f", data[66:]) == _VALUES
    assert livelink.pack(replace(_PACKET, values=None)) == data[:49]


def test_round_trip_with_names_beyond_ascii() -> None:
    packet = replace(_PACKET, subject="Žofie 顔", device="")
    assert livelink.parse(livelink.pack(packet)) == packet


@pytest.mark.parametrize(
    ("fps", "numerator", "denominator"),
    [
        (60, 60, 1),
        (30, 30, 1),
        (29.97, 30000, 1001),
        (30000 / 1001, 30000, 1001),
        (59.94, 60000, 1001),
        (23.976, 24000, 1001),
        (24, 24, 1),
        (25, 25, 1),
        (12.5, 25, 2),
        (0.5, 1, 2),
        (29.5, 59, 2),
    ],
)
def test_frame_rates(fps: float, numerator: int, denominator: int) -> None:
    rate = exact_frame_rate(fps)
    assert (rate.numerator, rate.denominator) == (numerator, denominator)


@given(st.floats(0.001, 1000))
def test_no_frame_rate_has_a_denominator_of_nothing(fps: float) -> None:
    rate = exact_frame_rate(fps)
    assert rate > 0
    assert abs(float(rate) - fps) <= max(0.006, 1e-3 * fps)


@pytest.mark.parametrize("fps", [0, -30, float("nan"), float("inf"), 1e6])
def test_frame_rates_that_are_none(fps: float) -> None:
    with pytest.raises(InputError, match="frame rate"):
        exact_frame_rate(fps)


@given(st.floats(0, 3 * 86400), st.sampled_from([30000 / 1001, 30.0, 60.0, 60000 / 1001]))
def test_the_time_code_says_the_time_of_day(seconds: float, fps: float) -> None:
    rate = exact_frame_rate(fps)
    frame, sub_frame = livelink.timecode(seconds, rate)
    assert 0 <= np.float32(sub_frame) < 1
    assert 0 <= frame < 86400 * 60
    assert float((frame + Fraction(sub_frame)) / rate) == pytest.approx(seconds % 86400, abs=1e-6)


def test_packets_that_cannot_be() -> None:
    for wrong, says in (
        (replace(_PACKET, denominator=0), "frame rate"),
        (replace(_PACKET, values=_VALUES[:60]), "61 values"),
        (replace(_PACKET, subject="x" * 257), "at most 256"),
    ):
        with pytest.raises(InputError, match=says):
            livelink.pack(wrong)


def test_every_truncation_is_refused_or_has_no_face() -> None:
    data = livelink.pack(_PACKET)
    without_face = {49, 65}
    for length in range(len(data)):
        if length in without_face:
            assert livelink.parse(data[:length]).values is None
        else:
            with pytest.raises(FormatError):
                livelink.parse(data[:length])
    with pytest.raises(FormatError, match="bytes after its names"):
        livelink.parse(data + b"\0")


@pytest.mark.parametrize("place", [1, 41])
@pytest.mark.parametrize("length", [-1, -(2**31), 2**31 - 1, 35, 37, 300, 10**6])
def test_lengths_that_lie(place: int, length: int) -> None:
    data = bytearray(livelink.pack(_PACKET))
    data[place : place + 4] = struct.pack(">i", length)
    with pytest.raises(FormatError):
        livelink.parse(bytes(data))


@given(st.binary(max_size=700))
def test_random_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        livelink.parse(data)
    # Also with a beginning that is right.
    try:
        livelink.parse(livelink.pack(_PACKET)[:49] + data)
    except FormatError:
        return
    assert len(data) in (0, 16, 17, 261)


@given(st.integers(0, 309), st.integers(0, 255))
def test_a_changed_byte_is_read_or_refused(place: int, value: int) -> None:
    data = bytearray(livelink.pack(_PACKET))
    data[place] = value
    try:
        packet = livelink.parse(bytes(data))
        assert packet.stamp is None or np.isfinite(packet.stamp)
        livelink.face_of(packet, 1.0).observation(0.0)
    except FormatError:
        return


def test_numbers_that_are_none() -> None:
    for index, number in ((3, np.nan), (55, np.inf), (17, 11.0), (52, 1e5)):
        values = list(_VALUES)
        values[index] = number
        with pytest.raises(FormatError):
            livelink.face_of(livelink.parse(livelink.pack(replace(_PACKET, values=tuple(values)))), 1.0)
