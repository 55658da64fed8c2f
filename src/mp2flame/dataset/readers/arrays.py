"""Plain arrays: an `.npz` of named ones, or a folder with the field's four `.npy` files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mp2flame.data import FlameParams
from mp2flame.dataset.readers.base import TrackedSequence
from mp2flame.errors import FormatError, plain
from mp2flame.files import read_npz
from mp2flame.formats.npz import Layout
from mp2flame.validation import check_array

Float32 = NDArray[np.float32]
Arrays = Mapping[str, NDArray[Any]]

FOUR_ARRAYS: Final = ("data_blendshapes.npy", "data_exp.npy", "data_jaw_pose.npy", "data_eye_pose.npy")
_NAMES: Final = ("scores", "expression", "jaw_pose", "eye_pose")
_LAYOUT: Final = Layout(
    expression="expression",
    vectors={
        "jaw_pose": ("jaw_pose", 3, 0),
        "leye_pose": ("eye_pose", 6, 0),
        "reye_pose": ("eye_pose", 6, 3),
        "global_orient": ("global_orient", 3, 0),
    },
    optional=frozenset({"global_orient"}),
)
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
    params, observed, neutral = _params(arrays, path), _observed(arrays, "", path), {}
    if "neutral_scores" in arrays:
        neutral = _observed(arrays, "neutral_", path)
    subjects = _subjects(arrays, "subject", len(params), path)
    owners = _subjects(arrays, "neutral_subject", len(neutral["scores"]) if neutral else 0, path)
    for subject in np.unique(subjects):
        rows = np.flatnonzero(subjects == subject)
        yield TrackedSequence(
            subject=str(subject),
            name=path.stem,
            source=f"arrays {path}",
            params=params[rows],
            frame=rows,
            observed={name: column[rows] for name, column in observed.items()},
            timed="time" in arrays,
            is_video="time" in arrays,
        )
        rows = np.flatnonzero(owners == subject)
        if len(rows):
            yield TrackedSequence(
                subject=str(subject),
                name=f"{path.stem} rest",
                source=f"arrays {path}",
                params=FlameParams.neutral(len(rows), n_expression=params.n_expression),
                frame=rows,
                observed={name: column[rows] for name, column in neutral.items()},
                neutral=np.ones(len(rows), dtype=np.bool_),
                is_video=False,
            )


def read_four_arrays(folder: Path) -> Iterator[TrackedSequence]:
    """`data_blendshapes.npy` (N, 52), `data_exp.npy`, `data_jaw_pose.npy` (N, 3), `data_eye_pose.npy` (N, 6).

    Raises:
        FormatError: one is damaged, or their lengths differ.
    """
    arrays = {ours: _load_npy(folder / name) for ours, name in zip(_NAMES, FOUR_ARRAYS, strict=True)}
    params = _params(arrays, folder)
    yield TrackedSequence(
        subject=folder.name,
        name="arrays",
        source=f"arrays {folder}",
        params=params,
        frame=np.arange(len(params)),
        observed=_observed(arrays, "", folder),
        is_video=False,
    )


def _params(arrays: Arrays, where: Path) -> FlameParams:
    """The parameters; rows with NaN or infinity count as not found."""
    missing = [name for name in _NAMES if name not in arrays]
    if missing:
        raise FormatError(f"{where}: expected an array {missing[0]!r}; got {plain(', '.join(sorted(arrays)))}")
    found = np.ones(len(arrays["scores"]), dtype=np.bool_)
    for array in (arrays[name] for name in _NAMES[1:]):
        if array.dtype.kind == "f" and array.ndim == 2 and len(array) == len(found):
            found &= np.isfinite(array).all(axis=1)
    return _LAYOUT.read({**arrays, "found": found}, where=str(where))


def _observed(arrays: Arrays, prefix: str, where: Path) -> dict[str, Float32]:
    """The observed arrays as rows (N, width); NaN is allowed, for such rows are left out later."""
    n: int | str = len(arrays[f"{prefix}scores"]) or "N >= 1"
    columns = {}
    for name, shape in _OBSERVED.items():
        if f"{prefix}{name}" in arrays:
            label = f"{where}: {prefix}{name}"
            array = check_array(label, arrays[f"{prefix}{name}"], (n, *shape), np.float32, error=FormatError)
            columns[name] = array.reshape(len(array), -1)
    return columns


def _subjects(arrays: Arrays, name: str, n: int, path: Path) -> NDArray[np.str_]:
    if name not in arrays:
        return np.full(n, path.stem)
    array = arrays[name]
    if array.shape != (n,) or array.dtype.kind not in "iuUS":
        raise FormatError(f"{path}: {name} must name the subject of each of {n} frames; got {array.shape}")
    if array.dtype.kind in "iu":
        width = len(str(int(np.abs(array).max(initial=0))))
        return np.array([f"{int(value):0{width}d}" for value in array])
    return array.astype(str)


def _load_npy(path: Path) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(path, allow_pickle=False, mmap_mode="r")
    except (ValueError, EOFError, OSError) as error:
        raise FormatError(f"{path} is truncated or no .npy file: {plain(error)}") from error
    return array
