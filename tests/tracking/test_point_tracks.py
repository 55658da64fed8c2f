"""Marks on the skin against what is known of them: rendered heads, finite differences, the dense system."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from mp2flame.geometry.skinned_points import n_active_expression

pytest.importorskip("cv2")
pytest.importorskip("pyvista")

from mp2flame.evaluation.metrics import compare
from mp2flame.head import FlameHead
from mp2flame.render import MeshRenderer
from mp2flame.tracking import chart as chart_module
from mp2flame.tracking import skin as skin_module
from mp2flame.tracking.album import Album, Glimpse
from mp2flame.tracking.chart import Chart, Marks, Reference
from mp2flame.tracking.equations import Lens
from mp2flame.tracking.model import Study
from mp2flame.tracking.people import track_person
from mp2flame.tracking.skin import Skin, skin_equations, skin_evidence
from mp2flame.tracking.state import Layout, face_rows, params_of
from tests.helpers.tracked_people import FOCAL, SIZE, footage, landmarks_of, made_up_study, performance, seen_points

Float64 = NDArray[np.float64]
Picture = NDArray[np.uint8]
_LENS = Lens(FOCAL, SIZE)
_COVERED = (slice(300, 350), slice(270, 370))


@pytest.fixture(scope="module")
def study() -> Study:
    return made_up_study()


@pytest.fixture(scope="module")
def rows(study: Study) -> Float64:
    """A head at rest, then with an open mouth, then turned."""
    layout = Layout(n_active_expression(study.head))
    shapes = study.head.blendshapes()
    rows = np.zeros((3, layout.width))
    rows[:, -3:] = -study.head.joints()[3:5].mean(axis=0) + (0.0, 0.02, -0.7)
    smile = 0.4 * (shapes.expression[23] + shapes.expression[24])
    rows[1, : layout.n_expression] = smile[: layout.n_expression]
    rows[1, layout.n_expression] = 0.12
    rows[2, layout.n_face : layout.n_face + 3] = 0.03, 0.15, -0.02
    return rows


def _pictures(head: FlameHead, vertices: NDArray[np.float32], light: float = 0.0) -> list[Picture]:
    """The head with marked skin before a camera in the world's origin, lit from a side."""
    assert head.vertex_colors is not None
    rng = np.random.default_rng(4)
    dots = rng.integers(-45, 45, size=(len(head.vertex_colors), 1))
    colors = np.clip(head.vertex_colors.astype(int) + dots, 0, 255).astype(np.uint8)
    angle = 2 * float(np.degrees(np.arctan(SIZE[1] / 2 / FOCAL)))
    with MeshRenderer(head.faces, vertex_colors=colors, size=SIZE, view_angle=angle) as renderer:
        renderer.set_lights(((0.2 + light, 0.3, 1.0), 1.0))
        renderer.set_camera((0.0, 0.0, -0.7), distance=0.7)
        return [renderer.render(one) for one in vertices]


@pytest.fixture(scope="module")
def album(study: Study, rows: Float64) -> Album:
    layout = Layout(n_active_expression(study.head))
    params = params_of(layout, rows, study.head.n_expression)
    album, landmarks = Album(), landmarks_of(seen_points(study, params))
    for picture, seen in zip(_pictures(study.head, study.head(params)), landmarks, strict=True):
        album.add(picture, seen)
    return album


@pytest.fixture(scope="module")
def chart(study: Study, rows: Float64, album: Album) -> Chart:
    layout = Layout(n_active_expression(study.head))
    params = params_of(layout, rows[:1], study.head.n_expression)
    glimpse = album.glimpse(0)
    assert glimpse is not None
    reference = Reference(glimpse, landmarks_of(seen_points(study, params))[0], rows[0])
    return Chart(study.head, np.zeros(len(study.response.identity_response)), layout, _LENS, reference)


