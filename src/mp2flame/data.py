"""The three data classes that flow from a source to the sinks: `Observation`, `FlameParams` and `Frame`.

Letters: N frames (at least 1; a live frame is N = 1), E expression coefficients, S identity coefficients, V vertices.

They are frozen. `Observation` and `FlameParams` are checked when they are constructed and hold read-only arrays; `len`,
iteration (frame by frame, each with N = 1), indexing and slicing work on them as on a list. A frame without a face has
`found` False; it is neither left out nor an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mp2flame.blendshapes import MEDIAPIPE
from mp2flame.errors import InputError
from mp2flame.validation import check_array, check_number

if TYPE_CHECKING:
    from typing_extensions import Self

N_SCORES: Final = len(MEDIAPIPE)
N_LANDMARKS: Final = 478

POSES: Final = ("global_orient", "neck_pose", "jaw_pose", "leye_pose", "reye_pose")
"""The rotations of `FlameParams`, in the order of FLAME's joints and of smplx."""

VECTORS: Final = (*POSES, "translation")
"""Every field of `FlameParams` that is (N, 3)."""

FACE_POSES: Final = ("jaw_pose", "leye_pose", "reye_pose")
"""The rotations that belong to the face and not to the head: what a mapping predicts beside the expression."""

SCORE_LIMIT: Final = 10.0
"""A score this far outside 0..1 is a percentage, a logit or another quantity altogether."""

_MAX_IMAGE_SIDE: Final = 1 << 20

Float32 = NDArray[np.float32]

_Data = TypeVar("_Data", bound="_Frames")


class HeadLike(Protocol):
    """What sinks and mappings need to know of a head; `mp2flame.FlameHead` fits as it is."""

    @property
    def hash(self) -> str:
        """sha256 of the model's arrays."""

    @property
    def version(self) -> str:
        """Which FLAME it is, in words."""

    @property
    def n_expression(self) -> int:
        """E, the number of expression coefficients."""

    @property
    def faces(self) -> NDArray[np.uint32]:
        """(F, 3) vertex indices."""

    @property
    def neutral_vertices(self) -> Float32:
        """(V, 3) meters: the person with a neutral face."""

    @property
    def vertex_colors(self) -> NDArray[np.uint8] | None:
        """(V, 3) RGB, or None."""


def _check_time_and_found(
    owner: str, time: ArrayLike, found: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    times = check_array(f"{owner}.time", time, ("N",), np.float64)
    if len(times) == 0:
        raise InputError(f"{owner} must hold at least one frame; got none")
    if not np.isfinite(times).all():
        raise InputError(f"{owner}.time must be finite seconds; got NaN or infinity")
    return times, check_array(f"{owner}.found", found, (len(times),), np.bool_)


class _Frames:
    """What `Observation` and `FlameParams` have in common: they behave as a list of frames."""

    _constant: ClassVar[tuple[str, ...]]
    """Fields without an axis of frames."""
    time: NDArray[np.float64]
    found: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.time)

    def __iter__(self) -> Iterator[Self]:
        return (self[row] for row in range(len(self)))

    def __getitem__(self, rows: int | np.integer[Any] | slice | Sequence[int] | NDArray[Any]) -> Self:
        """The chosen frames as an object of the same class; an integer gives N = 1.

        Raises:
            IndexError: there is no such frame.
            InputError: no frame is chosen.
        """
        n, index = len(self), rows
        if isinstance(rows, int | np.integer):
            if not -n <= rows < n:
                raise IndexError(f"frame {rows} is out of range for {n} frames")
            first = int(rows) % n
            index = slice(first, first + 1)
        chosen = {
            name: _read_only(value[index])
            for name, value in vars(self).items()
            if value is not None and name not in self._constant
        }
        if len(chosen["time"]) == 0:
            raise InputError(f"{type(self).__name__} must hold at least one frame; the index chooses none")
        return replace_unchecked(self, **chosen)

    def __repr__(self) -> str:
        time, n_found, n = self.time, int(np.count_nonzero(self.found)), len(self)
        when = f"{time[0]:.3f} s" if n == 1 else f"{n} frames, {time[0]:.3f} to {time[-1]:.3f} s"
        face = ("face" if n_found else "no face") if n == 1 else f"face in {n_found}"
        return f"{type(self).__name__}({', '.join([when, face, *self._details()])})"

    def _details(self) -> list[str]:
        raise NotImplementedError


