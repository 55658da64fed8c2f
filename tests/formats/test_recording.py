"""Recordings: exact, readable while they grow, and worth having after a crash."""

from __future__ import annotations

import base64
import json
import struct
import sys
import tracemalloc
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mp2flame import load_params
from mp2flame.blendshapes import MEDIAPIPE
from mp2flame.data import Observation
from mp2flame.errors import FormatError, InputError, MissingFileError, SinkError
from mp2flame.formats.recording import RecordingSink, RecordingSource, read_recording
from tests.helpers.heads import small_head
from tests.helpers.params import FIELDS, frame, record


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "take.jsonl"


def test_round_trip_is_exact(path: Path) -> None:
    frames = [frame(0), frame(1), frame(2, found=False), frame(3, found=False, eased=True), frame(4)]
    record(path, frames, head=small_head(version="FLAME 2020", hash="abc"))
    recording = RecordingSource(path)
    assert recording.header.head_version == "FLAME 2020"
    assert recording.header.head_hash == "abc"
    assert recording.header.scores == MEDIAPIPE
    np.testing.assert_array_equal(recording.header.image_size, [640, 480])
    for _ in range(2):
        got = list(recording.frames())
        assert len(got) == len(frames)
        for (seen, params), (want_seen, want_params) in zip(got, frames, strict=True):
            for name in ("time", "found", "scores", "image_size"):
                np.testing.assert_array_equal(getattr(seen, name), getattr(want_seen, name))
            if want_seen.found[0]:
                np.testing.assert_array_equal(seen.landmarks, want_seen.landmarks)
                np.testing.assert_array_equal(seen.head_transform, want_seen.head_transform)
            if np.isnan(want_params.expression).any():
                assert params is None
                continue
            assert params is not None
            for name in ("time", "found", "shape", *FIELDS):
                np.testing.assert_array_equal(getattr(params, name), getattr(want_params, name))
    assert recording.warnings == ()


def test_every_line_is_json_as_documented(path: Path) -> None:
    (seen, params) = frame(3)
    header, line = (json.loads(text) for text in record(path, [(seen, params)]).decode("ascii").splitlines())
    assert header == {
        "format": "mp2flame-recording",
        "version": 1,
        "scores": list(MEDIAPIPE),
        "head": {"version": "unknown", "hash": ""},
        "image_size": [640, 480],
        "shape": pytest.approx([0.1, -0.2]),
    }
    assert list(line) == ["time", "found", "scores", "head_transform", "landmarks", "params"]
    assert line["time"] == 3 / 29.97
    assert line["params"]["jaw_pose"] == pytest.approx(params.jaw_pose[0].tolist(), rel=1e-8)
    assert seen.landmarks is not None
    assert struct.unpack("<3f", base64.b64decode(line["landmarks"])[:12]) == tuple(seen.landmarks[0, 0].tolist())


def test_landmarks_can_be_left_out(path: Path) -> None:
    long = len(record(path, [frame(0)]))
    short = len(record(path, [frame(0)], landmarks=False))
    assert long - short > 478 * 3 * 4 * 4 / 3
    ((seen, _),) = read_recording(path)
    assert seen.landmarks is None
    assert seen.head_transform is not None


def test_scores_are_read_by_their_names(path: Path) -> None:
    lines = record(path, [frame(0)]).decode().splitlines()
    header, line = json.loads(lines[0]), json.loads(lines[1])
    header["scores"] = ["jawOpen", "browDownLeft"]
    line["scores"] = [0.75, 0.25]
    path.write_text(json.dumps(header) + "\n" + json.dumps(line) + "\n")
    ((seen, _),) = read_recording(path)
    assert seen.scores[0, MEDIAPIPE.index("jawOpen")] == 0.75
    assert seen.scores.sum() == 1


def test_images_of_other_sizes_and_frames_without_parameters(path: Path) -> None:
    seen, _ = frame(0)
    other = replace(frame(1)[0], image_size=np.array([10, 20]))
    record(path, [(seen, None), (other, None), (replace(frame(2)[0], landmarks=None, head_transform=None), None)])
    got = list(read_recording(path))
    np.testing.assert_array_equal([seen.image_size for seen, _ in got], [(640, 480), (10, 20), (640, 480)])
    assert all(params is None for _, params in got)
    assert got[2][0].landmarks is None
    with pytest.raises(FormatError, match="holds no FLAME parameters: drive it with a mapping"):
        load_params(path)


def test_parameters_load_from_a_recording(path: Path) -> None:
    frames = [frame(0, found=False), frame(1), frame(2, found=False, eased=True)]
    record(path, frames)
    params = load_params(path)
    np.testing.assert_array_equal(params.found, [False, True, False])
    np.testing.assert_array_equal(params.expression[1:], np.concatenate([p.expression for _, p in frames[1:]]))
    assert np.isnan(params.expression[0]).all()
    np.testing.assert_array_equal(params.time, np.arange(3) / 29.97)
    np.testing.assert_array_equal(params.shape, np.array([0.1, -0.2], dtype=np.float32))


