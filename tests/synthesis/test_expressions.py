"""The faces that calibration draws: what a head can make, lips that meet, nothing that cuts into itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("pyvista")
pytest.importorskip("mediapipe")

import mp2flame
from mp2flame.blendshapes import ARKIT
from mp2flame.calibration.steering import blame, wanted_shapes
from mp2flame.errors import InputError
from mp2flame.geometry.face_regions import head_apertures, head_regions
from mp2flame.synthesis.collision import Contact
from mp2flame.synthesis.expressions import Drawer, live_coefficients
from mp2flame.synthesis.photograph import Person
from mp2flame.synthesis.plausible import plausible_shapes
from mp2flame.synthesis.sampling import calm, sample_weights


@pytest.fixture(scope="module")
def head() -> mp2flame.FlameHead:
    return mp2flame.load_head("builtin")


@pytest.fixture(scope="module")
def drawer(head: mp2flame.FlameHead) -> Drawer:
    return Drawer(head, head.blendshapes())


def _moved(head: mp2flame.FlameHead, rows: NDArray[Any], by: tuple[float, float, float]) -> NDArray[np.float32]:
    vertices: NDArray[np.float32] = head.neutral_vertices[None].copy()
    vertices[0, rows] += np.array(by, dtype=np.float32)
    return vertices


def _shape(head: mp2flame.FlameHead, name: str) -> NDArray[np.float32]:
    return head(head.blendshapes()[ARKIT.index(name)])


def test_lips_through_lips_and_lids_through_eyeballs_are_seen(head: mp2flame.FlameHead) -> None:
    contact = Contact(head, head.blendshapes())
    lips, lids = head_regions(head)["lips"], head_regions(head)["lids"]
    lowered = head.neutral_vertices[:, 1] - _shape(head, "jawOpen")[0, :, 1]
    upper = np.flatnonzero(lips & (lowered < 0.2 * lowered[lips].max()))
    assert contact.cuts(head, _moved(head, upper, (0, -0.006, 0))).tolist() == [True]
    assert contact.cuts(head, _moved(head, upper, (0, 0.006, 0))).tolist() == [False]
    assert contact.cuts(head, _moved(head, np.flatnonzero(lids), (0, 0, -0.006))).tolist() == [True]
    assert contact.cuts(head, _moved(head, np.flatnonzero(lids), (0, 0, 0.001))).tolist() == [False]


@pytest.mark.parametrize("name", ["jawOpen", "eyeBlinkLeft", "eyeBlinkRight", "eyeLookUpLeft", "mouthSmileLeft"])
def test_ordinary_shapes_do_not_cut(head: mp2flame.FlameHead, name: str) -> None:
    assert not Contact(head, head.blendshapes()).cuts(head, _shape(head, name)).any()


def test_drawn_faces_do_not_cut(head: mp2flame.FlameHead, drawer: Drawer) -> None:
    rng = np.random.default_rng(0)
    person = head.with_shape(rng.normal(scale=0.8, size=head.n_shape))
    faces = drawer.draw(person, 40, rng)
    # Without the care that is taken, a good share would.
    doubled = person(replace(faces.params, expression=4 * faces.params.expression))
    contact = Contact(head, head.blendshapes())
    assert contact.cuts(person, doubled).mean() > 0.2
    assert contact.cuts(person, person(faces.params)).mean() <= 0.05


def test_faces_cover_jaw_lids_gaze_and_closed_lips(head: mp2flame.FlameHead, drawer: Drawer) -> None:
    faces = drawer.draw(head, 300, np.random.default_rng(1))
    params, weights = faces.params, faces.weights
    assert 0.2 < (params.jaw_pose[:, 0] > np.radians(5)).mean() < 0.6
    assert np.degrees(params.jaw_pose[:, 0]).max() > 15
    assert params.jaw_pose[:, 0].min() >= 0
    assert np.degrees(np.abs(params.leye_pose)).max() > 15
    np.testing.assert_allclose(np.sign(params.leye_pose[:, 0]), np.sign(params.reye_pose[:, 0]))
    for name in ARKIT:
        if name not in ("tongueOut", "mouthClose"):
            assert weights[:, ARKIT.index(name)].max() > 0.3, name
    lips = head_apertures(head, head_regions(head))
    off = 1000 * (lips.lip_gap(head(params)) - lips.lip_gap(head.neutral_vertices[None]))
    closing = (weights[:, ARKIT.index("mouthClose")] > 0.02) & (weights[:, ARKIT.index("jawOpen")] > 0.05)
    assert closing.sum() >= 8
    assert (np.abs(off[closing]) < 1).mean() > 0.4


def test_what_is_wanted_comes_more_often() -> None:
    wanted = np.ones(52)
    wanted[[ARKIT.index("eyeBlinkLeft"), ARKIT.index("eyeBlinkRight"), ARKIT.index("mouthPucker")]] = 2
    usual = (sample_weights(1500, np.random.default_rng(0)) > 0).mean(axis=0)
    more = (sample_weights(1500, np.random.default_rng(0), wanted) > 0).mean(axis=0)
    for name in ("eyeBlinkLeft", "mouthPucker"):
        assert more[ARKIT.index(name)] > 1.4 * usual[ARKIT.index(name)]
    assert 0.7 < more[ARKIT.index("jawOpen")] / usual[ARKIT.index("jawOpen")] < 1.3


def test_calm_faces_are_of_every_strength_and_often_of_few_shapes() -> None:
    rng = np.random.default_rng(0)
    lively = sample_weights(2000, rng)
    weights, strength = calm(lively, rng)
    eyes = np.array([name.startswith("eye") for name in ARKIT])
    np.testing.assert_array_equal(weights[:, eyes], lively[:, eyes].astype(np.float64))
    kept = weights[:, ~eyes] > 0
    np.testing.assert_allclose(weights[:, ~eyes], strength * lively[:, ~eyes] * kept, atol=1e-6)
    np.testing.assert_allclose(np.quantile(strength, [0.25, 0.5, 0.75]), [0.375, 0.75, 1.125], atol=0.06)
    stems = [name.removesuffix("Left").removesuffix("Right") for name in np.array(ARKIT)[~eyes]]
    before, after = (
        np.array([len({stem for stem, up in zip(stems, row, strict=True) if up}) for row in rows])
        for rows in (lively[:, ~eyes] > 0, kept)
    )
    assert 0.3 < (after[before > 2] < 3).mean() < 0.5
    assert (after[before > 0] > 0).all()
    assert (before == after).mean() > 0.5


def test_blame_finds_the_shapes_that_errors_come_from() -> None:
    rng = np.random.default_rng(0)
    weights = sample_weights(800, rng)
    true = np.zeros(52)
    true[[3, 20, 40]] = (0.8, 0.4, 1.5)
    errors = 0.3 + weights @ true + rng.normal(scale=0.05, size=len(weights))
    found = blame(errors, weights)
    used = weights.max(axis=0) > 0
    np.testing.assert_allclose(found[used], true[used], atol=0.1)


def test_what_scores_do_not_tell_is_not_asked_for(head: mp2flame.FlameHead) -> None:
    rng = np.random.default_rng(0)
    shapes = head.blendshapes().to_rows()
    hidden = ARKIT.index("jawOpen")
    people, errors = [], []
    for number in range(40):
        weights = sample_weights(40, rng)
        scores = np.concatenate([np.zeros((1, 52)), weights + rng.normal(scale=0.02, size=weights.shape)])
        scores[:, hidden] = 0
        people.append(Person(number, 41, weights, weights @ shapes, {"scores": scores.astype(np.float32)}))
        errors.append(weights[:, hidden] * np.linalg.norm(shapes[hidden]))
    # Nearly all of the error comes from it, and hardly any of that can be mended.
    share = blame(np.concatenate(errors), np.concatenate([one.weights for one in people]))
    wanted = wanted_shapes(head, people)
    assert share.argmax() == hidden
    assert wanted[hidden] < np.sqrt(share[hidden] / share[share > 0].mean()) / 2
    assert wanted.min() > 0


def test_carried_over_shapes_take_the_size_that_coefficients_say(head: mp2flame.FlameHead) -> None:
    rng = np.random.default_rng(0)
    shapes = head.blendshapes().to_rows().astype(np.float64)
    e = head.n_expression
    sizes = np.ones((52, 1))
    # As if geometry had got the size of everything that does not turn the jaw wrong.
    sizes[np.abs(shapes[:, e : e + 3]).max(axis=1) < 0.02] = 3.0
    found = [plausible_shapes(head, np.hstack([shapes[:, :e] * size, shapes[:, e:]])) for size in (1.0, sizes)]
    turned = sizes[:, 0] == 1
    np.testing.assert_allclose(found[0].expressions[turned], found[1].expressions[turned], atol=1e-9)
    strong = [one.expressions[~turned] @ one.directions.T * (found[0].known > 0.9) for one in found]
    assert np.abs(strong[0] - strong[1]).max() < 0.1 * np.abs(strong[0]).max()
    # Faces drawn anew, from the shapes and from chance, have coefficients of about unit variance, uncorrelated.
    weights = sample_weights(8000, np.random.default_rng(1)) * ~turned
    for share in (0.3, 0.9):
        drawn = share * weights @ found[0].expressions + found[0].remainder(np.full(len(weights), share), rng)
        np.testing.assert_allclose(np.cov(drawn.T), np.eye(e), atol=0.2)


def test_only_coefficients_that_move_the_head_count(head: mp2flame.FlameHead) -> None:
    dirs = head.arrays.shapedirs.copy()
    first = head.n_shape
    assert live_coefficients(head) == head.n_expression
    stilled = dirs.copy()
    n = dirs.shape[2]
    stilled[:, :, n - 5 :] = 0
    expression_last = replace(head, arrays=replace(head.arrays, shapedirs=stilled))
    assert live_coefficients(expression_last) == head.n_expression - 5
    stilled[:, :, first:] = 0
    with pytest.raises(InputError, match=r"expression components move it; this one \(.*\) has 50 and none does"):
        live_coefficients(replace(head, arrays=replace(head.arrays, shapedirs=stilled)))


def test_shapes_come_by_the_52(head: mp2flame.FlameHead) -> None:
    with pytest.raises(InputError, match="expected 52 shapes, one for each ARKit name; got 3"):
        Drawer(head, head.blendshapes()[:3])
