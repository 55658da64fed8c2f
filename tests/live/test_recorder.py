"""What the record button makes: every frame, every format, whatever happens to the disk."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mp2flame.data import Frame
from mp2flame.errors import InputError, SinkError
from mp2flame.formats import load_params
from mp2flame.formats.recording import read_recording
from mp2flame.head import load_head
from mp2flame.live import LiveSession
from mp2flame.live.takes import FORMATS, Take, export
from mp2flame.sinks.registry import FILES
from tests.helpers.fakes import ListSink, observation
from tests.helpers.live import running, settings, wait_for

pytest.importorskip("viser", reason="the viewer's extra is not installed")

pytestmark = pytest.mark.usefixtures("no_thread_is_left")


def test_a_recording_holds_every_frame_and_becomes_every_format_that_drive_writes(session: LiveSession) -> None:
    watch = ListSink()
    session.start_recording()
    session.pipeline.add_sink(watch)
    with pytest.raises(InputError, match="stop it first"):
        session.start_recording()
    wait_for(lambda: len(watch.frames) >= 20)
    session.stop_recording()
    take = session._recorder.take
    assert take is not None
    assert take.error is None
    assert session.pipeline.dropped["source"] == 0
    read = list(read_recording(take.path))
    assert len(read) == take.n_frames >= 20
    assert read[0][0].time[0] == 0
    assert read[-1][0].time[0] == pytest.approx(take.seconds)
    for kind in (".npz", ".csv", ".jsonl"):
        params = load_params(session.export(kind))
        assert len(params) == take.n_frames
        np.testing.assert_allclose(params.expression[-1], read[-1][1].expression[0], atol=1e-6)  # type: ignore[union-attr]
    with zipfile.ZipFile(session.export("flame_param")) as archive:
        assert len([name for name in archive.namelist() if name.endswith(".npz")]) == take.n_frames
    with pytest.raises(InputError, match="among"):
        session.export(".exe")


def test_every_format_of_drive_is_offered() -> None:
    assert set(FORMATS) == set(FILES)


def test_a_disk_that_fills_ends_the_take_and_not_the_session(
    session: LiveSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = ListSink()
    session.pipeline.add_sink(watch)
    session.start_recording()
    take = session._recorder.take
    assert isinstance(take, Take)
    wait_for(lambda: take.n_frames > 5)

    def full(*_: object) -> None:
        raise SinkError("cannot write: no space left on device")

    monkeypatch.setattr(take._recording, "write", full)
    wait_for(lambda: take.error is not None)
    count = len(watch.frames)
    wait_for(lambda: len(watch.frames) > count + 10)
    # Nobody has to press Stop to get at what was recorded.
    wait_for(lambda: session.page.controls._download.visible)
    assert not session._recorder.running
    assert session.page.controls._record.visible
    assert "no space left" in session.page.controls._record_text.content
    assert not take.pictures.exists()
    assert len(list(read_recording(take.path))) == take.n_frames > 5
    assert len(load_params(session.export(".npz"))) == take.n_frames


def test_a_take_that_runs_when_the_session_ends_is_whole(tmp_path: Path) -> None:
    with running(settings(tmp_path)) as session:
        session.start_recording()
        take = session._recorder.take
        assert take is not None
        wait_for(lambda: take.n_frames > 10)
    assert len(list(read_recording(take.path))) == take.n_frames


def _picture(index: int, height: int = 48, width: int = 64) -> np.ndarray:
    return np.full((height, width, 3), 40 + 4 * index, dtype=np.uint8)


def _take(folder: Path, pictures: list[np.ndarray | None]) -> Take:
    head = load_head("builtin")
    take = Take(folder / "take.jsonl", head=head)
    shapes = head.blendshapes()
    for index, picture in enumerate(pictures):
        seen = replace(observation(index + 100), picture=picture)
        row = shapes[index]
        take.write(Frame(seen, replace(row, time=seen.time)))
    take.close()
    assert take.error is None
    return take


def test_a_film_shows_each_frame_with_its_own_picture(tmp_path: Path) -> None:
    pytest.importorskip("pyvista", reason="the render extra is not installed")
    from mp2flame.sources.video import VideoReader

    # Odd sizes, a frame without a picture, and another source in the middle.
    pictures = [_picture(0, 49, 65), _picture(1, 49, 65), None, _picture(3), _picture(4, 49, 65)]
    take = _take(tmp_path, pictures)
    head = load_head("builtin")
    done: list[int] = []
    film = export(take, ".mp4", head=head, on_frame=done.append)
    assert done == [1, 2, 3, 4, 5]
    frames = [picture for _, picture in VideoReader(film)]
    assert len(frames) == 5
    for index, frame in enumerate(frames):
        assert frame is not None
        panel = frame[frame.shape[0] // 2, frame.shape[1] // 8]
        expected = 0 if pictures[index] is None else 40 + 4 * index
        assert np.abs(panel.astype(int) - expected).max() <= 4
    assert export(take, ".gif", head=head).stat().st_size > 1000


def test_a_take_without_frames_has_nothing_to_download(tmp_path: Path) -> None:
    head = load_head("builtin")
    with pytest.raises(InputError, match="no frames"):
        export(_take(tmp_path, []), ".npz", head=head)


def test_times_of_a_take_begin_at_zero_and_keep_their_distances(tmp_path: Path) -> None:
    take = _take(tmp_path, [None] * 4)
    times = [float(seen.time[0]) for seen, _ in read_recording(take.path)]
    np.testing.assert_allclose(times, np.arange(4) / 30, atol=1e-6)
