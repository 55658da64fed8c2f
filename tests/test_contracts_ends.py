"""Every source and every file sink keeps the same promises, whatever its kind."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mp2flame.blendshapes import ARKIT
from mp2flame.data import FlameParams, Frame, Observation, concatenate
from mp2flame.errors import MissingFileError, SinkError
from mp2flame.formats import load_params
from mp2flame.sinks import Sink, open_sink
from mp2flame.sources import Source, open_source
from mp2flame.sources.detection import DetectedSource
from mp2flame.sources.images import ImagesReader
from mp2flame.sources.video import VideoReader
from tests.helpers.heads import HeadStub
from tests.helpers.video import noise, write_film

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


class _Eyes:
    """A detector that needs no model: brightness is the score, and black pictures show nobody."""

    def detect(self, picture: NDArray[Any], time: float, *, keep_image: bool = False) -> Observation:
        level = float(picture.mean()) / 255
        kept = picture if keep_image else None
        if level < 0.01:
            return Observation.missing(time, picture=kept)
        scores = np.full((1, 52), level, dtype=np.float32)
        return Observation(time=np.array([time]), found=np.array([True]), scores=scores, picture=kept)

    def reset(self) -> None:
        """Nothing is remembered."""


def _pictures() -> list[NDArray[np.uint8]]:
    pictures = noise(_N)
    pictures[2][:] = 0
    return pictures


def _video(folder: Path) -> Source:
    return DetectedSource(VideoReader(write_film(folder / "film.mp4", _pictures())), _Eyes())


def _images(folder: Path) -> Source:
    from PIL import Image

    for index, picture in enumerate(_pictures()):
        Image.fromarray(picture).save(folder / f"frame{index}.png")
    return DetectedSource(ImagesReader(sorted(folder.glob("*.png")), fps=25.0), _Eyes())


def _recording(folder: Path) -> Source:
    with open_sink(folder / "take.jsonl", head=_HEAD) as sink:
        for index in range(_N):
            sink.write(Frame(_frame(index, found=index != 2), _params(index, found=index != 2)))
    return open_source(folder / "take.jsonl")


def _livelink_csv(folder: Path) -> Source:
    header = ["Timecode", "BlendshapeCount", *(name[0].upper() + name[1:] for name in ARKIT)]
    rows = [[f"10:20:30:{index:02d}.000", "52", *(["0.25"] * 52)] for index in range(_N)]
    (folder / "take.csv").write_text("\n".join(",".join(row) for row in [header, *rows]) + "\n", encoding="utf-8")
    return open_source(folder / "take.csv")


def _beat_json(folder: Path) -> Source:
    names = sorted(name for name in ARKIT if name != "tongueOut")
    frames = [{"weights": [0.5] * 51, "time": index / 60, "rotation": []} for index in range(_N)]
    (folder / "take.json").write_text(json.dumps({"names": names, "frames": frames}), encoding="utf-8")
    return open_source(folder / "take.json")


SOURCES: dict[str, Callable[[Path], Source]] = {
    "video": _video,
    "images": _images,
    "recording": _recording,
    "live link csv": _livelink_csv,
    "beat json": _beat_json,
}


@pytest.fixture(params=SOURCES)
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Source:
    return SOURCES[request.param](tmp_path)


def test_a_source_gives_single_frames_in_rising_time(source: Source) -> None:
    with source:
        frames = list(source)
    assert len(frames) == _N
    assert all(len(frame) == 1 for frame in frames)
    assert (np.diff([frame.time[0] for frame in frames]) > 0).all()
    assert frames[0].time[0] == pytest.approx(0.0, abs=1e-9)


def test_a_file_can_be_read_again_and_says_the_same(source: Source) -> None:
    with source:
        first, second = concatenate(source), concatenate(source)
    for name in ("time", "found", "scores"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


def test_a_source_may_be_left_in_the_middle_and_closed_twice(source: Source) -> None:
    with source:
        for frame in source:
            assert len(frame) == 1
            break
    source.close()


def test_a_source_says_what_it_expects(source: Source) -> None:
    with source:
        count = source.n_frames
        assert count is None or count == _N
        assert source.live is False
        assert isinstance(source.warnings, tuple)


@pytest.mark.parametrize("make", [_video, _images])
def test_pictures_come_along_only_if_asked_for(make: Callable[[Path], Source], tmp_path: Path) -> None:
    with make(tmp_path) as pixels:
        assert all(frame.picture is None for frame in pixels)
        pixels.keep_image = True
        shapes = {frame.picture.shape for frame in pixels if frame.picture is not None}
    assert shapes == {(96, 96, 3)}


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
