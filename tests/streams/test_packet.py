"""ARKit's names in and out of observations; tongueOut, which MediaPipe lacks."""

from __future__ import annotations

import numpy as np
import pytest

from mp2flame.blendshapes import ARKIT, MEDIAPIPE
from mp2flame.data import Frame, Observation, concatenate
from mp2flame.errors import FormatError, InputError
from mp2flame.rotations import matrix
from mp2flame.sources.face_packet import FacePacket, checked_scores
from mp2flame.streams.base import arkit_scores, check_single, head_rotation
from tests.helpers.streams import face, nobody, pose


def test_scores_travel_by_name() -> None:
    values = {name: 0.01 * index for index, name in enumerate(ARKIT)}
    observation = FacePacket(scores=values).observation(1.0)
    assert observation.scores[0, MEDIAPIPE.index("jawOpen")] == np.float32(values["jawOpen"])
    assert observation.scores[0, 0] == 0, "nobody sends _neutral"
    assert observation.tongue_out is not None
    assert observation.tongue_out[0] == np.float32(values["tongueOut"])
    np.testing.assert_array_equal(arkit_scores(observation), np.array(list(values.values()), dtype=np.float32))


def test_tongue_out_is_carried_where_it_is_known() -> None:
    seen = face(1, tongue=0.5)
    assert arkit_scores(seen)[51] == 0.5
    assert arkit_scores(face(1, tongue=None))[51] == 0.0
    assert FacePacket(scores={"jawOpen": 1.0}).observation(0.0).tongue_out is None
    both = concatenate([seen, face(2, time=1.0, tongue=0.75)])
    assert both.tongue_out is not None
    assert both.tongue_out.tolist() == [0.5, 0.75]
    assert both[1].tongue_out == np.float32(0.75)


def test_tongue_out_is_checked_like_every_field() -> None:
    one = {"time": np.zeros(1), "found": np.array([True]), "scores": np.zeros((1, 52))}
    with pytest.raises(InputError, match="tongue_out must have shape"):
        Observation(**one, tongue_out=np.zeros(2))
    with pytest.raises(InputError, match="tongue_out must be finite"):
        Observation(**one, tongue_out=np.array([np.nan]))
    blank = Observation(**one | {"found": np.array([False])}, tongue_out=np.array([0.5]))
    assert blank.tongue_out is not None
    assert np.isnan(blank.tongue_out).all()


def test_the_head_turns_by_root_and_neck() -> None:
    seen = face(3)
    params = pose(3, seen)
    expected = matrix(params.global_orient[0]) @ matrix(params.neck_pose[0])
    turned = head_rotation(params)
    assert turned is not None
    np.testing.assert_allclose(turned, expected)
    assert head_rotation(nobody(0.0)[1]) is None
    assert np.isnan(arkit_scores(nobody(0.0)[0])).all()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 11.0, -1e30])
def test_scores_out_of_this_world(value: float) -> None:
    with pytest.raises(FormatError, match="jawOpen"):
        checked_scores([("jawOpen", value)])


def test_sinks_take_single_frames() -> None:
    with pytest.raises(InputError, match="single frame"):
        check_single(Frame(concatenate([face(1), face(2, time=1.0)]), pose(1, face(1))))
