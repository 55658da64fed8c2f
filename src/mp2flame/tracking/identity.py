"""Identity, cameras and landmark bias of a person, from a few frames whose faces are known.

Letters: M views, K landmarks, S' identity coefficients, F = 3K, W videos, G = S' + 7.

A view is a frame whose face is known: neutral, or tracked before. The unknowns are identity, the head pose of each view
and the logarithm of each video's focal length. `estimate_identity` finds their maximum a posteriori by Gauss-Newton,

    b/M sum over views  r' C^-1 r      r: residuals of the landmarks, C: covariance of the absolute error model
    + |identity|^2                     coefficients are normal with unit variance
    + |log focal / sigma|^2            about a usual camera
    + |rotation / sigma|^2             of neutral views: people face the camera
    + (size - size before)^2 / sigma^2, or (eye distance - given)^2 / sigma^2
    + point tracks                     normal equations of `PointTrackTerm.marginal_identity_equations`

Views of one person share the bias of that person, so M of them together count as one. What then remains of the
residuals is the person's bias: it is subtracted in every other frame of the video.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mp2flame import rotations
from mp2flame.geometry.camera import Intrinsics
from mp2flame.landmark_model.error_model import Information, landmark_offsets, landmark_slopes
from mp2flame.tracking.model import Setup
from mp2flame.tracking.objective import Objective
from mp2flame.tracking.solver import Trajectory, frame_terms, initial_states, solve_trajectory
from mp2flame.tracking.state import LEFT_EYE, RIGHT_EYE
from mp2flame.tracking.terms.landmarks import (
    LandmarkTerm,
    PersonModel,
    offset_derivatives,
    upright_rotations,
    view_directions,
)
from mp2flame.tracking.terms.point_tracks import PointTrackTerm
from mp2flame.tracking.video import PersonVideo

Float64 = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class IdentityView:
    """A frame from which a person is known."""

    landmarks: NDArray[np.floating]
    """(K, 3) normalized."""
    state: Float64
    """(D,) the known face, and the head pose to start from."""
    video: int = 0
    """The number of its video among the person's."""
    neutral: bool = True
    """The face is neutral and looks at the camera."""


@dataclass(frozen=True, eq=False)
class Identity:
    """What is the same in all frames of a person."""

    coefficients: Float64
    """(S',)."""
    size: float
    """Of the head, relative to the mean identity's."""
    cameras: tuple[Intrinsics, ...]
    """W."""
    person_bias: Float64
    """(W, F) meters: the mean offsets of this person's landmarks that the error model does not predict."""
    cost: float
    """Value of the objective, up to a constant."""
    unknowns: Float64
    """(S' + 6M + W,) the estimate, about which further equations are linearised."""

    def pose(self, view: int) -> Float64:
        """(6,) the head's rotation and translation in a view."""
        start = len(self.coefficients) + 6 * view
        return self.unknowns[start : start + 6]


@dataclass(frozen=True, eq=False)
class IdentityEquations:
    """Normal equations about an `Identity`, for its coefficients, one view's pose and one video's log focal length."""

    view: int
    video: int
    hessian: Float64
    """(G, G)."""
    gradient: Float64
    """(G,)."""


