"""Several faces before MediaPipe: the largest is followed, steadily."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mp2flame.sources.detector import FaceDetector
from tests.helpers.video import Pixels, middles, scene, watch


def test_the_larger_of_two_faces_is_followed_steadily(detector: FaceDetector, performance: list[Pixels]) -> None:
    others = performance[45:] + performance[:45]
    alone = watch(detector, [scene((one, 448, 0, 512)) for one in performance])
    for small_left in (True, False):
        detector.reset()
        both = watch(
            detector,
            [
                scene((other, 60, 100, 300), (one, 448, 0, 512))
                if small_left
                else scene((one, 0, 0, 512), (other, 580, 100, 300))
                for one, other in zip(performance, others, strict=True)
            ],
        )
        assert both.found.all()
        shift = 0.0 if small_left else 448 / 960
        np.testing.assert_allclose(middles(both) + shift, middles(alone), atol=0.01)
        # The other face changes next to nothing in what is read from this one.
        assert np.abs(both.scores - alone.scores).mean() < 0.01


def test_the_larger_face_is_kept_when_another_comes_and_grows_a_little(
    detector: FaceDetector, performance: list[Pixels]
) -> None:
    frames = [
        scene((one, 20, 20, 400), *([(one, 480, 20, 440)] if n > 20 else [])) for n, one in enumerate(performance)
    ]
    seen = watch(detector, frames)
    assert seen.found.all()
    assert (middles(seen) < 0.5).all()
    assert np.abs(np.diff(middles(seen))).max() < 0.02


def test_a_clearly_larger_face_takes_over_once(detector: FaceDetector, performance: list[Pixels]) -> None:
    frames = [
        scene((one, 20, 100, 300), *([(one, 448, 0, 512)] if n > 20 else [])) for n, one in enumerate(performance)
    ]
    seen = watch(detector, frames)
    assert seen.found.all()
    right = middles(seen) > 0.5
    assert not right[:22].any()
    assert right[-1]
    assert np.count_nonzero(np.diff(right)) == 1


def test_among_two_the_followed_face_may_be_hidden_for_a_moment(
    detector: FaceDetector, performance: list[Pixels]
) -> None:
    frames = [
        scene((one, 500, 50, 400), *([] if 40 <= n < 50 else [(one, 20, 20, 460)])) for n, one in enumerate(performance)
    ]
    seen = watch(detector, frames)
    assert not seen.found[40:50].any()
    assert seen.found[:40].all()
    assert seen.found[50:].all()
    assert (middles(seen[seen.found]) < 0.5).all()


def test_images_that_stand_alone(landmarker: Path, performance: list[Pixels]) -> None:
    detector = FaceDetector(landmarker, mode="image")
    one, other = performance[0], performance[60]
    for _ in range(2):
        left = detector.detect(scene((one, 0, 0, 512), (other, 600, 100, 300)), 0.0)
        right = detector.detect(scene((one, 60, 100, 300), (other, 448, 0, 512)), 0.0)
        nobody = detector.detect(np.full((300, 300, 3), 180, np.uint8), 0.0)
        assert middles(left)[0] < 0.5 < middles(right)[0]
        assert not nobody.found[0]
    detector.close()
