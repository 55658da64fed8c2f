"""Where in a video of a person the face is at rest."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from mp2flame.blendshapes import MEDIAPIPE
from mp2flame.errors import InputError
from mp2flame.mapping.rest import calm_frames
from mp2flame.signals import Observation

__all__ = ["REST_SECONDS", "rest_rows"]

REST_SECONDS: Final = 1.0
"""How long a rest has to last."""

_STEP = 0.1
_COVERED = 0.8
# Gaze wanders at rest, too.
_TOLD = np.array([not name.startswith(("eyeLook", "_")) for name in MEDIAPIPE])
_TREMOR_WEIGHT = 2.0
# A second this little further off than the best of all is as good a rest: then the earliest is taken.
_AS_GOOD = 0.3


def rest_rows(seen: Observation) -> NDArray[np.intp]:
    """Which frames show the face at rest: the earliest still second about as usual for this face as any.

    A held smile is still, too, and how strong the scores are does not tell: at rest they differ from person to person,
    and some expressions read less than a rest does. But a face comes back to its rest between whatever it does, and at
    rest it is stiller than otherwise. So seconds are compared by how far their scores are from the video's median and
    by how much they tremble; and rest is asked for at the beginning.

    Args:
        seen: frames with a face, in rising time.

    Raises:
        InputError: the face is never still for a second.
    """
    time = seen.time
    usual = np.median(seen.scores, axis=0)
    windows: list[tuple[float, NDArray[np.intp]]] = []
    for start in np.arange(time[0], time[-1], _STEP):
        rows = np.flatnonzero((time >= start) & (time < start + REST_SECONDS))
        if not len(rows) or time[rows[-1]] - time[rows[0]] < _COVERED * REST_SECONDS:
            continue
        calm = calm_frames(seen[rows])
        if calm is not None:
            rows = rows[calm]
            low, middle, high = np.percentile(seen.scores[rows][:, _TOLD], [25, 50, 75], axis=0)
            off = np.abs(middle - usual[_TOLD]).sum() + _TREMOR_WEIGHT * (high - low).max()
            windows.append((float(off), rows))
    if not windows:
        raise InputError(
            "the face is never still for a second with the mouth closed, so its rest cannot be told: begin the video "
            "with two seconds of looking straight into the camera, face relaxed, and do as you like after that"
        )
    best = min(off for off, _ in windows)
    return next(rows for off, rows in windows if off <= best + _AS_GOOD)
