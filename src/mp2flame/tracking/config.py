"""The options of a user, and every number of the method.

Standard deviations of landmarks and tracks are those of their error models; pixels are those of a face crop unless a
frame is named; gray values are 0 to 255.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np

from mp2flame.errors import InputError

HeadPose = Literal["global_orient", "neck_pose", "none"]

_EYE_DISTANCE_MM: Final = (40.0, 85.0)
"""Children of a few years to adults with wide faces."""


@dataclass(frozen=True)
class TrackOptions:
    """What a user says of the person and the camera.

    Raises:
        InputError: the focal length is not above 0, or the distance is no person's.
    """

    head_pose: HeadPose = "global_orient"
    """The parameter that takes the head's rotation; `none` leaves the head unrotated at its own place."""
    focal: float | None = None
    """Focal length, pixels; None estimates it for each video."""
    ipd: float | None = None
    """Meters between the person's pupils, looking far; None leaves the head's size to the prior, since no image tells
    a small head from one that is farther away."""
    mirror: bool = False
    """The images are mirrored."""

    def __post_init__(self) -> None:
        if self.focal is not None and not (np.isfinite(self.focal) and self.focal > 0):
            raise InputError(f"expected a focal length above 0 pixels; got {self.focal}")
        low, high = _EYE_DISTANCE_MM
        if self.ipd is not None and not low <= 1000 * self.ipd <= high:
            raise InputError(f"expected {low:g} to {high:g} mm between a person's pupils; got {1000 * self.ipd:g} mm")


@dataclass(frozen=True)
class SolverConfig:
    """Gauss-Newton over a video."""

    first_steps: int = 3
    """From the neutral face."""
    later_steps: int = 1
    """From a solution: point tracks are found again before the next step."""
    window_frames: int = 450
    """Solved together."""
    overlap_frames: int = 30
    """Of each neighboring window, solved along and dropped."""


@dataclass(frozen=True)
class LandmarkConfig:
    """The landmark term."""

    outlier_std: float = 4.5
    """Residuals above this are outliers."""
    outlier_weight: float = 0.02
    reweight_after_steps: int = 2
    """Far from the solution all residuals are large."""


@dataclass(frozen=True)
class PriorConfig:
    """Standard deviations of the priors; walks are changes within a thirtieth of a second."""

    face_freedom: float = 3.0
    """Degrees of freedom of the faces' Student t."""
    pose_damping: float = 1e-6
    """Added to the Hessian of the head pose, which has no prior."""
    eye_difference_std_rad: float = 0.04
    """Eyes converge a little, and squint seldom."""
    expression_walk: float = 0.1
    jaw_walk_rad: float = 0.02
    eye_walk_rad: float = 0.035
    head_walk_rad: float = 0.05
    head_walk_m: float = 0.01
    min_interval_s: float = 0.1 / 30
    """Frames that are nearer in time are tied as if they were this far apart."""


@dataclass(frozen=True)
class FlowConfig:
    """Optical flow between a frame and the reference view."""

    ncc_range: tuple[float, float] = (0.3, 0.7)
    """Correlations at which a point begins to count, and counts in full."""
    patch_px: int = 11
    """Side of the patches that are correlated."""
    gray_noise_variance: float = 2.0
    """Patches with less texture correlate with nothing."""
    high_pass_px: float = 2.0
    """Standard deviation of the Gaussian that is subtracted: coarser structure is shading."""
    contrast: float = 8.0
    """Gain of the texture for the search."""
    gray_change_std: float = 3.0
    """Of the texture between frames, by light."""
    flow_std_px: float = 0.15
    """Of the flow's error along each axis where there is much texture."""
    smoothness: float = 10.0
    """DIS variational smoothness (alpha). At 20 the flow under-estimates misalignment caused by a wrong pose."""
    iterations: int = 12
    """Gradient descent iterations of DIS: half the default, since the flow that is left is small."""


@dataclass(frozen=True)
class PointTrackConfig:
    """Which points are tracked, and the point-track term."""

    rounds: int = 4
    """Of finding point tracks and solving again; the last one searches closely."""
    min_crop_px: int = 48
    """Smallest side of a crop whose texture is tracked."""
    spacing_px: float = 4.5
    """Between the nodes of the grid."""
    thinning: int = 3
    """One of so many nodes on the skin is a point: neighbors say much the same. On the eyes every node is one."""
    margin: float = 0.1
    """Of the grid around the face, as a fraction of the face's size."""
    facing_range: tuple[float, float] = (0.35, 0.65)
    """Cosines between normal and line of sight at which a point begins to count, and counts in full."""
    lips_blur_px: float = 0.5
    eyes_blur_px: float = 0.4
    """Standard deviation of the flow's error at the rims of lips and lids: flow is smooth, and their motion is not."""
    cauchy_std: float = 2.0
    """Residual that has half of its weight."""
    identity_information: float = 0.05
    """Factor on the information for identity: errors of neighboring points are correlated, since light that moves
    over a turning head moves many of them together."""


@dataclass(frozen=True)
class IdentityConfig:
    """Identity and cameras."""

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
    """Of a distance between the pupils that is given: opticians round it to half a millimeter."""
    landmark_information: float = 0.3
    """Factor on the information of landmarks: images differ from the renders that the error model was learned from,
    in light and skin, and the difference is the same for a whole video."""
    alternations: int = 2
    """Of faces and identity, where there are no neutral frames."""
    refinement_rounds: int = 2
    """Rounds of point tracks that refine the identity: later ones repeat the same evidence."""
    refinement_frames: int = 16
    """Of a video, those with the head rotated most differently."""


@dataclass(frozen=True)
class FrameConfig:
    """Which frames show the neutral face, the person, and enough of the face."""

    neutral_cost: float = 24.0
    """Renders of a neutral head cost 12 to 21, of other faces 28 to 102: below this nothing is compared."""
    better_cost_ratio: float = 0.95
    """Neutral frames are rejected if another moment costs less than this fraction of them."""
    max_candidates: int = 24
    """Moments that are compared."""
    candidate_distance_s: float = 0.2
    candidate_steps: int = 6
    """Gauss-Newton steps for the cost of a candidate."""
    n_keyframes: int = 8
    """Candidates from which the identity is estimated where there are no neutral frames."""
    min_inlier_ratio: float = 0.35
    """Of the landmarks, below which a frame shows too little of the face."""
    other_person_cost: tuple[float, float] = (0.06, 1.25)
    """By how much, and by what factor, the cost of another person's shot exceeds the cost of the person's own."""


@dataclass(frozen=True)
class TrackerConfig:
    """The settings of the method."""

    solver: SolverConfig = field(default_factory=SolverConfig)
    landmarks: LandmarkConfig = field(default_factory=LandmarkConfig)
    priors: PriorConfig = field(default_factory=PriorConfig)
    flow: FlowConfig = field(default_factory=FlowConfig)
    points: PointTrackConfig = field(default_factory=PointTrackConfig)
    identity: IdentityConfig = field(default_factory=IdentityConfig)
    frames: FrameConfig = field(default_factory=FrameConfig)
    chunk_frames: int = 8
    """Frames whose Jacobians or crops one thread has in memory at once."""
