"""A `Person` from what was seen in a video of one."""

from __future__ import annotations

from typing import Final

import numpy as np

from mp2flame.calibration.person_evidence import reach_of, side_balance
from mp2flame.data import Observation
from mp2flame.errors import InputError
from mp2flame.mapping.neutral_candidates import rest_rows
from mp2flame.mapping.person import Person
from mp2flame.mapping.rest import robust_rest

__all__ = ["FEWEST_SECONDS", "make_person", "seconds_seen"]

FEWEST_SECONDS: Final = 5.0
"""Less of a face than this tells nothing but its rest."""

_KEPT_FRAMES = 24


def seconds_seen(seen: Observation) -> float:
    """How long a face was seen in frames in rising time."""
    if len(seen) < 2:
        return 0.0
    # Gaps without a face do not count.
    steps = np.diff(seen.time)
    return float(np.minimum(steps, 2 * np.median(steps)).sum())


def make_person(observation: Observation, *, rest: Observation | None = None) -> Person:
    """What a video tells about the person in it.

    Args:
        observation: frames in rising time, best a minute of them: at rest first, then as the person likes.
        rest: frames of the face at rest; None finds them in the video.

    Raises:
        InputError: there is no face, less than `FEWEST_SECONDS` of one, or no rest; each with what to do.
    """
    found = np.flatnonzero(observation.found)
    if not len(found):
        raise InputError(
            f"no face was found in {len(observation)} frames: film your face from the front, in good light, so that it "
            "fills a third of the picture or more"
        )
    seen = observation[found]
    seconds = seconds_seen(seen)
    if seconds < FEWEST_SECONDS:
        raise InputError(
            f"expected about a minute of a face, at least {FEWEST_SECONDS:.0f} seconds; got {seconds:.1f} seconds in "
            f"{len(seen)} frames: film longer, or use what there is as a rest alone, with drive --rest FILE"
        )
    still = seen[rest_rows(seen)] if rest is None else rest
    chosen = np.unique(np.linspace(0, len(still) - 1, min(_KEPT_FRAMES, len(still))).round().astype(np.intp))
    still = still[chosen]
    relative = seen.scores - robust_rest(still)
    return Person(
        rest=still,
        balance=side_balance(relative, seen.time),
        reach=reach_of(relative),
        seconds=seconds,
    )
