"""A person: the face at rest, and how this face's scores differ from other people's. Data that refines any mapping.

MediaPipe's scores are not one scale for everybody: one lid's blink reads weaker than the other's, one person's smile
reads higher than anybody else's. What was seen of a person corrects the scores before they are mapped,

    scores' = rest + gain * (scores - rest)

so that the same file serves every kind of mapping. See docs/personal.md for how the gains were chosen and what they do.
"""

from __future__ import annotations

import json
from collections.abc import Mapping as Mapping_
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mp2flame.blendshapes import MEDIAPIPE, mirror_permutation
from mp2flame.data import N_SCORES, FlameParams, Observation
from mp2flame.errors import FormatError, InputError, MissingFileError
from mp2flame.files import Arrays, encode_safetensors, read_safetensors, write_atomic
from mp2flame.mapping.around import Around
from mp2flame.mapping.base import Mapping
from mp2flame.mapping.rest import robust_rest, seen_frames

__all__ = ["PAIRED", "Person", "Refined", "is_person_file", "load_person"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

FORMAT: Final = "mp2flame-person"
FORMAT_VERSION: Final = 1
SUFFIX: Final = ".safetensors"
_MAX_BYTES: Final = 64 << 20

_MIRROR = mirror_permutation(MEDIAPIPE)
# Looking in with one eye is looking out with the other, and a jaw or mouth that goes left does not go right.
_SIDEWAYS = ("eyeLookIn", "eyeLookOut", "jawLeft", "jawRight", "mouthLeft", "mouthRight")
PAIRED: Final[NDArray[np.bool_]] = np.array(
    [_MIRROR[i] != i and not name.startswith(_SIDEWAYS) for i, name in enumerate(MEDIAPIPE)]
)
"""(52,) which scores have a partner on the other side that does the same in a symmetric expression."""

_BLINK = np.array([name.startswith("eyeBlink") for name in MEDIAPIPE])
_EYE = np.array([name.startswith("eye") for name in MEDIAPIPE])

# Chosen by errors on people that mappings were not fitted on, see docs/personal.md.
_SILENT = 0.05
_BLINK_SHARE = 0.7
_HIGH_SHARE = 0.45
_LARGEST = 0.7
_BELIEVABLE = 0.8

_NAMES = json.dumps(MEDIAPIPE)
_OBSERVED = ("scores", "landmarks", "head_transform")
_SETTINGS = {"format", "format_version", "names", "seconds", "image_size"}


@dataclass(frozen=True, kw_only=True, eq=False)
class Person:
    """What is known about one person.

    Raises:
        InputError: no frame of `rest` has a face, or a shape or value is wrong.
    """

    rest: Observation
    """Frames with the face at rest."""
    balance: Float32 | None = None
    """(52,) natural logarithm of the factor that makes a score as strong as its partner on the other side; the two of
    a pair add up to zero. None where nothing is known but the rest."""
    reach: Float32 | None = None
    """(52,) how far each score went from rest: the 98th percentile of what was seen; None as for `balance`."""
    seconds: float = 0.0
    """How long the face was seen."""

    def __post_init__(self) -> None:
        seen = self.rest[np.flatnonzero(seen_frames(self.rest))].without_picture()
        object.__setattr__(self, "rest", seen)
        for name in ("balance", "reach"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, _checked(name, value))
        if (self.balance is None) != (self.reach is None):
            raise InputError("Person needs both balance and reach, or neither; got one")
        if self.balance is not None and np.abs(self.balance + self.balance[_MIRROR])[PAIRED].max() > 1e-4:
            raise InputError("Person.balance must be opposite for the two of a pair")
        if not np.isfinite(self.seconds) or self.seconds < 0:
            raise InputError(f"Person.seconds must be finite and not negative; got {self.seconds}")

    def gains(self, reach: Float64 | None) -> Float32:
        """(52,) factors of the scores relative to rest.

        - Left and right: each score as strong as its partner.
        - Blinks: everybody's lids close, so they are brought most of the way to the reach of other people.
        - Other scores but the eyes': one that goes further than other people's is taken back, in part. One that stays
          below is left alone: who smiles little in a minute may just not have felt like it.

        Args:
            reach: (52,) of other people, as the mapping tells it (`Mapping.reach`); None leaves left and right alone.
        """
        if self.balance is None or self.reach is None:
            return np.ones(N_SCORES, dtype=np.float32)
        logs = self.balance.astype(np.float64)
        if reach is not None:
            own = np.maximum(self.reach * np.exp(logs), 1e-3)
            short = np.where(reach > _SILENT, np.log(np.maximum(reach, 1e-3) / own), 0.0)
            # A balanced pair stays balanced; lids both close, so each is brought to the same.
            short = np.where(PAIRED & ~_BLINK, (short + short[_MIRROR]) / 2, short)
            # The further a blink falls short, the more likely it is that there was none.
            blink = short * np.exp(-0.5 * (np.maximum(short, 0) / _BELIEVABLE) ** 2)
            logs = logs + np.where(_BLINK, _BLINK_SHARE * np.clip(blink, -_LARGEST, _LARGEST), 0.0)
            logs = logs + np.where(_EYE, 0.0, _HIGH_SHARE * np.clip(short, -_LARGEST, 0))
        return np.exp(logs).astype(np.float32)

    def refine(self, mapping: Mapping) -> Mapping:
        """The mapping for this person; `mapping.for_person(self.rest)` where only the rest is known.

        Raises:
            InputError: the mapping reads landmarks and the rest has none.
        """
        own = mapping.for_person(self.rest)
        if self.balance is None:
            return own
        return Refined(own, robust_rest(self.rest), self.gains(mapping.reach))

    def save(self, path: str | Path) -> None:
        """Write a person file, under a temporary name first.

        Raises:
            InputError: the path does not end in `.safetensors`.
            MissingFileError: its folder does not exist.
            SinkError: it cannot be written.
        """
        target = Path(path)
        if target.suffix != SUFFIX:
            raise InputError(f"expected a person file's path ending in {SUFFIX}; got {target}")
        arrays = {name: getattr(self.rest, name) for name in ("time", *_OBSERVED)}
        arrays |= {"balance": self.balance, "reach": self.reach}
        size = self.rest.image_size
        metadata = {
            "format": FORMAT,
            "format_version": str(FORMAT_VERSION),
            "names": _NAMES,
            "seconds": repr(float(self.seconds)),
            "image_size": "" if size is None else json.dumps(size.tolist()),
        }
        given = {name: array for name, array in arrays.items() if array is not None}
        write_atomic(target, encode_safetensors(given, metadata))


@dataclass(frozen=True, eq=False)
class Refined(Around):
    """A mapping for one person whose scores are corrected before they are mapped.

    Args:
        mapping: for this person.
        rest: (52,) the person's scores at rest.
        gains: (52,) factors of what is above or below rest.
    """

    rest: Float32
    gains: Float32

    @property
    def straight(self) -> Float64 | None:
        """(3,) as the mapping inside."""
        return self.mapping.straight

    def __call__(self, observation: Observation) -> FlameParams:
        """FLAME parameters of every frame, from corrected scores."""
        scores = self.rest + (observation.scores - self.rest) * self.gains
        return self.mapping(replace(observation, scores=scores))

    def for_person(self, rest: Observation) -> Refined:
        """The same person with another rest, as after another look into the camera.

        Raises:
            InputError: no frame of `rest` has a face.
        """
        return replace(self, mapping=self.mapping.for_person(rest), rest=robust_rest(rest))


def is_person_file(path: str | Path) -> bool:
    """Whether a file of this name would be a person file; what is in it is looked at by `load_person`."""
    return Path(path).suffix == SUFFIX


def load_person(path: str | Path) -> Person:
    """The person in a person file.

    Raises:
        MissingFileError: there is no such file.
        FormatError: it is truncated, foreign, newer than this version, or inconsistent.
    """
    source = Path(path)
    if not source.is_file():
        raise MissingFileError(f"no person file {source}: make one with mp2flame calibrate --person VIDEO -o {source}")
    advice = "make it again with mp2flame calibrate --person VIDEO"
    arrays, metadata = read_safetensors(source, "person file", limit=_MAX_BYTES, advice=advice)
    try:
        return _person(arrays, metadata)
    except (FormatError, InputError) as error:
        raise FormatError(f"{source}: {error}") from error


def _person(arrays: Arrays, metadata: Mapping_[str, str]) -> Person:
    if metadata.get("format") != FORMAT:
        got = metadata.get("format", "nothing")
        raise FormatError(f"expected a person file (format {FORMAT!r}); this one says {got!r}")
    version = metadata.get("format_version", "")
    if not version.isdecimal() or not 1 <= int(version) <= FORMAT_VERSION:
        raise FormatError(f"it has version {version!r}; this mp2flame reads {FORMAT_VERSION}: upgrade mp2flame")
    known, needed = {"time", *_OBSERVED, "balance", "reach"}, {"time", "scores"}
    if not needed <= set(arrays) <= known or set(metadata) != _SETTINGS:
        raise FormatError("its arrays or metadata keys are not those of a person file")
    if metadata["names"] != _NAMES:
        raise FormatError("expected the blendshapes in MediaPipe's order, _neutral first; `names` has another")
    fields: dict[str, Any] = {name: arrays[name] for name in _OBSERVED if name in arrays}
    try:
        seconds = float(metadata["seconds"])
        size = json.loads(metadata["image_size"]) if metadata["image_size"] else None
    except (ValueError, RecursionError) as error:
        raise FormatError(f"seconds or image_size is damaged: {error}") from error
    found = np.ones(np.shape(arrays["time"]), dtype=np.bool_)
    rest = Observation(time=arrays["time"], found=found, image_size=size, **fields)
    return Person(rest=rest, balance=arrays.get("balance"), reach=arrays.get("reach"), seconds=seconds)


def _checked(name: str, value: Any) -> Float32:
    array = np.asarray(value)
    if array.shape != (N_SCORES,) or array.dtype.kind not in "fiu":
        raise InputError(f"Person.{name} must be numbers of shape ({N_SCORES},); got {array.dtype} {array.shape}")
    converted = np.array(array, dtype=np.float32)
    if not np.isfinite(converted).all() or np.abs(converted).max() > 10:
        raise InputError(f"Person.{name} must be finite and moderate; got NaN, infinity, or values above 10")
    converted.flags.writeable = False
    return converted