def _true_places(chart: Chart, rows: Float64) -> Float64:
    e = chart.layout.n_expression
    return _LENS.pixels(chart.points.pose(rows[:, :e], chart.layout.poses(rows), rows[:, -3:]))


def test_glimpses_know_where_they_were_taken() -> None:
    rng = np.random.default_rng(0)
    picture = np.zeros((400, 640, 3), dtype=np.uint8)
    picture[::40, ::40] = 255
    picture[1::40, ::40] = picture[::40, 1::40] = picture[1::40, 1::40] = 255
    landmarks = np.concatenate([rng.uniform((0.2, 0.0), (0.7, 0.99), (40, 2)), np.zeros((40, 1))], axis=1)
    album = Album()
    album.add(picture, landmarks)
    album.add(picture, None)
    assert len(album) == 2
    assert album.glimpse(1) is None
    glimpse = album.glimpse(0)
    assert glimpse is not None
    assert glimpse.grey.shape[0] < 400
    places = rng.uniform(100, 300, (20, 2))
    np.testing.assert_allclose(glimpse.in_frame(glimpse.places(places)), places, atol=1e-3)
    whole = places.round().astype(np.int64)
    np.testing.assert_array_equal(glimpse.places(whole), glimpse.places(whole.astype(np.float64)))
    # Each dot of the picture, two pixels wide, shines where the glimpse says that it is.
    for x, y in ((241.0, 161.0), (321.0, 241.0)):
        across, down = glimpse.places(np.array([x, y])).round().astype(int)
        around = glimpse.grey[down - 4 : down + 5, across - 4 : across + 5]
        assert int(around.argmax()) == around.size // 2


def test_points_are_found_where_they_went(chart: Chart, album: Album, rows: Float64) -> None:
    assert len(chart) > 300
    at_rest = np.tile(rows[0], (3, 1))
    # Believed to be at rest but for the head's turn: what the face did is found.
    at_rest[2] = rows[2]
    marks = chart.match(at_rest, album.glimpse)
    truth = _true_places(chart, rows)
    for frame, least, most in ((0, 0.6, 0.05), (1, 0.3, 0.5), (2, 0.3, 0.4)):
        trusted = marks.trust[frame] > 0.5
        assert trusted.mean() > least
        away = np.linalg.norm(marks.places[frame] - truth[frame], axis=1)[trusted]
        assert np.median(away) < most
    moved = np.linalg.norm(truth[1] - truth[0], axis=1)
    assert np.percentile(moved, 90) > 3


def test_a_close_look_finds_what_earlier_rounds_left(chart: Chart, album: Album, rows: Float64) -> None:
    near = rows.copy()
    near[1, : chart.layout.n_face] *= 0.8
    marks = chart.match(near, album.glimpse, fine=True)
    truth, trusted = _true_places(chart, rows)[1], marks.trust[1] > 0.5
    left = np.linalg.norm(_true_places(chart, near)[1] - truth, axis=1)
    asked = trusted & (left > 0.5)
    missed = np.linalg.norm(marks.places[1] - truth, axis=1)
    assert asked.sum() > 30
    assert np.median(missed[asked]) < 0.4 * np.median(left[asked])


def test_what_is_seen_at_a_slant_tells_nothing_and_eyes_little(chart: Chart, rows: Float64) -> None:
    glimpse = chart.reference.glimpse
    facing = chart.facing(rows[:1])[0]
    exact = np.array([np.linalg.eigvalsh(one)[-1] for one in chart.information]) / glimpse.scale.max() ** 2
    assert (facing == 0).any()
    assert exact[facing == 0].max() == 0.0
    assert exact[facing > 0].min() > 0.0
    eyes = chart.with_identity.weights[:, 3:5].sum(axis=1) > 0.5
    # Variances add up: nothing is surer than any of its errors.
    assert exact[eyes].max() <= chart_module._EYES_SIGMA**-2
    assert exact[~eyes].max() > chart_module._EYES_SIGMA**-2


