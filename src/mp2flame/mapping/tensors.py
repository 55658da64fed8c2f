"""Writing `.safetensors` with the same bytes for the same content, and reading them with errors that say what is wrong.

The `safetensors` package reads; it does not promise an order of the metadata when it writes, so the header is written
here. Layout (https://github.com/huggingface/safetensors#format): eight bytes with the header's length, little-endian;
the header, JSON padded with spaces; the arrays one after the other.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from mp2flame.errors import FormatError, MissingFileError

__all__ = ["Arrays", "encode", "read"]

Arrays = dict[str, NDArray[Any]]

_TYPE_NAMES = {"float32": "F32", "float64": "F64", "float16": "F16", "int64": "I64", "int32": "I32", "uint8": "U8"}


def encode(arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> bytes:
    """The bytes of a `.safetensors` file: keys sorted, arrays in the order of their names, header a multiple of 8."""
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))}
    chunks: list[bytes] = []
    offset = 0
    for name in sorted(arrays):
        data = np.ascontiguousarray(arrays[name]).astype(arrays[name].dtype.newbyteorder("<"), copy=False).tobytes()
        header[name] = {
            "dtype": _TYPE_NAMES[arrays[name].dtype.name],
            "shape": list(arrays[name].shape),
            "data_offsets": [offset, offset + len(data)],
        }
        chunks.append(data)
        offset += len(data)
    text = json.dumps(header, ensure_ascii=True, separators=(",", ":")).encode("ascii")
    text += b" " * (-len(text) % 8)
    return b"".join([len(text).to_bytes(8, "little"), text, *chunks])


def read(
    path: Path,
    *,
    what: str = "mapping file",
    advice: str = "copy or download it again, or name the folder that holds bs2exp.npy",
) -> tuple[Arrays, dict[str, str]]:
    """The arrays and the string metadata of a `.safetensors` file.

    Args:
        path: of the file.
        what: is expected there, for the message.
        advice: what to do where the file is damaged.

    Raises:
        MissingFileError: there is no such file.
        FormatError: it is truncated, or no `.safetensors` file at all.
    """
    if not path.is_file():
        raise MissingFileError(f"expected a {what} at {path}; there is none")
    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
            metadata = dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError) as error:
        raise FormatError(f"{path} is truncated or no .safetensors file ({error}); {advice}") from error
    return arrays, metadata
