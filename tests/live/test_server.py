"""The page's server: who may connect, what a browser may send, and that strangers leave the console quiet."""

from __future__ import annotations

import logging
import math
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Origin

pytest.importorskip("viser", reason="the viewer's extra is not installed")

import viser

from benchmarks import viser_client
from mp2flame.errors import InputError, SinkError
from mp2flame.live.page import Page
from mp2flame.live.server import is_allowed
from mp2flame.streams.base import describe_exposure, is_loopback
from tests.helpers.live import open_page, port_of, wait_for
from tests.helpers.viser_client import Tab


@pytest.fixture
def page() -> Iterator[Page]:
    before = set(threading.enumerate())
    page = open_page()
    yield page
    page.close()
    wait_for(lambda: not set(threading.enumerate()) - before)


OWN_NAME = socket.gethostname()


@pytest.mark.parametrize(
    ("host_header", "origin", "host", "allowed"),
    [
        ("localhost:8080", None, "127.0.0.1", True),
        ("LOCALHOST:8080", None, "127.0.0.1", True),
        ("localhost:8080", "http://localhost:8080", "127.0.0.1", True),
        ("[::1]:8080", "http://[::1]:8080", "::1", True),
        ("localhost:8080", "http://localhost:3000", "127.0.0.1", False),
        ("localhost:8080", "http://localhost:8080.example.org", "127.0.0.1", False),
        ("localhost:8080", "null", "127.0.0.1", False),
        ("203.0.113.9:8080", "http://203.0.113.9:8080", "127.0.0.1", False),
        ("203.0.113.9:8080", "http://203.0.113.9:8080", "0.0.0.0", True),
        ("203.0.113.9:8080", "https://example.org", "0.0.0.0", False),
        ("studio.example:8080", "http://studio.example:8080", "studio.example", True),
        (f"{OWN_NAME}:8080", f"http://{OWN_NAME}:8080", "0.0.0.0", True),
        # Names that a stranger may have made resolve to this machine.
        ("evil.example:8080", "http://evil.example:8080", "127.0.0.1", False),
        ("evil.example:8080", "http://evil.example:8080", "0.0.0.0", False),
        ("localhost.evil.example:8080", "http://localhost.evil.example:8080", "0.0.0.0", False),
        ("evil.example:8080", None, "0.0.0.0", False),
        ("127.0.0.1@evil.example:8080", None, "127.0.0.1", False),
        ("[::1", None, "127.0.0.1", False),
        ("", None, "127.0.0.1", False),
    ],
)
def test_only_the_servers_own_names_and_its_own_page_are_allowed(
    host_header: str, origin: str | None, host: str, allowed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def resolve(*_: object, **__: object) -> None:
        raise AssertionError("a name was looked up: during a rebinding the resolver says what the attacker wants")

    for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex", "getfqdn"):
        monkeypatch.setattr(socket, name, resolve)
    assert is_allowed(host_header, origin, host) is allowed


def _get(port: int, **headers: str) -> int:
    with closing(HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request("GET", "/", headers=headers)
        return connection.getresponse().status


def test_foreign_pages_and_rebound_names_are_refused_in_the_handshake(page: Page) -> None:
    port = port_of(page)
    for headers in (
        {"origin": Origin("https://example.org")},
        {"additional_headers": {"Host": f"evil.example:{port}"}},
    ):
        with pytest.raises(InvalidStatus) as refused:
            viser_client.connected(port, **headers)
        assert refused.value.response.status_code == 403
    assert _get(port, Host=f"evil.example:{port}") == 403
    assert _get(port, Host=f"localhost:{port}") == 200
    with Tab(port, origin=Origin(f"http://127.0.0.1:{port}")) as tab:
        assert "Camera on" in tab.labels()


def test_what_a_foreign_page_sends_with_its_handshake_is_not_carried_out(page: Page) -> None:
    port = port_of(page)
    forged = viser_client.frame({"type": "GuiFormDirtyMessage", "uuid": "forged"})
    request = (
        f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nOrigin: http://evil.example\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Protocol: viser-v{viser.__version__}\r\n\r\n"
    ).encode()
    with Tab(port) as tab:
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", port)) as stranger:
                stranger.sendall(request + 4 * forged)
                stranger.settimeout(60)
                assert stranger.recv(4096).startswith(b"HTTP/1.1 403")
        # What is sent after a message is seen after it.
        page.notify("done", "")
        wait_for(lambda: tab.notifications)
        assert not tab.kinds["GuiFormDirtyMessage"]


def test_a_client_can_send_nothing_but_what_the_controls_send(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    tunnels: list[object] = []
    monkeypatch.setattr(viser.ViserServer, "request_share_url", lambda *_: tunnels.append(1))
    values: list[float] = []
    page.bind(page.controls.smoothing, values.append)
    with Tab(port_of(page)) as tab, Tab(port_of(page)) as other:
        tab.send({"type": "ShareUrlRequest"})
        tab.send({"type": "GuiFormDirtyMessage", "uuid": "x"})
        tab.send({"type": "GuiFormSubmitMessage", "uuid": "x"})
        tab.set("Smoothing", 0.5)
        wait_for(lambda: values)
        page.notify("done", "")
        wait_for(lambda: other.notifications)
        assert not other.kinds["GuiFormDirtyMessage"]
        assert not other.kinds["GuiFormSubmitMessage"]
    assert not tunnels


@pytest.mark.parametrize(
    ("label", "wrong", "right"),
    [
        ("Expression gain", [math.nan, math.inf, -math.inf, -0.1, 2.1, 10**400, True, None, "1", [1.0], {}], 1.5),
        ("Smoothing", [math.nan, 4.5], 4.0),
        ("Wireframe", [1, "yes", None, []], True),
        ("Material", ["/etc/passwd", 3, None, ["clay"]], "clay"),
        ("Other", [5, None, "x" * 5000, b"x"], "film.mp4"),
    ],
)
def test_values_that_a_control_cannot_have_are_ignored(
    label: str, wrong: list[object], right: object, page: Page, capfd: pytest.CaptureFixture[str]
) -> None:
    controls = {
        "Expression gain": page.controls.expression_gain,
        "Smoothing": page.controls.smoothing,
        "Wireframe": page.controls.wireframe,
        "Material": page.controls.material,
        "Other": page.controls.other,
    }
    values: list[object] = []
    page.bind(controls[label], values.append)
    with Tab(port_of(page)) as tab:
        for value in wrong:
            if not (isinstance(value, int) and abs(value) > 2**64):  # the protocol has no larger numbers
                tab.set(label, value)
        for name, value in (("min", -1e9), ("max", 1e9), ("options", ["/etc/passwd"]), ("update_cb", []), ("x", 1)):
            tab.update(label, {name: value})
        tab.update(label, {"value": right, "removed": True})
        tab.set(label, right)
        wait_for(lambda: values)
        assert values == [right]
    captured = capfd.readouterr()
    assert "Traceback" not in captured.out + captured.err


def test_scans_and_broken_connections_leave_no_trace_on_the_console(
    page: Page, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    for data in (b"\x16\x03\x01\x02\x00", b"GET / HTTP/9\r\n\r\n", b"\0" * 5000, b"GET / HTTP/1.1\r\n\r\n", b""):
        with socket.create_connection(("127.0.0.1", port_of(page))) as scanner:
            scanner.sendall(data)
            scanner.shutdown(socket.SHUT_WR)
            scanner.settimeout(60)
            while scanner.recv(4096):
                pass
    with viser_client.connected(port_of(page)) as garbage:
        garbage.send(b"\xff\xff\xff")
        with suppress(ConnectionClosed):
            while True:
                garbage.recv(timeout=60)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


def test_it_is_said_who_can_reach_a_server() -> None:
    assert is_loopback("127.0.0.1")
    assert is_loopback("localhost")
    assert is_loopback("::1")
    assert not is_loopback("0.0.0.0")
    assert not is_loopback("studio.example")
    assert "only this machine" in describe_exposure("127.0.0.1")
    for host in ("0.0.0.0", "192.168.1.7"):
        assert "everyone on the network" in describe_exposure(host)
    assert "receive the face" in describe_exposure("0.0.0.0", "receive the face")


@pytest.mark.parametrize("port", [-1, 65536, 70000])
def test_a_port_that_cannot_be_is_refused(port: int) -> None:
    with pytest.raises(InputError, match="from 0 to 65535"):
        open_page(port=port)


def test_the_next_free_port_is_taken_and_the_last_one_in_use_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        page = open_page(port=port)
        assert port < port_of(page) <= port + 1000
        page.close()
    with socket.create_server(("127.0.0.1", 65535)), pytest.raises(SinkError, match="--port or --host"):
        open_page(port=65535)


def test_an_address_that_is_not_ours_is_an_error_and_not_a_wait() -> None:
    with pytest.raises(SinkError, match="--port or --host"):
        open_page(host="203.0.113.1")


def test_viser_is_of_the_minor_version_whose_private_parts_are_used() -> None:
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    minor = ".".join(viser.__version__.split(".")[:2])
    assert f'"viser~={minor}.' in project


@pytest.mark.parametrize("kind", ["reads nothing", "finishes no handshake"])
def test_a_connection_that_does_not_answer_does_not_hold_up_the_end(kind: str) -> None:
    page = open_page()
    if kind == "reads nothing":
        stuck: Any = viser_client.connected(port_of(page), max_queue=1)
        wait_for(lambda: page.watched)
        # More than the buffers of its socket hold.
        page.show_image(np.random.default_rng(0).integers(0, 255, (2000, 2000, 3), dtype=np.uint8))
    else:
        stuck = socket.create_connection(("127.0.0.1", port_of(page)))
        stuck.sendall(b"GET / HTTP/1.1\r\n")
    started = time.monotonic()
    page.close()
    assert time.monotonic() - started < 2.0
    if kind == "reads nothing":
        stuck.close_timeout = 0.1
    with suppress(ConnectionClosed):
        stuck.close()