def replace_unchecked(frames: _Data, **changes: Any) -> _Data:
    """As `dataclasses.replace`, without any check: for values that are valid by construction, inside the pipeline.

    Args:
        frames: an `Observation` or `FlameParams`.
        changes: fields with arrays of the right type and shape; finite where a face was found.
    """
    result = object.__new__(type(frames))
    vars(result).update(vars(frames), **changes)
    return result


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    array.flags.writeable = False
    return array


@dataclass(frozen=True, eq=False, init=False, repr=False)
class Observation(_Frames):
    """What a source saw in N frames. Rows where `found` is False are NaN, whatever was given for them.

    Raises:
        InputError: a shape is wrong, a found row holds NaN or infinity, or scores are not about 0..1.
    """

    _constant = ("image_size", "picture")

    time: NDArray[np.float64]
    """(N,) seconds from the start of the source."""
    found: NDArray[np.bool_]
    """(N,) a face was found."""
    scores: Float32
    """(N, 52) blendshape scores in MediaPipe's order, 0..1."""
    landmarks: Float32 | None
    """(N, 478, 3) normalized image coordinates: x right, y down, z in the scale of x, smaller is nearer."""
    head_transform: Float32 | None
    """(N, 4, 4) MediaPipe's canonical face to camera; centimeters."""
    image_size: NDArray[np.int64] | None
    """(2,) width and height in pixels."""
    picture: NDArray[np.uint8] | None
    """(H, W, 3) the RGB image; only where N = 1 and a sink asked for it."""
    tongue_out: Float32 | None
    """(N,) ARKit's tongueOut, 0..1, which MediaPipe lacks; for sinks that carry all of ARKit's names."""

    def __init__(
        self,
        *,
        time: ArrayLike,
        found: ArrayLike,
        scores: ArrayLike,
        landmarks: ArrayLike | None = None,
        head_transform: ArrayLike | None = None,
        image_size: ArrayLike | None = None,
        picture: ArrayLike | None = None,
        tongue_out: ArrayLike | None = None,
    ) -> None:
        times, faces = _check_time_and_found("Observation", time, found)
        n = len(times)

        def rows(name: str, value: ArrayLike, *shape: int) -> Float32:
            return _mask_rows(name, check_array(f"Observation.{name}", value, (n, *shape), np.float32), faces)

        checked_scores = rows("scores", scores, N_SCORES)
        if (np.abs(checked_scores) > SCORE_LIMIT).any():
            raise InputError("Observation.scores must be about 0..1; got values above 10: divide percentages by 100")
        size = None if image_size is None else check_array("Observation.image_size", image_size, (2,), np.int64)
        if size is not None and not (size.min() >= 1 and size.max() <= _MAX_IMAGE_SIDE):
            raise InputError(
                f"Observation.image_size must be from 1 to {_MAX_IMAGE_SIDE} pixels; got {size[0]} x {size[1]}"
            )
        if picture is not None and n != 1:
            raise InputError(f"Observation.picture belongs to a single frame; got {n} frames")
        image = None if picture is None else check_array("Observation.picture", picture, ("H", "W", 3), np.uint8)
        vars(self).update(
            time=times,
            found=faces,
            scores=checked_scores,
            landmarks=None if landmarks is None else rows("landmarks", landmarks, N_LANDMARKS, 3),
            head_transform=None if head_transform is None else rows("head_transform", head_transform, 4, 4),
            image_size=size,
            picture=image,
            tongue_out=None if tongue_out is None else rows("tongue_out", tongue_out),
        )

    def _details(self) -> list[str]:
        optional = ("landmarks", "head_transform", "picture", "tongue_out")
        details = [name for name in optional if getattr(self, name) is not None]
        if self.image_size is not None:
            details.append(f"{self.image_size[0]} x {self.image_size[1]} pixels")
        return details

    def without_picture(self) -> Observation:
        """The same observation with `picture` None, light enough to keep."""
        return self if self.picture is None else replace_unchecked(self, picture=None)

    @classmethod
    def missing(
        cls, time: float, *, image_size: ArrayLike | None = None, picture: ArrayLike | None = None
    ) -> Observation:
        """One frame at `time` seconds in which no face was found."""
        scores = np.full((1, N_SCORES), np.nan, dtype=np.float32)
        return cls(time=[time], found=[False], scores=scores, image_size=image_size, picture=picture)


