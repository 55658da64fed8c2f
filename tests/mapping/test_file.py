"""The mapping file: exact bytes, read back by the safetensors package, and every way in which it can be broken."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import safe_open

from mp2flame.blendshapes import MEDIAPIPE
from mp2flame.errors import FormatError, InputError, MissingFileError, SinkError
from mp2flame.mapping import LinearMapping, WithHeadPose, read_mapping
from mp2flame.mapping.base import METADATA_KEYS
from mp2flame.mapping.linear import FEATURES

_ROWS: NDArray[np.float32] = np.arange(156, dtype=np.float32)[:, None]
_NAN = np.full(59, np.nan, dtype=np.float32)


def _mapping() -> LinearMapping:
    return LinearMapping(
        matrix=_ROWS * np.arange(59, dtype=np.float32) / np.float32(1024),
        features=FEATURES,
        intercept=np.arange(59, dtype=np.float32),
        uses_neutral=True,
        default_neutral=np.linspace(0, 0.5, 52, dtype=np.float32),
        neutral=np.linspace(0, 0.25, 52, dtype=np.float32),
        metadata={
            "head_version": "built-in",
            "head_hash": "0123abcd",
            "straight": "[0.0625, 0.0, -0.25]",
            "training_subjects": "40",
            "training_frames": "6000",
            "metrics": json.dumps({"face": 0.58}),
            "licence": "CC0-1.0",
            "date": "2025-01-31",
            "provenance": "tests, with an ä",
        },
    )


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    _mapping().save(path)
    got, want = read_mapping(path), _mapping()
    assert isinstance(got, LinearMapping)
    for name in ("matrix", "intercept", "default_neutral", "neutral"):
        np.testing.assert_array_equal(getattr(got, name), getattr(want, name))
        assert getattr(got, name).dtype == np.float32
    assert (got.features, got.uses_neutral) == (want.features, want.uses_neutral)
    assert dict(got.metadata) == dict(want.metadata)
    assert (got.info.head_hash, got.info.head_version, got.info.n_expression) == ("0123abcd", "built-in", 50)
    assert got.info.frontal_rotation is not None
    assert got.info.frontal_rotation.tolist() == [0.0625, 0.0, -0.25]
    assert [file.name for file in tmp_path.iterdir()] == ["a.safetensors"]


def test_it_travels_to_other_processes() -> None:
    got = copy.deepcopy(_mapping())
    assert got.encoded() == _mapping().encoded()
    assert got.metadata == _mapping().metadata


def test_what_is_not_known_stays_unknown(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    LinearMapping(matrix=_ROWS[:52] * np.ones(59, dtype=np.float32)).save(path)
    got = read_mapping(path)
    assert isinstance(got, LinearMapping)
    assert [got.intercept, got.default_neutral, got.neutral, got.info.head_hash, got.info.head_version] == [None] * 5
    assert got.info.frontal_rotation is None
    assert not got.metadata


def test_the_bytes_are_exact() -> None:
    content = _mapping().encoded()
    assert content == _mapping().encoded()
    length = int.from_bytes(content[:8], "little")
    assert length % 8 == 0
    header = json.loads(content[8 : 8 + length])
    assert list(header) == ["__metadata__", "default_rest", "intercept", "matrix", "rest"]
    assert list(header["__metadata__"]) == sorted(
        [
            *(set(METADATA_KEYS) - {"reach"}),
            "features",
            "format",
            "format_version",
            "kind",
            "n_expression",
            "names",
            "uses_rest",
        ]
    )
    assert header["matrix"] == {"dtype": "F32", "shape": [156, 59], "data_offsets": [444, 444 + 156 * 59 * 4]}
    assert hashlib.sha256(content).hexdigest() == "182adef19a50647cbc20bde583479719c407d44ca4338f86c37fd0f110731e13"


def test_the_safetensors_package_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    _mapping().save(path)
    arrays = safetensors.numpy.load_file(path)
    np.testing.assert_array_equal(arrays["matrix"], _mapping().matrix)
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
    assert metadata["format"] == "mp2flame-mapping"
    assert metadata["format_version"] == "1"
    assert metadata["kind"] == "linear"
    assert tuple(json.loads(metadata["names"])) == MEDIAPIPE
    assert tuple(json.loads(metadata["features"])) == FEATURES
    assert metadata["provenance"] == "tests, with an ä"


def _parts() -> tuple[dict[str, Any], dict[str, str]]:
    mapping = _mapping()
    content = mapping.encoded()
    length = int.from_bytes(content[:8], "little")
    return dict(mapping.arrays()), json.loads(content[8 : 8 + length])["__metadata__"]


def _write(path: Path, arrays: dict[str, Any], metadata: dict[str, str]) -> None:
    safetensors.numpy.save_file(arrays, path, metadata)


def _with_metadata(**changes: str | None) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        arrays, metadata = _parts()
        merged = {**metadata, **changes}
        _write(path, arrays, {key: value for key, value in merged.items() if value is not None})

    return write


def _with_arrays(**changes: Any) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        arrays, metadata = _parts()
        merged = {**arrays, **changes}
        _write(path, {key: value for key, value in merged.items() if value is not None}, metadata)

    return write


def _with_bytes(content: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(content) and None  # type: ignore[return-value]


BROKEN: dict[str, tuple[Callable[[Path], None], str]] = {
    "empty": (_with_bytes(b""), "truncated or no .safetensors file"),
    "a web page": (_with_bytes(b"<!DOCTYPE html><html>404</html>"), "truncated or no .safetensors file"),
    "a pickle": (_with_bytes(b"\x80\x04\x95\x05\x00\x00\x00\x00\x00\x00\x00]."), "truncated or no .safetensors file"),
    "a huge header": (_with_bytes((1 << 62).to_bytes(8, "little") + b"{}"), "truncated or no .safetensors file"),
    "another format": (
        _with_metadata(format="mp2flame-head"),
        "format 'mp2flame-mapping'; got 'mp2flame-head'",
    ),
    "no format": (_with_metadata(format=None), "expected format 'mp2flame-mapping'; got None"),
    "a newer format": (_with_metadata(format_version="2"), "format version 2 is newer than 1.* pip install --upgrade"),
    "a version of 5,000 digits": (
        _with_metadata(format_version="9" * 5000),
        "expected format_version to be a whole number",
    ),
    "a straight of infinity": (
        _with_metadata(straight="[1e999, 0, 0]"),
        "expected straight as a JSON list of 3 finite",
    ),
    "a strange version": (_with_metadata(format_version="one"), "expected format_version to be a whole number"),
    "another kind": (_with_metadata(kind="quantum"), "is of kind 'quantum'; this version reads linear, landmarks"),
    "a missing key": (_with_metadata(licence=None), "missing: licence"),
    "an unknown key": (_with_metadata(color="red"), "unknown: color"),
    "missing and unknown": (_with_metadata(color="red", names=None), "missing: names"),
    "other names": (_with_metadata(names='["jawOpen"]'), "expected the blendshapes in MediaPipe's order"),
    "names that are no list": (_with_metadata(names="jawOpen"), "expected the blendshapes in MediaPipe's order"),
    "features that are no list": (_with_metadata(features='{"scores": 1}'), "expected features as a JSON list"),
    "unknown features": (_with_metadata(features='["cubes"]'), "expected distinct features among"),
    "other features": (_with_metadata(features='["scores"]'), r"matrix must have shape \(52, E"),
    "strange uses_rest": (_with_metadata(uses_rest="yes"), "expected uses_rest true or false; got 'yes'"),
    "another n_expression": (_with_metadata(n_expression="100"), "says n_expression 100, its arrays 50"),
    "strange straight": (_with_metadata(straight="ahead"), "expected straight as a JSON list of 3 finite numbers"),
    "short straight": (_with_metadata(straight="[1, 2]"), "expected straight as a JSON list of 3 finite numbers"),
    "no matrix": (_with_arrays(matrix=None), "missing: matrix"),
    "an unknown array": (_with_arrays(bias=_NAN), "unknown: bias"),
    "a wrong dtype": (_with_arrays(matrix=np.zeros((156, 59))), "expected matrix as float32; got float64"),
    "a wrong shape": (_with_arrays(matrix=np.zeros((59, 156), dtype=np.float32)), "matrix must have shape"),
    "a wrong intercept": (_with_arrays(intercept=np.zeros(3, dtype=np.float32)), "intercept must have shape"),
    "NaN": (_with_arrays(intercept=_NAN), "intercept must be finite"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_refused_with_a_sentence(case: str, tmp_path: Path) -> None:
    write, message = BROKEN[case]
    path = tmp_path / "broken.safetensors"
    write(path)
    with pytest.raises(FormatError, match=message) as caught:
        read_mapping(path)
    assert str(path) in str(caught.value)


def test_a_file_truncated_anywhere_is_refused(tmp_path: Path) -> None:
    content = _mapping().encoded()
    path = tmp_path / "cut.safetensors"
    for length in [*range(64), *range(64, len(content), 997), len(content) - 1]:
        path.write_bytes(content[:length])
        with pytest.raises(FormatError, match=r"truncated or no \.safetensors file"):
            read_mapping(path)


def test_flipped_bytes_never_escape_as_another_error(tmp_path: Path) -> None:
    content = bytearray(_mapping().encoded())
    rng = np.random.default_rng(0)
    path = tmp_path / "flipped.safetensors"
    header = 8 + int.from_bytes(content[:8], "little")
    for position in rng.integers(0, header, 150):
        changed = bytearray(content)
        changed[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(changed)
        with contextlib.suppress(FormatError):
            read_mapping(path)


def test_missing_and_mistaken_paths(tmp_path: Path) -> None:
    with pytest.raises(
        MissingFileError, match=r"expected a mapping: a .safetensors file, .* there is nothing at .*nowhere"
    ):
        read_mapping(tmp_path / "nowhere")
    part = tmp_path / "bs2exp.npy"
    np.save(part, np.zeros((52, 50)))
    with pytest.raises(FormatError, match="is one part of a mapping: name its folder"):
        read_mapping(part)


def test_saving_leaves_nothing_half_written(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="cannot write"):
        _mapping().save(tmp_path / "no_such_folder" / "a.safetensors")
    with pytest.raises(InputError, match=r"path ending in \.safetensors"):
        _mapping().save(tmp_path / "a.npz")
    blocked = tmp_path / "a.safetensors"
    blocked.mkdir()
    (blocked / "file").touch()
    with pytest.raises(InputError):
        _mapping().save(blocked)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.safetensors"]


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.safetensors"
    _mapping().save(path)
    before = path.read_bytes()

    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(SinkError, match="No space left on device"):
        LinearMapping(matrix=np.ones((52, 59), dtype=np.float32)).save(path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.safetensors"]


def test_a_mapping_inside_head_pose_knows_its_head() -> None:
    wrapped = WithHeadPose(_mapping())
    assert (wrapped.info.head_hash, wrapped.info.head_version, wrapped.info.n_expression) == (
        "0123abcd",
        "built-in",
        50,
    )
