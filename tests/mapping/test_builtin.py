"""The mappings that ship: whose they are, what they say of themselves, and that they read what they should."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mp2flame.blendshapes import MEDIAPIPE
from mp2flame.data import Observation
from mp2flame.errors import InputError
from mp2flame.head import load_head
from mp2flame.mapping import HeadPose, LinearMapping, Preferred, check_head, default_mapping, load_mapping

_NAMES = ["builtin", "builtin-landmarks"]


def _seen(**raised: float) -> Observation:
    scores = np.zeros((1, 52), dtype=np.float32)
    for name, value in raised.items():
        scores[0, MEDIAPIPE.index(name)] = value
    return Observation(time=np.zeros(1), found=np.ones(1, dtype=np.bool_), scores=scores)


@pytest.mark.parametrize("name", _NAMES)
def test_they_belong_to_the_builtin_head_as_it_is_now(name: str) -> None:
    head = load_head("builtin")
    mapping = load_mapping(name)
    check_head(mapping, head_hash=head.hash, head_version=head.version, n_expression=head.n_expression)
    assert mapping.n_expression == head.n_expression


@pytest.mark.parametrize("name", _NAMES)
def test_they_say_where_they_come_from_and_what_one_may_do_with_them(name: str) -> None:
    metadata = load_mapping(name).metadata
    assert metadata["licence"] == "CC0-1.0"
    assert "renders of the built-in head alone" in metadata["provenance"]
    assert int(metadata["training_subjects"]) >= 50
    assert int(metadata["training_frames"]) >= 3000
    assert len(json.loads(metadata["straight"])) == 3


def test_raised_scores_move_the_right_parts() -> None:
    head = load_head("builtin")
    mapping = load_mapping("builtin").for_person(_seen())
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
    mapping = default_mapping()
    assert isinstance(mapping, Preferred)
    rng = np.random.default_rng(0)
    face = _seen(jawOpen=0.5)
    full = Observation(
        time=face.time, found=face.found, scores=face.scores, landmarks=rng.random((1, 478, 3)).astype(np.float32)
    )
    np.testing.assert_array_equal(mapping(face).expression, mapping.scores(face).expression)
    np.testing.assert_array_equal(mapping(full).expression, mapping.landmarks(full).expression)
    assert mapping.straight is not None
    assert HeadPose(mapping).mapping is mapping


def test_a_rest_without_landmarks_leaves_the_scores() -> None:
    person = default_mapping().for_person(_seen(mouthSmileLeft=0.1))
    assert isinstance(person, LinearMapping)


def test_two_mappings_of_different_heads_do_not_go_together() -> None:
    other = LinearMapping(matrix=np.zeros((52, 59), dtype=np.float32), metadata={"head_version": "other"})
    with pytest.raises(InputError, match="same head; got built-in and other"):
        Preferred(load_mapping("builtin-landmarks"), other)
