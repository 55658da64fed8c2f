"""FLAME's pickles, read without `pickle`, chumpy or scipy, and without running anything that they carry.

A pickle is a program for a small stack machine, which names callables and calls them. `read_pickle` carries out the
operations that build plain data (numbers, text, lists, dictionaries). Every object becomes an inert `_Node` that
remembers its kind and its state; a name outside a short list, and any operation that reaches outside the file, is
refused. `arrays` works out NumPy arrays from the nodes: stored arrays, scipy's compressed matrices, and chumpy's
expressions (`Ch`, Select, transpose, Reshape, Concatenate and the four elementwise operations).

Understood are the pickle protocols 0 to 5 as NumPy 1 and 2, scipy (old and new module paths) and chumpy write them.
Sets come out as lists, so that nothing is hashed but the plain keys of dictionaries. The number of operations, of list
entries and of bytes of all arrays together is limited, so that a small file cannot take much time or memory.
"""

from __future__ import annotations

import math
import pickletools
import re
import warnings
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mp2flame.errors import FormatError, UnsafePickleError, plain

Array = NDArray[Any]

# An official file has a few hundred operations.
_MAX_OPERATIONS: Final = 20_000
# Of all arrays that are worked out: ten times an official file's largest, shapedirs in float64.
_MAX_BYTES: Final = 512 << 20
_MAX_AXES: Final = 8
_DTYPE = re.compile(r"[<>=|]?([biuf][1248])")

_ARITHMETIC: Final[Mapping[str, np.ufunc]] = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
}
_CHUMPY: Final = ("Ch", "ch.Ch", *(f"reordering.{name}" for name in ("Select", "transpose", "Reshape", "Concatenate")))

# What each allowed name stands for: classes of objects, then functions.
_CLASSES: Final[Mapping[str, str]] = {
    **{f"chumpy.{name}": name.rpartition(".")[2] for name in (*_CHUMPY, *(f"ch_ops.{op}" for op in _ARITHMETIC))},
    **{f"scipy.sparse.{old}{kind}.{kind}_matrix": kind for kind in ("csc", "csr") for old in ("", "_")},
    "numpy.ndarray": "ndarray",
    "numpy.dtype": "dtype",
    "__builtin__.object": "object",
    "builtins.object": "object",
}
_FUNCTIONS: Final[Mapping[str, str]] = {
    **{
        f"numpy.{core}.{name}": name.rpartition(".")[2]
        for core in ("core", "_core")
        for name in ("multiarray._reconstruct", "multiarray.scalar", "numeric._frombuffer")
    },
    **{f"{module}.{name}": name for module in ("__builtin__", "builtins") for name in ("set", "bytes")},
    "_codecs.encode": "encode",
    "copy_reg._reconstructor": "_reconstructor",
    "copyreg._reconstructor": "_reconstructor",
}


class _Name:
    """An allowed class or function, standing on the stack by its kind."""

    def __init__(self, module: Any, name: Any) -> None:
        full = f"{module}.{name}" if isinstance(module, str) and isinstance(name, str) else "a name that is no text"
        self.is_class = full in _CLASSES
        kind = _CLASSES.get(full) or _FUNCTIONS.get(full)
        if kind is None:
            raise UnsafePickleError(
                f"expected a FLAME pickle of plain arrays; it asks for {plain(full, 100)}, which could run code. "
                "Refused, and nothing of it was run. Get the file from https://flame.is.tue.mpg.de"
            )
        self.kind = kind


class _Node:
    """An object of a pickle: its kind and the state that it was given. It does nothing."""

    def __init__(self, kind: str, state: Any = None) -> None:
        self.kind = kind
        self.state = state


