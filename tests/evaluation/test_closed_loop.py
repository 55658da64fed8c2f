"""The closed loop: measures against plain loops, figures against closed forms, and a head that drives itself."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mp2flame import rotations
from mp2flame.data import N_LANDMARKS, Observation
from mp2flame.errors import InputError
from mp2flame.evaluation.closed_loop import (
    FACE_MEASURES,
    ClosedLoop,
    compare_motion,
    face_measures,
    pool,
)
from mp2flame.evaluation.closed_loop_report import write_closed_loop

_OPEN, _WIDTH, _LID, _GAZE = (
    FACE_MEASURES.index(name) for name in ("mouth open", "mouth width", "right lid", "gaze x")
)


def _observation(
    points: np.ndarray, rotation: np.ndarray | None = None, size: tuple[int, int] = (640, 480)
) -> Observation:
    """Points (N, 478, 3) in pixels, x right, y up, z to the camera, as MediaPipe would give them."""
    n = len(points)
    transform = np.tile(np.eye(4), (n, 1, 1))
    if rotation is not None:
        points = points @ rotation.T
        transform[:, :3, :3] = rotation
    width, height = size
    return Observation(
        time=np.arange(n) / 30,
        found=np.ones(n, np.bool_),
        scores=np.zeros((n, 52)),
        landmarks=points / [width, -height, -width],
        head_transform=transform,
        image_size=np.array(size),
    )


def _face(seed: int = 0, n: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, N_LANDMARKS, 3)) * 100


def test_measures_are_in_eye_distances() -> None:
    points = _face()
    measures = face_measures(_observation(points))
    for row, face in enumerate(points):
        unit = np.linalg.norm(face[33] - face[263])
        assert measures[row, _OPEN] == pytest.approx(np.linalg.norm(face[13] - face[14]) / unit, rel=1e-3)
        assert measures[row, _WIDTH] == pytest.approx(np.linalg.norm(face[61] - face[291]) / unit, rel=1e-3)
        assert measures[row, _LID] == pytest.approx(np.linalg.norm(face[159] - face[145]) / unit, rel=1e-3)
        gaze = (face[468, 0] - (face[33, 0] + face[133, 0]) / 2 + face[473, 0] - (face[263, 0] + face[362, 0]) / 2) / 2
        assert measures[row, _GAZE] == pytest.approx(gaze / unit, abs=1e-3)


def test_measures_turn_with_neither_head_nor_distance() -> None:
    points = _face()
    turned = _observation(0.4 * points, rotations.matrix(np.array([0.2, -0.5, 0.1])))
    np.testing.assert_allclose(face_measures(turned), face_measures(_observation(points)), atol=2e-3)


def test_frames_without_a_face_are_nan() -> None:
    seen = _observation(_face())
    missing = Observation(
        time=seen.time,
        found=np.array([True, False, True]),
        scores=seen.scores,
        landmarks=seen.landmarks,
        head_transform=seen.head_transform,
        image_size=seen.image_size,
    )
    assert np.isnan(face_measures(missing)).all(axis=1).tolist() == [False, True, False]


def test_a_constant_difference_does_not_count_and_a_gain_does() -> None:
    rng = np.random.default_rng(1)
    real = rng.normal(size=(400, len(FACE_MEASURES)))
    same = compare_motion(real, real + 3.0)
    half = compare_motion(real, 0.5 * real - 1.0)
    np.testing.assert_allclose(same.explained, 1, atol=1e-6)
    np.testing.assert_allclose(half.gain, 0.5, atol=1e-6)
    np.testing.assert_allclose(half.correlation, 1, atol=1e-6)
    np.testing.assert_allclose(half.explained, 0.75, atol=1e-6)
    none = compare_motion(real, np.zeros_like(real))
    np.testing.assert_allclose(none.explained, 0, atol=1e-6)


def test_frames_that_lack_a_face_are_left_out() -> None:
    real = np.random.default_rng(2).normal(size=(50, len(FACE_MEASURES)))
    driven = real.copy()
    driven[::7] = np.nan
    np.testing.assert_allclose(compare_motion(real, driven).explained, 1, atol=1e-6)
    with pytest.raises(InputError, match="at least two frames"):
        compare_motion(real, np.full_like(real, np.nan))


def test_pooled_figures_weigh_videos_by_their_motion() -> None:
    rng = np.random.default_rng(3)
    lively, still = rng.normal(size=(300, len(FACE_MEASURES))), rng.normal(size=(300, len(FACE_MEASURES))) * 0.1
    pooled = pool([compare_motion(lively, lively), compare_motion(still, np.zeros_like(still))])
    weight = lively.var(axis=0) / (lively.var(axis=0) + still.var(axis=0))
    np.testing.assert_allclose(pooled.explained, weight, atol=1e-6)
    with pytest.raises(InputError, match="at least one video"):
        pool([])


def test_the_worst_frames_are_apart_and_in_order() -> None:
    time = np.arange(90) / 30
    real = np.random.default_rng(4).normal(size=(90, len(FACE_MEASURES)))
    driven = real.copy()
    for frame, error in ((10, 3.0), (12, 2.0), (60, 4.0)):
        driven[frame] += error
    result = ClosedLoop(
        time=time,
        real=real,
        driven=driven,
        figures=compare_motion(real, driven),
        neutral_mm=None,
        images=(),
        warnings=(),
    )
    assert result.worst_frames(2) == [60, 10]


def test_a_rendered_head_is_driven_by_its_own_video(landmarker: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyvista", reason="rendering needs the extra render")
    import mp2flame
    from mp2flame.demo_animation import animate
    from mp2flame.evaluation.closed_loop import closed_loop

    head = mp2flame.load_head("builtin")
    params = animate(head.blendshapes())[0][::6]
    from mp2flame.sinks.base import write_frames
    from mp2flame.sinks.video import VideoSink

    video = tmp_path / "head.mp4"
    seen = [Observation.missing(float(time)) for time in params.time]
    write_frames([VideoSink(video, head=head)], list(zip(seen, params, strict=True)), head=head)
    result = closed_loop(video, landmarker=landmarker, neutral_frame=0, keep_images=True)
    assert len(result.images) == len(result.time) == len(params)
    assert result.images[0][0][:2] == b"\xff\xd8"
    assert result.figures.correlation[_OPEN] > 0.9
    assert 0.7 < result.figures.gain[_OPEN] < 1.3
    assert result.figures.explained[_OPEN] > 0.8
    assert result.neutral_mm is not None
    assert result.neutral_mm < 0.45


def _result(seed: int) -> ClosedLoop:
    rng = np.random.default_rng(seed)
    real = rng.normal(size=(40, len(FACE_MEASURES)))
    driven = 0.8 * real + 0.1 * rng.normal(size=real.shape)
    driven[3] = np.nan
    return ClosedLoop(
        time=np.arange(40) / 25,
        real=real,
        driven=driven,
        figures=compare_motion(real, driven),
        neutral_mm=0.25,
        images=tuple((b"\xff\xd8real", b"\xff\xd8driven") for _ in range(40)),
        warnings=("<script>alert(1)</script>",),
    )


def test_the_report_escapes_names_and_shows_every_measure(tmp_path: Path) -> None:
    pytest.importorskip("jinja2", reason="reports need the extra train")
    path = tmp_path / "report.html"
    write_closed_loop({"<b>me</b>.mp4": _result(0), "you.mp4": _result(1)}, path)
    text = path.read_text(encoding="utf-8")
    assert "<b>me</b>" not in text
    assert "<script>" not in text
    assert "nan" not in text
    assert all(text.count(f"<td>{name}</td>") == 1 for name in FACE_MEASURES)
    assert text.count("<polyline") == 2 * 2 * len(FACE_MEASURES)
    assert "0.25 mm from neutral" in text


def test_the_figures_of_the_json_report_are_those_of_the_videos(tmp_path: Path) -> None:
    results = {"a.mp4": _result(0), "b.mp4": _result(1)}
    path = tmp_path / "report.json"
    write_closed_loop(results, path)
    report = json.loads(path.read_text(encoding="utf-8"))
    pooled = pool([result.figures for result in results.values()])
    for number, name in enumerate(FACE_MEASURES):
        assert report["pooled"]["measures"][name]["explained"] == pytest.approx(pooled.explained[number], abs=1e-4)
    assert report["videos"]["a.mp4"]["neutral_mm"] == 0.25
