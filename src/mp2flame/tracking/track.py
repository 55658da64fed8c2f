"""From videos of one person to parameters of a head: the entry points and the outer loop.

Letters: N frames, D entries of a state.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mp2flame.data import N_LANDMARKS, FlameParams, Observation
from mp2flame.downloads import landmarker_path
from mp2flame.errors import InputError
from mp2flame.geometry.camera import Intrinsics
from mp2flame.head import FlameHead, load_head
from mp2flame.parallel import one_blas_thread
from mp2flame.tracking.config import HeadPose, TrackerConfig, TrackOptions
from mp2flame.tracking.identity import IdentityEstimator
from mp2flame.tracking.model import Setup, TrackerModel, fit_tracker_model
from mp2flame.tracking.neutral import NeutralVerifier
from mp2flame.tracking.solver import Trajectory, initial_states, solve_trajectory
from mp2flame.tracking.terms.point_tracks import PointTrackTerm
from mp2flame.tracking.terms.reference_view import ReferenceFrame, ReferenceView
from mp2flame.tracking.video import PersonVideo, VideoDetections, detect_file

Float64 = NDArray[np.float64]

_NO_NEUTRAL: Final = (
    "no second of the video shows a motionless face with its mouth closed: the neutral face was estimated from frames "
    "that move, which is less exact; begin the video with a neutral second"
)
_NEUTRAL_REJECTED: Final = (
    "the face is motionless for a second, but other moments look more like the neutral face: it was estimated from "
    "those, which is less exact; begin the video with a neutral second, mouth closed, looking at the camera"
)


@dataclass(frozen=True, eq=False)
class TrackResult:
    """One tracked video."""

    params: FlameParams
    """N frames; `found` is False where there is no face, another person's, or too little of it. Translation is in the
    camera's frame: meters, x right, y up, z towards the viewer, the camera at the origin."""
    observation: Observation
    """N frames, what MediaPipe detected."""
    neutral: NDArray[np.bool_]
    """(N,) the frames that were taken as the neutral face."""
    residual: NDArray[np.float32]
    """(N,) root mean square residual of the landmarks in standard deviations of the error model; NaN where nothing was
    solved."""
    pixels: NDArray[np.float32]
    """(N,) root mean square distance between inliers and the model's landmarks, pixels; NaN likewise."""
    inlier_ratio: NDArray[np.float32]
    """(N,) fraction of the landmarks that are inliers; 0 where nothing was solved."""
    camera: Intrinsics
    """As given or estimated."""
    warnings: tuple[str, ...]
    """What a user should know."""


def track(
    video: str | Path,
    head: str | Path | FlameHead | TrackerModel = "builtin",
    *,
    landmarker: str | Path | None = None,
    head_pose: HeadPose = "global_orient",
    focal: float | None = None,
    ipd: float | None = None,
    mirror: bool = False,
    on_frame: Callable[[], None] | None = None,
) -> FlameParams:
    """Estimate expression, jaw, eyes, head pose and identity in every frame of a video of one person.

    What a user should know of the result (such as a video without a neutral second) comes as Python warnings;
    `track_videos` also gives residuals, the camera and the neutral frames, and takes several videos of a person.

    Args:
        video: a video, an image or a folder of images.
        head: a FLAME file, "builtin", or a head. A head that is used for the first time is rendered and shown to
            MediaPipe, which takes one or two minutes; the result is kept in the cache folder.
        landmarker: MediaPipe's `face_landmarker.task`; None is the one that is downloaded.
        head_pose: the parameter that takes the head's rotation; `none` leaves the head unrotated at its own place.
        focal: focal length, pixels; None estimates it.
        ipd: meters between the person's pupils, looking far; None leaves the head's size to the prior.
        mirror: the images are mirrored.
        on_frame: called twice for each frame: when it was detected and when it was solved.

    Raises:
        InputError: the video shows no face, MediaPipe does not see the rendered head, the head has no expression, or
            an option is out of range.
        MissingFileError: the video or the head does not exist.
        MissingExtraError: PyVista, MediaPipe or PyAV is not installed.
    """
    options = TrackOptions(head_pose=head_pose, focal=focal, ipd=ipd, mirror=mirror)
    (result,) = track_videos([video], head, options, landmarker=landmarker, on_frame=on_frame)
    for warning in result.warnings:
        warnings.warn(warning, stacklevel=2)
    return result.params


