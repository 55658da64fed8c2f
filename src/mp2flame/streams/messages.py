"""The messages of our own streams: JSON objects (UDP, WebSocket) and binary frames (WebSocket)."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mp2flame.blendshapes import ARKIT, canonical_name
from mp2flame.data import VECTORS, Frame, HeadLike
from mp2flame.errors import FormatError
from mp2flame.sources.face_packet import FacePacket, checked_scores, distinct_names
from mp2flame.streams.base import arkit_scores
from mp2flame.validation import check_array, check_number

FORMAT: Final = "mp2flame-stream"
VERSION: Final = 1

_FRAME: Final = struct.Struct("<4sBBHIId")
_FRAME_MAGIC: Final = b"MP2F"
_MESH: Final = struct.Struct("<4sBBHII")
_MESH_MAGIC: Final = b"MP2M"
_FOUND, _HEAD, _PARAMS, _VERTICES = 1, 2, 4, 8
_COLORS: Final = 1
_MAX_NAMES: Final = 256
# Where the expression begins among a frame's numbers: scores, vectors, expression, head.
_EXPRESSION: Final = len(ARKIT) + 3 * len(VECTORS)
_ENCODER: Final = json.JSONEncoder(allow_nan=False, separators=(",", ":"))


def hello(n_expression: int, head: HeadLike, *, encoding: str) -> str:
    """The first message to a WebSocket client: what its frames, in `binary` or `json`, and the head are."""
    about: dict[str, object] = {"version": head.version, "hash": head.hash}
    about |= {"n_vertices": len(head.neutral_vertices), "n_faces": len(head.faces)}
    start = {"type": "hello", "format": FORMAT, "version": VERSION, "encoding": encoding}
    return json.dumps(start | {"names": ARKIT, "poses": VECTORS, "n_expression": n_expression, "head": about})


def json_frame(frame: Frame, sequence: int) -> str:
    """A single frame as one JSON object on one line, rounded to six decimals; what is not known is null."""
    observation, params = frame.observation, frame.params
    head = observation.head_transform
    found = bool(observation.found[0])
    vectors = [getattr(params, name)[0] for name in VECTORS]
    parts = [arkit_scores(observation), *vectors, params.expression[0], *([] if head is None else [head])]
    numbers: list[float] = np.concatenate(parts, axis=None, dtype=np.float64).round(6).tolist()
    n_scores, end = len(ARKIT), _EXPRESSION + params.n_expression
    flame = None
    if all(map(isfinite, numbers[n_scores:end])):
        flame = {"expression": numbers[_EXPRESSION:end]}
        flame |= {name: numbers[at : at + 3] for name, at in zip(VECTORS, range(n_scores, end, 3), strict=False)}
    return _ENCODER.encode(
        {
            "type": "frame",
            "version": VERSION,
            "sequence": sequence,
            "time": round(float(observation.time[0]), 6),
            "found": found,
            "scores": dict(zip(ARKIT, numbers, strict=False)) if found else None,
            "head_transform": numbers[end:] if found and head is not None else None,
            "flame": flame,
        }
    )


def binary_frame(frame: Frame, sequence: int, *, with_vertices: bool = False) -> bytes:
    """A single frame, little-endian; what is not known is NaN."""
    observation, params = frame.observation, frame.params
    vertices = frame.vertices if with_vertices else None
    head = observation.head_transform
    if head is None:
        head = np.full((1, 4, 4), np.nan, dtype=np.float32)
    flame = np.concatenate([*(getattr(params, name).ravel() for name in VECTORS), params.expression.ravel()])
    flags = _FOUND * bool(observation.found[0]) | _HEAD * bool(np.isfinite(head).all())
    flags |= _PARAMS * bool(np.isfinite(flame).all()) | _VERTICES * (vertices is not None)
    n_vertices = 0 if vertices is None else len(vertices)
    time = float(observation.time[0])
    start = _FRAME.pack(_FRAME_MAGIC, VERSION, flags, params.n_expression, sequence, n_vertices, time)
    numbers = [arkit_scores(observation), head.ravel(), flame]
    if vertices is not None:
        numbers.append(vertices.ravel())
    return start + np.concatenate(numbers).astype("<f4").tobytes()


def mesh(head: HeadLike) -> bytes:
    """The neutral head (V, 3), its faces (F, 3) and colors (V, 3), little-endian: the answer to a request for it."""
    vertices, faces, colors = head.neutral_vertices, head.faces, head.vertex_colors
    flags = 0 if colors is None else _COLORS
    start = _MESH.pack(_MESH_MAGIC, VERSION, flags, 0, len(vertices), len(faces))
    tail = b"" if colors is None else np.ascontiguousarray(colors, dtype=np.uint8).tobytes()
    return start + vertices.astype("<f4").tobytes() + faces.astype("<u4").tobytes() + tail


def parse_object(text: str) -> dict[str, Any]:
    """A JSON object.

    Raises:
        FormatError: the text is none.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FormatError("the text is not JSON") from error
    if not isinstance(value, dict):
        raise FormatError(f"expected a JSON object; got {type(value).__name__}")
    return value


