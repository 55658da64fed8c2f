"""The linear mapping: one matrix product from the scores (or simple functions of each) to FLAME."""

from __future__ import annotations

import json
from collections.abc import Mapping as Mapping_
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from mp2flame.blendshapes import MEDIAPIPE
from mp2flame.data import N_SCORES, FlameParams, Observation
from mp2flame.errors import FormatError, InputError
from mp2flame.files import Arrays
from mp2flame.mapping.file import StoredMapping, check_keys, read_only_metadata
from mp2flame.mapping.rest import robust_rest

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["FEATURES", "N_ROTATIONS", "LinearMapping", "expand_features", "params_of_columns"]

Float32 = NDArray[np.float32]

FEATURES: Final[tuple[str, ...]] = ("scores", "signed_root", "square")
"""Element-wise features of a score x: x itself, sign(x) sqrt(|x|), and x |x|; all zero, and odd, at rest."""

N_ROTATIONS: Final = 9
"""Columns behind the expression: jaw, left eye and right eye, three axis-angle components each."""

_NAMES = json.dumps(MEDIAPIPE)


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


def params_of_columns(observation: Observation, values: Float32) -> FlameParams:
    """What a mapping says (N, E + 9) of these N frames, as parameters."""
    n_expression = values.shape[1] - N_ROTATIONS
    return FlameParams(
        time=observation.time,
        found=observation.found,
        expression=np.ascontiguousarray(values[:, :n_expression]),
        jaw_pose=np.ascontiguousarray(values[:, n_expression : n_expression + 3]),
        leye_pose=np.ascontiguousarray(values[:, n_expression + 3 : n_expression + 6]),
        reye_pose=np.ascontiguousarray(values[:, n_expression + 6 :]),
    )


def _checked(name: str, value: Any, shape: tuple[int, ...]) -> Float32:
    array = np.asarray(value)
    if array.shape != shape or array.dtype.kind not in "fiu":
        raise InputError(f"LinearMapping.{name} must be numbers of shape {shape}; got {array.dtype} {array.shape}")
    with np.errstate(over="ignore"):
        converted = np.array(array, dtype=np.float32)
    if not np.isfinite(converted).all():
        raise InputError(f"LinearMapping.{name} must be finite; got NaN or infinity")
    converted.flags.writeable = False
    return converted


