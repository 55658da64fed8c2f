"""A session from end to end, with everything that the page can ask for, but without a browser."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from mp2flame.blendshapes import ARKIT, MEDIAPIPE
from mp2flame.errors import InputError, MissingFileError, SinkError, SourceError
from mp2flame.formats.recording import read_recording
from mp2flame.head import load_head
from mp2flame.live import LiveSession
from mp2flame.live.desk import Side
from tests.helpers.fakes import ListSink, ListSource
from tests.helpers.live import blendshape_mapping, running, settings, wait_for

pytest.importorskip("viser", reason="the viewer's extra is not installed")

pytestmark = pytest.mark.usefixtures("no_thread_is_left")


class _Watch(ListSink):
    """Keeps what passes."""

    def latest(self) -> np.ndarray:
        row: np.ndarray = self.frames[-1][1].expression[0]
        return row


def _watch(session: LiveSession) -> _Watch:
    watch = _Watch()
    session.pipeline.add_sink(watch)
    wait_for(lambda: watch.frames)
    return watch


def _weights(**named: float) -> np.ndarray:
    weights = np.zeros(52, dtype=np.float32)
    for name, value in named.items():
        weights[ARKIT.index(name)] = value
    return weights


def test_sliders_take_over_and_show_at_once_what_the_mapping_does(session: LiveSession) -> None:
    watch = _watch(session)
    session.set_camera(on=False)
    session.pose_by_weights(_weights(jawOpen=1.0))
    jaw = load_head("builtin").blendshapes().jaw_pose[ARKIT.index("jawOpen")]
    wait_for(lambda: np.allclose(watch.frames[-1][1].jaw_pose[0], jaw, atol=1e-5))
    # The parameter sliders went along, and take over from there.
    panel = session.page.controls.sliders
    assert panel._coefficients["jaw_pose", 0][0].value == pytest.approx(np.degrees(jaw[0]), abs=0.01)
    session.pose_by_coefficient("expression", 2, 1.5)
    wait_for(lambda: watch.latest()[2] == pytest.approx(1.5))
    np.testing.assert_allclose(watch.frames[-1][1].jaw_pose[0], jaw, atol=1e-5)
    session.pose_by_weights(_weights())
    wait_for(lambda: not watch.latest().any())
    session.set_camera(on=True)
    wait_for(lambda: watch.latest().any())
    times = [float(seen.time[0]) for seen, _, _ in watch.frames]
    assert (np.diff(times) > 0).all()


def test_sliders_do_nothing_while_the_camera_is_on(session: LiveSession) -> None:
    watch = _watch(session)
    session.pose_by_weights(_weights(jawOpen=1.0))
    session.pose_by_coefficient("expression", 0, 5.0)
    time.sleep(0.2)
    assert np.abs(watch.latest()).max() < 4.0


def test_neutral_is_taken_kept_found_again_and_forgotten(tmp_path: Path) -> None:
    given = settings(tmp_path)
    with running(given) as session:
        session.take_neutral()
        kept = list((tmp_path / "data" / "neutral").glob("*.jsonl"))
        assert len(kept) == 1
        frames = [seen for seen, _ in read_recording(kept[0])]
        assert frames[-1].time[0] - frames[0].time[0] >= 3.0
        rest = np.median([frame.scores[0] for frame in frames], axis=0)
        assert session._desk._rest is not None
        np.testing.assert_allclose(np.median(session._desk._rest.scores, axis=0), rest, atol=1e-6)
    with running(given) as session:
        wait_for(lambda: "last time" in session.page.controls._neutral_text.content)
        assert session._desk._rest is not None
        session.forget_neutral()
        assert session._desk._rest is None
        assert not kept[0].exists()


def test_a_neutral_of_rest_makes_that_rest_zero(tmp_path: Path) -> None:
    from tests.helpers.live import performance_recording

    still = performance_recording(tmp_path / "still.jsonl", seconds=1.0)
    with running(settings(tmp_path, source=str(still))) as session:
        watch = _watch(session)
        session.take_neutral()
        wait_for(lambda: len(watch.frames) > 100)
        assert np.abs(watch.latest()).max() < 1e-3


def test_a_neutral_that_cannot_be_kept_is_used_all_the_same(tmp_path: Path) -> None:
    given = settings(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "neutral").write_text("in the way")
    with running(given) as live:
        live.take_neutral()
        assert live._desk._rest is not None
        text = live.page.controls._neutral_text.content
        assert "Yours." in text
        assert "cannot keep the neutral in" in text
    assert (tmp_path / "data" / "neutral").read_text() == "in the way"


def test_neutral_without_a_face_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mp2flame.data import Observation
    from mp2flame.formats.recording import RecordingSink
    from mp2flame.live import neutral

    monkeypatch.setattr(neutral, "_PATIENCE", 0.4)
    writer = RecordingSink(tmp_path / "nobody.jsonl")
    for index in range(30):
        writer.append(Observation.missing(index / 30))
    writer.close()
    with running(settings(tmp_path, source=str(tmp_path / "nobody.jsonl"))) as session:
        wait_for(lambda: session.page._missing.visible)
        assert "No face" in session.page._sign.content
        with pytest.raises(InputError, match="look straight into the camera"):
            session.take_neutral()


def test_gains_smoothing_and_mirror_can_be_moved_while_it_runs(session: LiveSession) -> None:
    watch = _watch(session)
    for amount in (0.0, 4.0, 1.0):
        session.set_smoothing(amount)
        session.set_gains(amount, 2 - amount / 2)
        session.set_mirror(on=amount > 0)
    session.set_gains(0.0, 0.0)
    count = len(watch.frames)
    wait_for(lambda: len(watch.frames) > count + 60)
    # The filter may still fade what was there.
    assert np.abs(watch.latest()).max() < 0.2
    assert np.abs(watch.frames[-1][1].jaw_pose).max() < 0.02


def test_two_mappings_side_by_side(tmp_path: Path) -> None:
    half = blendshape_mapping(tmp_path / "half.safetensors", gain=0.5)
    with running(settings(tmp_path, compare=str(half))) as session:
        shown: dict[int, np.ndarray] = {}
        session.page.show_head = lambda vertices, side=0: shown.__setitem__(side, vertices)  # type: ignore[method-assign]
        session.set_camera(on=False)
        session.pose_by_weights(_weights(mouthSmileLeft=1.0, mouthSmileRight=1.0))
        wait_for(lambda: 0 in shown and 1 in shown)
        assert session._desk.names() == ("own.safetensors", "half.safetensors")
        rest = load_head("builtin").neutral_vertices
        wait_for(lambda: np.abs(shown[0] - rest).max() > 0.004)
        time.sleep(0.2)
        moved = [np.linalg.norm(shown[side] - rest) for side in (0, 1)]
        assert moved[1] == pytest.approx(moved[0] / 2, rel=0.1)
        assert session.page.heads[1]._frame.visible
        session.set_mapping("B", None)
        assert not session.page.heads[1]._frame.visible
        assert "second head" not in session.pipeline.dropped


def test_a_mapping_that_is_not_there_leaves_the_old_one(session: LiveSession) -> None:
    watch = _watch(session)
    sides: tuple[Side, Side] = ("A", "B")
    for side in sides:
        with pytest.raises(MissingFileError):
            session.set_mapping(side, "nowhere.safetensors")
    count = len(watch.frames)
    wait_for(lambda: len(watch.frames) > count + 5)
    assert not session.page.heads[1]._frame.visible


def test_another_source_follows_and_one_that_is_not_there_changes_nothing(session: LiveSession, tmp_path: Path) -> None:
    from tests.helpers.live import performance_recording

    watch = _watch(session)
    with pytest.raises(MissingFileError):
        session.open_source(str(tmp_path / "gone.mp4"))
    count = len(watch.frames)
    wait_for(lambda: len(watch.frames) > count + 5)
    other = performance_recording(tmp_path / "other.jsonl", seconds=0.5)
    session.open_source(str(other))
    assert session._playback.name == "other.jsonl"
    assert session.page.controls._source.value == "other.jsonl"
    count = len(watch.frames)
    wait_for(lambda: len(watch.frames) > count + 20)
    times = [float(seen.time[0]) for seen, _, _ in watch.frames]
    assert (np.diff(times) > 0).all()


def test_a_source_that_breaks_off_is_told_of_and_the_session_stays(session: LiveSession, tmp_path: Path) -> None:
    watch = _watch(session)
    broken = tmp_path / "broken.jsonl"
    lines = (tmp_path / "performance.jsonl").read_text().splitlines()
    broken.write_text("\n".join([*lines[:10], "{not json", *lines[10:30]]))
    session.open_source(str(broken))
    wait_for(lambda: "has ended" in session.page._sign.content)
    assert "line" in session.page._sign.content
    session.open_source(str(tmp_path / "performance.jsonl"))
    count = len(watch.frames)
    wait_for(lambda: len(watch.frames) > count + 5)


def test_the_players_buttons(session: LiveSession) -> None:
    watch = _watch(session)
    session.set_playing(on=False)
    session.seek(3.1)
    wait_for(lambda: abs(session._playback.transport.position - 3.1) < 0.05)  # type: ignore[union-attr]
    time.sleep(0.1)
    count = len(watch.frames)
    opened = watch.frames[-1][0].scores[0, MEDIAPIPE.index("jawOpen")]
    assert opened > 0.8
    time.sleep(0.3)
    assert len(watch.frames) == count
    session.set_loop(on=False)
    session.set_playing(on=True)
    wait_for(lambda: len(watch.frames) > count + 10)


def test_figures_of_every_room_are_shown(session: LiveSession) -> None:
    wait_for(lambda: "whole road" in session.page._figures.content)
    content = session.page._figures.content
    assert "frames a second" in content
    for room in ("mapping", "filters", "head", "viewer", "p50", "p95"):
        assert room in content


def test_a_session_that_cannot_begin_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError):
        LiveSession(settings(tmp_path, source=str(tmp_path / "gone.mp4")))
    with pytest.raises(SinkError, match="--port or --host"):
        LiveSession(settings(tmp_path, host="203.0.113.1"))


def test_a_source_that_breaks_off_is_told_on_the_page_and_on_the_console(
    session: LiveSession, caplog: pytest.LogCaptureFixture
) -> None:
    session._playback.stage.show(ListSource([], error=SourceError("the camera is gone")))
    wait_for(lambda: "the camera is gone" in session.page._sign.content)
    assert "the source has ended: the camera is gone" in caplog.text
