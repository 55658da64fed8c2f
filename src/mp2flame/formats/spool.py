"""Frames set aside on disk until their number is known, so that memory does not grow with a recording."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from mp2flame.data import FlameParams
from mp2flame.errors import InputError

__all__ = ["RowSpool"]

_POSES = ("global_orient", "neck_pose", "jaw_pose", "eye_pose", "translation")
_CHUNK = 4096


class RowSpool:
    """Rows of parameters in an unnamed temporary file, which no crash can leave behind.

    Args:
        folder: the folder (and so the disk) to use.

    Raises:
        OSError: the folder cannot be written to.
    """

    def __init__(self, folder: Path) -> None:
        self.n_frames = 0
        self.n_expression = 0
        self.shape: NDArray[np.float32] | None = None
        self._dtype: np.dtype[Any] | None = None
        self._file: IO[bytes] = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by `close`

    def append(self, params: FlameParams) -> None:
        """Set N frames aside.

        Raises:
            InputError: the number of expression coefficients changed.
            OSError: the disk is full.
        """
        if self._dtype is None:
            self.n_expression, self.shape = params.n_expression, params.shape
            self._dtype = _row_type(params.n_expression)
        if params.n_expression != self.n_expression:
            raise InputError(f"expected {self.n_expression} expression coefficients; got {params.n_expression}")
        rows = np.zeros(len(params), dtype=self._dtype)
        for name in ("time", "found", "expression", *_POSES):
            rows[name] = getattr(params, name)
        self._file.write(rows.tobytes())
        self.n_frames += len(rows)

    def chunks(self, name: str) -> Iterator[NDArray[Any]]:
        """One field of every frame, a few thousand frames at a time."""
        assert self._dtype is not None
        self._file.seek(0)
        while block := self._file.read(self._dtype.itemsize * _CHUNK):
            yield np.frombuffer(block, dtype=self._dtype)[name]

    def close(self) -> None:
        """Throw the rows away; never fails."""
        # On a full disk the last buffered rows cannot be written out, and need not be.
        with suppress(OSError):
            self._file.close()


def _row_type(n_expression: int) -> np.dtype[Any]:
    widths = dict.fromkeys(_POSES, 3) | {"eye_pose": 6}
    return np.dtype(
        [
            ("time", "<f8"),
            ("found", "?"),
            ("expression", "<f4", (n_expression,)),
            *((name, "<f4", (widths[name],)) for name in _POSES),
        ]
    )
