"""The linear mapping: one matrix product from the scores (or simple functions of each) to FLAME."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self, override

from mp2flame.data import N_SCORES, FlameParams, Observation
from mp2flame.errors import FormatError, InputError
from mp2flame.files import Arrays
from mp2flame.mapping.base import StoredMapping, check_keys, check_weights, read_only_metadata
from mp2flame.mapping.neutral import median_scores
from mp2flame.mapping.person import Person, neutral_of

Float32 = NDArray[np.float32]

FEATURES: Final[tuple[str, ...]] = ("scores", "signed_root", "square")
"""Element-wise features of a score x: x itself, sign(x) sqrt(|x|), and x |x|; all zero, and odd, for a neutral face."""

N_ROTATIONS: Final = 9
"""Columns behind the expression: jaw, left eye and right eye, three axis-angle components each."""


def expand_features(scores: Float32, features: tuple[str, ...]) -> Float32:
    """The features (N, 52 len(features)) of scores (N, 52), one block of 52 for each name in `features`."""
    if features == ("scores",):
        return scores
    magnitude = np.abs(scores)
    blocks: dict[str, Float32] = {"scores": scores}
    if "signed_root" in features:
        blocks["signed_root"] = np.copysign(np.sqrt(magnitude), scores)
    if "square" in features:
        blocks["square"] = scores * magnitude
    return np.concatenate([blocks[name] for name in features], axis=1)


@dataclass(frozen=True, kw_only=True, eq=False)
class LinearMapping(StoredMapping):
    """`phi(scores - base) @ matrix + offset`, with `phi` the element-wise `features`.

    How a person's neutral enters depends on what the mapping was trained on:

    - `uses_neutral` True, trained on scores relative to each subject's neutral: base is the person's `neutral`, or the
      average person's `default_neutral` without one (zero where that is None); offset is the intercept.
    - `uses_neutral` False, trained on absolute scores: without a `neutral`, base is zero and the offset is the
      intercept. With one, the result for the person's neutral is subtracted from the result for the frame, so that the
      intercept cancels; for plain scores that is `(scores - neutral) @ matrix`.

    Raises:
        InputError: a shape is wrong, a value is not finite, or a feature is unknown.
    """

    kind = "linear"
    array_names = MappingProxyType(
        {"matrix": "matrix", "intercept": "intercept", "default_neutral": "default_rest", "neutral": "rest"}
    )

    matrix: Float32
    """(F, E + 9) columns: E expression coefficients, jaw pose 3, left eye 3, right eye 3; F = 52 len(features)."""
    features: tuple[str, ...] = ("scores",)
    """Names out of `FEATURES`, in the order of the matrix' blocks of 52 rows."""
    intercept: Float32 | None = None
    """(E + 9,) or None for zero."""
    uses_neutral: bool = False
    """The mapping was trained on scores relative to each subject's neutral."""
    default_neutral: Float32 | None = None
    """(52,) the average person's neutral scores, for people whose own are not known."""
    neutral: Float32 | None = None
    """(52,) the person's own neutral scores; set by `for_person`."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """What is known about the mapping, by the keys of `mp2flame.mapping.base.METADATA_KEYS`; read-only."""

    def __post_init__(self) -> None:
        features = tuple(self.features)
        if (
            not features
            or len(set(map(str, features))) != len(features)
            or any(name not in FEATURES for name in features)
        ):
            raise InputError(f"expected distinct features among {', '.join(FEATURES)}; got {features}")
        shape = np.shape(self.matrix)
        rows = N_SCORES * len(features)
        if len(shape) != 2 or shape[0] != rows or shape[1] <= N_ROTATIONS:
            raise InputError(f"LinearMapping.matrix must have shape ({rows}, E + {N_ROTATIONS}); got {shape}")
        checked: dict[str, Any] = {
            "matrix": check_weights("LinearMapping.matrix", self.matrix, shape),
            "features": features,
        }
        for name, size in (("intercept", shape[1]), ("default_neutral", N_SCORES), ("neutral", N_SCORES)):
            value = getattr(self, name)
            if value is not None:
                checked[name] = check_weights(f"LinearMapping.{name}", value, (size,))
        vars(self).update(checked, metadata=read_only_metadata(self.metadata))

    @cached_property
    def _base_and_offset(self) -> tuple[Float32 | None, Float32 | None]:
        if self.uses_neutral:
            return (self.default_neutral if self.neutral is None else self.neutral), self.intercept
        if self.neutral is None:
            return None, self.intercept
        if self.features == ("scores",):
            return self.neutral, None
        return None, -(expand_features(self.neutral[None], self.features) @ self.matrix)[0]

    @property
    @override
    def n_expression(self) -> int:
        return int(self.matrix.shape[1]) - N_ROTATIONS

    @override
    def __call__(self, observation: Observation) -> FlameParams:
        found = observation.found
        scores = observation.scores
        all_found = bool(found.all())
        if not all_found:
            scores = np.where(found[:, None], scores, np.float32(0))
        base, offset = self._base_and_offset
        if base is not None:
            scores = scores - base
        values = expand_features(scores, self.features) @ self.matrix
        if offset is not None:
            values += offset
        if not all_found:
            values[~found] = np.nan
        return FlameParams.from_rows(values, time=observation.time, found=found)

    @override
    def for_person(self, person: Person | Observation) -> LinearMapping:
        return replace(self, neutral=median_scores(neutral_of(person)))

    @override
    def settings(self) -> dict[str, str]:
        return {"features": json.dumps(self.features), "uses_rest": "true" if self.uses_neutral else "false"}

    @classmethod
    @override
    def from_parts(cls, arrays: Arrays, settings: Mapping[str, str], metadata: Mapping[str, str]) -> Self:
        check_keys("its metadata keys", set(settings), {"features", "uses_rest"})
        if settings["uses_rest"] not in ("true", "false"):
            raise FormatError(f"expected uses_rest true or false; got {settings['uses_rest']!r}")
        try:
            features = json.loads(settings["features"])
        except (ValueError, RecursionError):
            features = None
        if not isinstance(features, list) or not all(isinstance(name, str) for name in features):
            raise FormatError(f"expected features as a JSON list of names; got {settings['features'][:60]!r}")
        return cls(
            **cls.array_fields(arrays),
            features=tuple(features),
            uses_neutral=settings["uses_rest"] == "true",
            metadata=metadata,
        )
