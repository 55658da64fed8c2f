"""Mapping folders as other tools publish them: three `.npy` matrices, applied as `scores @ matrix`.

    bs2exp.npy   (52, 50) or (52, 100)   expression
    bs2jaw.npy   (52, 3)                 jaw; or, in the older layout,
    bs2pose.npy  (52, 6)                 head rotation 3, jaw 3
    bs2eye.npy   (52, 6)                 left eye 3, right eye 3

A folder does not state the head that it was made for. The head rotation of the older layout is not used: scores do not
determine how the head is turned (see `WithHeadPose`).
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mp2flame.data import N_SCORES
from mp2flame.errors import FormatError, InputError, MissingFileError
from mp2flame.files import AtomicFolder, read_bounded, write_atomic
from mp2flame.mapping.linear import LinearMapping

_MAX_BYTES: Final = 1 << 20
_WIDTHS: Final = {"bs2exp": (50, 100), "bs2jaw": (3,), "bs2pose": (6,), "bs2eye": (6,)}


def _read_matrix(path: Path) -> NDArray[Any]:
    if not path.exists():
        raise MissingFileError(f"a mapping folder needs {path.name}; there is none in {path.parent}")
    content = read_bounded(path, "matrix of a mapping folder", limit=_MAX_BYTES)
    try:
        matrix = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    except (ValueError, TypeError, OverflowError, EOFError, SyntaxError, MemoryError) as error:
        raise FormatError(f"{path} is truncated or no .npy file ({error}); copy or download it again") from error
    widths = _WIDTHS[path.stem]
    shapes = " or ".join(f"({N_SCORES}, {width})" for width in widths)
    if matrix.shape not in [(N_SCORES, width) for width in widths]:
        raise FormatError(f"expected {path} with shape {shapes}; got {matrix.shape}")
    if matrix.dtype.kind != "f":
        raise FormatError(f"expected {path} to hold floating-point numbers; got {matrix.dtype}")
    if not np.isfinite(matrix).all():
        raise FormatError(f"expected {path} to be finite; it holds NaN or infinity")
    return matrix


def read_npy_folder(folder: str | Path) -> dict[str, NDArray[Any]]:
    """The three matrices as they are in the folder, by the names of their files without the suffix.

    Where both `bs2jaw` and `bs2pose` are there, `bs2jaw`, the newer one, is taken.

    Raises:
        MissingFileError: the folder, or one of the three files, does not exist.
        FormatError: a file is truncated, foreign, of another shape, or not finite.
    """
    directory = Path(folder)
    if not directory.is_dir():
        raise MissingFileError(f"expected a mapping folder at {directory}; there is none")
    jaw = "bs2jaw" if (directory / "bs2jaw.npy").exists() or not (directory / "bs2pose.npy").exists() else "bs2pose"
    return {name: _read_matrix(directory / f"{name}.npy") for name in ("bs2exp", jaw, "bs2eye")}


def load_npy_folder(folder: str | Path, *, metadata: Mapping[str, str] = MappingProxyType({})) -> LinearMapping:
    """A mapping folder as a `LinearMapping` in float32.

    Args:
        folder: where the `.npy` files are.
        metadata: what is known about the mapping from elsewhere; the folder itself tells nothing.

    Raises:
        MissingFileError, FormatError: as `read_npy_folder`.
    """
    matrices = read_npy_folder(folder)
    jaw = matrices["bs2jaw"] if "bs2jaw" in matrices else matrices["bs2pose"][:, 3:]
    try:
        return LinearMapping(
            matrix=np.concatenate([matrices["bs2exp"], jaw, matrices["bs2eye"]], axis=1), metadata=metadata
        )
    except InputError as error:
        raise FormatError(f"{folder}: {error}") from error


def save_npy_folder(mapping: LinearMapping, folder: str | Path) -> None:
    """Write the three matrices, for programs that multiply the scores with them.

    Args:
        mapping: a mapping of plain scores, without intercept and neutral, with 50 or 100 expression coefficients.
        folder: made if it does not exist.

    Raises:
        InputError: the mapping has what a folder cannot carry, or the folder holds the older layout.
        SinkError: the folder cannot be written.
    """
    files = {f"{name}.npy": _npy(matrix) for name, matrix in _matrices(mapping).items()}
    target = Path(folder)
    if (target / "bs2pose.npy").exists():
        raise InputError(f"{target} holds bs2pose.npy of the older layout: choose an empty folder")
    if target.is_dir():
        for name, content in files.items():
            write_atomic(target / name, content)
        return
    with AtomicFolder(target) as temporary:
        for name, content in files.items():
            (temporary / name).write_bytes(content)


def _matrices(mapping: LinearMapping) -> dict[str, NDArray[np.float32]]:
    extras = [name for name in ("intercept", "default_neutral", "neutral") if getattr(mapping, name) is not None]
    extras += ["features other than the scores"] * (mapping.features != ("scores",))
    extras += ["scores relative to neutral"] * mapping.uses_neutral
    if extras:
        raise InputError(f"a folder carries three matrices only, not {', '.join(extras)}: save a .safetensors file")
    n = mapping.n_expression
    if n not in _WIDTHS["bs2exp"]:
        raise InputError(f"a folder carries 50 or 100 expression coefficients, not {n}: save a .safetensors file")
    expression, jaw, eyes = np.split(mapping.matrix, [n, n + 3], axis=1)
    return {"bs2exp": expression, "bs2jaw": jaw, "bs2eye": eyes}


def _npy(matrix: NDArray[np.float32]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(matrix), allow_pickle=False)
    return buffer.getvalue()
