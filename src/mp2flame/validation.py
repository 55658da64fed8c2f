"""Checks of values that come from outside: arrays, numbers and the headers of files."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mp2flame.errors import FormatError, InputError, Mp2FlameError, plain

_Scalar = TypeVar("_Scalar", bound=np.generic)

_ACCEPTED_KINDS = {"f": "fiub", "i": "iuf", "u": "iuf", "b": "biuf"}
_MAX_VERSION_DIGITS = 9


def check_array(
    name: str,
    value: ArrayLike,
    shape: Sequence[int | str] | None,
    dtype: type[_Scalar],
    *,
    finite: bool = False,
    error: type[Mp2FlameError] = InputError,
) -> NDArray[_Scalar]:
    """Convert `value` to a read-only array of this shape and type.

    Integers and booleans are also taken from floats that hold them exactly. Complex numbers, text, objects, masked
    entries and values that do not fit the type are refused. An array that fits already is not copied.

    Args:
        name: what to call the array in messages.
        value: the array, or what NumPy makes an array of.
        shape: length of each axis; a text such as "N" stands for any length. None for any shape.
        dtype: scalar type of the result, for example `np.float32`.
        finite: also refuse NaN and infinity.
        error: class of the error to raise.

    Raises:
        InputError: (or `error`) the shape, the type or a value is wrong.
    """
    array = _convert(name, value, dtype, error)
    if shape is not None and (
        len(array.shape) != len(shape)
        or any(isinstance(want, int) and want != length for want, length in zip(shape, array.shape, strict=True))
    ):
        expected_shape = "(" + ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "") + ")"
        raise error(f"{name} must have shape {expected_shape}; got {array.shape}")
    if finite and not np.isfinite(array).all():
        raise error(f"{name} must be finite; got NaN or infinity")
    if array.flags.writeable:
        array = array.view()
        array.flags.writeable = False
    return array


def _convert(name: str, value: ArrayLike, dtype: type[_Scalar], error: type[Mp2FlameError]) -> NDArray[_Scalar]:
    if type(value) is np.ndarray and value.dtype == dtype:
        same: NDArray[_Scalar] = value
        return same
    target = np.dtype(dtype)
    try:
        array: NDArray[Any] = np.asarray(value)
    except (TypeError, ValueError, OverflowError) as cause:
        raise error(f"{name} must be an array of {target}; got {type(value).__name__}") from cause
    if array.dtype.kind not in _ACCEPTED_KINDS[target.kind]:
        found = array.dtype if isinstance(value, np.ndarray) and array.dtype.kind != "O" else type(value).__name__
        raise error(f"{name} must be an array of {target}; got {found}")
    if np.ma.is_masked(value):
        raise error(f"{name} must not be masked; got masked values: fill or drop them")
    with np.errstate(over="ignore", invalid="ignore"):
        converted: NDArray[_Scalar] = array.astype(target)
    if target.kind != "f" and not np.array_equal(converted, array):
        raise error(f"{name} must be an array of {target}; got values that {target} does not hold")
    return converted


def check_number(
    name: str,
    value: object,
    *,
    above: float | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
    error: type[Mp2FlameError] = InputError,
) -> float:
    """Check that `value` is one finite real number within the limits that are given, and return it.

    Args:
        name: what to call the number in messages.
        value: the number.
        above: the number must be larger than this.
        at_least: the smallest number allowed.
        at_most: the largest number allowed.
        error: class of the error to raise.

    Raises:
        InputError: (or `error`) it is no number, NaN, infinite or out of range.
    """
    number = math.nan
    if isinstance(value, Real) and not isinstance(value, bool | np.bool_):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
    if (
        math.isfinite(number)
        and (above is None or number > above)
        and (at_least is None or number >= at_least)
        and (at_most is None or number <= at_most)
    ):
        return number
    limits = {"above": above, "at least": at_least, "at most": at_most}
    wanted = " and ".join(f"{word} {limit:g}" for word, limit in limits.items() if limit is not None)
    raise error(f"{name} must be a finite number{' ' if wanted else ''}{wanted}; got {plain(value, 40)}")


def check_header(header: Mapping[str, object], *, expected: str, newest: int, source: object) -> int:
    """Check the entries `format` and `format_version` of a file's header, and return the version.

    Args:
        header: the header's entries; the version may be a whole number or its digits.
        expected: the value that `format` must have.
        newest: the highest version that this code reads; versions count from 1.
        source: what to call the file in messages.

    Raises:
        FormatError: it is another format, the version is no number from 1, or it is newer than `newest`.
    """
    found = header.get("format")
    if found != expected:
        raise FormatError(f"{source}: expected format {expected!r}; got {_shown(found)}: this is another kind of file")
    version = header.get("format_version")
    digits = str(version) if isinstance(version, int) and 0 <= version < 10**_MAX_VERSION_DIGITS else version
    if isinstance(version, bool) or not (
        isinstance(digits, str) and digits.isascii() and digits.isdigit() and len(digits) <= _MAX_VERSION_DIGITS
    ):
        raise FormatError(f"{source}: expected format_version to be a whole number from 1; got {_shown(version)}")
    number = int(digits)
    if number < 1:
        raise FormatError(f"{source}: expected format_version to be a whole number from 1; got {number}")
    if number > newest:
        raise FormatError(
            f"{source}: format version {number} is newer than {newest}, the newest that this mp2flame reads: "
            "pip install --upgrade mp2flame"
        )
    return number


def _shown(value: object) -> str:
    return repr(plain(value, 60)) if isinstance(value, str) else plain(value, 60)
