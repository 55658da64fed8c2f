"""Our own stream: JSON objects (UDP, WebSocket) and binary frames (WebSocket); see docs/stream_protocol.md."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mp2flame.blendshapes import ARKIT, canonical_name
from mp2flame.data import FlameParams, Observation
from mp2flame.errors import FormatError
from mp2flame.streams.packet import FacePacket, arkit_scores, checked_scores

__all__ = ["binary_frame", "hello", "json_frame", "mesh", "parse_binary", "parse_hello", "parse_json", "parse_object"]

FORMAT: Final = "mp2flame-stream"
VERSION: Final = 1

_POSES: Final = ("global_orient", "neck_pose", "jaw_pose", "leye_pose", "reye_pose", "translation")
_FRAME: Final = struct.Struct("<4sBBHIId")
_FRAME_MAGIC: Final = b"MP2F"
_MESH: Final = struct.Struct("<4sBBHII")
_MESH_MAGIC: Final = b"MP2M"
_FOUND, _HEAD, _PARAMS, _VERTICES = 1, 2, 4, 8
_COLORS = 1
_FIXED = len(ARKIT) + 16 + 3 * len(_POSES)
_FLAME: Final = len(ARKIT) + 3 * len(_POSES)
"""Where the expression begins among a frame's numbers: scores, poses, expression, head."""
_ENCODER: Final = json.JSONEncoder(allow_nan=False, separators=(",", ":"))


def hello(n_expression: int, head: Mapping[str, object], *, encoding: str) -> str:
    """The first message to a WebSocket client.

    Args:
        n_expression: E of the frames that follow.
        head: what to say about the head: version, hash, numbers of vertices and faces.
        encoding: `binary` or `json`.
    """
    return json.dumps(
        {
            "type": "hello",
            "format": FORMAT,
            "version": VERSION,
            "encoding": encoding,
            "names": ARKIT,
            "poses": _POSES,
            "n_expression": n_expression,
            "head": dict(head),
        }
    )


def _numbers(*arrays: NDArray[Any]) -> list[float]:
    """Every number, rounded to six digits behind the point."""
    numbers: list[float] = np.concatenate(arrays, axis=None, dtype=np.float64).round(6).tolist()
    return numbers


def json_frame(observation: Observation, params: FlameParams, sequence: int) -> str:
    """A single frame as one JSON object on one line; what is not known is null."""
    head = observation.head_transform
    known = bool(observation.found[0])
    poses = [getattr(params, pose)[0] for pose in _POSES]
    numbers = _numbers(arkit_scores(observation), *poses, params.expression[0], *([] if head is None else [head]))
    n_scores, end = len(ARKIT), _FLAME + params.n_expression
    flame = None
    if all(map(isfinite, numbers[n_scores:end])):
        flame = {"expression": numbers[_FLAME:end]}
        flame |= {pose: numbers[at : at + 3] for pose, at in zip(_POSES, range(n_scores, _FLAME, 3), strict=True)}
    return _ENCODER.encode(
        {
            "type": "frame",
            "version": VERSION,
            "sequence": sequence,
            "time": round(float(observation.time[0]), 6),
            "found": known,
            "scores": dict(zip(ARKIT, numbers, strict=False)) if known else None,
            "head_transform": numbers[end:] if known and head is not None else None,
            "flame": flame,
        }
    )


def binary_frame(
    observation: Observation, params: FlameParams, sequence: int, vertices: NDArray[np.float32] | None = None
) -> bytes:
    """A single frame, little-endian; what is not known is NaN."""
    head = observation.head_transform
    if head is None:
        head = np.full((1, 4, 4), np.nan, dtype=np.float32)
    poses = [getattr(params, pose).ravel() for pose in _POSES]
    flame = np.concatenate([*poses, params.expression.ravel()])
    flags = _FOUND * bool(observation.found[0]) | _HEAD * bool(np.isfinite(head).all())
    flags |= _PARAMS * bool(np.isfinite(flame).all()) | _VERTICES * (vertices is not None)
    n_vertices = 0 if vertices is None else len(vertices)
    time = float(observation.time[0])
    start = _FRAME.pack(_FRAME_MAGIC, VERSION, flags, params.n_expression, sequence, n_vertices, time)
    numbers = [arkit_scores(observation), head.ravel(), flame]
    if vertices is not None:
        numbers.append(vertices.ravel())
    return start + np.concatenate(numbers).astype("<f4").tobytes()


