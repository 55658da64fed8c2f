"""A person's neutral face: its scores, whether frames show it, and where in a video it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mp2flame import rotations
from mp2flame.blendshapes import MEDIAPIPE
from mp2flame.data import Observation
from mp2flame.errors import InputError

NEUTRAL_SECONDS = 1.0
"""How long a neutral face has to last, and how much of the start of a source is searched for it."""

_FEWEST_FRAMES = 5
_LARGEST_SPREAD = 0.12
"""Interquartile range of any score above which a face is not neutral (MediaPipe's own noise stays below 0.05)."""
_STEADY = float(np.radians(3.0))
"""Largest angle between the head and its usual rotation: scores follow the head's turns, up to 0.2 in 10 degrees."""
_MOST = 0.5
"""Fraction of the frames with a face in which the head has to be steady."""
_ACTIVE = tuple(MEDIAPIPE.index(name) - 1 for name in ("jawOpen", "mouthFunnel", "mouthLeft", "mouthRight"))
_MOST_ACTIVE = 0.25
"""No neutral mouth has a higher median in these scores. Some people's mouthPucker is read as 0.5 whatever they do."""

_STEP = 0.1
_COVERED = 0.8
"""Fraction of a second that its frames have to span, and of its frames in which the head has to be steady."""
# Gaze wanders in a neutral face, too.
_COMPARED = np.array([not name.startswith(("eyeLook", "_")) for name in MEDIAPIPE])
_TREMOR_WEIGHT = 2.0
_AS_GOOD = 0.3
"""A candidate whose deviation is this little above the smallest is as good: the earliest of these is taken."""


def require_face(observation: Observation) -> NDArray[np.bool_]:
    """(N,) which frames have a face.

    Raises:
        InputError: no frame has a face.
    """
    if not observation.found.any():
        raise InputError(
            f"expected frames of a neutral face; no face was found in any of the {len(observation)} frames: "
            "look straight into the camera with a relaxed face, or leave the neutral out"
        )
    return observation.found


def median_scores(observation: Observation) -> NDArray[np.float32]:
    """(52,) each score's median over the frames with a face.

    A blink or a swallow does not change the median as long as it takes less than half of the frames.

    Raises:
        InputError: no frame has a face.
    """
    scores: NDArray[np.float32] = np.median(observation.scores[require_face(observation)], axis=0)
    return scores.astype(np.float32)


def find_neutral_frames(observation: Observation) -> NDArray[np.intp] | None:
    """Which frames show a still face with the mouth closed and the head turned as in most frames.

    Args:
        observation: N frames of about a second; without head transforms, the head counts as steady in all of them.

    Returns:
        The numbers of these frames; None where the face moves, the mouth is open, or the head is seldom steady.
    """
    rows = np.flatnonzero(observation.found)
    if not len(rows):
        return None
    least = max(_FEWEST_FRAMES, _MOST * len(rows))
    if observation.head_transform is not None:
        rows = rows[_steady(observation.head_transform[rows, :3, :3])]
    if len(rows) < least:
        return None
    low, middle, high = np.percentile(observation.scores[rows][:, 1:], [25, 50, 75], axis=0)
    active = middle[np.array(_ACTIVE)].max() > _MOST_ACTIVE
    return None if active or (high - low).max() > _LARGEST_SPREAD else rows


def _steady(linear: NDArray[np.floating]) -> NDArray[np.bool_]:
    """(N,) which of a head's rotations times scale (N, 3, 3) are near the usual one."""
    nearest = rotations.nearest_rotation(linear)
    usual = rotations.nearest_rotation(np.median(nearest, axis=0))
    trace = (nearest * usual).sum(axis=(1, 2))
    steady: NDArray[np.bool_] = np.arccos(np.clip((trace - 1) / 2, -1.0, 1.0)) <= _STEADY
    return steady


@dataclass(frozen=True, eq=False)
class NeutralCandidate:
    """A second in which the face may be neutral."""

    rows: NDArray[np.intp]
    """Numbers of its frames with a steady head."""
    deviation: float
    """Distance of its scores from the video's median, plus their weighted tremor."""


def neutral_candidates(observation: Observation) -> list[NeutralCandidate]:
    """The seconds of a video in which the face may be neutral, in order; they overlap.

    A held smile is still, too, and the size of the scores does not decide: neutral scores differ from person to
    person, and some expressions have smaller ones. But a face returns to neutral between expressions, and is stiller
    then than otherwise. So seconds are compared by the distance of their scores from the video's median and by their
    tremor.

    Args:
        observation: frames with a face, in rising time.
    """
    time = observation.time
    usual = np.median(observation.scores[:, _COMPARED], axis=0)
    candidates = []
    for start in np.arange(time[0], time[-1], _STEP):
        rows = np.flatnonzero((time >= start) & (time < start + NEUTRAL_SECONDS))
        if not len(rows) or time[rows[-1]] - time[rows[0]] < _COVERED * NEUTRAL_SECONDS:
            continue
        still = find_neutral_frames(observation[rows])
        # People are asked for a neutral start; later, a face is often still for half a second while it does something.
        if still is not None and (start == time[0] or len(still) >= _COVERED * len(rows)):
            scores = observation.scores[rows[still]][:, _COMPARED]
            low, middle, high = np.percentile(scores, [25, 50, 75], axis=0)
            deviation = np.abs(middle - usual).sum() + _TREMOR_WEIGHT * (high - low).max()
            candidates.append(NeutralCandidate(rows[still], float(deviation)))
    return candidates


def select_neutral(candidates: list[NeutralCandidate]) -> NeutralCandidate:
    """The earliest of at least one candidate whose deviation is about the smallest."""
    smallest = min(candidate.deviation for candidate in candidates)
    return next(candidate for candidate in candidates if candidate.deviation <= smallest + _AS_GOOD)


_START_SECONDS = 0.35
"""Length of a video's start that is taken for neutral if nothing speaks against it: people begin at rest."""
_FEWEST_START_FRAMES = 3
_CLEARLY_ACTIVE = ("jawOpen", "mouthSmile", "mouthFunnel", "mouthUpperUp", "mouthLowerDown", "mouthStretch", "eyeWide")
_CLEARLY_ACTIVE_SCORE = 0.25
"""Median score of one of these above which a face is certainly not neutral, in all people measured."""
_CLOSED_EYES_SCORE = 0.45
_UNRELIABLE = ("_neutral", "cheek", "eyeLook", "eyeSquint", "jawForward", "jawLeft", "jawRight", "mouthClose", "nose")
"""Scores that say more about the person or the gaze than about an expression."""
_QUIETEST = 0.15
"""Fraction of the frames that count as the least active ones."""
_TURNED = float(np.radians(10))
"""Turns beyond a video's most frontal ones by more than this count as activity, in proportion."""
_TURN_WEIGHT = 3.0
"""Activity for each radian."""
_QUIET_ACTIVITY = 2.0
"""Sum of the reliable scores up to which the least active frames pass for a neutral face."""
_VARIED_FRAMES = 30
_VARIED_ACTIVITY = 0.75
"""Activity of the least active frames, relative to the median, up to which a lively face comes nearer to neutral in
them. An expression that is held throughout is not taken for neutral: it would be lost."""


@dataclass(frozen=True, eq=False)
class NeutralEstimate:
    """The frames of a video that come nearest to the person's neutral face."""

    rows: NDArray[np.intp]
    """Numbers of the frames."""
    at_start: bool
    """They are the start of the video; otherwise they are its least active frames."""
    certain: bool
    """The frames look neutral; otherwise they are only less active than the others."""


def estimate_neutral(observation: Observation) -> NeutralEstimate | None:
    """Estimate from a whole video when the person's face is neutral.

    Neutral scores differ from person to person, but no neutral face smiles, speaks or has its eyes closed. If the
    first second does none of that and is still, or the first third of a second does none of that with the head turned
    as in the video's most frontal frames, these frames are taken. Otherwise the least active frames are: those with the
    smallest sum of the scores that tell expressions.

    Args:
        observation: all frames of a video, or an even selection of them.

    Returns:
        The frames; None where no frame has a face, or where an expression is held throughout.
    """
    rows = np.flatnonzero(observation.found)
    if not len(rows):
        return None
    scores = observation.scores[rows]
    turned = np.zeros(len(rows))
    if observation.head_transform is not None:
        rotation = rotations.nearest_rotation(observation.head_transform[rows, :3, :3].astype(np.float64))
        turned = np.arccos(np.clip(rotation[:, 2, 2], -1, 1))
        turned = np.maximum(turned - np.percentile(turned, 20) - _TURNED, 0)
    time = observation.time[rows]
    first = rows[time < time[0] + NEUTRAL_SECONDS]
    still = find_neutral_frames(observation[first])
    if still is not None and _passes_for_neutral(observation.scores[first[still]]):
        return NeutralEstimate(first[still], at_start=True, certain=True)
    start = np.flatnonzero(time < time[0] + _START_SECONDS)
    if len(start) >= _FEWEST_START_FRAMES and not turned[start].mean() > _TURNED and _passes_for_neutral(scores[start]):
        return NeutralEstimate(rows[start], at_start=True, certain=True)
    reliable = [not name.startswith(_UNRELIABLE) for name in MEDIAPIPE]
    activity = scores[:, reliable].sum(axis=1) + _TURN_WEIGHT * turned
    quietest = np.argsort(activity, kind="stable")[: max(_FEWEST_FRAMES, round(_QUIETEST * len(rows)))]
    quiet = float(np.median(activity[quietest]))
    certain = _passes_for_neutral(scores[quietest]) and quiet < _QUIET_ACTIVITY
    if not certain and (len(rows) < _VARIED_FRAMES or quiet > _VARIED_ACTIVITY * float(np.median(activity))):
        return None
    return NeutralEstimate(rows[np.sort(quietest)], at_start=False, certain=certain)


def _passes_for_neutral(scores: NDArray[np.float32]) -> bool:
    """Whether the median of scores (N, 52) shows no clear expression and open eyes."""
    median = dict(zip(MEDIAPIPE, np.median(scores, axis=0).tolist(), strict=True))
    active = max(value for name, value in median.items() if name.startswith(_CLEARLY_ACTIVE))
    closed = max(median["eyeBlinkLeft"], median["eyeBlinkRight"])
    return bool(active < _CLEARLY_ACTIVE_SCORE and closed < _CLOSED_EYES_SCORE)
