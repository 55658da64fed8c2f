"""The head's vertices against plain loops, against smplx on torch, and against what rigid motion must do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mp2flame.data import FlameParams
from mp2flame.head import FlameHead, load_head
from tests.helpers.heads import POSES, Arrays, load_arrays, pose_of, random_arrays, random_params
from tests.helpers.reference_lbs import rotation, slow_lbs

_TOLERANCE = 1e-5
_STILL = np.zeros((1, 3), dtype=np.float32)


def _slow(
    arrays: Arrays, params: FlameParams, frame: int, n_shape: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    shape = np.zeros(n_shape) if params.shape is None else np.pad(params.shape, (0, n_shape - len(params.shape)))
    expression = params.expression[frame]
    rest = arrays["shapedirs"].shape[2] - n_shape - len(expression)
    coefficients = np.concatenate([shape, expression, np.zeros(rest)])
    return slow_lbs(arrays, coefficients, pose_of(params, frame), params.translation[frame])


@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_plain_loops(tmp_path: Path, seed: int) -> None:
    arrays = random_arrays(seed, n_vertices=40 + seed)
    head = load_arrays(tmp_path, arrays)
    params = replace(random_params(3, 10, seed), shape=np.random.default_rng(seed).normal(size=10).astype(np.float32))
    vertices, joints = head(params), head.joints(params)
    assert vertices.dtype == joints.dtype == np.float32
    assert vertices.transpose(0, 2, 1).flags.c_contiguous
    for frame in range(3):
        expected_vertices, expected_joints = _slow(arrays, params, frame, 10)
        np.testing.assert_allclose(vertices[frame], expected_vertices, atol=_TOLERANCE, rtol=0)
        np.testing.assert_allclose(joints[frame], expected_joints, atol=_TOLERANCE, rtol=0)


@pytest.mark.parametrize("angle", [0.0, 1e-12, 1e-7, 1e-4, 1.0, np.pi - 1e-4, np.pi, 2 * np.pi, 30.0])
def test_small_and_large_rotations(tmp_path: Path, angle: float) -> None:
    arrays = random_arrays(5)
    head = load_arrays(tmp_path, arrays)
    axes = np.random.default_rng(1).normal(size=(5, 3))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    poses = {name: (angle * axis)[None].astype(np.float32) for name, axis in zip(POSES, axes, strict=True)}
    params = replace(FlameParams.neutral(1, n_expression=10), **poses)
    np.testing.assert_allclose(head(params)[0], _slow(arrays, params, 0, 10)[0], atol=_TOLERANCE, rtol=0)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    angles=st.lists(st.floats(0, 7).map(lambda x: x if x > 1 else x**12), min_size=5, max_size=5),
)
def test_any_mixture_of_rotations(seed: int, angles: list[float]) -> None:
    arrays = random_arrays(seed, n_vertices=12)
    params = random_params(1, 10, seed, angle=1.0)
    poses = {
        name: (getattr(params, name) / np.linalg.norm(getattr(params, name)) * angle).astype(np.float32)
        for name, angle in zip(POSES, angles, strict=True)
    }
    params = replace(params, **poses)
    np.testing.assert_allclose(_in_memory(arrays)(params)[0], _slow(arrays, params, 0, 10)[0], atol=_TOLERANCE, rtol=0)


def _in_memory(arrays: Arrays) -> FlameHead:
    from mp2flame.head.arrays import check_arrays

    return FlameHead(check_arrays(arrays, "random"), "random")


def test_a_real_head_agrees_with_plain_loops(shared_data: Path) -> None:
    path = shared_data / "head" / "ict_head.npz"
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    head = load_head(path)
    params = replace(
        random_params(1, 49, angle=0.3), shape=np.random.default_rng(2).normal(size=100).astype(np.float32)
    )
    np.testing.assert_allclose(head(params)[0], _slow(arrays, params, 0, 300)[0], atol=_TOLERANCE, rtol=0)


def _smplx(head: FlameHead, params: FlameParams, shape: NDArray[np.float32]) -> NDArray[np.float32]:
    torch = pytest.importorskip("torch", reason='no torch: pip install "mp2flame[peers]"')
    lbs = pytest.importorskip("smplx.lbs", reason='no smplx: pip install "mp2flame[peers]"').lbs
    n, arrays = len(params), head.arrays

    def tensor(array: NDArray[Any]) -> Any:
        return torch.from_numpy(np.array(array))

    betas = np.zeros((n, arrays.shapedirs.shape[2]), dtype=np.float32)
    betas[:, : len(shape)] = shape
    betas[:, head.n_shape : head.n_shape + params.n_expression] = params.expression
    poses = np.stack([getattr(params, name) for name in POSES], axis=1).reshape(n, 15)
    vertices, _ = lbs(
        tensor(betas),
        tensor(poses),
        tensor(arrays.v_template),
        tensor(arrays.shapedirs),
        tensor(arrays.posedirs.reshape(-1, 36).T),
        tensor(arrays.regressor),
        torch.tensor(arrays.parents),
        tensor(arrays.weights),
    )
    result: NDArray[np.float32] = vertices.numpy() + params.translation[:, None]
    return result


@pytest.mark.parametrize("n", [1, 7])
@pytest.mark.parametrize("angle", [0.0, 1e-9, 0.3, 2.0])
def test_agrees_with_smplx(tmp_path: Path, n: int, angle: float) -> None:
    head = load_arrays(tmp_path, random_arrays(3, n_vertices=500, width=400))
    shape = np.random.default_rng(4).normal(size=300).astype(np.float32)
    params = random_params(n, 100, angle=angle)
    np.testing.assert_allclose(head.with_shape(shape)(params), _smplx(head, params, shape), atol=_TOLERANCE, rtol=0)


def test_a_real_head_agrees_with_smplx(shared_data: Path) -> None:
    head = load_head(shared_data / "head" / "ict_head.npz")
    shape = np.random.default_rng(4).normal(size=100).astype(np.float32)
    params = random_params(4, 50)
    np.testing.assert_allclose(head.with_shape(shape)(params), _smplx(head, params, shape), atol=_TOLERANCE, rtol=0)


@pytest.mark.parametrize("n", [1, 2, 7, 64, 133])
def test_a_batch_is_its_frames(tmp_path: Path, n: int) -> None:
    head = load_arrays(tmp_path, random_arrays(6, n_vertices=300))
    params = random_params(n, 10)
    together = head(params)
    assert together.shape == (n, 300, 3)
    apart = np.concatenate([head(params[frame]) for frame in range(n)])
    np.testing.assert_allclose(together, apart, atol=2e-7, rtol=0)


def test_the_same_params_give_the_same_bytes(tmp_path: Path) -> None:
    head = load_arrays(tmp_path, random_arrays())
    params = random_params(9, 10)
    assert head(params).tobytes() == head(params).tobytes()


def test_zero_gives_the_template(tmp_path: Path) -> None:
    head = load_arrays(tmp_path, random_arrays())
    got = head(FlameParams.neutral(2, n_expression=10))
    np.testing.assert_allclose(got, np.stack([head.template] * 2), atol=1e-7, rtol=0)


def test_rigid_motion_moves_the_mesh_rigidly(tmp_path: Path) -> None:
    head = load_arrays(tmp_path, random_arrays())
    turn = np.array([0.3, -1.1, 0.7], dtype=np.float32)
    shift = np.array([0.1, -0.2, 0.5], dtype=np.float32)
    params = replace(random_params(1, 10), global_orient=_STILL, translation=_STILL)
    still = head(params)[0]
    moved = head(replace(params, global_orient=turn[None], translation=shift[None]))[0]
    # The root joint is regressed from the unposed, shaped head.
    joint = head.arrays.regressor[0] @ (head.template + head.arrays.shapedirs[:, :, 10:] @ params.expression[0])
    expected = (still - joint) @ rotation(turn).T + joint + shift
    np.testing.assert_allclose(moved, expected, atol=1e-6, rtol=0)


def test_a_translation_moves_every_vertex_by_it_even_where_weights_do_not_sum_to_one(tmp_path: Path) -> None:
    arrays = random_arrays()
    arrays["weights"] *= np.float32(0.5)
    head = load_arrays(tmp_path, arrays)
    params = replace(random_params(1, 10), translation=_STILL)
    shift = np.array([[1.0, 2.0, 3.0]], dtype=np.float32)
    moved = head(replace(params, translation=shift)) - head(params)
    np.testing.assert_allclose(moved, np.broadcast_to(shift, moved.shape), atol=1e-6)


@pytest.mark.parametrize("field", ["expression", "translation", *POSES])
def test_a_nan_frame_is_nan_and_touches_no_other(tmp_path: Path, field: str) -> None:
    head = load_arrays(tmp_path, random_arrays())
    params = random_params(9, 10)
    broken = getattr(params, field).copy()
    broken[4, 0] = np.nan
    found = np.ones(9, dtype=np.bool_)
    found[4] = False
    got = head(replace(params, found=found, **{field: broken}))
    kept = np.arange(9) != 4
    np.testing.assert_array_equal(got[kept], head(params)[kept])
    affected = np.isnan(got[4])
    assert affected.any() if field == "translation" else affected.all()


def test_a_lost_face_is_nan_everywhere(tmp_path: Path) -> None:
    head = load_arrays(tmp_path, random_arrays())
    nothing = {name: np.full((1, 3), np.nan, dtype=np.float32) for name in (*POSES, "translation")}
    params = FlameParams(
        time=np.zeros(1), found=np.zeros(1, dtype=np.bool_), expression=np.full((1, 10), np.nan, "f"), **nothing
    )
    assert np.isnan(head(params)).all()
