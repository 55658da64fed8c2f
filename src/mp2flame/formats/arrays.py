"""Named arrays out of foreign `.npz` files, checked one by one: nothing pickled is ever loaded."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mp2flame.errors import FormatError

__all__ = ["constant", "frame_times", "load_arrays", "member_names", "rows"]


def load_arrays(path: Path, *, skip: frozenset[str] = frozenset()) -> dict[str, NDArray[Any]]:
    """The arrays of an `.npz` by name, object arrays left out.

    Args:
        path: the file.
        skip: names that are not wanted and may be large.

    Raises:
        FormatError: the file is truncated, damaged or no `.npz`.
    """
    arrays: dict[str, NDArray[Any]] = {}
    try:
        # Opened here, for NumPy leaves the file open where the archive in it is damaged.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            for name in archive.files:
                if name not in skip:
                    array = _plain(archive, name)
                    if array is not None:
                        arrays[name] = array
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
        raise FormatError(f"{path} is truncated, damaged or no .npz file: {error}") from error
    except MemoryError as error:
        raise FormatError(f"{path} is damaged: an array in it claims to be larger than memory") from error
    return arrays


def _plain(archive: Any, name: str) -> NDArray[Any] | None:
    try:
        array = archive[name]
    except ValueError as error:
        if "allow_pickle" in str(error):
            return None
        raise
    # A member that does not begin as an array comes back as bytes.
    return array if isinstance(array, np.ndarray) else None


def rows(
    arrays: Mapping[str, NDArray[Any]],
    name: str,
    width: int | None,
    *,
    where: str,
    n: int | None = None,
    found: NDArray[np.bool_] | None = None,
    kind: str = "fiu",
) -> NDArray[Any]:
    """An array with one row for each frame.

    Args:
        arrays: the file's arrays.
        name: which of them.
        width: numbers in a row; None for any, 0 for a plain vector.
        where: the file, for messages.
        n: frames, where that is known already.
        found: (N,) rows that must be finite; None does not look.
        kind: NumPy's letters of the accepted kinds of number.

    Returns:
        (N, width) or (N,), float32 where the numbers are not bool.

    Raises:
        FormatError: it is absent, of another shape or kind, or not finite in a found row.
    """
    if name not in arrays:
        raise FormatError(f"{where}: expected an array {name!r}; got only {', '.join(sorted(arrays)) or 'none'}")
    array = arrays[name]
    ndim = 1 if width == 0 else 2
    fits = array.ndim == ndim and len(array) > 0 and n in (None, len(array)) and array.dtype.kind in kind
    if fits and width:
        fits = array.shape[1] == width
    if not fits:
        frames = "T" if n is None else str(n)
        wanted = f"({frames},)" if width == 0 else f"({frames}, {'any' if width is None else width})"
        raise FormatError(f"{where}: {name} must have shape {wanted}; got {array.shape} of {array.dtype}")
    if array.dtype.kind == "b":
        return array
    with np.errstate(over="ignore"):
        array = array.astype(np.float32)
    if found is not None and not np.isfinite(array[found]).all():
        raise FormatError(f"{where}: {name} must be finite where a face was found; got NaN or infinity")
    return array


def constant(arrays: Mapping[str, NDArray[Any]], name: str, *, where: str) -> NDArray[np.float32] | None:
    """A vector that holds for the whole sequence, stored as (S,) or as (T, S); None where it is absent.

    Raises:
        FormatError: it is no vector of finite numbers.
    """
    if name not in arrays:
        return None
    array = arrays[name]
    if array.ndim == 2 and len(array) > 0:
        array = array[0]
    if array.ndim != 1 or array.dtype.kind not in "fiu" or not np.isfinite(array).all():
        raise FormatError(f"{where}: {name} must be a vector of finite numbers; got {arrays[name].shape}")
    return array.astype(np.float32)


def frame_times(arrays: Mapping[str, NDArray[Any]], n: int, *, where: str, frame_rate: float) -> NDArray[np.float64]:
    """The file's own `time`, or n moments at the given rate.

    Raises:
        FormatError: `time` is there, but not as n finite seconds.
    """
    if "time" not in arrays:
        return np.arange(n) / frame_rate
    time = arrays["time"]
    if time.shape != (n,) or time.dtype.kind not in "fiu" or not np.isfinite(time).all():
        raise FormatError(f"{where}: time must be {n} finite seconds; got {time.shape} of {time.dtype}")
    return time.astype(np.float64)


def member_names(path: Path) -> set[str]:
    """The names of an `.npz` file's arrays, without reading them.

    Raises:
        FormatError: the file is truncated, damaged or no `.npz`.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return {name.removesuffix(".npy") for name in archive.namelist()}
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        raise FormatError(f"{path} is truncated, damaged or no .npz file: {error}") from error
