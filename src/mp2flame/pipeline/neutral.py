"""A person's neutral face, from a file or from the first second of a source."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Literal, TypeAlias

from mp2flame.data import Observation, concatenate
from mp2flame.errors import InputError, MissingFileError
from mp2flame.mapping import Person, load_person
from mp2flame.mapping.neutral import NEUTRAL_SECONDS, find_neutral_frames
from mp2flame.mapping.person import is_person_file
from mp2flame.sources import open_source

TimedObservation: TypeAlias = tuple[float, Observation]
"""When a frame left the source (`time.perf_counter` seconds), and the frame."""


def load_neutral(
    neutral: str | Path, *, landmarker: str | Path | None = None, mirror: bool = False
) -> Observation | Person | Literal["auto"] | None:
    """What `--neutral` names: "auto", None for "none", the frames of a file, or the person of a person file.

    Args:
        neutral: `"auto"`, `"none"`, or the path of an image, a video, a recording or a person file.
        landmarker: as of `open_source`.
        mirror: as of `open_source`.

    Raises:
        InputError: no face was found in the file.
        MissingFileError: there is no such file.
        FormatError: it is no person file, though it is named like one.
    """
    if neutral == "auto":
        return "auto"
    if neutral == "none":
        return None
    if not Path(neutral).exists():
        raise MissingFileError(
            f"no neutral file {neutral}: expected auto, none, or an image, video, recording or person file"
        )
    if is_person_file(neutral):
        return load_person(neutral)
    with open_source(neutral, landmarker=landmarker, mirror=mirror) as source:
        seen = [observation for observation in source if observation.found[0]]
    if not seen:
        raise InputError(
            f"no face was found in the neutral file {neutral}: choose one that shows the face from the front"
        )
    return concatenate(seen)


def take_neutral_prefix(
    items: Iterable[TimedObservation], *, seconds: float = NEUTRAL_SECONDS
) -> tuple[Observation | None, Iterator[TimedObservation]]:
    """The neutral first second of a stream, and the whole stream again with that second in front.

    Args:
        items: single frames in rising time.
        seconds: how much of the stream is examined, counted from the first frame with a face.

    Returns:
        The frames of that second in which the face is neutral, or None where it is not; and every item.
    """
    stream = iter(items)
    held: list[TimedObservation] = []
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
    rows = find_neutral_frames(concatenate(seen)) if seen else None
    neutral = None if rows is None else concatenate(seen[row] for row in rows)
    return neutral, chain(held, stream)
