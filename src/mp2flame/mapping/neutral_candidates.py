"""Where in a video of a person the face is at rest.

A held smile is still, too, and how strong the scores are does not tell: at rest they differ from person to person, and
some expressions read less than a rest does. But a face comes back to its rest between whatever it does, and at rest it
is stiller than otherwise. So seconds are compared by how far their scores are from the video's median and by how much
they tremble.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mp2flame.blendshapes import MEDIAPIPE
from mp2flame.data import Observation
from mp2flame.errors import InputError
from mp2flame.mapping.rest import REST_SECONDS, calm_frames

__all__ = ["Calm", "calm_seconds", "earliest_good", "rest_rows"]

_STEP = 0.1
_COVERED = 0.8
"""Share of a second that frames have to span, and in which the head has to be steady."""
# Gaze wanders at rest, too.
_TOLD = np.array([not name.startswith(("eyeLook", "_")) for name in MEDIAPIPE])
_TREMOR_WEIGHT = 2.0
# A second this little further off than the best of all is as good a rest: then the earliest is taken.
_AS_GOOD = 0.3


@dataclass(frozen=True, eq=False)
class Calm:
    """A second in which the face may be at rest."""

    rows: NDArray[np.intp]
    """Its frames with the head steady."""
    off: float
    """How unusual and restless they are."""


def calm_seconds(seen: Observation) -> list[Calm]:
    """The seconds in which the face is calm, in order; they overlap.

    Args:
        seen: frames with a face, in rising time.
    """
    time = seen.time
    usual = np.median(seen.scores[:, _TOLD], axis=0)
    found = []
    for start in np.arange(time[0], time[-1], _STEP):
        rows = np.flatnonzero((time >= start) & (time < start + REST_SECONDS))
        if not len(rows) or time[rows[-1]] - time[rows[0]] < _COVERED * REST_SECONDS:
            continue
        calm = calm_frames(seen[rows])
        # Rest is asked for at the beginning; later, a face is often still for half a second while it does something.
        if calm is not None and (start == time[0] or len(calm) >= _COVERED * len(rows)):
            low, middle, high = np.percentile(seen.scores[rows[calm]][:, _TOLD], [25, 50, 75], axis=0)
            off = np.abs(middle - usual).sum() + _TREMOR_WEIGHT * (high - low).max()
            found.append(Calm(rows[calm], float(off)))
    return found


def earliest_good(seconds: list[Calm]) -> Calm:
    """The earliest of at least one second about as usual for the face as any."""
    best = min(second.off for second in seconds)
    return next(second for second in seconds if second.off <= best + _AS_GOOD)


def rest_rows(seen: Observation) -> NDArray[np.intp]:
    """Which frames show the face at rest.

    Args:
        seen: frames with a face, in rising time.

    Raises:
        InputError: the face is never still for a second.
    """
    seconds = calm_seconds(seen)
    if not seconds:
        raise InputError(
            "the face is never still for a second with the mouth closed, so its rest cannot be told: begin the video "
            "with two seconds of looking straight into the camera, face relaxed, and do as you like after that"
        )
    return earliest_good(seconds).rows