def _run(data: bytes) -> Any:  # noqa: C901, PLR0912, PLR0915 - one case for each operation of the machine
    """Carry out a pickle's operations, one by one."""
    stack: list[Any] = []
    marked: list[list[Any]] = []
    memo: dict[Any, Any] = {}
    for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
        if count >= _MAX_OPERATIONS:
            raise UnsafePickleError(f"expected a few hundred pickle operations; got over {_MAX_OPERATIONS}")
        items: list[Any] = []
        if opcode.name in _TAKE_MARKED:
            items, stack = stack, marked.pop()
        match opcode.name:
            case name if name in _LITERALS:
                stack.append(argument)
            case "NONE":
                stack.append(None)
            case "NEWTRUE" | "NEWFALSE":
                stack.append(opcode.name == "NEWTRUE")
            case "MARK":
                marked.append(stack)
                stack = []
            case "POP":
                stack.pop()
            case "PUT" | "BINPUT" | "LONG_BINPUT" | "MEMOIZE":
                memo[len(memo) if argument is None else argument] = stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "EMPTY_TUPLE" | "TUPLE":
                stack.append(tuple(items))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                items = [stack.pop() for _ in range(int(opcode.name[-1]))]
                stack.append(tuple(reversed(items)))
            case "EMPTY_LIST" | "LIST" | "EMPTY_SET" | "FROZENSET":
                stack.append(items)
            case "EMPTY_DICT" | "DICT":
                stack.append(_with_items({}, items))
            case "APPEND":
                _extend(stack[-2], [stack.pop()])
            case "APPENDS" | "ADDITEMS":
                _extend(stack[-1], items)
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                _with_items(stack[-1], [key, value])
            case "SETITEMS":
                _with_items(stack[-1], items)
            case "GLOBAL":
                module, _, name = str(argument).partition(" ")
                stack.append(_Name(module, name))
            case "STACK_GLOBAL":
                name, module = stack.pop(), stack.pop()
                stack.append(_Name(module, name))
            case "REDUCE" | "NEWOBJ":
                arguments, function = stack.pop(), stack.pop()
                stack.append(_new(function) if opcode.name == "NEWOBJ" else _call(function, arguments))
            case "BUILD":
                state = stack.pop()
                if not isinstance(stack[-1], _Node):
                    raise UnsafePickleError("it tries to change a function or a class; refused, nothing was run")
                stack[-1].state = (stack[-1].state, state) if stack[-1].kind == "dtype" else state
            case "PROTO" | "FRAME" | "POP_MARK":
                pass
            case "STOP":
                return stack.pop()
            case _:
                raise UnsafePickleError(
                    f"it asks for {opcode.name} {plain(argument, 60)}, which no FLAME file needs; refused, "
                    "nothing was run"
                )
    raise EOFError


# Operations whose argument is the value that they push, and those that take all that was pushed since a mark.
_LITERALS: Final = frozenset(
    (
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
        *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    )
)
_TAKE_MARKED: Final = ("TUPLE", "LIST", "FROZENSET", "DICT", "APPENDS", "ADDITEMS", "SETITEMS", "POP_MARK")


def _extend(target: Any, items: list[Any]) -> None:
    if not isinstance(target, list):
        raise FormatError(f"inconsistent pickle: entries are appended to a {type(target).__name__}")
    target.extend(items)


def _with_items(target: Any, items: list[Any]) -> Any:
    if not isinstance(target, dict) or len(items) % 2:
        raise FormatError(f"inconsistent pickle: items are set in a {type(target).__name__}")
    for key, value in zip(items[::2], items[1::2], strict=True):
        # The hash of nested tuples can take for ever.
        if not isinstance(key, str | int | float | bytes | None):
            raise UnsafePickleError(f"inconsistent pickle: a dictionary has a {type(key).__name__} as a key; refused")
        target[key] = value
    return target


def _new(kind: Any) -> _Node:
    if not isinstance(kind, _Name) or not kind.is_class:
        raise UnsafePickleError("it rebuilds an unknown class; refused, nothing was run")
    return _Node(kind.kind)


def _call(function: Any, arguments: Any) -> Any:  # noqa: PLR0911 - one case for each function
    """What one of the allowed functions makes of its arguments."""
    match (function.kind if isinstance(function, _Name) else None), *arguments:
        case "_reconstruct", _Name(kind="ndarray"), *_:
            return _Node("ndarray")
        case "scalar", dtype, data:
            return _Node("ndarray", (0, (), dtype, False, data))
        case "_frombuffer", data, dtype, shape, order:
            return _Node("ndarray", (1, shape, dtype, order == "F", data))
        case "dtype", code, *_:
            return _Node("dtype", code)
        case "encode", text, *_:
            # Bytes written as text, as Python 3 does under Python 2's protocols; encoded only when they are needed.
            return _Node("text", text)
        case "set", list(items):
            return items
        case (("set" | "bytes"),):
            return [] if function.kind == "set" else b""
        case "_reconstructor", _Name() as kind, _Name(kind="object"), *_ if kind.kind not in ("ndarray", "dtype"):
            return _new(kind)
    raise UnsafePickleError(
        "it calls a function in an unknown way, or rebuilds a class as something else; refused, nothing was run"
    )


