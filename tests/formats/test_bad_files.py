"""Parameter files that are truncated, foreign, hostile or inconsistent: one clear error each, and nothing is run."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mp2flame import load_params
from mp2flame.data import FlameParams
from mp2flame.errors import FormatError, MissingFileError
from mp2flame.formats.tracked_person import read_tracked_videos

_N = 6


def _npz(**changes: Any) -> bytes:
    """An `.npz` in VHAP's layout with some arrays replaced, or left out where the change is None."""
    widths = {"rotation": 3, "translation": 3, "neck_pose": 3, "jaw_pose": 3, "eyes_pose": 6, "expr": 100}
    arrays: dict[str, Any] = {name: np.ones((_N, width), dtype="f4") for name, width in widths.items()}
    arrays = {name: array for name, array in (arrays | changes).items() if array is not None}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def _member(data: bytes) -> bytes:
    """An archive whose `expr` is these bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("expr.npy", data)
    return buffer.getvalue()


def _array_bytes(shape: str) -> bytes:
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + b"\0" * 400


def _flagged(data: bytes, flag: int, *, method: int | None = None) -> bytes:
    """An archive whose members have this flag and method, in the local headers and in the directory."""
    changed = bytearray(data)
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = changed.find(mark)
        while start >= 0:
            changed[start + flags] |= flag
            if method is not None:
                changed[start + flags + 2 : start + flags + 4] = method.to_bytes(2, "little")
            start = changed.find(mark, start + 4)
    return bytes(changed)


def _with_nan(width: int) -> np.ndarray:
    array = np.zeros((_N, width), dtype="f4")
    array[3, 1] = np.nan
    return array


_JSON_FRAME = {"file_path": "./image/1", "expression": [0.0] * 50, "pose": [0.0] * 15}


def _flame_json(*frames: Any, **changes: Any) -> bytes:
    document: dict[str, Any] = {"frames": list(frames), "shape_params": [0.0] * 100}
    return json.dumps(document | changes).encode()


_CSV = b"time,found,expression_0,jaw_pose_x,jaw_pose_y,jaw_pose_z\n"

BAD: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is empty, not a parameter file"),
    "torch pickle": (pickle.dumps({"exp": [0.0]}), "is not a parameter file: expected .npz.*they can run code"),
    "npy": (_array_bytes("(10, 10)"), "is not a parameter file"),
    "web page": (b"<!DOCTYPE html><html><body>404</body></html>", "expected a table with the columns time"),
    "zip of something else": (_member(b"hello"), "expr|damaged"),
    "no expression": (_npz(expr=None), "holds no FLAME parameters: expected expr .*got eyes_pose, jaw_pose"),
    "no jaw": (_npz(jaw_pose=None), "expected an array 'jaw_pose'; got only"),
    "pickled array": (_npz(jaw_pose=np.array([{}] * _N, dtype=object)), "expected an array 'jaw_pose'"),
    "pickled everything": (_npz(expr=np.array([print], dtype=object)), "holds no FLAME parameters"),
    "text array": (_npz(expr=np.array([["a"]])), "expr must be an array of float32"),
    "wide jaw": (_npz(jaw_pose=np.zeros((_N, 4))), r"jaw_pose must have shape \(6, 3\); got \(6, 4\)"),
    "short jaw": (_npz(jaw_pose=np.zeros((_N - 1, 3))), r"jaw_pose must have shape \(6, 3\); got \(5, 3\)"),
    "no frames": (_npz(expr=np.zeros((0, 100))), r"expr must hold at least one frame; got \(0, 100\)"),
    "flat": (_npz(expr=np.zeros(100)), r"expr must have shape"),
    "nan": (_npz(neck_pose=_with_nan(3)), "neck_pose must be finite where a face was found"),
    "nan expression": (_npz(expr=_with_nan(100)), "expression must be finite where a face was found"),
    "too large for float32": (_npz(neck_pose=np.full((_N, 3), 1e300)), "neck_pose must be finite"),
    "nan identity": (_npz(shape=np.array([np.nan])), "shape must be finite"),
    "times": (_npz(time=np.zeros(_N + 1)), r"time must have shape \(6,\); got \(7,\)"),
    "nan times": (_npz(time=np.full(_N, np.nan)), "time must be finite"),
    "found is no flag": (_npz(found=np.full(_N, 0.5)), "found must be an array of bool"),
    "width": (_npz(n_expression=np.array(101)), "n_expression must be a whole number up to 100"),
    "width is text": (_npz(n_expression=np.array("a")), "n_expression must be a finite number"),
    "a shape of truth": (_member(_array_bytes("(True, 3)")), "damaged"),
    "a shape below zero": (_member(_array_bytes("(-1, 3)")), "damaged"),
    "a header cut off": (_member(_array_bytes("(1, 3)")[:40]), "damaged"),
    "a nested header": (_member(_array_bytes("(" * 60)), "damaged"),
    "encrypted": (_flagged(_npz(), 0x1), "damaged"),
    "packed by an unknown method": (_flagged(_npz(), 0, method=99), "damaged"),
    "damaged LZMA": (_flagged(_npz(), 0, method=14), "damaged"),
    "claims a terabyte": (_member(_array_bytes("(1000000000000,)")), "damaged"),
    "claims more than there is": (_member(_array_bytes("(1000, 100)")), "damaged"),
    "json of something else": (b'{"a": 1}', "expected IMAvatar's flame_params.json"),
    "json list": (b'{"frames": [1], "shape_params": []}', "expected IMAvatar's flame_params.json"),
    "json cut off": (_flame_json(_JSON_FRAME)[:-20], "expected IMAvatar's flame_params.json"),
    "json without frames": (_flame_json(), "expected at least one frame; got none"),
    "json pose of 6": (_flame_json(_JSON_FRAME | {"pose": [0.0] * 6}), r"frame 1: pose must have shape \(1, 15\)"),
    "json ragged": (_flame_json(_JSON_FRAME | {"pose": [[0.0], [1.0, 2.0]]}), "expected IMAvatar"),
    "json null": (_flame_json(_JSON_FRAME | {"expression": [None] * 50}), "expression must be an array of float32"),
    "json deep": (b'{"frames":' + b"[" * 200_000, "expected IMAvatar's"),
    "csv without rows": (_CSV, "expected at least one row"),
    "csv short row": (_CSV + b"0,1,2\n", "line 2: expected 6 cells; got 3"),
    "csv word": (_CSV + b"0,1,2,3,4,5\n0,1,a,3,4,5\n", "line 3: expected numbers; could not convert"),
    "csv hole": (_CSV + b"0,1,,3,4,5\n", "expression must be finite where a face was found"),
    "csv no time": (_CSV + b",1,2,3,4,5\n", "time must be finite"),
    "csv huge": (_CSV + b"0,1,1e300,3,4,5\n", "expression must be finite"),
    "csv half a pose": (b"time,expression_0,jaw_pose_x\n0,0,0\n", "got no jaw_pose_y, jaw_pose_z"),
    "csv twice": (b"time,time,expression_0\n0,0,0\n", "expected a table"),
    "live link csv": (b"Timecode,BlendshapeCount,EyeBlinkLeft\n", "a Live Link Face CSV is a source"),
    "latin-1": (_CSV + b"\xff\n", "is no CSV table"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_named(tmp_path: Path, name: str) -> None:
    data, message = BAD[name]
    path = tmp_path / "motion.npz"
    path.write_bytes(data)
    with pytest.raises(FormatError, match=message) as caught:
        load_params(path)
    assert str(path) in str(caught.value)


def test_a_file_that_would_run_code_runs_nothing(tmp_path: Path) -> None:
    witness = tmp_path / "ran"

    class Trap:
        def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
            return (Path.touch, (str(witness),))

    np.savez(tmp_path / "trap.npz", expr=np.array([Trap()], dtype=object))
    (tmp_path / "trap.frame").write_bytes(pickle.dumps(Trap()))
    for name in ("trap.npz", "trap.frame"):
        with pytest.raises(FormatError):
            load_params(tmp_path / name)
    assert not witness.exists()


@pytest.mark.parametrize("suffix", [".npz", ".csv"])
def test_a_file_cut_off_anywhere_is_refused_or_whole(tmp_path: Path, suffix: str) -> None:
    params = FlameParams.neutral(_N, n_expression=3, time=np.arange(_N))
    whole = tmp_path / f"whole{suffix}"
    params.save(whole)
    data = whole.read_bytes()
    cut = tmp_path / f"cut{suffix}"
    # A text table cut off at the end of a row or inside its last number is a shorter table.
    last_row = data.rindex(b"\n", 0, -1) if suffix == ".csv" else len(data)
    for length in range(0, len(data), max(1, len(data) // 300)):
        cut.write_bytes(data[:length])
        try:
            got = load_params(cut)
        except FormatError:
            continue
        assert suffix == ".csv"
        assert len(got) < _N or length > last_row
        np.testing.assert_array_equal(got.time, np.arange(len(got)))


def test_a_flipped_byte_in_an_npz_never_gives_another_error(tmp_path: Path) -> None:
    whole = tmp_path / "whole.npz"
    FlameParams.neutral(_N, n_expression=3).save(whole)
    data = bytearray(whole.read_bytes())
    bad = tmp_path / "bad.npz"
    for place in np.random.default_rng(0).integers(0, len(data), 300):
        changed = data.copy()
        changed[place] ^= 0xFF
        bad.write_bytes(changed)
        with suppress(FormatError):
            load_params(bad)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"expected a parameter file at .*nothing\.npz"):
        load_params(tmp_path / "nothing.npz")


def test_a_folder_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(FormatError, match=r"holds no parameters: expected numbered \.npz files, flame_param/"):
        load_params(tmp_path)
    (tmp_path / "flame_param").mkdir()
    with pytest.raises(FormatError, match=r"expected numbered files such as 00000\.npz; got none"):
        load_params(tmp_path)


def test_frame_files_that_do_not_belong_together(tmp_path: Path) -> None:
    (tmp_path / "0.npz").write_bytes(_npz())
    with pytest.raises(FormatError, match="expected one frame; got 6"):
        load_params(tmp_path)
    one = {name: array[:1] for name, array in np.load(io.BytesIO(_npz())).items()}
    for name in ("0.npz", "00.npz"):
        np.savez(tmp_path / name, **one)
    with pytest.raises(FormatError, match="got frame 0 twice"):
        load_params(tmp_path)
    (tmp_path / "00.npz").rename(tmp_path / "20260101120000.npz")
    with pytest.raises(FormatError, match="expected frame numbers up to 1080000; got 20260101120000"):
        load_params(tmp_path)


def test_files_that_are_too_large_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "person.json"
    with path.open("wb") as file:
        file.write(b'{"frames": [')
        file.truncate(1 << 40)
    for read, argument in ((load_params, path), (read_tracked_videos, tmp_path)):
        with pytest.raises(FormatError, match=r"person.json: expected a [\w' ]* of at most \d+ bytes; got \d+ bytes$"):
            read(argument)
