"""A browser without a window: connects to the live page and reads what its server sends, as viser's own client does."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import msgspec
import viser
import zstandard
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol


def connected(port: int, **options: Any) -> ClientConnection:
    """A WebSocket to the page on this port, which the server takes for a browser."""
    options.setdefault("max_size", None)
    socket = connect(
        f"ws://127.0.0.1:{port}", subprotocols=[Subprotocol(f"viser-v{viser.__version__}")], compression=None, **options
    )
    # A browser counts from its first camera message on.
    camera = {
        "type": "ViewerCameraMessage", "wxyz": (1.0, 0.0, 0.0, 0.0), "position": (0.0, 0.0, 1.0), "fov": 0.5,
        "near": 0.01, "far": 10.0, "image_height": 480, "image_width": 640, "look_at": (0.0, 0.0, 0.0),
        "up_direction": (0.0, 1.0, 0.0),
    }  # fmt: skip
    send(socket, camera)
    return socket


def send(socket: ClientConnection, message: dict[str, Any]) -> None:
    """Send one message."""
    socket.send(msgspec.msgpack.encode(message))


def frame(message: dict[str, Any]) -> bytes:
    """The bytes of one message as a client's WebSocket frame, masked with zeros."""
    data = msgspec.msgpack.encode(message)
    assert len(data) < 126
    return bytes([0x82, 0x80 | len(data), 0, 0, 0, 0]) + data


def messages(frame: str | bytes) -> Iterator[tuple[dict[str, Any], list[bytes]]]:
    """The messages of one WebSocket frame, each with all binary buffers of the frame."""
    assert isinstance(frame, bytes)
    size, packed = struct.unpack_from("<QQ", frame)
    content = msgspec.msgpack.decode(zstandard.ZstdDecompressor().decompress(frame[16 : 16 + packed], size))
    offset = 16 + packed
    buffers = []
    for length in content["binaryBufferLengths"]:
        offset += -offset % 8
        buffers.append(frame[offset : offset + length])
        offset += length
    for message in content["messages"]:
        yield message, buffers


def vertices(frame: str | bytes) -> dict[str, bytes]:
    """New vertices of each mesh in one WebSocket frame, by the mesh's name."""
    found = {}
    for message, buffers in messages(frame):
        updates = message.get("updates") or {}
        place = updates.get("vertices") if isinstance(updates, dict) else None
        if isinstance(place, dict) and "__binary_index" in place:
            found[message["name"]] = buffers[place["__binary_index"]]
    return found
