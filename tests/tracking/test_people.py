"""People whose landmarks are made up are found again; what is not their whole face is marked, not invented."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from mp2flame.data import FlameParams, Observation, concatenate
from mp2flame.errors import HeadMismatchError, InputError
from mp2flame.evaluation.metrics import angle_between, compare
from mp2flame.mapping import BlendshapeMapping, MappingInfo, Person
from mp2flame.tracking.model import Study
from mp2flame.tracking.people import Tracked, track_person
from mp2flame.tracking.results import good_frames
from mp2flame.tracking.video import Footage, find_rest
from tests.helpers.tracked_people import FOCAL, SIZE, footage, landmarks_of, made_up_study, performance, seen_points


@pytest.fixture(scope="module")
def study() -> Study:
    return made_up_study()


@pytest.fixture(scope="module")
def truth(study: Study) -> FlameParams:
    return performance(study.head)


@pytest.fixture(scope="module")
def tracked(study: Study, truth: FlameParams) -> Tracked:
    return track_person(study, [footage(study, truth)], focal=FOCAL)[0]


def test_a_performance_is_found_again(study: Study, truth: FlameParams, tracked: Tracked) -> None:
    figures = compare(study.head, tracked.params, truth)
    assert figures.regions["face"].relative < 0.35
    assert figures.regions["lips"].relative < 0.3
    assert figures.jaw_degrees < 1.0
    assert figures.gaze_degrees < 1.6
    assert figures.head_degrees < 0.7
    assert tracked.params.found.all()
    assert good_frames(tracked).mean() > 0.9
    assert tracked.rest[:15].all()
    assert not tracked.rest[18:].any()


def test_landmarks_of_the_result_lie_where_they_were_seen(study: Study, truth: FlameParams, tracked: Tracked) -> None:
    seen = landmarks_of(seen_points(study, truth))[..., :2] * SIZE
    got = landmarks_of(seen_points(study, tracked.params))[..., :2] * SIZE
    assert np.linalg.norm(got - seen, axis=2).mean() < 1.0
    assert np.median(tracked.pixels) < 2.0


def test_identity_is_found_up_to_size(study: Study, truth: FlameParams, tracked: Tracked) -> None:
    assert tracked.params.shape is not None
    assert truth.shape is not None
    meshes = [study.head.with_shape(shape).neutral_vertices for shape in (tracked.params.shape, truth.shape)]
    face = study.head.region == 0
    got, true = ((mesh[face] - mesh[face].mean(axis=0)) for mesh in meshes)
    got = got * ((got * true).sum() / (got * got).sum())
    usual = study.head.neutral_vertices[face] - study.head.neutral_vertices[face].mean(axis=0)
    error = np.linalg.norm(got - true, axis=1).mean()
    assert error < 0.0015
    assert error < 0.7 * np.linalg.norm(usual - true, axis=1).mean()


def test_the_distance_between_the_eyes_tells_the_size(study: Study, truth: FlameParams) -> None:
    # A head farther from the mean in size than any picture tells.
    assert truth.shape is not None
    larger = replace(truth, shape=_scaled(study, 1.05))
    shape = np.asarray(larger.shape)
    left, right = study.head.with_shape(shape).joints()[3:5]
    apart = float(np.linalg.norm(left - right))
    seen = footage(study, larger)
    face = study.head.region == 0
    true = study.head.with_shape(shape).neutral_vertices[face]

    def error(ipd: float | None) -> float:
        found = track_person(study, [seen], focal=FOCAL, ipd=ipd)[0].params.shape
        assert found is not None
        got = study.head.with_shape(found).neutral_vertices[face]
        if ipd is not None:
            eyes = study.head.with_shape(found).joints()[3:5]
            assert np.linalg.norm(eyes[0] - eyes[1]) == pytest.approx(ipd, abs=3e-4)
        return float(np.linalg.norm((got - got.mean(axis=0)) - (true - true.mean(axis=0)), axis=1).mean())

    assert error(apart) < 0.6 * error(None)
    with pytest.raises(InputError, match="got 63000 mm"):
        track_person(study, [seen], focal=FOCAL, ipd=63.0)


def _scaled(study: Study, by: float) -> NDArray[np.float32]:
    """(S,) the identity that is most like the mean one at another size."""
    directions = study.head.arrays.shapedirs[:, :, : study.head.n_shape].reshape(-1, study.head.n_shape)
    mean = study.head.neutral_vertices - study.head.neutral_vertices.mean(axis=0)
    centred = directions.reshape(len(mean), 3, -1)
    centred = (centred - centred.mean(axis=0)).reshape(directions.shape)
    found: NDArray[np.float32] = np.linalg.lstsq(centred, (by - 1) * mean.ravel(), rcond=None)[0].astype(np.float32)
    return found


def test_the_neck_turns_the_head_as_the_root_does(study: Study, truth: FlameParams, tracked: Tracked) -> None:
    by_neck = track_person(study, [footage(study, truth)], focal=FOCAL, head_pose="neck_pose")[0].params
    assert not by_neck.global_orient.any()
    assert angle_between(by_neck.neck_pose, tracked.params.global_orient).max() < 1.5
    still = track_person(study, [footage(study, truth)], focal=FOCAL, head_pose="none")[0].params
    assert not any(getattr(still, name).any() for name in ("global_orient", "neck_pose", "translation"))
    np.testing.assert_allclose(still.expression, tracked.params.expression, atol=1e-4)


def test_an_unknown_focal_length_is_estimated(study: Study, truth: FlameParams) -> None:
    result = track_person(study, [footage(study, truth, noise=1e-4)])[0]
    assert 0.75 < result.lens.focal / FOCAL < 1.33
    with pytest.raises(InputError, match="focal length above 0"):
        track_person(study, [footage(study, truth)], focal=-1.0)


def test_a_video_without_rest_is_tracked_and_says_so(study: Study, truth: FlameParams) -> None:
    rows = np.arange(17, len(truth))
    moving = replace(truth[rows], time=truth.time[rows] - truth.time[17])
    result = track_person(study, [footage(study, moving)], focal=FOCAL)[0]
    assert any("no second of the video shows a calm face" in warning for warning in result.warnings)
    assert not result.rest.any()
    assert compare(study.head, result.params, moving).jaw_degrees < 5
    assert compare(study.head, result.params, moving).regions["face"].relative < 0.8


def test_one_frame_is_enough(study: Study, truth: FlameParams) -> None:
    result = track_person(study, [footage(study, truth[25])], focal=FOCAL)[0]
    assert result.params.found.tolist() == [True]
    assert angle_between(result.params.global_orient, truth[25].global_orient).max() < 4
    assert any("no second" in warning for warning in result.warnings)


def test_frames_without_a_face_stay_without(study: Study, truth: FlameParams) -> None:
    found = np.ones(len(truth), dtype=np.bool_)
    found[20:24] = False
    result = track_person(study, [footage(study, replace(truth, found=found))], focal=FOCAL)[0]
    assert result.params.found.tolist() == found.tolist()
    assert np.isnan(result.params.expression[20:24]).all()
    assert np.isnan(result.misfit[20:24]).all()
    assert compare(study.head, result.params, truth).jaw_degrees < 1.0


def test_half_a_face_beside_the_picture_does_not_count(study: Study, truth: FlameParams) -> None:
    whole = footage(study, truth)
    assert whole.seen.landmarks is not None
    moved = whole.seen.landmarks.copy()
    # From here on the face leaves the picture to the left, and MediaPipe makes up what is outside.
    moved[24:, :, 0] -= np.quantile(moved[24:, :, 0], 0.4, axis=1, keepdims=True)
    outside = moved[..., 0] < 0
    moved[outside, :2] += np.random.default_rng(0).normal(scale=0.01, size=(int(outside.sum()), 2))
    moved[28:, :, 0] -= 0.06
    result = track_person(study, [replace(whole, seen=replace(whole.seen, landmarks=moved))], focal=FOCAL)[0]
    assert result.params.found[:28].all()
    assert 0.3 < result.believed[26] < 0.7
    assert not result.params.found[28:].any()
    assert any("too little of the face" in warning for warning in result.warnings)
    assert np.degrees(np.abs(result.params.jaw_pose[24:28, 0] - truth.jaw_pose[24:28, 0])).max() < 4
    assert not good_frames(result)[24:].any()


def test_a_covered_mouth_leaves_the_rest_of_the_face(study: Study, truth: FlameParams) -> None:
    whole = footage(study, truth)
    assert whole.seen.landmarks is not None
    moved, mouth = whole.seen.landmarks.copy(), _lower_face(study)
    # What MediaPipe says of the mouth while a hand is before it is anywhere.
    rng = np.random.default_rng(1)
    moved[20:26, mouth, :2] += rng.normal(scale=0.03, size=(6, int(mouth.sum()), 2)).astype(np.float32)
    result = track_person(study, [replace(whole, seen=replace(whole.seen, landmarks=moved))], focal=FOCAL)[0]
    assert result.believed[20:26].max() < result.believed[:20].min()
    assert not good_frames(result)[21:25].any()
    errors = angle_between(result.params.global_orient, truth.global_orient)
    assert errors[20:26].max() < 3
    assert compare(study.head, result.params, truth).gaze_degrees < 1.5


def _lower_face(study: Study) -> NDArray[np.bool_]:
    points = study.embedding.positions(study.head.neutral_vertices, study.head.faces)
    low: NDArray[np.bool_] = points[:, 1] < study.head.joints()[3:5, 1].mean() - 0.045
    return low


def _joined(first: Footage, second: Footage) -> Footage:
    step = float(first.seen.time[1] - first.seen.time[0])
    later = replace(second.seen, time=second.seen.time + first.seen.time[-1] + step)
    shot = np.concatenate([first.shot, second.shot + 1])
    return Footage(concatenate([first.seen, later]), shot, ())


def test_another_person_after_a_cut_is_left_out(study: Study, truth: FlameParams) -> None:
    other = performance(study.head, seed=77)
    both = _joined(footage(study, truth), footage(study, other, seed=1))
    result = track_person(study, [both], focal=FOCAL)[0]
    n = len(truth)
    assert result.params.found[:n].all()
    assert not result.params.found[n:].any()
    assert any("shows another person" in warning for warning in result.warnings)


def test_the_same_person_after_a_cut_stays(study: Study, truth: FlameParams) -> None:
    moved = replace(truth, translation=truth.translation + np.array([0.08, 0.0, -0.1], dtype=np.float32))
    both = _joined(footage(study, truth), footage(study, moved, seed=1))
    result = track_person(study, [both], focal=FOCAL)[0]
    assert result.params.found.all()
    assert compare(study.head, result.params, concatenate([truth, moved])).head_degrees < 1.0


def test_videos_of_one_person_share_the_identity(study: Study, truth: FlameParams) -> None:
    first, second = track_person(study, [footage(study, truth), footage(study, truth, seed=1)], focal=FOCAL)
    assert first.params.shape is not None
    np.testing.assert_array_equal(first.params.shape, second.params.shape)
    assert compare(study.head, second.params, truth).jaw_degrees < 1.0


def test_a_face_that_holds_still_with_an_open_jaw_is_no_rest(study: Study, truth: FlameParams) -> None:
    n, opened = len(truth), int(truth.jaw_pose[:, 0].argmax())
    held = truth[np.concatenate([np.full(15, opened), np.arange(n)])]
    video = footage(study, replace(held, time=np.arange(15 + n) / 15))
    calm = video.seen.scores.copy()
    calm[:15] = 0.01
    video = replace(video, seen=replace(video.seen, scores=calm))
    rest = find_rest(video)
    assert rest is not None
    assert rest.max() < 15
    result = track_person(study, [video], focal=FOCAL)[0]
    assert not result.rest.any()
    assert any("other moments look more like its rest" in warning for warning in result.warnings)
    wrong = replace(result.params, jaw_pose=result.params.jaw_pose - np.float32(held.jaw_pose[0]))
    opening = [np.abs(got.jaw_pose[:, 0] - held.jaw_pose[:, 0]).mean() for got in (result.params, wrong)]
    assert opening[0] < 0.2 * opening[1]


def test_a_rest_in_the_middle_is_found(study: Study, truth: FlameParams) -> None:
    order = np.concatenate([np.arange(17, len(truth)), np.arange(17)])
    turned = replace(truth[order], time=truth.time)
    rest = find_rest(footage(study, turned))
    assert rest is not None
    assert np.median(np.abs(turned.expression[rest]).max(axis=1)) == 0


def test_a_mapping_is_where_faces_are_looked_for(study: Study, truth: FlameParams) -> None:
    right, wrong = _Said(study, truth), _Said(study, replace(truth, expression=truth.expression + np.float32(2)))
    good, bad = (
        track_person(study, [footage(study, truth, noise=1.2e-3)], focal=FOCAL, mapping=mapping)[0].params
        for mapping in (right, wrong)
    )
    errors = [np.abs(got.expression - truth.expression).mean() for got in (good, bad)]
    assert errors[0] < 0.8 * errors[1]
    foreign = _Said(study, truth)
    foreign._hash = "0" * 64
    with pytest.raises(HeadMismatchError, match="made for"):
        track_person(study, [footage(study, truth)], mapping=foreign)


class _Said(BlendshapeMapping):
    """A mapping that knows the answer."""

    def __init__(self, study: Study, answer: FlameParams) -> None:
        self._answer = answer
        self._hash = study.head.hash

    @property
    def info(self) -> MappingInfo:
        return MappingInfo(n_expression=self._answer.n_expression, head_hash=self._hash)

    def __call__(self, observation: Observation) -> FlameParams:
        return self._answer

    def for_person(self, person: Person | Observation) -> _Said:
        return self


def test_videos_without_a_face_are_refused(study: Study, truth: FlameParams) -> None:
    nobody = replace(truth, found=np.zeros(len(truth), dtype=np.bool_))
    with pytest.raises(InputError, match="finds none in one of them"):
        track_person(study, [footage(study, nobody)])
