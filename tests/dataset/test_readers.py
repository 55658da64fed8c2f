"""Every tool's layout is recognized and read to the right numbers."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pyarrow", reason="data sets need the extra train")
pytest.importorskip("cv2", reason="pictures need the extra track")

from typing import Any

from scipy.spatial.transform import Rotation

from mp2flame.blendshapes import MEDIAPIPE
from mp2flame.data import FlameParams, Observation
from mp2flame.dataset.build import build
from mp2flame.dataset.readers.detect_format import read_input
from mp2flame.errors import FormatError, MissingFileError, UnsafePickleError
from mp2flame.formats.recording import RecordingSink
from tests.helpers.tracker_files import N_FRAMES, blank_pictures, head_tracker_folder, tool_scores, tool_truth
from tests.helpers.video import quarters, write_film


def test_head_tracker_folders(tmp_path: Path) -> None:
    folder = head_tracker_folder(tmp_path / "anna")
    (sequence,) = read_input(folder)
    assert sequence.subject == "anna"
    assert sequence.frame.tolist() == [0, 2, 4, 6, 8, 10]
    np.testing.assert_array_equal(sequence.observed["scores"], tool_scores())
    np.testing.assert_array_equal(sequence.params.eye_pose, tool_truth()["eyes_pose"])
    # A folder of such folders is all of them.
    head_tracker_folder(tmp_path / "bert")
    data, report = build([tmp_path], tmp_path / "data")
    assert data.subjects == ("anna", "bert")
    assert report.frames == 2 * N_FRAMES


def test_vhap_track_finds_the_images_beside_it(tmp_path: Path) -> None:
    folder = tmp_path / "carl"
    blank_pictures(folder / "images", [f"{i:05d}.png" for i in range(N_FRAMES)])
    np.savez(folder / "tracked_flame_params_1.npz", **{**tool_truth(), "expr": np.zeros((N_FRAMES, 100), np.float32)})
    np.savez(folder / "tracked_flame_params_30.npz", **tool_truth())
    (sequence,) = read_input(folder)
    np.testing.assert_array_equal(sequence.params.expression, tool_truth()["expr"])
    assert [path.name for path in sequence.images] == [f"{i:05d}.png" for i in range(N_FRAMES)]
    (folder / "images" / "00003.png").unlink()
    with pytest.raises(FormatError, match=r"6 frames and .* 5 images"):
        list(read_input(folder))
    film = write_film(tmp_path / "film.mp4", [quarters(64, 64)] * N_FRAMES)
    (sequence,) = read_input(f"{folder / 'tracked_flame_params_30.npz'}={film}")
    assert sequence.video == film
    longer = write_film(tmp_path / "longer.mp4", [quarters(64, 64)] * (N_FRAMES + 3))
    with pytest.raises(FormatError, match=r"6 frames and .* 9: .* another rate"):
        list(read_input(f"{folder / 'tracked_flame_params_30.npz'}={longer}"))
    bare = tmp_path / "bare"
    bare.mkdir()
    np.savez(bare / "tracked_flame_params_30.npz", **tool_truth())
    with pytest.raises(MissingFileError, match="=IMAGES"):
        list(read_input(bare))


def test_nerf_export_takes_one_camera(tmp_path: Path) -> None:
    folder = tmp_path / "dora"
    blank_pictures(
        folder / "images", [f"{t:05d}_{c:02d}.png" for t in range(N_FRAMES) for c in (0, 1) if (t, c) != (2, 1)]
    )
    (folder / "flame_param").mkdir()
    truth = tool_truth()
    frames = []
    for t in range(N_FRAMES):
        row: dict[str, Any] = {name: value if name == "shape" else value[t : t + 1] for name, value in truth.items()}
        np.savez(folder / "flame_param" / f"{t:05d}.npz", **row)
        frames += [
            {
                "timestep_index": t,
                "camera_index": c,
                "file_path": f"images/{t:05d}_{c:02d}.png",
                "flame_param_path": f"flame_param/{t:05d}.npz",
            }
            for c in (1, 0)
        ]
    (folder / "transforms.json").write_text(json.dumps({"frames": frames}))
    (sequence,) = read_input(folder)
    assert all(path.name.endswith("_00.png") for path in sequence.images)
    np.testing.assert_array_equal(sequence.params.expression, truth["expr"])


def test_imavatar_pairs_frames_with_their_images(tmp_path: Path) -> None:
    folder = tmp_path / "emil"
    blank_pictures(folder / "image", [f"{i}.png" for i in range(1, N_FRAMES + 1) if i != 3])
    truth = tool_truth(e=50)
    pose = np.concatenate([truth[k] for k in ("rotation", "neck_pose", "jaw_pose", "eyes_pose")], axis=1)
    frames = [
        {"file_path": f"./image/{i + 1}", "expression": truth["expr"][i].tolist(), "pose": pose[i].tolist()}
        for i in range(N_FRAMES)
    ]
    (folder / "flame_params.json").write_text(json.dumps({"frames": frames, "shape_params": [0.0] * 100}))
    (sequence,) = read_input(folder)
    assert sequence.missing_images == 1
    assert [path.name for path in sequence.images] == ["1.png", "2.png", "4.png", "5.png", "6.png"]
    np.testing.assert_allclose(sequence.params.jaw_pose, truth["jaw_pose"][[0, 1, 3, 4, 5]])


def _frame_file(path: Path, jaw: np.ndarray, eyes: np.ndarray, expression: np.ndarray) -> None:
    def two_rows(turn: np.ndarray) -> np.ndarray:
        rows: np.ndarray = Rotation.from_rotvec(turn).as_matrix()[:2].reshape(1, 6)
        return rows

    six = np.concatenate([two_rows(eyes[:3]), two_rows(eyes[3:])], axis=1)
    flame = {"exp": expression[None], "jaw": two_rows(jaw).astype(np.float32), "eyes": six.astype(np.float32)}
    buffer = io.BytesIO()
    pickle.dump({"flame": flame, "frame_id": path.stem, "global_step": 3}, buffer, protocol=2)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{path.stem}/data.pkl", buffer.getvalue())
        archive.writestr(f"{path.stem}/version", "3\n")


def test_checkpoints_are_read_without_torch(tmp_path: Path) -> None:
    folder, truth = tmp_path / "fred", tool_truth()
    blank_pictures(folder / "images", [f"{i:05d}.png" for i in range(N_FRAMES)])
    (folder / "checkpoint").mkdir()
    for i in range(N_FRAMES):
        path = folder / "checkpoint" / f"{i:05d}.frame"
        _frame_file(path, truth["jaw_pose"][i], truth["eyes_pose"][i], truth["expr"][i])
    (sequence,) = read_input(folder)
    np.testing.assert_allclose(sequence.params.jaw_pose, truth["jaw_pose"], atol=1e-6)
    np.testing.assert_allclose(sequence.params.eye_pose, truth["eyes_pose"], atol=1e-6)
    assert len(sequence.images) == N_FRAMES


class _Evil:
    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (str(self._path),)


def test_checkpoints_that_carry_code_are_refused(tmp_path: Path) -> None:
    blank_pictures(tmp_path / "x" / "images", ["00000.png"])
    trace = tmp_path / "trace"
    (tmp_path / "x" / "00000.frame").write_bytes(pickle.dumps({"flame": {"exp": _Evil(trace)}}, protocol=2))
    with pytest.raises(UnsafePickleError):
        list(read_input(tmp_path / "x"))
    assert not trace.exists()


def test_speech_is_joined_by_time(tmp_path: Path) -> None:
    scores = tool_scores(2 * N_FRAMES)
    frames = [{"weights": row[1:].tolist(), "time": i / 60} for i, row in enumerate(scores.astype(float))]
    (tmp_path / "talk.json").write_text(json.dumps({"names": list(MEDIAPIPE[1:]), "frames": frames}))
    poses = np.zeros((N_FRAMES, 165), np.float32)
    poses[:, 66] = np.arange(N_FRAMES) / 10
    np.savez(
        tmp_path / "talk.npz",
        betas=np.zeros(300, np.float32),
        poses=poses,
        expressions=tool_truth()["expr"],
        trans=np.zeros((N_FRAMES, 3), np.float32),
        mocap_frame_rate=30,
    )
    for spec in (f"{tmp_path / 'talk.json'}={tmp_path / 'talk.npz'}", str(tmp_path)):
        (sequence,) = read_input(spec)
        np.testing.assert_allclose(sequence.observed["scores"][:, 1:], scores[::2, 1:], atol=1e-6)
        np.testing.assert_allclose(sequence.params.jaw_pose[:, 0], np.arange(N_FRAMES) / 10)
        assert sequence.head_version == "FLAME 2020"


def test_subjects_are_named_by_their_files_where_a_folder_has_several(tmp_path: Path) -> None:
    blank_pictures(tmp_path / "images", [f"{i:05d}.png" for i in range(N_FRAMES)])
    for name in ("anna", "bert", "carl"):
        np.savez(tmp_path / f"{name}.npz", **tool_truth())
        (sequence,) = read_input(f"{tmp_path / f'{name}.npz'}={tmp_path / 'images'}")
        assert sequence.subject == name
    # VHAP gives its file the same name for everybody: alone in a folder, the folder names the subject.
    folder = tmp_path / "dora"
    folder.mkdir()
    for number, subject in ((1, "dora"), (30, "tracked_flame_params_30")):
        path = folder / f"tracked_flame_params_{number}.npz"
        np.savez(path, **tool_truth())
        (sequence,) = read_input(f"{path}={tmp_path / 'images'}")
        assert sequence.subject == subject


def test_a_stated_rate_gives_the_times_that_files_lack(tmp_path: Path) -> None:
    folder = head_tracker_folder(tmp_path / "anna")
    for fps, rate in ((None, 30.0), (25.0, 25.0)):
        (sequence,) = read_input(folder, fps=fps)
        np.testing.assert_allclose(sequence.params.time, np.array([0, 2, 4, 6, 8, 10]) / rate)
        assert sequence.table().video
    arrays = {"scores": tool_scores(), "expression": tool_truth()["expr"], "jaw_pose": tool_truth()["jaw_pose"]}
    arrays |= {"eye_pose": tool_truth()["eyes_pose"]}
    np.savez(tmp_path / "plain.npz", **arrays)
    np.savez(tmp_path / "timed.npz", **arrays, time=np.arange(N_FRAMES) / 50)
    # Plain arrays are unrelated frames, unless they have times or a rate is stated.
    for name, fps, video, times in (
        ("plain.npz", None, False, np.arange(N_FRAMES) / 30),
        ("plain.npz", 60.0, True, np.arange(N_FRAMES) / 60),
        ("timed.npz", None, True, np.arange(N_FRAMES) / 50),
        ("timed.npz", 60.0, True, np.arange(N_FRAMES) / 50),
    ):
        (sequence,) = read_input(tmp_path / name, fps=fps)
        assert sequence.table().video == video
        np.testing.assert_allclose(sequence.table().time, times)


def test_frames_of_a_recording_keep_their_numbers(tmp_path: Path) -> None:
    observations = [
        Observation(time=[i / 25], found=[True], scores=np.full((1, 52), 0.1), image_size=[64, 48]) for i in range(5)
    ]
    params = [FlameParams.neutral(n_expression=3, time=[i / 25]) for i in range(5)]
    with RecordingSink(tmp_path / "r.jsonl") as sink:
        for i in range(5):
            sink.append(observations[i], None if i == 2 else params[i])
    (sequence,) = read_input(tmp_path / "r.jsonl")
    # Between frames 1 and 3 there is one that was not driven: they do not follow each other.
    assert sequence.frame.tolist() == [0, 1, 3, 4]
    np.testing.assert_allclose(sequence.table().time, [0, 1 / 25, 3 / 25, 4 / 25], atol=1e-6)
    assert sequence.table().video


@pytest.mark.parametrize("damage", ["flip", "cut", "lzma", "bomb", "no pickle", "shape"])
def test_damaged_checkpoints_are_named(tmp_path: Path, damage: str) -> None:
    truth, path = tool_truth(), tmp_path / "x" / "00000.frame"
    blank_pictures(tmp_path / "x" / "images", ["00000.png"])
    _frame_file(path, truth["jaw_pose"][0], truth["eyes_pose"][0], truth["expr"][0])
    data = bytearray(path.read_bytes())
    if damage == "flip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("0/data.pkl", bytes(20_000))
        data = bytearray(path.read_bytes())
        data[60] ^= 0xFF
    if damage == "cut":
        del data[len(data) // 2 :]
    path.write_bytes(bytes(data))
    if damage == "lzma":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
            archive.writestr("0/data.pkl", b"x" * 1000)
        data = bytearray(path.read_bytes())
        data[60:80] = bytes(20)
        path.write_bytes(bytes(data))
    if damage == "bomb":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("0/data.pkl", bytes(200 << 20))
    if damage == "no pickle":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("0/version", "3")
    if damage == "shape":
        _frame_file(path, truth["jaw_pose"][0], truth["eyes_pose"][0], truth["expr"])
    with pytest.raises(FormatError, match=r"00000\.frame"):
        list(read_input(tmp_path / "x"))


@pytest.mark.parametrize("name", ["transforms.json", "flame_params.json"])
def test_a_list_of_frames_that_is_too_large_is_not_read(name: str, tmp_path: Path) -> None:
    with (tmp_path / name).open("wb") as file:
        file.write(b'{"frames": [')
        file.truncate(1 << 40)
    with pytest.raises(FormatError, match=rf"{name}: expected .* of at most \d+ bytes"):
        list(read_input(str(tmp_path)))
