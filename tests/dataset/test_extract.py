"""Scores out of images: the same as MediaPipe gives alone, over processes, and continued after a kill."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import time
import zlib
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pyarrow", reason="data sets need the extra train")
pytest.importorskip("mediapipe", reason="pictures need the extra track")

from mp2flame.dataset.build import build
from mp2flame.dataset.extract import Extraction
from mp2flame.dataset.readers.detect_format import read_input
from mp2flame.dataset.store import Dataset
from mp2flame.errors import InputError, SinkError
from mp2flame.sources.detector import FaceDetector
from mp2flame.sources.images import read_image
from mp2flame.sources.video import VideoReader
from tests.helpers.tracker_files import blank_pictures, tool_truth
from tests.helpers.video import quarters, write_film

_N = 70


@pytest.fixture(scope="module")
def tracked(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An IMAvatar folder: frames of a video as images, one of them without a face, one of them no image at all."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("tracked") / "quinn"
    (folder / "image").mkdir(parents=True)
    truth = np.load(shared_data / "video" / "performance_a.npz")
    frames = []
    for i, (_, picture) in enumerate(VideoReader(shared_data / "video" / "performance_a.mp4")):
        if i == _N:
            break
        assert picture is not None
        Image.fromarray(np.zeros_like(picture) if i == 5 else picture).save(
            folder / "image" / f"{i + 1}.jpg", quality=95
        )
        pose = np.concatenate([np.zeros(6), truth["jaw_pose"][i], truth["eye_pose"][i]])
        expression = truth["expression"][i][:50]
        frames.append({"file_path": f"./image/{i + 1}", "expression": expression.tolist(), "pose": pose.tolist()})
    (folder / "image" / "9.jpg").write_bytes(b"no picture")
    (folder / "flame_params.json").write_text(json.dumps({"frames": frames, "shape_params": [0.0] * 100}))
    return folder


def _columns(data: Dataset) -> dict[str, np.ndarray]:
    rows = list(data.batches(["scores", "landmarks", "expression"]))
    return {name: np.concatenate([part.columns[name] for part in rows]) for name in rows[0].columns}


def test_two_processes_detect_what_one_detector_does(tracked: Path, landmarker: Path, tmp_path: Path) -> None:
    progress: list[tuple[int, int]] = []
    data, report = build(
        [tracked],
        tmp_path / "data",
        landmarker=landmarker,
        processes=2,
        progress=lambda done, total: progress.append((done, total)),
    )
    assert report.left_out == {"no face found in the image": 1, "image cannot be read": 1}
    assert progress[-1] == (_N, _N)
    (rows,) = data.batches(["scores", "landmarks", "head_transform"])
    assert rows.image_size == (512, 512)
    assert (~rows.found).sum() == 2
    detector = FaceDetector(landmarker, mode="image")
    for row in (0, 33, 69):
        seen = detector.detect(read_image(tracked / "image" / f"{row + 1}.jpg"), 0.0)
        np.testing.assert_allclose(rows.columns["scores"][row], seen.scores[0], atol=1e-5)
        assert seen.landmarks is not None
        np.testing.assert_allclose(rows.columns["landmarks"][row], seen.landmarks.reshape(-1), atol=1e-5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


def test_a_killed_build_continues_where_it_was(tracked: Path, landmarker: Path, tmp_path: Path) -> None:
    whole, _ = build([tracked], tmp_path / "whole", landmarker=landmarker, processes=1)
    command = [
        *(sys.executable, "-c", "from mp2flame.cli.main import main; raise SystemExit(main())"),
        *("dataset", "build", str(tracked), "-o", str(tmp_path / "data")),
        *("--landmarker", str(landmarker), "--processes", "1"),
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    seen = tmp_path / ".data.detected"
    deadline = time.monotonic() + 120
    while not list(seen.glob("[0-9a-f]*.npz")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "data").exists()
    kept = list(seen.glob("[0-9a-f]*.npz"))
    assert kept
    stamps = {path: path.stat().st_mtime_ns for path in kept}
    progress: list[int] = []
    data, _ = build(
        [tracked], tmp_path / "data", landmarker=landmarker, processes=1, progress=lambda done, _: progress.append(done)
    )
    # What was detected before is counted at once and not detected again.
    assert progress[0] == 64
    assert all(not path.exists() or path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())
    for name, column in _columns(whole).items():
        np.testing.assert_array_equal(_columns(data)[name], column)
    assert not seen.exists()


def test_a_video_gives_the_frames_of_its_track(shared_data: Path, landmarker: Path, tmp_path: Path) -> None:
    film = shared_data / "video" / "performance_a.mp4"
    truth = np.load(shared_data / "video" / "performance_a.npz")
    n = len(truth["expression"])
    np.savez(
        tmp_path / "tracked_flame_params_30.npz",
        expr=truth["expression"],
        jaw_pose=truth["jaw_pose"],
        eyes_pose=truth["eye_pose"],
        neck_pose=np.zeros((n, 3), np.float32),
        rotation=truth["global_orient"],
        translation=np.zeros((n, 3), np.float32),
        shape=np.zeros(300, np.float32),
    )
    spec = f"{tmp_path / 'tracked_flame_params_30.npz'}={film}"
    data, report = build([spec], tmp_path / "data", landmarker=landmarker, processes=1)
    assert report.frames == n
    assert report.left_out == {}
    (rows,) = data.batches(["scores", "jaw"])
    assert rows.video
    np.testing.assert_allclose(rows.time, [time for time, _ in VideoReader(film)], atol=1e-9)
    jaw_open = rows.columns["scores"][:, 25]
    assert np.corrcoef(jaw_open, rows.columns["jaw"][:, 0])[0, 1] > 0.7


def test_a_video_gives_its_own_times(landmarker: Path, tmp_path: Path) -> None:
    ticks = [0, 1, 2, 5, 6]
    film = write_film(tmp_path / "gap.mp4", [quarters(64, 64)] * 5, ticks=ticks, time_base=Fraction(1, 10))
    np.savez(tmp_path / "track.npz", **tool_truth(n=5))
    data, report = build([f"{tmp_path / 'track.npz'}={film}"], tmp_path / "data", landmarker=landmarker, processes=1)
    assert report.frames == 5
    (rows,) = data.batches(["jaw"])
    np.testing.assert_allclose(rows.time, np.array(ticks) / 10, atol=1e-6)


def test_nothing_is_left_where_no_frame_can_be_used(landmarker: Path, tmp_path: Path) -> None:
    blank_pictures(tmp_path / "images", ["0.png", "1.png"])
    truth = tool_truth(n=2)
    np.savez(tmp_path / "track.npz", **truth)
    sequence = next(iter(read_input(f"{tmp_path / 'track.npz'}={tmp_path / 'images'}")))
    lost = replace(sequence, params=replace(sequence.params, found=np.zeros(2, dtype=np.bool_)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mp2flame.dataset.build.read_input", lambda *_, **__: iter([lost]))
        with pytest.raises(InputError, match="no frame can be used"):
            build(["any"], tmp_path / "data", landmarker=landmarker, processes=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "track.npz"]


def _png(path: Path, size: int) -> None:
    """A black square image of one bit a pixel, which unpacks to as many bytes as nobody's photograph has."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(1)
    pixels = b"".join(packer.compress(bytes(1 + size // 8)) for _ in range(size)) + packer.flush()
    header = struct.pack(">IIBBBBB", size, size, 1, 0, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)


def test_an_image_too_large_for_memory_is_one_that_cannot_be_read(landmarker: Path, tmp_path: Path) -> None:
    blank_pictures(tmp_path / "images", ["0.png", "2.png"])
    _png(tmp_path / "images" / "1.png", 27_000)
    np.savez(tmp_path / "track.npz", **tool_truth(n=3))
    spec = f"{tmp_path / 'track.npz'}={tmp_path / 'images'}"
    data, report = build([spec], tmp_path / "data", landmarker=landmarker, processes=1)
    assert report.left_out == {"image cannot be read": 1, "no face found in the image": 2}
    assert report.frames == sum(len(rows) for rows in data.batches(["scores"])) == 3


def test_another_landmarker_detects_anew(tmp_path: Path) -> None:
    blank_pictures(tmp_path / "images", ["0.png"])
    np.savez(tmp_path / "track.npz", **tool_truth(n=1))
    (sequence,) = read_input(f"{tmp_path / 'track.npz'}={tmp_path / 'images'}")
    keys = []
    for content in (b"one", b"other", b"one"):
        (tmp_path / "bundle.task").write_bytes(content)
        keys += [task.key for task in Extraction(tmp_path, tmp_path / "bundle.task").tasks(sequence)]
    assert keys[0] == keys[2] != keys[1]


def test_two_builds_of_one_output_do_not_disturb_each_other(landmarker: Path, tmp_path: Path) -> None:
    blank_pictures(tmp_path / "images", ["0.png"])
    np.savez(tmp_path / "track.npz", **tool_truth(n=1))
    spec = f"{tmp_path / 'track.npz'}={tmp_path / 'images'}"
    extraction = Extraction(tmp_path / ".data.detected", landmarker)
    with extraction.locked(tmp_path / "data"), pytest.raises(SinkError, match="another process builds"):
        build([spec], tmp_path / "data", landmarker=landmarker)
    build([spec], tmp_path / "data", landmarker=landmarker)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds the worker processes in /proc")
def test_a_killed_worker_ends_the_command_with_a_sentence_and_keeps_the_rest(
    tracked: Path, landmarker: Path, tmp_path: Path
) -> None:
    command = [
        *(sys.executable, "-c", "from mp2flame.cli.main import main; raise SystemExit(main())"),
        *("dataset", "build", str(tracked), "-o", str(tmp_path / "data")),
        *("--landmarker", str(landmarker), "--processes", "2"),
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    workers: list[int] = []
    while not workers and process.poll() is None and time.monotonic() < deadline:
        workers = _workers(process.pid)
        time.sleep(0.02)
    os.kill(workers[0], signal.SIGKILL)
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 1
    assert "was killed, perhaps because memory ran out; what is finished is kept in" in " ".join(errors.split())
    assert "Traceback" not in errors
    # One of the two parts of the images is finished, and the other alone is done when the command is repeated.
    progress: list[int] = []
    build(
        [tracked],
        tmp_path / "data",
        landmarker=landmarker,
        processes=1,
        progress=lambda done, _: progress.append(done),
    )
    assert progress[0] in (64, _N - 64)


def _workers(parent: int) -> list[int]:
    """The processes that a process started by multiprocessing to work."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                words = (entry / "cmdline").read_bytes()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(fields[1]) == parent and b"spawn_main" in words:
                found.append(int(entry.name))
    return found
