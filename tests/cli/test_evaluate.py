"""The commands evaluate and fit: what they write, and that evaluate leaves its inputs as they are."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mp2flame import load_head
from mp2flame.mapping import LinearMapping, load_mapping, read_mapping
from tests.cli.conftest import Run
from tests.helpers.faces import person, write_people

pytest.importorskip("pyarrow", reason="data sets need the extra train")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    head = load_head("builtin")
    write_people(tmp_path / "data", [person(head, name, 30, seed=1) for name in "ab"], head)
    return tmp_path / "data"


def test_evaluate_changes_no_mapping_unless_asked_to(data: Path, tmp_path: Path, run: Run) -> None:
    mapping, report = tmp_path / "mine.safetensors", tmp_path / "report.json"
    read_mapping("builtin-scores").save(mapping)
    before = mapping.read_bytes()
    words = ["evaluate", mapping, "--data", data, "--head", "builtin"]
    code, text = run(*words, "-o", report)
    assert code == 0, text
    assert mapping.read_bytes() == before
    assert set(json.loads(report.read_text())["mappings"]) == {"mine", "no expression"}
    code, text = run(*words, "--update-mapping")
    assert code == 0, text
    assert f"updated {mapping}" in text
    assert json.loads(read_mapping(mapping).metadata["metrics"])["subjects"] == 2


def test_a_pair_of_mappings_is_measured_as_both(data: Path, tmp_path: Path, run: Run) -> None:
    report = tmp_path / "report.json"
    code, text = run("evaluate", "builtin", "--data", data, "--head", "builtin", "-o", report)
    assert code == 0, text
    measured = set(json.loads(report.read_text())["mappings"])
    assert {"builtin", "no expression"} <= measured <= {"builtin", "builtin-landmarks", "no expression"}


def test_a_mapping_without_a_head_is_refused_as_drive_refuses_it(
    data: Path, recording: Path, tmp_path: Path, run: Run
) -> None:
    scores = read_mapping("builtin-scores")
    assert isinstance(scores, LinearMapping)
    mapping = tmp_path / "unknown.safetensors"
    replace(scores, metadata={}).save(mapping)
    evaluate = ["evaluate", mapping, "--data", data, "--head", "builtin"]
    drive = ["drive", recording, "--mapping", mapping, "-o", tmp_path / "out.npz"]
    for words in (evaluate, drive):
        code, text = run(*words)
        assert code == 1
        assert "does not say which head it was made for" in text
        code, text = run(*words, "--allow-head-mismatch")
        assert code == 0, text


def test_fit_writes_a_file_or_a_folder_of_matrices(data: Path, tmp_path: Path, run: Run) -> None:
    words = ["fit", data, "--kind", "pinv", "--head", "builtin"]
    for target in (tmp_path / "mapping.safetensors", tmp_path / "folder"):
        code, text = run(*words, "-o", target)
        assert code == 0, text
    file, folder = (load_mapping(tmp_path / name, head_pose="none") for name in ("mapping.safetensors", "folder"))
    assert isinstance(file, LinearMapping)
    assert isinstance(folder, LinearMapping)
    np.testing.assert_array_equal(file.matrix, folder.matrix)
    assert sorted(path.name for path in (tmp_path / "folder").iterdir()) == ["bs2exp.npy", "bs2eye.npy", "bs2jaw.npy"]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ((), "either a data set"),
        (("builtin", "--data", "d", "--video", "v.mp4"), "either a data set"),
        (("builtin", "other", "--video", "v.mp4"), "one mapping"),
        (("--video", "absent.mp4"), "no file or folder absent.mp4"),
    ],
)
def test_evaluate_takes_either_a_data_set_or_videos(words: tuple[str, ...], reason: str, run: Run) -> None:
    code, text = run("evaluate", *words)
    assert code == 1
    assert reason in text
