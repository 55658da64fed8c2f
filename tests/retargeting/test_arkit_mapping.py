"""The mapping from ARKit's weights, its contact sheet, and the command that makes both."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import mp2flame
from mp2flame.blendshapes import ARKIT, MEDIAPIPE, mirror_permutation
from mp2flame.cli import main
from mp2flame.data import FlameParams, Observation
from mp2flame.geometry.face_regions import head_regions
from mp2flame.geometry.symmetry import head_symmetry
from mp2flame.retargeting import Transfer, arkit_mapping
from mp2flame.retargeting.contact_sheet import contact_sheet
from mp2flame.retargeting.registration import source_head, source_landmarks
from mp2flame.sources import open_source

Float64 = NDArray[np.float64]


@pytest.fixture(scope="module")
def known() -> Transfer:
    """What a perfect transfer to the built-in head would give, but for the tongue."""
    head = source_head()
    values = head.blendshapes().to_rows()
    values[-1] = 0.0
    explained = np.array([1.0] * 51 + [0.0])
    return Transfer(FlameParams.from_rows(values), ARKIT[:-1], explained, head_regions(head))


def _observation(scores: Float64) -> Observation:
    n = len(scores)
    return Observation(time=np.arange(n) / 30, found=np.ones(n, dtype=np.bool_), scores=scores.astype(np.float32))


def test_each_score_makes_its_shape(known: Transfer) -> None:
    mapping = arkit_mapping(source_head(), known, date="2026-01-02")
    rest = mapping(_observation(np.zeros((1, 52))))
    assert not rest.to_rows().any()
    made = mapping(_observation(np.eye(52))).to_rows()
    for index, name in enumerate(MEDIAPIPE[1:], start=1):
        np.testing.assert_array_equal(made[index], known.shapes.to_rows()[ARKIT.index(name)], err_msg=name)
    assert not made[0].any()
    assert mapping.info.head_hash == source_head().hash
    assert mapping.metadata["date"] == "2026-01-02"
    assert mapping.metadata["provenance"].endswith("omitted: tongueOut")
    assert json.loads(mapping.metadata["metrics"])["explained"]["jawOpen"] == 1.0


def test_mirrored_scores_make_the_mirrored_face(known: Transfer) -> None:
    symmetry = head_symmetry(source_head())
    assert symmetry is not None
    mapping = arkit_mapping(source_head(), known)
    scores = np.random.default_rng(0).uniform(size=(20, 52)) * (np.arange(52) > 0)
    straight = mapping(_observation(scores)).to_rows() @ symmetry.matrix
    mirrored = mapping(_observation(scores[:, mirror_permutation(MEDIAPIPE)])).to_rows()
    head = source_head()
    np.testing.assert_allclose(head(FlameParams.from_rows(mirrored)), head(FlameParams.from_rows(straight)), atol=2e-5)


def _take(path: Path, frames: list[dict[str, float]]) -> Path:
    """A table as a phone with Live Link Face writes it."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["Timecode", "BlendshapeCount", *(name[0].upper() + name[1:] for name in ARKIT)])
        for number, frame in enumerate(frames):
            writer.writerow([f"00:00:00:{number:02d}.000", 52, *(frame.get(name, 0.0) for name in ARKIT)])
    return path


def test_a_take_of_a_phone_drives_the_head(known: Transfer, tmp_path: Path) -> None:
    mapping_file = tmp_path / "arkit.safetensors"
    arkit_mapping(source_head(), known).save(mapping_file)
    frames = [{}, {"jawOpen": 0.5}, {"eyeBlinkLeft": 1.0, "tongueOut": 1.0}, {"eyeLookOutLeft": 1.0}]
    take = _take(tmp_path / "take.csv", frames)
    words = ["drive", str(take), "--mapping", str(mapping_file), "--head-pose", "none", "--neutral", "none"]
    assert main([*words, "--no-smooth", "-o", str(tmp_path / "params.npz")]) == 0
    got = mp2flame.load_params(tmp_path / "params.npz")
    shapes = source_head().blendshapes()
    row = ARKIT.index
    np.testing.assert_allclose(got.jaw_pose[1], 0.5 * shapes.jaw_pose[row("jawOpen")], atol=1e-6)
    np.testing.assert_allclose(got.expression[2], shapes.expression[row("eyeBlinkLeft")], atol=1e-5)
    np.testing.assert_allclose(got.leye_pose[3], shapes.leye_pose[row("eyeLookOutLeft")], atol=1e-6)
    assert not got.expression[0].any()


def test_the_json_of_an_audio_model_drives_the_head(known: Transfer, tmp_path: Path) -> None:
    path = tmp_path / "speech.json"
    frames = [{"time": index / 30, "weights": [0.0] * 51} for index in range(3)]
    frames[1]["weights"] = [float(name == "jawOpen") for name in MEDIAPIPE[1:]]
    path.write_text(json.dumps({"names": list(MEDIAPIPE[1:]), "frames": frames}), encoding="utf-8")
    mapping = arkit_mapping(source_head(), known)
    with open_source(path) as source:
        opened = [mapping(observation).jaw_pose[0, 0] for observation in source]
    np.testing.assert_allclose(opened, [0.0, source_head().blendshapes().jaw_pose[ARKIT.index("jawOpen"), 0], 0.0])


def test_the_sheet_shows_every_pair(known: Transfer) -> None:
    sheet = contact_sheet(source_head(), known).astype(int)
    height, width = sheet.shape[0] // 7, sheet.shape[1] // 8
    differs = []
    for index in range(52):
        top, left = index // 8 * height + 18, index % 8 * width
        cell = sheet[top : top + height - 18, left : left + width]
        assert cell.std() > 20
        differs.append(np.abs(cell[:, : width // 2] - cell[:, width // 2 :]).max())
    # The same head on both sides, but for the tongue that was not carried over.
    assert max(differs[:-1]) < 40
    assert differs[-1] > 60


def _errors_of(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(words) == 1
    return " ".join(capsys.readouterr().err.split())


def test_the_command_says_what_is_wrong_before_it_works(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start = ["transfer", "--head", "builtin", "-o"]
    assert "ends in .safetensors; got" in _errors_of([*start, str(tmp_path / "a.npy")], capsys)
    assert "does not exist" in _errors_of([*start, str(tmp_path / "no" / "a.safetensors")], capsys)
    sheet = ["--sheet", str(tmp_path / "a.jpg")]
    assert "ends in .png; got" in _errors_of([*start, str(tmp_path / "a.safetensors"), *sheet], capsys)
    assert list(tmp_path.iterdir()) == []


def test_the_command_makes_a_mapping_and_names_what_it_could_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    landmarks, target, sheet = tmp_path / "marks.npz", tmp_path / "arkit.safetensors", tmp_path / "sheet.png"
    source_landmarks().save(landmarks)
    words = ["transfer", "--head", "builtin", "-o", str(target), "--sheet", str(sheet), "--landmarks", str(landmarks)]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "51 of ARKit's 52 shapes" in said
    assert "cannot make: tongueOut" in said
    assert sheet.read_bytes().startswith(b"\x89PNG")
    mapping = mp2flame.load_mapping(target)
    params: FlameParams = mapping(_observation(np.eye(52)[[MEDIAPIPE.index("jawOpen")]]))
    assert params.jaw_pose[0, 0] == pytest.approx(0.425, abs=0.02)
