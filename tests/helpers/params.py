"""Parameters and observations made up for tests of files, and how to compare them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mp2flame.data import FlameParams, Observation
from mp2flame.formats.recording import RecordingSink

POSES = ("jaw_pose", "neck_pose", "global_orient", "leye_pose", "reye_pose", "translation")
FIELDS = ("expression", *POSES)
_FLOAT32 = np.finfo(np.float32)


def made_up(n: int = 7, *, n_expression: int = 50, n_shape: int | None = 40, lost: tuple[int, ...] = ()) -> FlameParams:
    """Random parameters, the extremes of float32 among them; rows of lost frames are NaN."""
    rng = np.random.default_rng(n)
    arrays = {name: rng.normal(size=(n, 3)).astype(np.float32) for name in POSES}
    arrays["expression"] = rng.normal(size=(n, n_expression)).astype(np.float32)
    extremes = [_FLOAT32.max, _FLOAT32.tiny, np.float32(1e-45), -np.float32(1 / 3)][:n_expression]
    arrays["expression"][0, : len(extremes)] = extremes
    found = np.ones(n, dtype=np.bool_)
    for row in lost:
        found[row] = False
        for values in arrays.values():
            values[row] = np.nan
    time = np.cumsum(rng.uniform(0.01, 0.05, n))
    shape = None if n_shape is None else rng.normal(size=n_shape).astype(np.float32)
    return FlameParams(time=time, found=found, shape=shape, **arrays)


def assert_same(got: FlameParams, want: FlameParams, *, times: bool = True) -> None:
    if times:
        np.testing.assert_array_equal(got.time, want.time)
    np.testing.assert_array_equal(got.found, want.found)
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(got, name), getattr(want, name), err_msg=name)
    if want.shape is None:
        assert got.shape is None
    else:
        np.testing.assert_array_equal(got.shape, want.shape)


def frame(index: int, *, found: bool = True, eased: bool = False) -> tuple[Observation, FlameParams]:
    """A random frame; without a face its parameters are NaN unless a filter has eased them."""
    rng = np.random.default_rng(index)
    time, flags = np.array([index / 29.97]), np.array([found])
    observation = Observation(
        time=time,
        found=flags,
        scores=rng.uniform(size=(1, 52)).astype(np.float32),
        landmarks=rng.normal(size=(1, 478, 3)).astype(np.float32),
        head_transform=rng.normal(size=(1, 4, 4)).astype(np.float32),
        image_size=np.array([640, 480]),
    )
    arrays = {name: rng.normal(size=(1, 5 if name == "expression" else 3)).astype(np.float32) for name in FIELDS}
    if not (found or eased):
        arrays = {name: np.full_like(values, np.nan) for name, values in arrays.items()}
    return observation, FlameParams(time=time, found=flags, shape=np.array([0.1, -0.2], dtype=np.float32), **arrays)


def record(path: Path, frames: Sequence[tuple[Observation, FlameParams | None]], **options: Any) -> bytes:
    writer = RecordingSink(path, **options)
    for observation, params in frames:
        writer.append(observation, params)
    writer.close()
    return path.read_bytes()
