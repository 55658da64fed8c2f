"""A person's neutral, taken from the first second of a source where that second is calm."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import TypeVar

from mp2flame.mapping.rest import calm_frames
from mp2flame.signals import Observation, concatenate

__all__ = ["REST_SECONDS", "split_rest"]

REST_SECONDS = 1.0
"""How much of the start of a source is looked at."""

_Item = TypeVar("_Item")


def split_rest(
    items: Iterable[tuple[float, Observation]], *, seconds: float = REST_SECONDS
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
    second = concatenate(seen) if seen else None
    calm = None if second is None else calm_frames(second)
    return (None if second is None or calm is None else second[calm]), chain(held, stream)
