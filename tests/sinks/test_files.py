"""File sinks when things go wrong: a kill in the middle, a full disk, no frame at all, an unknown name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mp2flame.data import Frame
from mp2flame.errors import InputError
from mp2flame.formats import load_params
from mp2flame.formats.recording import RecordingSource, read_recording
from mp2flame.sinks import Sink, open_sink
from tests.helpers.heads import HeadStub
from tests.helpers.params import FIELDS, frame

_HEAD = HeadStub(
    faces=np.array([[0, 1, 2]], dtype=np.uint32),
    neutral_vertices=np.array([[-0.1, -0.1, 0], [0.1, -0.1, 0], [0, 0.1, 0]], dtype=np.float32),
    version="three corners",
    hash="0123",
)

# Writes frames for ever, and says after each that it is done. A limit on the size of files stands for a full disk:
# the system refuses the write in the same way, and no other process suffers.
_WRITE_ON = """
import sys
from dataclasses import replace
from pathlib import Path
import numpy as np
from mp2flame.data import Frame
from mp2flame.sinks import open_sink
from tests.helpers.video import noise
from tests.helpers.params import frame
from tests.sinks.test_files import _HEAD

target, limit = Path(sys.argv[1]), int(sys.argv[2])
with open_sink(target, head=_HEAD) as sink:
    if limit:
        import resource
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    # An archive is written when it is closed.
    for index in range(300 if target.suffix == ".npz" and limit else 100_000):
        observation, params = frame(index)
        if sink.needs_image:
            observation = replace(observation, picture=noise(1, 160)[0] ^ np.uint8(index * 37 % 256))
        vertices = np.random.default_rng(index).normal(0, 0.05, (3, 3)).astype(np.float32)
        sink.write(Frame(observation, params, vertices))
        print(index + 1, flush=True)
"""

_KINDS = ["out.npz", "out.csv", "out.jsonl", "flame_param", "out.mp4", "out.gif"]


def _command(target: Path, limit: int) -> list[str]:
    return [sys.executable, "-c", _WRITE_ON, str(target), str(limit)]


def _skip_without_videos(name: str) -> None:
    if name.endswith((".mp4", ".gif")):
        pytest.importorskip("pyvista", reason="needs the extra render")
        pytest.importorskip("av", reason="needs the extra track")


@pytest.mark.skipif(sys.platform == "win32", reason="no kill that cannot be caught")
@pytest.mark.parametrize("name", _KINDS)
def test_a_kill_in_the_middle(name: str, tmp_path: Path) -> None:
    _skip_without_videos(name)
    target = tmp_path / name
    with subprocess.Popen(_command(target, 0), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        done = 0
        while done < 20:
            done = int(process.stdout.readline())
        process.kill()
        more = process.stdout.read().split()
    done = int(more[-1]) if more else done
    if target.suffix != ".jsonl":
        assert not target.exists()
        return
    recording = read_recording(target)
    frames = list(recording)
    assert len(frames) >= done
    observation, params = frames[done - 1]
    want_observation, want_params = frame(done - 1)
    np.testing.assert_array_equal(observation.landmarks, want_observation.landmarks)
    assert params is not None
    for field in FIELDS:
        np.testing.assert_array_equal(getattr(params, field), getattr(want_params, field))


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on the size of files")
@pytest.mark.parametrize("name", [kind for kind in _KINDS if kind != "flame_param"])
def test_a_full_disk(name: str, tmp_path: Path) -> None:
    _skip_without_videos(name)
    target = tmp_path / name
    ran = subprocess.run(_command(target, 30_000), capture_output=True, text=True, check=False, timeout=120)
    done = len(ran.stdout.split())
    message = ran.stderr.strip().splitlines()[-1]
    assert message.startswith(f"mp2flame.errors.SinkError: cannot write {target}: ")
    if target.suffix == ".jsonl":
        assert message.endswith(f"its first {done} frames are kept")
        assert len(list(read_recording(target))) == done > 0
    else:
        assert message.endswith(f"its {done} frames are lost and nothing was left under that name")
        assert list(tmp_path.iterdir()) == []


def _fill(sink: Sink, n: int = 4) -> None:
    for index in range(n):
        sink.write(Frame(*frame(index), _HEAD.neutral_vertices))


def test_a_recording_names_the_head(tmp_path: Path) -> None:
    with open_sink(tmp_path / "take.jsonl", head=_HEAD) as sink:
        _fill(sink, 1)
    header = RecordingSource(tmp_path / "take.jsonl").header
    assert (header.head_version, header.head_hash) == ("three corners", "0123")


def test_options_reach_the_sink(tmp_path: Path) -> None:
    with open_sink(tmp_path / "take.jsonl", head=_HEAD, landmarks=False) as sink:
        _fill(sink)
    assert all(observation.landmarks is None for observation, _ in read_recording(tmp_path / "take.jsonl"))


def test_offsets_are_for_flame_heads_only(tmp_path: Path) -> None:
    flame = HeadStub(faces=_HEAD.faces, neutral_vertices=np.zeros((5023, 3), dtype=np.float32))
    for name, head, expected in (("flame.npz", flame, True), ("other.npz", _HEAD, False)):
        with open_sink(tmp_path / name, head=head) as sink:
            _fill(sink)
        with np.load(tmp_path / name) as arrays:
            assert ("dynamic_offset" in arrays) is expected


def test_a_folder_of_frames(tmp_path: Path) -> None:
    with open_sink(tmp_path / "flame_param", head=_HEAD) as sink:
        _fill(sink)
        assert not (tmp_path / "flame_param").exists()
    assert len(load_params(tmp_path / "flame_param")) == 4
    assert [path.name for path in tmp_path.iterdir()] == ["flame_param"]


def test_csv_has_the_scores(tmp_path: Path) -> None:
    with open_sink(tmp_path / "out.csv", head=_HEAD) as sink:
        _fill(sink, 1)
    header, row = (line.split(",") for line in (tmp_path / "out.csv").read_text().splitlines())
    got = np.float32(row[header.index("jawOpen")])
    assert got == frame(0)[0].scores[0, 25]


@pytest.mark.parametrize("target", ["out.txt", "out", "folder/"])
def test_an_unknown_output_lists_what_is_known(target: str) -> None:
    with pytest.raises(
        InputError, match=r"expected an output \.npz, \.csv, .*\.gif, or an address vmc://.*; got (out|f)"
    ):
        open_sink(target, head=_HEAD)


def test_an_unknown_address_lists_what_is_known() -> None:
    with pytest.raises(InputError, match="expected an address vmc://, livelink://, ws:// or udp://; got http://x"):
        open_sink("http://x", head=_HEAD)


@pytest.mark.parametrize(
    ("package", "line"),
    [
        ("av", 'av is needed to write videos. Install it with: pip install "mp2flame[track]"'),
        ("pyvista", 'pyvista is needed to draw heads. Install it with: pip install "mp2flame[render]"'),
        ("PIL", 'pillow is needed to write videos. Install it with: pip install "mp2flame[render]"'),
    ],
)
def test_a_missing_extra_prints_the_line(package: str, line: str, tmp_path: Path) -> None:
    code = f"""
import sys
sys.modules[{package!r}] = None
from mp2flame.errors import MissingExtraError
from mp2flame.sinks import open_sink
from tests.sinks.test_files import _HEAD
try:
    open_sink({str(tmp_path / "video.mp4")!r}, head=_HEAD)
except MissingExtraError as error:
    print(error)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == line
    assert list(tmp_path.iterdir()) == []
