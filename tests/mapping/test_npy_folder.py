"""The field's folders of .npy files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mp2flame.data import Observation
from mp2flame.errors import FormatError, InputError, MissingFileError
from mp2flame.mapping import LinearMapping, read_mapping, save_npy_folder
from mp2flame.mapping.npy_folder import load_npy_folder


def _folder(path: Path, *, layout: str = "jaw", n: int = 100, dtype: type = np.float64, **files: Any) -> Path:
    rng = np.random.default_rng(n)
    arrays = {"bs2exp": rng.normal(size=(52, n)), "bs2eye": rng.normal(size=(52, 6))}
    arrays[f"bs2{layout}"] = rng.normal(size=(52, 3 if layout == "jaw" else 6))
    path.mkdir()
    for name, array in (arrays | files).items():
        np.save(path / f"{name}.npy", np.asarray(array).astype(dtype) if name not in files else array)
    return path


@pytest.mark.parametrize("layout", ["jaw", "pose"])
@pytest.mark.parametrize("n", [50, 100])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_folder_maps_as_its_matrices_do(tmp_path: Path, layout: str, n: int, dtype: type) -> None:
    folder = _folder(tmp_path / "m", layout=layout, n=n, dtype=dtype)
    mapping = read_mapping(folder)
    assert isinstance(mapping, LinearMapping)
    scores = np.random.default_rng(1).uniform(0, 1, (5, 52)).astype(np.float32)
    params = mapping(Observation(time=np.arange(5.0), found=np.ones(5, dtype=bool), scores=scores))
    jaw = np.load(folder / f"bs2{layout}.npy")[:, -3:]
    eye = np.load(folder / "bs2eye.npy")
    for got, matrix in (
        (params.expression, np.load(folder / "bs2exp.npy")),
        (params.jaw_pose, jaw),
        (params.leye_pose, eye[:, :3]),
        (params.reye_pose, eye[:, 3:]),
    ):
        np.testing.assert_allclose(got, scores @ matrix, rtol=1e-4, atol=1e-5)
    assert not params.global_orient.any()
    assert (mapping.info.head_hash, mapping.info.head_version) == (None, None)


@pytest.mark.parametrize("layout", ["jaw", "pose"])
def test_saved_folders_load_again(tmp_path: Path, layout: str) -> None:
    mapping = load_npy_folder(_folder(tmp_path / "old", layout=layout))
    save_npy_folder(mapping, tmp_path / "new")
    assert sorted(file.name for file in (tmp_path / "new").iterdir()) == ["bs2exp.npy", "bs2eye.npy", "bs2jaw.npy"]
    np.testing.assert_array_equal(load_npy_folder(tmp_path / "new").matrix, mapping.matrix)


def test_a_folder_of_the_same_layout_is_written_again(tmp_path: Path) -> None:
    mapping = load_npy_folder(_folder(tmp_path / "old"))
    save_npy_folder(mapping, tmp_path / "new")
    save_npy_folder(mapping, tmp_path / "new")
    np.testing.assert_array_equal(load_npy_folder(tmp_path / "new").matrix, mapping.matrix)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["new", "old"]
    mapping.save(tmp_path / "a.safetensors")
    again = read_mapping(tmp_path / "a.safetensors")
    assert isinstance(again, LinearMapping)
    np.testing.assert_array_equal(again.matrix, mapping.matrix)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"intercept": np.zeros(59)}, "not intercept"),
        ({"neutral": np.zeros(52), "default_neutral": np.zeros(52)}, "not default_neutral, neutral"),
        ({"uses_neutral": True}, "not scores relative to neutral"),
        ({"features": ("square",)}, "not features other than the scores"),
        ({"matrix": np.zeros((52, 19))}, "50 or 100 expression coefficients, not 10"),
    ],
)
def test_what_a_folder_cannot_carry_is_refused(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    mapping = LinearMapping(**({"matrix": np.zeros((52, 59))} | settings))
    with pytest.raises(InputError, match=rf"{message}: save a \.safetensors file"):
        save_npy_folder(mapping, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_layouts_are_not_mixed(tmp_path: Path) -> None:
    mapping = load_npy_folder(_folder(tmp_path / "old", layout="pose"))
    with pytest.raises(InputError, match=r"holds bs2pose\.npy of the older layout"):
        save_npy_folder(mapping, tmp_path / "old")
    with pytest.raises(MissingFileError, match="cannot write"):
        save_npy_folder(mapping, tmp_path / "none" / "new")


def test_the_newer_layout_wins_where_both_are(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "m", bs2pose=np.zeros((52, 6)))
    np.testing.assert_array_equal(
        load_npy_folder(folder).matrix[:, 100:103], np.load(folder / "bs2jaw.npy").astype(np.float32)
    )


@pytest.mark.parametrize("name", ["bs2exp", "bs2jaw", "bs2eye"])
def test_missing_files_are_named(tmp_path: Path, name: str) -> None:
    folder = _folder(tmp_path / "m")
    (folder / f"{name}.npy").unlink()
    with pytest.raises(MissingFileError, match=rf"needs {name}\.npy; there is none in"):
        read_mapping(folder)
    with pytest.raises(MissingFileError, match="expected a mapping folder at"):
        load_npy_folder(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("bs2exp", np.zeros((52, 51)), r"with shape \(52, 50\) or \(52, 100\); got \(52, 51\)"),
        ("bs2exp", np.zeros((100, 52)), r"got \(100, 52\)"),
        ("bs2jaw", np.zeros((52, 6)), r"with shape \(52, 3\); got \(52, 6\)"),
        ("bs2eye", np.zeros((52, 3)), r"with shape \(52, 6\); got \(52, 3\)"),
        ("bs2eye", np.zeros((52, 6), dtype=int), "floating-point numbers; got int64"),
        ("bs2eye", np.zeros((52, 6), dtype=complex), "floating-point numbers; got complex128"),
        ("bs2eye", np.full((52, 6), np.nan), "to be finite"),
        ("bs2eye", np.full((52, 6), 1e200), "must be finite"),
        ("bs2eye", np.full((52, 6), "x"), "floating-point numbers; got <U1"),
    ],
)
def test_wrong_matrices_are_refused(tmp_path: Path, name: str, array: Any, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        read_mapping(_folder(tmp_path / "m", **{name: array}))


def test_pickled_objects_are_not_run(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "m")
    np.save(folder / "bs2jaw.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(FormatError, match=r"bs2jaw\.npy is truncated or no \.npy file"):
        read_mapping(folder)


def test_truncated_and_foreign_files_are_refused(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "m")
    path = folder / "bs2exp.npy"
    content = path.read_bytes()
    pieces = [content[:length] for length in (0, 1, 6, 9, 60, 128, 129, len(content) // 2, len(content) - 1)]
    for piece in [*pieces, b"<html>404</html>", b"version https://git-lfs.github.com/spec/v1\n", b"PK\x03\x04" * 50]:
        path.write_bytes(piece)
        with pytest.raises(FormatError, match=r"bs2exp\.npy is truncated or no \.npy file"):
            read_mapping(folder)


def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "m")
    (folder / "bs2exp.npy").unlink()
    os.mkfifo(folder / "bs2exp.npy")
    with pytest.raises(FormatError, match=r"bs2exp\.npy"):
        load_npy_folder(folder)
    (folder / "bs2exp.npy").unlink()
    (folder / "bs2exp.npy").symlink_to("/dev/zero")
    with pytest.raises(FormatError, match=r"bs2exp\.npy"):
        load_npy_folder(folder)


def test_a_matrix_that_is_larger_than_it_can_be_is_refused_before_it_is_read(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "m")
    with (folder / "bs2exp.npy").open("r+b") as file:
        file.truncate(1 << 40)
    with pytest.raises(FormatError, match=r"bs2exp\.npy.*at most"):
        load_npy_folder(folder)
