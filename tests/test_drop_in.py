"""The drop-in module: plain products as the authority, and heads turned by known angles."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mp2flame import rotations
from mp2flame.data import FlameParams
from mp2flame.errors import FormatError, InputError, MissingExtraError, MissingFileError
from mp2flame.head import load_head
from mp_2_flame import MP_2_FLAME, compute_head_pose_from_mp_landmarks_3d

_AXES = np.diag([1.0, -1.0, -1.0])
"""FLAME's axes to those of OpenCV's camera, and back."""


def _folder(path: Path, *, layout: str = "jaw", n: int = 100, dtype: Any = np.float64, eye: Any = None) -> Path:
    rng = np.random.default_rng(n)
    path.mkdir()
    np.save(path / "bs2exp.npy", rng.normal(size=(52, n)).astype(dtype))
    np.save(path / f"bs2{layout}.npy", rng.normal(size=(52, 3 if layout == "jaw" else 6)).astype(dtype))
    np.save(path / "bs2eye.npy", rng.normal(size=(52, 6)).astype(eye or dtype))
    return path


def _products(folder: Path, scores: NDArray[Any], layout: str) -> list[NDArray[Any]]:
    results: list[NDArray[Any]] = [scores @ np.load(folder / f"bs2{n}.npy") for n in ("exp", layout, "eye")]
    if layout == "pose":
        results[1][..., :3] = 0
    return results


@pytest.mark.parametrize("n_rows", [1, 2, 64, 4097])
@pytest.mark.parametrize("dtypes", [(np.float32, np.float32), (np.float32, np.float64), (np.float64, np.float64)])
@pytest.mark.parametrize(("layout", "n"), [("jaw", 100), ("pose", 50)])
def test_convert_is_three_products(tmp_path: Path, layout: str, n: int, dtypes: tuple[Any, Any], n_rows: int) -> None:
    folder = _folder(tmp_path / "mappings", layout=layout, n=n, dtype=dtypes[1])
    scores = np.random.default_rng(1).uniform(0, 1, (n_rows, 52)).astype(dtypes[0])
    got = MP_2_FLAME(mappings_path=str(folder)).convert(blendshape_scores=scores)
    for result, expected in zip(got, _products(folder, scores, layout), strict=True):
        assert (result.shape, result.dtype) == (expected.shape, expected.dtype)
        assert result.flags.writeable
        np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layout", ["jaw", "pose"])
def test_other_inputs_that_numpy_multiplies(tmp_path: Path, layout: str) -> None:
    folder = _folder(tmp_path / "mappings", layout=layout, dtype=np.float32, eye=np.float64)
    converter = MP_2_FLAME(folder)
    rng = np.random.default_rng(2)
    whole = rng.integers(0, 2, (3, 52))
    for scores in (
        rng.uniform(size=52),
        rng.uniform(size=(1, 52)).astype(np.float32),
        whole,
        rng.uniform(size=(0, 52)),
    ):
        for result, expected in zip(converter.convert(scores), _products(folder, scores, layout), strict=True):
            assert (result.shape, result.dtype) == (expected.shape, expected.dtype)
            np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)
    listed = converter.convert(whole.tolist())
    np.testing.assert_array_equal(listed[0], converter.convert(whole)[0])


def test_no_row_keeps_a_made_up_head_rotation(tmp_path: Path) -> None:
    scores = np.random.default_rng(3).uniform(0, 1, (5, 52))
    folder = _folder(tmp_path / "mappings", layout="pose", n=50)
    _, pose, _ = MP_2_FLAME(folder).convert(scores)
    assert pose.shape == (5, 6)
    np.testing.assert_array_equal(pose[:, :3], 0.0)
    assert np.load(folder / "bs2pose.npy")[:, :3].any()
    assert np.abs(pose[:, 3:]).min() > 0


def test_results_do_not_share_memory_with_the_next_call(tmp_path: Path) -> None:
    converter = MP_2_FLAME(_folder(tmp_path / "mappings"))
    first = [result.copy() for result in converter.convert(np.full((1, 52), 0.25))]
    kept = converter.convert(np.full((1, 52), 0.25))
    converter.convert(np.full((1, 52), 0.75))
    for before, after in zip(first, kept, strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (np.zeros((1, 51)), r"expected blendshape_scores \(N, 52\) in MediaPipe's order; got \(1, 51\)"),
        (np.zeros(51), r"got \(51,\)"),
        (np.zeros((52, 1)), r"got \(52, 1\)"),
        (np.float64(1), r"got \(\)"),
        (np.full((1, 52), np.nan), "row 0 holds NaN or infinity"),
        (np.r_[np.zeros((4099, 52)), np.full((1, 52), -np.inf)], "row 4099 holds NaN or infinity"),
        ([[0.0] * 52, [0.0] * 51], "expected blendshape_scores as an array of numbers; got list"),
        ([["a"] * 52], "expected blendshape_scores as an array of numbers; got <U1"),
        (None, "expected blendshape_scores as an array of numbers; got object"),
    ],
)
def test_bad_scores_are_refused(tmp_path: Path, scores: Any, message: str) -> None:
    converter = MP_2_FLAME(_folder(tmp_path / "mappings"))
    with pytest.raises(InputError, match=message):
        converter.convert(scores)


def test_one_bad_score_is_enough(tmp_path: Path) -> None:
    converter = MP_2_FLAME(_folder(tmp_path / "mappings"))
    for column in range(52):
        for value in (np.nan, np.inf, -np.inf):
            scores = np.zeros((1, 52))
            scores[0, column] = value
            with pytest.raises(InputError, match="row 0 holds NaN or infinity"):
                converter.convert(scores)


def test_bad_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="expected a mapping folder at"):
        MP_2_FLAME(tmp_path / "nowhere")
    folder = _folder(tmp_path / "mappings")
    (folder / "bs2eye.npy").write_bytes(b"<html>")
    with pytest.raises(FormatError, match=r"bs2eye\.npy is truncated or no \.npy file"):
        MP_2_FLAME(folder)


def _project(rotation: NDArray[np.float64], translation: NDArray[np.float64], size: tuple[int, int]) -> Any:
    """Landmarks (478, 3) in pixels of a head that is turned and moved, by the pinhole equations."""
    from mp_2_flame import _model

    numbers, points = _model()
    landmarks = np.zeros((478, 3))
    placed = points @ rotation.T + translation
    landmarks[numbers, :2] = size[0] * placed[:, :2] / placed[:, 2:] + np.array(size) / 2
    return landmarks


@pytest.mark.parametrize("size", [(640, 480), (480, 640), (1920, 1080)])
def test_a_projected_head_is_found_exactly(size: tuple[int, int]) -> None:
    pytest.importorskip("cv2", reason="OpenCV comes with the track extra")
    rng = np.random.default_rng(0)
    for _ in range(20):
        turn = rng.normal(0, 0.3, 3)
        place = np.array([*rng.uniform(-0.1, 0.1, 2), rng.uniform(0.3, 1.5)])
        landmarks = _project(rotations.matrix(turn), place, size)
        rotation, translation = compute_head_pose_from_mp_landmarks_3d(landmarks, img_h=size[1], img_w=size[0])
        assert rotation.shape == translation.shape == (3, 1)
        np.testing.assert_allclose(rotation[:, 0], turn, atol=1e-4)
        np.testing.assert_allclose(translation[:, 0], place, atol=1e-4)
        normalized = landmarks / (*size, 1)
        again = compute_head_pose_from_mp_landmarks_3d(normalized, img_h=size[1], img_w=size[0])
        np.testing.assert_allclose(again[0], rotation, atol=1e-6)


def test_a_face_that_looks_straight_has_no_rotation() -> None:
    pytest.importorskip("cv2", reason="OpenCV comes with the track extra")
    landmarks = _project(np.eye(3), np.array([0.0, 0.0, 0.6]), (640, 480))
    rotation, translation = compute_head_pose_from_mp_landmarks_3d(landmarks, 480, 640)
    np.testing.assert_allclose(rotation, 0, atol=1e-6)
    np.testing.assert_allclose(translation[:, 0], (0, 0, 0.6), atol=1e-6)


@pytest.mark.parametrize(
    ("landmarks", "size", "message"),
    [
        (np.zeros((68, 3)), (480, 640), r"expected face_landmarks \(478, 3\); got \(68, 3\)"),
        (np.zeros((1, 478, 3)), (480, 640), r"got \(1, 478, 3\)"),
        (np.full((478, 3), np.nan), (480, 640), "expected finite face_landmarks"),
        (np.zeros((478, 3)), (0, 640), "expected img_h and img_w of an image in pixels; got 0 and 640"),
        ("face", (480, 640), "expected face_landmarks as an array of numbers"),
    ],
)
def test_bad_landmarks_are_refused(landmarks: Any, size: tuple[int, int], message: str) -> None:
    pytest.importorskip("cv2", reason="OpenCV comes with the track extra")
    with pytest.raises(InputError, match=message):
        compute_head_pose_from_mp_landmarks_3d(landmarks, *size)


def test_without_opencv_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(MissingExtraError, match=r'pip install "mp2flame\[track\]"'):
        compute_head_pose_from_mp_landmarks_3d(np.zeros((478, 3)), 480, 640)


def test_a_rendered_head_is_found_as_mediapipe_sees_it(landmarker: Path) -> None:
    render = pytest.importorskip("mp2flame.render", reason="PyVista comes with the render extra")
    detector = pytest.importorskip("mp2flame.sources.detector", reason="MediaPipe comes with the track extra")
    head = load_head("builtin")
    middle = head.joints()[3:5].mean(axis=0)
    turns = np.radians([[0, 0, 0], [10, 0, 0], [-12, 0, 0], [0, 20, 0], [0, -20, 0], [0, 0, 15], [8, 15, -8]])
    # The picture that the function assumes: focal length equal to the width.
    view_angle = float(np.degrees(2 * np.arctan(0.5)))
    errors = []
    with render.MeshRenderer(
        head.faces, vertex_colors=head.vertex_colors, size=(512, 512), view_angle=view_angle
    ) as renderer:
        renderer.set_camera(middle, distance=0.5)
        watcher = detector.FaceDetector(landmarker, mode="image")
        for turn in turns:
            orient = turn[None].astype(np.float32)
            params = FlameParams(
                time=np.zeros(1),
                found=np.ones(1, dtype=np.bool_),
                expression=np.zeros((1, head.n_expression), dtype=np.float32),
                global_orient=orient,
            )
            seen = watcher.detect(renderer.render(head(params)[0]), 0.0)
            rotation, translation = compute_head_pose_from_mp_landmarks_3d(seen.landmarks[0], 512, 512)
            found = _AXES @ rotations.matrix(rotation[:, 0]) @ _AXES
            errors.append(np.degrees(np.linalg.norm(rotations.from_matrix(found @ rotations.matrix(turn).T))))
            assert 0.4 < translation[2, 0] < 0.6
        watcher.close()
    assert np.mean(errors) < 2.0
    assert np.max(errors) < 4.0
