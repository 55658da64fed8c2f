"""Arrays from foreign `.npz` files, and parameters from arrays under the names of any program.

Nothing pickled is ever loaded, and memory is bounded by the size of the file.
"""

from __future__ import annotations

import math
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mp2flame.data import FlameParams
from mp2flame.errors import FormatError, InputError, Mp2FlameError, plain
from mp2flame.validation import check_array, check_number

try:
    from lzma import LZMAError
except ImportError:  # pragma: no cover - a Python without LZMA cannot meet its errors
    LZMAError = zlib.error  # type: ignore[misc,assignment]

_LARGEST: Final = 1 << 28
"""Bytes that the arrays of a small file may unpack to."""
_RATIO: Final = 50
"""Beyond that, how many times larger than the file its arrays may be; parameters compress to a third or a tenth."""
_DAMAGE: Final = (
    *(zipfile.BadZipFile, zlib.error, LZMAError, tokenize.TokenError, OSError, EOFError, ValueError, TypeError),
    *(SyntaxError, OverflowError, NotImplementedError, RuntimeError, MemoryError),
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


def member_names(path: Path) -> set[str]:
    """The names of an `.npz` file's arrays, without reading them.

    Raises:
        FormatError: the file is truncated, damaged or no `.npz`.
    """
    with _opened(path) as archive:
        return {_name(info) for info in archive.infolist()}


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


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where a program keeps the fields of `FlameParams`."""

    expression: str
    """Name of the array (T, any) of expression coefficients."""
    vectors: Mapping[str, tuple[str, int, int]]
    """For each field: the name of an array, its number of columns, and the first of the field's three columns."""
    identity: str = "shape"
    """Name of the identity coefficients, (S,) or the same in all rows of (T, S)."""
    optional: frozenset[str] = field(default_factory=frozenset)
    """Names that may be absent, besides the identity."""
    rate: str = ""
    """Name of the frame rate, where the file has one."""

    def read(self, arrays: Mapping[str, NDArray[Any]], *, where: str, frame_rate: float = 30.0) -> FlameParams:
        """The parameters in a file's arrays.

        Besides the layout's own names, `time` (T,), `found` (T,), and the true widths `n_expression` and `n_shape` of
        padded arrays are read where they are present, as this package writes them.

        Args:
            arrays: the file's arrays by name.
            where: the file, for messages.
            frame_rate: frames per second, used where the file holds no times.

        Raises:
            FormatError: an array is missing, has the wrong shape, or is not finite where a face was found.
        """

        def numbers(name: str, shape: tuple[int | str, ...]) -> NDArray[np.float32]:
            if name not in arrays:
                held = plain(", ".join(sorted(arrays)) or "none")
                raise FormatError(f"{where}: expected an array {name!r}; got only {held}")
            return check_array(f"{where}: {name}", arrays[name], shape, np.float32, error=FormatError)

        def width(name: str, stored: int) -> int:
            number = check_number(f"{where}: {name}", _item(arrays, name, stored), at_least=0, error=FormatError)
            if number != int(number) or number > stored:
                raise FormatError(f"{where}: {name} must be a whole number up to {stored}; got {number:g}")
            return int(number)

        expression = numbers(self.expression, ("T", "any"))
        n = len(expression)
        if n == 0:
            raise FormatError(f"{where}: {self.expression} must hold at least one frame; got {expression.shape}")
        rate = check_number(f"{where}: frame rate", _item(arrays, self.rate, frame_rate), above=0, error=FormatError)
        shape = None
        if self.identity in arrays:
            shape = numbers(self.identity, ("S",) if arrays[self.identity].ndim < 2 else ("T", "S"))
            shape = shape if shape.ndim == 1 else shape[:1].reshape(-1)
            shape = shape[: width("n_shape", len(shape))]
        times = arrays.get("time", np.arange(n) / rate)
        time = check_array(f"{where}: time", times, (n,), np.float64, finite=True, error=FormatError)
        try:
            return FlameParams(
                time=time,
                found=arrays.get("found", np.ones(n, dtype=np.bool_)),
                expression=expression[:, : width("n_expression", expression.shape[1])],
                shape=None if shape is None or len(shape) == 0 else shape,
                **{
                    name: numbers(array, (n, columns))[:, first : first + 3]
                    for name, (array, columns, first) in self.vectors.items()
                    if array in arrays or array not in self.optional
                },
            )
        except InputError as error:
            raise FormatError(f"{where}: {error}") from error


def _item(arrays: Mapping[str, NDArray[Any]], name: str, default: float) -> object:
    """The number in an array without axes; the array itself where it has axes, for the message."""
    value = arrays.get(name, default)
    return value.item() if isinstance(value, np.ndarray) and value.ndim == 0 else value
