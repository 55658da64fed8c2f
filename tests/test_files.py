"""Files appear whole or not at all, never over what is read, with the same bytes, and are read with limits."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from mp2flame.errors import FormatError, InputError, MissingFileError, SinkError
from mp2flame.files import (
    AtomicFile,
    AtomicFolder,
    check_outputs,
    check_regular,
    check_writable,
    encode_safetensors,
    exclusive_lock,
    expand_home,
    file_sha256,
    npz_names,
    read_bounded,
    read_npz,
    read_safetensors,
    read_zip_member,
    write_atomic,
)


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- writing


def test_a_file_keeps_its_old_content_until_the_new_one_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    write_atomic(target, b"old")
    with AtomicFile(target) as temporary:
        temporary.write_bytes(b"new")
        assert target.read_bytes() == b"old"
    assert target.read_bytes() == b"new"
    assert _names(tmp_path) == ["a.bin"]


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    write_atomic(target, b"old")
    with suppress(KeyError), AtomicFile(target) as temporary:
        temporary.write_bytes(b"half")
        raise KeyError
    with pytest.raises(SinkError, match=r"cannot write .*a\.bin: No space left"), AtomicFile(target):
        raise OSError(28, "No space left on device")
    assert target.read_bytes() == b"old"
    assert _names(tmp_path) == ["a.bin"]


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with suppress(KeyError), AtomicFolder(target) as temporary:
        (temporary / "a").write_bytes(b"half")
        raise KeyError
    assert _names(tmp_path) == []
    target.mkdir()
    with AtomicFolder(target) as temporary:
        (temporary / "a").write_bytes(b"whole")
    assert _names(tmp_path) == ["out"]
    assert (target / "a").read_bytes() == b"whole"
    with pytest.raises(InputError, match="exists and is not empty"):
        AtomicFolder(target)


def test_leftovers_of_dead_processes_are_removed_and_those_of_living_ones_stay(tmp_path: Path) -> None:
    code = """
import os, sys
from pathlib import Path
from mp2flame.files import AtomicFile, AtomicFolder
AtomicFile(Path(sys.argv[1]) / "a.bin").temporary.write_bytes(b"half")
(AtomicFolder(Path(sys.argv[1]) / "a [1].bin").temporary / "x").write_bytes(b"half")
print(flush=True)
sys.stdin.read()
os._exit(1)
"""
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        assert len(_names(tmp_path)) == 2
        write_atomic(tmp_path / "a.bin", b"whole")
        assert len(_names(tmp_path)) == 3
        process.stdin.close()
        process.wait()
    write_atomic(tmp_path / "a.bin", b"whole")
    with AtomicFolder(tmp_path / "a [1].bin"):
        pass
    assert _names(tmp_path) == ["a [1].bin", "a.bin"]


def test_names_up_to_the_limit_of_the_file_system_can_be_written(tmp_path: Path) -> None:
    for name in ("x" * 255, "顔" * 85, "~a.npz", " b", "-c"):
        write_atomic(tmp_path / name, b"data")
        assert (tmp_path / name).read_bytes() == b"data"
    for name in ("x" * 256, "a\0b"):
        with pytest.raises(InputError, match="cannot use the name"):
            write_atomic(tmp_path / name, b"data")


def test_what_cannot_be_written_is_noticed_before_the_work(tmp_path: Path) -> None:
    check_writable(tmp_path / "a.bin")
    check_writable(tmp_path / "new", folder=True)
    check_writable(tmp_path, folder=True)
    assert _names(tmp_path) == []
    (tmp_path / "a.bin").touch()
    check_writable(tmp_path / "a.bin")
    with pytest.raises(MissingFileError, match="does not exist; make it first"):
        check_writable(tmp_path / "no" / "a.bin")
    with pytest.raises(MissingFileError, match="does not exist; make it first"):
        check_writable(tmp_path / "a.bin" / "b.bin")
    with pytest.raises(InputError, match="it is a folder"):
        check_writable(tmp_path)
    with pytest.raises(InputError, match="there is a file of that name"):
        check_writable(tmp_path / "a.bin", folder=True)
    with pytest.raises(SinkError, match=r"cannot write /proc/a\.bin"):
        check_writable(Path("/proc/a.bin"))


def test_only_one_process_holds_a_lock(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    code = f"""
from pathlib import Path
from mp2flame.errors import SinkError
from mp2flame.files import exclusive_lock
try:
    with exclusive_lock(Path({str(lock)!r}), "another one is at work"):
        print("held")
except SinkError as error:
    print(error)