def test_a_recording_can_be_read_while_it_grows(path: Path) -> None:
    writer = RecordingSink(path)
    for index in range(3):
        writer.append(*frame(index))
        assert len(list(read_recording(path))) == index + 1
    writer.abort()
    assert len(list(read_recording(path))) == 3
    with pytest.raises(SinkError, match="it is closed"):
        writer.append(*frame(4))


def test_a_torn_last_line_is_left_out_with_a_warning(path: Path) -> None:
    data = record(path, [frame(0), frame(1)])
    start = data.index(b"\n", data.index(b"\n") + 1) + 1
    for length in (start + 1, start + 40, (start + len(data)) // 2, len(data) - 2):
        path.write_bytes(data[:length])
        recording = RecordingSource(path)
        assert len(list(recording.frames())) == 1
        (warning,) = recording.warnings
        assert "the last line" in warning
        assert "(line 3) is cut off and was left out" in warning
    path.write_bytes(data[:-1])
    recording = RecordingSource(path)
    assert len(list(recording.frames())) == 2
    assert recording.warnings == ()


def test_an_older_recording_stays_until_the_first_frame(path: Path) -> None:
    before = record(path, [frame(0)])
    for end in (RecordingSink.abort, RecordingSink.close):
        writer = RecordingSink(path)
        assert path.read_bytes() == before
        with suppress(SinkError):
            end(writer)
        assert path.read_bytes() == before
    writer = RecordingSink(path)
    writer.append(*frame(1))
    assert len(list(read_recording(path))) == 1
    writer.close()
    assert path.read_bytes() != before
    assert list(path.parent.iterdir()) == [path]


def test_without_frames_there_is_no_recording(path: Path) -> None:
    writer = RecordingSink(path)
    with pytest.raises(SinkError, match="was not made: there was no frame to write"):
        writer.close()
    writer.close()
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("length", [0, 30, -1, None])
def test_a_recording_that_was_stopped_before_its_first_frame_says_so(path: Path, length: int | None) -> None:
    header, _, _ = record(path, [frame(0)]).partition(b"\n")
    path.write_bytes((header + b"\n")[:length])
    with pytest.raises(FormatError, match="holds no frames: the recording was stopped before the first"):
        list(read_recording(path))


def test_two_sinks_never_write_one_recording(path: Path) -> None:
    first, second = RecordingSink(path), RecordingSink(path)
    first.append(*frame(0))
    with pytest.raises(SinkError, match="another process is recording to it"):
        second.append(*frame(1))
    with pytest.raises(SinkError, match="another process is recording to it"):
        RecordingSink(path)
    first.append(*frame(2))
    first.close()
    assert [round(seen.time[0] * 29.97) for seen, _ in read_recording(path)] == [0, 2]
    record(path, [frame(3)])
    assert [round(seen.time[0] * 29.97) for seen, _ in read_recording(path)] == [3]


def test_a_recording_that_was_replaced_meanwhile_is_not_lost_in_silence(path: Path) -> None:
    writer = RecordingSink(path)
    writer.append(*frame(0))
    path.with_name("other").write_bytes(b"")
    path.with_name("other").replace(path)
    with pytest.raises(SinkError, match="removed or replaced while it was written: its 1 frames are lost"):
        writer.close()
    assert list(path.parent.iterdir()) == [path]


def test_memory_does_not_grow_with_the_length(path: Path) -> None:
    record(path, [frame(0)])
    header, line = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(header + line * 1000)
    tracemalloc.start()
    assert sum(1 for _ in read_recording(path)) == 1000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert path.stat().st_size > 8e6
    assert peak < 1e6


def test_writing_says_what_it_cannot_do(tmp_path: Path, path: Path) -> None:
    with pytest.raises(MissingFileError, match="make it first"):
        RecordingSink(tmp_path / "nowhere" / "take.jsonl")
    with pytest.raises(InputError, match="it is a folder"):
        RecordingSink(tmp_path)
    with pytest.raises(MissingFileError, match="expected a recording at"):
        read_recording(path)
    writer = RecordingSink(path)
    two = Observation(time=np.zeros(2), found=np.zeros(2, dtype=bool), scores=np.zeros((2, 52), dtype=np.float32))
    with pytest.raises(InputError, match="takes single frames"):
        writer.append(two)
    writer.abort()


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on the size of files")
def test_a_full_disk_keeps_whole_lines(path: Path) -> None:
    import resource

    writer = RecordingSink(path)
    writer.append(*frame(0))
    whole = path.read_bytes()
    # The system refuses a write beyond the limit as it refuses one to a full disk, after a part of the line.
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 1000, before[1]))
    try:
        with pytest.raises(SinkError, match=r"cannot write .*File too large; its first 1 frames are kept"):
            writer.append(*frame(1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_bytes() == whole
    writer.append(*frame(2))
    writer.close()
    assert [round(seen.time[0] * 29.97) for seen, _ in read_recording(path)] == [0, 2]
