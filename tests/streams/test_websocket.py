"""The WebSocket sink with the websockets client, and with our own source."""

from __future__ import annotations

import json
import logging
import socket
import struct
import threading
import time
from contextlib import ExitStack, closing, suppress
from typing import Any

import numpy as np
import pytest

from mp2flame.blendshapes import ARKIT, MEDIAPIPE, reorder
from mp2flame.data import Frame
from mp2flame.errors import InputError, SinkError
from tests.helpers.streams import eventually, face, nobody, nothing_left_behind, pose, surface

pytest.importorskip("websockets", reason="needs the stream extra")

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from mp2flame.streams.broadcast import Broadcaster
from mp2flame.streams.websocket import WebSocketSink

_SEEN = face(1, 2.5)
_PARAMS = pose(1, _SEEN)


def _sink(settings: str = "", **options: Any) -> WebSocketSink:
    return WebSocketSink.from_url(f"ws://:0{settings}", head=surface(), **options)


def _client(sink: WebSocketSink, **options: Any) -> ClientConnection:
    return connect(f"ws://127.0.0.1:{sink.port}", proxy=None, compression=None, **options)


def _bytes(message: str | bytes) -> bytes:
    assert isinstance(message, bytes)
    return message


def test_hello_then_binary_frames() -> None:
    with _sink() as sink, _client(sink) as client:
        sink.write(Frame(_SEEN, _PARAMS))
        hello = json.loads(client.recv(3))
        assert hello["format"] == "mp2flame-stream"
        assert (hello["n_expression"], hello["encoding"]) == (100, "binary")
        assert hello["names"] == list(ARKIT)
        assert hello["head"] == {"version": "a small head", "hash": "abc", "n_vertices": 6, "n_faces": 2}
        data = _bytes(client.recv(3))
        numbers = np.frombuffer(data[24:], "<f4")
        expected = reorder(_SEEN.scores[0], MEDIAPIPE, ARKIT)[:51]
        np.testing.assert_array_equal(numbers[:51], expected)
        np.testing.assert_array_equal(numbers[86:], _PARAMS.expression[0])
        sink.write(Frame(*nobody(2.6)))
        assert _bytes(client.recv(3))[5] == 0


def test_json_frames() -> None:
    with _sink("?format=json") as sink, _client(sink) as client:
        sink.write(Frame(_SEEN, _PARAMS))
        assert json.loads(client.recv(3))["encoding"] == "json"
        frame = json.loads(client.recv(3))
        assert (frame["type"], frame["time"]) == ("frame", 2.5)