def mesh(vertices: NDArray[np.float32], faces: NDArray[np.uint32], colors: NDArray[np.uint8] | None) -> bytes:
    """The head at rest (V, 3), its faces (F, 3) and colours (V, 3), little-endian: the answer to a request for it."""
    flags = 0 if colors is None else _COLORS
    start = _MESH.pack(_MESH_MAGIC, VERSION, flags, 0, len(vertices), len(faces))
    tail = b"" if colors is None else np.ascontiguousarray(colors, dtype=np.uint8).tobytes()
    return start + vertices.astype("<f4").tobytes() + faces.astype("<u4").tobytes() + tail


def parse_object(text: str) -> dict[str, Any]:
    """A JSON object.

    Raises:
        FormatError: it is none.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FormatError("no JSON object") from error
    if not isinstance(value, dict):
        raise FormatError(f"expected a JSON object; got {type(value).__name__}")
    return value


def parse_hello(message: Mapping[str, Any]) -> tuple[str | None, ...]:
    """The blendshapes' names, in the order of binary frames, of a hello; None for names that are not ARKit's.

    Raises:
        FormatError: not a hello of this version, or no list of distinct names.
    """
    if message.get("format") != FORMAT or message.get("version") != VERSION:
        raise FormatError(f"expected a hello of {FORMAT} version {VERSION}; got another server's")
    names = message.get("names")
    if not isinstance(names, list) or not 0 < len(names) <= 256 or not all(isinstance(name, str) for name in names):
        raise FormatError("a hello without a list of blendshape names")
    known = [canonical_name(name) for name in names]
    found = [name for name in known if name is not None]
    if not found or len(set(found)) != len(found):
        raise FormatError("a hello whose names are not distinct ARKit names")
    return tuple(known)


def _head(values: Sequence[float]) -> NDArray[np.float64]:
    try:
        transform = np.array(values, dtype=np.float64).reshape(4, 4)
    except (TypeError, ValueError, OverflowError) as error:
        raise FormatError("a head_transform that is not 16 numbers") from error
    if not (np.isfinite(transform).all() and np.abs(transform).max() < 1e6):
        raise FormatError("a head_transform that is not finite")
    return transform


def _number(value: object, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e12:
        raise FormatError(f"a frame whose {what} is no number")
    return float(value)


def parse_json(message: Mapping[str, Any]) -> FacePacket:
    """A frame that came as JSON.

    Raises:
        FormatError: something is missing or not what it should be.
    """
    if message.get("type") != "frame" or message.get("version") != VERSION:
        raise FormatError(f"expected a frame of {FORMAT} version {VERSION}")
    stamp = _number(message.get("time"), "time")
    if message.get("found") is not True:
        return FacePacket(found=False, stamp=stamp)
    scores, head = message.get("scores"), message.get("head_transform")
    if not isinstance(scores, dict):
        raise FormatError("a frame with a face and without scores")
    named = ((canonical_name(name), _number(value, "score")) for name, value in scores.items())
    known = checked_scores((name, value) for name, value in named if name is not None)
    if not known:
        raise FormatError("a frame whose scores have no ARKit name")
    return FacePacket(scores=known, head=None if head is None else _head(head), stamp=stamp)


def parse_binary(data: bytes, names: Sequence[str | None]) -> FacePacket:
    """A frame that came as bytes, with the names of the hello.

    Raises:
        FormatError: another format, a length that does not fit, or numbers that are not finite.
    """
    if len(data) < _FRAME.size:
        raise FormatError(f"a binary frame of {len(data)} bytes")
    magic, version, flags, n_expression, _, n_vertices, stamp = _FRAME.unpack_from(data)
    n_scores = len(names)
    expected = _FRAME.size + 4 * (_FIXED - len(ARKIT) + n_scores + n_expression + 3 * n_vertices)
    if magic != _FRAME_MAGIC or version != VERSION or len(data) != expected:
        raise FormatError("no binary frame of this version, or one whose length does not fit its numbers")
    if not (np.isfinite(stamp) and abs(stamp) < 1e12):
        raise FormatError("a binary frame whose time is not finite")
    if not flags & _FOUND:
        return FacePacket(found=False, stamp=stamp)
    numbers = np.frombuffer(data, dtype="<f4", count=n_scores + 16, offset=_FRAME.size)
    values = numbers[:n_scores].tolist()
    scores = checked_scores((name, value) for name, value in zip(names, values, strict=True) if name is not None)
    head = _head(numbers[n_scores:].tolist()) if flags & _HEAD else None
    return FacePacket(scores=scores, head=head, stamp=stamp)
