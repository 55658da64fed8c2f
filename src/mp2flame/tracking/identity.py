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
from mp2flame.landmark_model.error_model import Information
from mp2flame.tracking.model import TrackerModel
from mp2flame.tracking.objective import Objective
from mp2flame.tracking.solver import FrameTimes, SolverConfig, Trajectory, frame_terms, initial_states, solve_trajectory
from mp2flame.tracking.state import LEFT_EYE, RIGHT_EYE, StateLayout
from mp2flame.tracking.terms.landmarks import (
    LandmarkTerm,
    PersonModel,
    landmark_offsets,
    landmark_slopes,
    offset_derivatives,
    upright_rotations,
    view_directions,
)
from mp2flame.tracking.terms.point_tracks import PointTrackTerm
from mp2flame.tracking.video import PersonVideo

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class IdentityConfig:
    """Priors and steps of the estimate."""

    max_steps: int = 12
    tolerance: float = 1e-5
    """The estimate has converged when no unknown changes by more."""
    usual_focal: float = 1.4
    """Of a usual camera, in units of the image's longer side: an opening angle of 39 degrees."""
    log_focal_std: float = 0.25
    facing_std_rad: tuple[float, float, float] = (0.05, 0.12, 0.05)
    """How people with a neutral face are turned to the camera: pitch, yaw, roll."""
    free_std: float = 1e3
    """Of unknowns without a prior."""
    size_std: float = 0.002
    """Of the head's relative size against the estimate before: point tracks show proportions, and no motion tells a
    small head that is near from a large one that is far."""
    eye_distance_std_m: float = 0.0003
    """Of a distance between the pupils that is given: opticians round it to half a millimetre."""
    landmark_information: float = 0.3
    """b, a factor on the information of landmarks: images differ from the renders that the error model was learned
    from, in light and skin, and the difference is the same for a whole video."""
    alternations: int = 2
    """Of faces and identity, where there are no neutral frames."""
    refinement_frames: int = 16
    """Frames of a video whose point tracks refine the identity, those with the head rotated most differently."""


@dataclass(frozen=True, eq=False)
class IdentityView:
    """A frame from which a person is known."""

    landmarks: NDArray[np.floating]
    """(K, 3) normalised."""
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
    """(W, F) metres: the mean offsets of this person's landmarks that the error model does not predict."""
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


def initial_camera(size: tuple[int, int], focal: float | None, config: IdentityConfig = IdentityConfig()) -> Intrinsics:
    """The camera that the search starts from: of the given focal length in pixels, else the usual one."""
    return Intrinsics(focal or config.usual_focal * max(size), size)


class IdentityProblem:
    """The landmark residuals of views as a function of the unknowns: S', then six of each view, then log focals."""

    def __init__(
        self,
        model: TrackerModel,
        layout: StateLayout,
        views: Sequence[IdentityView],
        cameras: Sequence[Intrinsics],
    ) -> None:
        self._points, self._error_model, self._layout = model.points, model.error_model, layout
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
        """Metres between the centers of the eyes, and (S',) their gradient."""
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
    model: TrackerModel,
    layout: StateLayout,
    views: Sequence[IdentityView],
    cameras: Sequence[Intrinsics],
    *,
    focal_known: bool,
    eye_distance: float | None = None,
    before: Identity | None = None,
    equations: Sequence[IdentityEquations] = (),
    config: IdentityConfig = IdentityConfig(),
) -> Identity:
    """The maximum a posteriori of identity, cameras and biases.

    Args:
        model: the head.
        layout: of the views' states.
        views: at least one of each video.
        cameras: of each video; the search starts there.
        focal_known: keep the focal lengths.
        eye_distance: metres between the eyes, which gives the size of the head.
        before: the estimate from the same views without `equations`.
        equations: further ones, about `before`.
        config: priors and steps.
    """
    problem = IdentityProblem(model, layout, views, cameras)
    s, free = problem.s, np.full(3, config.free_std)
    facing = [np.concatenate([config.facing_std_rad if view.neutral else free, free]) for view in views]
    focal = np.full(len(cameras), 1e-6 if focal_known else config.log_focal_std)
    prior = np.concatenate([np.ones(s), *facing, focal]) ** -2.0
    base = problem.start if before is None else before.unknowns
    further_hessian, further_gradient = problem.assemble(equations)
    information = Information(model.error_model.absolute)
    unknowns, scale = base, config.landmark_information / len(views)
    for _ in range(config.max_steps):
        hessian, gradient = problem.landmark_equations(unknowns, information)
        gradient = scale * gradient + prior * unknowns + further_gradient + further_hessian @ (unknowns - base)
        hessian = scale * hessian + np.diag(prior) + further_hessian
        if eye_distance is not None:
            value, slope = problem.eye_distance(unknowns[:s])
            error, std = value - eye_distance, config.eye_distance_std_m
        elif before is not None:
            value, slope = problem.relative_size(unknowns[:s])
            error, std = value - before.size, config.size_std
        else:
            error, slope, std = 0.0, np.zeros(s), 1.0
        gradient[:s] += slope * error / std**2
        hessian[:s, :s] += np.outer(slope, slope) / std**2
        step = np.linalg.solve(hessian, -gradient)
        unknowns = unknowns + step
        if np.abs(step).max() < config.tolerance:
            break
    identity = unknowns[:s]
    size = problem.relative_size(identity)[0]
    residuals = problem.linearize(unknowns)[0]
    cost = config.landmark_information * information.square(residuals).mean() + prior @ unknowns**2
    biases = size * (residuals + identity @ model.error_model.identity_response)
    person_bias = np.stack([biases[problem.video == video].mean(axis=0) for video in range(len(cameras))])
    return Identity(identity, size, problem.cameras(unknowns), person_bias, float(cost), unknowns)


