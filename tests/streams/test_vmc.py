"""VMC against python-osc in both directions, and against packets that mean harm."""

from __future__ import annotations

import logging
import pickle
import struct
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from mp2flame.blendshapes import ARKIT
from mp2flame.errors import FormatError
from mp2flame.rotations import matrix

pytest.importorskip("pythonosc", reason="needs the stream extra")

from pythonosc.osc_bundle_builder import IMMEDIATELY, OscBundleBuilder
from pythonosc.osc_message_builder import OscMessageBuilder
from pythonosc.osc_packet import OscPacket

from mp2flame.streams.vmc import VmcDecoder, bundle

_SCORES = [float(np.float32(value)) for value in np.random.default_rng(0).uniform(0, 1, 52)]
_TURN = matrix([0.2, -0.5, 0.1])
_BUNDLE = bundle(12.5, _SCORES, {"Head": _TURN})


def _message(address: str, *arguments: Any, kinds: str | None = None) -> bytes:
    builder = OscMessageBuilder(address)
    for place, argument in enumerate(arguments):
        builder.add_arg(argument, None if kinds is None else kinds[place])
    data: bytes = builder.build().dgram
    return data


@pytest.mark.parametrize(("case", "first"), [("camel", "eyeBlinkLeft"), ("pascal", "EyeBlinkLeft")])
def test_python_osc_reads_the_bundle(case: str, first: str) -> None:
    data = bundle(12.5, _SCORES, {"Head": _TURN, "LeftEye": np.eye(3)}, case=case)
    messages = [timed.message for timed in OscPacket(data).messages]
    addresses = [message.address for message in messages]
    assert addresses == [
        "/VMC/Ext/OK",
        "/VMC/Ext/T",
        *["/VMC/Ext/Bone/Pos"] * 2,
        *["/VMC/Ext/Blend/Val"] * 52,
        "/VMC/Ext/Blend/Apply",
    ]
    assert messages[0].params == [1, 3, 0, 1]
    assert messages[1].params == [12.5]
    assert messages[2].params[:4] == ["Head", 0.0, 0.0, 0.0]
    mirror = np.diag([-1.0, 1.0, 1.0])
    np.testing.assert_allclose(
        Rotation.from_quat(messages[2].params[4:]).as_matrix(), mirror @ _TURN @ mirror, atol=1e-6
    )
    assert messages[4].params == [first, _SCORES[0]]
    values = {message.params[0].lower(): message.params[1] for message in messages[4:56]}
    assert values == {name.lower(): score for name, score in zip(ARKIT, _SCORES, strict=True)}


def test_without_a_face_it_says_so() -> None:
    messages = [timed.message for timed in OscPacket(bundle(1.0, None, {})).messages]
    assert [message.address for message in messages] == ["/VMC/Ext/OK", "/VMC/Ext/T"]
    assert messages[0].params == [1, 3, 0, 0]
    face = VmcDecoder().decode(bundle(1.0, None, {}))
    assert face is not None
    assert not face.found


def test_round_trip() -> None:
    face = VmcDecoder().decode(_BUNDLE)
    assert face is not None
    assert face.scores == dict(zip(ARKIT, _SCORES, strict=True))
    assert face.stamp == 12.5
    assert face.head is not None
    np.testing.assert_allclose(face.head[:3, :3], _TURN, atol=1e-6)


def test_messages_of_python_osc_one_by_one() -> None:
    listener = VmcDecoder()
    assert listener.decode(_message("/VMC/Ext/Blend/Apply")) is None, "nothing was said yet"
    assert listener.decode(_message("/VMC/Ext/Blend/Val", "JawOpen", 0.5)) is None
    assert listener.decode(_message("/VMC/Ext/Blend/Val", "Joy", 1.0)) is None
    assert listener.decode(_message("/VMC/Ext/Blend/Val", "tongueout", 1.0)) is None
    neck, head = (_message("/VMC/Ext/Bone/Pos", name, 0.0, 1.0, 0.0, *_half_turns(0.2)) for name in ("Neck", "Head"))
    for data in (neck, head, _message("/VMC/Ext/Bone/Pos", "Hips", 0.0, 1.0, 0.0, *_half_turns(1.0))):
        assert listener.decode(data) is None
    face = listener.decode(_message("/VMC/Ext/Blend/Apply"))
    assert face is not None
    assert face.scores == {"jawOpen": 0.5, "tongueOut": 1.0}
    assert face.head is not None
    # Unity turns to the right about +Y; neck and head together by 0.4.
    np.testing.assert_allclose(face.head[:3, 2], [-np.sin(0.4), 0, np.cos(0.4)], atol=1e-6)
    listener.decode(_message("/VMC/Ext/Blend/Val", "JawOpen", 0.75))
    face = listener.decode(_message("/VMC/Ext/Blend/Apply"))
    assert face is not None
    assert face.scores == {"jawOpen": 0.75, "tongueOut": 1.0}, "what is not said again stays"


def _half_turns(angle: float) -> tuple[float, float, float, float]:
    return (0.0, float(np.sin(angle / 2)), 0.0, float(np.cos(angle / 2)))


