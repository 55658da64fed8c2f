"""The mapping file: one `.safetensors`, arrays plus string metadata; `docs/mapping_file.md` describes it.

A kind of mapping (`linear`, `landmarks`) is a class that names its arrays and settings; everything else about the
file is the same for all of them and lives here.
"""

from __future__ import annotations

import importlib
import json
from abc import abstractmethod
from collections.abc import Mapping as Mapping_
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

import numpy as np
from numpy.typing import NDArray

from mp2flame.data import N_SCORES
from mp2flame.errors import FormatError, InputError
from mp2flame.files import Arrays, encode_safetensors, read_safetensors, write_atomic
from mp2flame.mapping.base import Mapping

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["DESCRIPTION", "FORMAT", "FORMAT_VERSION", "KINDS", "StoredMapping", "read_mapping_file"]

FORMAT: Final = "mp2flame-mapping"
FORMAT_VERSION: Final = 1

DESCRIPTION: Final[tuple[str, ...]] = (
    "head_version",  # in words, as `head info` tells it
    "head_hash",  # of the head that it was made for
    "straight",  # JSON: axis-angle that MediaPipe reports of this head when it looks straight ahead, radians
    "reach",  # JSON: how far each score goes from rest in people, 52 numbers in MediaPipe's order
    "training_subjects",  # how many people, a decimal number
    "training_frames",  # how many frames, a decimal number
    "metrics",  # JSON: held-out figures
    "licence",
    "date",  # ISO 8601
    "provenance",  # what it was made from, and how
)
"""What a file says about its mapping; all but `straight` and `reach` are in every file, empty where not known."""

KINDS: Final[Mapping_[str, str]] = MappingProxyType(
    {
        "linear": "mp2flame.mapping.linear:LinearMapping",
        "landmarks": "mp2flame.mapping.landmarks:LandmarkMapping",
    }
)
"""Which class reads and writes each kind, imported when a file asks for it."""

MAX_BYTES: Final = 256 << 20
ADVICE: Final = "copy or download it again, or name the folder that holds bs2exp.npy"

_COMMON = ("format", "format_version", "kind", "n_expression")
_OPTIONAL = {"straight": 3, "reach": N_SCORES}
_REQUIRED = {*_COMMON, *DESCRIPTION} - set(_OPTIONAL)


class StoredMapping(Mapping):
    """A mapping that a mapping file can hold.

    A kind adds `kind`, its `arrays()` and `settings()`, and the way back, `from_parts`.
    """

    kind: ClassVar[str]
    """The file's name for this kind."""

    metadata: Mapping_[str, str]
    """What is known about the mapping, by the keys of `DESCRIPTION`; read-only."""

    @property
    def head_hash(self) -> str | None:
        """The hash of the head that it was made for; None where that is not known."""
        return self.metadata.get("head_hash")

    @property
    def head_version(self) -> str | None:
        """The version of the head that it was made for, in words; None where that is not known."""
        return self.metadata.get("head_version")

    @property
    def straight(self) -> NDArray[np.float64] | None:
        """(3,) axis-angle that MediaPipe reports of this head when it looks straight ahead; None if not known."""
        return _vector("straight", self.metadata["straight"]) if "straight" in self.metadata else None

    @property
    def reach(self) -> NDArray[np.float64] | None:
        """(52,) how far each score goes from rest in people; None if not known."""
        return _vector("reach", self.metadata["reach"]) if "reach" in self.metadata else None

    @abstractmethod
    def arrays(self) -> Arrays:
        """Everything numeric, by name."""

    @abstractmethod
    def settings(self) -> dict[str, str]:
        """What the arrays alone do not tell, as strings by name; the same names for every mapping of this kind."""

    @classmethod
    @abstractmethod
    def from_parts(cls, arrays: Arrays, settings: Mapping_[str, str], metadata: Mapping_[str, str]) -> Self:
        """The mapping that has these `arrays()` and `settings()`.

        Raises:
            FormatError, InputError: an array or setting is missing, unknown, or not what it should be.
        """

    def __reduce__(self) -> tuple[Any, ...]:
        # Mappings go to other processes; a read-only view of a dict does not by itself.
        return _rebuilt, (type(self), self.arrays(), self.settings(), dict(self.metadata))

    def encoded(self) -> bytes:
        """The mapping file's bytes; the same for the same mapping."""
        metadata = {key: self.metadata.get(key, "") for key in DESCRIPTION if key in _REQUIRED | set(self.metadata)}
        metadata |= {"format": FORMAT, "format_version": str(FORMAT_VERSION), "kind": self.kind}
        metadata |= {"n_expression": str(self.n_expression), **self.settings()}
        return encode_safetensors(self.arrays(), metadata)

    def save(self, path: str | Path) -> None:
        """Write the mapping file, under a temporary name first.

        Raises:
            InputError: the path does not end in `.safetensors`.
            SinkError: it cannot be written.
        """
        target = Path(path)
        if target.suffix != ".safetensors" or target.is_dir():
            raise InputError(f"expected a mapping file's path ending in .safetensors; got {target}")
        write_atomic(target, self.encoded())


