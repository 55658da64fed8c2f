"""The page's server: who may see it, several browsers, and one that does not read."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.typing import Origin

from mp2flame.data import FlameParams, Frame
from mp2flame.errors import SinkError
from tests.helpers.fakes import observation
from tests.helpers.live import wait_for

pytest.importorskip("viser", reason="the viewer's extra is not installed")

from viser._messages import GuiUpdateMessage

from mp2flame.live.access import may_connect, only_this_machine, who_can_see
from mp2flame.live.page import Page
from mp2flame.live.viewer_sink import PictureSink, ViewerSink
from tests.helpers import viser_client
from tests.helpers.heads import HeadStub

_RNG = np.random.default_rng(0)


def _surface(n: int = 6000) -> HeadStub:
    faces = np.stack([np.arange(n - 2), np.arange(1, n - 1), np.arange(2, n)], axis=1).astype(np.uint32)
    return HeadStub(faces=faces, neutral_vertices=_RNG.normal(0, 0.1, (n, 3)).astype(np.float32))


class _Nobody:
    """A director that does nothing but remember what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        def act(*values: Any) -> Path:
            self.asked.append((name, *values))
            return Path()

        return act


@pytest.fixture
def page() -> Iterator[Page]:
    before = set(threading.enumerate())
    made = Page(
        _surface(), _Nobody(), port=0, sources=("0",), source="0", free_source=True, mappings=("builtin",),
        formats=(".npz",), n_expression=5, mirror=False,
    )  # fmt: skip
    yield made
    made.close()
    wait_for(lambda: not set(threading.enumerate()) - before)


def _port(page: Page) -> int:
    return int(page.address.rpartition(":")[2])


def _new_vertices(page: Page) -> np.ndarray:
    return _RNG.normal(0, 0.1, page.heads[0]._vertices.shape).astype(np.float32)


def test_two_browsers_get_the_same_vertices_at_once(page: Page) -> None:
    with viser_client.connected(_port(page)) as one, viser_client.connected(_port(page)) as two:
        wait_for(lambda: len(page._server.get_clients()) == 2)
        sent = _new_vertices(page)
        page.show_head(sent)
        for socket in (one, two):
            # Before it comes what makes up the page.
            while not (found := viser_client.vertices(socket.recv(timeout=60))):
                pass
            (got,) = found.values()
            np.testing.assert_array_equal(np.frombuffer(got, dtype=np.float32).reshape(-1, 3), sent)


def test_a_head_at_rest_is_told_once_and_now_and_then_and_one_that_comes_back_at_once(page: Page) -> None:
    told: list[str] = []
    for view in page.heads:
        for mesh in view._meshes:
            object.__setattr__(mesh, "_queue_update", lambda name, _: told.append(name))
    with viser_client.connected(_port(page)):
        wait_for(lambda: page.watched)
        sent, each = _new_vertices(page), len(page.heads[0]._meshes)
        for _ in range(30):
            page.show_head(sent)
        assert len(told) == each
        page.show_head(sent)
        assert len(told) == 2 * each
        page.show_head(sent + np.float32(0.001))
        assert len(told) == 3 * each
        page.show_head(sent, 1)
        page.show_head(sent, 1)
        assert len(told) == 3 * each, "the second head is not seen"
        page.heads[1].place(0.1)
        page.show_head(sent, 1)
        assert len(told) == 4 * each


def test_a_browser_that_does_not_read_holds_nobody_up_and_no_queue_grows(page: Page) -> None:
    sink = ViewerSink(page)
    params = FlameParams.neutral(n_expression=5)
    with viser_client.connected(_port(page), max_queue=1) as stuck, viser_client.connected(_port(page)) as reader:
        wait_for(lambda: len(page._server.get_clients()) == 2)
        newest: list[bytes] = []

        def read() -> None:
            with suppress(TimeoutError, ConnectionClosed):
                while True:
                    newest.extend(viser_client.vertices(reader.recv(timeout=60)).values())

        reading = threading.Thread(target=read)
        reading.start()
        kept = []
        # 400 frames of 72 KB are far more than a socket's buffers hold.
        for index in range(400):
            sent = _new_vertices(page)
            # Were it held up by who does not read, it would be for ever.
            sink.write(Frame(observation(index), params, sent))
            kept.append(len(page._server._websock_server._broadcast_buffer.message_from_id))
            time.sleep(0.004)
        time.sleep(0.05)
        sink.write(Frame(observation(400), params, sent))
        wait_for(lambda: newest and newest[-1] == sent.tobytes())
        assert len(newest) > 5
        assert max(kept) <= kept[0] + 3
        stuck.close_timeout = 0.1
        del stuck
        reader.close()
        reading.join(timeout=60)


