"""A person: frames of the neutral face, in a file that personalizes any mapping."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from mp2flame.blendshapes import MEDIAPIPE
from mp2flame.data import Observation
from mp2flame.errors import FormatError, InputError, plain
from mp2flame.files import Arrays, encode_safetensors, read_safetensors, write_atomic
from mp2flame.mapping.neutral import require_face
from mp2flame.validation import check_header

FORMAT: Final = "mp2flame-person"
FORMAT_VERSION: Final = 1
SUFFIX: Final = ".safetensors"

_MAX_BYTES: Final = 64 << 20
NAMES: Final = json.dumps(MEDIAPIPE)
"""The order of the scores, as files state it."""
_OBSERVED = ("scores", "landmarks", "head_transform")
_UNUSED = {"balance", "reach"}  # Gains that older versions wrote.
_METADATA = {"format", "format_version", "names", "seconds", "image_size"}


@dataclass(frozen=True, kw_only=True, eq=False)
class Person:
    """What is known about one person.

    Raises:
        InputError: no frame of `neutral` has a face.
    """

    neutral: Observation
    """Frames of the neutral face."""

    def __post_init__(self) -> None:
        vars(self)["neutral"] = self.neutral[np.flatnonzero(require_face(self.neutral))].without_picture()

    def save(self, path: str | Path) -> None:
        """Write a person file; the file appears only when it is complete.

        Raises:
            InputError: the path does not end in `.safetensors`.
            MissingFileError: its folder does not exist.
            SinkError: it cannot be written.
        """
        target = Path(path)
        if target.suffix != SUFFIX:
            raise InputError(f"expected a person file's path ending in {SUFFIX}; got {target}")
        arrays = {name: getattr(self.neutral, name) for name in ("time", *_OBSERVED)}
        size = self.neutral.image_size
        metadata = {
            "format": FORMAT,
            "format_version": str(FORMAT_VERSION),
            "names": NAMES,
            "seconds": repr(float(np.ptp(self.neutral.time))),
            "image_size": "" if size is None else json.dumps(size.tolist()),
        }
        present = {name: array for name, array in arrays.items() if array is not None}
        write_atomic(target, encode_safetensors(present, metadata))


def neutral_of(person: Person | Observation) -> Observation:
    """The neutral frames, at least one of which has a face.

    Raises:
        InputError: no frame has a face.
    """
    neutral = person.neutral if isinstance(person, Person) else person
    require_face(neutral)
    return neutral


def is_person_file(path: str | Path) -> bool:
    """Whether a file of this name would be a person file; `load_person` checks the content."""
    return Path(path).suffix == SUFFIX


def load_person(path: str | Path) -> Person:
    """The person in a person file.

    Raises:
        MissingFileError: there is no such file.
        FormatError: the file is truncated, foreign, newer than this version, or inconsistent.
    """
    source = Path(path)
    arrays, metadata = read_safetensors(source, "person file", limit=_MAX_BYTES, advice="make one with mp2flame enroll")
    check_header(metadata, expected=FORMAT, newest=FORMAT_VERSION, source=source)
    try:
        return _person(arrays, metadata)
    except (FormatError, InputError) as error:
        raise FormatError(f"{source}: {error}") from error


def _person(arrays: Arrays, metadata: Mapping[str, str]) -> Person:
    known, needed = {"time", *_OBSERVED} | _UNUSED, {"time", "scores"}
    if not needed <= set(arrays) <= known or set(metadata) != _METADATA:
        raise FormatError("its arrays or metadata keys are not those of a person file")
    if metadata["names"] != NAMES:
        raise FormatError("expected the blendshapes in MediaPipe's order, _neutral first; `names` has another")
    frames: dict[str, Any] = {name: arrays[name] for name in _OBSERVED if name in arrays}
    found = np.ones(np.shape(arrays["time"]), dtype=np.bool_)
    try:
        size = json.loads(metadata["image_size"] or "null")
    except (ValueError, RecursionError) as error:
        raise FormatError(f"expected image_size as a JSON list; got {plain(metadata['image_size'], 60)}") from error
    return Person(neutral=Observation(time=arrays["time"], found=found, image_size=size, **frames))
