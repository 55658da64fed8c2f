"""The command doctor."""

from __future__ import annotations

from pathlib import Path

import pytest

from mp2flame.cli import doctor
from tests.cli.conftest import Run


def test_it_prints_what_is_missing_and_how_to_get_it(
    landmarker: Path, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    monkeypatch.setenv("MP2FLAME_LANDMARKER", str(landmarker))
    rows = {row.name: row for row in doctor.checks()}
    assert rows["off-screen rendering"].ok
    assert rows["face landmarker"].ok
    assert rows["built-in head and mapping"].ok
    monkeypatch.setattr(doctor, "_EXTRAS", (("track", "not_a_package", "not-a-package", "see faces"),))
    monkeypatch.setattr(doctor, "_RENDER", "raise SystemExit(3)")
    missing = {row.name: row for row in doctor.checks()}["not_a_package"]
    assert not missing.ok
    assert missing.remedy == 'needed to see faces: pip install "mp2flame[track]"'
    code, text = run("doctor")
    assert code == 1
    assert "missing not_a_package" in text


def test_it_names_the_system_package_for_a_missing_library() -> None:
    assert doctor.APT_LINE.startswith("apt-get install -y libegl1")
    row = doctor.check_extra(
        "track", "mediapipe; raise ImportError('libEGL.so.1: cannot open')", "mediapipe", "see faces"
    )
    assert not row.ok
    assert doctor.APT_LINE in row.remedy
