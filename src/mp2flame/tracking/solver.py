"""The states of all frames of a video, by Gauss-Newton on the objective (`mp2flame.tracking.objective`).

Letters: N frames with a face, K landmarks, D entries of a state.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from mp2flame import rotations
from mp2flame.geometry.camera import Intrinsics
from mp2flame.geometry.skinned_points import SkinnedPoints
from mp2flame.landmark_model.error_model import landmark_slopes
from mp2flame.tracking.objective import Objective, Term
from mp2flame.tracking.state import StateLayout, chunks
from mp2flame.tracking.terms.landmarks import LandmarkTerm, PersonModel
from mp2flame.tracking.terms.point_tracks import PointTrackTerm
from mp2flame.tracking.terms.priors import EyePrior, FacePrior, TemporalPrior

Float64 = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Trajectory:
    """The states of N frames, and how well they fit."""

    states: Float64
    """(N, D)."""
    residual: Float64
    """(N,) root mean square residual in standard deviations of the error model; 1 or less where the fit is good."""
    pixels: Float64
    """(N,) root mean square distance of the inliers from the model's landmarks, pixels."""
    weights: Float64
    """(N, K) 0..1 of the landmarks."""

    @property
    def inlier_ratio(self) -> Float64:
        """(N,) fraction of the landmarks that are inliers."""
        ratio: Float64 = (self.weights > 0.5).mean(axis=1)
        return ratio

    def __getitem__(self, frames: slice | NDArray[np.integer]) -> Trajectory:
        return Trajectory(self.states[frames], self.residual[frames], self.pixels[frames], self.weights[frames])


def frame_terms(landmarks: LandmarkTerm, tracks: PointTrackTerm | None = None) -> list[Term]:
    """The terms of single frames, without ties in time."""
    layout, priors = landmarks.model.layout, landmarks.model.config.priors
    faces = FacePrior(layout, np.ones(len(landmarks.slopes)), priors)
    return [landmarks, *([] if tracks is None else [tracks]), EyePrior(layout, priors), faces]


def initial_states(
    points: SkinnedPoints,
    layout: StateLayout,
    camera: Intrinsics,
    landmarks: NDArray[np.floating],
    head_rotations: Float64,
) -> Float64:
    """States (N, D) to start from: neutral faces, rotated as MediaPipe says, as far away as their size says.

    Args:
        points: a person's landmarks; expression moves them.
        layout: of the states.
        camera: of the images.
        landmarks: (N, K, 3) normalized.
        head_rotations: (N, 3, 3).
    """
    states = np.zeros((len(landmarks), layout.width))
    states[:, layout.n_face : layout.n_face + 3] = rotations.from_matrix(head_rotations)
    neutral = points.pose(*layout.arguments(states))
    slopes = landmark_slopes(landmarks, camera)[..., :2]
    spread = [np.sqrt(((x - x.mean(axis=1, keepdims=True)) ** 2).sum(axis=(1, 2))) for x in (neutral[..., :2], slopes)]
    depth = spread[0] / np.maximum(spread[1], 1e-9)
    place = np.concatenate([slopes.mean(axis=1) * depth[:, None], -depth[:, None]], axis=1)
    states[:, -3:] = place - neutral.mean(axis=1)
    return states


def solve_trajectory(
    person: PersonModel,
    landmarks: NDArray[np.floating],
    start: Float64 | Trajectory,
    *,
    time: Float64,
    shot: NDArray[np.int64],
    tracks: PointTrackTerm | None = None,
    on_frame: Callable[[], None] | None = None,
) -> Trajectory:
    """Estimate the states of a video.

    Args:
        person: the person and the camera.
        landmarks: (N, K, 3) normalized.
        start: states (N, D) to start from; or a solution to refine, whose landmark weights are kept.
        time: (N,) seconds.
        shot: (N,) numbers; frames of different shots are not tied to each other.
        tracks: the tracks of skin points, if there are any.
        on_frame: called once for each frame that is done.
    """
    config, solved = person.config.solver, []
    for window in chunks(len(landmarks), config.window_frames):
        first = max(0, window.start - config.overlap_frames)
        part = slice(first, window.stop + config.overlap_frames)
        temporal = TemporalPrior.of(person.layout, time[part], shot[part], person.config.priors)
        own_tracks = None if tracks is None else tracks[part]
        result = _solve_window(person, landmarks[part], start[part], own_tracks, temporal)
        solved.append(result[window.start - first : window.stop - first])
        if on_frame is not None:
            for _ in range(window.start, window.stop):
                on_frame()
    return Trajectory(*(np.concatenate([getattr(x, field.name) for x in solved]) for field in fields(Trajectory)))


def _solve_window(
    person: PersonModel,
    landmarks: NDArray[np.floating],
    start: Float64 | Trajectory,
    tracks: PointTrackTerm | None,
    temporal: TemporalPrior,
) -> Trajectory:
    config, refining = person.config.solver, isinstance(start, Trajectory)
    states, weights = (start.states, start.weights) if isinstance(start, Trajectory) else (start, None)
    objective = Objective([*frame_terms(LandmarkTerm.of(person, landmarks, weights), tracks), temporal])
    for step in range(config.later_steps if refining else config.first_steps):
        equations = objective.linearize(states)
        states = states + equations.step()
        if not refining:
            objective = objective.reweighted(states, equations, step + 1)
    final = next(term for term in objective.terms if isinstance(term, LandmarkTerm))
    return Trajectory(states, *final.normalised_residuals(states), final.weights)
