"""Where in a video of a person the face is at rest."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from mp2flame.blendshapes import MEDIAPIPE
from mp2flame.errors import InputError
from mp2flame.mapping.rest import is_calm
from mp2flame.signals import Observation

__all__ = ["REST_SECONDS", "rest_rows"]

REST_SECONDS: Final = 1.0
"""How long a rest has to last."""

_STEP = 0.1
_COVERED = 0.8
_MOVED = np.array([name.startswith(("jaw", "mouth", "eyeBlink")) for name in MEDIAPIPE])
# A second this little more active than the calmest one of all is as good a rest: then the earlier one is taken.
_AS_CALM = 0.15


def rest_rows(seen: Observation) -> NDArray[np.intp]:
    """Which frames show the face at rest: the earliest still second about as inactive as any in the video.

    A held smile is still, too; so of all still seconds those count whose jaw, mouth and lids are raised least.

    Args:
        seen: frames with a face, in rising time.

    Raises:
        InputError: the face is never still for a second.
    """
    time = seen.time
    windows: list[tuple[float, NDArray[np.intp]]] = []
    for start in np.arange(time[0], time[-1], _STEP):
        rows = np.flatnonzero((time >= start) & (time < start + REST_SECONDS))
        if len(rows) and time[rows[-1]] - time[rows[0]] >= _COVERED * REST_SECONDS and is_calm(seen[rows]):
            activity = float(np.median(seen.scores[rows], axis=0)[_MOVED].sum())
            windows.append((activity, rows))
    if not windows:
        raise InputError(
            "the face is never still for a second with the mouth closed, so its rest cannot be told: begin the video "
            "with two seconds of looking straight into the camera, face relaxed, and do as you like after that"
        )
    calmest = min(activity for activity, _ in windows)
    return next(rows for activity, rows in windows if activity <= calmest + _AS_CALM)
