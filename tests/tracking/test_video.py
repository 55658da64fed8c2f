"""Videos of the built-in head through MediaPipe itself: learned, tracked, covered with a box, cut to another person."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("mediapipe")
pytest.importorskip("pyvista")

import mp2flame
from mp2flame.data import FlameParams
from mp2flame.demo_animation import KeyPose, animate, both_sides
from mp2flame.errors import InputError
from mp2flame.evaluation.metrics import compare
from mp2flame.render import MeshRenderer
from mp2flame.synthesis.render import RenderSettings
from mp2flame.tracking.model import TrackerModel, fit_tracker_model
from mp2flame.tracking.results import good_frames
from mp2flame.tracking.track import TrackResult, track_videos
from tests.helpers.heads import load_arrays, random_arrays
from tests.helpers.video import write_film

Acted = tuple[FlameParams, list[NDArray[np.uint8]]]
"""The truth and the images of a performance."""

_SCRIPT = (
    KeyPose(0.0, {}),
    KeyPose(1.0, {}),
    KeyPose(1.2, both_sides(jawOpen=0.7), (0.0, 10.0, 0.0)),
    KeyPose(1.4, both_sides(jawOpen=0.7), (0.0, 10.0, 0.0)),
)
_FEW, _SOME = RenderSettings(subjects=8, images=3), RenderSettings(subjects=14, images=3)
_COVERED = slice(12, 15)


@pytest.fixture(scope="module")
def model(landmarker: Path, tmp_path_factory: pytest.TempPathFactory) -> TrackerModel:
    folder = tmp_path_factory.mktemp("heads")
    head, images = mp2flame.load_head("builtin"), 0

    def count() -> None:
        nonlocal images
        images += 1

    learned = fit_tracker_model(
        head, landmarker, landmark_images=_FEW, error_images=_SOME, folder=folder, on_image=count
    )
    assert images == 8 * 3 + 14 * 3
    again = fit_tracker_model(head, landmarker, landmark_images=_FEW, error_images=_SOME, folder=folder, on_image=count)
    assert images == 8 * 3 + 14 * 3, "what was learned was learned again"
    np.testing.assert_allclose(again.error_model.bias, learned.error_model.bias, atol=1e-6)
    return learned


def _acted(head: mp2flame.FlameHead, seed: int) -> Acted:
    """A performance at 12 frames per second."""
    params, _ = animate(head.blendshapes(), fps=12, script=_SCRIPT)
    person = head.with_shape(np.random.default_rng(seed).normal(scale=0.6, size=20))
    with MeshRenderer(head.faces, vertex_colors=head.vertex_colors, size=(480, 360), view_angle=30.0) as renderer:
        renderer.set_camera(person.joints()[3:5].mean(axis=0) - [0, 0.03, 0], distance=0.6)
        return params, [renderer.render(person(frame)[0]) for frame in params]


@pytest.fixture(scope="module")
def acted(model: TrackerModel) -> Acted:
    return _acted(model.head, 3)


@pytest.fixture(scope="module")
def tracked(
    model: TrackerModel, acted: Acted, landmarker: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, TrackResult]:
    folder = tmp_path_factory.mktemp("videos")
    covered = [image.copy() for image in acted[1]]
    for image in covered[_COVERED]:
        # A box before the mouth.
        image[220:300, 170:310] = 120
    _, other = _acted(model.head, 11)
    shifted = [np.roll(image, 70, axis=1) for image in other[:8]]
    videos = {"whole": acted[1], "covered": covered, "cut": acted[1] + shifted}
    return {
        name: track_videos(
            [write_film(folder / f"{name}.mp4", images, ticks=_ticks(images))], model, landmarker=landmarker
        )[0]
        for name, images in videos.items()
    }


def _ticks(images: list[NDArray[np.uint8]]) -> list[int]:
    return [round(30 * number / 12) for number in range(len(images))]


def test_a_video_of_the_head_is_tracked(model: TrackerModel, acted: Acted, tracked: dict[str, TrackResult]) -> None:
    result = tracked["whole"]
    assert result.params.found.all()
    assert result.neutral.sum() >= 10
    figures = compare(model.head, result.params, acted[0])
    # Learned from forty images; hundreds reduce the error.
    assert figures["face"] < 0.8
    assert figures["jaw"] < 0.6
    assert figures["head degrees"] < 5


def test_a_box_before_the_mouth_does_not_turn_the_head(acted: Acted, tracked: dict[str, TrackResult]) -> None:
    result, whole = tracked["covered"], tracked["whole"]
    assert len(result.params) == len(acted[0])
    found = result.params.found
    assert found[:12].all()
    difference = np.degrees(result.params.global_orient - whole.params.global_orient)
    assert np.abs(difference[found]).max() < 8
    assert not (good_frames(result) & ~found).any()


def test_frames_after_a_cut_to_another_person_have_no_parameters(acted: Acted, tracked: dict[str, TrackResult]) -> None:
    n = len(acted[0])
    result, whole = tracked["cut"], tracked["whole"]
    assert result.params.found[:n].all()
    np.testing.assert_allclose(result.params.jaw_pose[: n - 1], whole.params.jaw_pose[: n - 1], atol=0.02)
    assert not result.params.found[n:].any()
    assert any("another person" in warning for warning in result.warnings)


def test_a_head_that_mediapipe_cannot_find_is_reported_with_an_image(landmarker: Path, tmp_path: Path) -> None:
    head = mp2flame.load_head("builtin")
    # It shows the back of its head.
    behind = head.template * np.array([-1, 1, -1], dtype=np.float32)
    turned = replace(head, arrays=replace(head.arrays, v_template=behind))
    with pytest.raises(InputError, match=r"found one in 0 of 1 images of this head.*see .*\.missed\.png"):
        fit_tracker_model(turned, landmarker, landmark_images=_FEW, error_images=_SOME, folder=tmp_path)
    assert len(list(tmp_path.glob("*.missed.png"))) == 1


def test_a_head_without_expression_is_refused(tmp_path: Path) -> None:
    arrays = random_arrays()
    arrays["shapedirs"][:, :, 10:] = 0
    with pytest.raises(InputError, match="expected a head with expression components"):
        fit_tracker_model(load_arrays(tmp_path, arrays), tmp_path / "none.task", folder=tmp_path)


def test_a_video_without_a_face_is_refused(model: TrackerModel, landmarker: Path, tmp_path: Path) -> None:
    video = write_film(tmp_path / "wall.mp4", [np.full((120, 160, 3), 128, np.uint8)] * 3)
    with pytest.raises(InputError, match=r"wall\.mp4: expected a face; MediaPipe finds none in any of the 3 frames"):
        track_videos([video], model, landmarker=landmarker)