def track_videos(
    videos: Sequence[str | Path],
    head: str | Path | FlameHead | TrackerModel = "builtin",
    options: TrackOptions | None = None,
    *,
    landmarker: str | Path | None = None,
    config: TrackerConfig | None = None,
    on_frame: Callable[[], None] | None = None,
) -> list[TrackResult]:
    """Track videos of one person, who has the same identity in all of them; see `track`.

    Returns:
        One result for each video.
    """
    if not videos:
        raise InputError("expected at least one video; got none")
    options = options or TrackOptions()
    bundle = landmarker_path(landmarker)
    if isinstance(head, str | Path):
        head = load_head(head)
    detections = [detect_file(path, bundle, mirror=options.mirror, on_frame=on_frame) for path in videos]
    messages: list[str] = []
    model = head if isinstance(head, TrackerModel) else fit_tracker_model(head, bundle, log=messages.append)
    detections[0] = replace(detections[0], warnings=(*messages, *detections[0].warnings))
    return track_person(model, detections, options, config=config, on_frame=on_frame)


def track_person(
    model: TrackerModel,
    videos: Sequence[VideoDetections],
    options: TrackOptions | None = None,
    *,
    config: TrackerConfig | None = None,
    on_frame: Callable[[], None] | None = None,
) -> list[TrackResult]:
    """Track one person through videos whose landmarks were detected.

    Args:
        model: the head.
        videos: what was detected.
        options: of person and camera.
        config: settings of the method.
        on_frame: called for each frame that is solved.

    Raises:
        InputError: a video shows no face, or too little of it.
    """
    setup = Setup(model, options or TrackOptions(), config or TrackerConfig())
    # Matrices of single frames are too small for the threads of BLAS, which would wait for each other.
    with one_blas_thread():
        verifier = NeutralVerifier(setup)
        person = [verifier.verify(PersonVideo.of(number, video)) for number, video in enumerate(videos)]
        tracking = _PersonTracking(setup, person)
        trajectories = [tracking.solve(video, on_frame=on_frame) for video in person]
        # Other persons and covered faces are recognized by what landmarks alone say.
        usable = [tracking.usable_frames(*pair) for pair in zip(person, trajectories, strict=True)]
        rounds = setup.config.points.rounds
        for number in range(rounds):
            pairs = list(zip(person, trajectories, strict=True))
            tracks = [tracking.track_points(*pair, fine=number + 1 == rounds) for pair in pairs]
            if all(term is None for term in tracks):
                break
            trajectories = [tracking.solve(*pair, term) for pair, term in zip(pairs, tracks, strict=True)]
            if number < setup.config.identity.refinement_rounds:
                tracking.identity.refine(tracks, trajectories)
        return [tracking.result(*parts) for parts in zip(person, trajectories, usable, strict=True)]


