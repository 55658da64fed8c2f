"""Writing in bounded memory: sequences are written as they are read, and neutral frames found in what was written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from weakref import WeakSet

import numpy as np
import pytest

pytest.importorskip("pyarrow", reason="data sets need the extra train")

from mp2flame.dataset.build import build
from mp2flame.dataset.readers.base import TrackedSequence
from mp2flame.dataset.table import FrameTable
from mp2flame.head import FlameHead, load_head
from tests.helpers.faces import person

_FRAMES = 40


@pytest.fixture(scope="module")
def head() -> FlameHead:
    return load_head("builtin")


def _recording(path: Path, head: FlameHead, seed: int, *, landmarks: bool = True) -> Path:
    """A recording of the subject `1`, with all of its frames unmarked."""
    rows = person(head, "any", _FRAMES, seed=seed, neutral=False)
    arrays: dict[str, Any] = {
        "scores": rows.columns["scores"],
        "expression": rows.columns["expression"],
        "jaw_pose": rows.columns["jaw"],
        "eye_pose": rows.columns["eyes"],
        "subject": np.ones(len(rows), dtype=int),
    }
    if landmarks:
        arrays["landmarks"] = rows.columns["landmarks"].reshape(-1, 478, 3)
    np.savez(path, **arrays)
    return path


def _count_live(monkeypatch: pytest.MonkeyPatch, kind: type[Any], length: Callable[[Any], int]) -> list[int]:
    """The most frames that objects of a class held at once, from now on."""
    live: WeakSet[Any] = WeakSet()
    peak = [0]
    plain = kind.__init__

    def counting(self: Any, *args: Any, **kwargs: Any) -> None:
        plain(self, *args, **kwargs)
        live.add(self)
        peak[0] = max(peak[0], sum(length(each) for each in live))

    monkeypatch.setattr(kind, "__init__", counting)
    return peak


@pytest.mark.parametrize("estimate_neutral", [False, True])
def test_memory_holds_a_few_sequences_however_many_there_are(
    tmp_path: Path, head: FlameHead, monkeypatch: pytest.MonkeyPatch, estimate_neutral: bool
) -> None:
    recordings = [_recording(tmp_path / f"{seed}.npz", head, seed) for seed in range(16)]
    read = _count_live(monkeypatch, TrackedSequence, lambda sequence: len(sequence.frame))
    held = _count_live(monkeypatch, FrameTable, len)
    _, report = build(recordings, tmp_path / "data", estimate_neutral=estimate_neutral)
    assert report.frames == 16 * _FRAMES
    assert read[0] <= 2 * _FRAMES
    assert held[0] <= 4 * _FRAMES


def test_a_column_that_one_recording_lacks_is_not_the_data_sets(tmp_path: Path, head: FlameHead) -> None:
    bare = _recording(tmp_path / "a.npz", head, 1, landmarks=False)
    full = _recording(tmp_path / "b.npz", head, 2)
    data, report = build([bare, full], tmp_path / "data")
    assert not data.has_column("landmarks")
    scores = np.concatenate([rows.columns["scores"] for rows in data.batches(["scores", "neck"])])
    expected = np.concatenate([np.load(path)["scores"] for path in (bare, full)])
    np.testing.assert_array_equal(scores, expected)
    assert report.frames == 2 * _FRAMES
    whole, _ = build([full], tmp_path / "whole")
    assert whole.has_column("landmarks")


def test_the_frames_nearest_to_zero_are_found_across_recordings(tmp_path: Path, head: FlameHead) -> None:
    recordings = [_recording(tmp_path / f"{seed}.npz", head, seed) for seed in range(3)]
    data, report = build(recordings, tmp_path / "data", estimate_neutral=True)
    plain, _ = build(recordings, tmp_path / "plain")
    columns = ["scores", "expression", "jaw", "eyes", "landmarks"]
    everything = [rows[rows.usable] for rows in plain.batches(columns)]
    values = np.concatenate([rows.parameters for rows in everything]).astype(np.float64)
    names = np.concatenate([[f"{name} {frame}" for name, frame in _named(rows)] for rows in everything])
    spread = values.std(axis=0)
    size = np.square(values[:, spread > 0] / spread[spread > 0]).sum(axis=1)
    nearest = set(names[np.argsort(size)[:10]])
    neutral = data.neutral("1", columns)
    assert neutral is not None
    assert {f"{name} {frame}" for name, frame in _named(neutral)} == nearest
    assert report.neutral == 10
    others = {f"{name} {frame}" for rows in data.batches(columns) for name, frame in _named(rows)}
    assert set(names) - nearest <= others
    assert not nearest & others


def _named(rows: FrameTable) -> list[tuple[str, int]]:
    return list(zip(rows.sequence.tolist(), rows.frame.tolist(), strict=True))


def test_a_recording_of_neutral_frames_only_is_all_neutral(tmp_path: Path, head: FlameHead) -> None:
    long = _recording(tmp_path / "long.npz", head, 1)
    arrays = dict(np.load(_recording(tmp_path / "still.npz", head, 2)))
    still = {
        name: array[:2] * (0 if name in ("expression", "jaw_pose", "eye_pose") else 1) for name, array in arrays.items()
    }
    np.savez(tmp_path / "still.npz", **still)
    data, _ = build([long, tmp_path / "still.npz"], tmp_path / "data", estimate_neutral=True)
    neutral = data.neutral("1", ["scores"])
    assert neutral is not None
    assert {("still", 0), ("still", 1)} <= set(_named(neutral))
    assert len(neutral) + sum(len(rows) for rows in data.batches(["scores"])) == _FRAMES + 2
    assert not any(file.name.startswith("new-") for file in data.files("1"))