def test_every_frame_is_sent_once() -> None:
    with _sink("?format=json") as sink:
        stop = threading.Event()

        def send() -> None:
            index = 0
            while not stop.wait(0.001):
                sink.write(Frame(face(1, index / 30), pose(1, _SEEN, 10 + index // 50)))
                index += 1

        sender = threading.Thread(target=send)
        sender.start()
        try:
            for _ in range(20):
                with _client(sink) as client:
                    messages = [json.loads(client.recv(3)) for _ in range(12)]
                assert messages[0]["type"] == "hello"
                sequences = [message["sequence"] for message in messages if message["type"] == "frame"]
                assert (np.diff(sequences) > 0).all()
                n_expression = 0
                for message in messages:
                    n_expression = message.get("n_expression", n_expression)
                    assert message["type"] == "hello" or len(message["flame"]["expression"]) == n_expression
        finally:
            stop.set()
            sender.join()


def test_who_comes_late_gets_hello_and_the_latest_frame() -> None:
    with _sink("?format=json") as sink:
        for index in range(3):
            sink.write(Frame(face(index, float(index)), pose(index, face(index))))
        with _client(sink) as client:
            assert json.loads(client.recv(3))["type"] == "hello"
            assert json.loads(client.recv(3))["sequence"] == 2


def test_another_number_of_coefficients_is_reported() -> None:
    with _sink() as sink, _client(sink) as client:
        for n_expression in (50, 100):
            sink.write(Frame(_SEEN, pose(1, _SEEN, n_expression)))
            assert json.loads(client.recv(3))["n_expression"] == n_expression
            assert len(_bytes(client.recv(3))) == 368 + 4 * n_expression


def test_vertices_and_the_mesh_on_request() -> None:
    head = surface()
    with _sink("?vertices=1") as sink, _client(sink) as client:
        assert sink.needs_vertices
        sink.write(Frame(_SEEN, _PARAMS, head.neutral_vertices + 1))
        client.recv(3)
        data = _bytes(client.recv(3))
        np.testing.assert_array_equal(np.frombuffer(data[-72:], "<f4").reshape(6, 3), head.neutral_vertices + 1)
        client.send('{"request":"mesh"}')
        mesh = _bytes(client.recv(3))
        assert struct.unpack("<4sBBHII", mesh[:16]) == (b"MP2M", 1, 1, 0, 6, 2)
    assert not _sink_needs_vertices()


def _sink_needs_vertices() -> bool:
    with _sink() as sink:
        return sink.needs_vertices


@pytest.mark.parametrize("junk", ["hello", b"\0\1", '{"request":"faces"}', "x" * 5000])
def test_clients_that_talk_nonsense_are_shown_out(junk: str | bytes) -> None:
    with _sink() as sink, _client(sink) as client, _client(sink) as other:
        client.send(junk)
        with pytest.raises(ConnectionClosed):
            client.recv(3)
        sink.write(Frame(_SEEN, _PARAMS))
        assert json.loads(other.recv(3))["type"] == "hello"


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("http://localhost:3000", True),
        ("https://127.0.0.1", True),
        ("http://[::1]:8080", True),
        ("https://example.com", False),
        ("http://localhost.example.com", False),
        ("http://localhost:3000.example.com", False),
        ("null", False),
    ],
)
def test_pages_of_other_machines_are_refused(origin: str, allowed: bool) -> None:
    with _sink() as sink:
        if allowed:
            with _client(sink, origin=origin):
                return
        with pytest.raises(InvalidStatus, match="403"), _client(sink, origin=origin):
            pass
    with _sink(f"?origin={origin}&origin=https://second.example") as sink, _client(sink, origin=origin):
        pass


def test_it_listens_on_this_machine_only_by_default() -> None:
    with _sink() as sink:
        assert sink.host == "127.0.0.1"
        # Every address of 127/8 is this machine; the server is on one of them.
        with pytest.raises(OSError), socket.create_connection(("127.0.0.2", sink.port), timeout=1):  # noqa: PT011
            pass
    with WebSocketSink.from_url("ws://127.0.0.2:0", head=surface()) as sink:
        socket.create_connection(("127.0.0.2", sink.port), timeout=1).close()


@pytest.mark.parametrize(
    ("host", "warned"), [("0.0.0.0", True), ("127.0.0.1", False), ("localhost", False), ("", False)]
)
def test_who_serves_the_network_is_warned(host: str, warned: bool, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), WebSocketSink.from_url(f"ws://{host}:0", head=surface()):
        pass
    assert ["everyone on the network" in record.getMessage() for record in caplog.records] == [True] * warned


def test_fifty_clients_ten_of_them_not_reading() -> None:
    """The mesh sink's frames fill a connection's buffers at once; readers still get the newest, writes never wait."""
    head = surface(6000)
    counts = [0] * 40
    stop = threading.Event()

    def read(place: int, client: ClientConnection) -> None:
        while not stop.is_set():
            with suppress(TimeoutError):
                counts[place] += isinstance(client.recv(0.5), bytes)

    with WebSocketSink.from_url("ws://:0?vertices=1", head=head) as sink, ExitStack() as connected:
        clients = [connected.enter_context(_client(sink, max_queue=1)) for _ in range(40)]
        frozen = [_frozen_client(sink.port) for _ in range(10)]
        assert eventually(lambda: sink.clients == 50)
        threads = [threading.Thread(target=read, args=(place, client)) for place, client in enumerate(clients)]
        for thread in threads:
            thread.start()
        for index in range(60):
            # Were it to wait for a frozen client, it would for ever; so would closing below.
            sink.write(Frame(face(index, index / 30), _PARAMS, head.neutral_vertices))
            stop.wait(1 / 60)
        # Enough for a frozen client's buffers to be full many times over: 60 frames of 72 KB.
        assert eventually(lambda: min(counts) > 5)
        stop.set()
        for thread in threads:
            thread.join()
        connected.close()
    for each in frozen:
        each.close()


def _frozen_client(port: int) -> socket.socket:
    """Shakes hands and never reads again."""
    frozen = socket.create_connection(("127.0.0.1", port))
    frozen.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    frozen.sendall(
        b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    assert frozen.recv(12) == b"HTTP/1.1 101"
    return frozen


def test_who_takes_nothing_for_long_is_disconnected() -> None:
    message = bytes(600_000)
    with (
        closing(Broadcaster("127.0.0.1", 0, origins=(), mesh=bytes, send_timeout=0.3)) as server,
        _frozen_client(server.port),
    ):
        assert eventually(lambda: server.clients == 1)

        def published() -> bool:
            server.publish("hello", message)
            return server.clients == 0

        assert eventually(published)


def test_hostile_handshakes_end_alone() -> None:
    rng = np.random.default_rng(0)
    with _sink() as sink:
        for data in (b"\0" * 100, b"GET / HTTP/1.1\r\n\r\n", rng.bytes(5000), b"GET " + b"a" * 100_000):
            with socket.create_connection(("127.0.0.1", sink.port), timeout=3) as stranger:
                try:
                    stranger.sendall(data)
                    stranger.shutdown(socket.SHUT_WR)
                    stranger.recv(1000)
                except OSError:
                    continue
        with _client(sink) as client:
            sink.write(Frame(_SEEN, _PARAMS))
            assert json.loads(client.recv(3))["type"] == "hello"


def test_more_clients_than_the_limit() -> None:
    with closing(Broadcaster("127.0.0.1", 0, origins=(), mesh=bytes, max_clients=2)) as server, ExitStack() as stack:
        url = f"ws://127.0.0.1:{server.port}"
        for _ in range(2):
            stack.enter_context(connect(url, proxy=None, compression=None))
        assert eventually(lambda: server.clients == 2)
        with pytest.raises(InvalidStatus, match="503"), connect(url, proxy=None):
            pass


def test_a_port_that_is_taken() -> None:
    with _sink() as sink, nothing_left_behind(), pytest.raises(SinkError, match="Choose another"):
        WebSocketSink.from_url(f"ws://:{sink.port}", head=surface())


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("ws://", "with a port"),
        ("ws://:0?format=xml", "binary, json"),
        ("ws://:0?vertices=1&format=json", "binary frames"),
    ],
)
def test_settings_that_are_none(url: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        WebSocketSink.from_url(url, head=surface())


@pytest.mark.parametrize("start", [b"", b"GET / HTTP/1.1\r\n"])
def test_a_connection_that_finishes_no_handshake_does_not_hold_up_the_end(start: bytes) -> None:
    sink = _sink()
    with nothing_left_behind(), socket.create_connection(("127.0.0.1", sink.port)) as stuck, _client(sink):
        stuck.sendall(start)
        started = time.monotonic()
        sink.close()
        assert time.monotonic() - started < 2.0


def test_closing_leaves_nothing_and_ends_writing() -> None:
    with nothing_left_behind():
        sink = _sink()
        with _client(sink) as client:
            sink.close()
            sink.close()
            with pytest.raises(ConnectionClosed):
                client.recv(3)
        with pytest.raises(SinkError, match="closed"):
            sink.write(Frame(_SEEN, _PARAMS))
