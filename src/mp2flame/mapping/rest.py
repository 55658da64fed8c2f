"""A person's neutral face, from frames in which the face is at rest."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mp2flame.blendshapes import MEDIAPIPE
from mp2flame.errors import InputError
from mp2flame.signals import Observation

__all__ = ["is_calm", "robust_rest", "seen_frames"]

_FEWEST_FRAMES = 5
_LARGEST_SPREAD = 0.12
"""Interquartile range of any score above which a second is not at rest (MediaPipe's own noise stays below 0.05)."""
_OPEN_MOUTH = 0.25
_ACTIVE = tuple(MEDIAPIPE.index(name) for name in ("jawOpen", "mouthPucker", "mouthFunnel", "mouthLeft", "mouthRight"))


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


def is_calm(rest: Observation) -> bool:
    """Whether these frames can stand for a face at rest: enough of them, steady, with the mouth closed."""
    scores = rest.scores[rest.found]
    if len(scores) < _FEWEST_FRAMES:
        return False
    low, middle, high = np.percentile(scores[:, 1:], [25, 50, 75], axis=0)
    active = middle[np.array(_ACTIVE) - 1]
    return bool((high - low).max() <= _LARGEST_SPREAD and active.max() <= _OPEN_MOUTH)
