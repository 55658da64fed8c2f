"""What tracking writes: every format, the folder that data sets are built from, and what is left after a kill."""

from __future__ import annotations

import csv
import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing import active_children
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import mp2flame
from mp2flame.cli import main
from mp2flame.dataset.build import build
from mp2flame.dataset.readers.detect_format import read_input
from mp2flame.errors import InputError, MissingFileError
from mp2flame.formats.recording import read_recording
from mp2flame.formats.tracked_person import PERSON_FILE
from mp2flame.tracking.batch import BatchOptions, jobs_of, track_people
from mp2flame.tracking.config import TrackOptions
from mp2flame.tracking.model import TrackerModel, fit_tracker_model
from mp2flame.tracking.results import check_targets, save_files, save_person
from mp2flame.tracking.track import TrackResult, track_person, track_videos
from mp2flame.tracking.video import VideoDetections
from tests.helpers.tracked_people import FOCAL, SIZE, detections, performance, synthetic_model


@pytest.fixture(scope="module")
def model() -> TrackerModel:
    return synthetic_model()


@pytest.fixture(scope="module")
def video(model: TrackerModel) -> VideoDetections:
    params = performance(model.head)
    found = np.ones(len(params), dtype=np.bool_)
    found[20:22] = False
    return detections(model, replace(params, found=found))


@pytest.fixture(scope="module")
def tracked(model: TrackerModel, video: VideoDetections) -> TrackResult:
    return track_person(model, [video], TrackOptions(focal=FOCAL))[0]


def _images(tracked: TrackResult) -> Iterator[NDArray[np.uint8] | None]:
    for _ in range(len(tracked.params)):
        yield np.full((SIZE[1], SIZE[0], 3), 90, dtype=np.uint8)


def test_parameter_files_hold_what_was_tracked(model: TrackerModel, tracked: TrackResult, tmp_path: Path) -> None:
    targets = [tmp_path / name for name in ("a.npz", "a.csv", "a.jsonl", "a.residuals.csv")]
    save_files(tracked, model.head, targets, lambda: _images(tracked))
    found = tracked.params.found
    for target in targets[:3]:
        loaded = mp2flame.load_params(target)
        np.testing.assert_array_equal(loaded.found, found)
        np.testing.assert_allclose(loaded.jaw_pose[found], tracked.params.jaw_pose[found], atol=1e-6)
        np.testing.assert_allclose(loaded.translation[found], tracked.params.translation[found], atol=1e-6)
    rows = list(csv.DictReader(targets[3].read_text().splitlines()))
    assert len(rows) == len(found)
    assert [row["found"] == "1" for row in rows] == found.tolist()
    assert float(rows[3]["misfit"]) == pytest.approx(float(tracked.residual[3]), rel=1e-3)
    assert rows[20]["misfit"] == ""


def test_rendered_videos_show_the_mesh(model: TrackerModel, tracked: TrackResult, tmp_path: Path) -> None:
    pytest.importorskip("pyvista")
    av = pytest.importorskip("av")
    few = _first(tracked, 3)
    save_files(few, model.head, [tmp_path / "a.overlay.mp4", tmp_path / "a.mp4"], lambda: _images(few))
    with av.open(str(tmp_path / "a.overlay.mp4")) as file:
        images = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    assert len(images) == 3
    assert images[0].shape == (SIZE[1], SIZE[0], 3)
    # Where the landmarks were detected, the gray image is tinted.
    assert tracked.observation.landmarks is not None
    columns, rows = (tracked.observation.landmarks[0, :468, :2] * SIZE).astype(int).T
    inside = np.abs(images[0][rows, columns].astype(int) - 90).max(axis=1) > 12
    assert inside.mean() > 0.95
    assert np.abs(images[0][:20, :20].astype(int) - 90).max() < 8
    assert (tmp_path / "a.mp4").is_file()


def _first(tracked: TrackResult, n: int) -> TrackResult:
    parts = {
        name: getattr(tracked, name)[:n]
        for name in ("params", "observation", "neutral", "residual", "pixels", "inlier_ratio")
    }
    return replace(tracked, **parts)


