"""Head files that are wrong, foreign, truncated or damaged: each says what it is and what to do."""

from __future__ import annotations

import gzip
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from mp2flame.blendshapes import ARKIT
from mp2flame.errors import FormatError, InputError, MissingFileError
from mp2flame.head import load_head
from tests.helpers.heads import load_arrays, random_arrays, save_pickle


def _change(name: str, value: Any) -> Any:
    return lambda arrays: arrays | {name: value(arrays[name])}


def _put(index: Any, value: float) -> Any:
    def changed(array: Any) -> Any:
        array = array.copy()
        array[index] = value
        return array

    return changed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: {k: v for k, v in a.items() if k != "posedirs"}, r"expected a FLAME head with posedirs; got J_reg"),
        (lambda _: {"score": np.zeros(3)}, r"expected a FLAME head with v_template; got nothing"),
        (_change("v_template", lambda a: a.T), r"v_template must have shape \(V, 3\); got \(3, 60\)"),
        (_change("v_template", lambda a: a[:0]), "with vertices; got none"),
        (_change("v_template", _put(0, np.nan)), "v_template must be finite; got NaN"),
        (_change("shapedirs", lambda a: a[:50]), r"shapedirs must have shape \(60, 3, S \+ E\); got \(50, 3, 20\)"),
        (_change("shapedirs", lambda a: a[:, :, :15]), r"got 15\. Say how many are identity.*n_shape="),
        (_change("posedirs", lambda a: a[:, :, :27]), r"posedirs must have shape \(60, 3, 36\); got \(60, 3, 27\)"),
        (_change("posedirs", _put((0, 0, 0), np.inf)), "posedirs must be finite"),
        (_change("weights", lambda a: a.astype(float) + 1e300), "weights must be finite"),
        (_change("J_regressor", lambda a: a[:4]), r"J_regressor must have shape \(5, 60\); got \(4, 60\)"),
        (_change("weights", lambda a: a[:, :4]), r"weights must have shape \(60, 5\)"),
        (_change("f", lambda a: a.astype(float)), "f must be whole numbers; got float64"),
        (_change("f", lambda a: a + 1), r"f must index 60 vertices; got \d+ to 60"),
        (_change("f", lambda a: a.astype(int) - 1), r"f must index 60 vertices; got -1"),
        (_change("kintree_table", lambda a: a[:, :3]), r"kintree_table must have shape \(2, 5\)"),
        (_change("kintree_table", _put((0, 2), 3)), r"kintree_table must give -1 .* got \[-1, 0, 3, 1, 1\]"),
        (_change("kintree_table", _put((0, 0), 0)), r"got \[0, 0, 1, 1, 1\]"),
        (lambda a: a | {"vertex_colors": np.zeros((60, 4), np.uint8)}, r"vertex_colors must have shape \(60, 3\)"),
        (lambda a: a | {"mirror": np.full(60, 60)}, "mirror must index 60 vertices"),
        (lambda a: a | {"blendshape_jaw_pose": np.zeros((52, 3))}, "expected a FLAME head with blendshape_expression"),
    ],
)
def test_wrong_arrays_are_refused(tmp_path: Path, change: Any, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        load_arrays(tmp_path, change(random_arrays()))


@pytest.mark.parametrize("n_shape", [-1, 21])
def test_an_impossible_split_is_refused(tmp_path: Path, n_shape: int) -> None:
    with pytest.raises(FormatError, match="expected n_shape from 0 to 20"):
        load_arrays(tmp_path, random_arrays(), n_shape=n_shape)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"format": "mp2flame-mapping"}, "got 'mp2flame-mapping'"),
        ({"format_version": "99"}, "version 99"),
        ({"n_shape": "ten"}, "whole numbers"),
        ({"n_shape": "10", "n_expression": "50"}, "says 10 identity and 50 expression.* has 20"),
        ({"blendshape_names": json.dumps(list(ARKIT[::-1]))}, "Apple's order"),
    ],
)
def test_wrong_metadata_is_refused(tmp_path: Path, metadata: dict[str, str], message: str) -> None:
    save_file(random_arrays(), tmp_path / "head.safetensors", metadata)
    with pytest.raises(FormatError, match=message):
        load_head(tmp_path / "head.safetensors")


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"nothing\.pkl: no such head file.*flame\.is\.tue\.mpg\.de"):
        load_head(tmp_path / "nothing.pkl")