@dataclass(frozen=True, kw_only=True, eq=False)
class LinearMapping(StoredMapping):
    """`phi(scores - base) @ matrix + offset`, with `phi` the element-wise `features`.

    How a person's rest enters depends on what the mapping was trained on:

    - `uses_rest` True, trained on scores relative to each subject's rest: base is the person's `rest`, without one the
      average person's `default_rest` (zero where that is None); offset is the intercept.
    - `uses_rest` False, trained on absolute scores: without a `rest`, base is zero and the offset is the intercept.
      With one, what the mapping says of the person's neutral is subtracted from what it says of the frame, so that
      the intercept cancels; for plain scores that is `(scores - rest) @ matrix`.

    Raises:
        InputError: a shape is wrong, a value is not finite, or a feature is unknown.
    """

    kind = "linear"

    matrix: Float32
    """(F, E + 9) columns: E expression coefficients, jaw pose 3, left eye 3, right eye 3; F = 52 len(features)."""
    features: tuple[str, ...] = ("scores",)
    """Names out of `FEATURES`, in the order of the matrix' blocks of 52 rows."""
    intercept: Float32 | None = None
    """(E + 9,) or None for zero."""
    uses_rest: bool = False
    """It was trained on scores relative to each subject's rest."""
    default_rest: Float32 | None = None
    """(52,) the average person's rest scores, for when the person's own are not known."""
    rest: Float32 | None = None
    """(52,) the person's own rest scores; set by `for_person`."""
    metadata: Mapping_[str, str] = field(default_factory=dict)
    """What is known about the mapping, by the keys of `mp2flame.mapping.DESCRIPTION`; read-only."""

    _base: Float32 | None = field(init=False, repr=False, default=None)
    _offset: Float32 | None = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        features = tuple(self.features)
        if not features or len(set(features)) != len(features) or not set(features) <= set(FEATURES):
            raise InputError(f"expected distinct features among {', '.join(FEATURES)}; got {features}")
        shape = np.shape(self.matrix)
        rows = N_SCORES * len(features)
        if len(shape) != 2 or shape[0] != rows or shape[1] <= N_ROTATIONS:
            raise InputError(f"LinearMapping.matrix must have shape ({rows}, E + {N_ROTATIONS}); got {shape}")
        checked: dict[str, Any] = {"matrix": _checked("matrix", self.matrix, shape), "features": features}
        for name, size in (("intercept", shape[1]), ("default_rest", N_SCORES), ("rest", N_SCORES)):
            value = getattr(self, name)
            if value is not None:
                checked[name] = _checked(name, value, (size,))
        checked["metadata"] = read_only_metadata(self.metadata)
        for name, value in checked.items():
            object.__setattr__(self, name, value)
        base, offset = self._base_and_offset()
        object.__setattr__(self, "_base", base)
        object.__setattr__(self, "_offset", offset)

    def _base_and_offset(self) -> tuple[Float32 | None, Float32 | None]:
        if self.uses_rest:
            return (self.default_rest if self.rest is None else self.rest), self.intercept
        if self.rest is None:
            return None, self.intercept
        if self.features == ("scores",):
            return self.rest, None
        return None, -(expand_features(self.rest[None], self.features) @ self.matrix)[0]

    @property
    def n_expression(self) -> int:
        """E, the number of expression coefficients it gives."""
        return int(self.matrix.shape[1]) - N_ROTATIONS

    def __call__(self, observation: Observation) -> FlameParams:
        """FLAME parameters of every frame; rows without a face are NaN.

        Args:
            observation: N frames; only the scores are read.

        Returns:
            FlameParams of the same N frames: expression, jaw and eyes.
        """
        found = observation.found
        scores = observation.scores
        all_found = bool(found.all())
        if not all_found:
            scores = np.where(found[:, None], scores, np.float32(0))
        if self._base is not None:
            scores = scores - self._base
        values = expand_features(scores, self.features) @ self.matrix
        if self._offset is not None:
            values += self._offset
        if not all_found:
            values[~found] = np.nan
        return params_of_columns(observation, values)

    def for_person(self, rest: Observation) -> LinearMapping:
        """This mapping with the person's rest scores (their median over `rest`) as data in it.

        Raises:
            InputError: no frame of `rest` has a face.
        """
        return replace(self, rest=robust_rest(rest))

    def arrays(self) -> Arrays:
        """The matrix and whichever of `intercept`, `default_rest` and `rest` there are."""
        names = ("matrix", "intercept", "default_rest", "rest")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def settings(self) -> dict[str, str]:
        """`features` and `names` as JSON lists, `uses_rest` as `true` or `false`."""
        features = json.dumps(self.features)
        return {"features": features, "names": _NAMES, "uses_rest": "true" if self.uses_rest else "false"}

    @classmethod
    def from_parts(cls, arrays: Arrays, settings: Mapping_[str, str], metadata: Mapping_[str, str]) -> Self:
        """The mapping with these `arrays()` and `settings()`.

        Raises:
            FormatError: keys are missing or unknown, an array is not float32, or the blendshapes' order is another.
            InputError: as for the class.
        """
        check_keys("its arrays", set(arrays), {"matrix"}, {"intercept", "default_rest", "rest"})
        check_keys("its metadata keys", set(settings), {"features", "names", "uses_rest"})
        for name, array in arrays.items():
            if array.dtype != np.float32:
                raise FormatError(f"expected {name} as float32; got {array.dtype}")
        if settings["uses_rest"] not in ("true", "false"):
            raise FormatError(f"expected uses_rest true or false; got {settings['uses_rest']!r}")
        if _strings("names", settings["names"]) != MEDIAPIPE:
            raise FormatError("expected the blendshapes in MediaPipe's order, _neutral first; `names` has another")
        features = _strings("features", settings["features"])
        return cls(**arrays, features=features, uses_rest=settings["uses_rest"] == "true", metadata=metadata)

    def save(self, path: str | Path) -> None:
        """Write a `.safetensors` mapping file, or the field's folder for a path without a suffix (or a folder).

        Raises:
            InputError: another suffix, or a folder cannot hold this mapping.
            SinkError: it cannot be written.
        """
        target = Path(path)
        if target.is_dir() or not target.suffix:
            from mp2flame.mapping.folder import save_folder  # folder.py builds LinearMappings

            save_folder(self, target)
        else:
            super().save(target)


def _strings(name: str, text: str) -> tuple[str, ...]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"expected {name} as a JSON list of strings; got {text[:60]!r}") from error
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise FormatError(f"expected {name} as a JSON list of strings; got {text[:60]!r}")
    return tuple(value)