def _mask_rows(name: str, array: Float32, found: NDArray[np.bool_]) -> Float32:
    """`array` with NaN where no face was found; found rows must be finite."""
    if found.all() and np.isfinite(array).all():
        return array
    if not np.isfinite(array[found]).all():
        bad = int(np.flatnonzero(found & ~np.isfinite(array).reshape(len(array), -1).all(axis=1))[0])
        raise InputError(
            f"Observation.{name} must be finite where a face was found; got NaN or infinity in row {bad}: "
            "mark such frames with found=False"
        )
    return _read_only(np.where(found.reshape(-1, *[1] * (array.ndim - 1)), array, np.float32(np.nan)))


@dataclass(frozen=True, eq=False, init=False, repr=False)
class FlameParams(_Frames):
    """The parameters of a FLAME head in N frames. Vectors left out are zero.

    A row where `found` is False is NaN when it comes from a mapping, and finite once a filter has filled it.

    Raises:
        InputError: a shape is wrong, or a found row holds NaN or infinity.
    """

    _constant = ("shape",)

    time: NDArray[np.float64]
    """(N,) seconds from the start of the source."""
    found: NDArray[np.bool_]
    """(N,) a face was found."""
    expression: Float32
    """(N, E) FLAME expression coefficients."""
    jaw_pose: Float32
    """(N, 3) axis-angle, radians; x > 0 opens, y > 0 moves to the subject's left."""
    neck_pose: Float32
    """(N, 3) axis-angle, radians."""
    global_orient: Float32
    """(N, 3) axis-angle, radians, of the root joint."""
    leye_pose: Float32
    """(N, 3) axis-angle, radians; x > 0 looks down, y > 0 to the subject's left."""
    reye_pose: Float32
    """(N, 3) as `leye_pose`, of the subject's right eye."""
    translation: Float32
    """(N, 3) meters."""
    shape: Float32 | None
    """(S,) identity coefficients, constant over the sequence; None is the mean identity."""

    def __init__(
        self,
        *,
        time: ArrayLike,
        found: ArrayLike,
        expression: ArrayLike,
        jaw_pose: ArrayLike | None = None,
        neck_pose: ArrayLike | None = None,
        global_orient: ArrayLike | None = None,
        leye_pose: ArrayLike | None = None,
        reye_pose: ArrayLike | None = None,
        translation: ArrayLike | None = None,
        shape: ArrayLike | None = None,
    ) -> None:
        times, faces = _check_time_and_found("FlameParams", time, found)
        n = len(times)
        zeros = _read_only(np.zeros((n, 3), dtype=np.float32))
        vectors = {
            "jaw_pose": jaw_pose,
            "neck_pose": neck_pose,
            "global_orient": global_orient,
            "leye_pose": leye_pose,
            "reye_pose": reye_pose,
            "translation": translation,
        }
        checked = {"expression": check_array("FlameParams.expression", expression, (n, "E"), np.float32)} | {
            name: zeros if value is None else check_array(f"FlameParams.{name}", value, (n, 3), np.float32)
            for name, value in vectors.items()
        }
        # One check of all channels together: seven would take too long for a live frame.
        if not np.isfinite(np.concatenate(list(checked.values()), axis=1)).all():
            for name, value in checked.items():
                if not np.isfinite(value[faces]).all():
                    raise InputError(f"FlameParams.{name} must be finite where a face was found; got NaN or infinity")
        identity = None
        if shape is not None:
            identity = check_array("FlameParams.shape", shape, ("S",), np.float32, finite=True)
        vars(self).update(time=times, found=faces, **checked, shape=identity)

    def _details(self) -> list[str]:
        identity = [] if self.shape is None else [f"{len(self.shape)} identity coefficients"]
        return [f"{self.n_expression} expression coefficients", *identity]

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
        """A neutral face in `n` frames: every coefficient and every rotation zero."""
        times = np.zeros(n) if time is None else time
        return cls(time=times, found=np.ones(n, dtype=np.bool_), expression=np.zeros((n, n_expression), np.float32))

    def to_rows(self, vectors: Sequence[str] = FACE_POSES) -> Float32:
        """The parameters as one matrix (N, E + 3 K): the expression, then each of K vectors.

        Args:
            vectors: names from `VECTORS`; by default jaw, left eye and right eye, the columns of a mapping.
        """
        return np.concatenate([self.expression, *(getattr(self, name) for name in vectors)], axis=1)

    @classmethod
    def from_rows(
        cls,
        rows: ArrayLike,
        vectors: Sequence[str] = FACE_POSES,
        *,
        n_expression: int | None = None,
        time: ArrayLike | None = None,
        found: ArrayLike | None = None,
        shape: ArrayLike | None = None,
    ) -> FlameParams:
        """The parameters that `to_rows` wrote as one matrix; the inverse of `to_rows`.

        Args:
            rows: (N, E' + 3 K).
            vectors: the K vectors behind the expression; those left out are zero.
            n_expression: E >= E', where the head has more coefficients than the rows: the rest is zero. By default E'.
            time: (N,) seconds; by default 0.
            found: (N,) by default all True.
            shape: (S,) identity coefficients, or None.

        Raises:
            InputError: the rows are too narrow, wider than `n_expression` allows, or not finite where a face was found.
        """
        behind = 3 * len(vectors)
        values = check_array("rows of FlameParams", rows, ("N", f"E + {behind}"), np.float32)
        n, width = len(values), values.shape[1] - behind
        if width < 0 or (n_expression is not None and width > n_expression):
            most = "any number of" if n_expression is None else f"at most {n_expression}"
            raise InputError(
                f"rows of FlameParams must have {most} expression coefficients and {behind} columns behind them; "
                f"got {values.shape[1]} columns"
            )
        expression = values[:, :width]
        if n_expression is not None and n_expression > width:
            expression = np.pad(expression, ((0, 0), (0, n_expression - width)))
        poses = {name: values[:, width + 3 * i : width + 3 * i + 3] for i, name in enumerate(vectors)}
        return cls(
            time=np.zeros(n) if time is None else time,
            found=np.ones(n, dtype=np.bool_) if found is None else found,
            expression=expression,
            shape=shape,
            **poses,
        )

    def to_smplx(self) -> dict[str, Float32]:
        """The parameters as arguments of `smplx.FLAME`, by its names, each with N rows.

        `expression`, `jaw_pose`, `leye_pose`, `reye_pose`, `neck_pose`, `global_orient`, `transl`; and `betas` (N, S)
        where `shape` is known. The arrays are NumPy's; `torch.from_numpy(array.copy())` makes tensors of them.
        """
        arrays = {name: getattr(self, name) for name in ("expression", *POSES)}
        arrays["transl"] = self.translation
        if self.shape is not None:
            arrays["betas"] = np.broadcast_to(self.shape, (len(self), len(self.shape)))
        return arrays

    @classmethod
    def from_smplx(
        cls,
        arrays: Mapping[str, Any],
        *,
        time: ArrayLike | None = None,
        found: ArrayLike | None = None,
        frame_rate: float = 30.0,
    ) -> FlameParams:
        """Parameters from arguments of `smplx.FLAME`, NumPy arrays or PyTorch tensors.

        Args:
            arrays: `expression` (N, E) and any of `betas` ((S,), (1, S), or N equal rows), `jaw_pose`, `leye_pose`,
                `reye_pose`, `neck_pose`, `global_orient`, `transl` (N, 3).
            time: (N,) seconds; by default from `frame_rate`.
            found: (N,) by default all True.
            frame_rate: frames per second, where `time` is None.

        Raises:
            InputError: a name is unknown, `expression` is absent, a shape is wrong or the identity changes.
        """
        names = {"expression": "expression", "transl": "translation"} | {name: name for name in POSES}
        unknown = sorted(set(arrays) - {*names, "betas"})
        if unknown or "expression" not in arrays:
            raise InputError(
                f"expected expression and any of betas, {', '.join(sorted({*names} - {'expression'}))}; got "
                f"{', '.join(map(str, unknown or arrays)) or 'nothing'}"
            )
        values = {name: _from_torch(value) for name, value in arrays.items()}
        expression = check_array("expression", values["expression"], ("N", "E"), np.float32)
        rate = check_number("frame_rate", frame_rate, above=0)
        n = len(expression)
        return cls(
            time=np.arange(n) / rate if time is None else time,
            found=np.ones(n, dtype=np.bool_) if found is None else found,
            shape=_single_identity(values["betas"]) if "betas" in values else None,
            **{ours: values[name] for name, ours in names.items() if name in values},
        )

    def save(self, path: str | Path) -> None:
        """Write the parameters in the format that the path's suffix names; see `mp2flame.load_params`.

        Raises:
            InputError: no known format has this suffix.
            MissingFileError: the folder does not exist.
            SinkError: the file cannot be written.
        """
        resolve_name("mp2flame.formats:save_params")(self, Path(path))