class IdentityProblem:
    """The landmark residuals of views as a function of the unknowns: S', then six of each view, then log focals."""

    def __init__(self, setup: Setup, views: Sequence[IdentityView], cameras: Sequence[Intrinsics]) -> None:
        self._points, self._error_model, self._layout = setup.model.points, setup.model.error_model, setup.layout
        self._cameras = tuple(cameras)
        self._states = np.stack([view.state for view in views])
        self._landmarks = np.stack([view.landmarks for view in views])
        self.video = np.array([view.video for view in views])
        self.s = len(self._error_model.identity_response)
        self.width = self.s + 6 * len(views) + len(cameras)
        self.start = np.concatenate([np.zeros(self.s), self._states[:, -6:].ravel(), np.zeros(len(cameras))])
        self._neutral_points = self._points.select_coefficients(slice(0, self.s))
        self._mean_size = float(self._neutral_points.sizes(np.zeros((1, self.s)))[0][0])

    def cameras(self, unknowns: Float64) -> tuple[Intrinsics, ...]:
        """The cameras at these unknowns."""
        factors = np.exp(unknowns[-len(self._cameras) :])
        return tuple(Intrinsics(x.focal * float(by), x.size) for x, by in zip(self._cameras, factors, strict=True))

    def relative_size(self, identity: Float64) -> tuple[float, Float64]:
        """The size of the head relative to the mean identity's, and (S',) its gradient."""
        size, gradient = self._neutral_points.sizes(identity[None])
        return float(size[0]) / self._mean_size, gradient[0] / self._mean_size

    def eye_distance(self, identity: Float64) -> tuple[float, Float64]:
        """Meters between the centers of the eyes, and (S',) their gradient."""
        points = self._points
        moves = points.joint_directions[: self.s, LEFT_EYE] - points.joint_directions[: self.s, RIGHT_EYE]
        apart = points.joints[LEFT_EYE] - points.joints[RIGHT_EYE] + identity @ moves
        distance = float(np.linalg.norm(apart))
        return distance, moves @ apart / distance

    def linearize(self, unknowns: Float64) -> tuple[Float64, Float64]:
        """Residuals (M, F) for a head of the mean size, and their derivatives (M, G, F); see `columns`."""
        s, m, layout, error_model = self.s, len(self._states), self._layout, self._error_model
        identity, pose = unknowns[:s], unknowns[s : s + 6 * m].reshape(m, 6)
        expression, poses, translation = layout.arguments(np.concatenate([self._states[:, :-6], pose], axis=1))
        cameras = self.cameras(unknowns)
        pairs = zip(self.video, self._landmarks, strict=True)
        slopes = np.concatenate([landmark_slopes(x[None], cameras[v]) for v, x in pairs])
        coefficients = np.concatenate([np.tile(identity, (m, 1)), expression], axis=1)
        posed = self._points.differentiate(coefficients, poses, translation, (layout.head_joint,))
        rotation = rotations.matrix(pose[:, :3])
        upright = upright_rotations(rotation)
        moves = np.concatenate([posed.jacobian[:, :s], posed.jacobian[:, -6:]], axis=1)
        # A longer lens sees smaller angles: slopes fall as the focal length grows.
        zoom = landmark_offsets(posed.positions, np.zeros_like(slopes)) - landmark_offsets(posed.positions, slopes)
        jacobian = np.concatenate([offset_derivatives(moves, slopes).swapaxes(2, 3), zoom[:, None]], axis=1)
        jacobian = jacobian @ upright[:, None]
        size, growth = self.relative_size(identity)
        offsets = (landmark_offsets(posed.positions, slopes) @ upright).reshape(m, -1) / size
        jacobian = jacobian.reshape(m, s + 7, -1) / size
        jacobian[:, :s] -= error_model.identity_response + growth[:, None] / size * offsets[:, None]
        predicted = error_model.view_bias(view_directions(rotation))
        predicted = predicted + self._states[:, : layout.n_face] @ error_model.face_response
        return offsets - predicted - identity @ error_model.identity_response, jacobian

    def columns(self, view: int, video: int) -> NDArray[np.intp]:
        """(G,) the unknowns that a view of a video depends on: identity, its pose, the video's log focal length."""
        pose = self.s + 6 * view + np.arange(6)
        return np.concatenate([np.arange(self.s), pose, [self.s + 6 * len(self._states) + video]])

    def assemble(self, equations: Sequence[IdentityEquations]) -> tuple[Float64, Float64]:
        """The sum of equations over all unknowns, (width, width) and (width,)."""
        hessian, gradient = np.zeros((self.width, self.width)), np.zeros(self.width)
        for one in equations:
            columns = self.columns(one.view, one.video)
            hessian[np.ix_(columns, columns)] += one.hessian
            gradient[columns] += one.gradient
        return hessian, gradient

    def landmark_equations(self, unknowns: Float64, information: Information) -> tuple[Float64, Float64]:
        """The normal equations of the landmarks of all views."""
        residuals, jacobian = self.linearize(unknowns)
        parts = zip(self.video, *information.normal(jacobian, residuals), strict=True)
        return self.assemble([IdentityEquations(i, int(video), *part) for i, (video, *part) in enumerate(parts)])


