"""Point tracks against rendered heads whose truth is known, finite differences and the dense system."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("cv2")
pytest.importorskip("pyvista")

from mp2flame.data import FlameParams
from mp2flame.evaluation.metrics import compare
from mp2flame.geometry.camera import Intrinsics
from mp2flame.geometry.skinned_points import n_active_expression
from mp2flame.head import FlameHead
from mp2flame.render import MeshRenderer
from mp2flame.tracking.config import PointTrackConfig, TrackerConfig, TrackOptions
from mp2flame.tracking.model import TrackerModel
from mp2flame.tracking.objective import NormalEquations
from mp2flame.tracking.state import StateLayout
from mp2flame.tracking.terms.landmarks import PersonModel
from mp2flame.tracking.terms.point_tracks import PointTrackTerm
from mp2flame.tracking.terms.reference_view import PointTracks, ReferenceFrame, ReferenceView
from mp2flame.tracking.track import track_person
from mp2flame.tracking.video import FaceCrop
from tests.helpers.terms import check_term
from tests.helpers.tracked_people import (
    FOCAL,
    SIZE,
    camera_points,
    detections,
    landmarks_of,
    performance,
    synthetic_model,
)

Float64 = NDArray[np.float64]
Image = NDArray[np.uint8]
_CAMERA = Intrinsics(FOCAL, SIZE)
_COVERED = (slice(300, 350), slice(270, 370))


@pytest.fixture(scope="module")
def model() -> TrackerModel:
    return synthetic_model()


@pytest.fixture(scope="module")
def states(model: TrackerModel) -> Float64:
    """A neutral head, then with an open mouth, then turned."""
    layout = StateLayout(n_active_expression(model.head))
    shapes = model.head.blendshapes()
    states = np.zeros((3, layout.width))
    states[:, -3:] = -model.head.joints()[3:5].mean(axis=0) + (0.0, 0.02, -0.7)
    smile = 0.4 * (shapes.expression[23] + shapes.expression[24])
    states[1, : layout.n_expression] = smile[: layout.n_expression]
    states[1, layout.n_expression] = 0.12
    states[2, layout.n_face : layout.n_face + 3] = 0.03, 0.15, -0.02
    return states


def _images(head: FlameHead, vertices: NDArray[np.float32], light: float = 0.0) -> list[Image]:
    """The head with textured skin before a camera in the world's origin, lit from a side."""
    assert head.vertex_colors is not None
    rng = np.random.default_rng(4)
    dots = rng.integers(-45, 45, size=(len(head.vertex_colors), 1))
    colors = np.clip(head.vertex_colors.astype(int) + dots, 0, 255).astype(np.uint8)
    angle = 2 * float(np.degrees(np.arctan(SIZE[1] / 2 / FOCAL)))
    with MeshRenderer(head.faces, vertex_colors=colors, size=SIZE, view_angle=angle) as renderer:
        renderer.set_lights(((0.2 + light, 0.3, 1.0), 1.0))
        renderer.set_camera((0.0, 0.0, -0.7), distance=0.7)
        return [renderer.render(one) for one in vertices]


def _params(model: TrackerModel, states: Float64) -> FlameParams:
    return StateLayout(n_active_expression(model.head)).params(states, model.head.n_expression)


@pytest.fixture(scope="module")
def crops(model: TrackerModel, states: Float64) -> list[FaceCrop | None]:
    params = _params(model, states)
    landmarks = landmarks_of(camera_points(model, params))
    return list(map(FaceCrop.of, _images(model.head, model.head(params)), landmarks))


@pytest.fixture(scope="module")
def view(model: TrackerModel, states: Float64, crops: list[FaceCrop | None]) -> ReferenceView:
    crop = crops[0]
    assert crop is not None
    reference = ReferenceFrame(crop, landmarks_of(camera_points(model, _params(model, states[:1])))[0], states[0])
    identity = np.zeros(len(model.error_model.identity_response))
    layout = StateLayout(n_active_expression(model.head))
    bias = np.zeros(3 * len(model.embedding))
    person = PersonModel(model.mean_points, layout, model.error_model, bias, _CAMERA, TrackerConfig())
    return ReferenceView(model.head, identity, person, reference)


