"""Our own JSON and binary frames: every byte, round trips, and messages that mean harm."""

from __future__ import annotations

import json
import struct
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mp2flame.blendshapes import ARKIT, MEDIAPIPE, reorder
from mp2flame.data import Frame, Observation
from mp2flame.errors import FormatError
from mp2flame.sources.face_packet import FacePacket
from mp2flame.streams import messages
from tests.helpers.streams import face, nobody, pose, surface

_SEEN = face(1, 2.5)
_PARAMS = pose(1, _SEEN)
_FRAME = Frame(_SEEN, _PARAMS)
_POSES = ("global_orient", "neck_pose", "jaw_pose", "leye_pose", "reye_pose", "translation")


def _hello(n_expression: int = 100) -> dict[str, Any]:
    hello: dict[str, Any] = json.loads(messages.hello(n_expression, surface(), encoding="binary"))
    return hello


def _same(got: FacePacket, expected: Observation, tolerance: float) -> None:
    observation = got.observation(float(expected.time[0]))
    np.testing.assert_allclose(observation.scores[:, 1:], expected.scores[:, 1:], atol=tolerance)
    assert observation.head_transform is not None
    assert expected.head_transform is not None
    np.testing.assert_allclose(observation.head_transform, expected.head_transform, atol=tolerance)
    assert observation.tongue_out is not None
    assert expected.tongue_out is not None
    np.testing.assert_allclose(observation.tongue_out, expected.tongue_out, atol=tolerance)


def test_the_hello() -> None:
    hello = _hello(50)
    assert hello == {
        "type": "hello",
        "format": "mp2flame-stream",
        "version": 1,
        "encoding": "binary",
        "names": list(ARKIT),
        "poses": list(_POSES),
        "n_expression": 50,
        "head": {"version": "a small head", "hash": "abc", "n_vertices": 6, "n_faces": 2},
    }
    assert messages.parse_hello(hello) == ARKIT


def test_every_byte_of_a_binary_frame() -> None:
    vertices = surface().neutral_vertices
    data = messages.binary_frame(Frame(_SEEN, _PARAMS, vertices), 7, with_vertices=True)
    assert struct.unpack("<4sBBHIId", data[:24]) == (b"MP2F", 1, 15, 100, 7, 6, 2.5)
    numbers = np.frombuffer(data[24:], dtype="<f4")
    expected = reorder(_SEEN.scores[0], MEDIAPIPE, ARKIT)
    expected[51] = 0.25
    parts = [expected, _SEEN.head_transform, *(getattr(_PARAMS, name) for name in _POSES), _PARAMS.expression, vertices]
    np.testing.assert_array_equal(numbers, np.concatenate([np.ravel(part) for part in parts]))
    assert len(data) == 368 + 4 * 100 + 12 * 6


def test_every_byte_of_a_mesh() -> None:
    head = surface()
    data = messages.mesh(head)
    assert struct.unpack("<4sBBHII", data[:16]) == (b"MP2M", 1, 1, 0, 6, 2)
    np.testing.assert_array_equal(np.frombuffer(data[16:88], "<f4").reshape(6, 3), head.neutral_vertices)
    np.testing.assert_array_equal(np.frombuffer(data[88:112], "<u4").reshape(2, 3), head.faces)
    assert head.vertex_colors is not None
    assert data[112:] == head.vertex_colors.tobytes()
    assert messages.mesh(replace(head, vertex_colors=None)) == data[:5] + b"\0" + data[6:112]


def test_binary_round_trip_is_exact() -> None:
    got = messages.parse_binary(messages.binary_frame(_FRAME, 0), ARKIT)
    assert got.stamp == 2.5
    _same(got, _SEEN, 0.0)


def test_json_round_trip() -> None:
    text = messages.json_frame(_FRAME, 3)
    assert "\n" not in text
    assert len(text) < 8192
    message = json.loads(text)
    assert (message["sequence"], message["found"], message["time"]) == (3, True, 2.5)
    assert list(message["scores"]) == list(ARKIT)
    for name in _POSES:
        np.testing.assert_allclose(message["flame"][name], getattr(_PARAMS, name)[0], atol=1e-6)
    np.testing.assert_allclose(message["flame"]["expression"], _PARAMS.expression[0], atol=1e-6)
    _same(messages.parse_json(messages.parse_object(text)), _SEEN, 1e-6)


