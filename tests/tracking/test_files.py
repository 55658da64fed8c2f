"""What tracking writes: every format, the folder that data sets are built from, and what is left after a kill."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
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
from mp2flame.tracking import batch
from mp2flame.tracking import track as tracking
from mp2flame.tracking.batch import Setting, jobs_of, run_jobs
from mp2flame.tracking.model import Study
from mp2flame.tracking.people import Tracked, track_person
from mp2flame.tracking.results import check_targets, save_files, save_person
from mp2flame.tracking.video import Footage
from tests.helpers.tracked_people import FOCAL, SIZE, footage, made_up_study, performance


@pytest.fixture(scope="module")
def study() -> Study:
    return made_up_study()


@pytest.fixture(scope="module")
def seen(study: Study) -> Footage:
    params = performance(study.head)
    found = np.ones(len(params), dtype=np.bool_)
    found[20:22] = False
    return footage(study, replace(params, found=found))


@pytest.fixture(scope="module")
def tracked(study: Study, seen: Footage) -> Tracked:
    return track_person(study, [seen], focal=FOCAL)[0]


def _pictures(tracked: Tracked) -> Iterator[NDArray[np.uint8] | None]:
    for _ in range(len(tracked.params)):
        yield np.full((SIZE[1], SIZE[0], 3), 90, dtype=np.uint8)


def test_parameter_files_hold_what_was_tracked(study: Study, tracked: Tracked, tmp_path: Path) -> None:
    targets = [tmp_path / name for name in ("a.npz", "a.csv", "a.jsonl", "a.residuals.csv")]
    save_files(tracked, study.head, targets, lambda: _pictures(tracked))
    found = tracked.params.found
    for target in targets[:3]:
        loaded = mp2flame.load_params(target)
        np.testing.assert_array_equal(loaded.found, found)
        np.testing.assert_allclose(loaded.jaw_pose[found], tracked.params.jaw_pose[found], atol=1e-6)
        np.testing.assert_allclose(loaded.translation[found], tracked.params.translation[found], atol=1e-6)
    rows = list(csv.DictReader(targets[3].read_text().splitlines()))
    assert len(rows) == len(found)
    assert [row["found"] == "1" for row in rows] == found.tolist()
    assert float(rows[3]["misfit"]) == pytest.approx(float(tracked.misfit[3]), rel=1e-3)
    assert rows[20]["misfit"] == ""


def test_films_show_the_mesh(study: Study, tracked: Tracked, tmp_path: Path) -> None:
    pytest.importorskip("pyvista")
    av = pytest.importorskip("av")
    few = _first(tracked, 3)
    save_files(few, study.head, [tmp_path / "a.overlay.mp4", tmp_path / "a.mp4"], lambda: _pictures(few))
    with av.open(str(tmp_path / "a.overlay.mp4")) as film:
        pictures = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    assert len(pictures) == 3
    assert pictures[0].shape == (SIZE[1], SIZE[0], 3)
    # Where the landmarks were seen, the grey picture is tinted.
    assert tracked.seen.landmarks is not None
    columns, rows = (tracked.seen.landmarks[0, :468, :2] * SIZE).astype(int).T
    inside = np.abs(pictures[0][rows, columns].astype(int) - 90).max(axis=1) > 12
    assert inside.mean() > 0.95
    assert np.abs(pictures[0][:20, :20].astype(int) - 90).max() < 8
    assert (tmp_path / "a.mp4").is_file()


def _first(tracked: Tracked, n: int) -> Tracked:
    parts = {name: getattr(tracked, name)[:n] for name in ("params", "seen", "rest", "misfit", "pixels", "believed")}
    return replace(tracked, **parts)


def test_outputs_that_cannot_be_written_are_refused_before_any_work(tmp_path: Path) -> None:
    check_targets([tmp_path / "a.npz", tmp_path / "a.overlay.mp4"])
    with pytest.raises(InputError, match=r"expected an output \.npz"):
        check_targets([tmp_path / "a.obj"])
    with pytest.raises(MissingFileError, match="does not exist"):
        check_targets([tmp_path / "nowhere" / "a.npz"])
    with pytest.raises(InputError, match="more than once"):
        check_targets([tmp_path / "a.npz", tmp_path / "a.npz"])


def test_a_persons_folder_is_read_as_a_data_set(study: Study, tracked: Tracked, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    worse = replace(tracked, misfit=np.where(np.arange(len(tracked.misfit)) == 25, 9.0, tracked.misfit))
    for person in ("anna", "bert"):
        results = {"first": worse, "second": worse}
        save_person(
            out / person, results, study.head, suffixes=[".npz"], pictures=lambda _: _pictures(tracked), made_from={}
        )
    sequences = list(read_input(out))
    assert [(s.subject, s.name) for s in sequences] == [(p, v) for p in ("anna", "bert") for v in ("first", "second")]
    told = sequences[0]
    assert told.neutral is not None
    assert told.neutral.sum() == tracked.rest.sum()
    # Two frames have no face and are not in the recording; the one that fits badly is there, but not to learn from.
    assert len(told.params) == len(tracked.params) - 2
    assert told.params.time[~told.params.found].tolist() == [tracked.params.time[25]]
    # Times are joined by the nearest frame, not as equal floating-point numbers.
    document = json.loads((out / "anna" / PERSON_FILE).read_text())
    for video in document["videos"].values():
        video["rest_times"] = [round(time, 3) for time in video["rest_times"]]
        video["bad_times"] = [round(time, 3) for time in video["bad_times"]]
    (out / "anna" / PERSON_FILE).write_text(json.dumps(document))
    rounded = next(iter(read_input(out)))
    np.testing.assert_array_equal(rounded.neutral, told.neutral)
    np.testing.assert_array_equal(rounded.params.found, told.params.found)
    pytest.importorskip("pyarrow")
    data, report = build([out], tmp_path / "data", head=study.head)
    assert data.subjects == ("anna", "bert")
    assert report.neutral == 4 * tracked.rest.sum()
    assert report.frames == 4 * (len(tracked.params) - 3)
    assert data.has_column("landmarks")


@pytest.fixture
def watched(study: Study, seen: Footage, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Videos of any name show the made-up person, and the head is learned already; gives who was looked at."""
    looked: list[str] = []

    def look(path: Path, landmarker: Path, **_: Any) -> Footage:
        looked.append(path.name)
        if path.name.startswith("nobody"):
            raise InputError(f"{path}: expected a face; MediaPipe finds none")
        return seen

    monkeypatch.setattr(tracking, "look_at", look)
    monkeypatch.setattr(batch, "study_head", lambda *_, **__: study)
    monkeypatch.setattr("mp2flame.tracking.model.study_head", lambda *_, **__: study)
    monkeypatch.setattr(tracking, "study_head", lambda *_, **__: study)
    monkeypatch.setattr(tracking, "landmarker_path", lambda path: path)
    monkeypatch.setattr("mp2flame.downloads.landmarker_path", lambda path: Path("none"))
    batch._studied.clear()
    return looked


