"""What the record button makes: every frame, every format, whatever happens to the disk or to the process."""

from __future__ import annotations

import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("viser", reason="the viewer's extra is not installed")

from mp2flame.data import Frame
from mp2flame.errors import InputError, SinkError
from mp2flame.formats import load_params
from mp2flame.formats.recording import read_recording
from mp2flame.head import load_head
from mp2flame.live import LiveSession
from mp2flame.live.recorder import FORMATS, Recorder, Recording, export
from mp2flame.sinks import open_sink
from tests.helpers.fakes import ListSink, observation
from tests.helpers.live import port_of, running, settings, wait_for
from tests.helpers.viser_client import Tab

pytestmark = pytest.mark.usefixtures("no_thread_is_left")


def test_a_recording_holds_every_frame_and_becomes_every_format_that_drive_writes(session: LiveSession) -> None:
    watch = ListSink()
    session.recorder.start()
    session.pipeline.add_sink(watch)
    with pytest.raises(InputError, match="stop it first"):
        session.recorder.start()
    assert session.state.is_recording
    assert "Recording: " in session.state.recording
    wait_for(lambda: len(watch.frames) >= 20)
    assert session.pipeline.dropped["recording"] == 0
    session.recorder.stop()
    state = session.state
    assert state.recording_path is not None
    assert not state.is_recording
    assert state.can_download
    read = list(read_recording(state.recording_path))
    assert len(read) == state.n_recorded >= 20
    assert read[0][0].time[0] == 0
    for kind in (".npz", ".csv", ".jsonl"):
        params = load_params(session.recorder.export(kind))
        assert len(params) == state.n_recorded
        np.testing.assert_allclose(params.expression[-1], read[-1][1].expression[0], atol=1e-6)  # type: ignore[union-attr]
    with zipfile.ZipFile(session.recorder.export("flame_param")) as archive:
        assert len([name for name in archive.namelist() if name.endswith(".npz")]) == state.n_recorded
    with pytest.raises(InputError, match="among"):
        session.recorder.export(".exe")


def test_every_format_that_drive_writes_is_offered(tmp_path: Path) -> None:
    with pytest.raises(InputError) as refused:
        open_sink(tmp_path / "x.nothing", head=load_head("builtin"))
    for kind in FORMATS:
        assert kind in str(refused.value)


def test_recording_from_the_page(session: LiveSession) -> None:
    with Tab(port_of(session.page)) as tab:
        tab.click("Record")
        wait_for(lambda: session.state.n_recorded > 5)
        tab.click("Stop")
        tab.set("Format", ".csv")
        tab.click("Download")
        wait_for(lambda: tab.downloads)
        assert tab.downloads[0].endswith(".csv")
        wait_for(lambda: "Saved in" in tab.text())


def _full_disk(*_: object) -> None:
    raise SinkError("cannot write: no space left on device")


