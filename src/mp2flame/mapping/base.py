"""What every mapping is: a pure function from `Observation` to `FlameParams`, and what a mapping file holds."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from typing_extensions import Self, override

from mp2flame.data import FlameParams, Observation
from mp2flame.errors import FormatError, InputError, plain
from mp2flame.files import Arrays, encode_safetensors, write_atomic
from mp2flame.mapping.person import NAMES, Person
from mp2flame.validation import check_array


@dataclass(frozen=True, kw_only=True, eq=False)
class MappingInfo:
    """What is known about a mapping, besides how it computes."""

    n_expression: int
    """E, the number of expression coefficients that the mapping gives."""
    head_hash: str | None = None
    """Hash of the head that the mapping was made for; None if unknown."""
    head_version: str | None = None
    """Version of that head in words; None if unknown."""
    frontal_rotation: NDArray[np.float64] | None = None
    """(3,) axis-angle, radians, that MediaPipe reports when this head faces the camera; None if unknown."""
    metadata: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """All metadata of the mapping file, by the keys of `mp2flame.mapping.base.METADATA_KEYS`."""


class BlendshapeMapping(ABC):
    """A pure, stateless function; single frames or batches; the same input gives the same bytes.

    Rows without a face are NaN with `found` False.
    """

    @property
    @abstractmethod
    def info(self) -> MappingInfo:
        """What is known about the mapping: its head, its width, its metadata."""

    @abstractmethod
    def __call__(self, observation: Observation) -> FlameParams:
        """FLAME parameters of every frame.

        Args:
            observation: N frames.

        Returns:
            FlameParams of the same N frames, with the same `time` and `found`.

        Raises:
            InputError: the observation lacks what this mapping reads, such as landmarks.
        """

    @abstractmethod
    def for_person(self, person: Person | Observation) -> BlendshapeMapping:
        """This mapping with a person's neutral face as data in it.

        Args:
            person: a person, or frames of the person's neutral face; the median over the frames with a face counts.

        Raises:
            InputError: no frame has a face, or the frames lack what the mapping reads.
        """

    def save(self, path: str | Path) -> None:
        """Write the mapping to a `.safetensors` file; `mp2flame.load_mapping` reads it.

        Raises:
            InputError: this kind of mapping cannot be saved, or the path does not end in `.safetensors`.
            SinkError: the file cannot be written.
        """
        raise InputError(f"cannot save {path}: a {type(self).__name__} is not a kind of mapping that a file holds")


FORMAT: Final = "mp2flame-mapping"
FORMAT_VERSION: Final = 1

METADATA_KEYS: Final[tuple[str, ...]] = (
    "head_version",  # in words, as `head info` prints it
    "head_hash",  # of the head that the mapping was made for
    "straight",  # JSON: `MappingInfo.frontal_rotation`
    "reach",  # JSON: 52 numbers that older versions wrote; kept, but not used
    "training_subjects",  # a decimal number
    "training_frames",  # a decimal number
    "metrics",  # JSON: held-out figures
    "licence",
    "date",  # ISO 8601
    "provenance",  # what the mapping was made from, and how
)
"""What a file states about its mapping; all but `straight` and `reach` are in every file, empty where not known."""

OPTIONAL_KEYS: Final = frozenset({"straight", "reach"})


class StoredMapping(BlendshapeMapping):
    """A mapping that a mapping file can hold: arrays plus string metadata, see `docs/formats/mapping.md`.

    A kind of mapping is a frozen dataclass that names its arrays and settings.
    """

    kind: ClassVar[str]
    """The file's name for this kind."""
    array_names: ClassVar[Mapping[str, str]]
    """The file's name for each field that is an array; those whose default is None may be absent."""

    metadata: Mapping[str, str]
    """What is known about the mapping, by the keys of `METADATA_KEYS`; read-only."""

    @property
    @abstractmethod
    def n_expression(self) -> int:
        """E, the number of expression coefficients that the mapping gives."""

    def arrays(self) -> Arrays:
        """Everything numeric, by the file's names."""
        named = {name: getattr(self, field) for field, name in self.array_names.items()}
        return {name: array for name, array in named.items() if array is not None}

    def settings(self) -> dict[str, str]:
        """What the arrays alone do not define, as strings by name; the same names for every mapping of this kind."""
        return {}

    @classmethod
    def from_parts(cls, arrays: Arrays, settings: Mapping[str, str], metadata: Mapping[str, str]) -> Self:
        """The mapping that has these `arrays()` and `settings()`.

        Raises:
            FormatError: keys are missing or unknown.
            InputError: as for the class.
        """
        check_keys("its metadata keys", set(settings), set())
        return cls(**cls.array_fields(arrays), metadata=metadata)  # type: ignore[call-arg]

    @classmethod
    def array_fields(cls, arrays: Arrays) -> dict[str, Any]:
        """The fields that hold these arrays of a file.

        Raises:
            FormatError: an array is missing or unknown.
        """
        optional = {field.name for field in fields(cls) if field.default is None}  # type: ignore[arg-type]
        required = {name for field, name in cls.array_names.items() if field not in optional}
        check_keys("its arrays", set(arrays), required, set(cls.array_names.values()))
        return {field: arrays[name] for field, name in cls.array_names.items() if name in arrays}

    @cached_property
    @override
    def info(self) -> MappingInfo:
        straight = self.metadata.get("straight")
        return MappingInfo(
            n_expression=self.n_expression,
            head_hash=self.metadata.get("head_hash"),
            head_version=self.metadata.get("head_version"),
            frontal_rotation=None if straight is None else _rotation(straight),
            metadata=self.metadata,
        )

    def __reduce__(self) -> tuple[Any, ...]:
        # Mappings go to other processes, and a read-only view of a dict cannot be pickled.
        return type(self).from_parts, (self.arrays(), self.settings(), dict(self.metadata))

    def encoded(self) -> bytes:
        """The mapping file's bytes; the same for the same mapping."""
        keys = [key for key in METADATA_KEYS if key not in OPTIONAL_KEYS or key in self.metadata]
        metadata = {key: self.metadata.get(key, "") for key in keys}
        metadata |= {"format": FORMAT, "format_version": str(FORMAT_VERSION), "kind": self.kind, "names": NAMES}
        metadata |= {"n_expression": str(self.n_expression), **self.settings()}
        return encode_safetensors(self.arrays(), metadata)

    @override
    def save(self, path: str | Path) -> None:
        target = Path(path)
        if target.suffix != ".safetensors" or target.is_dir():
            raise InputError(f"expected a mapping file's path ending in .safetensors; got {target}")
        write_atomic(target, self.encoded())


