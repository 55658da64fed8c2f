"""The faces that synthesis draws: the combinations of shapes, carried-over shapes, coefficients alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import mp2flame
from mp2flame.blendshapes import ARKIT
from mp2flame.errors import InputError
from mp2flame.synthesis.expressions import (
    CoefficientDistribution,
    ExpressionSampler,
    attenuate,
    n_sampled_expression,
    sample_weights,
    whiten_shapes,
)


@pytest.fixture(scope="module")
def head() -> mp2flame.FlameHead:
    return mp2flame.load_head("builtin")


def test_faces_cover_jaw_lids_gaze_and_all_shapes(head: mp2flame.FlameHead) -> None:
    faces = ExpressionSampler(head, head.blendshapes())(300, np.random.default_rng(1))
    params, weights = faces.params, faces.weights
    assert 0.2 < (params.jaw_pose[:, 0] > np.radians(5)).mean() < 0.6
    assert np.degrees(params.jaw_pose[:, 0]).max() > 15
    assert params.jaw_pose[:, 0].min() >= 0
    assert np.degrees(np.abs(params.leye_pose)).max() > 15
    np.testing.assert_allclose(np.sign(params.leye_pose[:, 0]), np.sign(params.reye_pose[:, 0]))
    for name in ARKIT:
        if name not in ("tongueOut", "mouthClose"):
            assert weights[:, ARKIT.index(name)].max() > 0.3, name
    # Lips close over an open jaw, and over nothing else.
    close, opened = weights[:, ARKIT.index("mouthClose")], weights[:, ARKIT.index("jawOpen")]
    assert (close > 0).sum() >= 5
    assert (close <= opened + 1e-6).all()


def test_each_face_is_the_sum_of_its_shapes_but_for_noise(head: mp2flame.FlameHead) -> None:
    shapes = head.blendshapes().to_rows()
    faces = ExpressionSampler(head, head.blendshapes())(400, np.random.default_rng(2))
    sums, rows = faces.weights @ shapes, faces.params.to_rows()
    gaze = sums[:, -6:]
    moving = np.abs(gaze) > 0.05
    # The subject's gain on each shape is the same in all of its faces.
    ratio = rows[:, -6:][moving] / gaze[moving]
    assert 0.6 < ratio.min() <= ratio.max() < 1.6
    error = np.linalg.norm(rows[:, :50] - sums[:, :50], axis=1) / np.linalg.norm(sums[:, :50], axis=1).mean()
    assert np.median(error) < 0.5


def test_attenuated_faces_have_every_strength_and_often_few_shapes() -> None:
    rng = np.random.default_rng(0)
    lively = sample_weights(2000, rng)
    weights, strength = attenuate(lively, rng)
    eyes = np.array([name.startswith("eye") for name in ARKIT])
    np.testing.assert_array_equal(weights[:, eyes], lively[:, eyes].astype(np.float64))
    kept = weights[:, ~eyes] > 0
    np.testing.assert_allclose(weights[:, ~eyes], strength * lively[:, ~eyes] * kept, atol=1e-6)
    np.testing.assert_allclose(np.quantile(strength, [0.25, 0.5, 0.75]), [0.375, 0.75, 1.125], atol=0.06)
    shapes = [name.removesuffix("Left").removesuffix("Right") for name in np.array(ARKIT)[~eyes]]
    before, after = (
        np.array([len({shape for shape, active in zip(shapes, row, strict=True) if active}) for row in rows])
        for rows in (lively[:, ~eyes] > 0, kept)
    )
    assert 0.3 < (after[before > 2] < 3).mean() < 0.5
    assert (after[before > 0] > 0).all()
    assert (before == after).mean() > 0.5


def test_carried_over_shapes_take_the_size_of_the_coefficients(head: mp2flame.FlameHead) -> None:
    rng = np.random.default_rng(0)
    shapes = head.blendshapes().to_rows().astype(np.float64)
    e = head.n_expression
    sizes = np.ones((52, 1))
    # As if geometry had got the size of everything that does not turn the jaw wrong.
    sizes[np.abs(shapes[:, e : e + 3]).max(axis=1) < 0.02] = 3.0
    found = [whiten_shapes(head, np.hstack([shapes[:, :e] * size, shapes[:, e:]])) for size in (1.0, sizes)]
    turned = sizes[:, 0] == 1
    np.testing.assert_allclose(found[0].expressions[turned], found[1].expressions[turned], atol=1e-9)
    strong = [one.expressions[~turned] @ one.directions.T * (found[0].variance > 0.9) for one in found]
    assert np.abs(strong[0] - strong[1]).max() < 0.1 * np.abs(strong[0]).max()
    # Faces drawn anew, from the shapes and the remainder, have coefficients of about unit variance, uncorrelated.
    weights = sample_weights(8000, np.random.default_rng(1)) * ~turned
    for gain in (0.3, 0.9):
        drawn = gain * weights @ found[0].expressions + found[0].remainder(np.full(len(weights), gain), rng)
        np.testing.assert_allclose(np.cov(drawn.T), np.eye(e), atol=0.2)


def test_random_coefficients_do_not_depend_on_the_choice_of_eigenvectors(head: mp2flame.FlameHead) -> None:
    shapes = whiten_shapes(head, head.blendshapes().to_rows().astype(np.float64))
    rng = np.random.default_rng(5)
    # Another basis of the directions of the least variance, and other signs.
    directions = shapes.directions * rng.choice([-1.0, 1.0], size=(len(shapes.directions), 1))
    variance = shapes.variance.copy()
    variance[:3] = variance[:3].mean()
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    other = directions.copy()
    other[:3] = turn @ directions[:3]
    drawn = [
        replace(shapes, directions=basis, variance=variance).remainder(np.full(20, 0.7), np.random.default_rng(1))
        for basis in (shapes.directions, directions, other)
    ]
    np.testing.assert_allclose(drawn[1], drawn[0], atol=1e-12)
    np.testing.assert_allclose(drawn[2], drawn[0], atol=1e-12)


def test_faces_of_a_head_without_shapes_have_unit_variance_at_full_strength(head: mp2flame.FlameHead) -> None:
    bare = replace(head, arrays=replace(head.arrays, blendshapes=None))
    sampler = ExpressionSampler(bare, head.blendshapes())
    rng = np.random.default_rng(3)
    subjects = [sampler(40, rng).params.expression for _ in range(50)]
    # Strength is uniform from 0 to 1.5 and multiplies all of it: its mean square is 0.75.
    np.testing.assert_allclose(np.concatenate(subjects).var(axis=0).mean(), 0.75, atol=0.15)


def test_coefficients_alone_have_the_distribution_that_is_asked_for() -> None:
    faces = CoefficientDistribution(20, 12, std=(0.6, 0.6), jaw=0.3, gaze=(0.1, 0.16), jaw_aside=(0.03, 0.01)).sample(
        4000, np.random.default_rng(0)
    )
    np.testing.assert_allclose(faces.expression[:, :12].std(axis=0), 0.6, atol=0.03)
    assert not faces.expression[:, 12:].any()
    assert 0.45 < (faces.jaw_pose[:, 0] == 0).mean() < 0.55
    assert 0.29 < faces.jaw_pose[:, 0].max() <= 0.3
    np.testing.assert_allclose(faces.jaw_pose[:, 1:].std(axis=0), [0.03, 0.01], rtol=0.05)
    np.testing.assert_array_equal(faces.leye_pose, faces.reye_pose)
    np.testing.assert_allclose(faces.leye_pose[:, :2].std(axis=0), [0.1, 0.16], rtol=0.05)


def test_a_head_that_nothing_moves_is_refused(head: mp2flame.FlameHead) -> None:
    shapedirs = head.arrays.shapedirs.copy()
    assert n_sampled_expression(head) == head.n_expression
    # A file that is padded to FLAME's width ends in components that are zero.
    shapedirs[:, :, -5:] = 0
    padded = replace(head, arrays=replace(head.arrays, shapedirs=shapedirs.copy()))
    assert n_sampled_expression(padded) == head.n_expression - 5
    shapedirs[:, :, head.n_shape :] = 0
    still = replace(head, arrays=replace(head.arrays, shapedirs=shapedirs))
    with pytest.raises(InputError, match=r"expression components move it; this one \(.*\) has 50 and none does"):
        ExpressionSampler(still, head.blendshapes())
    with pytest.raises(InputError, match="expected 52 shapes, one for each ARKit name; got 3"):
        ExpressionSampler(head, head.blendshapes()[:3])
