"""Hostile and unlucky input: image bombs, pipes and devices, odd names, gaps in time, foreign text in messages."""

from __future__ import annotations

import gc
import json
import os
import resource
import struct
import subprocess
import sys
import threading
import time
import unicodedata
import zlib
from collections.abc import Generator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mp2flame.data import Observation
from mp2flame.errors import FormatError, InputError, MissingFileError, Mp2FlameError
from mp2flame.sources import images, open_source
from mp2flame.sources.base import FrameReader, RisingTimes, TimedImage
from mp2flame.sources.detection import DetectedSource
from mp2flame.sources.images import ImagesReader, match_images, read_image, to_rgb
from mp2flame.sources.stderr_filter import mediapipe_stderr
from mp2flame.sources.video import VideoReader
from tests.helpers.streams import Reader, eventually
from tests.helpers.video import noise, quarters, write_film

_SCRIPT = "<iframe srcdoc='<script>parent.document.title=1</script>'></iframe>\x1b[2J\x1b]0;title\x07"


def _png(path: Path, width: int, height: int, *, rows: int | None = None) -> Path:
    """A black image of one bit a pixel; with `rows` only so many of them follow the header."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(9)
    row = bytes((width + 7) // 8 + 1)
    data = b"".join(packer.compress(row) for _ in range(height if rows is None else rows)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b""))
    return path


@pytest.mark.parametrize("size", [(27_000, 27_000), (26_000, 26_000), (11_000, 10_000), (2**31 - 1, 1)])
def test_an_image_bomb_is_refused_by_its_header(tmp_path: Path, size: tuple[int, int]) -> None:
    bomb = _png(tmp_path / "bomb.png", *size, rows=1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(FormatError, match=r"at most 100000000 pixels; .*bomb\.png has"):
        read_image(bomb)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000, "kilobytes"


def test_the_largest_image_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_PIXELS", 60 * 50)
    assert read_image(_png(tmp_path / "large.png", 60, 50)).shape == (50, 60, 3)
    with pytest.raises(FormatError, match="at most 3000 pixels"):
        read_image(_png(tmp_path / "larger.png", 60, 51))


def test_among_others_a_bomb_is_a_warning(tmp_path: Path) -> None:
    paths = [_png(tmp_path / "0.png", 8, 8), _png(tmp_path / "1.png", 40_000, 40_000, rows=1)]
    reader = ImagesReader(paths)
    assert [image is None for _, image in reader] == [False, True]
    assert "1.png" in reader.warnings[0]


def test_an_array_that_overflows_mediapipes_sizes_is_refused() -> None:
    huge = np.broadcast_to(np.zeros(3, np.uint8), (27_000, 27_000, 3))
    with pytest.raises(InputError, match="at most 100000000 pixels"):
        to_rgb(huge)


def test_a_video_with_absurdly_wide_pixels_is_refused(tmp_path: Path) -> None:
    film = write_film(tmp_path / "wide.mkv", [np.zeros((2048, 2048, 3), np.uint8)], aspect=Fraction(255, 1))
    with pytest.raises(FormatError, match="at most 100000000 pixels"):
        list(VideoReader(film))


_NAMES = ["face.png", "film.mp4", "take.csv", "take.json", "take.jsonl", "noext"]


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", _NAMES)
def test_a_pipe_is_refused_at_once(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(Mp2FlameError, match="pipe, device or socket"):
        open_source(tmp_path / name)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", _NAMES)
def test_a_device_is_refused_at_once(tmp_path: Path, name: str) -> None:
    (tmp_path / name).symlink_to("/dev/zero")
    with pytest.raises(Mp2FlameError, match="pipe, device or socket"):
        open_source(tmp_path / name)


@pytest.mark.timeout(20)
def test_a_pipe_as_landmarker_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "face_landmarker.task")
    film = write_film(tmp_path / "film.mp4", noise(2))
    with pytest.raises(Mp2FlameError):
        open_source(film, landmarker=tmp_path / "face_landmarker.task")


@pytest.mark.timeout(20)
def test_pipes_in_folders_and_patterns_are_left_out(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    image = _png(tmp_path / "b.png", 8, 8)
    assert images.list_images(tmp_path) == match_images(str(tmp_path / "*.png")) == [image]


@pytest.mark.parametrize(
    "name", [" face.png", "face .png", "\tface.png", "~face.png", "~nobody-here.png", "ä\u202e.png"]
)
def test_odd_names_are_names(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch, landmarker: Path) -> None:
    _png(tmp_path / name, 8, 8)
    monkeypatch.chdir(tmp_path)
    for spec in (name, str(tmp_path / name), Path(name)):
        with open_source(spec, landmarker=landmarker) as source:
            assert source.n_frames == 1


def test_a_home_folder_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, landmarker: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    _png(tmp_path / "face.png", 8, 8)
    with open_source("~/face.png", landmarker=landmarker) as source:
        assert source.n_frames == 1


@pytest.mark.parametrize("suffix", [".mp4", ".png", ".csv", ".jsonl", ""])
@pytest.mark.parametrize("stem", ["x" * 300, "~nobody-here", "~", "a\0b", "face.png/inside"])
def test_names_that_cannot_be_are_a_sentence(suffix: str, stem: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "nowhere"))
    _png(tmp_path / "face.png", 8, 8)
    with pytest.raises(Mp2FlameError) as caught:
        open_source(stem + suffix)
    assert "\0" not in str(caught.value)


def test_recursive_patterns_end_where_folders_go_in_circles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    image = _png(inner / "1.png", 8, 8)
    (tmp_path / ".hidden").mkdir()
    _png(tmp_path / ".hidden" / "2.png", 8, 8)
    assert match_images(str(tmp_path / "**" / "*.png")) == [image]
    assert match_images(str(tmp_path / "**")) == [image]
    assert match_images(str(tmp_path / "a" / "**" / "b" / "**" / "1.png")) == [image]
    (inner / "again").symlink_to(tmp_path)
    monkeypatch.setattr(images, "_MAX_FOLDERS", 50)
    with pytest.raises(InputError, match="leads through more than 50 folders"):
        match_images(str(tmp_path / "**" / "*.png"))


def test_a_gap_of_days_in_a_video_is_left_out_with_a_warning(tmp_path: Path) -> None:
    ticks = [0, 33, 66, 1_000_000_000, 1_000_000_033]
    film = write_film(tmp_path / "gap.mkv", [quarters(64, 96)] * 5, ticks=ticks, time_base=Fraction(1, 1000))
    reader = VideoReader(film)
    times = [moment for moment, _ in reader]
    assert len(times) == 5
    assert times[-1] < 1.0
    assert (np.diff(times) > 0).all()
    assert any("1 gaps of more than an hour" in sentence for sentence in reader.warnings)
    # The player's jumps keep to the corrected times.
    np.testing.assert_allclose([moment for moment, _ in reader.begin_at(times[3])], times[3:], atol=1e-6)


@pytest.mark.parametrize("suffix", [".csv", ".json"])
def test_a_gap_of_days_in_a_table_is_left_out_with_a_warning(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"gap{suffix}"
    moments = [0.0, 0.1, 1e6, 1e6 + 0.1]
    if suffix == ".csv":
        rows = "\n".join(f"{moment},0.5,0,0" for moment in moments)
        path.write_text(f"time,jawOpen,eyeBlinkLeft,eyeBlinkRight\n{rows}\n")
    else:
        frames = [{"weights": [0.5], "time": moment} for moment in moments]
        path.write_text(json.dumps({"names": ["jawOpen"], "frames": frames}))
    with open_source(path) as source:
        times = [float(frame.time[0]) for frame in source]
        assert times[-1] < 1.0
        assert "1 gaps of more than an hour" in source.warnings[0]


def test_a_pause_of_minutes_is_kept() -> None:
    times = RisingTimes(0.04)
    assert [times(moment) for moment in (0.0, 0.04, 600.0)] == [0.0, 0.04, 600.0]
    assert times.warnings() == ()


@pytest.mark.parametrize(
    ("suffix", "content"),
    [
        (".csv", f"{_SCRIPT},b,c\n1,2,3\n"),
        (".csv", f"jawOpen,eyeBlinkLeft,eyeBlinkRight\n0,{_SCRIPT * 50},0\n"),
        (".json", json.dumps({"names": [_SCRIPT * 50], "frames": [{"weights": [0.5]}]})),
        (
            ".json",
            json.dumps({"names": ["jawOpen"], "metadata": {"fps": _SCRIPT * 50}, "frames": [{"weights": [0.5]}]}),
        ),
        (".json", '{"names": ["jawOpen"], "frames": [{"weights": [' + "9" * 400 + '], "time": 0}]}'),
        (".json", json.dumps({"names": ["jawOpen"], "frames": [{"weights": [0], "time": 10**400}] * 2})),
        (".json", _SCRIPT),
        (".docx", _SCRIPT),
        (".png", _SCRIPT),
    ],
)
def test_foreign_text_is_cleaned_and_bounded_in_messages(tmp_path: Path, suffix: str, content: str) -> None:
    path = tmp_path / f"take\x1b[31m{suffix}"
    path.write_text(content)
    with pytest.raises(Mp2FlameError) as caught:
        read_image(path) if suffix == ".png" else open_source(path)
    message = str(caught.value)
    assert not any(unicodedata.category(letter) == "Cc" for letter in message)
    assert len(message) < 1500


def test_warnings_hold_no_control_characters_of_file_names(tmp_path: Path) -> None:
    paths = [_png(tmp_path / "0.png", 8, 8), tmp_path / "\x1b[2J.png"]
    paths[1].write_bytes(b"no image")
    reader = ImagesReader(paths)
    list(reader)
    assert "\x1b" not in reader.warnings[0]


class _Blank(FrameReader):
    """Endless images; counts how often it is open. With a `gate` it waits for it before the second image."""

    def __init__(self, gate: threading.Event | None = None) -> None:
        self.n_open = 0
        self.gate = gate

    def __iter__(self) -> Generator[TimedImage, None, None]:
        self.n_open += 1
        try:
            number = 0
            while True:
                if number and self.gate is not None:
                    self.gate.wait(30)
                yield number / 30, np.zeros((2, 2, 3), np.uint8)
                number += 1
        finally:
            self.n_open -= 1


class _FilteringDetector:
    """Detects nothing, inside the filter of stderr, as MediaPipe does."""

    def __init__(self) -> None:
        self.n_resets = 0

    def detect(self, image: NDArray[Any], time: float, *, keep_image: bool = False) -> Observation:
        with mediapipe_stderr.hold():
            gc.collect()
        return Observation.missing(time)

    def reset(self) -> None:
        with mediapipe_stderr.hold():
            self.n_resets += 1


@pytest.mark.timeout(60)
def test_a_dropped_iteration_is_freed_at_once() -> None:
    gc.disable()
    try:
        for _ in range(5):
            reader, detector = _Blank(), _FilteringDetector()
            next(iter(DetectedSource(reader, detector)))
            assert reader.n_open == 0
            assert detector.n_resets == 2
    finally:
        gc.enable()


@pytest.mark.timeout(60)
def test_an_iteration_collected_inside_another_ones_detection_does_not_block() -> None:
    reader = _Blank()
    cycle: list[Any] = [iter(DetectedSource(reader, _FilteringDetector()))]
    next(cycle[0])
    cycle.append(cycle)
    del cycle
    # This detection collects the cycle while it holds stderr.
    next(iter(DetectedSource(_Blank(), _FilteringDetector())))
    assert eventually(lambda: reader.n_open == 0)


@pytest.mark.timeout(30)
def test_closing_ends_an_iteration_whose_file_does_not_answer() -> None:
    gate = threading.Event()
    reader = Reader(DetectedSource(_Blank(gate), _FilteringDetector()))
    assert eventually(lambda: reader.frames)
    started = time.perf_counter()
    reader.source.close()
    assert reader.ended(8.0)
    assert time.perf_counter() - started < 8.0
    gate.set()


@pytest.mark.timeout(120)
def test_observations_taken_one_by_one_without_closing(landmarker: Path, shared_data: Path) -> None:
    film = shared_data / "video" / "performance_a.mp4"
    code = (
        "import sys, mp2flame\n"
        "for _ in range(8):\n"
        "    assert next(iter(mp2flame.open_source(sys.argv[1], landmarker=sys.argv[2]))).found[0]\n"
        "print('done')\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, str(film), str(landmarker)],
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    assert ran.stdout == "done\n"


def test_sources_of_other_packages_are_found_by_entry_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "other-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text(
        "[mp2flame.sources]\nosc = other_sources:Osc\n.xyz = other_sources:Xyz\n.mp4 = other_sources:Xyz\n"
    )
    (tmp_path / "other_sources.py").write_text(
        "from mp2flame.sources.tables import TableSource\n"
        "class Xyz(TableSource):\n"
        "    def __init__(self, path, *, fps=30.0): super().__init__([0.0], 1 / fps, ['jawOpen'], [[0.5]], fps=fps)\n"
        "class Osc(Xyz):\n"
        "    @classmethod\n"
        "    def from_url(cls, url): return cls(url)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "face.xyz").write_text("")
    with open_source(tmp_path / "face.xyz", fps=25) as source:
        assert source.fps == 25
    assert len(list(open_source("osc://anything"))) == 1
    with pytest.raises(InputError, match=r"option order does not apply to .*face\.xyz"):
        open_source(tmp_path / "face.xyz", order="arkit")
    with pytest.raises(MissingFileError):
        open_source(tmp_path / "missing.xyz")
    (tmp_path / "film.mp4").write_text("")
    with pytest.raises(FormatError, match="not a video"):
        open_source(tmp_path / "film.mp4")
