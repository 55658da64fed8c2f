"""Named arrays from foreign `.npz` files, checked one by one, and to `.npz` files, piece by piece.

Nothing pickled is ever loaded, and memory is bounded by the size of the file.
"""

from __future__ import annotations

import math
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

try:
    import lzma
except ImportError:  # pragma: no cover - a Python without LZMA cannot meet its errors
    lzma = None  # type: ignore[assignment]

from mp2flame.errors import FormatError, Mp2FlameError, plain

Arrays = Mapping[str, NDArray[Any]]

_LARGEST: Final = 1 << 28
"""Bytes that the arrays of a small file may unpack to."""
_RATIO: Final = 50
"""Beyond that, how many times larger than the file its arrays may be; parameters compress to a third or a tenth."""
_DAMAGE: Final[tuple[type[Exception], ...]] = (
    *(zipfile.BadZipFile, zlib.error, tokenize.TokenError, OSError, EOFError, ValueError, TypeError, SyntaxError),
    *(OverflowError, NotImplementedError, RuntimeError, MemoryError),
    *((lzma.LZMAError,) if lzma else ()),
)
"""What the readers of zip archives and array headers raise for damaged files."""


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except Mp2FlameError:
        raise
    except _DAMAGE as error:
        raise FormatError(f"{path} is truncated, damaged or no .npz file: {plain(error)}") from error


def load_arrays(path: Path, *, skip: frozenset[str] = frozenset()) -> dict[str, NDArray[Any]]:
    """The arrays of an `.npz` by name, object arrays left out.

    Args:
        path: the file.
        skip: names that are not needed and may be large.

    Raises:
        FormatError: the file is truncated, damaged, no `.npz`, or unpacks to far more than its own size.
    """
    with _opened(path) as archive:
        members = [info for info in archive.infolist() if _name(info) not in skip]
        size, limit = sum(info.file_size for info in members), max(_LARGEST, _RATIO * path.stat().st_size)
        if size > limit:
            raise FormatError(f"{path} unpacks to {size} bytes; expected at most {limit} from a file of its size")
        arrays = {_name(info): _read_member(archive, info) for info in members}
    return {name: array for name, array in arrays.items() if array is not None}


def _name(info: zipfile.ZipInfo) -> str:
    return info.filename.removesuffix(".npy")


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> NDArray[Any] | None:
    """A member's array; None for an object array, or a member that is no array."""
    with archive.open(info) as member:
        if member.read(6) != np.lib.format.MAGIC_PREFIX:
            return None
        version = tuple(member.read(2))
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran_order, dtype = read_header(member)
        if dtype.hasobject:
            return None
        count = math.prod(shape)
        if any(type(length) is not int or length < 0 for length in shape) or count * dtype.itemsize > info.file_size:
            raise ValueError(f"{info.filename} holds less than its shape {shape!s:.60} says")
        array = np.frombuffer(member.read(), dtype=dtype, count=count)
    return array.reshape(shape, order="F" if fortran_order else "C")


def member_names(path: Path) -> set[str]:
    """The names of an `.npz` file's arrays, without reading them.

    Raises:
        FormatError: the file is truncated, damaged or no `.npz`.
    """
    with _opened(path) as archive:
        return {_name(info) for info in archive.infolist()}


def write_member(
    archive: zipfile.ZipFile, name: str, shape: tuple[int, ...], dtype: str, chunks: Iterable[NDArray[Any]]
) -> None:
    """Write one array of an archive in pieces; `numpy.savez` would need it whole in memory."""
    # Opened by name, a member gets a fixed date: the same parameters give the same bytes.
    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
        header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(member, header)
        for chunk in chunks:
            member.write(np.ascontiguousarray(chunk, dtype=dtype).tobytes())


def rows(
    arrays: Arrays,
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
        name: the array's name.
        width: numbers in a row; None for any, 0 for a plain vector.
        where: the file, for messages.
        n: number of frames, where it is known already.
        found: (N,) rows that must be finite; None does not check.
        kind: NumPy's letters of the accepted kinds of number.

    Returns:
        (N, width) or (N,), float32 where the numbers are not bool.

    Raises:
        FormatError: it is absent, of another shape or kind, or not finite in a found row.
    """
    if name not in arrays:
        raise FormatError(f"{where}: expected an array {name!r}; got only {plain(', '.join(sorted(arrays)) or 'none')}")
    array = arrays[name]
    ndim = 1 if width == 0 else 2
    fits = array.ndim == ndim and len(array) > 0 and n in (None, len(array)) and array.dtype.kind in kind
    if fits and width:
        fits = array.shape[1] == width
    if not fits:
        frames = "T" if n is None else str(n)
        expected = f"({frames},)" if width == 0 else f"({frames}, {'any' if width is None else width})"
        raise FormatError(f"{where}: {name} must have shape {expected}; got {array.shape} of {array.dtype}")
    if array.dtype.kind == "b":
        return array
    with np.errstate(over="ignore"):
        array = array.astype(np.float32)
    if found is not None and not np.isfinite(array[found]).all():
        raise FormatError(f"{where}: {name} must be finite where a face was found; got NaN or infinity")
    return array


def constant(arrays: Arrays, name: str, *, where: str) -> NDArray[np.float32] | None:
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


def frame_times(arrays: Arrays, n: int, *, where: str, frame_rate: float) -> NDArray[np.float64]:
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
