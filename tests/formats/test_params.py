"""Parameters written and read back."""

from __future__ import annotations

import csv
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from mp2flame import load_params
from mp2flame.blendshapes import MEDIAPIPE
from mp2flame.data import FlameParams
from mp2flame.errors import InputError, MissingFileError, SinkError
from mp2flame.formats import save_params
from mp2flame.formats.csv_table import CsvSink
from mp2flame.formats.vhap import NpzSink
from tests.helpers.heads import small_head
from tests.helpers.params import assert_same, made_up


@pytest.mark.parametrize("suffix", [".npz", ".csv"])
@pytest.mark.parametrize("n_expression", [1, 50, 100, 120])
@pytest.mark.parametrize("n_shape", [None, 40, 300, 400])
def test_round_trip_is_exact(tmp_path: Path, suffix: str, n_expression: int, n_shape: int | None) -> None:
    params = made_up(n_expression=n_expression, n_shape=n_shape, lost=(2, 6))
    path = tmp_path / f"motion{suffix}"
    params.save(path)
    assert_same(load_params(path), params)
    assert list(tmp_path.iterdir()) == [path]


def test_a_single_frame_and_frames_without_any_face_come_back(tmp_path: Path) -> None:
    for number, params in enumerate((made_up(1), made_up(3, lost=(0, 1, 2)))):
        for suffix in (".npz", ".csv"):
            params.save(tmp_path / f"{number}{suffix}")
            assert_same(load_params(tmp_path / f"{number}{suffix}"), params)


def test_the_same_parameters_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.npz", "b.npz"):
        made_up().save(tmp_path / name)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_npz_has_the_names_shapes_and_types_of_vhap(tmp_path: Path) -> None:
    params = made_up(5)
    params.save(tmp_path / "motion.npz")
    arrays = dict(np.load(tmp_path / "motion.npz"))
    layout = {name: (array.shape, str(array.dtype)) for name, array in arrays.items()}
    assert layout == {
        "rotation": ((5, 3), "float32"),
        "translation": ((5, 3), "float32"),
        "neck_pose": ((5, 3), "float32"),
        "jaw_pose": ((5, 3), "float32"),
        "eyes_pose": ((5, 6), "float32"),
        "expr": ((5, 100), "float32"),
        "shape": ((300,), "float32"),
        "static_offset": ((1, 5143, 3), "float32"),
        "dynamic_offset": ((5, 5143, 3), "float32"),
        "time": ((5,), "float64"),
        "found": ((5,), "bool"),
        "n_expression": ((), "int64"),
        "n_shape": ((), "int64"),
    }
    np.testing.assert_array_equal(arrays["rotation"], params.global_orient)
    np.testing.assert_array_equal(arrays["eyes_pose"], np.hstack([params.leye_pose, params.reye_pose]))
    np.testing.assert_array_equal(arrays["expr"][:, :50], params.expression)
    assert not arrays["expr"][:, 50:].any()
    assert not arrays["dynamic_offset"].any()


def test_gaussianavatars_finds_all_it_takes_from_a_motion(tmp_path: Path) -> None:
    made_up(4).save(tmp_path / "motion.npz")
    # What `--motion_path` keeps: whatever is float32, by these names, indexed by frame.
    kept = {name: array for name, array in np.load(tmp_path / "motion.npz").items() if array.dtype == np.float32}
    for name in ("translation", "rotation", "neck_pose", "jaw_pose", "eyes_pose", "expr", "dynamic_offset"):
        assert kept[name][[3]].shape[0] == 1
    assert "time" not in kept


def test_offsets_are_small_on_disk_and_left_out_for_other_heads(tmp_path: Path) -> None:
    params = made_up(50)
    save_params(params, tmp_path / "flame.npz", head=small_head(5023))
    save_params(params, tmp_path / "other.npz", head=small_head(8590))
    assert "dynamic_offset" not in np.load(tmp_path / "other.npz")
    difference = (tmp_path / "flame.npz").stat().st_size - (tmp_path / "other.npz").stat().st_size
    assert 0 < difference < 50 * 300 + 1000
    assert_same(load_params(tmp_path / "other.npz"), params)


def test_memory_does_not_grow_with_the_length(tmp_path: Path) -> None:
    writer = NpzSink(tmp_path / "long.npz")
    frame = FlameParams.neutral(1, n_expression=100)
    tracemalloc.start()
    for _ in range(3000):
        writer.append(frame)
    writer.close()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # The offsets alone are 185 MB; rows are 1.6 MB.
    assert peak < 16e6
    assert np.load(tmp_path / "long.npz")["expr"].shape == (3000, 100)


