"""A session from end to end: everything that a user can ask for, but without a browser's window."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

pytest.importorskip("viser", reason="the viewer's extra is not installed")

from mp2flame.blendshapes import ARKIT, MEDIAPIPE
from mp2flame.data import Observation
from mp2flame.errors import InputError, MissingFileError, SinkError, SourceError
from mp2flame.formats.recording import RecordingSink, read_recording
from mp2flame.head import load_head
from mp2flame.live import LiveSession
from mp2flame.live.mapping_control import Side
from mp2flame.live.neutral import NeutralController
from mp2flame.sinks import open_sink
from tests.helpers.fakes import ListSink, ListSource
from tests.helpers.live import blendshape_mapping, performance_recording, port_of, running, settings, wait_for
from tests.helpers.streams import free_port, nothing_left_behind, surface
from tests.helpers.viser_client import Tab

pytestmark = pytest.mark.usefixtures("no_thread_is_left")


class _Watch(ListSink):
    """Keeps what passes."""

    def latest(self) -> np.ndarray:
        row: np.ndarray = self.frames[-1][1].expression[0]
        return row

    def wait_for_frames(self, count: int) -> None:
        """Wait until so many more have passed."""
        end = len(self.frames) + count
        wait_for(lambda: len(self.frames) >= end)


def _watch(session: LiveSession) -> _Watch:
    watch = _Watch()
    session.pipeline.add_sink(watch)
    watch.wait_for_frames(1)
    return watch


@pytest.fixture
def tab(session: LiveSession) -> Iterator[Tab]:
    with Tab(port_of(session.page)) as tab:
        yield tab


def _weights(**named: float) -> np.ndarray:
    weights = np.zeros(52, dtype=np.float32)
    for name, value in named.items():
        weights[ARKIT.index(name)] = value
    return weights


def test_sliders_take_over_and_show_at_once_what_the_mapping_does(session: LiveSession, tab: Tab) -> None:
    watch = _watch(session)
    tab.set("Camera on", False)
    wait_for(lambda: not session.state.camera_on)
    wait_for(lambda: not tab.control("jawOpen")["disabled"])
    tab.set("jawOpen", 1.0)
    jaw = load_head("builtin").blendshapes().jaw_pose[ARKIT.index("jawOpen")]
    wait_for(lambda: np.allclose(watch.frames[-1][1].jaw_pose[0], jaw, atol=1e-5))
    # The parameter sliders went along, and take over from there.
    wait_for(lambda: tab.control("open (°)")["value"] == pytest.approx(np.degrees(jaw[0]), abs=0.01))
    tab.set("3", 1.5)
    wait_for(lambda: watch.latest()[2] == pytest.approx(1.5))
    np.testing.assert_allclose(watch.frames[-1][1].jaw_pose[0], jaw, atol=1e-5)
    tab.click("All to zero")
    wait_for(lambda: not watch.latest().any())
    wait_for(lambda: tab.control("jawOpen")["value"] == 0.0)
    tab.set("Camera on", True)
    wait_for(lambda: watch.latest().any())
    wait_for(lambda: tab.control("jawOpen")["disabled"])
    times = [float(seen.time[0]) for seen, _, _ in watch.frames]
    assert (np.diff(times) > 0).all()


def test_sliders_do_nothing_while_the_camera_is_on(session: LiveSession) -> None:
    watch = _watch(session)
    session.pose_by_weights(_weights(jawOpen=1.0))
    session.pose_by_coefficient("expression", 0, 5.0)
    watch.wait_for_frames(10)
    assert np.abs(watch.latest()).max() < 4.0


def test_neutral_is_taken_kept_found_again_and_forgotten(tmp_path: Path) -> None:
    options = settings(tmp_path)
    with running(options) as session, Tab(port_of(session.page)) as tab:
        wait_for(lambda: "average" in session.state.neutral)
        assert not session.state.has_own_neutral
        tab.click("Neutral")
        wait_for(lambda: session.state.neutral_progress)
        wait_for(lambda: session.state.has_own_neutral)
        assert session.state.neutral_progress is None
        wait_for(lambda: "Using your neutral" in tab.text())
    (kept,) = (tmp_path / "data" / "neutral").iterdir()
    frames = [observation for observation, _ in read_recording(kept)]
    assert len(frames) > 20
    assert all(frame.found[0] for frame in frames)
    with running(options) as session, Tab(port_of(session.page)) as tab:
        wait_for(lambda: "earlier session" in session.state.neutral)
        tab.click("Forget")
        wait_for(lambda: "average" in session.state.neutral)
        assert not kept.exists()


def test_a_neutral_face_gives_zero(tmp_path: Path) -> None:
    still = performance_recording(tmp_path / "still.jsonl", seconds=1.0)
    with running(settings(tmp_path, source=str(still))) as session:
        watch = _watch(session)
        session.take_neutral()
        watch.wait_for_frames(30)
        assert np.abs(watch.latest()).max() < 1e-3


def test_a_neutral_that_cannot_be_kept_is_used_all_the_same(tmp_path: Path) -> None:
    options = settings(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "neutral").write_text("in the way")
    with running(options) as live:
        live.take_neutral()
        assert live.state.has_own_neutral
        assert "It is not kept for the next session" in live.state.neutral
    assert (tmp_path / "data" / "neutral").read_text() == "in the way"


def test_a_kept_neutral_that_is_damaged_is_said_and_not_used(tmp_path: Path) -> None:
    options = settings(tmp_path)
    path = NeutralController(tmp_path / "data" / "neutral", surface()).path(options.source)
    path.parent.mkdir(parents=True)
    path.write_text("{not json")
    with running(options) as live:
        wait_for(lambda: "cannot be used" in live.state.neutral)
        assert not live.state.has_own_neutral


def test_a_stored_neutral_is_used_unless_the_average_one_is_chosen(tmp_path: Path) -> None:
    with running(settings(tmp_path)) as live:
        live.take_neutral()
    with running(settings(tmp_path)) as live:
        wait_for(lambda: "from an earlier session" in live.state.neutral)
        assert live.state.has_own_neutral
    with running(settings(tmp_path, neutral=None)) as live:
        wait_for(lambda: live.state.face is not None)
        assert "Using the average neutral" in live.state.neutral
        assert not live.state.has_own_neutral


def test_neutral_without_a_face_says_what_to_do(tmp_path: Path) -> None:
    with RecordingSink(tmp_path / "nobody.jsonl") as sink:
        for index in range(30):
            sink.append(Observation.missing(index / 30))
    with running(settings(tmp_path, source=str(tmp_path / "nobody.jsonl"))) as session:
        wait_for(lambda: session.state.face is False)
        assert "No face detected" in session.state.notice
        neutral = NeutralController(tmp_path / "neutral", surface(), patience=0.4)
        with pytest.raises(InputError, match="look straight into the camera"):
            neutral.take(session.pipeline, "0")
        assert neutral.progress is None
    assert not (tmp_path / "neutral").exists()


def test_gains_smoothing_and_mirror_can_be_moved_while_it_runs(session: LiveSession, tab: Tab) -> None:
    watch = _watch(session)
    for amount in (0.0, 4.0, 1.0):
        tab.set("Smoothing", amount)
        tab.set("Mirror", amount > 0)
        session.set_gains(amount, 2 - amount / 2)
    tab.set("Expression gain", 0.0)
    tab.set("Jaw gain", 0.0)
    wait_for(lambda: np.abs(watch.latest()).max() < 0.2 and np.abs(watch.frames[-1][1].jaw_pose).max() < 0.02)
    # What the filter still holds fades, and nothing comes after it.
    watch.wait_for_frames(30)
    assert np.abs(watch.latest()).max() < 0.2


def test_two_mappings_side_by_side(tmp_path: Path) -> None:
    half = blendshape_mapping(tmp_path / "half.safetensors", gain=0.5)
    neutral = load_head("builtin").neutral_vertices
    options = settings(tmp_path, compare=str(half), send=(f"udp://127.0.0.1:{free_port()}",))
    with running(options) as session, Tab(port_of(session.page)) as tab:
        session.set_camera(on=False)
        session.pose_by_weights(_weights(mouthSmileLeft=1.0, mouthSmileRight=1.0))
        wait_for(lambda: session.state.mappings == ("own.safetensors", "half.safetensors"))
        wait_for(lambda: tab.node("/b", "visible"))
        tab.set("Material", "clay")

        def moved(side: str) -> float:
            shown = tab.vertices.get(f"/{side}/clay0")
            return 0.0 if shown is None else float(np.linalg.norm(shown - neutral))

        wait_for(lambda: moved("a") > 0.01 and moved("b") == pytest.approx(moved("a") / 2, rel=0.1))
        tab.set("B", "no second head")
        wait_for(lambda: not tab.node("/b", "visible"))
        assert session.state.mappings == ("own.safetensors", None)
        wait_for(lambda: "second head" not in session.pipeline.dropped)


def test_a_mapping_that_is_not_there_leaves_the_old_one(session: LiveSession) -> None:
    watch = _watch(session)
    for side in get_args(Side):
        with pytest.raises(MissingFileError):
            session.set_mapping(side, "nowhere.safetensors")
    watch.wait_for_frames(5)
    assert session.state.mappings == ("own.safetensors", None)


def test_another_source_follows_and_one_that_is_not_there_changes_nothing(
    session: LiveSession, tab: Tab, tmp_path: Path
) -> None:
    watch = _watch(session)
    tab.set("Other", str(tmp_path / "gone.mp4"))
    tab.click("Open")
    wait_for(lambda: any("gone.mp4" in said for said in tab.notifications))
    watch.wait_for_frames(5)
    other = performance_recording(tmp_path / "other.jsonl", seconds=0.5)
    tab.set("Other", str(other))
    tab.click("Open")
    wait_for(lambda: session.state.source == "other.jsonl")
    assert "other.jsonl" in session.state.sources
    wait_for(lambda: tab.control("Source")["value"] == "other.jsonl")
    watch.wait_for_frames(20)
    tab.set("Source", "performance.jsonl")
    wait_for(lambda: session.state.source == "performance.jsonl")
    watch.wait_for_frames(5)
    times = [float(seen.time[0]) for seen, _, _ in watch.frames]
    assert (np.diff(times) > 0).all()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_that_is_opened_from_the_page_holds_nothing_up(session: LiveSession, tab: Tab, tmp_path: Path) -> None:
    watch = _watch(session)
    os.mkfifo(tmp_path / "pipe.mp4")
    tab.set("Other", str(tmp_path / "pipe.mp4"))
    tab.click("Open")
    wait_for(lambda: tab.notifications)
    assert session.state.source == "performance.jsonl"
    watch.wait_for_frames(5)


def test_a_source_that_breaks_off_is_reported_on_the_page_and_on_the_console_and_the_session_stays(
    session: LiveSession, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    watch = _watch(session)
    broken = tmp_path / "broken.jsonl"
    lines = (tmp_path / "performance.jsonl").read_text().splitlines()
    broken.write_text("\n".join([*lines[:10], "{not json", *lines[10:30]]))
    with caplog.at_level(logging.WARNING):
        session.open_source(str(broken))
        wait_for(lambda: "The source stopped" in session.state.notice)
    assert "line" in session.state.notice
    assert "the source has stopped" in caplog.text
    assert session.state.face is None
    session.open_source(str(tmp_path / "performance.jsonl"))
    watch.wait_for_frames(5)
    wait_for(lambda: session.state.notice == "Face detected.")


def test_foreign_text_moves_no_cursor_on_the_console(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = ListSource([], error=SourceError("goodbye \x1b[2J\x1b]0;title\x07"))
    source.live = True
    monkeypatch.setattr("mp2flame.live.source_control.open_source", lambda *_, **__: source)
    with caplog.at_level(logging.WARNING), running(settings(tmp_path)) as session:
        wait_for(lambda: "goodbye" in session.state.notice)
        wait_for(lambda: "goodbye" in caplog.text)
    assert "\x1b" not in caplog.text


def test_the_players_buttons(session: LiveSession, tab: Tab) -> None:
    watch = _watch(session)
    tab.set("Playing", False)
    wait_for(lambda: not session.state.playing)
    # A recording does not say how long it is.
    wait_for(lambda: tab.control("Position (s)")["max"] == 10)
    tab.set("Position (s)", 3.1)
    wait_for(lambda: session.state.position == pytest.approx(3.1, abs=0.05))
    wait_for(lambda: watch.frames[-1][0].scores[0, MEDIAPIPE.index("jawOpen")] > 0.8)
    count = len(watch.frames)
    tab.set("Loop", False)
    session.page.notify("paused", "")
    wait_for(lambda: tab.notifications)
    assert len(watch.frames) <= count + 1
    tab.set("Playing", True)
    watch.wait_for_frames(10)


def test_stats_of_every_stage_are_shown(session: LiveSession, tab: Tab) -> None:
    wait_for(lambda: "end to end" in session.state.stats.timings)
    stats = session.state.stats
    assert list(stats.timings)[:3] == ["mapping", "filters", "head"]
    assert {"viewer", "image"} <= set(stats.timings)
    assert all(timing.p50 <= timing.p95 for timing in stats.timings.values())
    wait_for(lambda: session.state.stats.frame_rate > 20)
    for word in ("frames per second", "end to end", "p50", "p95"):
        wait_for(lambda word=word: word in tab.text())  # type: ignore[misc]


def test_a_session_that_cannot_begin_leaves_nothing_behind(tmp_path: Path) -> None:
    taken = open_sink(f"ws://:{free_port()}", head=surface())
    port = taken.port  # type: ignore[attr-defined]
    settings(tmp_path)
    with nothing_left_behind():
        for changes, error in (
            ({"source": str(tmp_path / "gone.mp4")}, MissingFileError),
            ({"host": "203.0.113.1"}, SinkError),
            ({"port": 70000}, InputError),
            # The first address is open by the time at which the second is refused.
            ({"send": (f"ws://:{free_port()}", f"ws://:{port}")}, SinkError),
            ({"send": (f"ws://:{free_port()}", "nothing://")}, InputError),
        ):
            with pytest.raises(error):
                LiveSession(settings(tmp_path, **changes))
    taken.close()
