"""The command demo."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from mp2flame import demo_animation, downloads
from mp2flame.demo_animation import KeyPose
from mp2flame.errors import FetchError
from tests.cli.conftest import Run


def _shorten(monkeypatch: pytest.MonkeyPatch, script: Sequence[KeyPose]) -> None:
    whole = demo_animation.animate
    monkeypatch.setattr(demo_animation, "animate", lambda shapes: whole(shapes, script=script, fps=15))


def test_it_shows_a_driven_head_and_prints_its_error(
    landmarker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    # A smile, a blink, the jaw; then, at once, the eyes.
    first = [key for key in demo_animation.SCRIPT if key.time <= 3.5]
    gaze = [replace(key, time=key.time - 2.5) for key in demo_animation.SCRIPT if 6.1 < key.time <= 7.5]
    _shorten(monkeypatch, [*first, *gaze])
    code, text = run("demo", "--output", tmp_path, "--landmarker", landmarker)
    assert code == 0, text
    assert {path.name for path in tmp_path.iterdir()} == {"demo.mp4", "demo.gif"}
    figures = {
        name: int(share)
        for name, share in re.findall(r"(face|lips|lids|jaw opening|gaze) │ [\d.]+ ?(?:mm|°) │ (\d+)%", text)
    }
    assert set(figures) == {"face", "lips", "lids", "jaw opening", "gaze"}
    assert all(share < 100 for share in figures.values()), text
    assert "0 without a face" in text


def test_without_the_landmarker_it_says_what_to_do_before_rendering(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    def offline(*_: object) -> Path:
        raise FetchError("could not download face_landmarker.task: put it into the cache")

    monkeypatch.setattr(downloads, "landmarker_path", offline)
    code, text = run("demo", "--output", tmp_path)
    assert code == 1
    assert "could not download face_landmarker.task" in text
    assert not list(tmp_path.iterdir())


def test_a_missing_folder_is_refused(tmp_path: Path, run: Run) -> None:
    code, text = run("demo", "--output", tmp_path / "nowhere")
    assert code == 1
    assert "make it first" in text