class _Clock:
    """Time that passes when it is slept."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_no_more_is_shown_than_a_screen_can_show(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = _Clock()
    monkeypatch.setattr("mp2flame.live.viewer_sink.time", clock)
    heads: list[float] = []
    pictures: list[float] = []
    monkeypatch.setattr(page, "show_head", lambda _: heads.append(clock.monotonic()))
    monkeypatch.setattr(page, "show_picture", lambda _: pictures.append(clock.monotonic()))
    sinks = (ViewerSink(page), PictureSink(page))
    params = FlameParams.neutral(n_expression=5)
    while clock.now < 101.0:
        seen = replace(observation(0), picture=np.zeros((4, 4, 3), dtype=np.uint8))
        for sink in sinks:
            sink.write(Frame(seen, params, page.heads[0]._vertices))
        clock.sleep(0.002)
    assert np.diff(heads).min() >= 1 / 70
    assert 55 <= len(heads) <= 71
    assert np.diff(pictures).min() >= 1 / 36
    assert 24 <= len(pictures) <= 36


def test_a_frame_without_a_picture_takes_the_last_one_away(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Page, "watched", True)
    sink = PictureSink(page)
    params = FlameParams.neutral(n_expression=5)
    sink.write(Frame(replace(observation(0), picture=np.zeros((4, 4, 3), dtype=np.uint8)), params))
    assert page._picture.visible
    sink.write(Frame(observation(1), params))
    assert not page._picture.visible


def test_nothing_is_made_for_nobody(page: Page) -> None:
    before = page.heads[0]._vertices
    page.show_head(_new_vertices(page))
    assert page.heads[0]._vertices is before


def test_vertices_that_are_not_finite_leave_the_head_as_it_is(page: Page) -> None:
    before = page.heads[0]._vertices
    page.heads[0].show(np.full_like(before, np.nan))
    assert page.heads[0]._vertices is before


def test_looks_change_and_keep_the_pose(page: Page) -> None:
    sent = _new_vertices(page)
    head = page.heads[0]
    head.show(sent)
    head.set_wireframe(on=True)
    assert all(mesh.wireframe for mesh in head._meshes)
    head.set_look("colours")
    assert head._look == "colours"
    np.testing.assert_array_equal(head._meshes[0].vertices, sent)
    assert head._meshes[0].wireframe


def test_no_public_tunnel_is_ever_opened(page: Page) -> None:
    assert page._server.request_share_url() is None
    assert page._server._share_tunnel is None


def test_other_peoples_web_pages_get_nothing(page: Page) -> None:
    port = _port(page)
    with pytest.raises(ConnectionClosed), viser_client.connected(port, origin=Origin("https://example.org")) as socket:
        socket.recv(timeout=60)
    with viser_client.connected(port, origin=Origin(f"http://127.0.0.1:{port}")) as socket:
        assert socket.recv(timeout=60)


@pytest.mark.parametrize(
    ("headers", "host", "fine"),
    [
        ({"Host": "localhost:8080"}, "127.0.0.1", True),
        ({"Host": "localhost:8080", "Origin": "http://localhost:8080"}, "127.0.0.1", True),
        ({"Host": "[::1]:8080", "Origin": "http://[::1]:8080"}, "::1", True),
        ({"Host": "localhost:8080", "Origin": "http://localhost:3000"}, "127.0.0.1", False),
        ({"Host": "localhost:8080", "Origin": "null"}, "127.0.0.1", False),
        ({"Host": "203.0.113.9:8080", "Origin": "http://203.0.113.9:8080"}, "127.0.0.1", False),
        ({"Host": "203.0.113.9:8080", "Origin": "http://203.0.113.9:8080"}, "0.0.0.0", True),
        ({"Host": "203.0.113.9:8080", "Origin": "https://example.org"}, "0.0.0.0", False),
        ({}, "127.0.0.1", False),
    ],
)
def test_only_the_page_itself_may_connect(headers: dict[str, str], host: str, fine: bool) -> None:
    assert may_connect(headers, host) is fine


def test_only_what_is_on_the_list_can_be_chosen(page: Page) -> None:
    chosen: list[str] = []
    handle = page.controls._source
    page.controls._on_change(handle, chosen.append)
    act = handle._impl.update_cb[-1]
    for value in ("/etc/passwd", "0"):
        handle._impl.value = value
        act(SimpleNamespace(client_id=1))
    assert chosen == ["0"]


def test_where_a_person_scrubs_to_counts_although_the_film_moves_the_slider_on(page: Page) -> None:
    server = page._server
    page._position.max = 11.0
    page.show_transport(2.0, 11.0, playing=True, visible=True)

    async def click(handle: Any, value: object) -> None:
        (client,) = server.get_clients()
        await server.gui._handle_gui_updates(client, GuiUpdateMessage(handle._impl.uuid, {"value": value}))
        page.show_transport(2.1, 11.0, playing=True, visible=True)

    with viser_client.connected(_port(page)):
        wait_for(lambda: page.watched)
        for handle, value in ((page._position, 7.5), (page._playing, False)):
            asyncio.run_coroutine_threadsafe(click(handle, value), server.get_event_loop()).result(timeout=60)
    asked: list[tuple[Any, ...]] = page._director.asked  # type: ignore[attr-defined]
    wait_for(lambda: len(asked) == 2)
    assert asked == [("seek", 7.5), ("set_playing", False)]


def test_it_is_said_who_can_see() -> None:
    assert only_this_machine("127.0.0.1")
    assert only_this_machine("localhost")
    assert not only_this_machine("0.0.0.0")
    assert "only this machine" in who_can_see("127.0.0.1")
    for host in ("0.0.0.0", "192.168.1.7"):
        assert "everyone on the network" in who_can_see(host)


def test_an_address_that_is_not_ours_is_an_error_and_not_a_wait() -> None:
    with pytest.raises(SinkError, match="--port or --host"):
        Page(
            _surface(9), _Nobody(), host="203.0.113.1", sources=("0",), source="0", free_source=True,
            mappings=("builtin",), formats=(".npz",), n_expression=5, mirror=False,
        )  # fmt: skip