def test_a_folder(tmp_path: Path) -> None:
    (tmp_path / "flame2023.pkl").touch()
    with pytest.raises(FormatError, match=r"got a folder.*flame2023\.pkl"):
        load_head(tmp_path)


def _zip(folder: Path, member: str) -> bytes:
    path = folder / "made.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, b"x")
    return path.read_bytes()


@pytest.mark.parametrize("name", ["head.pkl", "head.npz", "head.safetensors", "head"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "an empty file"),
        (b"<!DOCTYPE html><html>Sign in</html>", "a web page.*signing in"),
        (b"\xef\xbb\xbf\r\n<html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 5\n", "Git LFS pointer.*git lfs pull"),
        (gzip.compress(b"head", mtime=0), "gzip file: unpack"),
        (b"\x93NUMPY\x01\x00", r"single \.npy array"),
    ],
)
def test_foreign_files_are_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FormatError, match=message):
        load_head(tmp_path / name)


def test_foreign_archives_and_meshes(tmp_path: Path) -> None:
    for member, message in (("FLAME2023/flame2023.pkl", r"flame2023\.pkl in it: unpack"), ("a.txt", "a zip archive")):
        (tmp_path / "head.npz").write_bytes(_zip(tmp_path, member))
        with pytest.raises(FormatError, match=message):
            load_head(tmp_path / "head.npz")
    (tmp_path / "head.obj").write_text("v 0 0 0\n")
    with pytest.raises(FormatError, match="a plain mesh"):
        load_head(tmp_path / "head.obj")
    (tmp_path / "head.bin").write_bytes(os.urandom(64).replace(b"\x80", b"\x81"))
    with pytest.raises(FormatError, match="an unknown kind that begins"):
        load_head(tmp_path / "head.bin")
    with pytest.raises(FormatError, match="a pickled dictionary of arrays; got list"):
        load_head(save_pickle(tmp_path, [1, 2]))


