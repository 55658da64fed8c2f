"""iFacialMocap's text: both versions, signs and units, and texts that mean harm."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mp2flame.blendshapes import ARKIT
from mp2flame.errors import FormatError
from mp2flame.streams.ifacialmocap import parse

_HEAD = "=head#-20.0,10.5,-3.25,0.01,-0.1,-0.45|rightEye#6.0,2.4,0.2|leftEye#6.0,-1.6,-0.1|"


def _phone_name(name: str) -> str:
    return name.replace("Left", "_L").replace("Right", "_R") if name.endswith(("Left", "Right")) else name


def _phone_frame(scores: dict[str, int], head: str = _HEAD, sign: str = "-") -> bytes:
    names = {
        _phone_name(name) if name not in ("jawLeft", "jawRight", "mouthLeft", "mouthRight") else name: value
        for name, value in scores.items()
    }
    return ("".join(f"{name}{sign}{value}|" for name, value in names.items()) + head).encode()


_SCORES = {name: index for index, name in enumerate(ARKIT)}


@pytest.mark.parametrize("sign", ["-", "&"])
def test_every_name_in_both_versions(sign: str) -> None:
    face = parse(_phone_frame(_SCORES, sign=sign))
    assert face.scores == {name: pytest.approx(value / 100) for name, value in _SCORES.items()}


def test_the_head_is_in_our_axes_and_centimetres() -> None:
    head = parse(_phone_frame(_SCORES)).head
    assert head is not None
    np.testing.assert_allclose(head[:3, 3], [1, -10, -45])
    forward = head[:3, 2]
    assert forward[1] == pytest.approx(np.sin(np.radians(20))), "x < 0 looks up"
    assert forward[0] > 0, "y > 0 turns to the subject's left"


def test_extras_are_passed_over_and_a_head_may_be_absent() -> None:
    face = parse(b"jawOpen&-5|FM_SAD&10|hapihapi-0|=")
    assert face.scores == {"jawOpen": -0.05}
    assert face.head is None
    assert parse(b"jawOpen-5|").scores == {"jawOpen": 0.05}
    assert not parse(b"trackingStatus-0|jawOpen-5|").found
    assert parse(b"trackingStatus-1|jawOpen-5|").found


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"|||",
        b"hello",
        b"\xff\xfe",
        b"joy-5|",
        b"jawOpen-|",
        b"jawOpen-nan|",
        b"jawOpen-inf|",
        b"jawOpen-1e999|",
        b"jawOpen-5000|",
        b"jawOpen--5|x",
        b"jawOpen-5|=head#1,2|",
        b"jawOpen-5|=head#1,2,3,4|",
        b"jawOpen-5|=head#1,2,x,4,5,6|",
        b"jawOpen-5|=head#1e99,2,3|",
        b"jawOpen-5|=head|",
        "jawOpen-٣|".encode(),
    ],
)
def test_refusals(data: bytes) -> None:
    with pytest.raises(FormatError):
        parse(data)


@given(st.one_of(st.binary(max_size=200), st.from_regex(r"([a-zA-Z]{1,8}[-&=#,|.0-9]{0,9}){0,20}", fullmatch=True)))
def test_random_texts(text: bytes | str) -> None:
    data = text if isinstance(text, bytes) else text.encode()
    for start in (b"", b"jawOpen-5|", b"jawOpen-5|=head#"):
        try:
            face = parse(start + data)
        except FormatError:
            continue
        face.observation(0.0)


def test_every_truncation_is_read_or_refused() -> None:
    whole = _phone_frame(_SCORES)
    for length in range(len(whole)):
        try:
            face = parse(whole[:length])
        except FormatError:
            continue
        face.observation(0.0)