def estimate_identity(
    setup: Setup,
    views: Sequence[IdentityView],
    cameras: Sequence[Intrinsics],
    *,
    before: Identity | None = None,
    equations: Sequence[IdentityEquations] = (),
    max_steps: int | None = None,
) -> Identity:
    """The maximum a posteriori of identity, cameras and biases.

    Args:
        setup: head, options and settings.
        views: at least one of each video.
        cameras: of each video; the search starts there, and they are kept if the focal length is given.
        before: the estimate from the same views without `equations`.
        equations: further ones, about `before`.
        max_steps: None is that of the settings.
    """
    problem, config, options = IdentityProblem(setup, views, cameras), setup.config.identity, setup.options
    s, free = problem.s, np.full(3, config.free_std)
    facing = [np.concatenate([config.facing_std_rad if view.neutral else free, free]) for view in views]
    focal = np.full(len(cameras), config.log_focal_std if options.focal is None else 1e-6)
    prior = np.concatenate([np.ones(s), *facing, focal]) ** -2.0
    base = problem.start if before is None else before.unknowns
    further_hessian, further_gradient = problem.assemble(equations)
    constraints = []
    if options.ipd is not None:
        constraints.append((problem.eye_distance, options.ipd, config.eye_distance_std_m))
    elif before is not None:
        constraints.append((problem.relative_size, before.size, config.size_std))
    information = Information(setup.model.error_model.absolute)
    unknowns, scale = base, config.landmark_information / len(views)
    for _ in range(max_steps or config.max_steps):
        hessian, gradient = problem.landmark_equations(unknowns, information)
        gradient = scale * gradient + prior * unknowns + further_gradient + further_hessian @ (unknowns - base)
        hessian = scale * hessian + np.diag(prior) + further_hessian
        for measure, target, std in constraints:
            value, slope = measure(unknowns[:s])
            gradient[:s] += slope * (value - target) / std**2
            hessian[:s, :s] += np.outer(slope, slope) / std**2
        step = np.linalg.solve(hessian, -gradient)
        unknowns = unknowns + step
        if np.abs(step).max() < config.tolerance:
            break
    identity = unknowns[:s]
    size = problem.relative_size(identity)[0]
    residuals = problem.linearize(unknowns)[0]
    cost = config.landmark_information * information.square(residuals).mean() + prior @ unknowns**2
    biases = size * (residuals + identity @ setup.model.error_model.identity_response)
    person_bias = np.stack([biases[problem.video == video].mean(axis=0) for video in range(len(cameras))])
    return Identity(identity, size, problem.cameras(unknowns), person_bias, float(cost), unknowns)


