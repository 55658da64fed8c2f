"""FLAME's Python-2 pickles, read without chumpy, without scipy and without running anything they carry.

A pickle is a small program: it names callables and calls them. Here every name it may use stands for an inert object
that only remembers what it was given; any other name is refused before the program starts. Arrays, sparse matrices
and chumpy expressions are worked out afterwards by `array`, for the keys that are wanted.

What is understood: the pickle protocols 0 to 5 as NumPy 1 and 2, scipy (old and new module paths) and chumpy write
them; chumpy's `Ch` and the nodes that derive one array from others (Select, transpose, Reshape, Concatenate, and the
four elementwise operations).
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Mapping
from typing import Any

from mp2flame.errors import FormatError, Mp2FlameError, UnsafePickleError
from mp2flame.head.inert import (
    CHUMPY,
    Compressed,
    CompressedRows,
    Dtype,
    Function,
    Inert,
    Ndarray,
    Scalar,
    Text,
    array,
)

__all__ = ["array", "read_pickle"]

# An official file has a few hundred operations; this many keep nesting, and what a hostile file can build, small.
_MAX_OPERATIONS = 20_000
_OUTSIDE = frozenset({"PERSID", "BINPERSID", "EXT1", "EXT2", "EXT4", "INST", "OBJ", "NEXT_BUFFER", "READONLY_BUFFER"})


def _with_state(kind: type[Inert], state: tuple[Any, ...]) -> Inert:
    made = kind()
    made.state = state
    return made


def _rebuild_array(kind: object, *_: object) -> Inert:
    if kind is not Ndarray:
        raise UnsafePickleError("the pickle rebuilds an array as something else; refused, nothing was run")
    return Ndarray()


def _rebuild_object(kind: object, base: object, *_: object) -> Inert:
    if not (isinstance(kind, type) and issubclass(kind, Inert)) or base is not Inert:
        raise UnsafePickleError("the pickle rebuilds an unknown class; refused, nothing was run")
    return kind()


_ALLOWED: Mapping[str, Any] = {
    **CHUMPY,
    **dict.fromkeys(("scipy.sparse.csc.csc_matrix", "scipy.sparse._csc.csc_matrix"), Compressed),
    **dict.fromkeys(("scipy.sparse.csr.csr_matrix", "scipy.sparse._csr.csr_matrix"), CompressedRows),
    **{
        f"numpy.{core}.{name}": made
        for core in ("core", "_core")
        for name, made in {
            "multiarray._reconstruct": Function(_rebuild_array),
            "multiarray.scalar": Function(lambda dtype, data: _with_state(Scalar, (0, (), dtype, False, data))),
            "numeric._frombuffer": Function(
                lambda data, dtype, shape, order: _with_state(Ndarray, (1, shape, dtype, order == "F", data))
            ),
        }.items()
    },
    "numpy.ndarray": Ndarray,
    "numpy.dtype": Dtype,
    "_codecs.encode": Function(lambda text, _="latin1": Text(text)),
    **{
        f"{module}.{name}": made
        for module in ("__builtin__", "builtins")
        for name, made in {
            "set": Function(lambda items=(): list(items)),
            "bytes": Function(lambda: b""),
            "object": Inert,
        }.items()
    },
    **dict.fromkeys(("copy_reg._reconstructor", "copyreg._reconstructor"), Function(_rebuild_object)),
}


def _allowed(module: str, name: str, source: str) -> Any:
    full = f"{module}.{name}"
    if full not in _ALLOWED:
        raise UnsafePickleError(
            f"{source}: expected a FLAME pickle of plain arrays; it asks for {full}, which could run code. "
            "Refused, and nothing of it was run. Get the file from https://flame.is.tue.mpg.de"
        )
    return _ALLOWED[full]


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: bytes, source: str) -> None:
        super().__init__(io.BytesIO(data), encoding="latin1")
        self._source = source

    def find_class(self, module: str, name: str) -> Any:
        return _allowed(module, name, self._source)


def _inspect(data: bytes, source: str) -> None:
    """Read the pickle as a list of operations, without carrying any out, and refuse what is foreign."""
    for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
        if opcode.name == "GLOBAL":
            module, _, name = str(argument).partition(" ")
            _allowed(module, name, source)
        elif opcode.name in _OUTSIDE:
            raise UnsafePickleError(
                f"{source}: it asks for something outside the file ({opcode.name} {argument!r:.60}); refused, "
                "nothing was run"
            )
        elif opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(argument or 0) > count:
            raise UnsafePickleError(f"{source}: it reserves memory for {argument} objects that it does not have")
        if count >= _MAX_OPERATIONS:
            raise UnsafePickleError(f"{source}: expected a few hundred pickle operations; got over {_MAX_OPERATIONS}")


def read_pickle(data: bytes, source: str) -> Any:
    """What a pickle holds, with inert stand-ins for its arrays and objects; see `array`.

    Args:
        data: the bytes of the file.
        source: what to call it in messages.

    Raises:
        UnsafePickleError: it names anything outside the list of plain data. Nothing has been run.
        FormatError: it is truncated or damaged.
    """
    try:
        _inspect(data, source)
        return _Unpickler(data, source).load()
    except Mp2FlameError:
        raise
    except (pickle.UnpicklingError, EOFError, ValueError, MemoryError, RecursionError) as error:
        raise FormatError(f"{source}: expected a whole pickle; it is truncated or damaged ({error})") from error
    except (TypeError, AttributeError, LookupError, OverflowError) as error:
        raise FormatError(f"{source}: expected a pickle of plain arrays; it is inconsistent ({error})") from error
