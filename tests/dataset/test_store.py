"""A data set that was damaged, or made by somebody else, is refused in a sentence that names the file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pyarrow", reason="data sets need the extra train")

import pyarrow as pa
import pyarrow.parquet as pq

from mp2flame.dataset.store import Dataset
from mp2flame.dataset.summary import summarize
from mp2flame.errors import FormatError
from mp2flame.head import FlameHead, load_head
from mp2flame.regression.fit import fit
from tests.helpers.faces import person, write_people

_COLUMNS = ["scores", "expression", "jaw", "eyes"]


@pytest.fixture(scope="module")
def head() -> FlameHead:
    return load_head("builtin")


@pytest.fixture
def folder(tmp_path: Path, head: FlameHead) -> Path:
    return write_people(tmp_path / "data", [person(head, "a", 300, seed=1, landmarks=False)], head)


def _part(folder: Path) -> Path:
    (file,) = folder.rglob("part-*.parquet")
    return file


def _read_all(folder: Path) -> None:
    data = Dataset(folder)
    list(data.batches(_COLUMNS, neutral=None))


@pytest.mark.parametrize("size", [0, 4, 100, -100, -1])
def test_a_truncated_file_is_named_by_every_reader(folder: Path, size: int) -> None:
    file = _part(folder)
    file.write_bytes(file.read_bytes()[:size])
    data = Dataset(folder)
    readers: list[Callable[[], object]] = [
        lambda: data.has_column("landmarks"),
        data.count_rows,
        lambda: summarize(data),
        lambda: fit(data, kind="pinv"),
        lambda: list(data.batches(_COLUMNS)),
    ]
    for read in readers:
        with pytest.raises(FormatError, match=r"part-\d+\.parquet is truncated, damaged"):
            read()


@pytest.mark.parametrize("seed", range(20))
def test_flipped_bytes_are_noticed(folder: Path, seed: int) -> None:
    file = _part(folder)
    data = bytearray(file.read_bytes())
    # The file's footer begins where its metadata says; everything before it is checked by the checksums of pages.
    start = int(np.random.default_rng(seed).integers(100, len(data) - pq.read_metadata(file).serialized_size - 64))
    for place in range(start, start + 50):
        data[place] ^= 0x5A
    file.write_bytes(bytes(data))
    with pytest.raises(FormatError, match=r"part-\d+\.parquet"):
        _read_all(folder)


@pytest.mark.parametrize(
    "number", ["1e999", "NaN", "-1", "0", "7", "1000000", '"50"', "null", "[50]", "true", "1" + "0" * 5000, "1e30"]
)
def test_a_wrong_number_of_coefficients_is_refused(folder: Path, number: str) -> None:
    manifest = folder / "dataset.json"
    text = manifest.read_text().replace('"n_expression": 50', f'"n_expression": {number}')
    assert number in text
    manifest.write_text(text)
    for read in (lambda: summarize(Dataset(folder)), lambda: fit(folder, kind="pinv")):
        with pytest.raises(FormatError):
            read()


@pytest.mark.parametrize("entry", [{"format": "other"}, {"format_version": 2}, {"format_version": "x"}, {"format": 1}])
def test_a_foreign_manifest_is_refused(folder: Path, entry: dict[str, Any]) -> None:
    manifest = folder / "dataset.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), **entry}))
    with pytest.raises(FormatError, match=r"dataset\.json"):
        Dataset(folder)


def _set(name: str, make: Callable[[pa.Table], pa.Array]) -> Callable[[pa.Table], pa.Table]:
    return lambda table: table.set_column(table.schema.get_field_index(name), name, make(table))


def _lists(width: int, dtype: Any) -> Callable[[pa.Table], pa.Array]:
    return lambda t: pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(len(t) * width, dtype)), width)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("scores", _lists(51, np.float32)), "expected scores as"),
        (_set("scores", _lists(52, np.float64)), "expected scores as"),
        (_set("scores", lambda t: pa.array(["x"] * len(t))), "expected scores as"),
        (_set("time", lambda t: pa.array(["now"] * len(t))), "expected time as"),
        (_set("found", lambda t: pa.array([1] * len(t))), "expected found as"),
        (_set("time", lambda t: pa.array([None] + [0.0] * (len(t) - 1))), "a value of time is missing"),
        (_set("sequence", lambda t: pa.array([None] + ["s"] * (len(t) - 1))), "a value of sequence is missing"),
        (_set("jaw", lambda t: pa.array([None] + [[0.0] * 3] * (len(t) - 1), pa.list_(pa.float32(), 3))), "missing"),
        (_set("image_size", lambda t: pa.array([[0, 0]] * len(t), pa.list_(pa.int32(), 2))), r"image_size is \[0, 0\]"),
        (lambda t: t.drop_columns(["jaw"]), "lacks jaw"),
        (lambda t: t.drop_columns(["time"]), "lacks time"),
    ],
)
def test_columns_of_another_kind_are_refused(folder: Path, change: Any, message: str) -> None:
    file = _part(folder)
    pq.write_table(change(pq.read_table(file, partitioning=None)), file)
    with pytest.raises(FormatError, match=message):
        _read_all(folder)


def test_a_data_set_of_an_earlier_version_is_read(folder: Path, head: FlameHead) -> None:
    """Files without checksums and without the column `video`, whose frames then count as unrelated."""
    for file in folder.rglob("*.parquet"):
        pq.write_table(pq.read_table(file, partitioning=None).drop_columns(["video"]), file)
    data = Dataset(folder)
    assert [rows.video for rows in data.batches(_COLUMNS)] == [False]
    assert fit(data, kind="pinv").n_expression == head.n_expression