def _rebuilt(
    cls: type[StoredMapping], arrays: Arrays, settings: dict[str, str], metadata: dict[str, str]
) -> StoredMapping:
    return cls.from_parts(arrays, settings, metadata)


def read_only_metadata(metadata: Mapping_[str, str]) -> Mapping_[str, str]:
    """`metadata` checked against `DESCRIPTION`, without empty entries, read-only.

    Raises:
        InputError: a key is unknown or a value is no string.
    """
    unknown = sorted(set(metadata) - set(DESCRIPTION))
    if unknown:
        raise InputError(f"expected metadata keys among {', '.join(DESCRIPTION)}; got {', '.join(unknown)}")
    wrong = sorted(key for key, value in metadata.items() if not isinstance(value, str))
    if wrong:
        raise InputError(f"expected metadata values to be strings; {', '.join(wrong)} is not")
    for name in _OPTIONAL:
        if metadata.get(name):
            _vector(name, metadata[name])
    return MappingProxyType({key: metadata[key] for key in DESCRIPTION if metadata.get(key)})


def _vector(name: str, text: str) -> NDArray[np.float64]:
    size = _OPTIONAL[name]
    try:
        vector = np.array(json.loads(text), dtype=np.float64)
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(f"expected {name} as a JSON list of {size} numbers; got {text[:60]!r}") from error
    if vector.shape != (size,) or not np.isfinite(vector).all():
        raise InputError(f"expected {name} as a JSON list of {size} finite numbers; got {text[:60]!r}")
    return vector


def check_keys(what: str, got: set[str], required: set[str], optional: set[str] | None = None) -> None:
    """Refuse missing and unknown keys in one sentence.

    Raises:
        FormatError: naming both.
    """
    missing = sorted(required - got)
    unknown = sorted(got - required - (optional or set()))
    if missing or unknown:
        parts = [f"missing: {', '.join(missing)}"] * bool(missing) + [f"unknown: {', '.join(unknown)}"] * bool(unknown)
        raise FormatError(f"{what} are not those of a mapping file; {'; '.join(parts)}")


def _class_of(kind: str) -> type[StoredMapping]:
    if kind not in KINDS:
        raise FormatError(f"this mapping is of kind {kind!r}; this version reads {', '.join(KINDS)}: upgrade mp2flame")
    module, name = KINDS[kind].split(":")
    return cast("type[StoredMapping]", getattr(importlib.import_module(module), name))


def _check_format(metadata: Mapping_[str, str]) -> None:
    if metadata.get("format") != FORMAT:
        raise FormatError(
            f"expected a mapping file (format {FORMAT!r}); this one says {metadata.get('format', 'nothing')!r}: "
            "a head or parameter file goes to another option"
        )
    version = metadata.get("format_version", "")
    if not version.isdecimal() or int(version) < 1:
        raise FormatError(f"expected format_version to be a number from 1 on; got {version!r}")
    if int(version) > FORMAT_VERSION:
        raise FormatError(
            f"the mapping file has format version {version}, newer than {FORMAT_VERSION} which this version of "
            "mp2flame reads: pip install --upgrade mp2flame"
        )


def read_mapping_file(path: str | Path) -> StoredMapping:
    """The mapping in a mapping file, of whichever kind it is.

    Raises:
        MissingFileError: there is no such file.
        FormatError: it is truncated, foreign, newer than this version, or inconsistent.
    """
    source = Path(path)
    arrays, metadata = read_safetensors(source, "mapping file", limit=MAX_BYTES, advice=ADVICE)
    try:
        _check_format(metadata)
        check_keys("its metadata keys", set(metadata) & _REQUIRED, _REQUIRED)
        settings = {key: value for key, value in metadata.items() if key not in {*_COMMON, *DESCRIPTION}}
        described = {key: metadata[key] for key in DESCRIPTION if key in metadata}
        mapping = _class_of(metadata["kind"]).from_parts(arrays, settings, described)
        if str(mapping.n_expression) != metadata["n_expression"]:
            raise FormatError(f"it says n_expression {metadata['n_expression']}, its arrays {mapping.n_expression}")
    except (FormatError, InputError) as error:
        raise FormatError(f"{source}: {error}") from error
    return mapping
