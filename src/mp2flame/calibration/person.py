"""A `Person` from a video of one: the frames in which the face is neutral."""

from __future__ import annotations

from typing import Final

import numpy as np

from mp2flame.data import Observation
from mp2flame.errors import InputError
from mp2flame.mapping.neutral import neutral_candidates, select_neutral
from mp2flame.mapping.person import Person

_MOST_FRAMES: Final = 24


def make_person(observation: Observation) -> Person:
    """The person in a video.

    Args:
        observation: frames in rising time; the face is neutral for a second, best at the beginning.

    Raises:
        InputError: there is no face, or it is not neutral for a second.
    """
    found = np.flatnonzero(observation.found)
    if not len(found):
        raise InputError(
            f"no face was found in {len(observation)} frames: film your face from the front, in good light, so that it "
            "fills a third of the image or more"
        )
    frames = observation[found]
    candidates = neutral_candidates(frames)
    if not candidates:
        raise InputError(
            "no neutral face was found: the face is never still for a second with the mouth closed. Begin the video "
            "with two seconds of looking straight into the camera with a relaxed face"
        )
    rows = select_neutral(candidates).rows
    chosen = np.unique(np.linspace(0, len(rows) - 1, min(_MOST_FRAMES, len(rows))).round().astype(np.intp))
    return Person(neutral=frames[rows[chosen]])
