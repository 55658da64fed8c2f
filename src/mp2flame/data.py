"""The two nouns that travel between rooms: what a camera saw, and what a FLAME head should do.

Letters: N frames (at least 1; a live frame is N = 1), E expression coefficients, S identity coefficients.
Both are frozen and checked at birth; their arrays are read-only views. A frame without a face is a value
(`found` False), not an exception and not silence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mp2flame.blendshapes import MEDIAPIPE
from mp2flame.errors import InputError

__all__ = [
    "N_LANDMARKS",
    "N_SCORES",
    "SCORE_LIMIT",
    "FlameParams",
    "Frame",
    "HeadLike",
    "Observation",
    "concatenate",
]

N_SCORES = len(MEDIAPIPE)
N_LANDMARKS = 478

Float32 = NDArray[np.float32]

SCORE_LIMIT = 10.0
"""A score this far outside 0..1 is a percentage, a logit or another quantity altogether."""


def _array(owner: str, name: str, value: ArrayLike, dtype: Any, shape: tuple[int | None, ...]) -> NDArray[Any]:
    """`value` as a read-only array of this dtype; a None in `shape` stands for any length."""
    try:
        array = np.asarray(value, dtype=dtype)
    except (TypeError, ValueError) as error:
        raise InputError(f"{owner}.{name} must be an array of {np.dtype(dtype)}; got {type(value).__name__}") from error
    fits = array.shape == shape or (
        array.ndim == len(shape) and all(want in (None, got) for want, got in zip(shape, array.shape, strict=True))
    )
    if not fits:
        wanted = "(" + ", ".join("N" if want is None else str(want) for want in shape) + ("," * (len(shape) == 1)) + ")"
        raise InputError(f"{owner}.{name} must have shape {wanted}; got {array.shape}")
    if array.flags.writeable:
        array = array.view()
        array.flags.writeable = False
    return array


def _set(instance: object, **values: object) -> None:
    vars(instance).update(values)


def _time_and_found(owner: str, time: ArrayLike, found: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    times = _array(owner, "time", time, np.float64, (None,))
    if len(times) == 0:
        raise InputError(f"{owner} must hold at least one frame; got none")
    if not np.isfinite(times).all():
        raise InputError(f"{owner}.time must be finite seconds; got NaN or infinity")
    return times, _array(owner, "found", found, np.bool_, (len(times),))


@dataclass(frozen=True, kw_only=True, eq=False)
class Observation:
    """What was seen in N frames. Rows where `found` is False are NaN, whatever was given for them.

    Raises:
        InputError: a shape is wrong, a found row holds NaN or infinity, or scores are not about 0..1.
    """

    time: NDArray[np.float64]
    """(N,) seconds from the start of the source."""
    found: NDArray[np.bool_]
    """(N,) a face was seen."""
    scores: Float32
    """(N, 52) blendshape scores in MediaPipe's order, 0..1."""
    landmarks: Float32 | None = None
    """(N, 478, 3) normalised image coordinates: x right, y down, z in the scale of x, smaller is nearer."""
    head_transform: Float32 | None = None
    """(N, 4, 4) MediaPipe's canonical face to camera; centimetres."""
    image_size: NDArray[np.int64] | None = None
    """(2,) width and height in pixels."""
    picture: NDArray[np.uint8] | None = None
    """(H, W, 3) the RGB frame that was seen; only where N = 1 and a sink asked for it."""
    tongue_out: Float32 | None = None
    """(N,) ARKit's tongueOut, 0..1, which MediaPipe lacks; for sinks that carry all of ARKit's names."""

    def __post_init__(self) -> None:
        time, found = _time_and_found("Observation", self.time, self.found)
        n = len(time)
        shapes: dict[str, tuple[int, ...]] = {
            "scores": (n, N_SCORES),
            "landmarks": (n, N_LANDMARKS, 3),
            "head_transform": (n, 4, 4),
            "tongue_out": (n,),
        }
        _set(self, time=time, found=found)
        for name, shape in shapes.items():
            value = getattr(self, name)
            if value is not None:
                _set(self, **{name: _seen_rows(name, _array("Observation", name, value, np.float32, shape), found)})
        if self.scores is None:
            raise InputError(f"Observation.scores must have shape ({n}, {N_SCORES}); got None")
        if (np.abs(self.scores) > SCORE_LIMIT).any():
            raise InputError("Observation.scores must be about 0..1; got values above 10: divide percentages by 100")
        if self.image_size is not None:
            _set(self, image_size=_array("Observation", "image_size", self.image_size, np.int64, (2,)))
        if self.picture is not None:
            if n != 1:
                raise InputError(f"Observation.picture belongs to a single frame; got {n} frames")
            _set(self, picture=_array("Observation", "picture", self.picture, np.uint8, (None, None, 3)))

    def __len__(self) -> int:
        return len(self.time)

    def __getitem__(self, rows: int | slice | NDArray[Any]) -> Observation:
        """The chosen frames as an `Observation` of their own; an integer gives N = 1."""
        return _select(self, rows, constant={"image_size", "picture"})

    def without_picture(self) -> Observation:
        """The same observation with `picture` None, light enough to keep."""
        return replace(self, picture=None)

    @classmethod
    def missing(
        cls,
        time: float,
        *,
        image_size: ArrayLike | None = None,
        picture: NDArray[np.uint8] | None = None,
    ) -> Observation:
        """One frame at `time` seconds in which no face was found."""
        size = None if image_size is None else np.asarray(image_size, dtype=np.int64)
        return cls(
            time=np.array([time]),
            found=np.array([False]),
            scores=np.full((1, N_SCORES), np.nan, dtype=np.float32),
            image_size=size,
            picture=picture,
        )


