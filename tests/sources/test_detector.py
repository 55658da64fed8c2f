"""MediaPipe itself, on films of a rendered head."""

from __future__ import annotations

import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from mediapipe.tasks.python import vision

from mp2flame.blendshapes import MEDIAPIPE
from mp2flame.data import concatenate
from mp2flame.errors import FormatError, InputError, MissingFileError, SourceError
from mp2flame.sources import open_source
from mp2flame.sources.detector import FaceDetector
from tests.helpers.video import Pixels, performance_frames, scene, watch, write_film


def test_a_face_is_detected(detector: FaceDetector, performance: list[Pixels]) -> None:
    observation = detector.detect(performance[0], 0.5)
    assert observation.found.tolist() == [True]
    assert observation.time.tolist() == [0.5]
    assert observation.scores.shape == (1, 52)
    assert observation.image_size is not None
    assert observation.image_size.tolist() == [512, 512]
    assert observation.landmarks is not None
    assert (observation.landmarks[..., :2] > 0).all()
    assert (observation.landmarks[..., :2] < 1).all()
    assert observation.head_transform is not None
    rotation = observation.head_transform[0, :3, :3]
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-3)
    assert observation.picture is None
    kept = detector.detect(performance[1], 0.6, keep_image=True)
    np.testing.assert_array_equal(kept.picture, performance[1])


def test_the_same_as_mediapipe_alone(landmarker: Path, detector: FaceDetector, performance: list[Pixels]) -> None:
    import mediapipe
    from mediapipe.tasks.python import BaseOptions

    options = vision.FaceLandmarkerOptions(
        base_options=BaseOptions(model_asset_path=str(landmarker)),
        running_mode=vision.RunningMode.VIDEO,
        output_face_blendshapes=True,
        output_facial_transformation_matrixes=True,
    )
    seen = watch(detector, performance)
    assert seen.head_transform is not None
    with vision.FaceLandmarker.create_from_options(options) as alone:
        for number, picture in enumerate(performance):
            image = mediapipe.Image(mediapipe.ImageFormat.SRGB, picture)
            result = alone.detect_for_video(image, round(number / 30 * 1000))
            named = {category.category_name: category.score for category in result.face_blendshapes[0]}
            np.testing.assert_array_equal(
                seen.scores[number], np.array([named[name] for name in MEDIAPIPE], np.float32)
            )
            np.testing.assert_array_equal(seen.head_transform[number], result.facial_transformation_matrixes[0])


def test_a_reset_forgets_everything(detector: FaceDetector, performance: list[Pixels]) -> None:
    first = watch(detector, performance[:20])
    watch(detector, performance[40:60], start=5.0)
    detector.reset()
    again = watch(detector, performance[:20])
    np.testing.assert_array_equal(first.scores, again.scores)
    np.testing.assert_array_equal(first.landmarks, again.landmarks)


def test_times_that_do_not_rise_or_share_a_millisecond(detector: FaceDetector, performance: list[Pixels]) -> None:
    times = [0.0, 0.0, 0.0002, 0.0004, -3.0, 0.0005, 0.033, 1e6, 5.0]
    for time, picture in zip(times, performance, strict=False):
        observation = detector.detect(picture, time)
        assert observation.time.tolist() == [time]
        assert observation.found[0]


def test_left_and_right_are_the_subjects(detector: FaceDetector, shared_data: Path) -> None:
    frames = performance_frames(shared_data, 150)
    with np.load(shared_data / "video" / "performance_a.npz") as truth:
        gaze = truth["eye_pose"][:150, 1]
    out, into = MEDIAPIPE.index("eyeLookOutLeft"), MEDIAPIPE.index("eyeLookInLeft")
    for sign, pictures in ((1, frames), (-1, [np.ascontiguousarray(picture[:, ::-1]) for picture in frames])):
        detector.reset()
        seen = watch(detector, pictures)
        towards_left = seen.scores[:, out] - seen.scores[:, into]
        assert sign * np.corrcoef(towards_left, gaze)[0, 1] > 0.8


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 700), (700, 1), (2, 3), (321, 241), (1081, 3)], ids=str)
def test_images_of_any_size(detector: FaceDetector, height: int, width: int) -> None:
    observation = detector.detect(np.zeros((height, width, 3), np.uint8), 0.0)
    assert not observation.found[0]
    assert observation.image_size is not None
    assert observation.image_size.tolist() == [width, height]


def test_images_of_any_kind(detector: FaceDetector, performance: list[Pixels]) -> None:
    face = performance[0]
    plain = detector.detect(face, 0.0)
    for same in (np.asfortranarray(face), face.astype(np.uint16) * 257, np.dstack([face, face[..., :1]])):
        detector.reset()
        np.testing.assert_array_equal(detector.detect(same, 0.0).scores, plain.scores)
    detector.reset()
    assert detector.detect(face.mean(axis=2).astype(np.uint8), 0.0).found[0]
    odd = cv2.resize(face, (321, 241))
    detector.reset()
    assert detector.detect(odd, 0.0).found[0]
    for wrong in (face / 255.0, face[None], face[:0]):
        with pytest.raises(InputError, match="expected an image"):
            detector.detect(wrong, 1.0)
    # A wrong picture does no harm to the next one.
    assert detector.detect(odd, 2.0).found[0]