def test_csv_has_scores_under_their_names(tmp_path: Path) -> None:
    params = made_up(3, lost=(1,))
    scores = np.random.default_rng(0).uniform(size=(3, 52)).astype(np.float32)
    writer = CsvSink(tmp_path / "motion.csv")
    for row in range(3):
        writer.append(params[row], np.where(params.found[row], scores[row : row + 1], np.nan))
    writer.close()
    with (tmp_path / "motion.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["found"] for row in table] == ["1", "0", "1"]
    for name in MEDIAPIPE:
        assert np.float32(table[2][name]) == scores[2, MEDIAPIPE.index(name)]
        assert table[1][name] == ""
    assert np.float32(table[0]["jaw_pose_y"]) == params.jaw_pose[0, 1]
    assert_same(load_params(tmp_path / "motion.csv"), params)


def test_csv_columns_may_come_in_any_order_and_poses_may_be_absent(tmp_path: Path) -> None:
    path = tmp_path / "hand.csv"
    path.write_text("\ufeffexpression_1,time,expression_0,jaw_pose_x,jaw_pose_y,jaw_pose_z\r\n2,0.5,1,0.1,0,0\r\n")
    params = load_params(path)
    np.testing.assert_array_equal(params.expression, [[1, 2]])
    np.testing.assert_array_equal(params.jaw_pose, np.array([[0.1, 0, 0]], dtype=np.float32))
    assert params.time[0] == 0.5
    assert params.found.all()


def test_a_folder_has_one_file_for_each_frame(tmp_path: Path) -> None:
    params = made_up(4, n_expression=100, n_shape=300, lost=(1,))
    folder = tmp_path / "flame_param"
    params.save(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["00000.npz", "00002.npz", "00003.npz"]
    frame = np.load(folder / "00002.npz")
    assert {name: frame[name].shape for name in frame.files} == {
        "rotation": (1, 3),
        "translation": (1, 3),
        "neck_pose": (1, 3),
        "jaw_pose": (1, 3),
        "eyes_pose": (1, 6),
        "expr": (1, 100),
        "shape": (300,),
        "static_offset": (1, 5143, 3),
    }
    assert {frame[name].dtype for name in frame.files} == {np.dtype(np.float32)}
    for path in (folder, tmp_path):
        got = load_params(path, frame_rate=25)
        assert_same(got, params, times=False)
        np.testing.assert_allclose(got.time, np.arange(4) / 25)
    with pytest.raises(InputError, match="is not empty; remove it"):
        params.save(folder)


def test_saving_says_what_it_cannot_do(tmp_path: Path) -> None:
    params = made_up(2)
    with pytest.raises(InputError, match=r"expected a parameter file \.npz or \.csv.*got motion\.txt"):
        params.save(tmp_path / "motion.txt")
    with pytest.raises(InputError, match="a recording holds observations too"):
        params.save(tmp_path / "motion.jsonl")
    with pytest.raises(MissingFileError, match="does not exist; make it first"):
        params.save(tmp_path / "nowhere" / "motion.npz")
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(InputError, match="it is a folder"):
        params.save(tmp_path / "folder.npz")
    writer = NpzSink(tmp_path / "motion.npz")
    with pytest.raises(SinkError, match="there was no frame to write"):
        writer.close()
    assert not (tmp_path / "motion.npz").exists()


def test_coefficients_may_not_change_in_number(tmp_path: Path) -> None:
    for name, kind in (("a.npz", NpzSink), ("a.csv", CsvSink)):
        writer = kind(tmp_path / name)
        writer.append(made_up(2, n_expression=50))
        with pytest.raises(InputError, match="expected 50 expression coefficients; got 100"):
            writer.append(made_up(2, n_expression=100))
        writer.close()
        assert len(load_params(tmp_path / name)) == 2


def test_a_frame_rate_is_above_zero(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="frame_rate must be a finite number above 0; got 0"):
        load_params(tmp_path, frame_rate=0)


def test_an_older_file_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "motion.csv"
    made_up(2).save(path)
    writer = CsvSink(path)
    writer.append(made_up(5, n_shape=None))
    assert len(load_params(path)) == 2
    writer.abort()
    writer.abort()
    assert len(load_params(path)) == 2
    with pytest.raises(SinkError, match="it is closed"):
        writer.append(made_up(1))