def _videos(folder: Path, *names: str) -> list[Path]:
    for name in names:
        (folder / name).write_bytes(b"film")
    return [folder / name for name in names]


_SETTING = Setting("builtin", None, Path("none"), "global_orient", FOCAL, None, None, False, ())


def test_who_is_finished_is_not_tracked_again(watched: list[str], tmp_path: Path) -> None:
    videos = _videos(tmp_path, "anna.mp4", "bert.mp4")
    out = tmp_path / "out"
    out.mkdir()
    # A kill left the beginnings of bert.
    (out / ".bert.123-abc.part").mkdir()
    first = dict(run_jobs(jobs_of(videos[:1]), out, _SETTING))
    assert [outcome.error for outcome in first.values()] == [""]
    again = [outcome for _, outcome in run_jobs(jobs_of(videos), out, _SETTING)]
    assert watched == ["anna.mp4", "bert.mp4"]
    assert again[0].summary == "finished before, left as it is"
    assert json.loads((out / "bert" / PERSON_FILE).read_text())["videos"]["bert"]["focal"] == FOCAL
    other = [outcome for _, outcome in run_jobs(jobs_of(videos[:1]), out, replace(_SETTING, head_pose="neck_pose"))]
    assert "from other videos or settings" in other[0].error


def test_a_run_that_breaks_off_leaves_no_half_person(
    watched: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mp2flame.tracking.results.write_atomic", killed)
    with pytest.raises(KeyboardInterrupt):
        list(run_jobs(jobs_of(_videos(tmp_path, "anna.mp4")), tmp_path, _SETTING))
    assert not (tmp_path / "anna").exists()


def test_one_person_who_cannot_be_tracked_does_not_keep_others_from_it(
    watched: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    videos = [str(path) for path in _videos(tmp_path, "nobody.mp4", "anna.mp4")]
    out = tmp_path / "out"
    assert main(["track", *videos, "-o", str(out), "--kinds", "npz", "csv", "--processes", "1"]) == 1
    printed = capsys.readouterr()
    assert "MediaPipe finds none" in printed.err
    assert "1 of 2 people" in printed.out
    assert {path.name for path in (out / "anna").iterdir()} >= {"anna.npz", "anna.csv", "anna.jsonl", PERSON_FILE}


def test_the_command_writes_single_files(
    watched: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
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
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a.mp4", "b.mp4", "-o", "x.npz"], "expected a folder to write to for more than one video"),
        (["missing.mp4", "-o", "x.npz"], "no video missing.mp4"),
        (["a.mp4", "-o", "x.obj"], "expected an output"),
        (["a.mp4", "folder/a.mp4", "-o", "out"], "comes more than once"),
        (["a.mp4", "b.mp4", "-o", "out", "--ipd", "63"], "--ipd is one person's, and these are 2"),
        (["a.mp4", "-o", "x.npz", "--ipd", "0.063"], "expected 40 to 85 mm between a person's pupils; got 0.063 mm"),
    ],
)
def test_bad_words_are_explained(
    words: list[str],
    message: str,
    watched: list[str],
    videos_here: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["track", *words]) == 1
    assert message in " ".join(capsys.readouterr().err.split())
    assert watched == []


def test_people_are_told_apart_by_their_videos(tmp_path: Path) -> None:
    (tmp_path / "carl").mkdir()
    (tmp_path / "dora").mkdir()
    _videos(tmp_path, "anna.mp4", "carl/a.mp4", "carl/b.mov", "dora/1.png", "dora/2.png")
    jobs = jobs_of([tmp_path / "anna.mp4", tmp_path / "carl", tmp_path / "dora"])
    assert [(job.person, len(job.videos)) for job in jobs] == [("anna", 1), ("carl", 2), ("dora", 1)]
    (one,) = jobs_of([tmp_path / "anna.mp4", tmp_path / "carl" / "a.mp4"], same_person=True)
    assert one.person == "anna"
    assert len(one.videos) == 2
