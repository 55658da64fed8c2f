"""Loading mappings: those that ship, pairs of files, and what every loaded mapping has."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mp2flame.blendshapes import MEDIAPIPE
from mp2flame.data import Observation
from mp2flame.errors import InputError
from mp2flame.head import load_head
from mp2flame.mapping import (
    BlendshapeMapping,
    LandmarkMapping,
    LandmarksOrScores,
    LinearMapping,
    check_compatible,
    load_mapping,
    read_mapping,
)

_NAMES = ["builtin", "builtin-scores", "builtin-landmarks"]


def _seen(**raised: float) -> Observation:
    scores = np.zeros((1, 52), dtype=np.float32)
    for name, value in raised.items():
        scores[0, MEDIAPIPE.index(name)] = value
    return Observation(time=np.zeros(1), found=np.ones(1, dtype=np.bool_), scores=scores)


@pytest.mark.parametrize("name", _NAMES)
def test_they_belong_to_the_builtin_head_as_it_is_now(name: str) -> None:
    head = load_head("builtin")
    mapping = load_mapping(name)
    check_compatible(mapping, head)
    assert mapping.info.n_expression == head.n_expression


@pytest.mark.parametrize("name", _NAMES)
def test_they_say_where_they_come_from_and_what_one_may_do_with_them(name: str) -> None:
    metadata = load_mapping(name).info.metadata
    assert metadata["licence"] == "CC0-1.0"
    assert "renders of the built-in head alone" in metadata["provenance"]
    assert int(metadata["training_subjects"]) >= 50
    assert int(metadata["training_frames"]) >= 3000
    assert len(json.loads(metadata["straight"])) == 3


def test_raised_scores_move_the_right_parts() -> None:
    head = load_head("builtin")
    mapping = load_mapping("builtin-scores").for_person(_seen())
    rest = mapping(_seen())
    for pose in (rest.expression, rest.jaw_pose, rest.eye_pose):
        np.testing.assert_allclose(pose, 0, atol=1e-5)
    opened = mapping(_seen(jawOpen=0.7))
    assert 0.1 < opened.jaw_pose[0, 0] < 0.6
    assert not opened.eye_pose.any()
    gaze = mapping(_seen(eyeLookOutLeft=0.8, eyeLookInRight=0.8))
    assert gaze.leye_pose[0, 1] > 0.1
    assert gaze.reye_pose[0, 1] > 0.1
    smile = head(mapping(_seen(mouthSmileLeft=0.9, mouthSmileRight=0.9)))[0] - head.neutral_vertices
    corner = int(np.argmax(head(head.blendshapes()[23])[0][:, 1] - head.neutral_vertices[:, 1]))
    assert smile[corner, 1] > 0.002


def test_the_default_reads_landmarks_where_there_are_some() -> None:
    mapping = load_mapping("builtin", head_pose="none")
    assert isinstance(mapping, LandmarksOrScores)
    rng = np.random.default_rng(0)
    face = _seen(jawOpen=0.5)
    full = Observation(
        time=face.time, found=face.found, scores=face.scores, landmarks=rng.random((1, 478, 3)).astype(np.float32)
    )
    np.testing.assert_array_equal(mapping(face).expression, mapping.scores(face).expression)
    np.testing.assert_array_equal(mapping(full).expression, mapping.landmarks(full).expression)
    assert mapping.info.frontal_rotation is not None


def test_a_neutral_without_landmarks_leaves_the_scores() -> None:
    person = load_mapping("builtin", head_pose="none").for_person(_seen(mouthSmileLeft=0.1))
    assert isinstance(person, LinearMapping)


def test_two_mappings_of_different_heads_do_not_go_together() -> None:
    other = LinearMapping(matrix=np.zeros((52, 59), dtype=np.float32), metadata={"head_version": "other"})
    with pytest.raises(InputError, match="same head; got built-in and other"):
        LandmarksOrScores(read_mapping("builtin-landmarks"), other)


def _plain(source: str | Path) -> BlendshapeMapping:
    return load_mapping(source, head_pose="none")


def test_the_pair_of_files_is_loaded_by_the_first_name(tmp_path: Path) -> None:
    scores, landmarks = read_mapping("builtin-scores"), read_mapping("builtin-landmarks")
    scores.save(tmp_path / "mine.safetensors")
    assert isinstance(_plain(tmp_path / "mine.safetensors"), LinearMapping)
    landmarks.save(tmp_path / "mine-landmarks.safetensors")
    pair = _plain(tmp_path / "mine.safetensors")
    assert isinstance(pair, LandmarksOrScores)
    assert pair.info.n_expression == scores.n_expression
    assert isinstance(_plain(tmp_path / "mine-landmarks.safetensors"), LandmarkMapping)
    assert isinstance(_plain("builtin"), LandmarksOrScores)
    assert isinstance(_plain("builtin-scores"), LinearMapping)


def test_what_is_loaded_is_saved_with_all_its_parts(tmp_path: Path) -> None:
    load_mapping("builtin").save(tmp_path / "mine.safetensors")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine-landmarks.safetensors", "mine.safetensors"]
    face = _seen(jawOpen=0.5)
    again = load_mapping(tmp_path / "mine.safetensors")
    np.testing.assert_array_equal(again(face).expression, load_mapping("builtin")(face).expression)


@pytest.mark.parametrize("source", ["builtin", "builtin-scores", "file"])
def test_every_mapping_is_loaded_with_head_pose(source: str, tmp_path: Path) -> None:
    if source == "file":
        source = str(tmp_path / "file.safetensors")
        read_mapping("builtin-scores").save(source)
    turned = replace(_seen(), head_transform=np.diag([-1, 1, -1, 1]).astype(np.float32)[None])
    for target in ("global_orient", "neck_pose"):
        params = load_mapping(source, head_pose=target)(turned)
        assert np.linalg.norm(getattr(params, target)) > 3
    params = load_mapping(source, head_pose="none")(turned)
    assert not params.global_orient.any()
    assert not params.neck_pose.any()


def test_a_foreign_mapping_beside_another_is_not_used_as_its_pair(tmp_path: Path) -> None:
    other = LinearMapping(matrix=np.zeros((52, 59), dtype=np.float32), metadata={"head_version": "other"})
    read_mapping("builtin").save(tmp_path / "mine.safetensors")
    other.save(tmp_path / "mine-landmarks.safetensors")
    with pytest.raises(InputError, match=r"mine-landmarks.safetensors, the landmarks mapping .* do not match"):
        load_mapping(tmp_path / "mine.safetensors")