def test_a_frame_without_a_face() -> None:
    seen, params = nobody(1.5)
    message = json.loads(messages.json_frame(Frame(seen, params), 0))
    assert (message["found"], message["scores"], message["head_transform"], message["flame"]) == (
        False,
        None,
        None,
        None,
    )
    data = messages.binary_frame(Frame(seen, params), 0)
    assert data[5] == 0
    assert np.isnan(np.frombuffer(data[24:], "<f4")).all()
    for got in (messages.parse_json(message), messages.parse_binary(data, ARKIT)):
        assert not got.found
        assert got.stamp == 1.5


def test_without_a_face_the_head_may_still_be_eased() -> None:
    seen, _ = nobody(1.5)
    eased = pose(1, _SEEN)
    assert json.loads(messages.json_frame(Frame(seen, eased), 0))["flame"] is not None
    assert messages.binary_frame(Frame(seen, eased), 0)[5] == 4


def test_without_a_head_transform() -> None:
    seen = face(2, head=False, tongue=None)
    for got in (
        messages.parse_binary(messages.binary_frame(Frame(seen, _PARAMS), 0), ARKIT),
        messages.parse_json(messages.parse_object(messages.json_frame(Frame(seen, _PARAMS), 0))),
    ):
        assert got.head is None
        assert got.scores["tongueOut"] == 0.0


def test_names_that_are_not_arkits_are_passed_over() -> None:
    names = messages.parse_hello(_hello() | {"names": ["jawOpen", "mySmile"]})
    assert names == ("jawOpen", None)
    start = struct.pack("<4sBBHIId", b"MP2F", 1, 1, 0, 0, 0, 0.0)
    data = start + np.full(2 + 16 + 18, 0.5, dtype="<f4").tobytes()
    assert messages.parse_binary(data, names).scores == {"jawOpen": 0.5}


@pytest.mark.parametrize(
    "change",
    [
        {"format": "other"},
        {"version": 2},
        {"names": None},
        {"names": []},
        {"names": [1]},
        {"names": ["a"] * 1000},
        {"names": ["jawOpen", "JawOpen"]},
        {"names": ["smile"]},
    ],
)
def test_hellos_that_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(FormatError):
        messages.parse_hello(_hello() | change)


@pytest.mark.parametrize(
    "change",
    [
        {"type": "else"},
        {"version": 9},
        {"time": None},
        {"time": "now"},
        {"time": True},
        {"time": float("nan")},
        {"scores": None},
        {"scores": {}},
        {"scores": [0.5]},
        {"scores": {"jawOpen": None}},
        {"scores": {"jawOpen": 10**400}},
        {"scores": {"jawOpen": 50.0}},
        {"scores": {"smile": 0.5}},
        {"head_transform": [1, 2, 3]},
        {"head_transform": [[1, 2], [3]]},
        {"head_transform": ["x"] * 16},
        {"head_transform": [float("inf")] * 16},
        {"head_transform": [10**400] * 16},
    ],
)
def test_json_that_is_refused(change: dict[str, Any]) -> None:
    message = messages.parse_object(messages.json_frame(_FRAME, 0))
    messages.parse_json(message)
    with pytest.raises(FormatError):
        messages.parse_json(message | change)


@pytest.mark.parametrize("text", ["", "[]", "nan", "{", "[" * 100_000, '{"a":' * 100_000, "1" * 10_000, '"x"'])
def test_texts_that_are_no_object(text: str) -> None:
    with pytest.raises(FormatError):
        messages.parse_object(text)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3)
    )
)
def test_any_value_anywhere(value: Any) -> None:
    message = messages.parse_object(messages.json_frame(_FRAME, 0))
    for key in message:
        with suppress(FormatError):
            messages.parse_json(message | {key: value}).observation(0.0)


_DATA = messages.binary_frame(Frame(_SEEN, _PARAMS, surface().neutral_vertices), 7, with_vertices=True)


def test_every_truncation_and_any_addition_is_refused() -> None:
    for length in range(len(_DATA)):
        with pytest.raises(FormatError):
            messages.parse_binary(_DATA[:length], ARKIT)
    with pytest.raises(FormatError):
        messages.parse_binary(_DATA + b"\0", ARKIT)


@given(st.integers(0, len(_DATA) - 4), st.binary(min_size=4, max_size=4))
def test_changed_bytes(place: int, four: bytes) -> None:
    data = _DATA[:place] + four + _DATA[place + 4 :]
    try:
        messages.parse_binary(data, ARKIT).observation(0.0)
    except FormatError:
        return


@given(st.binary(max_size=600))
def test_random_bytes(data: bytes) -> None:
    for start in (b"", _DATA[:24], _DATA[:8]):
        with pytest.raises(FormatError):
            messages.parse_binary(start + data, ARKIT)
