"""The WebSocket source with our own sink, and with servers that were not written here."""

from __future__ import annotations

import logging
import socket
import threading
import time
import unicodedata
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mp2flame.data import Frame
from mp2flame.errors import SourceError
from mp2flame.streams.base import parse_address
from mp2flame.streams.messages import binary_frame, hello
from tests.helpers.streams import eventually, face, free_port, nobody, nothing_left_behind, pose, reading, surface

pytest.importorskip("websockets", reason="needs the stream extra")

from websockets.sync.server import ServerConnection, serve

from mp2flame.streams.websocket import WebSocketSink, WebSocketSource

_SEEN = face(1, 2.5)
_PARAMS = pose(1, _SEEN)


@pytest.mark.parametrize("settings", ["", "?format=json", "?vertices=1"])
def test_source_and_sink_round_trip(settings: str) -> None:
    head = surface()
    sent = [face(index, index / 30) for index in range(12)]
    with nothing_left_behind():
        sink = WebSocketSink.from_url(f"ws://:0{settings}", head=head)
        source = WebSocketSource.from_url(f"ws://127.0.0.1:{sink.port}")
        with reading(source) as reader:
            for index, seen in enumerate(sent):
                sink.write(Frame(seen, pose(index, seen), head.neutral_vertices))
                assert eventually(lambda: len(reader.seen) > index)  # noqa: B023 - called at once
            sink.write(Frame(*nobody(12 / 30), None if not sink.needs_vertices else head.neutral_vertices))
            assert eventually(lambda: not reader.frames[-1].found[0])
            sink.close()
            assert reader.ended(), "the source ends when the server says goodbye"
            assert reader.error is None
    assert source.dropped == 0
    for got, seen in zip(reader.seen, sent, strict=True):
        np.testing.assert_allclose(got.scores[0, 1:], seen.scores[0, 1:], atol=1e-6)
        assert got.head_transform is not None
        assert seen.head_transform is not None
        np.testing.assert_allclose(got.head_transform, seen.head_transform, atol=1e-5)
        assert got.tongue_out is not None
        assert got.tongue_out[0] == pytest.approx(0.25)
    assert (np.diff([float(frame.time[0]) for frame in reader.frames]) > 0).all()


def test_closing_the_source_from_another_thread() -> None:
    with nothing_left_behind(), WebSocketSink.from_url("ws://:0", head=surface()) as sink:
        source = WebSocketSource.from_url(f"ws://:{sink.port}")
        with reading(source) as reader:
            source.close()
            assert reader.ended()
        # It may have been closed before it was iterated.
        assert reader.error is None or "closed" in str(reader.error)


def test_nobody_answers() -> None:
    with pytest.raises(SourceError, match="no WebSocket server answers"):
        WebSocketSource.from_url(f"ws://127.0.0.1:{free_port(socket.SOCK_STREAM)}")
    with socket.create_server(("127.0.0.1", 0)) as other:
        threading.Thread(target=_answer_with_nonsense, args=(other,), daemon=True).start()
        with pytest.raises(SourceError, match="no WebSocket server answers"):
            WebSocketSource.from_url(f"ws://127.0.0.1:{other.getsockname()[1]}")


def _answer_with_nonsense(server: socket.socket) -> None:
    connection, _ = server.accept()
    with connection:
        connection.recv(1000)
        connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")


Handler = Callable[[ServerConnection], None]


def _served(handler: Handler) -> Any:
    server = serve(handler, "127.0.0.1", 0, compression=None)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def test_foreign_messages_are_counted_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    def handler(connection: ServerConnection) -> None:
        frame = binary_frame(Frame(_SEEN, _PARAMS), 0)
        for message in (
            frame,
            "hi",
            "[]",
            b"",
            '{"type":"hello"}',
            hello(100, surface(), encoding="binary"),
            frame[:-1],
            frame,
        ):
            connection.send(message)
        connection.recv()

    server = _served(handler)
    try:
        port = server.socket.getsockname()[1]
        with caplog.at_level(logging.WARNING), reading(WebSocketSource.from_url(f"ws://:{port}")) as reader:
            source = reader.source
            assert isinstance(source, WebSocketSource)
            assert eventually(lambda: reader.seen)
            assert source.dropped == 6
            assert "6 packets" in source.warnings[0]
    finally:
        server.shutdown()
    assert len([record for record in caplog.records if record.name == "mp2flame"]) == 1