def test_outputs_that_cannot_be_written_are_refused_before_any_work(tmp_path: Path) -> None:
    check_targets([tmp_path / "a.npz", tmp_path / "a.overlay.mp4"])
    with pytest.raises(InputError, match=r"expected an output \.npz"):
        check_targets([tmp_path / "a.obj"])
    with pytest.raises(MissingFileError, match="does not exist"):
        check_targets([tmp_path / "nowhere" / "a.npz"])
    with pytest.raises(InputError, match="more than once"):
        check_targets([tmp_path / "a.npz", tmp_path / "a.npz"])


def test_a_persons_folder_is_read_as_a_data_set(model: TrackerModel, tracked: TrackResult, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    worse = replace(tracked, residual=np.where(np.arange(len(tracked.residual)) == 25, 9.0, tracked.residual))
    for person in ("anna", "bert"):
        results = {"first": worse, "second": worse}
        save_person(
            out / person, results, model.head, suffixes=[".npz"], images=lambda _: _images(tracked), made_from={}
        )
    sequences = list(read_input(out))
    assert [(s.subject, s.name) for s in sequences] == [(p, v) for p in ("anna", "bert") for v in ("first", "second")]
    anna = sequences[0]
    assert anna.neutral is not None
    assert anna.neutral.sum() == tracked.neutral.sum()
    # Two frames have no face and are not in the recording; the one that fits badly is there, but not to learn from.
    assert len(anna.params) == len(tracked.params) - 2
    assert anna.params.time[~anna.params.found].tolist() == [tracked.params.time[25]]
    # Times are joined by the nearest frame, not as equal floating-point numbers.
    document = json.loads((out / "anna" / PERSON_FILE).read_text())
    for video in document["videos"].values():
        video["rest_times"] = [round(time, 3) for time in video["rest_times"]]
        video["bad_times"] = [round(time, 3) for time in video["bad_times"]]
    (out / "anna" / PERSON_FILE).write_text(json.dumps(document))
    rounded = next(iter(read_input(out)))
    np.testing.assert_array_equal(rounded.neutral, anna.neutral)
    np.testing.assert_array_equal(rounded.params.found, anna.params.found)
    pytest.importorskip("pyarrow")
    data, report = build([out], tmp_path / "data", head=model.head)
    assert data.subjects == ("anna", "bert")
    assert report.neutral == 4 * tracked.neutral.sum()
    assert report.frames == 4 * (len(tracked.params) - 3)
    assert data.has_column("landmarks")


@pytest.fixture
def detected(model: TrackerModel, video: VideoDetections, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Files of any name show the synthetic person, and the head is learned already; gives the names of the files."""
    names: list[str] = []

    def detect(path: Path, landmarker: Path, **_: Any) -> VideoDetections:
        names.append(path.name)
        if path.name.startswith("nobody"):
            raise InputError(f"{path}: expected a face; MediaPipe finds none")
        return video

    monkeypatch.setattr("mp2flame.tracking.track.detect_file", detect)
    monkeypatch.setattr("mp2flame.tracking.model.fit_tracker_model", lambda *_, **__: model)
    monkeypatch.setattr("mp2flame.tracking.track.landmarker_path", lambda path: path)
    monkeypatch.setattr("mp2flame.downloads.landmarker_path", lambda path: Path("none"))
    return names


def _videos(folder: Path, *names: str) -> list[Path]:
    for name in names:
        (folder / name).write_bytes(b"video")
    return [folder / name for name in names]


_OPTIONS = BatchOptions("builtin", None, Path("none"), track=TrackOptions(focal=FOCAL))


def test_a_finished_person_is_not_tracked_again(model: TrackerModel, detected: list[str], tmp_path: Path) -> None:
    videos = _videos(tmp_path, "anna.mp4", "bert.mp4")
    out = tmp_path / "out"
    out.mkdir()
    # A kill left the beginnings of bert.
    (out / ".bert.123-abc.part").mkdir()
    first = dict(track_people(model, jobs_of(videos[:1]), out, _OPTIONS))
    assert [result.error for result in first.values()] == [""]
    again = [result for _, result in track_people(model, jobs_of(videos), out, _OPTIONS)]
    assert detected == ["anna.mp4", "bert.mp4"]
    assert again[0].summary == "finished before, left as it is"
    assert json.loads((out / "bert" / PERSON_FILE).read_text())["videos"]["bert"]["focal"] == FOCAL
    by_neck = replace(_OPTIONS, track=replace(_OPTIONS.track, head_pose="neck_pose"))
    other = [result for _, result in track_people(model, jobs_of(videos[:1]), out, by_neck)]
    assert "from other videos or options" in other[0].error


def test_a_damaged_person_file_is_reported(model: TrackerModel, detected: list[str], tmp_path: Path) -> None:
    videos = _videos(tmp_path, "anna.mp4")
    (tmp_path / "anna").mkdir()
    for content in (b"", b"[]", b"{", b"[" * 100_000):
        (tmp_path / "anna" / PERSON_FILE).write_bytes(content)
        ((_, result),) = track_people(model, jobs_of(videos), tmp_path, _OPTIONS)
        assert "is damaged" in result.error
        assert detected == []


def test_a_process_that_dies_loses_its_own_person_only(
    model: TrackerModel, detected: list[str], tmp_path: Path
) -> None:
    videos = _videos(tmp_path, "anna.mp4", "bert.mp4")
    jobs = jobs_of(videos)
    assert len(list(track_people(model, jobs, tmp_path, _OPTIONS))) == 2

    def kill() -> None:
        deadline = time.monotonic() + 60
        while not active_children() and time.monotonic() < deadline:
            time.sleep(0.001)
        # While it starts, before its work.
        pid = active_children()[0].pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)

    killer = Thread(target=kill)
    killer.start()
    results = {job.person: result for job, result in track_people(model, jobs, tmp_path, _OPTIONS, processes=2)}
    killer.join()
    errors = {person: result.error for person, result in results.items() if result.error}
    assert set(results) == {"anna", "bert"}
    assert len(errors) == 1
    ((person, error),) = errors.items()
    assert f"worked on {person} was killed" in error
    assert all((tmp_path / name / PERSON_FILE).is_file() for name in ("anna", "bert"))


def test_an_interrupted_run_leaves_no_half_person(
    model: TrackerModel, detected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mp2flame.tracking.results.write_atomic", interrupt)
    with pytest.raises(KeyboardInterrupt):
        list(track_people(model, jobs_of(_videos(tmp_path, "anna.mp4")), tmp_path, _OPTIONS))
    assert not (tmp_path / "anna").exists()


def test_a_person_who_cannot_be_tracked_does_not_stop_the_others(
    detected: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    videos = [str(path) for path in _videos(tmp_path, "nobody.mp4", "anna.mp4")]
    out = tmp_path / "out"
    assert main(["track", *videos, "-o", str(out), "--formats", "npz", "csv", "--processes", "1"]) == 1
    printed = capsys.readouterr()
    assert "MediaPipe finds none" in printed.err
    assert "1 of 2 people" in printed.out
    assert {path.name for path in (out / "anna").iterdir()} >= {"anna.npz", "anna.csv", "anna.jsonl", PERSON_FILE}


def test_the_command_writes_single_files(
    detected: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (video,) = _videos(tmp_path, "anna.mp4")
    target = tmp_path / "face.npz"
    assert main(["track", str(video), "-o", str(target), "-o", str(tmp_path / "face.jsonl")]) == 0
    assert mp2flame.load_params(target).shape is not None
    recording = read_recording(tmp_path / "face.jsonl")
    assert sum(params is not None for _, params in recording) == 29
    assert "29 of them with the face" in capsys.readouterr().out


@pytest.fixture
def videos_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "folder").mkdir()
    _videos(tmp_path, "a.mp4", "b.mp4", "folder/a.mp4")
    (tmp_path / "link.npz").hardlink_to(tmp_path / "a.mp4")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-o", "x.npz"], "expected at least one video"),
        (["a.mp4", "b.mp4", "-o", "x.npz"], "expected a folder to write to for more than one video"),
        (["missing.mp4", "-o", "x.npz"], "no video missing.mp4"),
        (["a.mp4", "-o", "x.obj"], "expected an output"),
        (["a.mp4", "folder/a.mp4", "-o", "out"], "comes more than once"),
        (["a.mp4", "b.mp4", "-o", "out", "--ipd", "63"], "--ipd belongs to one person, and these are 2"),
        (["a.mp4", "-o", "x.npz", "--ipd", "0.063"], "expected 40 to 85 mm between a person's pupils; got 0.063 mm"),
        (["a.mp4", "-o", "a.mp4"], "is the input a.mp4"),
        (["a.mp4", "-o", "folder/../a.mp4"], "is the input a.mp4"),
        (["a.mp4", "-o", "link.npz"], "is the input a.mp4"),
        (["a.mp4", "-o", "x.npz", "-o", "folder/../x.npz"], "expected different outputs"),
        (["a.mp4", "-o", "x.npz", "-o", "nowhere/x.npz"], "the folder nowhere does not exist"),
        (["a.mp4", "-o", "nowhere/out"], "the folder nowhere does not exist"),
    ],
)
def test_wrong_arguments_are_refused_before_any_work(
    words: list[str],
    message: str,
    detected: list[str],
    videos_here: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["track", *words]) == 1
    assert message in " ".join(capsys.readouterr().err.split())
    assert detected == []
    assert Path("a.mp4").read_bytes() == b"video"


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a file system that nobody can write to")
@pytest.mark.parametrize("target", ["/proc/face.npz", "/proc/out"])
def test_targets_that_cannot_be_written_are_refused_before_any_work(
    target: str, detected: list[str], videos_here: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["track", "a.mp4", "-o", target]) == 1
    assert f"cannot write {target}" in " ".join(capsys.readouterr().err.split())
    assert detected == []


def test_a_cache_that_cannot_be_written_is_one_warning(
    model: TrackerModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    cache.write_bytes(b"a file")
    monkeypatch.setenv("MP2FLAME_CACHE", str(cache))
    monkeypatch.setattr("mp2flame.landmark_model.cache.cache_key", lambda *_: "key")
    monkeypatch.setattr("mp2flame.landmark_model.cache.find_landmarks", lambda *_, **__: model.embedding)
    monkeypatch.setattr("mp2flame.landmark_model.cache.render_error_samples", lambda *_, **__: None)
    monkeypatch.setattr("mp2flame.landmark_model.cache.fit_error_model", lambda _: model.error_model)
    messages: list[str] = []
    fitted = fit_tracker_model(model.head, Path("none"), log=messages.append)
    np.testing.assert_array_equal(fitted.embedding.barycentric, model.embedding.barycentric)
    (message,) = messages
    assert "MP2FLAME_CACHE" in message
    assert str(cache) in message


def test_people_are_named_after_their_videos(tmp_path: Path) -> None:
    (tmp_path / "carl").mkdir()
    (tmp_path / "dora").mkdir()
    _videos(tmp_path, "anna.mp4", "carl/a.mp4", "carl/b.mov", "dora/1.png", "dora/2.png")
    jobs = jobs_of([tmp_path / "anna.mp4", tmp_path / "carl", tmp_path / "dora"])
    assert [(job.person, len(job.videos)) for job in jobs] == [("anna", 1), ("carl", 2), ("dora", 1)]
    (one,) = jobs_of([tmp_path / "anna.mp4", tmp_path / "carl" / "a.mp4"], same_person=True)
    assert one.person == "anna"
    assert len(one.videos) == 2


def test_the_short_way_gives_parameters_and_warnings(
    model: TrackerModel, video: VideoDetections, monkeypatch: pytest.MonkeyPatch
) -> None:
    moving = VideoDetections(video.observation[22:], video.shot[22:], ("the video is truncated",))
    monkeypatch.setattr("mp2flame.tracking.track.detect_file", lambda *_, **__: moving)
    monkeypatch.setattr("mp2flame.tracking.track.landmarker_path", lambda path: path)
    with pytest.warns(UserWarning, match="video") as warnings:
        params = mp2flame.track("me.mp4", model, focal=FOCAL)
    texts = [str(warning.message) for warning in warnings]
    assert "the video is truncated" in texts
    assert any("begin the video with a neutral second" in text for text in texts)
    assert params.found.all()
    (result,) = track_videos(["me.mp4"], model, TrackOptions(focal=FOCAL))
    np.testing.assert_array_equal(result.params.expression, params.expression)
    assert np.isfinite(result.residual).all()
    assert set(texts) == set(result.warnings)
