"""Plain arrays: an `.npz` of named ones, or a folder with the field's four `.npy` files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mp2flame.data import FlameParams
from mp2flame.dataset.readers.base import TrackedSequence, params_of
from mp2flame.errors import FormatError, plain
from mp2flame.files import read_npz

Float32 = NDArray[np.float32]
Arrays = Mapping[str, NDArray[Any]]

FOUR_ARRAYS: Final = ("data_blendshapes.npy", "data_exp.npy", "data_jaw_pose.npy", "data_eye_pose.npy")
_OBSERVED: Final = {"scores": (52,), "landmarks": (478, 3), "head_transform": (4, 4)}


def read_named_npz(path: Path) -> Iterator[TrackedSequence]:
    """An `.npz` of named arrays: `scores`, `expression`, `jaw_pose`, `eye_pose`.

    Optional are `landmarks`, `head_transform`, `global_orient`, `subject`, `time` (seconds: the frames of a subject are
    a video then), and neutral frames as `neutral_scores`, `neutral_landmarks`, `neutral_head_transform` and
    `neutral_subject`. Without `subject` all frames are of one person, named as the file.

    Raises:
        FormatError: an array is absent or has another shape.
    """
    arrays = read_npz(path, ".npz of named arrays")
    where = str(path)
    scores = _rows(arrays, "scores", (52,), None, where)
    n = len(scores)
    observed = {name: _rows(arrays, name, shape, n, where) for name, shape in _OBSERVED.items() if name in arrays}
    expression, jaw, eyes = _parameters(arrays, ("expression", "jaw_pose", "eye_pose"), n, where)
    turn = _rows(arrays, "global_orient", (3,), n, where) if "global_orient" in arrays else None
    time = _times(arrays, n, where)
    subjects = _subjects(arrays, "subject", n, path)
    neutral = _neutral(arrays, where)
    owners = _subjects(arrays, "neutral_subject", len(neutral["scores"]), path) if neutral else None
    for subject in np.unique(subjects):
        rows = np.flatnonzero(subjects == subject)
        params = params_of(rows, expression[rows], jaw[rows], eyes[rows], None if turn is None else turn[rows])
        if time is not None:
            params = replace(params, time=time[rows])
        yield TrackedSequence(
            subject=str(subject),
            name=path.stem,
            source=f"arrays {path}",
            params=params,
            frame=rows,
            observed={name: column[rows] for name, column in observed.items()},
            timed=time is not None,
            is_video=time is not None,
        )
        if owners is not None and (owners == subject).any():
            chosen = np.flatnonzero(owners == subject)
            yield TrackedSequence(
                subject=str(subject),
                name=f"{path.stem} rest",
                source=f"arrays {path}",
                params=FlameParams.neutral(len(chosen), n_expression=params.n_expression),
                frame=chosen,
                observed={name: column[chosen] for name, column in neutral.items()},
                neutral=np.ones(len(chosen), dtype=np.bool_),
                is_video=False,
            )


def read_four_arrays(folder: Path) -> Iterator[TrackedSequence]:
    """`data_blendshapes.npy` (N, 52), `data_exp.npy`, `data_jaw_pose.npy` (N, 3), `data_eye_pose.npy` (N, 6).

    Raises:
        FormatError: one is damaged, or their lengths differ.
    """
    arrays = {name: _load_npy(folder / name) for name in FOUR_ARRAYS}
    where = str(folder)
    scores = _rows(arrays, FOUR_ARRAYS[0], (52,), None, where)
    n = len(scores)
    expression, jaw, eyes = _parameters(arrays, FOUR_ARRAYS[1:], n, where)
    yield TrackedSequence(
        subject=folder.name,
        name="arrays",
        source=f"arrays {folder}",
        params=params_of(np.arange(n), expression, jaw, eyes),
        frame=np.arange(n),
        observed={"scores": scores},
        is_video=False,
    )


def _parameters(arrays: Arrays, names: Sequence[str], n: int, where: str) -> Iterator[Float32]:
    """The arrays of expression (n, E), jaw (n, 3) and eyes (n, 6)."""
    for name, shape in zip(names, (None, (3,), (6,)), strict=True):
        yield _rows(arrays, name, shape, n, where)


def _rows(arrays: Arrays, name: str, shape: tuple[int, ...] | None, n: int | None, where: str) -> Float32:
    """An array (n, *shape) of numbers, as float32 rows; NaN is allowed, for such rows are left out later."""
    if name not in arrays:
        raise FormatError(f"{where}: expected an array {name!r}; got {', '.join(sorted(arrays)) or 'none'}")
    array = arrays[name]
    fits = array.ndim >= 2 and n in (None, len(array)) and array.dtype.kind in "fiu" and len(array) > 0
    if not fits or shape not in (None, array.shape[1:]):
        wanted = ", ".join(["N" if n is None else str(n), *(map(str, shape) if shape else "E")])
        raise FormatError(f"{where}: {name} must have shape ({wanted}); got {array.shape} of {array.dtype}")
    with np.errstate(over="ignore"):
        return array.reshape(len(array), -1).astype(np.float32)


def _times(arrays: Arrays, n: int, where: str) -> NDArray[np.float64] | None:
    if "time" not in arrays:
        return None
    time = arrays["time"]
    if time.shape != (n,) or time.dtype.kind not in "fiu" or not np.isfinite(time).all():
        raise FormatError(f"{where}: time must be {n} finite seconds; got {time.shape} of {time.dtype}")
    return time.astype(np.float64)


def _subjects(arrays: Arrays, name: str, n: int, path: Path) -> NDArray[np.str_]:
    if name not in arrays:
        return np.full(n, path.stem)
    array = arrays[name]
    if array.shape != (n,) or array.dtype.kind not in "iuUS":
        raise FormatError(f"{path}: {name} must name the subject of each of {n} frames; got {array.shape}")
    if array.dtype.kind in "iu":
        width = len(str(int(np.abs(array).max())))
        return np.array([f"{int(value):0{width}d}" for value in array])
    return array.astype(str)


def _neutral(arrays: Arrays, where: str) -> dict[str, Float32]:
    if "neutral_scores" not in arrays:
        return {}
    scores = _rows(arrays, "neutral_scores", (52,), None, where)
    names = {name: shape for name, shape in _OBSERVED.items() if f"neutral_{name}" in arrays}
    return {name: _rows(arrays, f"neutral_{name}", shape, len(scores), where) for name, shape in names.items()}


def _load_npy(path: Path) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(path, allow_pickle=False, mmap_mode="r")
    except (ValueError, EOFError, OSError) as error:
        raise FormatError(f"{path} is truncated or no .npy file: {plain(error)}") from error
    return array
