"""Views are drawn as documented, and the same seed draws the same view."""

from __future__ import annotations

import numpy as np
import pytest

import mp2flame
from mp2flame.errors import InputError
from mp2flame.synthesis.render import RenderSettings
from mp2flame.synthesis.views import FRONTAL, random_view


def test_random_views_are_mostly_frontal_and_lit_from_above() -> None:
    rng = np.random.default_rng(0)
    views = [random_view(rng, roll_and_background=True) for _ in range(500)]
    yaw, pitch, roll = (np.array([getattr(view, name) for view in views]) for name in ("yaw", "pitch", "roll"))
    np.testing.assert_allclose([yaw.std(), pitch.std(), roll.std()], [12.6, 7.9, 6.0], rtol=0.1)
    assert np.abs(yaw).max() <= 32
    assert np.abs(pitch).max() <= 20
    assert np.mean([view.lights[0][0][1] for view in views]) == pytest.approx(0.5, abs=0.05)
    assert len({view.background for view in views}) > 400
    plain = random_view(np.random.default_rng(1))
    assert (plain.roll, plain.background) == (0.0, FRONTAL.background)
    assert plain == random_view(np.random.default_rng(1))


def test_the_camera_looks_at_the_middle_of_the_subjects_face() -> None:
    head = mp2flame.load_head("builtin")
    taller = head.with_shape(np.full(5, 1.0))
    for subject in (head, taller):
        camera = FRONTAL.camera(subject)
        eyes = subject.joints()[3:5].mean(axis=0)
        np.testing.assert_allclose(camera.target, eyes - [0, 0.03, 0], atol=1e-6)
        assert np.linalg.norm(camera.position - camera.target) == pytest.approx(FRONTAL.distance)


def test_settings_without_images_are_refused() -> None:
    with pytest.raises(InputError, match="expected subjects and at least 2 images of each; got 0, 4"):
        RenderSettings(subjects=0, images=4)