def _seen_rows(name: str, array: Float32, found: NDArray[np.bool_]) -> Float32:
    """`array` with NaN where no face was found; found rows must be finite."""
    if found.all() and np.isfinite(array).all():
        return array
    if not np.isfinite(array[found]).all():
        bad = int(np.flatnonzero(found & ~np.isfinite(array).reshape(len(array), -1).all(axis=1))[0])
        raise InputError(
            f"Observation.{name} must be finite where a face was found; got NaN or infinity in row {bad}: "
            "mark such frames with found=False"
        )
    cleaned = np.where(found.reshape(-1, *[1] * (array.ndim - 1)), array, np.float32(np.nan))
    cleaned.flags.writeable = False
    return cleaned


_POSES = ("jaw_pose", "neck_pose", "global_orient", "leye_pose", "reye_pose", "translation")


@dataclass(frozen=True, kw_only=True, eq=False)
class FlameParams:
    """What a FLAME head should do in N frames. Poses left out are zero.

    A row where `found` is False is NaN when it comes from a mapping, and finite once a filter has held or eased it.

    Raises:
        InputError: a shape is wrong, or a found row holds NaN or infinity.
    """

    time: NDArray[np.float64]
    """(N,) seconds from the start of the source."""
    found: NDArray[np.bool_]
    """(N,) a face was seen."""
    expression: Float32
    """(N, E) FLAME expression coefficients."""
    jaw_pose: Float32 = None  # type: ignore[assignment]
    """(N, 3) axis-angle, radians; x > 0 opens, y > 0 moves to the subject's left."""
    neck_pose: Float32 = None  # type: ignore[assignment]
    """(N, 3) axis-angle, radians."""
    global_orient: Float32 = None  # type: ignore[assignment]
    """(N, 3) axis-angle, radians, of the root joint."""
    leye_pose: Float32 = None  # type: ignore[assignment]
    """(N, 3) axis-angle, radians; x > 0 looks down, y > 0 to the subject's left."""
    reye_pose: Float32 = None  # type: ignore[assignment]
    """(N, 3) as `leye_pose`, of the subject's right eye."""
    translation: Float32 = None  # type: ignore[assignment]
    """(N, 3) metres."""
    shape: Float32 | None = None
    """(S,) identity coefficients, constant over the sequence; None is the mean identity."""

    def __post_init__(self) -> None:
        time, found = _time_and_found("FlameParams", self.time, self.found)
        n = len(time)
        expression = _array("FlameParams", "expression", self.expression, np.float32, (n, None))
        _set(self, time=time, found=found, expression=expression)
        zeros = np.zeros((n, 3), dtype=np.float32)
        for name in _POSES:
            value = getattr(self, name)
            _set(self, **{name: _array("FlameParams", name, zeros if value is None else value, np.float32, (n, 3))})
        channels = ("expression", *_POSES)  # One look at all together: a live frame has no time for seven.
        sound = np.isfinite(np.concatenate([getattr(self, name) for name in channels], axis=1)).all()
        for name in () if sound else channels:
            if not np.isfinite(getattr(self, name)[found]).all():
                raise InputError(f"FlameParams.{name} must be finite where a face was found; got NaN or infinity")
        if self.shape is not None:
            shape = _array("FlameParams", "shape", self.shape, np.float32, (None,))
            if not np.isfinite(shape).all():
                raise InputError("FlameParams.shape must be finite; got NaN or infinity")
            _set(self, shape=shape)

    def __len__(self) -> int:
        return len(self.time)

    def __getitem__(self, rows: int | slice | NDArray[Any]) -> FlameParams:
        """The chosen frames as `FlameParams` of their own; an integer gives N = 1."""
        return _select(self, rows, constant={"shape"})

    @property
    def eye_pose(self) -> Float32:
        """(N, 6) both eyes' axis-angle, the subject's left first."""
        return np.concatenate([self.leye_pose, self.reye_pose], axis=1)

    @property
    def n_expression(self) -> int:
        """E, the number of expression coefficients."""
        return int(self.expression.shape[1])

    @classmethod
    def neutral(cls, n: int = 1, *, n_expression: int, time: ArrayLike | None = None) -> FlameParams:
        """The face at rest in `n` frames: every coefficient and every rotation zero."""
        times = np.zeros(n) if time is None else np.asarray(time, dtype=np.float64)
        zeros = np.zeros((n, n_expression), dtype=np.float32)
        return cls(time=times, found=np.ones(n, dtype=np.bool_), expression=zeros)

    def save(self, path: str | Path) -> None:
        """Write the parameters in the format that the path's suffix names; see `mp2flame.load_params`.

        Raises:
            InputError: no known format has this suffix.
            SinkError: the file cannot be written.
        """
        assert _writer, "the package registers its writer when it is imported"
        _writer[0](self, Path(path))


