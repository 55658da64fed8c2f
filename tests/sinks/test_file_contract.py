"""Every file sink keeps the same promises, whatever its format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mp2flame.data import FlameParams, Frame, Observation
from mp2flame.errors import MissingFileError, SinkError
from mp2flame.formats import load_params
from mp2flame.sinks import Sink, open_sink
from tests.helpers.heads import HeadStub

_N = 6
_HEAD = HeadStub(
    faces=np.array([[0, 1, 2]], dtype=np.uint32),
    neutral_vertices=np.array([[-0.1, -0.1, 0], [0.1, -0.1, 0], [0, 0.1, 0]], dtype=np.float32),
)


def _frame(index: int, *, found: bool = True) -> Observation:
    scores = np.random.default_rng(index).random((1, 52), dtype=np.float32)
    return Observation(
        time=np.array([index / 25]),
        found=np.array([found]),
        scores=scores,
        head_transform=np.eye(4, dtype=np.float32)[None],
    )


def _params(index: int, *, found: bool = True) -> FlameParams:
    expression = np.full((1, 50), index, dtype=np.float32)
    return FlameParams(time=np.array([index / 25]), found=np.array([found]), expression=expression)


FILE_SINKS = ["out.npz", "out.csv", "out.jsonl", "out.mp4", "out.gif"]


@pytest.fixture(params=FILE_SINKS)
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / str(request.param)


def _vertices(index: int) -> NDArray[np.float32]:
    moved: NDArray[np.float32] = _HEAD.neutral_vertices + np.float32(index * 0.001)
    return moved


def _fill(sink: Sink, n: int = _N) -> None:
    for index in range(n):
        found = index != 2
        sink.write(
            Frame(
                _frame(index, found=found),
                _params(index, found=True),
                _vertices(index) if sink.needs_vertices else None,
            )
        )


def _break_off(target: Path) -> None:
    with open_sink(target, head=_HEAD) as sink:
        _fill(sink, 3)
        raise RuntimeError("stop here")


def _survives(path: Path) -> bool:
    return path.suffix == ".jsonl"


def test_a_file_appears_when_the_sink_is_closed(target: Path) -> None:
    with open_sink(target, head=_HEAD) as sink:
        assert sink.policy == "every"
        _fill(sink)
        assert target.exists() == _survives(target)
    assert target.stat().st_size > 0
    assert list(target.parent.iterdir()) == [target]


def test_closing_twice_is_once(target: Path) -> None:
    sink = open_sink(target, head=_HEAD)
    _fill(sink)
    sink.close()
    before = target.read_bytes()
    sink.close()
    assert target.read_bytes() == before


def test_an_exception_leaves_nothing_half_written(target: Path) -> None:
    with pytest.raises(RuntimeError, match="stop here"):
        _break_off(target)
    left = list(target.parent.iterdir())
    assert left == ([target] if _survives(target) else [])


def test_an_older_file_stays_until_the_new_one_is_complete(target: Path) -> None:
    if _survives(target):
        pytest.skip("a recording is written in place, so that it survives a crash")
    target.write_bytes(b"the older file")
    with pytest.raises(RuntimeError, match="stop here"):
        _break_off(target)
    assert target.read_bytes() == b"the older file"


def test_writing_after_closing_is_refused(target: Path) -> None:
    sink = open_sink(target, head=_HEAD)
    _fill(sink)
    sink.close()
    with pytest.raises(SinkError, match="closed"):
        _fill(sink, 1)


def test_a_missing_folder_is_told_at_once(target: Path) -> None:
    with pytest.raises(MissingFileError, match="nowhere"):
        open_sink(target.parent / "nowhere" / target.name, head=_HEAD)


@pytest.mark.parametrize("name", ["out.npz", "out.csv", "out.jsonl"])
def test_parameters_come_back_as_they_went(name: str, tmp_path: Path) -> None:
    with open_sink(tmp_path / name, head=_HEAD) as sink:
        _fill(sink)
    read = load_params(tmp_path / name)
    np.testing.assert_array_equal(read.expression[:, 0], np.arange(_N, dtype=np.float32))
    np.testing.assert_allclose(read.time, np.arange(_N) / 25, atol=1e-9)
    np.testing.assert_array_equal(read.jaw_pose, np.zeros((_N, 3)))