def test_bundles_within_bundles() -> None:
    outer, inner = OscBundleBuilder(IMMEDIATELY), OscBundleBuilder(IMMEDIATELY)
    for builder, data in ((inner, ("browInnerUp", 0.25)), (outer, ("jawOpen", 0.5))):
        message = OscMessageBuilder("/VMC/Ext/Blend/Val")
        for argument in data:
            message.add_arg(argument)
        builder.add_content(message.build())
    outer.add_content(inner.build())
    outer.add_content(OscMessageBuilder("/VMC/Ext/Blend/Apply").build())
    face = VmcDecoder().decode(outer.build().dgram)
    assert face is not None
    assert face.scores == {"jawOpen": 0.5, "browInnerUp": 0.25}


def test_lost_tracking_comes_back_with_the_word_for_it() -> None:
    listener = VmcDecoder()
    listener.decode(_BUNDLE)
    lost = listener.decode(_message("/VMC/Ext/OK", 1, 3, 0, 0))
    assert lost is not None
    assert not lost.found
    again = listener.decode(_BUNDLE)
    assert again is not None
    assert again.found


def _element(data: bytes, size: int | None = None) -> bytes:
    return b"#bundle\0" + bytes(8) + struct.pack(">i", len(data) if size is None else size) + data


def _nested(depth: int) -> bytes:
    data = _message("/VMC/Ext/Blend/Apply")
    for _ in range(depth):
        data = _element(data)
    return data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"/",
        b"#bundle\0",
        _element(b"", -4),
        _element(_message("/VMC/Ext/Blend/Apply"), -(2**31)),
        _element(_message("/VMC/Ext/Blend/Apply"), 2**31 - 4),
        _element(b"abcd"),
        _element(b""),
        _nested(2000),
        _message("/avatar/parameters/jaw", 0.5),
        _message("/VMC/Ext/Blend/Val", 0.5, "jawOpen"),
        _message("/VMC/Ext/Blend/Val", "jawOpen"),
        _message("/VMC/Ext/Blend/Val", "jawOpen", float("nan")),
        _message("/VMC/Ext/Blend/Val", "jawOpen", 1e30),
        _message("/VMC/Ext/Blend/Val", "jawOpen", 0.5)[:-4],
        _message("/VMC/Ext/Bone/Pos", "Head", *[0.0] * 7),
        _message("/VMC/Ext/Bone/Pos", "Head", *[0.0] * 6, float("inf")),
        _message("/VMC/Ext/T", float("nan")),
        b"/VMC/Ext/Blend/Val\0\0,s[[[[[f]]]\0\0\0\0",
        b"/VMC/Ext/Blend/Val\0\0,sf\0\xff\xfe\xff\0" + bytes(4),
        b"/VMC/Ext/Blend/Val\0\0,sQ\0abc\0",
        b"/\xff\xff\0",
    ],
)
def test_harm_is_refused_at_once_and_in_silence(data: bytes, caplog: pytest.LogCaptureFixture) -> None:
    listener = VmcDecoder()
    with caplog.at_level(logging.DEBUG), pytest.raises(FormatError):
        listener.decode(data)
    assert caplog.records == []


def test_of_a_packet_that_is_refused_nothing_counts() -> None:
    listener = VmcDecoder()
    listener.decode(_BUNDLE)
    good = _message("/VMC/Ext/Blend/Val", "jawOpen", 0.0)
    bad = _message("/VMC/Ext/Blend/Val", "jawOpen", float("nan"))
    pack = b"#bundle\0" + bytes(8) + b"".join(struct.pack(">i", len(part)) + part for part in (good, bad))
    with pytest.raises(FormatError):
        listener.decode(pack)
    face = listener.decode(_message("/VMC/Ext/Blend/Apply"))
    assert face is not None
    assert face.scores["jawOpen"] == _SCORES[ARKIT.index("jawOpen")]


@given(st.binary(max_size=300))
def test_random_bytes(data: bytes) -> None:
    for start in (b"", b"/VMC/Ext/Blend/Val\0\0", b"/VMC/Ext/Bone/Pos\0\0\0,sfffffff\0\0\0", b"#bundle\0" + bytes(8)):
        with suppress(FormatError):
            VmcDecoder().decode(start + data)


def test_every_truncation_is_read_or_refused() -> None:
    for length in range(0, len(_BUNDLE), 3):
        with suppress(FormatError):
            assert VmcDecoder().decode(_BUNDLE[:length]) is None, "Apply comes last"


@given(st.integers(0, len(_BUNDLE) - 1), st.binary(min_size=4, max_size=4))
def test_changed_bytes(place: int, four: bytes) -> None:
    data = _BUNDLE[:place] + four + _BUNDLE[place + 4 :]
    try:
        face = VmcDecoder().decode(data)
    except FormatError:
        return
    if face is not None:
        face.observation(0.0)


def test_the_listener_keeps_only_what_it_knows() -> None:
    listener = VmcDecoder()
    for index in range(2000):
        listener.decode(_message("/VMC/Ext/Blend/Val", f"clip{index}", 0.5))
        listener.decode(_message("/VMC/Ext/Bone/Pos", f"bone{index}", *[0.0] * 6, 1.0))
    face = listener.decode(_message("/VMC/Ext/Blend/Apply"))
    assert face is None, "none of it is a blendshape or a bone of the head"
    assert len(pickle.dumps(listener)) < 1000
