"""Head files: every kind loads to the same head, and is what was saved."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from safetensors.numpy import save_file

from mp2flame.errors import InputError, MissingFileError, SinkError
from mp2flame.head import FlameHead, describe, load_head
from mp2flame.head import versions as versions_module
from tests.helpers.heads import Arrays, load_arrays, random_arrays, random_params, save_pickle


def _hash(arrays: Arrays) -> str:
    names = ("v_template", "shapedirs", "posedirs", "J_regressor", "weights")
    content = b"".join(arrays[name].astype("<f4").tobytes() for name in names) + arrays["f"].astype("<u4").tobytes()
    return hashlib.sha256(content).hexdigest()


def test_every_kind_of_file_is_the_same_head(tmp_path: Path) -> None:
    arrays = random_arrays(width=400)
    wide = {name: value.astype(np.float64) if value.dtype.kind == "f" else value for name, value in arrays.items()}
    wide["J_regressor"] = scipy.sparse.csc_matrix(wide["J_regressor"])
    first = load_head(save_pickle(tmp_path, wide))
    first.save(tmp_path / "head.safetensors")
    heads = [first, load_head(tmp_path / "head.safetensors"), load_arrays(tmp_path, arrays)]
    params = random_params(3, 100)
    for head in heads:
        assert head.hash == _hash(arrays)
        assert (head.n_shape, head.n_expression) == (300, 100)
        np.testing.assert_array_equal(head(params), first(params))


def test_the_kind_is_recognized_by_content(tmp_path: Path) -> None:
    head = load_arrays(tmp_path, random_arrays())
    head.save(tmp_path / "head.safetensors")
    for name, source in (("a.pkl", "head.npz"), ("b.npz", "head.safetensors"), ("c", "head.safetensors")):
        (tmp_path / name).write_bytes((tmp_path / source).read_bytes())
        assert load_head(tmp_path / name).hash == head.hash
    assert load_head(str(save_pickle(tmp_path, random_arrays(), "d.npz"))).hash == head.hash


def test_a_sparse_regressor_inside_an_npz(tmp_path: Path) -> None:
    arrays = random_arrays()
    sparse: Any = arrays | {"J_regressor": scipy.sparse.csc_matrix(arrays["J_regressor"])}
    assert load_arrays(tmp_path, sparse).hash == _hash(arrays)


def test_a_compressed_npz(tmp_path: Path) -> None:
    arrays = random_arrays()
    np.savez_compressed(tmp_path / "head.npz", **arrays)  # type: ignore[arg-type]
    assert load_head(tmp_path / "head.npz").hash == _hash(arrays)


def test_half_precision_bases_load_as_float32(tmp_path: Path) -> None:
    arrays = random_arrays()
    arrays["shapedirs"] = arrays["shapedirs"].astype(np.float16)
    save_file(arrays, tmp_path / "half.safetensors", {"n_shape": "12", "n_expression": "8"})
    head = load_head(tmp_path / "half.safetensors")
    assert (head.n_shape, head.n_expression) == (12, 8)
    assert head.arrays.shapedirs.dtype == np.float32
    assert head.hash == _hash(arrays)


def _full(folder: Path) -> FlameHead:
    rng = np.random.default_rng(0)
    widths = {"expression": 10, "jaw_pose": 3, "leye_pose": 3, "reye_pose": 3}
    arrays = random_arrays() | {
        "vertex_colors": rng.integers(0, 256, size=(60, 3)).astype(np.uint8),
        "region": rng.integers(0, 4, size=60).astype(np.uint8),
        "mirror": rng.permutation(60).astype(np.uint32),
        **{f"blendshape_{name}": rng.normal(size=(52, width)).astype("f4") for name, width in widths.items()},
    }
    return load_arrays(folder, arrays, version="a test")


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    head = _full(tmp_path)
    head.save(tmp_path / "again.safetensors")
    again = load_head(tmp_path / "again.safetensors")
    assert again.hash == head.hash
    assert again.version == "a test"
    assert again.source_sha256 == hashlib.sha256((tmp_path / "head.npz").read_bytes()).hexdigest()
    for name in ("faces", "vertex_colors", "region", "mirror"):
        np.testing.assert_array_equal(getattr(again, name), getattr(head, name))
    np.testing.assert_array_equal(again.blendshapes().expression, head.blendshapes().expression)
    np.testing.assert_array_equal(again(random_params(4, 10)), head(random_params(4, 10)))
    again.save(tmp_path / "third.safetensors")
    assert load_head(tmp_path / "third.safetensors").source_sha256 == again.source_sha256


def test_the_same_head_is_saved_as_the_same_bytes(tmp_path: Path) -> None:
    head = _full(tmp_path)
    code = "import sys; from mp2flame.head import load_head; load_head(sys.argv[1], version='a test').save(sys.argv[2])"
    for name in ("first", "second", "third"):
        command = [sys.executable, "-c", code, str(tmp_path / "head.npz"), str(tmp_path / f"{name}.safetensors")]
        subprocess.run(command, check=True)
    head.save(tmp_path / "own.safetensors")
    assert len({path.read_bytes() for path in tmp_path.glob("*.safetensors")}) == 1


def test_saving_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head = load_arrays(tmp_path, random_arrays())
    target = tmp_path / "out" / "head.safetensors"
    with pytest.raises(MissingFileError, match=r"cannot write .*head\.safetensors"):
        head.save(target)
    target.parent.mkdir()
    target.write_bytes(b"before")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(SinkError, match="No space left on device"):
        head.save(target)
    assert [path.name for path in target.parent.iterdir()] == ["head.safetensors"]
    assert target.read_bytes() == b"before"


def test_saving_refuses_other_suffixes_and_baked_identities(tmp_path: Path) -> None:
    head = load_arrays(tmp_path, random_arrays())
    with pytest.raises(InputError, match=r"ends in \.safetensors; got 'head\.pkl'"):
        head.save(tmp_path / "head.pkl")
    with pytest.raises(InputError, match="identity baked in"):
        head.with_shape([1.0]).save(tmp_path / "head.safetensors")


def test_describe(tmp_path: Path) -> None:
    facts = describe(_full(tmp_path))
    assert facts["version"] == "a test"
    assert (facts["vertices"], facts["faces"]) == (60, 120)
    assert (facts["identity coefficients"], facts["expression coefficients"]) == (10, 10)
    assert facts["ARKit shapes"] is facts["vertex colors"] is facts["regions"] is True
    assert describe(load_head("builtin"))["licence"] == "CC0-1.0"


def _flame_sized() -> Arrays:
    return random_arrays(n_vertices=5023, width=20)


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("flame2023_Open.pkl", "version unknown; FLAME 2023 Open by its file name"),
        ("flame2023_no_jaw.pkl", "version unknown; FLAME 2023 no-jaw by its file name"),
        ("flame2023.pkl", "version unknown; FLAME 2023 by its file name"),
        ("FLAME2020/generic_model.pkl", "version unknown; FLAME 2020 by its folder name"),
        ("somewhere/generic_model.pkl", "version unknown"),
    ],
)
def test_a_file_name_is_only_a_hint(tmp_path: Path, name: str, version: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    path = save_pickle(tmp_path, _flame_sized(), name)
    assert load_head(path).version == f"FLAME-sized head (5023 vertices), {version}"
    assert load_head(path, version="FLAME 2023").version == "FLAME 2023"


def test_contents_hint_at_the_open_release(tmp_path: Path) -> None:
    path = save_pickle(tmp_path, _flame_sized() | {"supr_expression_metadata": {"n_expr": 100}}, "flame.pkl")
    assert load_head(path).version.endswith("version unknown; FLAME 2023 Open by its contents")


def test_a_head_of_another_size_is_another_head(tmp_path: Path) -> None:
    assert load_arrays(tmp_path, random_arrays()).version == "other (60 vertices)"


def test_an_official_file_is_known_by_its_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save_pickle(tmp_path, random_arrays(), "renamed.pkl")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(versions_module, "OFFICIAL_FILES", {digest: "FLAME 2020"})
    assert load_head(path).version == load_head(path, version="FLAME 2020").version == "FLAME 2020"
    with pytest.raises(InputError, match=r"expected version 'FLAME 2020'.*got 'FLAME 2023'"):
        load_head(path, version="FLAME 2023")
    load_head(path).save(tmp_path / "head.safetensors")
    assert load_head(tmp_path / "head.safetensors").version == "FLAME 2020"


def test_the_official_hashes_are_hashes() -> None:
    assert all(len(bytes.fromhex(digest)) == 32 for digest in versions_module.OFFICIAL_FILES)
    assert len(set(versions_module.OFFICIAL_FILES.values())) == len(versions_module.OFFICIAL_FILES)


@pytest.mark.parametrize(
    ("width", "n_shape", "sizes"), [(400, None, (300, 100)), (20, None, (10, 10)), (30, 25, (25, 5))]
)
def test_splits(tmp_path: Path, width: int, n_shape: int | None, sizes: tuple[int, int]) -> None:
    head = load_arrays(tmp_path, random_arrays(width=width), n_shape=n_shape)
    assert (head.n_shape, head.n_expression) == sizes