def check_weights(name: str, value: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """A read-only copy of `value` in float32.

    Raises:
        InputError: the shape is another or empty, or a value is not finite.
    """
    if 0 in shape:
        raise InputError(f"{name} must not be empty; got shape {shape}")
    return check_array(name, np.array(value), shape, np.float32, finite=True)


def read_only_metadata(metadata: Mapping[str, str]) -> Mapping[str, str]:
    """`metadata` checked against `METADATA_KEYS`, without empty entries, read-only.

    Raises:
        InputError: a key is unknown, a value is no string, or `straight` is not a rotation.
    """
    for key, value in metadata.items():
        if key not in METADATA_KEYS:
            raise InputError(f"expected metadata keys among {', '.join(METADATA_KEYS)}; got {key}")
        if not isinstance(value, str):
            raise InputError(f"expected metadata values to be strings; {key} is not")
    if metadata.get("straight"):
        _rotation(metadata["straight"])
    return MappingProxyType({key: metadata[key] for key in METADATA_KEYS if metadata.get(key)})


def _rotation(text: str) -> NDArray[np.float64]:
    try:
        return check_array("straight", json.loads(text), (3,), np.float64, finite=True)
    except (ValueError, RecursionError) as error:
        raise InputError(f"expected straight as a JSON list of 3 finite numbers; got {plain(text, 60)}") from error


def check_keys(what: str, names: set[str], required: set[str], optional: AbstractSet[str] = frozenset()) -> None:
    """Refuse missing and unknown keys.

    Raises:
        FormatError: naming them.
    """
    for problem, keys in (("missing", required - names), ("unknown", names - required - optional)):
        if keys:
            raise FormatError(f"{what} are not those of a mapping file; {problem}: {', '.join(sorted(keys))}")