def test_a_broken_connection_is_made_again() -> None:
    seen = 0

    def handler(connection: ServerConnection) -> None:
        nonlocal seen
        seen += 1
        connection.send(hello(100, surface(), encoding="binary"))
        connection.send(binary_frame(Frame(face(seen, float(seen)), _PARAMS), 0))
        if seen == 1:
            connection.socket.shutdown(socket.SHUT_RDWR)
            return
        connection.recv()

    server = _served(handler)
    try:
        port = server.socket.getsockname()[1]
        with reading(WebSocketSource.from_url(f"ws://127.0.0.1:{port}")) as reader:
            assert eventually(lambda: len(reader.seen) == 2)
            assert "made again 1 times" in reader.source.warnings[0]
    finally:
        server.shutdown()


def test_a_connection_that_stays_broken_is_an_error() -> None:
    def handler(connection: ServerConnection) -> None:
        connection.socket.shutdown(socket.SHUT_RDWR)
        server.shutdown()

    server = _served(handler)
    address = parse_address(f"ws://127.0.0.1:{server.socket.getsockname()[1]}")
    with reading(WebSocketSource(address, give_up_seconds=0.5)) as reader:
        assert reader.ended()
        assert isinstance(reader.error, SourceError)
        assert "brought no frame again within 0.5 s" in str(reader.error)


_SCRIPT = "<iframe srcdoc='<script>parent.document.title=1</script>'></iframe>\x1b[2J\x1b]0;title\x07"


def test_the_reason_of_a_server_is_cleaned_before_it_is_shown() -> None:
    def handler(connection: ServerConnection) -> None:
        connection.send(hello(100, surface(), encoding="binary"))
        connection.close(1011, _SCRIPT)

    server = _served(handler)
    try:
        address = parse_address(f"ws://127.0.0.1:{server.socket.getsockname()[1]}")
        with reading(WebSocketSource(address, give_up_seconds=0.5)) as reader:
            assert reader.ended()
            message = str(reader.error)
    finally:
        server.shutdown()
    assert "iframe" in message, "the reason is told"
    assert not any(unicodedata.category(letter) == "Cc" for letter in message)
    assert len(message) < 1000


def test_a_server_that_breaks_every_connection_is_asked_ever_more_rarely() -> None:
    moments: list[float] = []

    def handler(connection: ServerConnection) -> None:
        moments.append(time.monotonic())
        connection.send(hello(100, surface(), encoding="binary"))
        connection.send(binary_frame(Frame(face(1, float(len(moments))), _PARAMS), 0))
        connection.close(1011)

    server = _served(handler)
    try:
        with reading(WebSocketSource.from_url(f"ws://127.0.0.1:{server.socket.getsockname()[1]}")) as reader:
            assert eventually(lambda: len(moments) >= 5)
            assert reader.error is None, "frames still come"
    finally:
        server.shutdown()
    waits = np.diff(moments)
    assert (waits[1:] > 1.4 * waits[:-1]).all()


def test_a_server_that_brings_no_frame_again_is_given_up() -> None:
    server = _served(lambda connection: connection.close(1011))
    try:
        address = parse_address(f"ws://127.0.0.1:{server.socket.getsockname()[1]}")
        with reading(WebSocketSource(address, give_up_seconds=1.0)) as reader:
            assert reader.ended()
            assert "brought no frame again within 1 s" in str(reader.error)
    finally:
        server.shutdown()


@pytest.mark.parametrize("host", ["x" * 70, "a..b"])
def test_a_host_name_that_cannot_be_is_an_error_of_the_source(host: str) -> None:
    with pytest.raises(SourceError, match="no WebSocket server answers"):
        WebSocketSource.from_url(f"ws://{host}:9000")
