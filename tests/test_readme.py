"""The README's commands and its Python run as they stand, with a rendered video and the built-in head as the files."""

from __future__ import annotations

import functools
import itertools
from pathlib import Path

import pytest

pytest.importorskip("mediapipe")
pytest.importorskip("pyvista")
pytest.importorskip("pyarrow")

import mp2flame
from mp2flame.calibration.config import CalibrationConfig
from mp2flame.cli import main
from mp2flame.regression.mlp import NetworkConfig
from mp2flame.synthesis.render import RenderSettings
from mp2flame.tracking.model import fit_tracker_model
from tests.helpers.documents import README, code_blocks, commands, write_stand_ins

_ELSEWHERE = {"demo", "live"}
"""The demo has tests of its own, and live does not end by itself."""
_TINY = CalibrationConfig(subjects=4, held_out=2, images=3, network=NetworkConfig(steps=20))
_FEW, _SOME = RenderSettings(subjects=8, images=3), RenderSettings(subjects=14, images=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("readme")
    write_stand_ins(place, "me.mp4", "anna.mp4", "bert.mp4")
    return place


@pytest.fixture(autouse=True)
def small(folder: Path, landmarker: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer renders, and nothing is downloaded."""
    fit = functools.partial(fit_tracker_model, landmark_images=_FEW, error_images=_SOME, folder=folder / "heads")
    monkeypatch.setattr("mp2flame.tracking.model.fit_tracker_model", fit)
    monkeypatch.setattr("mp2flame.tracking.track.fit_tracker_model", fit)
    monkeypatch.setattr("mp2flame.calibration.config.DEFAULT", _TINY)
    monkeypatch.setenv("MP2FLAME_LANDMARKER", str(landmarker))
    monkeypatch.chdir(folder)


def test_the_commands_run_in_their_order(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [words for block in code_blocks(README, "bash") for words in commands(block)]
    ours = [words[1:] for words in lines if words[0] == "mp2flame" and words[1] not in _ELSEWHERE]
    assert [words[0] for words in ours] == [
        "drive",
        "calibrate",
        "drive",
        "track",
        "track",
        "dataset",
        "fit",
        "evaluate",
    ]
    for words in ours:
        if words[0] == "evaluate":
            (folder / "data").rename(folder / "held_out")
        assert main(words) == 0, f"mp2flame {' '.join(words)}: {capsys.readouterr()}"
        for flag, output in itertools.pairwise(words):
            assert flag != "-o" or Path(output).exists(), f"mp2flame {' '.join(words)} wrote no {output}"


@pytest.mark.filterwarnings("ignore:.*neutral:UserWarning")
def test_the_python_runs_and_gives_what_the_command_gives(folder: Path) -> None:
    (block,) = code_blocks(README, "python")
    (folder / "out.npz").unlink(missing_ok=True)
    names: dict[str, object] = {}
    exec(compile(block.text, str(block), "exec"), names)
    head = names["head"]
    assert isinstance(head, mp2flame.FlameHead)
    assert names["vertices"].shape == (1, head.n_vertices, 3)  # type: ignore[attr-defined]
    assert {"expression", "jaw_pose", "betas", "transl"} <= set(names["tensors"])  # type: ignore[call-overload]
    by_python = (folder / "out.npz").read_bytes()
    assert main(["drive", "me.mp4", "-o", "out.npz"]) == 0
    assert (folder / "out.npz").read_bytes() == by_python
