"""Inert stand-ins for what a FLAME pickle holds, and the plain arrays that they stand for.

The stand-ins keep what they are given and do nothing; `array` works out NumPy arrays, scipy's compressed matrices and
chumpy's expressions from that memory, with none of these packages' own unpickling code.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from mp2flame.errors import FormatError, UnsafePickleError

__all__ = ["CHUMPY", "Compressed", "CompressedRows", "Dtype", "Function", "Inert", "Ndarray", "Scalar", "Text", "array"]

Array = NDArray[Any]

# Five times an official file's largest array: what a hostile file can make us work out stays small.
_MAX_ELEMENTS = 1 << 25
_DTYPE = re.compile(r"[<>=|]?([biufc]\d{1,2}|[SU]\d{1,6}|O8?)")


class Inert:
    """Something a pickle may build: it keeps its state and does nothing."""

    __slots__ = ("state",)

    def __init__(self) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class Ndarray(Inert):
    """A NumPy array: its state is (version, shape, dtype, Fortran order, data)."""

    __slots__ = ()


class Scalar(Inert):
    """A NumPy scalar, kept as the state of an array without axes."""

    __slots__ = ()


class Compressed(Inert):
    """A scipy matrix whose major axis is compressed: columns (csc), or rows (csr)."""

    __slots__ = ()
    by_column = True


class CompressedRows(Compressed):
    """A scipy csr matrix."""

    __slots__ = ()
    by_column = False


class Dtype:
    """A NumPy dtype of plain numbers (or of one object, as `numpy.savez` stores a sparse matrix)."""

    __slots__ = ("byteorder", "code")

    def __init__(self, code: object, *_: object) -> None:
        if not isinstance(code, str) or not _DTYPE.fullmatch(code):
            raise FormatError(f"expected an array of numbers; got one of dtype {code!r:.40}")
        self.code = code.lstrip("<>=|")
        self.byteorder = code[0] if code[0] in "<>" else "<"

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 5 or any(part is not None for part in state[2:5]):
            raise FormatError("expected an array of plain numbers; got a structured one")
        if state[1] in ("<", ">"):
            self.byteorder = state[1]

    def numpy(self) -> np.dtype[Any]:
        """The dtype itself."""
        return np.dtype(self.byteorder + self.code) if self.code[0] in "iufcU" else np.dtype(self.code)


class Text:
    """Bytes written as text, as Python 3 does under Python 2's protocols; encoded only when wanted."""

    __slots__ = ("text",)

    def __init__(self, text: object) -> None:
        self.text = text


class Function:
    """A function that a pickle may call: one of ours, closed to changes."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *args: object) -> object:
        """What the function makes of it."""
        return self._function(*args)

    def __setstate__(self, state: object) -> NoReturn:
        raise UnsafePickleError("the pickle tries to change a function; refused, nothing was run")


CHUMPY: Mapping[str, type[Inert]] = {
    f"chumpy.{name}": type(name.rpartition(".")[2], (Inert,), {"__slots__": ()})
    for name in (
        *("Ch", "ch.Ch", "reordering.Select", "reordering.transpose", "reordering.Reshape", "reordering.Concatenate"),
        *("ch_ops.add", "ch_ops.subtract", "ch_ops.multiply", "ch_ops.divide"),
    )
}


def _check_size(count: int) -> None:
    if count > _MAX_ELEMENTS:
        raise FormatError(f"expected at most {_MAX_ELEMENTS} numbers in an array; got {count}")


def _bytes(data: Any) -> bytes | bytearray:
    text = data.text if isinstance(data, Text) else data
    if isinstance(text, str):
        return text.encode("latin1")
    if isinstance(text, bytes | bytearray):
        return text
    raise FormatError(f"expected the bytes of an array; got {type(text).__name__}")


def _counts(shape: Any) -> tuple[int, ...]:
    sizes = tuple(shape) if isinstance(shape, tuple | list) else (shape,)
    if not all(isinstance(size, int) and size >= -1 for size in sizes):
        raise FormatError(f"expected the shape of an array; got {shape!r:.60}")
    return sizes


def _stored(state: Any) -> Array:
    shape, dtype, fortran, data = state[-4:]
    if not isinstance(dtype, Dtype):
        raise FormatError("expected an array with a dtype; got none")
    if dtype.code.startswith("O"):
        # A lone object in an array, as numpy.savez stores a sparse matrix.
        if not isinstance(data, list) or len(data) != 1:
            raise FormatError("expected an array of numbers; got one of Python objects")
        return _evaluate(data[0], {})
    flat = np.frombuffer(_bytes(data), dtype=dtype.numpy())
    return flat.reshape(_counts(shape), order="F" if fortran else "C")


def _dense(matrix: Compressed, known: dict[int, Array]) -> Array:
    state = matrix.state
    rows, columns = _counts(state["_shape"] if "_shape" in state else state["shape"])
    _check_size(rows * columns)
    values, minor, starts = (_evaluate(state[key], known) for key in ("data", "indices", "indptr"))
    major = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    dense = np.zeros((rows, columns), dtype=values.dtype)
    # Entries stored twice add up, as in scipy.
    np.add.at(dense, (minor, major) if matrix.by_column else (major, minor), values)
    return dense


_ARITHMETIC = {"add": np.add, "subtract": np.subtract, "multiply": np.multiply, "divide": np.divide}


def _derived(node: Inert, known: dict[int, Array]) -> Array:
    """What a chumpy node stands for, by the definitions in chumpy's `ch.py`, `ch_ops.py` and `reordering.py`."""
    state, name = node.state, type(node).__name__
    if name == "Ch":
        return _evaluate(state["x"], known)
    if name == "Concatenate":
        parts = [_evaluate(state[term], known) for term in state["dterms"]]
        _check_size(sum(part.size for part in parts))
        return np.concatenate(parts, axis=state["axis"])
    first = _evaluate(state["a"], known)
    if name == "Select":
        chosen: Array = first.ravel()[_evaluate(state["idxs"], known)]
        return chosen.reshape(_counts(state["preferred_shape"])) if "preferred_shape" in state else chosen
    if name == "transpose":
        turned: Array = np.transpose(first, state.get("axes"))
        return turned
    if name == "Reshape":
        return first.reshape(_counts(state["newshape"]))
    second = _evaluate(state["b"], known)
    _check_size(math.prod(np.broadcast_shapes(first.shape, second.shape)))
    result: Array = _ARITHMETIC[name](first, second)
    return result


def _evaluate(value: Any, known: dict[int, Array]) -> Array:
    if id(value) not in known:
        if isinstance(value, Ndarray | Scalar):
            result = _stored(value.state)
        elif isinstance(value, Compressed):
            result = _dense(value, known)
        elif isinstance(value, Inert):
            result = _derived(value, known)
        elif isinstance(value, int | float | list | tuple):
            result = np.asarray(value)
        else:
            raise FormatError(f"expected an array; got {type(value).__name__}")
        known[id(value)] = result
    return known[id(value)]


def array(value: Any, source: str) -> Array:
    """The array that a stand-in of `read_pickle` stands for; sparse matrices come out dense.

    Raises:
        FormatError: it is no array, or an inconsistent one.
    """
    try:
        return _evaluate(value, {})
    except FormatError as error:
        raise FormatError(f"{source}: {error}") from error
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError, OverflowError, MemoryError) as error:
        raise FormatError(f"{source}: expected a consistent array; got a damaged one ({error})") from error