def _from_torch(value: Any) -> Any:
    return value.detach().cpu().numpy() if hasattr(value, "detach") else value


def _single_identity(betas: ArrayLike) -> Float32:
    """(S,) of betas (S,) or of equal rows (N, S)."""
    rows = check_array("betas", np.atleast_2d(np.asarray(betas)), ("N", "S"), np.float32)
    if not len(rows) or (rows != rows[0]).any():
        raise InputError("betas must be one identity, the same in every row; got several: split the sequence by person")
    identity: Float32 = rows[0]
    return identity


@dataclass(frozen=True, eq=False, repr=False)
class Frame:
    """One frame (N = 1) on its way to the sinks, with all that is known of it."""

    observation: Observation
    """What the source saw."""
    params: FlameParams
    """What the head does, after mapping and filters."""
    vertices: Float32 | None = None
    """(V, 3) meters, the posed head; None where no open sink needs it."""
    arrival: float = 0.0
    """`time.perf_counter` seconds at which the frame left the source; for measuring latency only."""

    def __repr__(self) -> str:
        posed = "not posed" if self.vertices is None else f"{len(self.vertices)} vertices"
        return f"Frame({self.observation!r}, {self.params!r}, {posed})"


def concatenate(parts: Iterable[_Data]) -> _Data:
    """Join observations, or parameters, along N.

    `image_size` and `shape` are the first that a part has; images are dropped. A field that is None in one part and
    not in another is an error, except in a part without any face: its rows become NaN.

    Raises:
        InputError: there are no parts, or they do not have the same fields or widths.
    """
    sequence = list(parts)
    if not sequence:
        raise InputError("expected at least one part to concatenate; got none")
    joined = {name: _joined(name, sequence) for name in vars(sequence[0])}
    return replace_unchecked(sequence[0], **joined)


def _joined(name: str, parts: Sequence[_Frames]) -> NDArray[Any] | None:
    values = [getattr(part, name) for part in parts]
    first = next((value for value in values if value is not None), None)
    if first is None or name == "picture":
        return None
    if name in parts[0]._constant:
        constant: NDArray[Any] = first
        return constant
    for index, part in enumerate(parts):
        if values[index] is None and not part.found.any():
            values[index] = np.full((len(part), *first.shape[1:]), np.nan, dtype=first.dtype)
    if any(value is None or value.shape[1:] != first.shape[1:] for value in values):
        raise InputError(f"expected parts with the same {name}; got it absent or of another width in some")
    return _read_only(np.concatenate(values))