def _true_positions(view: ReferenceView, states: Float64) -> Float64:
    return _CAMERA.project(view.points.pose(*view.layout.arguments(states)))


def test_crops_have_the_coordinates_of_the_frame() -> None:
    rng = np.random.default_rng(0)
    image = np.zeros((400, 640, 3), dtype=np.uint8)
    image[::40, ::40] = 255
    image[1::40, ::40] = image[::40, 1::40] = image[1::40, 1::40] = 255
    landmarks = np.concatenate([rng.uniform((0.2, 0.0), (0.7, 0.99), (40, 2)), np.zeros((40, 1))], axis=1)
    crop = FaceCrop.of(image, landmarks)
    assert crop is not None
    assert FaceCrop.of(image, landmarks + np.array([2.0, 0.0, 0.0])) is None
    assert crop.gray.shape[0] < 400
    positions = rng.uniform(100, 300, (20, 2))
    np.testing.assert_allclose(crop.in_frame(crop.from_frame(positions)), positions, atol=1e-3)
    whole = positions.round().astype(np.int64)
    np.testing.assert_array_equal(crop.from_frame(whole), crop.from_frame(whole.astype(np.float64)))
    # Each dot of the image, two pixels wide, is bright where the crop has it.
    for x, y in ((241.0, 161.0), (321.0, 241.0)):
        across, down = crop.from_frame(np.array([x, y])).round().astype(int)
        around = crop.gray[down - 4 : down + 5, across - 4 : across + 5]
        assert int(around.argmax()) == around.size // 2


def test_points_are_found_where_they_are(view: ReferenceView, crops: list[FaceCrop | None], states: Float64) -> None:
    assert len(view) > 300
    estimate = np.tile(states[0], (3, 1))
    # The estimate is neutral but for the head's rotation: what the face did is found.
    estimate[2] = states[2]
    tracks = view.track(estimate, crops.__getitem__)
    truth = _true_positions(view, states)
    for frame, least, most in ((0, 0.6, 0.05), (1, 0.3, 0.5), (2, 0.3, 0.4)):
        reliable = tracks.weights[frame] > 0.5
        assert reliable.mean() > least
        distance = np.linalg.norm(tracks.positions[frame] - truth[frame], axis=1)[reliable]
        assert np.median(distance) < most
    moved = np.linalg.norm(truth[1] - truth[0], axis=1)
    assert np.percentile(moved, 90) > 3


def test_a_fine_search_finds_what_earlier_rounds_left(
    view: ReferenceView, crops: list[FaceCrop | None], states: Float64
) -> None:
    near = states.copy()
    near[1, : view.layout.n_face] *= 0.8
    tracks = view.track(near, crops.__getitem__, fine=True)
    truth, reliable = _true_positions(view, states)[1], tracks.weights[1] > 0.5
    before = np.linalg.norm(_true_positions(view, near)[1] - truth, axis=1)
    compared = reliable & (before > 0.5)
    after = np.linalg.norm(tracks.positions[1] - truth, axis=1)
    assert compared.sum() > 30
    assert np.median(after[compared]) < 0.4 * np.median(before[compared])


def test_slanted_points_have_no_information_and_eyes_little(view: ReferenceView, states: Float64) -> None:
    crop, eyes_blur_px = view.reference.crop, view.config.points.eyes_blur_px
    facing = view.facing(states[:1])[0]
    exact = np.array([np.linalg.eigvalsh(one)[-1] for one in view.information]) / crop.scale.max() ** 2
    assert (facing == 0).any()
    assert exact[facing == 0].max() == 0.0
    assert exact[facing > 0].min() > 0.0
    eyes = view.points_of_identity.weights[:, 3:5].sum(axis=1) > 0.5
    # Variances add up: no sum is smaller than its summands.
    assert exact[eyes].max() <= eyes_blur_px**-2
    assert exact[~eyes].max() > eyes_blur_px**-2