class _PersonTracking:
    """The steps of the outer loop, for one person."""

    def __init__(self, setup: Setup, videos: Sequence[PersonVideo]) -> None:
        self._setup, self._layout, self._head = setup, setup.layout, setup.model.head
        self._index = setup.model.embedding.landmark_index
        self.identity = IdentityEstimator(setup, videos)

    def solve(
        self,
        video: PersonVideo,
        before: Trajectory | None = None,
        tracks: PointTrackTerm | None = None,
        *,
        on_frame: Callable[[], None] | None = None,
    ) -> Trajectory:
        """The states of a video; without a solution before, from neutral faces."""
        person = self.identity.person_model(video.number)
        landmarks, head_rotations = video.detections.at(video.frames, self._index)
        start: Float64 | Trajectory
        if before is None:
            start = initial_states(person.points, self._layout, person.camera, landmarks, head_rotations)
        else:
            start = before
        return solve_trajectory(
            person, landmarks, start, time=video.time, shot=video.shot, tracks=tracks, on_frame=on_frame
        )

    def track_points(self, video: PersonVideo, trajectory: Trajectory, *, fine: bool) -> PointTrackTerm | None:
        """The point tracks of a video, `fine` if closely; None where there are no images or none is large enough."""
        i = self._reference_frame(video, trajectory)
        crop = video.crop(i)
        if crop is None or min(crop.gray.shape) < self._setup.config.points.min_crop_px:
            return None
        state = trajectory.states[i] if video.neutral is None else self.identity.neutral_state(video)
        landmarks = video.detections.at(video.frames[i : i + 1], slice(None))[0][0]
        identity, person = self.identity.identity.coefficients, self.identity.person_model(video.number)
        view = ReferenceView(self._head, identity, person, ReferenceFrame(crop, landmarks, state))
        return PointTrackTerm(view, view.track(trajectory.states, video.crop, fine=fine)) if len(view) else None

    def _reference_frame(self, video: PersonVideo, trajectory: Trajectory) -> int:
        """The frame most like all neutral frames; where there are none, the frame whose state is nearest to neutral."""
        if video.neutral is not None:
            landmarks = video.detections.at(video.neutral, self._index)[0]
            distance = np.abs(landmarks - np.median(landmarks, axis=0)).mean(axis=(1, 2))
            return int(np.searchsorted(video.frames, video.neutral[int(distance.argmin())]))
        states, layout = trajectory.states, self._layout
        distance = ((layout.face(states) / layout.face_std) ** 2).sum(axis=1) / layout.n_face
        distance = distance + (layout.rotation(states) ** 2).sum(axis=1)
        return int(np.where(video.shot == video.main_shot, distance, np.inf).argmin())

    def usable_frames(self, video: PersonVideo, trajectory: Trajectory) -> tuple[NDArray[np.bool_], list[str]]:
        """(N,) which frames show enough of the person, and warnings.

        Another person's face can be explained with this person's identity, but only by an expression that never goes
        away. So a shot is another person's if even the best tenth of its frames costs much more than that of the main
        shot.
        """
        config, messages = self._setup.config.frames, list(video.detections.warnings)
        if video.neutral is None:
            messages.append(_NEUTRAL_REJECTED if video.neutral_rejected else _NO_NEUTRAL)
        face = self._layout.face(trajectory.states) / self._layout.face_std
        cost = trajectory.residual**2 + (face**2).sum(axis=1) / (3 * N_LANDMARKS)
        best = {shot: float(np.percentile(cost[video.shot == shot], 10)) for shot in np.unique(video.shot)}
        margin, factor = config.other_person_cost
        limit = max(best[video.main_shot] + margin, best[video.main_shot] * factor)
        usable = np.ones(len(cost), dtype=np.bool_)
        for shot in (shot for shot, least in best.items() if least > limit):
            time = video.time[video.shot == shot]
            usable[video.shot == shot] = False
            messages.append(
                f"from {time[0]:.2f} to {time[-1]:.2f} s the video shows another person: marked as without a face; cut "
                "it out and track it on its own"
            )
        covered = usable & (trajectory.inlier_ratio < config.min_inlier_ratio)
        usable &= ~covered
        if covered.any():
            messages.append(
                f"{int(covered.sum())} frames show too little of the face: it is covered or outside the image; marked "
                "as without a face"
            )
        if not usable.any():
            frames = len(video.detections.observation)
            raise InputError(f"expected frames that show a whole face; all {frames} have too little of it in the image")
        return usable, messages

    def result(
        self, video: PersonVideo, trajectory: Trajectory, usable: tuple[NDArray[np.bool_], list[str]]
    ) -> TrackResult:
        """The result of a video, in all of its frames."""
        observation, identity = video.detections.observation, self.identity.identity
        n = len(observation)

        def in_all_frames(values: Float64, absent: float) -> NDArray[np.float32]:
            placed = np.full(n, absent, dtype=np.float32)
            placed[video.frames] = values
            return placed

        states = np.full((n, self._layout.width), np.nan)
        states[video.frames[usable[0]]] = trajectory.states[usable[0]]
        params = self._layout.params(
            states,
            self._head.n_expression,
            head_pose=self._setup.options.head_pose,
            time=observation.time,
            shape=np.pad(identity.coefficients, (0, self._head.n_shape - len(identity.coefficients))),
        )
        neutral = np.isin(np.arange(n), [] if video.neutral is None else video.neutral)
        return TrackResult(
            params=params,
            observation=observation,
            neutral=neutral & params.found,
            residual=in_all_frames(trajectory.residual, np.nan),
            pixels=in_all_frames(trajectory.pixels, np.nan),
            inlier_ratio=in_all_frames(trajectory.inlier_ratio, 0.0),
            camera=identity.cameras[video.number],
            warnings=tuple(usable[1]),
        )
