"""A WebSocket server for web pages and programs; docs/stream_protocol.md describes every byte."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from mp2flame.data import FlameParams, Observation
from mp2flame.errors import InputError, SinkError
from mp2flame.sinks.base import HeadSurface, Sink
from mp2flame.sinks.broadcast import Broadcaster
from mp2flame.streams import messages
from mp2flame.streams.address import parse_address
from mp2flame.streams.packet import check_single

__all__ = ["WebSocketMeshSink", "WebSocketSink"]

_ENCODINGS = ("binary", "json")


class WebSocketSink(Sink):
    """Serves every client one hello message, then the latest frame whenever it has taken the one before.

    Listens on this machine only unless a host is given; web pages of other machines are refused unless allowed.

    Args:
        host: where to listen; empty for 127.0.0.1.
        port: 0 for any that is free.
        head: the head that is driven.
        encoding: of the frames, `binary` or `json`.
        origins: web pages of other machines that may connect, such as `https://example.com`; `null` allows pages
            that are opened as files.

    Raises:
        InputError: there is no such encoding.
        SinkError: it cannot listen there.
    """

    policy: ClassVar[Literal["every", "latest"]] = "latest"
    instant: ClassVar[bool] = True

    def __init__(
        self,
        host: str,
        port: int,
        *,
        head: HeadSurface,
        encoding: str = "binary",
        origins: Sequence[str] = (),
    ) -> None:
        if encoding not in _ENCODINGS:
            raise InputError(f"expected an encoding among {', '.join(_ENCODINGS)}; got {encoding!r}")
        self.host = host or "127.0.0.1"
        """Where it listens."""
        self._encoding = encoding
        self._head = head
        self._sequence = 0
        self._hello: tuple[int, str] | None = None
        self._open = True
        self._broadcaster = Broadcaster(self.host, port, origins=origins, answer=self._mesh)

    @classmethod
    def from_url(cls, url: str, *, head: HeadSurface, **options: Any) -> WebSocketSink:
        """Serve on `ws://[HOST]:PORT[?format=binary|json&vertices=1&origin=https://example.com]`.

        Raises:
            InputError: the address has another form.
            SinkError: it cannot listen there.
        """
        address = parse_address(url, settings=("format", "vertices", "origin"))
        kind = WebSocketMeshSink if address.choice("vertices", ("0", "1"), "0") == "1" else cls
        settings: dict[str, Any] = {"encoding": address.choice("format", _ENCODINGS, "binary")}
        if "origin" in address.settings:
            settings["origins"] = tuple(address.settings["origin"])
        return kind(address.host, address.port, head=head, **{**options, **settings})

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._broadcaster.port

    @property
    def clients(self) -> int:
        """How many are connected."""
        return self._broadcaster.clients

    def write(self, observation: Observation, params: FlameParams, vertices: NDArray[np.float32] | None) -> None:
        """Hand a frame to all clients; returns at once.

        Raises:
            SinkError: the sink is closed.
            InputError: there is more than one frame.
        """
        if not self._open:
            raise SinkError(f"cannot serve on {self.host}:{self.port}: it is closed")
        check_single(observation)
        if self._encoding == "binary":
            kept = vertices if self.needs_vertices else None
            message: str | bytes = messages.binary_frame(observation, params, self._sequence, kept)
        else:
            message = messages.json_frame(observation, params, self._sequence)
        self._sequence += 1
        self._broadcaster.publish(self._greeting(params.n_expression), message)

    def close(self) -> None:
        """Say goodbye to all clients and stop serving."""
        self._open = False
        self._broadcaster.close()

    def _greeting(self, n_expression: int) -> str:
        if self._hello is None or self._hello[0] != n_expression:
            about = {
                "version": self._head.version,
                "hash": self._head.hash,
                "n_vertices": len(self._head.rest_vertices),
                "n_faces": len(self._head.faces),
            }
            self._hello = (n_expression, messages.hello(n_expression, about, encoding=self._encoding))
        return self._hello[1]

    def _mesh(self) -> bytes:
        return messages.mesh(self._head.rest_vertices, self._head.faces, self._head.vertex_colors)


class WebSocketMeshSink(WebSocketSink):
    """The same, with the head's vertices in every frame, for pages that have no head of their own.

    Raises:
        InputError: the encoding is not binary.
    """

    needs_vertices: ClassVar[bool] = True

    def __init__(self, host: str, port: int, *, head: HeadSurface, **options: Any) -> None:
        if options.get("encoding", "binary") != "binary":
            raise InputError("vertices are sent in binary frames only: leave out format=json or vertices=1")
        super().__init__(host, port, head=head, **options)
