"""Parameters in the layouts of other programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mp2flame import load_params
from mp2flame.errors import FormatError


def _vhap(n: int = 3, **more: NDArray[Any]) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(4)
    widths = {"rotation": 3, "translation": 3, "neck_pose": 3, "jaw_pose": 3, "eyes_pose": 6, "expr": 100}
    arrays: dict[str, NDArray[Any]] = {name: rng.normal(size=(n, w)).astype("f4") for name, w in widths.items()}
    return arrays | {"shape": rng.normal(size=300).astype("f4")} | more


def test_vhap_tracking_loads_and_the_last_epoch_wins(tmp_path: Path) -> None:
    for epoch, n in ((2, 3), (30, 4)):
        strange = {"timestep_id": np.array([f"{i:05d}" for i in range(n)]), "n_processed_frames": np.array(n)}
        np.savez(tmp_path / f"tracked_flame_params_{epoch}.npz", **_vhap(n, **strange))  # type: ignore[arg-type]
    params = load_params(tmp_path, frame_rate=10)
    assert len(params) == 4
    want = _vhap(4)
    np.testing.assert_array_equal(params.expression, want["expr"])
    np.testing.assert_array_equal(params.global_orient, want["rotation"])
    np.testing.assert_array_equal(params.reye_pose, want["eyes_pose"][:, 3:])
    np.testing.assert_array_equal(params.shape, want["shape"])
    np.testing.assert_allclose(params.time, [0, 0.1, 0.2, 0.3])


def test_gaussianavatars_parameters_load_in_double_precision_too(tmp_path: Path) -> None:
    arrays = {name: array.astype(np.float64) for name, array in _vhap(2).items()}
    np.savez(tmp_path / "flame_param.npz", **arrays, dynamic_offset=np.zeros((2, 9, 3)))  # type: ignore[arg-type]
    params = load_params(tmp_path)
    np.testing.assert_array_equal(params.expression, arrays["expr"].astype(np.float32))


def test_flame_head_tracker_frames_load_by_number_with_gaps_as_frames_without_a_face(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    widths = {"shape": 300, "exp": 100, "head_pose": 3, "jaw_pose": 3, "eye_pose": 6, "cam": 6}
    frames = {}
    for number in (0, 2, 10):
        frames[number] = {name: rng.normal(size=(1, width)).astype("f4") for name, width in widths.items()}
        arrays = frames[number] | {"img": np.zeros((1, 8, 8, 3), "u1")}
        np.savez_compressed(tmp_path / f"{number}.npz", **arrays)  # type: ignore[arg-type]
    params = load_params(tmp_path)
    assert len(params) == 11
    np.testing.assert_array_equal(np.flatnonzero(params.found), [0, 2, 10])
    np.testing.assert_array_equal(params.expression[10:], frames[10]["exp"])
    np.testing.assert_array_equal(params.leye_pose[2:3], frames[2]["eye_pose"][:, :3])
    np.testing.assert_array_equal(params.neck_pose[params.found], 0)
    assert np.isnan(params.expression[1]).all()
    assert len(load_params(tmp_path / "2.npz")) == 1


def test_imavatar_json_splits_the_full_pose(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    poses = rng.normal(size=(3, 15))
    frames = [
        {
            "file_path": f"./image/{number}",
            "world_mat": [[1, 0, 0, 0]] * 3,
            "expression": rng.normal(size=50).tolist(),
            "pose": pose.tolist(),
            "bbox": [0, 0, 1, 1],
            "flame_keypoints": [],
        }
        for number, pose in zip((5, 6, 8), poses, strict=True)
    ]
    document = {"frames": frames, "intrinsics": [-1, 1, 0.5, 0.5], "shape_params": [0.5] * 100}
    (tmp_path / "flame_params.json").write_text(json.dumps(document))
    params = load_params(tmp_path)
    np.testing.assert_array_equal(params.found, [True, True, False, True])
    for start, name in ((0, "global_orient"), (3, "neck_pose"), (6, "jaw_pose"), (9, "leye_pose"), (12, "reye_pose")):
        got = getattr(params, name)[params.found]
        np.testing.assert_array_equal(got, poses[:, start : start + 3].astype(np.float32))
    assert params.shape is not None
    assert params.shape.shape == (100,)


def test_emage_gives_its_face(tmp_path: Path) -> None:
    poses = np.arange(2 * 165, dtype=np.float64).reshape(2, 165) / 1000
    np.savez(
        tmp_path / "beat.npz",
        betas=np.ones(300),
        poses=poses,
        expressions=np.full((2, 100), 0.25),
        trans=np.ones((2, 3)),
        model="smplx2020",
        gender="neutral",
        mocap_frame_rate=60,
    )
    params = load_params(tmp_path / "beat.npz")
    np.testing.assert_allclose(params.time, [0, 1 / 60])
    for joint, name in ((22, "jaw_pose"), (23, "leye_pose"), (24, "reye_pose")):
        np.testing.assert_array_equal(getattr(params, name), poses.reshape(2, 55, 3)[:, joint].astype(np.float32))
    assert not params.global_orient.any()


def test_the_truth_of_a_video_loads(shared_data: Path) -> None:
    params = load_params(shared_data / "video" / "performance_a.npz")
    assert len(params) == 300
    assert params.n_expression == 100
    assert params.jaw_pose[:, 0].max() > 0.1


def test_frames_of_different_widths_in_a_folder_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "0.npz", **_vhap(1))  # type: ignore[arg-type]
    np.savez(tmp_path / "1.npz", **_vhap(1, expr=np.zeros((1, 50), "f4")))  # type: ignore[arg-type]
    with pytest.raises(FormatError, match=r"same number of coefficients in every frame; got \[50, 100\]"):
        load_params(tmp_path)
