"""Calibration end to end, very small: the built-in head is photographed, the same mappings come out."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("mediapipe")
pytest.importorskip("pyvista")
pytest.importorskip("pyarrow")

import mp2flame
from mp2flame.calibration.calibrate import Calibration, calibrate
from mp2flame.calibration.config import DEFAULT, QUICK, Quality
from mp2flame.regression.mlp import NetworkConfig

_TINY = Quality(people=4, held_out=2, frames=6, rounds=2, networks=NetworkConfig(steps=40, hidden=(16,)))


@dataclass
class _Run:
    """One calibration and what was heard of it."""

    folder: Path
    result: Calibration
    people: int = 0
    said: list[str] = field(default_factory=list)

    def files(self) -> dict[str, bytes]:
        """The mappings as they are saved."""
        for name, mapping in self.result.mappings.items():
            mapping.save(self.folder / f"{name}.safetensors")
        return {name: (self.folder / f"{name}.safetensors").read_bytes() for name in self.result.mappings}


def _run(folder: Path, landmarker: Path, on_person: Callable[[], None] = lambda: None, **options: Any) -> _Run:
    heard: list[str] = []
    count = [0]

    def person() -> None:
        count[0] += 1
        on_person()

    result = calibrate(
        "builtin", landmarker, folder / "work", quality=_TINY, on_person=person, say=heard.append, **options
    )
    return _Run(folder, result, count[0], heard)


@pytest.fixture(scope="module")
def whole(landmarker: Path, tmp_path_factory: pytest.TempPathFactory) -> _Run:
    return _run(tmp_path_factory.mktemp("calibrated"), landmarker, workers=1)


def test_both_mappings_are_for_the_head_and_say_where_they_come_from(whole: _Run) -> None:
    head = mp2flame.load_head("builtin")
    assert set(whole.result.mappings) == {"scores", "landmarks"}
    assert whole.people == _TINY.people + _TINY.held_out
    for mapping in whole.result.mappings.values():
        told = mapping.metadata
        assert told["head_hash"] == head.hash
        assert told["licence"] == "CC0-1.0"
        assert "renders of the built-in head alone" in told["provenance"]
        assert head.hash in told["provenance"]
        assert "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff" in told["provenance"]
        assert int(told["training_subjects"]) == _TINY.people
        # MediaPipe calls some ten degrees of nodding straight ahead.
        assert np.abs(json.loads(told["straight"])).max() < np.radians(20)


def test_the_figures_are_of_people_held_out(whole: _Run) -> None:
    assert len(whole.result.evaluation.subjects) == _TINY.held_out
    for name, mapping in whole.result.mappings.items():
        metrics = json.loads(mapping.metadata["metrics"])
        assert metrics["subjects"] == _TINY.held_out
        assert metrics["figures"]["face"] == pytest.approx(
            whole.result.evaluation.measures[name].figures()["face"], abs=1e-3
        )


def test_nothing_is_left_behind(whole: _Run) -> None:
    assert not (whole.folder / "work").exists()


def test_a_killed_calibration_goes_on_in_two_processes_and_gives_the_same_bytes(
    whole: _Run, landmarker: Path, tmp_path: Path
) -> None:
    class KilledError(Exception):
        pass

    taken = []

    def kill() -> None:
        taken.append(1)
        if len(taken) == 3:
            raise KilledError

    with pytest.raises(KilledError):
        _run(tmp_path, landmarker, kill, workers=1)
    kept = sorted((tmp_path / "work").rglob("person-*.npz"))
    assert len(kept) == 3
    # What was cut off by the kill is taken again; what is whole stays as it is.
    kept[2].write_bytes(kept[2].read_bytes()[:100])
    before = [path.stat().st_mtime_ns for path in kept[:2]]
    seen: list[list[int]] = []
    again = _run(
        tmp_path, landmarker, lambda: seen.append([p.stat().st_mtime_ns for p in kept[:2]]), workers=2, keep=True
    )
    assert seen[-1] == before
    assert again.people == whole.people
    assert again.files() == whole.files()


def test_the_default_takes_more_than_quick_and_every_person_is_in_one_round() -> None:
    for quality in (DEFAULT, QUICK, _TINY):
        numbers = [number for span in quality.by_round() for number in span]
        assert numbers == list(range(quality.people + quality.held_out))
        assert len(quality.by_round()) == quality.rounds + 1
    assert DEFAULT.people * DEFAULT.frames > 4 * QUICK.people * QUICK.frames