class IdentityEstimator:
    """One person in some videos."""

    def __init__(self, setup: Setup, videos: Sequence[PersonVideo]) -> None:
        self._setup, self._videos = setup, videos
        self._cameras = tuple(setup.camera(video.detections.size) for video in videos)
        self._views = [view for video in videos for view in self._initial_views(video)]
        self.identity = estimate_identity(setup, self._views, self._cameras)
        if any(not view.neutral for view in self._views):
            for _ in range(setup.config.identity.alternations):
                self._views = [view if view.neutral else self._with_face(view) for view in self._views]
                self.identity = estimate_identity(setup, self._views, self._cameras)

    def _initial_views(self, video: PersonVideo) -> list[IdentityView]:
        """The neutral face, once; or the keyframes, as if they were neutral for the time being."""
        index, neutral = self._setup.model.embedding.landmark_index, video.neutral is not None
        landmarks, rotation = video.neutral_view(index) if neutral else video.detections.at(video.keyframes, index)
        states = self._setup.initial_states(self._cameras[video.number], landmarks, rotation)
        return [IdentityView(x, state, video.number, neutral) for x, state in zip(landmarks, states, strict=True)]

    def _with_face(self, view: IdentityView) -> IdentityView:
        """The view with the face that it seems to show."""
        person = self.person_model(view.video)
        # The bias of this person is not known yet, so errors are those of anybody.
        error_model = replace(person.error_model, relative=person.error_model.absolute)
        bias = self.identity.coefficients @ error_model.identity_response
        person = replace(person, error_model=error_model, person_bias=bias)
        landmarks, rotation = view.landmarks[None], rotations.matrix(person.layout.rotation(view.state[None]))
        start = initial_states(person.points, person.layout, person.camera, landmarks, rotation)
        solved = solve_trajectory(person, landmarks, start, time=np.zeros(1), shot=np.zeros(1, dtype=np.int64))
        return replace(view, state=solved.states[0])

    def person_model(self, video: int) -> PersonModel:
        """What is known for one of the videos."""
        identity, model = self.identity, self._setup.model
        return PersonModel(
            points=model.points.with_fixed(identity.coefficients),
            layout=self._setup.layout,
            error_model=model.error_model.scaled(identity.size),
            person_bias=identity.person_bias[video],
            camera=identity.cameras[video],
            config=self._setup.config,
        )

    def neutral_state(self, video: PersonVideo) -> Float64:
        """(D,) of a video with neutral frames: the neutral face, in the head pose that was found with the identity."""
        return np.concatenate([np.zeros(self._setup.layout.n_face), self.identity.pose(self._first_view(video))])

    def _first_view(self, video: PersonVideo) -> int:
        """The number of a video's first view, which is its only one where it has neutral frames."""
        return next(i for i, view in enumerate(self._views) if view.video == video.number)

    def refine(self, tracks: Sequence[PointTrackTerm | None], trajectories: Sequence[Trajectory]) -> None:
        """Refine identity and cameras by the point tracks of each video (bundle adjustment)."""
        equations, index = [], self._setup.model.embedding.landmark_index
        for video, term, trajectory in zip(self._videos, tracks, trajectories, strict=True):
            # Without neutral frames the face of the reference frame is an estimate, and says little of the identity.
            if term is None or video.neutral is None:
                continue
            # After a cut it may be somebody else.
            own = np.flatnonzero(video.shot == video.main_shot)
            rotation = self._setup.layout.rotation(trajectory.states[own])
            chosen = own[_farthest_apart(rotation, self._setup.config.identity.refinement_frames)]
            landmarks, part = video.detections.at(video.frames[chosen], index)[0], trajectory[chosen]
            landmark_term = LandmarkTerm.of(self.person_model(video.number), landmarks, part.weights)
            others = Objective(frame_terms(landmark_term)).linearize(part.states)
            marginal = term[chosen].marginal_identity_equations(part.states, others)
            equations.append(IdentityEquations(self._first_view(video), video.number, *marginal))
        if equations:
            self.identity = estimate_identity(
                self._setup, self._views, self._cameras, before=self.identity, equations=equations
            )


def _farthest_apart(rotation: Float64, count: int) -> NDArray[np.intp]:
    """Indices of the rotations (N, 3) that differ most from each other, by farthest-point sampling, sorted."""
    chosen = [0]
    distance = np.linalg.norm(rotation - rotation[0], axis=1)
    while len(chosen) < min(count, len(rotation)):
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(rotation - rotation[chosen[-1]], axis=1))
        distance[chosen] = -1.0
    return np.sort(np.array(chosen, dtype=np.intp))