class IdentityEstimator:
    """One person in some videos.

    Args:
        model: the head.
        layout: of the states.
        videos: of the person.
        focal: focal length, pixels; None estimates it for each video.
        eye_distance: metres between the person's eyes; None if it is not known.
        config: priors and steps.
        solver: for the faces of views that are not neutral.
    """

    def __init__(
        self,
        model: TrackerModel,
        layout: StateLayout,
        videos: Sequence[PersonVideo],
        *,
        focal: float | None,
        eye_distance: float | None = None,
        config: IdentityConfig,
        solver: SolverConfig,
    ) -> None:
        self.model, self.layout = model, layout
        self._videos, self._config, self._solver = videos, config, solver
        self._focal_known, self._eye_distance = focal is not None, eye_distance
        self._cameras = tuple(initial_camera(video.detections.size, focal, config) for video in videos)
        self._views = [view for video in videos for view in self._initial_views(video)]
        self.identity = self._estimate()
        for _ in range(config.alternations if any(not view.neutral for view in self._views) else 0):
            self._views = [view if view.neutral else self._with_face(view) for view in self._views]
            self.identity = self._estimate()

    def _estimate(self, equations: Sequence[IdentityEquations] = ()) -> Identity:
        return estimate_identity(
            self.model,
            self.layout,
            self._views,
            self._cameras,
            focal_known=self._focal_known,
            eye_distance=self._eye_distance,
            before=self.identity if equations else None,
            equations=equations,
            config=self._config,
        )

    def _initial_views(self, video: PersonVideo) -> list[IdentityView]:
        """The neutral face, once; or the keyframes, as if they were neutral for the time being."""
        index, detections = self.model.embedding.landmark_index, video.detections
        if video.neutral is not None:
            landmarks, head_rotations = video.neutral_view(index)
        else:
            assert video.keyframes is not None
            landmarks = detections.landmarks(video.keyframes, index)
            head_rotations = detections.head_rotations(video.keyframes)
        camera = self._cameras[video.number]
        states = initial_states(self.model.mean_points, self.layout, camera, landmarks, head_rotations)
        neutral = video.neutral is not None
        return [IdentityView(x, state, video.number, neutral) for x, state in zip(landmarks, states, strict=True)]

    def _with_face(self, view: IdentityView) -> IdentityView:
        """The view with the face that it seems to show."""
        person = self.person_model(view.video)
        # The bias of this person is not known yet, so errors are those of anybody.
        error_model = replace(person.error_model, relative=person.error_model.absolute)
        bias = self.identity.coefficients @ error_model.identity_response
        person = replace(person, error_model=error_model, person_bias=bias)
        landmarks, times = view.landmarks[None], FrameTimes(np.zeros(1), np.zeros(1, dtype=np.int64))
        rotation = rotations.matrix(self.layout.rotation(view.state[None]))
        start = initial_states(person.points, self.layout, person.camera, landmarks, rotation)
        solved = solve_trajectory(person, landmarks, times, start, config=self._solver)
        return replace(view, state=solved.states[0])

    def person_model(self, video: int) -> PersonModel:
        """What is known for one of the videos."""
        identity = self.identity
        return PersonModel(
            self.model.points.with_fixed(identity.coefficients),
            self.layout,
            self.model.error_model.scaled(identity.size),
            identity.person_bias[video],
            identity.cameras[video],
        )

    def neutral_state(self, video: PersonVideo) -> Float64:
        """(D,) of a video with neutral frames: the neutral face, in the head pose that was found with the identity."""
        return np.concatenate([np.zeros(self.layout.n_face), self.identity.pose(self._first_view(video))])

    def _first_view(self, video: PersonVideo) -> int:
        """The number of a video's first view, which is its only one where it has neutral frames."""
        return next(i for i, view in enumerate(self._views) if view.video == video.number)

    def refine(self, tracks: Sequence[PointTrackTerm | None], trajectories: Sequence[Trajectory]) -> None:
        """Refine identity and cameras by the point tracks of each video (bundle adjustment)."""
        equations = []
        for video, term, trajectory in zip(self._videos, tracks, trajectories, strict=True):
            # Without neutral frames the face of the reference frame is an estimate, and says little of the identity.
            if term is None or video.neutral is None:
                continue
            # After a cut it may be somebody else.
            own = np.flatnonzero(video.shot == video.main_shot)
            rotation = self.layout.rotation(trajectory.states[own])
            chosen = own[_farthest_apart(rotation, self._config.refinement_frames)]
            landmarks = video.detections.landmarks(video.frames[chosen], self.model.embedding.landmark_index)
            part = trajectory[chosen]
            person = self.person_model(video.number)
            landmark_term = LandmarkTerm.of(person, landmarks, part.weights, self._solver.landmarks)
            others = Objective(frame_terms(landmark_term, None, self._solver)).linearize(part.states)
            marginal = term[chosen].marginal_identity_equations(part.states, others)
            equations.append(IdentityEquations(self._first_view(video), video.number, *marginal))
        if equations:
            self.identity = self._estimate(equations)


def _farthest_apart(rotation: Float64, count: int) -> NDArray[np.intp]:
    """Indices of the rotations (N, 3) that differ most from each other, by farthest-point sampling, sorted."""
    chosen = [0]
    distance = np.linalg.norm(rotation - rotation[0], axis=1)
    while len(chosen) < min(count, len(rotation)):
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(rotation - rotation[chosen[-1]], axis=1))
        distance[chosen] = -1.0
    return np.sort(np.array(chosen, dtype=np.intp))