def test_a_turned_light_leads_nobody_astray(study: Study, chart: Chart, rows: Float64) -> None:
    params = params_of(chart.layout, rows[:1], study.head.n_expression)
    lit = Album()
    lit.add(_pictures(study.head, study.head(params), light=0.8)[0], landmarks_of(seen_points(study, params))[0])
    marks = chart.match(rows[:1], lit.glimpse)
    away = np.linalg.norm(marks.places[0] - _true_places(chart, rows[:1])[0], axis=1)[marks.trust[0] > 0.5]
    assert len(away) > 100
    assert np.median(away) < 0.2


def test_what_is_covered_is_not_believed(chart: Chart, album: Album, rows: Float64) -> None:
    glimpse = album.glimpse(0)
    assert glimpse is not None
    down, across = _COVERED
    corners = glimpse.places(np.array([[across.start, down.start], [across.stop, down.stop]])).round().astype(int)
    grey = glimpse.grey.copy()
    grey[corners[0, 1] : corners[1, 1], corners[0, 0] : corners[1, 0]] = 90
    marks = chart.match(rows[:1], lambda _: Glimpse(grey, glimpse.corner, glimpse.scale))
    places = _true_places(chart, rows[:1])[0]
    inner = (np.abs(places - [320, 325]) < [40, 15]).all(axis=1)
    assert inner.sum() > 10
    assert marks.trust[0, inner].max() < 0.2
    assert chart.match(rows[:1], lambda _: None).trust.max() == 0


def _skin(chart: Chart, rows: Float64, seed: int = 1) -> Skin:
    rng = np.random.default_rng(seed)
    places = _true_places(chart, rows) + rng.normal(scale=0.4, size=(len(rows), len(chart), 2))
    trust = rng.uniform(size=(len(rows), len(chart)))
    return Skin(chart, Marks(places.astype(np.float32), trust.astype(np.float32)))