_writer: list[Callable[[FlameParams, Path], None]] = []


def register_writer(writer: Callable[[FlameParams, Path], None]) -> None:
    """Tell `FlameParams.save` who knows the file formats; nouns import no format themselves."""
    _writer[:] = [writer]


_Noun = TypeVar("_Noun", Observation, FlameParams)


def _select(noun: _Noun, rows: int | slice | NDArray[Any], *, constant: set[str]) -> _Noun:
    index = slice(rows, rows + 1 or None) if isinstance(rows, int | np.integer) else rows
    chosen = {
        field.name: getattr(noun, field.name)[index]
        for field in fields(noun)
        if field.name not in constant and getattr(noun, field.name) is not None
    }
    return replace(noun, **chosen)


def concatenate(parts: Iterable[_Noun]) -> _Noun:
    """Join observations, or parameters, along N. Constant fields are the first given ones; pictures are dropped.

    A field that is None in one part and given in another is an error, as is no part at all; but a part without any
    face had nothing to give, and its rows are NaN.

    Raises:
        InputError: nothing to join, or the parts do not have the same fields or widths.
    """
    nouns = list(parts)
    if not nouns:
        raise InputError("expected at least one part to concatenate; got none")
    joined: dict[str, Any] = {field.name: _joined(field.name, nouns) for field in fields(nouns[0])}
    return replace(nouns[0], **joined)


def _joined(name: str, nouns: Sequence[Observation | FlameParams]) -> NDArray[Any] | None:
    values = [getattr(noun, name) for noun in nouns]
    given = next((value for value in values if value is not None), None)
    if given is None or name == "picture":
        return None
    if name in ("image_size", "shape"):
        constant: NDArray[Any] = given
        return constant
    for index, noun in enumerate(nouns):
        if values[index] is None and not noun.found.any():
            values[index] = np.full((len(noun), *given.shape[1:]), np.nan, dtype=given.dtype)
    if any(value is None or value.shape[1:] != given.shape[1:] for value in values):
        raise InputError(f"expected parts with the same {name}; got it absent or of another width in some")
    return np.concatenate(values)


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame (N = 1) on its way to the sinks."""

    observation: Observation
    """What the source delivered."""
    params: FlameParams
    """The parameters after mapping and filters."""
    vertices: Float32 | None = None
    """(V, 3) metres, the posed head; None where no open sink needs it."""
    arrival: float = 0.0
    """`time.perf_counter` seconds at which the frame left the source; for latencies only."""


class HeadLike(Protocol):
    """The properties of a head that sinks and mappings use; `FlameHead` has them."""

    @property
    def hash(self) -> str:
        """sha256 of the model's arrays; empty where it is unknown."""

    @property
    def version(self) -> str:
        """The head's version in words."""

    @property
    def n_expression(self) -> int:
        """E, the number of expression coefficients."""

    @property
    def faces(self) -> NDArray[np.uint32]:
        """(F, 3) vertex indices."""

    @property
    def neutral_vertices(self) -> Float32:
        """(V, 3) metres, the identity with a neutral expression."""

    @property
    def vertex_colors(self) -> NDArray[np.uint8] | None:
        """(V, 3) RGB, or None."""