@pytest.mark.parametrize("kind", ["pkl", "npz", "compressed", "safetensors"])
def test_truncated_files(tmp_path: Path, kind: str) -> None:
    arrays = random_arrays(n_vertices=30)
    path = tmp_path / "head.bin"
    if kind == "pkl":
        path = save_pickle(tmp_path, arrays)
    elif kind == "safetensors":
        save_file(arrays, path)
    else:
        with path.open("wb") as file:
            (np.savez if kind == "npz" else np.savez_compressed)(file, **arrays)  # type: ignore[arg-type]
    whole = path.read_bytes()
    assert load_head(path).n_vertices == 30
    for cut in (2, 7, 9, 40, 200, len(whole) // 3, len(whole) // 2, len(whole) - 100, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(FormatError, match=r"truncated|damaged|unknown kind|FLAME head"):
            load_head(path)


@pytest.mark.parametrize("kind", ["npz", "safetensors", "pkl"])
def test_damaged_bytes_never_escape_as_another_error(tmp_path: Path, kind: str) -> None:
    rng = np.random.default_rng(0)
    arrays = random_arrays(n_vertices=8)
    if kind == "npz":
        load_arrays(tmp_path, arrays)
    elif kind == "safetensors":
        save_file(arrays, tmp_path / "head.safetensors")
    else:
        save_pickle(tmp_path, arrays)
    path = tmp_path / f"head.{kind}"
    whole = path.read_bytes()
    refused = 0
    for _ in range(300):
        broken = bytearray(whole)
        for place in rng.integers(0, min(len(whole), 3000), size=3):
            broken[place] = rng.integers(0, 256)
        path.write_bytes(broken)
        try:
            load_head(path)
        except FormatError:
            refused += 1
    assert refused > 100


def test_an_npz_cannot_unpack_without_end(tmp_path: Path) -> None:
    path = tmp_path / "head.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("v_template.npy", "w") as member:
        block = bytes(1 << 24)
        for _ in range(33):
            member.write(block)
    with pytest.raises(FormatError, match=r"its arrays unpack to .* bytes; a head file has at most"):
        load_head(path)


def test_members_cannot_unpack_without_end_together(tmp_path: Path) -> None:
    path = tmp_path / "head.npz"
    block = bytes(1 << 24)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("v_template", "shapedirs", "posedirs"):
            with archive.open(f"{name}.npy", "w") as member:
                for _ in range(11):
                    member.write(block)
    assert path.stat().st_size < 1 << 20
    with pytest.raises(FormatError, match=r"its arrays unpack to \d+ bytes; a head file has at most"):
        load_head(path)


def _member(header: bytes, data: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data


def _header(shape: str, descr: str = "'<f4'") -> bytes:
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}\n".encode()


@pytest.mark.parametrize(
    "member",
    {
        "a huge shape": _member(_header("(0, 100000000000000000000, 3)")),
        "a shape of booleans": _member(_header("(True, 3)"), bytes(12)),
        "a negative shape": _member(_header("(-1, 3)"), bytes(12)),
        "a huge claim": _member(_header("(1000000000, 3)"), bytes(12)),
        "a structured dtype": _member(_header("(1, 3)", "[('a', '<f4')]"), bytes(12)),
        "text": _member(_header("(1, 3)", "'<U1'"), bytes(12)),
        "complex numbers": _member(_header("(1, 3)", "'<c8'"), bytes(24)),
        "no bytes in an entry": _member(_header("(1, 3)", "'<V0'")),
        "a header cut short": _member(_header("(1, 3)")[:-5]),
        "a header that is no Python": _member(b"{'descr': ("),
        "a nested header": _member(b"[" * 9_000 + b"]" * 9_000),
        "an unknown version": b"\x93NUMPY\x07\x00" + bytes(20),
        "no array": b"x" * 100,
        "a damaged pickle": _member(_header("()", "'|O'"), b"\x80\x02" + b"]" * 30_000),
    }.items(),
    ids=lambda item: item[0],
)
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_LZMA])
def test_strange_members_are_format_errors(tmp_path: Path, member: tuple[str, bytes], compression: int) -> None:
    path = tmp_path / "head.npz"
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("v_template.npy", member[1])
    with pytest.raises(FormatError) as caught:
        load_head(path)
    assert len(str(caught.value)) < 600


def test_encrypted_and_damaged_members_are_format_errors(tmp_path: Path) -> None:
    path = tmp_path / "head.npz"
    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        with zipfile.ZipFile(path, "w", compression) as archive:
            archive.writestr("v_template.npy", _member(_header("(40, 3)"), os.urandom(480)))
        whole = path.read_bytes()
        encrypted = bytearray(whole)
        for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
            encrypted[encrypted.index(signature) + flags] |= 1
        damaged = bytearray(whole)
        damaged[200:260] = bytes(60)
        moved = whole.replace(b"PK\x05\x06", b"PK\x05\x06", 1)[:-6] + b"\xff\xff\xff\x7f\0\0"
        for content in (encrypted, damaged, moved):
            path.write_bytes(content)
            with pytest.raises(FormatError, match="head"):
                load_head(path)


@pytest.mark.timeout(30)
def test_pipes_and_devices_are_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pkl")
    for path in (tmp_path / "pipe.pkl", Path("/dev/zero")):
        with pytest.raises(FormatError, match="expected a head file; got a pipe, device or socket"):
            load_head(path)


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (b"\x1aE\xdf\xa3", "an unknown kind"),
        (b"\x80\x02}", "at most 536870912 bytes"),
        (b"PK\x03\x04", "at most 536870912 bytes"),
        (b"\x10\0\0\0\0\0\0\0{", "at most 536870912 bytes"),
    ],
)
def test_a_file_too_large_for_a_head_is_not_read(tmp_path: Path, start: bytes, message: str) -> None:
    path = tmp_path / "movie.bin"
    with path.open("wb") as file:
        file.write(start)
        file.truncate(6 << 30)
    with pytest.raises(FormatError, match=message):
        load_head(path)


def test_names_that_cannot_exist_are_refused() -> None:
    for name in ("x" * 300 + ".pkl", "a\0b.pkl"):
        with pytest.raises(InputError, match="cannot use the name"):
            load_head(name)