def test_equations_are_the_slope_and_curvature_of_the_misses(
    chart: Chart, rows: Float64, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without doubt in large misses the cost is a plain sum of squares.
    monkeypatch.setattr(skin_module, "_SOFT", 1e9)
    skin, n = _skin(chart, rows[:2]), 2
    matrix, right = skin_equations(skin, rows[:2])

    def cost(some: Float64) -> Float64:
        misses = skin.marks.places - _true_places(chart, some)
        weighed = np.einsum("npi,pij,npj->np", misses, chart.information, misses)
        total: Float64 = 0.5 * (skin.marks.trust * weighed).sum(axis=1)
        return total

    rng = np.random.default_rng(2)
    for _ in range(4):
        step = rng.normal(size=rows[:2].shape) * 1e-5
        slope = (cost(rows[:2] + step) - cost(rows[:2] - step)) / 2
        np.testing.assert_allclose(slope, (right * step).sum(axis=1), rtol=1e-3, atol=1e-4)
    # The curvature of a sum of squares, seen from where every miss is nought.
    still = Skin(chart, Marks(_true_places(chart, rows[:2]).astype(np.float32), skin.marks.trust))
    exact, _ = skin_equations(still, rows[:2])
    np.testing.assert_allclose(exact, matrix, rtol=1e-5, atol=1e-6 * np.abs(matrix).max())
    assert matrix.shape == (n, chart.layout.width, chart.layout.width)


def test_evidence_is_the_dense_system_without_the_frames(chart: Chart, rows: Float64) -> None:
    """Elimination against solving everything at once, for points that slide as the chart says."""
    skin, d, g = _skin(chart, rows), chart.layout.width, len(chart.identity) + 7
    known = np.stack([np.diag(np.full(d, 50.0))] * 3)
    push = np.random.default_rng(3).normal(size=(3, d))
    matrix, right = skin_evidence(skin, rows, known, push)
    assert matrix.shape == (g, g)
    np.testing.assert_allclose(matrix, matrix.T, rtol=1e-6, atol=1e-6 * np.abs(matrix).max())
    # The whole system by finite differences of where each point is seen.
    big, side = np.zeros((g + 3 * d, g + 3 * d)), np.zeros(g + 3 * d)
    for i, row in enumerate(rows):
        own = slice(g + i * d, g + (i + 1) * d)
        jacobian = np.concatenate([_by_person(chart, row), _by_frame(chart, row)])
        misses = skin.marks.places[i] - _true_places(chart, row[None])[0]
        off = np.einsum("pi,pij,pj->p", misses, chart.information, misses) / skin_module._SOFT**2
        weight = (skin_module._INDEPENDENT * skin.marks.trust[i] / (1 + off))[:, None, None] * chart.information
        normal = np.einsum("api,pij,bpj->ab", jacobian, weight, jacobian, optimize=True)
        slope = -np.einsum("api,pij,pj->a", jacobian, weight, misses, optimize=True)
        big[:g, :g] += normal[:g, :g]
        side[:g] += slope[:g]
        big[:g, own], big[own, :g], big[own, own] = normal[:g, g:], normal[g:, :g], normal[g:, g:] + known[i]
        side[own] = slope[g:] + push[i]
    prior = np.eye(g)
    alone = np.linalg.solve(matrix + prior, -right)
    big[:g, :g] += prior
    together = np.linalg.solve(big, -side)[:g]
    np.testing.assert_allclose(alone, together, rtol=2e-3, atol=2e-3 * np.abs(together).max())


def _by_frame(chart: Chart, row: Float64) -> Float64:
    """(D, P, 2)"""
    steps = 1e-5 * np.eye(len(row))
    change: Float64 = (_true_places(chart, row + steps) - _true_places(chart, row - steps)) / 2e-5
    return change


def _seen(chart: Chart, row: Float64, identity: Float64, focal: float) -> Float64:
    points, layout = chart.with_identity.with_fixed(identity), chart.layout
    placed = points.pose(row[None, : layout.n_expression], layout.poses(row[None]), row[None, -3:])
    seen: Float64 = Lens(focal, SIZE).pixels(placed)[0]
    return seen


def _by_person(chart: Chart, row: Float64) -> Float64:
    """(G, P, 2) how points are seen that stay on their lines of sight in the chart's picture."""
    s, still = len(chart.identity), chart.reference.row
    step, result = 1e-5, np.zeros((len(chart.identity) + 7, len(chart), 2))
    slides = chart.slides(row)
    for a in range(len(result)):
        ends = []
        for sign in (step, -step):
            identity, stand, focal = chart.identity.copy(), still.copy(), FOCAL
            if a < s:
                identity[a] += sign
            elif a < s + 6:
                stand[-6 + a - s] += sign
            else:
                focal = FOCAL * float(np.exp(sign))
            aside = _seen(chart, stand, identity, focal) - _true_places(chart, still[None])[0]
            ends.append(_seen(chart, row, identity, focal) - np.einsum("poi,pi->po", slides, aside))
        result[a] = (ends[0] - ends[1]) / (2 * step)
    return result


def test_pictures_make_tracking_better(study: Study) -> None:
    """The same bad landmarks with and without pictures of marked skin."""
    truth = performance(study.head)
    seen = footage(study, truth, noise=2.5e-3)
    album = Album()
    assert truth.shape is not None
    vertices = study.head.with_shape(truth.shape)(replace(truth, shape=None))
    landmarks = landmarks_of(seen_points(study, truth))
    for picture, here in zip(_pictures(study.head, vertices), landmarks, strict=True):
        album.add(picture, here)
    without = track_person(study, [seen], focal=FOCAL)[0].params
    with_marks = track_person(study, [replace(seen, album=album)], focal=FOCAL)[0].params
    plain, better = compare(study.head, without, truth), compare(study.head, with_marks, truth)
    assert better.regions["face"].mm < 0.8 * plain.regions["face"].mm
    assert better.gaze_degrees < plain.gaze_degrees
    assert face_rows(with_marks).shape == face_rows(truth).shape
