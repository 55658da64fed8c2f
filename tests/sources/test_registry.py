"""What a user may write as SOURCE, and what is said to everything else."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import cv2
import numpy as np
import pytest

from mp2flame.errors import FormatError, InputError, MissingFileError, Mp2FlameError, SourceError
from mp2flame.formats.recording import RecordingSink
from mp2flame.sources import Source, open_source
from mp2flame.sources.detection import DetectedSource
from mp2flame.sources.registry import FILES, STREAMS
from tests.helpers.fakes import observation
from tests.helpers.video import noise, quarters, write_film


@pytest.fixture
def film(tmp_path: Path) -> Path:
    return write_film(tmp_path / "film.mp4", noise(5))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(3):
        cv2.imwrite(str(pictures / f"{number}.png"), quarters(32, 32))
    return pictures


def test_kinds_of_pixels(film: Path, folder: Path, landmarker: Path) -> None:
    expected = {film: 5, folder: 3, folder / "0.png": 1, folder / "[01].png": 2}
    for spec, count in expected.items():
        for form in (spec, str(spec)):
            with open_source(form, landmarker=landmarker) as source:
                assert isinstance(source, DetectedSource)
                assert not source.live
                assert source.n_frames == count
    with open_source("0", landmarker=landmarker) as camera:
        assert isinstance(camera, DetectedSource)
        assert camera.live
        assert camera.live
        assert camera.n_frames is None


def test_a_video_under_any_name(film: Path, landmarker: Path) -> None:
    other = film.rename(film.with_suffix(".divx"))
    with open_source(other, landmarker=landmarker) as source:
        assert source.n_frames == 5


def test_digits_as_a_path_are_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MissingFileError, match="no file or folder 0"):
        open_source(Path("0"))


@pytest.mark.parametrize("spec", ["", "  ", "http://example.org/film.mp4", "rtsp://camera/1"])
def test_no_source(spec: str) -> None:
    with pytest.raises(InputError, match=r"possible are a webcam's index \(0\), a video .* livelink://, ifacialmocap"):
        open_source(spec)


@pytest.mark.parametrize("name", ["film.mp4", "face.jpg", "recording.jsonl", "take.csv", "take.json", "nothing"])
def test_missing(tmp_path: Path, name: str) -> None:
    with pytest.raises(MissingFileError, match=name):
        open_source(tmp_path / name)


def test_foreign(tmp_path: Path) -> None:
    foreign = tmp_path / "thesis.docx"
    foreign.write_bytes(b"PK not a film")
    with pytest.raises(InputError, match=r"thesis\.docx is not a source \(.*\); possible are"):
        open_source(foreign)
    foreign = foreign.rename(tmp_path / "thesis.mp4")
    with pytest.raises(FormatError, match=r"thesis\.mp4 is not a video"):
        open_source(foreign)


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="no images in the folder"):
        open_source(tmp_path)


def test_options_that_do_not_belong(film: Path, folder: Path, tmp_path: Path) -> None:
    recording = record(tmp_path / "short.jsonl", 1)
    cases: list[tuple[str | Path, dict[str, Any], str]] = [
        (film, {"fps": 30}, "fps does not apply to a video, which has its own times"),
        ("0", {"fps": 30}, "fps does not apply to a webcam"),
        (film, {"order": "arkit"}, "order does not apply to images"),
        (folder, {"color": "blue"}, "color does not apply to images"),
        (recording, {"mirror": True}, r"option mirror does not apply to .*short\.jsonl"),
        (recording, {"fps": 30.0}, r"option fps does not apply to .*short\.jsonl"),
    ]
    for spec, options, message in cases:
        with pytest.raises(InputError, match=message):
            open_source(spec, **options)


@pytest.mark.parametrize("target", sorted({*FILES.values(), *STREAMS.values()}))
def test_every_row_of_the_tables_is_a_source(target: str) -> None:
    pytest.importorskip(target.partition(":")[0])
    kind = resolve_name(target)
    assert issubclass(kind, Source)
    assert target in FILES.values() or callable(kind.from_url)


def test_a_landmarker_that_is_not_there(film: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"none\.task"):
        open_source(film, landmarker=tmp_path / "none.task")


@pytest.mark.parametrize(
    ("package", "spec", "purpose"),
    [
        ("av", "film.mp4", "read video files"),
        ("cv2", "pictures", "read images"),
        ("mediapipe", "pictures", "detect faces"),
    ],
)
def test_a_missing_extra_is_named(
    film: Path, folder: Path, landmarker: Path, *, package: str, spec: str, purpose: str
) -> None:
    # In a process of its own: what is imported once cannot be missing any more.
    code = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "from mp2flame.sources import open_source\n"
        "from mp2flame.errors import MissingExtraError\n"
        f"try: open_source({str(film.parent / spec)!r}, landmarker={str(landmarker)!r})\n"
        "except MissingExtraError as error: print(error)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert f"{purpose}" in ran.stdout
    assert 'pip install "mp2flame[track]"' in ran.stdout
    assert ran.stdout.startswith(f"{package} is needed")


@pytest.mark.parametrize(("package", "spec"), [("av", "film.mp4"), ("cv2", "pictures"), ("mediapipe", "film.mp4")])
def test_a_missing_system_library_is_named(film: Path, folder: Path, landmarker: Path, package: str, spec: str) -> None:
    code = (
        "import sys\n"
        "class Broken:\n"
        "    def find_spec(self, name, *rest):\n"
        f"        if name == {package!r}: raise ImportError('libGL.so.1: cannot open shared object file')\n"
        "sys.meta_path.insert(0, Broken())\n"
        "from mp2flame.sources import open_source\n"
        "from mp2flame.errors import SourceError\n"
        f"try: open_source({str(film.parent / spec)!r}, landmarker={str(landmarker)!r})\n"
        "except SourceError as error: print(error)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.startswith(f"{package} is installed but cannot be loaded (libGL.so.1: cannot open shared")
    assert "mp2flame doctor" in ran.stdout


def record(path: Path, frames: int) -> Path:
    """A recording of so many frames; every third shows no face."""
    with closing(RecordingSink(path)) as writer:
        for index in range(frames):
            writer.append(observation(index, found=index % 3 != 2))
    return path


def test_a_recording_plays_back(tmp_path: Path) -> None:
    recording = record(tmp_path / "take.jsonl", 7)
    with open_source(recording) as source:
        for _ in range(2):
            frames = list(source)
            assert [frame.time[0] for frame in frames] == [index / 30 for index in range(7)]
            assert [bool(frame.found[0]) for frame in frames] == [index % 3 != 2 for index in range(7)]
            np.testing.assert_array_equal(frames[3].scores, observation(3).scores)
    with pytest.raises(SourceError, match="closed"):
        iter(source)


def test_a_recording_that_was_cut_off(tmp_path: Path) -> None:
    recording = record(tmp_path / "take.jsonl", 5)
    recording.write_bytes(recording.read_bytes()[:-20])
    with open_source(recording) as source:
        assert len(list(source)) == 4
        assert "cut off" in source.warnings[0]
    lines = recording.read_bytes().splitlines(keepends=True)
    recording.write_bytes(b"".join([*lines[:2], b"rubbish\n", *lines[2:]]))
    with open_source(recording) as source, pytest.raises(Mp2FlameError, match="line 3"):
        list(source)
