"""Arrays from foreign `.npz` files, and parameters from arrays under the names of any program.

Nothing pickled is ever loaded, and memory is bounded by the size of the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mp2flame.data import FlameParams
from mp2flame.errors import FormatError, InputError, plain
from mp2flame.validation import check_array, check_number


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