def read_pickle(data: bytes, source: str) -> Any:
    """What a pickle holds, with inert nodes for its arrays and objects; see `arrays`.

    Args:
        data: the bytes of the file.
        source: what to call it in messages.

    Raises:
        UnsafePickleError: it names anything outside the list of plain data. Nothing has been run.
        FormatError: it is truncated or damaged.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Of strange escapes in a damaged text.
            return _run(data)
    except FormatError as error:
        raise type(error)(f"{source}: {error}") from error
    except (EOFError, ValueError, MemoryError, TypeError, AttributeError, LookupError, OverflowError) as error:
        raise FormatError(
            f"{source}: expected a whole pickle of plain arrays; it is truncated or inconsistent ({plain(error, 100)})"
        ) from error


# --- from nodes to arrays --------------------------------------------------------------------------------------------


class _Evaluator:
    """Works out arrays from nodes; all of them together may take `_MAX_BYTES`."""

    def __init__(self) -> None:
        self._known: dict[int, Array] = {}
        self._left = _MAX_BYTES

    def _reserve(self, count: int, size: int = 8) -> None:
        """Count `count` numbers of `size` bytes against the limit, before they are allocated."""
        self._left -= count * size
        if self._left < 0:
            raise FormatError(f"expected arrays of at most {_MAX_BYTES >> 20} MB together; got more")

    def __call__(self, value: Any) -> Array:
        if id(value) not in self._known:
            if isinstance(value, _Node):
                make = {"ndarray": self._stored, "csc": self._dense, "csr": self._dense}.get(value.kind, self._derived)
                result = make(value)
            elif isinstance(value, int | float | list | tuple):
                result = _from_numbers(value)
            else:
                raise FormatError(f"expected an array; got {type(value).__name__}")
            self._known[id(value)] = result
        return self._known[id(value)]

    def _stored(self, node: _Node) -> Array:
        """A NumPy array: the state is (version, shape, dtype, Fortran order, data)."""
        shape, dtype, fortran, data = node.state[-4:]
        if isinstance(dtype, _Node) and _code(dtype).startswith("O"):
            # A lone object in an array, as numpy.savez stores a sparse matrix.
            if not isinstance(data, list) or len(data) != 1:
                raise FormatError("expected an array of numbers; got one of Python objects")
            return self(data[0])
        kind, content = _dtype(dtype), data.state if isinstance(data, _Node) and data.kind == "text" else data
        if not isinstance(content, str | bytes | bytearray):
            raise FormatError(f"expected the bytes of an array; got {type(content).__name__}")
        self._reserve(len(content), 1)
        raw = content.encode("latin1") if isinstance(content, str) else content
        return np.frombuffer(raw, dtype=kind).reshape(_shape(shape), order="F" if fortran else "C")

    def _dense(self, node: _Node) -> Array:
        """A scipy matrix whose columns (csc) or rows (csr) are compressed."""
        state = node.state
        shape = _shape(state["_shape"] if "_shape" in state else state["shape"])
        self._reserve(math.prod(shape))
        values, minor, starts = (self(state[key]) for key in ("data", "indices", "indptr"))
        by_column = node.kind == "csc"
        n_major = shape[1] if by_column else shape[0]
        if (
            len(shape) != 2
            or not values.ndim == minor.ndim == starts.ndim == 1
            or minor.dtype.kind not in "iu"
            or starts.dtype.kind not in "iu"
            or len(starts) != n_major + 1
            or starts[0] != 0
            or (starts[1:] < starts[:-1]).any()
            or starts[-1] > min(len(values), len(minor))
        ):
            raise FormatError("expected a sparse matrix; got an inconsistent, damaged one")
        count = int(starts[-1])
        self._reserve(2 * count)
        major = np.repeat(np.arange(n_major), np.diff(starts))
        dense = np.zeros(shape, dtype=values.dtype)
        # Entries stored twice add up, as in scipy.
        rows, columns = (minor[:count], major) if by_column else (major, minor[:count])
        np.add.at(dense, (rows, columns), values[:count])
        return dense

    def _derived(self, node: _Node) -> Array:
        """What a chumpy node stands for, by the definitions in chumpy's `ch.py`, `ch_ops.py` and `reordering.py`."""
        state, kind = node.state, node.kind
        if kind == "Ch":
            return self(state["x"])
        if kind == "Concatenate":
            parts = [self(state[term]) for term in state["dterms"]]
            self._reserve(sum(part.size for part in parts))
            return np.concatenate(parts, axis=int(state["axis"]))
        first = self(state["a"])
        if kind == "Select":
            index = self(state["idxs"])
            self._reserve(first.size + index.size)
            chosen: Array = first.ravel()[index]
            return chosen.reshape(_shape(state["preferred_shape"])) if "preferred_shape" in state else chosen
        if kind == "transpose":
            axes = state.get("axes")
            turned: Array = np.transpose(first, None if axes is None else _shape(axes))
            return turned
        if kind == "Reshape":
            self._reserve(first.size)
            return first.reshape(_shape(state["newshape"]))
        second = self(state["b"])
        self._reserve(math.prod(np.broadcast_shapes(first.shape, second.shape)))
        with np.errstate(all="ignore"):
            result: Array = _ARITHMETIC[kind](first, second)
        return result


