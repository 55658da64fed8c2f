"""Recordings that are damaged, foreign or hostile: one clear error each, with the line's number."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mp2flame.blendshapes import MEDIAPIPE
from mp2flame.errors import FormatError
from mp2flame.formats.recording import read_recording


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "take.jsonl"


def _header(**changes: Any) -> bytes:
    header = {"format": "mp2flame-recording", "version": 1, "scores": list(MEDIAPIPE)}
    return json.dumps(header | changes).encode() + b"\n"


def _line(**changes: Any) -> bytes:
    line = {"time": 1.0, "found": True, "scores": [0.5] * 52}
    return json.dumps({name: value for name, value in (line | changes).items() if value is not ...}).encode() + b"\n"


BAD_HEADERS = {
    "empty": (b"", "holds no frames: the recording was stopped before the first"),
    "cut off": (_header()[:30], "holds no frames: the recording was stopped before the first"),
    "binary": (bytes(range(256)), "is not a recording that can be read"),
    "list": (b"[]\n", "expected a JSON object; got list"),
    "other": (b'{"format": "bvh"}\n', "expected format 'mp2flame-recording'; got 'bvh'"),
    "newer": (_header(version=2), "format version 2 is newer than 1.*upgrade mp2flame"),
    "no version": (_header(version=None), "expected format_version to be a whole number"),
    "no scores": (_header(scores=None), "expected distinct MediaPipe blendshape names under scores; got None"),
    "strange score": (
        _header(scores=["jawOpened"]),
        "expected distinct MediaPipe blendshape names under scores; got .*jawOpened",
    ),
    "score twice": (
        _header(scores=["jawOpen", "jawOpen"]),
        "expected distinct MediaPipe blendshape names under scores",
    ),
    "size": (_header(image_size=[640]), r"image_size must have shape \(2,\)"),
    "endless size": (_header(image_size=[1e30, 1e30]), "image_size must be an array of int64"),
    "long version": (_header(version="1" * 5000), "expected format_version to be a whole number"),
    "shape": (_header(shape="abc"), "shape must be an array of float32; got str"),
    "head": (_header(head=3), "is not a recording that can be read"),
    "deep": (b"[" * 100_000, "is not a recording that can be read"),
}


@pytest.mark.parametrize("name", BAD_HEADERS)
def test_a_bad_header_is_named(path: Path, name: str) -> None:
    data, message = BAD_HEADERS[name]
    path.write_bytes(data)
    with pytest.raises(FormatError, match=message):
        read_recording(path)


BAD_LINES = {
    "blank": (b"\n", "damaged"),
    "word": (b"hello\n", "damaged"),
    "binary": (bytes(range(10, 256)) + b"\n", "damaged"),
    "list": (b"[]\n", "expected a JSON object; got list"),
    "no time": (_line(time=...), "time must be a finite number; got None"),
    "time is text": (_line(time="1"), "time must be a finite number"),
    "time has 400 digits": (b'{"time":1' + b"0" * 400 + b',"found":true}\n', "time must be a finite number"),
    "image of no size": (_line(image_size=[0, 0]), "image_size must be from 1 to"),
    "image of half a pixel": (_line(image_size=[0.4, 0.4]), "image_size must be an array of int64"),
    "endless image": (_line(image_size=[1e30, 1e30]), "image_size must be an array of int64"),
    "time is endless": (b'{"time": 1e999, "found": true}\n', "damaged"),
    "found is a number": (_line(found=1), "found to be true or false"),
    "no scores": (_line(scores=...), "scores must be an array of float32; got NoneType"),
    "51 scores": (_line(scores=[0.5] * 51), r"scores must have shape \(52,\); got \(51,\)"),
    "scores are text": (_line(scores=["0.5"] * 52), "scores must be an array of float32; got list"),
    "nan": (_line(scores=[float("nan")] * 52), "NaN is not a number"),
    "infinity": (_line(scores=[1e300] * 52), "must be finite"),
    "percent": (_line(scores=[50.0] * 52), "divide percentages by 100"),
    "ragged": (_line(scores=[[1.0], [1.0, 2.0]]), "damaged"),
    "huge whole number": (_line(scores=[10**400] * 52), "damaged"),
    "landmarks are no text": (_line(landmarks=5), "landmarks are no base64"),
    "landmarks are no base64": (_line(landmarks="%%%"), "landmarks are no base64"),
    "landmarks are short": (_line(landmarks="AAAA"), "expected 5736 bytes of landmarks; got 3"),
    "transform": (_line(head_transform=[0.0] * 9), "cannot reshape array of size 9"),
    "params is a list": (_line(params=[1]), "expected params as a JSON object"),
    "no expression": (_line(params={"jaw_pose": [0, 0, 0]}), "expression must be an array of float32"),
    "jaw of 2": (_line(params={"expression": [0.0], "jaw_pose": [0, 0]}), r"jaw_pose must have shape \(1, 3\)"),
    "time runs back": (_line(time=0.25), "expected rising times; got 0.25 after 0.5"),
    "deep": (b'{"a":' + b"[" * 100_000 + b"\n", "damaged"),
    "endless": (b" " * (1 << 20) + b"\n", "damaged"),
}


@pytest.mark.parametrize("name", BAD_LINES)
def test_a_bad_line_is_named_with_its_number(path: Path, name: str) -> None:
    data, message = BAD_LINES[name]
    path.write_bytes(_header() + _line(time=0.5) + data + _line())
    frames = iter(read_recording(path))
    assert next(frames)[0].time[0] == 0.5
    with pytest.raises(FormatError, match=f"take.jsonl, line 3 is damaged: .*{message.replace('damaged', '')}"):
        next(frames)


def test_an_endless_last_line_is_not_taken_for_a_torn_one(path: Path) -> None:
    path.write_bytes(_header() + b"[" + b" " * (3 << 20))
    with pytest.raises(FormatError, match="line 2 is damaged"):
        list(read_recording(path))