"""

    def other() -> str:
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()

    with exclusive_lock(lock, ""):
        assert other() == "another one is at work"
    assert other() == "held"


# --- outputs and inputs


def test_outputs_that_are_the_same_file_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    check_outputs(["a.npz", "b.npz", "sub/a.npz"])
    for other in ("a.npz", "./a.npz", "sub/../a.npz", tmp_path / "a.npz"):
        with pytest.raises(InputError, match="expected different outputs"):
            check_outputs(["a.npz", other])
    (tmp_path / "link").symlink_to(tmp_path / "sub", target_is_directory=True)
    with pytest.raises(InputError, match="which are the same file"):
        check_outputs(["sub/a.npz", "link/a.npz"])


def test_outputs_that_are_inputs_are_refused_however_they_are_spelled(tmp_path: Path) -> None:
    source = tmp_path / "take.jsonl"
    source.write_bytes(b"{}")
    os.link(source, tmp_path / "hard.jsonl")
    (tmp_path / "soft.jsonl").symlink_to(source)
    (tmp_path / "sub").mkdir()
    for output in (source, tmp_path / "hard.jsonl", tmp_path / "soft.jsonl", tmp_path / "sub" / ".." / "take.jsonl"):
        with pytest.raises(InputError, match=r"the output .*jsonl is the input .*take\.jsonl"):
            check_outputs([output], ["builtin", "0", "ws://127.0.0.1:1", source])
    check_outputs([tmp_path / "other.jsonl"], ["builtin", "a\0b", "x" * 300, source])


# --- reading


@pytest.mark.timeout(30)
def test_only_regular_files_of_an_honest_size_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    assert read_bounded(path, "thing", limit=5) == b"12345"
    with pytest.raises(FormatError, match="expected a thing of at most 4 bytes; got 5"):
        read_bounded(path, "thing", limit=4)
    os.mkfifo(tmp_path / "pipe")
    for odd, kind in ((tmp_path / "pipe", "pipe"), (Path("/dev/zero"), "device"), (tmp_path, "a folder")):
        with pytest.raises(FormatError, match=f"expected a thing; got .*{kind}"):
            check_regular(odd, "thing")
    with pytest.raises(MissingFileError, match=r"expected a thing at .*; there is no such file"):
        check_regular(tmp_path / "none", "thing")


def test_the_hash_is_that_of_the_whole_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert file_sha256(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


_ARRAYS = {
    "b": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a": np.array([1, 2], dtype=">i8"),
    "c": np.asfortranarray(np.arange(6, dtype=np.uint8).reshape(2, 3)),
    "d": np.array([[True]]),
    "e": np.zeros((0, 3), dtype=np.float16),
}


def test_safetensors_have_the_same_bytes_and_the_package_reads_them(tmp_path: Path) -> None:
    data = encode_safetensors(_ARRAYS, {"z": "1", "y": "ü"})
    assert data == encode_safetensors(dict(reversed(_ARRAYS.items())), {"y": "ü", "z": "1"})
    assert (8 + int.from_bytes(data[:8], "little")) % 8 == 0
    for name, array in safetensors.numpy.load(data).items():
        np.testing.assert_array_equal(array, _ARRAYS[name])
    path = tmp_path / "a.safetensors"
    path.write_bytes(data)
    arrays, metadata = read_safetensors(path, "thing", limit=len(data), advice="", keys=("a", "b", "none"))
    assert sorted(arrays) == ["a", "b"]
    assert metadata == {"y": "ü", "z": "1"}
    with pytest.raises(FormatError, match="at most"):
        read_safetensors(path, "thing", limit=len(data) - 1, advice="")


def test_broken_safetensors_are_format_errors(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    data = encode_safetensors(_ARRAYS, {})
    for cut in (0, 7, 20, len(data) - 1):
        path.write_bytes(data[:cut])
        with pytest.raises(FormatError, match=r"truncated or no \.safetensors file .*; make it again"):
            read_safetensors(path, "thing", limit=1 << 20, advice="make it again")


def test_npz_as_numpy_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with path.open("wb") as file:
        np.savez_compressed(file, **_ARRAYS, odd=np.array([None], dtype=object))  # type: ignore[arg-type]
    arrays = read_npz(path, "thing", limit=1 << 20)
    assert sorted(arrays) == sorted(_ARRAYS)
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, _ARRAYS[name])
        assert array.dtype == _ARRAYS[name].dtype
    assert sorted(read_npz(path, "thing", limit=1 << 20, keys=("a", "b"), skip=("b",))) == ["a"]
    with pytest.raises(FormatError, match="a thing has at most 100"):
        read_npz(path, "thing", limit=100)


def test_damaged_npz_are_format_errors(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with path.open("wb") as file:
        np.savez_compressed(file, **_ARRAYS)  # type: ignore[arg-type]
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(500):
        broken = bytearray(whole)
        for place in rng.integers(0, len(whole), size=3):
            broken[place] = rng.integers(0, 256)
        path.write_bytes(broken)
        try:
            read_npz(path, "thing", limit=1 << 20)
        except FormatError:
            refused += 1
    assert refused > 200


def test_a_member_of_an_archive_is_read_with_a_limit(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", bytes(1000))
    assert read_zip_member(path, "data.pkl", "thing", limit=1000) == bytes(1000)
    assert read_zip_member(path, "other", "thing", limit=1000) is None
    with pytest.raises(FormatError, match="unpacks to 1000 bytes; a thing has at most 999"):
        read_zip_member(path, "data.pkl", "thing", limit=999)
    path.write_bytes(b"PK")
    with pytest.raises(FormatError, match="truncated, damaged or no thing"):
        read_zip_member(path, "data.pkl", "thing", limit=1000)


def test_small_files_of_parameters_do_not_unpack_to_hundreds_of_megabytes(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with path.open("wb") as file:
        np.savez_compressed(file, a=np.zeros(1 << 25), b=np.zeros(1 << 10))
    assert npz_names(path, "thing") == {"a", "b"}
    with pytest.raises(FormatError, match="a thing has at most 268435456"):
        read_npz(path, "thing")
    assert read_npz(path, "thing", skip=("a",))["b"].shape == (1 << 10,)


def test_a_tilde_is_the_home_folder_only_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    assert expand_home("~/a.mp4") == Path("/home/someone/a.mp4")
    for name in ("~take.mp4", "a~b.mp4", "./~/a.mp4"):
        assert expand_home(name) == Path(name)
