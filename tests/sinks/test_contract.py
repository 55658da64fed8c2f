"""Every sink keeps the same promises, whatever it writes to; every file sink keeps some more."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mp2flame.data import FlameParams, Frame, HeadLike, Observation, concatenate
from mp2flame.errors import InputError, MissingFileError, SinkError
from mp2flame.formats import load_params
from mp2flame.sinks import Sink, open_sink, open_sinks, write_frames
from tests.helpers.heads import small_head
from tests.helpers.streams import free_port, nothing_left_behind

_N = 6
_HEAD = small_head(version="three corners", hash="0123")
_POSES = ("jaw_pose", "neck_pose", "global_orient", "leye_pose", "reye_pose", "translation")


def _overlay(path: str, head: HeadLike) -> Sink:
    from mp2flame.sinks.overlay import OverlaySink

    return OverlaySink(path, head=head, focal=100.0)


def _open(path: str, head: HeadLike) -> Sink:
    return open_sink(path, head=head)


FILES: dict[str, Callable[[str, HeadLike], Sink]] = {
    "out.npz": _open,
    "out.csv": _open,
    "out.jsonl": _open,
    "flame_param": _open,
    "out.mp4": _open,
    "out.gif": _open,
    "out.overlay.mp4": _overlay,
}
ADDRESSES = (
    "udp://127.0.0.1:{port}",
    "vmc://127.0.0.1:{port}",
    "livelink://127.0.0.1:{port}",
    "ws://127.0.0.1:{port}",
    "ws://127.0.0.1:{port}?vertices=1",
)


@pytest.fixture(params=[*FILES, *ADDRESSES])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    name = str(request.param)
    if name in FILES:
        if name.endswith((".mp4", ".gif")):
            pytest.importorskip("pyvista", reason="needs the extra render")
            pytest.importorskip("av", reason="needs the extra track")
        return str(tmp_path / name)
    pytest.importorskip("pythonosc", reason="needs the extra stream")
    pytest.importorskip("websockets", reason="needs the extra stream")
    return name.format(port=free_port())


@pytest.fixture(params=FILES)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    name = str(request.param)
    if name.endswith((".mp4", ".gif")):
        pytest.importorskip("pyvista", reason="needs the extra render")
        pytest.importorskip("av", reason="needs the extra track")
    return tmp_path / name


def _opened(target: str | Path) -> Sink:
    return FILES.get(Path(target).name, _open)(str(target), _HEAD)


def _frame(index: int, sink: Sink, *, found: bool = True, filtered: bool = True) -> Frame:
    """What the pipeline writes; without a filter, a frame without a face has NaN parameters and vertices."""
    known = found or filtered
    rng = np.random.default_rng(index)
    image = rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)
    observation = Observation(
        time=[index / 25],
        found=[found],
        scores=rng.random((1, 52), dtype=np.float32),
        landmarks=rng.random((1, 478, 3), dtype=np.float32),
        head_transform=np.eye(4, dtype=np.float32)[None],
        image_size=[64, 48],
        picture=image if sink.needs_image else None,
    )
    values = {name: np.full((1, 3), index / 100 if known else np.nan, dtype=np.float32) for name in _POSES}
    expression = np.full((1, 50), index if known else np.nan, dtype=np.float32)
    params = FlameParams(time=[index / 25], found=[found], expression=expression, **values)
    vertices = _HEAD.neutral_vertices + np.float32(index * 0.001 if known else np.nan)
    return Frame(observation, params, vertices if sink.needs_vertices else None, arrival=1.0)


def _fill(sink: Sink, n: int = _N) -> None:
    for index in range(n):
        sink.write(_frame(index, sink, found=index != 2, filtered=index != 3))


# --- every sink ------------------------------------------------------------------------------------------------------


def test_it_says_what_it_needs_and_has_the_name_of_its_target(target: str) -> None:
    with nothing_left_behind():
        sink = _opened(target)
        assert sink.policy == ("latest" if "://" in target else "every")
        assert {type(flag) for flag in (sink.needs_vertices, sink.needs_image, sink.instant)} == {bool}
        assert sink.name == target.partition("?")[0]
        sink.abort()


def test_frames_with_and_without_a_face_are_taken(target: str) -> None:
    with nothing_left_behind(), _opened(target) as sink:
        _fill(sink)
        sink.write(_frame(_N, sink, found=False, filtered=False))


def test_several_frames_at_once_are_refused(target: str) -> None:
    with nothing_left_behind():
        sink = _opened(target)
        single = _frame(0, sink)
        with pytest.raises(InputError, match="single frame"):
            sink.write(Frame(concatenate([single.observation] * 2), concatenate([single.params] * 2), single.vertices))
        sink.abort()


def test_it_is_closed_and_aborted_once(target: str) -> None:
    with nothing_left_behind():
        sink = _opened(target)
        _fill(sink)
        for end in (sink.close, sink.close, sink.abort, sink.close):
            end()
        with pytest.raises(SinkError, match="closed"):
            _fill(sink, 1)


def test_after_abort_nothing_is_taken(target: str) -> None:
    with nothing_left_behind():
        sink = _opened(target)
        _fill(sink, 2)
        for end in (sink.abort, sink.abort, sink.close):
            end()
        with pytest.raises(SinkError, match="closed"):
            _fill(sink, 1)


# --- file sinks ------------------------------------------------------------------------------------------------------


def test_a_file_appears_when_the_sink_is_closed(path: Path) -> None:
    with _opened(path) as sink:
        assert not path.exists()
        _fill(sink)
        # A recording has its name from its first frame on, so that it survives a crash.
        assert path.exists() == (path.suffix == ".jsonl")
    assert list(path.parent.iterdir()) == [path]


def _break_off(path: Path) -> None:
    with _opened(path) as sink:
        _fill(sink, 3)
        raise RuntimeError("stop here")


def test_an_exception_leaves_nothing_half_written(path: Path) -> None:
    with pytest.raises(RuntimeError, match="stop here"):
        _break_off(path)
    assert list(path.parent.iterdir()) == ([path] if path.suffix == ".jsonl" else [])


def test_an_older_file_stays_until_there_is_something_to_put_in_its_place(path: Path) -> None:
    if path.suffix == "":
        pytest.skip("a folder that is not empty is refused")
    path.write_bytes(b"the older file")
    with pytest.raises(SinkError, match="was not made: there was no frame to write"):
        _opened(path).close()
    _opened(path).abort()
    assert path.read_bytes() == b"the older file"
    if path.suffix != ".jsonl":
        with pytest.raises(RuntimeError, match="stop here"):
            _break_off(path)
        assert path.read_bytes() == b"the older file"
    assert list(path.parent.iterdir()) == [path]


def test_a_missing_folder_is_reported_at_once(path: Path) -> None:
    with pytest.raises(MissingFileError, match="nowhere"):
        _opened(path.parent / "nowhere" / path.name)


def test_a_pipe_or_device_is_not_replaced(path: Path) -> None:
    os.mkfifo(path)
    with pytest.raises(InputError, match=r"is a pipe, device or socket; expected the name of a file|is not empty"):
        _opened(path)
    assert path.is_fifo()
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("name", ["out.npz", "out.csv", "out.jsonl"])
def test_parameters_come_back_as_they_went(name: str, tmp_path: Path) -> None:
    with open_sink(tmp_path / name, head=_HEAD) as sink:
        for index in range(_N):
            sink.write(_frame(index, sink, found=index != 2))
    params = load_params(tmp_path / name)
    np.testing.assert_array_equal(params.found, [index != 2 for index in range(_N)])
    np.testing.assert_array_equal(params.expression[:, 0], np.arange(_N, dtype=np.float32))
    np.testing.assert_allclose(params.time, np.arange(_N) / 25, atol=1e-9)
    np.testing.assert_array_equal(params.jaw_pose[:, 0], np.arange(_N, dtype=np.float32) / np.float32(100))


# --- several sinks ---------------------------------------------------------------------------------------------------


def test_where_one_cannot_be_opened_none_leaves_anything_behind(tmp_path: Path) -> None:
    names = ("a.npz", "b.csv", "c.jsonl", "flame_param", "nowhere/d.npz")
    with pytest.raises(MissingFileError, match="nowhere"):
        open_sinks([tmp_path / name for name in names], head=_HEAD)
    assert list(tmp_path.iterdir()) == []


def test_finished_parameters_go_to_several_sinks_and_are_posed_only_if_needed(tmp_path: Path) -> None:
    class Posed(Sink):
        needs_vertices = True

        def __init__(self) -> None:
            self.frames: list[Frame] = []

        def write(self, frame: Frame) -> None:
            self.frames.append(frame)

        def close(self) -> None:
            pass

    asked: list[FlameParams] = []

    def head(params: FlameParams) -> NDArray[np.float32]:
        asked.append(params)
        posed: NDArray[np.float32] = _HEAD.neutral_vertices[None] + params.expression[0, 0]
        return posed

    files = open_sinks([tmp_path / "a.npz", tmp_path / "a.jsonl"], head=_HEAD)
    singles = [(frame.observation, frame.params) for frame in (_frame(index, files[0]) for index in range(3))]
    done: list[Frame] = []
    write_frames(files, singles, head=head, on_frame=done.append)
    assert (len(asked), len(done), len(load_params(tmp_path / "a.npz"))) == (0, 3, 3)
    posed = Posed()
    write_frames([posed], singles, head=head)
    for index, frame in enumerate(posed.frames):
        np.testing.assert_array_equal(frame.vertices, _HEAD.neutral_vertices + np.float32(index))


def test_an_error_in_between_aborts_all_files(tmp_path: Path) -> None:
    files = open_sinks([tmp_path / "a.npz", tmp_path / "b.csv"], head=_HEAD)
    first, second = (_frame(0, files[0]), _frame(1, files[0]))
    wide = FlameParams.neutral(n_expression=60, time=[1.0])
    with pytest.raises(InputError, match="expected 50 expression coefficients; got 60"):
        write_frames(files, [(first.observation, first.params), (second.observation, wide)])
    assert list(tmp_path.iterdir()) == []
