"""A person's neutral face, from frames in which the face is at rest."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mp2flame import rotations
from mp2flame.blendshapes import MEDIAPIPE
from mp2flame.data import Observation
from mp2flame.errors import InputError

__all__ = ["REST_SECONDS", "calm_frames", "robust_rest", "seen_frames"]

REST_SECONDS = 1.0
"""How long a rest has to last, and how much of the start of a source is looked at."""

_FEWEST_FRAMES = 5
_LARGEST_SPREAD = 0.12
"""Interquartile range of any score above which a face is not at rest (MediaPipe's own noise stays below 0.05)."""
_STEADY = float(np.radians(3.0))
"""How far a head may be turned from where it is for most: scores follow the head's turns, up to 0.2 in 10 degrees."""
_MOST = 0.5
"""Share of the frames with a face in which the head has to be steady."""
_ACTIVE = tuple(MEDIAPIPE.index(name) - 1 for name in ("jawOpen", "mouthFunnel", "mouthLeft", "mouthRight"))
_MOST_ACTIVE = 0.25
"""No mouth at rest reads more in these. Some people's lips are read as pursed to 0.5 whatever they do."""


def seen_frames(observation: Observation) -> NDArray[np.bool_]:
    """(N,) which frames have a face.

    Raises:
        InputError: none has.
    """
    if not observation.found.any():
        raise InputError(
            f"expected rest frames with a face; got none among {len(observation)}: "
            "look straight into the camera with a relaxed face, or go on without a rest"
        )
    return observation.found


def robust_rest(observation: Observation) -> NDArray[np.float32]:
    """The scores (52,) of the face at rest: each score's median over the frames with a face.

    The median leaves out a blink or a swallow as long as it takes less than half of the frames.

    Raises:
        InputError: no frame has a face.
    """
    scores: NDArray[np.float32] = np.median(observation.scores[seen_frames(observation)], axis=0)
    return scores.astype(np.float32)


def calm_frames(observation: Observation) -> NDArray[np.intp] | None:
    """Which frames show a face at rest with the mouth closed, and the head turned as it is for most of the time.

    Args:
        observation: N frames in which a face may be at rest; without head transforms, all of them count as steady.

    Returns:
        Their numbers; None where the face moves, the mouth is open, or the head is seldom steady.
    """
    seen: NDArray[np.intp] = np.flatnonzero(observation.found)
    if not len(seen):
        return None
    rows = seen if observation.head_transform is None else seen[_steady(observation.head_transform[seen, :3, :3])]
    if len(rows) < max(_FEWEST_FRAMES, _MOST * len(seen)):
        return None
    scores = observation.scores[rows]
    low, middle, high = np.percentile(scores[:, 1:], [25, 50, 75], axis=0)
    active = middle[np.array(_ACTIVE)].max() > _MOST_ACTIVE
    return None if active or (high - low).max() > _LARGEST_SPREAD else rows


def _steady(turned: NDArray[np.floating]) -> NDArray[np.bool_]:
    """(N,) which of a head's rotations (N, 3, 3) are about as most are."""
    nearest = rotations.nearest_rotation(turned)
    usual = rotations.nearest_rotation(np.median(nearest, axis=0))
    trace = (nearest * usual).sum(axis=(1, 2))
    steady: NDArray[np.bool_] = np.arccos(np.clip((trace - 1) / 2, -1.0, 1.0)) <= _STEADY
    return steady