def test_a_turned_light_does_not_move_points(model: TrackerModel, view: ReferenceView, states: Float64) -> None:
    params = _params(model, states[:1])
    image = _images(model.head, model.head(params), light=0.8)[0]
    lit = FaceCrop.of(image, landmarks_of(camera_points(model, params))[0])
    tracks = view.track(states[:1], lambda _: lit)
    distance = np.linalg.norm(tracks.positions[0] - _true_positions(view, states[:1])[0], axis=1)
    reliable = tracks.weights[0] > 0.5
    assert reliable.sum() > 100
    assert np.median(distance[reliable]) < 0.2


def test_covered_points_have_no_weight(view: ReferenceView, crops: list[FaceCrop | None], states: Float64) -> None:
    crop = crops[0]
    assert crop is not None
    down, across = _COVERED
    corners = crop.from_frame(np.array([[across.start, down.start], [across.stop, down.stop]])).round().astype(int)
    gray = crop.gray.copy()
    gray[corners[0, 1] : corners[1, 1], corners[0, 0] : corners[1, 0]] = 90
    tracks = view.track(states[:1], lambda _: FaceCrop.encode(gray, crop.corner, crop.scale))
    positions = _true_positions(view, states[:1])[0]
    inner = (np.abs(positions - [320, 325]) < [40, 15]).all(axis=1)
    assert inner.sum() > 10
    assert tracks.weights[0, inner].max() < 0.2
    assert view.track(states[:1], lambda _: None).weights.max() == 0


def _term(view: ReferenceView, states: Float64, seed: int = 1) -> PointTrackTerm:
    rng = np.random.default_rng(seed)
    positions = _true_positions(view, states) + rng.normal(scale=0.4, size=(len(states), len(view), 2))
    weights = rng.uniform(size=(len(states), len(view)))
    return PointTrackTerm(view, PointTracks(positions.astype(np.float32), weights.astype(np.float32)))


def test_the_point_track_term_keeps_the_contract(view: ReferenceView, states: Float64) -> None:
    check_term(_term(view, states[1:2]), states[1:2])


