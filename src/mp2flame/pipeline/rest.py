"""A person's neutral, taken from the first second of a source where that second is calm."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import TypeVar

from mp2flame.data import Observation, concatenate
from mp2flame.mapping.neutral import NEUTRAL_SECONDS, find_neutral_frames

__all__ = ["split_rest"]

_Item = TypeVar("_Item")


def split_rest(
    items: Iterable[tuple[float, Observation]], *, seconds: float = NEUTRAL_SECONDS
) -> tuple[Observation | None, Iterator[tuple[float, Observation]]]:
    """The first calm second of a stream, and the whole stream again with that second in front.

    Args:
        items: (arrival, observation), single frames in rising time.
        seconds: how long to look, counted from the first frame with a face.

    Returns:
        The frames of that second in which the face is calm, or None where it is not; and every item, none lost.
    """
    stream = iter(items)
    held: list[tuple[float, Observation]] = []
    begin: float | None = None
    for arrival, observation in stream:
        held.append((arrival, observation))
        now = float(observation.time[0])
        if begin is None and observation.found[0]:
            begin = now
        if begin is not None and now - begin >= seconds:
            break
        # A source that shows no face for long must not be held back until its end.
        if begin is None and now - float(held[0][1].time[0]) >= 10 * seconds:
            break
    seen = [observation for _, observation in held if observation.found[0]]
    calm = find_neutral_frames(concatenate(seen)) if seen else None
    return (None if calm is None else concatenate(seen[number] for number in calm)), chain(held, stream)