@pytest.mark.parametrize("width", [526, 798, 834, 918, 1080])
@pytest.mark.parametrize("suffix", [".mp4", ".png"])
def test_a_face_is_found_at_widths_whose_rows_a_decoder_pads(
    landmarker: Path, performance: list[Pixels], tmp_path: Path, *, width: int, suffix: str
) -> None:
    image = cv2.resize(performance[0], (width, 512))
    path = tmp_path / f"face{suffix}"
    if suffix == ".mp4":
        write_film(path, [image] * 2)
    else:
        cv2.imwrite(str(path), image[..., ::-1])
    with open_source(path, landmarker=landmarker) as source:
        frames = list(source)
    assert all(frame.found[0] for frame in frames)
    assert all(frame.image_size is not None and frame.image_size.tolist() == [width, 512] for frame in frames)


def test_no_face(detector: FaceDetector) -> None:
    rng = np.random.default_rng(0)
    seen = watch(detector, [rng.integers(0, 255, (240, 320, 3), dtype=np.uint8) for _ in range(10)])
    assert not seen.found.any()
    assert np.isnan(seen.scores).all()


def test_a_face_that_leaves_and_returns(detector: FaceDetector, performance: list[Pixels]) -> None:
    nobody = np.full((512, 512, 3), 180, np.uint8)
    pictures = [*performance[:30], *[nobody] * 40, *performance[30:60]]
    seen = watch(detector, pictures)
    assert seen.found[:30].all()
    assert not seen.found[30:70].any()
    assert seen.found[70:].all()


def test_a_whole_source(shared_data: Path, landmarker: Path) -> None:
    with open_source(shared_data / "video" / "performance_a.mp4", landmarker=landmarker) as source:
        assert (source.n_frames, source.fps, source.live) == (300, 30.0, False)
        frames = []
        for observation in source:
            frames.append(observation)
            if len(frames) == 40:
                break
        first = concatenate(frames)
        again = concatenate(observation for observation, _ in zip(source, range(40), strict=False))
    assert first.found.all()
    np.testing.assert_allclose(np.diff(first.time), 1 / 30, atol=1e-6)
    np.testing.assert_array_equal(first.scores, again.scores)


def test_mirror_exchanges_left_and_right(landmarker: Path, performance: list[Pixels], tmp_path: Path) -> None:
    film = write_film(tmp_path / "face.mp4", performance[:30])
    flipped = write_film(
        tmp_path / "mirrored.mp4", [np.ascontiguousarray(picture[:, ::-1]) for picture in performance[:30]]
    )
    with (
        open_source(film, landmarker=landmarker) as source,
        open_source(flipped, landmarker=landmarker, mirror=True) as mirrored,
    ):
        mirrored.keep_image = True
        for plain, turned in zip(source, mirrored, strict=True):
            assert plain.landmarks is not None
            assert turned.landmarks is not None
            np.testing.assert_allclose(plain.landmarks[..., :2], turned.landmarks[..., :2], atol=0.01)
            assert turned.picture is not None
            assert np.abs(turned.picture.astype(int) - performance[0]).mean() < 25


def test_start_up_is_quiet(landmarker: Path, performance: list[Pixels], capfd: pytest.CaptureFixture[str]) -> None:
    detector = FaceDetector(landmarker)
    detector.detect(scene((performance[0], 0, 0, 512), (performance[0], 600, 100, 300)), 0.0)
    detector.close()
    assert capfd.readouterr().err == ""


def test_foreign_and_truncated_landmarkers(landmarker: Path, tmp_path: Path, performance: list[Pixels]) -> None:
    path = tmp_path / "face_landmarker.task"
    with pytest.raises(
        MissingFileError, match=r"no landmarker file .*face_landmarker\.task: `mp2flame fetch landmarker`"
    ):
        FaceDetector(path)
    whole = landmarker.read_bytes()
    for content in (b"", b"<html>not found</html>", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(FormatError, match="expected MediaPipe's face landmarker bundle, a zip archive with"):
            FaceDetector(path)
    with zipfile.ZipFile(landmarker) as bundle, zipfile.ZipFile(path, "w") as stripped:
        stripped.writestr("face_detector.tflite", bundle.read("face_detector.tflite"))
    detector = FaceDetector(path)
    with pytest.raises(FormatError, match=r"MediaPipe refuses .*face_landmarker\.task"):
        detector.detect(performance[0], 0.0)


def test_other_blendshape_names_are_refused(
    detector: FaceDetector, performance: list[Pixels], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "mp2flame.sources.detector.MEDIAPIPE", (*MEDIAPIPE[:25], "jawRight", "jawOpen", *MEDIAPIPE[27:])
    )
    with pytest.raises(FormatError, match="has 52, with jawOpen in the place of jawRight"):
        detector.detect(performance[0], 0.0)


def test_a_missing_system_library_is_named(
    detector: FaceDetector, performance: list[Pixels], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(options: object) -> None:
        raise OSError("libGLESv2.so.2: cannot open shared object file")

    monkeypatch.setattr(vision.FaceLandmarker, "create_from_options", fail)
    with pytest.raises(SourceError, match=r"mediapipe is installed but cannot be loaded \(libGLESv2\.so\.2: .*doctor"):
        detector.detect(performance[0], 0.0)


def test_what_mediapipe_says_when_it_fails_is_passed_on(
    detector: FaceDetector, performance: list[Pixels], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise RuntimeError("Graph has errors:\nand a long trace")

    detector.detect(performance[0], 0.0)
    monkeypatch.setattr(vision.FaceLandmarker, "detect_for_video", fail)
    with pytest.raises(SourceError, match=r"MediaPipe failed on an image of shape \(512, 512, 3\): Graph has errors:$"):
        detector.detect(performance[1], 0.1)