def test_the_hessian_is_the_curvature_where_residuals_are_zero(
    view: ReferenceView, states: Float64, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = _true_positions(view, states[:2])
    tracks = PointTracks(exact.astype(np.float32), np.ones(exact.shape[:2], dtype=np.float32))
    # With a wide kernel the cost is a plain sum of squares.
    monkeypatch.setattr(view, "config", TrackerConfig(points=PointTrackConfig(cauchy_std=1e6)))
    term = PointTrackTerm(view, tracks)
    equations = NormalEquations.zeros(*states[:2].shape)
    term.linearize(states[:2], equations)
    rng = np.random.default_rng(2)
    for _ in range(4):
        step = rng.normal(size=states[:2].shape) * 1e-4
        curvature = 0.5 * np.einsum("nd,nde,ne->", step, equations.blocks, step)
        np.testing.assert_allclose(term.cost(states[:2] + step), curvature, rtol=1e-2)


def test_eliminated_frames_solve_the_dense_system(view: ReferenceView, states: Float64) -> None:
    """Schur's complement against solving everything at once, for points that slide as the warp Jacobian says."""
    term, d, g = _term(view, states), view.layout.width, len(view.identity) + 7
    others = NormalEquations.zeros(3, d)
    others.blocks[:] = np.diag(np.full(d, 50.0))
    others.gradient[:] = np.random.default_rng(3).normal(size=(3, d))
    hessian, gradient = term.marginal_identity_equations(states, others)
    assert hessian.shape == (g, g)
    np.testing.assert_allclose(hessian, hessian.T, rtol=1e-6, atol=1e-6 * np.abs(hessian).max())
    # The whole system by finite differences of where each point is seen.
    config = PointTrackConfig()
    whole, side = np.zeros((g + 3 * d, g + 3 * d)), np.zeros(g + 3 * d)
    for i, state in enumerate(states):
        own = slice(g + i * d, g + (i + 1) * d)
        jacobian = np.concatenate([_by_person(view, state), _by_frame(view, state)])
        residuals = term.tracks.positions[i] - _true_positions(view, state[None])[0]
        squares = np.einsum("pi,pij,pj->p", residuals, view.information, residuals) / config.cauchy_std**2
        weight = config.identity_information * term.tracks.weights[i] / (1 + squares)
        information = weight[:, None, None] * view.information
        normal = np.einsum("api,pij,bpj->ab", jacobian, information, jacobian, optimize=True)
        slope = -np.einsum("api,pij,pj->a", jacobian, information, residuals, optimize=True)
        whole[:g, :g] += normal[:g, :g]
        side[:g] += slope[:g]
        whole[:g, own], whole[own, :g], whole[own, own] = normal[:g, g:], normal[g:, :g], normal[g:, g:]
        whole[own, own] += others.blocks[i]
        side[own] = slope[g:] + others.gradient[i]
    prior = np.eye(g)
    alone = np.linalg.solve(hessian + prior, -gradient)
    whole[:g, :g] += prior
    together = np.linalg.solve(whole, -side)[:g]
    np.testing.assert_allclose(alone, together, rtol=2e-3, atol=2e-3 * np.abs(together).max())


def _by_frame(view: ReferenceView, state: Float64) -> Float64:
    """(D, P, 2) derivatives of the projected points by the state."""
    steps = 1e-5 * np.eye(len(state))
    jacobian: Float64 = (_true_positions(view, state + steps) - _true_positions(view, state - steps)) / 2e-5
    return jacobian


def _project(view: ReferenceView, state: Float64, identity: Float64, focal: float) -> Float64:
    points = view.points_of_identity.with_fixed(identity)
    projected = Intrinsics(focal, SIZE).project(points.pose(*view.layout.arguments(state[None])))
    return np.asarray(projected[0], dtype=np.float64)


def _by_person(view: ReferenceView, state: Float64) -> Float64:
    """(G, P, 2) derivatives of points that stay on their lines of sight of the reference frame."""
    s, reference = len(view.identity), view.reference.state
    step, result = 1e-5, np.zeros((len(view.identity) + 7, len(view), 2))
    warp = view.warp_jacobian(state)
    for a in range(len(result)):
        ends = []
        for sign in (step, -step):
            identity, pose, focal = view.identity.copy(), reference.copy(), FOCAL
            if a < s:
                identity[a] += sign
            elif a < s + 6:
                pose[-6 + a - s] += sign
            else:
                focal = FOCAL * float(np.exp(sign))
            leaving = _project(view, pose, identity, focal) - _true_positions(view, reference[None])[0]
            ends.append(_project(view, state, identity, focal) - np.einsum("poi,pi->po", warp, leaving))
        result[a] = (ends[0] - ends[1]) / (2 * step)
    return result


def test_images_make_tracking_better(model: TrackerModel) -> None:
    """The same bad landmarks with and without images of textured skin."""
    truth = performance(model.head)
    without = detections(model, truth, noise=2.5e-3)
    assert truth.shape is not None
    vertices = model.head.with_shape(truth.shape)(replace(truth, shape=None))
    landmarks = landmarks_of(camera_points(model, truth))
    crops = list(map(FaceCrop.of, _images(model.head, vertices), landmarks))
    options = TrackOptions(focal=FOCAL)
    by_landmarks = compare(model.head, track_person(model, [without], options)[0].params, truth)
    by_both = compare(model.head, track_person(model, [replace(without, crops=crops)], options)[0].params, truth)
    assert by_both["face mm"] < 0.8 * by_landmarks["face mm"]
    assert by_both["gaze degrees"] < by_landmarks["gaze degrees"]