def _from_numbers(value: Any) -> Array:
    """An array of a number or of nested lists of numbers, which may hold one another many times over."""
    count, waiting = 0, [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, list | tuple):
            waiting.extend(item)
        elif not isinstance(item, int | float):
            raise FormatError(f"expected numbers in a list; got {type(item).__name__}")
        count += 1
        if count > _MAX_OPERATIONS or len(waiting) > _MAX_OPERATIONS:
            raise FormatError(f"expected at most {_MAX_OPERATIONS} numbers in a list; got more")
    result = np.asarray(value)
    if result.dtype.kind not in "biuf":
        raise FormatError("expected an array of numbers; got a list of another kind, or a number beyond 64 bits")
    return result


def _shape(shape: Any) -> tuple[int, ...]:
    sizes = tuple(shape) if isinstance(shape, tuple | list) else (shape,)
    if len(sizes) > _MAX_AXES or not all(type(size) is int and -1 <= size < 1 << 40 for size in sizes):
        raise FormatError(f"expected at most {_MAX_AXES} whole numbers as the shape of an array")
    return sizes


def _code(dtype: _Node) -> str:
    """The letter and size of a dtype, such as f8, which stands before its state if it was given one."""
    code = dtype.state[0] if isinstance(dtype.state, tuple) else dtype.state
    if dtype.kind != "dtype" or not isinstance(code, str):
        raise FormatError("expected an array with a dtype; got none")
    return code


def _dtype(node: Any) -> np.dtype[Any]:
    if not isinstance(node, _Node):
        raise FormatError("expected an array with a dtype; got none")
    code = _code(node)
    match = _DTYPE.fullmatch(code)
    if match is None:
        raise FormatError(f"expected an array of numbers; got one of dtype {plain(code, 40)}")
    order = code[0] if code[0] in "<>" else "<"
    if isinstance(node.state, tuple):
        state = node.state[1]
        if not isinstance(state, tuple) or len(state) < 5 or any(part is not None for part in state[2:5]):
            raise FormatError("expected an array of plain numbers; got a structured one of another dtype")
        order = state[1] if state[1] in ("<", ">") else order
    return np.dtype(order + match[1])


def arrays(values: Mapping[str, Any], source: str) -> dict[str, Array]:
    """The arrays that values of `read_pickle` stand for; sparse matrices come out dense.

    Args:
        values: the wanted entries by name.
        source: what to call the file in messages.

    Raises:
        FormatError: one is no array of numbers or an inconsistent one, or all together are too large.
    """
    evaluate = _Evaluator()
    try:
        return {name: evaluate(value) for name, value in values.items()}
    except FormatError as error:
        raise FormatError(f"{source}: {error}") from error
    except (ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, TypeError, ValueError) as error:
        raise FormatError(f"{source}: expected consistent arrays; got a damaged one ({plain(error, 100)})") from error
