"""The page: what browsers get to see, how a user's wishes are carried out, and that all foreign text is plain text."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import psutil
import pytest
from websockets.exceptions import ConnectionClosed

pytest.importorskip("viser", reason="the viewer's extra is not installed")

from benchmarks import viser_client
from mp2flame.data import FlameParams, Frame
from mp2flame.errors import InputError
from mp2flame.live.page import Page
from mp2flame.live.state import SessionState, Stats
from mp2flame.pipeline.timing import StageTiming
from tests.helpers.fakes import observation
from tests.helpers.heads import HeadStub
from tests.helpers.live import open_page, port_of, wait_for
from tests.helpers.viser_client import Tab

_RNG = np.random.default_rng(0)
_STATE = SessionState(source="0", sources=("0", "film.mp4"), mappings=("own", None))
_SCRIPT = "<iframe srcdoc=\"<script>parent.document.title='stolen'</script>\"></iframe>"


def _head(n: int) -> HeadStub:
    faces = np.stack([np.arange(n - 2), np.arange(1, n - 1), np.arange(2, n)], axis=1).astype(np.uint32)
    colors = np.full((n, 3), 77, dtype=np.uint8)
    return HeadStub(faces=faces, neutral_vertices=_RNG.normal(0, 0.1, (n, 3)).astype(np.float32), vertex_colors=colors)


_HEAD = _head(6000)
_MESH = "/a/colors0"


@pytest.fixture
def page() -> Iterator[Page]:
    before = set(threading.enumerate())
    page = open_page(_HEAD)
    yield page
    page.close()
    wait_for(lambda: not set(threading.enumerate()) - before)


@pytest.fixture
def tab(page: Page) -> Iterator[Tab]:
    with Tab(port_of(page)) as tab:
        wait_for(lambda: page.watched)
        yield tab


def _vertices(n: int = 6000) -> np.ndarray:
    return _RNG.normal(0, 0.1, (n, 3)).astype(np.float32)


def _shows(tab: Tab, vertices: np.ndarray, mesh: str = _MESH) -> None:
    """Wait until a tab shows these vertices."""
    wait_for(lambda: np.array_equal(tab.vertices.get(mesh, np.zeros(0)), vertices))


def _frame(index: int, vertices: np.ndarray | None, image: np.ndarray | None = None) -> Frame:
    params = FlameParams.neutral(n_expression=5)
    return Frame(replace(observation(index), picture=image), params, vertices, time.perf_counter())


def test_two_browsers_get_the_same_vertices_at_once(page: Page, tab: Tab) -> None:
    with Tab(port_of(page)) as other:
        sent = _vertices()
        page.show_head(sent)
        _shows(tab, sent)
        _shows(other, sent)


def test_an_unchanged_head_is_sent_once(page: Page, tab: Tab) -> None:
    first, second = _vertices(), _vertices()
    before = tab.received[_MESH]
    for _ in range(30):
        page.show_head(first)
    _shows(tab, first)
    for _ in range(30):
        page.show_head(first)
    page.show_head(second)
    _shows(tab, second)
    assert tab.received[_MESH] == before + 2


def test_a_second_head_that_is_hidden_is_not_sent_and_is_sent_at_once_when_it_appears(page: Page, tab: Tab) -> None:
    first, second = _vertices(), _vertices()
    before = tab.received["/b/colors0"]
    page.show_head(second, 1)
    page.show_head(first)
    _shows(tab, first)
    assert tab.received["/b/colors0"] == before
    page.show(replace(_STATE, mappings=("own", "half")))
    page.show_head(second, 1)
    _shows(tab, second, "/b/colors0")
    wait_for(lambda: tab.node("/b", "visible"))
    assert tab.node("/b/caption", "text") == "B: half"
    page.show(_STATE)
    wait_for(lambda: not tab.node("/b", "visible"))


def test_a_browser_that_does_not_read_delays_nobody_and_no_queue_grows() -> None:
    n = 60_000
    page = open_page(_head(n))
    sink, _ = page.sinks()
    process = psutil.Process()
    with viser_client.connected(port_of(page), max_queue=1) as stuck, Tab(port_of(page)) as reader:
        wait_for(lambda: page.watched)
        before = process.memory_info().rss
        shown = reader.received[_MESH]
        # 250 heads of 720 KB are far more than the buffers of a socket hold.
        for index in range(250):
            sent = _vertices(n)
            sink.write(_frame(index, sent))
            if index % 10 == 0:
                # A sink that waited for who does not read would wait for ever; a reader keeps up.
                page.show_head(sent)
                _shows(reader, sent)
        assert process.memory_info().rss - before < 60e6
        assert reader.received[_MESH] - shown >= 25
        stuck.close_timeout = 0.1
        with suppress(ConnectionClosed):
            stuck.close()
    page.close()


class _Clock:
    """Time that passes when it is slept."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    perf_counter = monotonic

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_no_more_is_shown_than_a_screen_can_show(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = _Clock()
    monkeypatch.setattr("mp2flame.live.page.time", clock)
    heads: list[float] = []
    images: list[float] = []
    monkeypatch.setattr(page, "show_head", lambda _: heads.append(clock.now))
    monkeypatch.setattr(page, "show_image", lambda _: images.append(clock.now))
    sinks = page.sinks()
    while clock.now < 101.0:
        for sink in sinks:
            sink.write(_frame(0, np.zeros((4, 3), dtype=np.float32), np.zeros((4, 4, 3), dtype=np.uint8)))
        clock.sleep(0.002)
    assert np.diff(heads).min() >= 1 / 71
    assert 55 <= len(heads) <= 71
    assert np.diff(images).min() >= 1 / 36
    assert 24 <= len(images) <= 36


def test_a_sink_that_promises_not_to_wait_does_not(page: Page, tab: Tab, monkeypatch: pytest.MonkeyPatch) -> None:
    def sleep(_: float) -> None:
        raise AssertionError("an instant sink slept")

    sink, _ = page.sinks()
    monkeypatch.setattr("mp2flame.live.page.time.sleep", sleep)
    sent = _vertices()
    sink.write(_frame(0, sent))
    monkeypatch.undo()
    assert sink.instant
    _shows(tab, sent)


def test_a_frame_without_an_image_hides_the_last_one(page: Page, tab: Tab) -> None:
    _, sink = page.sinks()
    sink.write(_frame(0, None, np.zeros((40, 40, 3), dtype=np.uint8)))
    wait_for(tab.shows_an_image)
    sink.write(_frame(1, None))
    wait_for(lambda: not tab.shows_an_image())


def test_nothing_is_computed_without_a_browser(page: Page) -> None:
    page.show_head(_vertices())
    with Tab(port_of(page)) as tab:
        np.testing.assert_array_equal(tab.vertices[_MESH], _HEAD.neutral_vertices)


def test_vertices_that_are_not_finite_leave_the_head_as_it_is(page: Page, tab: Tab) -> None:
    sent = _vertices()
    page.show_head(sent)
    page.show_head(np.full_like(sent, np.nan))
    page.show(replace(_STATE, notice="later"))
    wait_for(lambda: "later" in tab.text())
    np.testing.assert_array_equal(tab.vertices[_MESH], sent)


def test_materials_change_and_keep_the_pose(page: Page, tab: Tab) -> None:
    sent = _vertices()
    page.show_head(sent)
    tab.set("Wireframe", True)
    wait_for(lambda: tab.node(_MESH, "wireframe"))
    tab.set("Material", "clay")
    _shows(tab, sent, "/a/clay0")
    assert tab.node("/a/clay0", "wireframe")


def test_a_state_is_shown(page: Page, tab: Tab) -> None:
    timing = StageTiming(1.5, 2.5, 10)
    page.show(
        replace(
            _STATE, face=False, notice="No face.", position=2.0, duration=11.6, playing=True, neutral="Yours.",
            neutral_progress=0.5, has_own_neutral=True, recording="4 frames", can_download=True, camera_on=False,
            stats=Stats(29.5, {"head": timing}, ("3 frames dropped before image",)),
        )
    )  # fmt: skip
    words = ("No face.", "Yours.", "4 frames", "29.5 frames per second", "head", "1.5", "2.5", "3 frames dropped")
    wait_for(lambda: all(word in tab.text() for word in words))
    wait_for(lambda: tab.node("/missing", "visible"))
    wait_for(lambda: tab.control("Position (s)")["value"] == 2.0)
    assert tab.control("Position (s)")["max"] == 11.6
    assert tab.control("Camera on")["value"] is False
    wait_for(lambda: not tab.control("jawOpen")["disabled"])
    wait_for(lambda: tab.control("Download")["visible"])
    for label in ("Position (s)", "Loop", "Playing", "Forget", "Download", "Format"):
        assert tab.control(label)["visible"], label
    page.show(_STATE)
    wait_for(lambda: not tab.control("Download")["visible"])
    wait_for(lambda: tab.control("jawOpen")["disabled"])
    assert not tab.control("Position (s)")["visible"]


def test_text_from_outside_is_shown_character_by_character(page: Page, tab: Tab) -> None:
    hostile = f"{_SCRIPT} **bold** [x](javascript:alert(1)) & \x1b]0;title\x07"
    timing = StageTiming(1.0, 1.0, 1)
    page.show(
        replace(
            _STATE, notice=f"1 {hostile}", neutral=f"2 {hostile}", recording=f"3 {hostile}",
            stats=Stats(1.0, {f"4 {hostile}": timing}, (f"5 {hostile}",)),
        )
    )  # fmt: skip
    wait_for(lambda: all(f"{place} <iframe" in tab.text() for place in range(1, 6)))
    assert "<iframe" not in tab.html()
    assert "**bold** [x](javascript:alert(1)) &" in tab.text()
    assert "\x1b" not in tab.html()
    # viser renders Markdown with the HTML in it: there is none on the page.
    assert not tab.kinds["GuiMarkdownMessage"]


def test_a_failed_action_is_said_in_plain_words_and_the_page_is_restored(
    page: Page, tab: Tab, caplog: pytest.LogCaptureFixture
) -> None:
    restored: list[int] = []
    page.after_action = lambda: restored.append(1)

    def refuse(_: object) -> None:
        raise InputError("there is no such thing")

    def break_down(_: object) -> None:
        raise KeyError("a fault of the program")

    page.bind(page.controls.camera, refuse)
    page.bind(page.controls.neutral, break_down)
    tab.set("Camera on", False)
    wait_for(lambda: "Action failed: there is no such thing" in tab.notifications)
    with caplog.at_level(logging.ERROR):
        tab.click("Neutral")
        wait_for(lambda: any("a fault of the program" in said for said in tab.notifications))
    assert "an action of the page failed" in caplog.text
    wait_for(lambda: len(restored) == 2)


def test_the_last_of_several_requests_is_carried_out_after_the_one_that_runs(page: Page, tab: Tab) -> None:
    values: list[float] = []
    go_on = threading.Event()

    def act(value: float) -> None:
        values.append(value)
        assert go_on.wait(60)

    page.bind(page.controls.smoothing, act)
    tab.set("Smoothing", 0.1)
    wait_for(lambda: values)
    for value in (0.2, 0.3, 0.4):
        tab.set("Smoothing", value)
    wait_for(lambda: page.controls.smoothing.value == 0.4)
    page.notify("all was read", "")
    wait_for(lambda: tab.notifications)
    go_on.set()
    wait_for(lambda: len(values) == 2)
    assert values == [0.1, 0.4]


def test_what_a_user_scrubs_to_counts_although_the_video_moves_the_slider_on(page: Page, tab: Tab) -> None:
    sought: list[float] = []
    playing = replace(_STATE, position=2.0, duration=11.0, playing=True)
    page.show(playing)
    wait_for(lambda: tab.control("Position (s)")["max"] == 11.0)

    def seek(value: float) -> None:
        page.show(replace(playing, position=2.1))
        sought.append(value)

    page.bind(page.position, seek)
    tab.set("Position (s)", 7.5)
    wait_for(lambda: sought)
    assert sought == [7.5]


def test_what_the_program_changes_is_not_carried_out(page: Page, tab: Tab) -> None:
    acts: list[Any] = []
    page.bind(page.position, acts.append)
    page.bind(page.controls.camera, acts.append)
    page.show(replace(_STATE, position=0.5, camera_on=False))
    wait_for(lambda: tab.control("Camera on")["value"] is False)
    tab.set("Camera on", True)
    wait_for(lambda: acts)
    assert acts == [True]


def test_one_tab_sees_what_another_has_changed(page: Page, tab: Tab) -> None:
    with Tab(port_of(page)) as other:
        tab.set("Jaw gain", 0.5)
        wait_for(lambda: other.control("Jaw gain")["value"] == 0.5)
