"""Synthetic landmarks of a known performance are tracked; frames that show too little of the person have no face."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mp2flame.data import FlameParams, concatenate
from mp2flame.errors import InputError
from mp2flame.evaluation.metrics import angle_between, compare
from mp2flame.tracking.config import TrackOptions
from mp2flame.tracking.model import TrackerModel
from mp2flame.tracking.results import good_frames
from mp2flame.tracking.track import TrackResult, track_person
from mp2flame.tracking.video import VideoDetections, find_neutral
from tests.helpers.tracked_people import (
    FOCAL,
    SIZE,
    camera_points,
    detections,
    landmarks_of,
    performance,
    synthetic_model,
)


@pytest.fixture(scope="module")
def model() -> TrackerModel:
    return synthetic_model()


@pytest.fixture(scope="module")
def truth(model: TrackerModel) -> FlameParams:
    return performance(model.head)


@pytest.fixture(scope="module")
def tracked(model: TrackerModel, truth: FlameParams) -> TrackResult:
    return _track(model, detections(model, truth))


def _track(model: TrackerModel, *videos: VideoDetections, **options: Any) -> TrackResult:
    """The result of the last video."""
    return track_person(model, videos, TrackOptions(**{"focal": FOCAL, **options}))[-1]


def test_parameters_are_recovered(model: TrackerModel, truth: FlameParams, tracked: TrackResult) -> None:
    figures = compare(model.head, tracked.params, truth)
    assert figures["face"] < 0.35
    assert figures["lips"] < 0.3
    assert figures["jaw degrees"] < 1.0
    assert figures["gaze degrees"] < 1.6
    assert figures["head degrees"] < 0.7
    assert tracked.params.found.all()
    assert good_frames(tracked).mean() > 0.9
    assert tracked.neutral[:15].all()
    assert not tracked.neutral[18:].any()


def test_landmarks_of_the_result_match_the_detected_ones(
    model: TrackerModel, truth: FlameParams, tracked: TrackResult
) -> None:
    detected = landmarks_of(camera_points(model, truth))[..., :2] * SIZE
    result = landmarks_of(camera_points(model, tracked.params))[..., :2] * SIZE
    assert np.linalg.norm(result - detected, axis=2).mean() < 1.0
    assert np.median(tracked.pixels) < 2.0


def test_identity_is_estimated_up_to_size(model: TrackerModel, truth: FlameParams, tracked: TrackResult) -> None:
    assert tracked.params.shape is not None
    assert truth.shape is not None
    meshes = [model.head.with_shape(shape).neutral_vertices for shape in (tracked.params.shape, truth.shape)]
    face = model.head.region == 0
    result, true = ((mesh[face] - mesh[face].mean(axis=0)) for mesh in meshes)
    result = result * ((result * true).sum() / (result * result).sum())
    mean = model.head.neutral_vertices[face] - model.head.neutral_vertices[face].mean(axis=0)
    error = np.linalg.norm(result - true, axis=1).mean()
    assert error < 0.0015
    assert error < 0.7 * np.linalg.norm(mean - true, axis=1).mean()


def test_the_eye_distance_gives_the_size(model: TrackerModel, truth: FlameParams) -> None:
    # Five percent larger than the mean: no image shows this.
    assert truth.shape is not None
    larger = replace(truth, shape=_scaled(model, 1.05))
    shape = np.asarray(larger.shape)
    left, right = model.head.with_shape(shape).joints()[3:5]
    eye_distance = float(np.linalg.norm(left - right))
    video = detections(model, larger)
    face = model.head.region == 0
    true = model.head.with_shape(shape).neutral_vertices[face]

    def error(ipd: float | None) -> float:
        found = _track(model, video, ipd=ipd).params.shape
        assert found is not None
        vertices = model.head.with_shape(found).neutral_vertices[face]
        if ipd is not None:
            eyes = model.head.with_shape(found).joints()[3:5]
            assert np.linalg.norm(eyes[0] - eyes[1]) == pytest.approx(ipd, abs=3e-4)
        return float(np.linalg.norm((vertices - vertices.mean(axis=0)) - (true - true.mean(axis=0)), axis=1).mean())

    assert error(eye_distance) < 0.6 * error(None)


def _scaled(model: TrackerModel, by: float) -> NDArray[np.float32]:
    """(S,) the identity that is most like the mean one at another size."""
    n_shape = model.head.n_shape
    mean = model.head.neutral_vertices - model.head.neutral_vertices.mean(axis=0)
    directions = model.head.arrays.shapedirs[:, :, :n_shape]
    centered = (directions - directions.mean(axis=0)).reshape(-1, n_shape)
    found: NDArray[np.float32] = np.linalg.lstsq(centered, (by - 1) * mean.ravel(), rcond=None)[0].astype(np.float32)
    return found


@pytest.mark.parametrize(
    ("options", "message"),
    [({"ipd": 63.0}, "got 63000 mm"), ({"focal": -1.0}, "above 0 pixels"), ({"focal": np.nan}, "above 0 pixels")],
)
def test_impossible_options_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TrackOptions(**options)  # type: ignore[arg-type]


def test_the_neck_takes_the_rotation_that_the_root_takes(
    model: TrackerModel, truth: FlameParams, tracked: TrackResult
) -> None:
    by_neck = _track(model, detections(model, truth), head_pose="neck_pose").params
    assert not by_neck.global_orient.any()
    assert angle_between(by_neck.neck_pose, tracked.params.global_orient).max() < 1.5
    unposed = _track(model, detections(model, truth), head_pose="none").params
    assert not any(getattr(unposed, name).any() for name in ("global_orient", "neck_pose", "translation"))
    np.testing.assert_allclose(unposed.expression, tracked.params.expression, atol=1e-4)


def test_an_unknown_focal_length_is_estimated(model: TrackerModel, truth: FlameParams) -> None:
    result = _track(model, detections(model, truth, noise=1e-4), focal=None)
    assert 0.75 < result.camera.focal / FOCAL < 1.33


def test_a_video_without_neutral_frames_is_tracked_with_a_warning(model: TrackerModel, truth: FlameParams) -> None:
    frames = np.arange(17, len(truth))
    moving = replace(truth[frames], time=truth.time[frames] - truth.time[17])
    result = _track(model, detections(model, moving))
    assert any("no second of the video shows a motionless face" in warning for warning in result.warnings)
    assert not result.neutral.any()
    assert compare(model.head, result.params, moving)["jaw degrees"] < 5
    assert compare(model.head, result.params, moving)["face"] < 0.8


def test_one_frame_is_enough(model: TrackerModel, truth: FlameParams) -> None:
    result = _track(model, detections(model, truth[25]))
    assert result.params.found.tolist() == [True]
    assert angle_between(result.params.global_orient, truth[25].global_orient).max() < 4
    assert any("no second" in warning for warning in result.warnings)


def test_frames_without_a_face_have_no_parameters(model: TrackerModel, truth: FlameParams) -> None:
    found = np.ones(len(truth), dtype=np.bool_)
    found[20:24] = False
    result = _track(model, detections(model, replace(truth, found=found)))
    assert result.params.found.tolist() == found.tolist()
    assert np.isnan(result.params.expression[20:24]).all()
    assert np.isnan(result.residual[20:24]).all()
    assert compare(model.head, result.params, truth)["jaw degrees"] < 1.0


def _with_landmarks(video: VideoDetections, landmarks: NDArray[np.float32]) -> VideoDetections:
    return replace(video, observation=replace(video.observation, landmarks=landmarks))


def test_landmarks_outside_the_image_are_not_used(model: TrackerModel, truth: FlameParams) -> None:
    whole = detections(model, truth)
    assert whole.observation.landmarks is not None
    moved = whole.observation.landmarks.copy()
    # From here on the face leaves the image to the left, and MediaPipe extrapolates what is outside.
    moved[24:, :, 0] -= np.quantile(moved[24:, :, 0], 0.4, axis=1, keepdims=True)
    outside = moved[..., 0] < 0
    moved[outside, :2] += np.random.default_rng(0).normal(scale=0.01, size=(int(outside.sum()), 2))
    moved[28:, :, 0] -= 0.06
    result = _track(model, _with_landmarks(whole, moved))
    assert result.params.found[:28].all()
    assert 0.3 < result.inlier_ratio[26] < 0.7
    assert not result.params.found[28:].any()
    assert any("too little of the face" in warning for warning in result.warnings)
    assert np.degrees(np.abs(result.params.jaw_pose[24:28, 0] - truth.jaw_pose[24:28, 0])).max() < 4
    assert not good_frames(result)[24:].any()


def test_a_covered_mouth_leaves_the_other_landmarks(model: TrackerModel, truth: FlameParams) -> None:
    whole = detections(model, truth)
    assert whole.observation.landmarks is not None
    moved, mouth = whole.observation.landmarks.copy(), _lower_face(model)
    # The landmarks of a mouth behind a hand are anywhere.
    rng = np.random.default_rng(1)
    moved[20:26, mouth, :2] += rng.normal(scale=0.03, size=(6, int(mouth.sum()), 2)).astype(np.float32)
    result = _track(model, _with_landmarks(whole, moved))
    assert result.inlier_ratio[20:26].max() < result.inlier_ratio[:20].min()
    assert not good_frames(result)[21:25].any()
    errors = angle_between(result.params.global_orient, truth.global_orient)
    assert errors[20:26].max() < 3
    assert compare(model.head, result.params, truth)["gaze degrees"] < 1.5


def _lower_face(model: TrackerModel) -> NDArray[np.bool_]:
    points = model.embedding.positions(model.head.neutral_vertices, model.head.faces)
    low: NDArray[np.bool_] = points[:, 1] < model.head.joints()[3:5, 1].mean() - 0.045
    return low


def _joined(first: VideoDetections, second: VideoDetections) -> VideoDetections:
    """One video with a cut."""
    before, after = first.observation, second.observation
    step = float(before.time[1] - before.time[0])
    joined = concatenate([before, replace(after, time=after.time + before.time[-1] + step)])
    return VideoDetections(joined, np.concatenate([first.shot, second.shot + 1]), ())


def test_another_person_after_a_cut_has_no_parameters(model: TrackerModel, truth: FlameParams) -> None:
    other = performance(model.head, seed=77)
    result = _track(model, _joined(detections(model, truth), detections(model, other, seed=1)))
    n = len(truth)
    assert result.params.found[:n].all()
    assert not result.params.found[n:].any()
    assert any("shows another person" in warning for warning in result.warnings)


def test_the_same_person_after_a_cut_is_tracked(model: TrackerModel, truth: FlameParams) -> None:
    moved = replace(truth, translation=truth.translation + np.array([0.08, 0.0, -0.1], dtype=np.float32))
    result = _track(model, _joined(detections(model, truth), detections(model, moved, seed=1)))
    assert result.params.found.all()
    assert compare(model.head, result.params, concatenate([truth, moved]))["head degrees"] < 1.0


def test_videos_of_one_person_share_the_identity(model: TrackerModel, truth: FlameParams) -> None:
    videos = [detections(model, truth), detections(model, truth, seed=1)]
    first, second = track_person(model, videos, TrackOptions(focal=FOCAL))
    assert first.params.shape is not None
    np.testing.assert_array_equal(first.params.shape, second.params.shape)
    assert compare(model.head, second.params, truth)["jaw degrees"] < 1.0


def test_a_motionless_face_with_an_open_jaw_is_not_neutral(model: TrackerModel, truth: FlameParams) -> None:
    n, opened = len(truth), int(truth.jaw_pose[:, 0].argmax())
    held = truth[np.concatenate([np.full(15, opened), np.arange(n)])]
    video = detections(model, replace(held, time=np.arange(15 + n) / 15))
    scores = video.observation.scores.copy()
    scores[:15] = 0.01
    video = replace(video, observation=replace(video.observation, scores=scores))
    neutral = find_neutral(video)
    assert neutral is not None
    assert neutral.max() < 15
    result = _track(model, video)
    assert not result.neutral.any()
    assert any("other moments look more like the neutral face" in warning for warning in result.warnings)
    wrong = replace(result.params, jaw_pose=result.params.jaw_pose - np.float32(held.jaw_pose[0]))
    opening = [np.abs(params.jaw_pose[:, 0] - held.jaw_pose[:, 0]).mean() for params in (result.params, wrong)]
    assert opening[0] < 0.2 * opening[1]


def test_neutral_frames_in_the_middle_are_found(model: TrackerModel, truth: FlameParams) -> None:
    order = np.concatenate([np.arange(17, len(truth)), np.arange(17)])
    turned = replace(truth[order], time=truth.time)
    neutral = find_neutral(detections(model, turned))
    assert neutral is not None
    assert np.median(np.abs(turned.expression[neutral]).max(axis=1)) == 0


def test_videos_without_a_face_are_refused(model: TrackerModel, truth: FlameParams) -> None:
    nobody = replace(truth, found=np.zeros(len(truth), dtype=np.bool_))
    with pytest.raises(InputError, match="finds none in one of them"):
        _track(model, detections(model, nobody))