def test_a_disk_that_fills_ends_the_recording_and_not_the_session(
    session: LiveSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = ListSink()
    session.pipeline.add_sink(watch)
    session.recorder.start()
    wait_for(lambda: session.state.n_recorded > 5)
    # The disk is full for whatever writes recordings from now on.
    monkeypatch.setattr("mp2flame.formats.recording.RecordingSink.write", _full_disk)
    wait_for(lambda: not session.state.is_recording)
    monkeypatch.undo()
    count = len(watch.frames)
    wait_for(lambda: len(watch.frames) > count + 10)
    # Nobody has to press Stop to get at what was recorded.
    state = session.state
    assert state.can_download
    assert "no space left" in state.recording
    assert state.recording_path is not None
    assert len(list(read_recording(state.recording_path))) == state.n_recorded > 5
    assert len(load_params(session.recorder.export(".npz"))) == state.n_recorded


def test_a_recording_that_runs_when_the_session_ends_is_whole(tmp_path: Path) -> None:
    with running(settings(tmp_path)) as session:
        session.recorder.start()
        wait_for(lambda: session.state.n_recorded > 10)
    state = session.state
    assert state.recording_path is not None
    assert len(list(read_recording(state.recording_path))) == state.n_recorded
    assert not list(state.recording_path.parent.glob("*.lock"))


def _image(index: int, height: int = 48, width: int = 64) -> np.ndarray:
    return np.full((height, width, 3), 40 + 4 * index, dtype=np.uint8)


def _record(path: Path, images: list[np.ndarray | None], after: Callable[[int], None] = lambda _: None) -> Recording:
    head = load_head("builtin")
    recording = Recording(path, head)
    shapes = head.blendshapes()
    for index, image in enumerate(images):
        seen = replace(observation(index + 100), picture=image)
        recording.write(Frame(seen, replace(shapes[index % 52], time=seen.time)))
        after(index)
    return recording


def _video_of(recording: Path) -> list[np.ndarray]:
    from mp2flame.sources.video import VideoReader

    video = export(recording, ".mp4", load_head("builtin"))
    return [image for _, image in VideoReader(video) if image is not None]


class _ImageSink(ListSink):
    """Keeps what it is given, also images."""

    needs_image = True


@pytest.mark.parametrize("first", [True, False])
def test_each_frame_is_played_with_its_own_image(first: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Odd sizes, a frame without an image, also the first, and another source in the middle.
    images = [_image(0, 49, 65) if first else None, _image(1, 49, 65), None, _image(3), _image(4, 49, 65)]
    recording = _record(tmp_path / "recording.jsonl", images)
    recording.close()
    assert recording.error is None
    sink = _ImageSink()
    monkeypatch.setattr("mp2flame.live.recorder.open_sink", lambda *_, **__: sink)
    done: list[Frame] = []
    export(recording.path, ".mp4", load_head("builtin"), done.append)
    assert len(done) == 5
    assert sink.closed
    for image, (seen, _, _) in zip(images, sink.frames, strict=True):
        assert (seen.picture is None) == (image is None)
        if image is not None and seen.picture is not None:
            assert np.abs(seen.picture[20, 20].astype(int) - image[20, 20]).max() <= 4


def test_large_images_are_kept_as_large_as_videos_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recording = _record(tmp_path / "recording.jsonl", [_image(1, 1080, 1920)] * 3)
    recording.close()
    sink = _ImageSink()
    monkeypatch.setattr("mp2flame.live.recorder.open_sink", lambda *_, **__: sink)
    export(recording.path, ".mp4", load_head("builtin"))
    assert [seen.picture.shape for seen, _, _ in sink.frames if seen.picture is not None] == [(720, 1280, 3)] * 3


def test_a_recording_becomes_a_video(tmp_path: Path) -> None:
    pytest.importorskip("pyvista", reason="the render extra is not installed")
    recording = _record(tmp_path / "recording.jsonl", [_image(index) for index in range(5)])
    recording.close()
    frames = _video_of(recording.path)
    assert len(frames) == 5
    for index, frame in enumerate(frames):
        panel = frame[frame.shape[0] // 2, frame.shape[1] // 8]
        assert np.abs(panel.astype(int) - 40 - 4 * index).max() <= 4
    assert export(recording.path, ".gif", load_head("builtin")).stat().st_size > 1000


def test_a_recording_without_frames_has_nothing_to_download(tmp_path: Path) -> None:
    with running(settings(tmp_path)) as session:
        session.source.set_playing(on=False)
        frames = ListSink()
        session.pipeline.add_sink(frames)
        session.recorder.start()
        session.recorder.stop()
        session.pipeline.remove_sink(frames)
        state = session.state
        assert state.can_download == (state.n_recorded > 0)
        if state.n_recorded == 0:
            with pytest.raises(InputError, match="finished recording with frames"):
                session.recorder.export(".npz")
    recording = _record(tmp_path / "recording.jsonl", [])
    recording.close()
    assert "no frame" in str(recording.error)
    assert list(tmp_path.glob("recording.*")) == []


def test_times_of_a_recording_begin_at_zero_and_keep_their_distances(tmp_path: Path) -> None:
    recording = _record(tmp_path / "recording.jsonl", [None] * 4)
    recording.close()
    times = [float(seen.time[0]) for seen, _ in read_recording(recording.path)]
    np.testing.assert_allclose(times, np.arange(4) / 30, atol=1e-6)


_RECORDS_UNTIL_IT_IS_KILLED = """
import sys, time
from pathlib import Path
from tests.live.test_recorder import _image, _record
recording = _record(Path(sys.argv[1]), [_image(index % 50) for index in range(90)])
print("recorded", flush=True)
time.sleep(1000)
"""


def test_a_recording_whose_process_is_killed_can_be_read_and_is_offered_again(tmp_path: Path) -> None:
    pytest.importorskip("pyvista", reason="the render extra is not installed")
    folder = tmp_path / "data" / "recordings"
    folder.mkdir(parents=True)
    path = folder / "2026-01-01_00-00-00.jsonl"
    command = [sys.executable, "-c", _RECORDS_UNTIL_IT_IS_KILLED, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().strip() == b"recorded"
            # Another session, started meanwhile, leaves it alone.
            with running(settings(tmp_path)) as session:
                assert not session.state.can_download
        finally:
            process.send_signal(signal.SIGKILL)
    with running(settings(tmp_path)) as session:
        assert session.state.can_download
        assert "interrupted" in session.state.recording
        assert session.state.recording_path == path
        n_frames = len(load_params(session.recorder.export(".npz")))
    assert n_frames == 90
    # At most the last second of images is lost.
    frames = _video_of(path)
    images = [int(frame[frame.shape[0] // 2, frame.shape[1] // 8].mean()) for frame in frames]
    kept = [index for index, value in enumerate(images) if value > 20]
    assert kept == list(range(len(kept)))
    assert len(kept) >= n_frames - 45
    for index in kept:
        assert abs(images[index] - (40 + 4 * (index % 50))) <= 4
    # It was offered once.
    assert Recorder(folder, load_head("builtin"), session.pipeline).path is None