def parse_hello(message: Mapping[str, Any]) -> tuple[str | None, ...]:
    """The blendshapes' names of a hello, in the order of binary frames; None for names that are not ARKit's.

    Raises:
        FormatError: not a hello of this version, or its names are not distinct.
    """
    if message.get("format") != FORMAT or message.get("version") != VERSION:
        raise FormatError(f"expected a hello of {FORMAT} version {VERSION}; got another server's")
    names = message.get("names")
    if isinstance(names, list) and len(names) > _MAX_NAMES:
        raise FormatError(f"a hello with {len(names)} names")
    return distinct_names(names)


def parse_json(message: Mapping[str, Any]) -> FacePacket:
    """A frame that came as JSON.

    Raises:
        FormatError: something is missing or has another form.
    """
    if message.get("type") != "frame" or message.get("version") != VERSION:
        raise FormatError(f"expected a frame of {FORMAT} version {VERSION}")
    stamp = check_number("the frame's time", message.get("time"), at_least=-1e12, at_most=1e12, error=FormatError)
    if message.get("found") is not True:
        return FacePacket(found=False, stamp=stamp)
    scores, head = message.get("scores"), message.get("head_transform")
    if not isinstance(scores, dict):
        raise FormatError("a frame with a face and without scores")
    named = (
        (canonical_name(name), check_number("a score", value, error=FormatError)) for name, value in scores.items()
    )
    known = checked_scores((name, value) for name, value in named if name is not None)
    if not known:
        raise FormatError("a frame whose scores have no ARKit name")
    return FacePacket(scores=known, head=None if head is None else _parse_head(head), stamp=stamp)


def parse_binary(data: bytes, names: Sequence[str | None]) -> FacePacket:
    """A frame that came as bytes, with the names of the hello.

    Raises:
        FormatError: another format, a length that does not fit, or numbers that are not finite.
    """
    if len(data) < _FRAME.size:
        raise FormatError(f"a binary frame of {len(data)} bytes")
    magic, version, flags, n_expression, _, n_vertices, stamp = _FRAME.unpack_from(data)
    n_scores = len(names)
    expected = _FRAME.size + 4 * (n_scores + 16 + 3 * len(VECTORS) + n_expression + 3 * n_vertices)
    if magic != _FRAME_MAGIC or version != VERSION or len(data) != expected:
        raise FormatError("not a binary frame of this version, or one whose length does not fit its numbers")
    if not (isfinite(stamp) and abs(stamp) < 1e12):
        raise FormatError("a binary frame whose time is not finite")
    if not flags & _FOUND:
        return FacePacket(found=False, stamp=stamp)
    numbers = np.frombuffer(data, dtype="<f4", count=n_scores + 16, offset=_FRAME.size)
    values = numbers[:n_scores].tolist()
    scores = checked_scores((name, value) for name, value in zip(names, values, strict=True) if name is not None)
    head = _parse_head(numbers[n_scores:]) if flags & _HEAD else None
    return FacePacket(scores=scores, head=head, stamp=stamp)


def _parse_head(values: Any) -> NDArray[np.float64]:
    head = check_array("head_transform", values, (16,), np.float64, finite=True, error=FormatError).reshape(4, 4)
    if np.abs(head).max() >= 1e6:
        raise FormatError("a head_transform that is out of range")
    return head
