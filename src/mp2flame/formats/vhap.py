"""VHAP's and GaussianAvatars' parameters: one `.npz` for a sequence, or a folder with one for each frame.

    translation rotation neck_pose jaw_pose (T, 3), eyes_pose (T, 6) left first, expr (T, 100), shape (300,),
    static_offset (1, 5143, 3), dynamic_offset (T, 5143, 3), all float32

GaussianAvatars' `--motion_path` needs every one of these but shape and static_offset, and drops whatever is not
float32. 5143 is FLAME's 5023 vertices and the 120 of the teeth that both programs add. Sources: `save_result` and
`export_as_nerf_dataset` of VHAP, `FlameGaussianModel.load_ply` of GaussianAvatars.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from mp2flame.data import VECTORS, FlameParams, Float32, HeadLike
from mp2flame.errors import FormatError, SinkError
from mp2flame.files import AtomicFile, AtomicFolder
from mp2flame.formats.base import ParamsSink, check_width
from mp2flame.formats.npz import Arrays, constant, frame_times, rows, write_member

OFFSETS: Final = frozenset({"static_offset", "dynamic_offset"})
"""Arrays of this layout that are large and that no parameter comes from."""

_FLAME_VERTICES, _TEETH = 5023, 120
_N_EXPR, _N_SHAPE = 100, 300
_POSES: Final = {
    "rotation": "global_orient",
    "neck_pose": "neck_pose",
    "jaw_pose": "jaw_pose",
    "eyes_pose": "eye_pose",
    "translation": "translation",
}
_WIDTHS: Final = {"eyes_pose": 6}
_ZEROS: Final = np.zeros(1 << 20, dtype=np.float32)
"""Zeros are given to the compressor in blocks of about 4 MB."""


def read_vhap(arrays: Arrays, *, where: str, frame_rate: float) -> FlameParams:
    """Parameters of one `.npz` in this layout, ours or another program's.

    Args:
        arrays: the file's arrays by name.
        where: the file, for messages.
        frame_rate: frames per second, used where the file holds no times.

    Raises:
        FormatError: an array is missing, has the wrong shape, or is not finite where a face was found.
    """
    expression = rows(arrays, "expr", None, where=where)
    n = len(expression)
    found = np.ones(n, dtype=np.bool_)
    if "found" in arrays:
        found = rows(arrays, "found", 0, n=n, where=where, kind="b")
    poses = {
        field: rows(arrays, name, _WIDTHS.get(name, 3), n=n, where=where, found=found) for name, field in _POSES.items()
    }
    eyes = poses.pop("eye_pose")
    shape = constant(arrays, "shape", where=where)
    # Ours are padded to the widths that the field's programs expect; these two give the widths before.
    n_expression = _true_width(arrays, "n_expression", expression.shape[1], where=where)
    if shape is not None:
        shape = shape[: _true_width(arrays, "n_shape", len(shape), where=where)]
    return FlameParams(
        time=frame_times(arrays, n, where=where, frame_rate=frame_rate),
        found=found,
        expression=rows(arrays, "expr", None, n=n, where=where, found=found)[:, :n_expression],
        leye_pose=eyes[:, :3],
        reye_pose=eyes[:, 3:],
        shape=None if shape is None or len(shape) == 0 else shape,
        **poses,
    )


def _true_width(arrays: Arrays, name: str, stored: int, *, where: str) -> int:
    if name not in arrays:
        return stored
    width = arrays[name]
    if width.ndim != 0 or width.dtype.kind not in "iu" or not 0 <= width <= stored:
        raise FormatError(f"{where}: {name} must be a whole number up to {stored}; got {width!r:.60}")
    return int(width)


class NpzSink(ParamsSink):
    """One `.npz` for the sequence, which GaussianAvatars plays as `--motion_path`.

    Expression and identity are padded with zeros to 100 and 300. Beside the names above it holds `time` (T,) float64,
    `found` (T,) bool and the unpadded widths `n_expression` and `n_shape`, which those programs pass over. The offsets
    are zeros; compressed they cost about 60 bytes a frame, and a reader that does not ask for them never inflates them.
    The parameters of an hour take some 50 MB of memory until the file is closed.

    Args:
        path: the final name.
        head: the head that was driven; the offsets are written only for one of FLAME's 5023 vertices, or None.
    """

    def __init__(self, path: str | Path, *, head: HeadLike | None = None) -> None:
        super().__init__(path)
        self._file = AtomicFile(self.path)
        self._n_offsets = _n_offsets(head)
        self._first: FlameParams | None = None
        self._rows: list[tuple[NDArray[np.float64], NDArray[np.bool_], Float32]] = []

    @override
    def _append(self, params: FlameParams, scores: Float32 | None) -> None:
        self._first = self._first or params
        check_width(params, self._first.n_expression)
        self._rows.append((params.time, params.found, params.to_rows(VECTORS)))

    @override
    def _publish(self) -> None:
        assert self._first is not None
        time, found, rows = (np.concatenate(parts) for parts in zip(*self._rows, strict=True))
        params = FlameParams.from_rows(rows, VECTORS, time=time, found=found, shape=self._first.shape)
        with zipfile.ZipFile(self._file.temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            self._write_members(archive, params)
        self._file.publish()

    def _write_members(self, archive: zipfile.ZipFile, params: FlameParams) -> None:
        shape = np.zeros(0, dtype=np.float32) if params.shape is None else params.shape
        arrays: dict[str, tuple[str, Any]] = {name: ("<f4", getattr(params, field)) for name, field in _POSES.items()}
        arrays |= {
            "expr": ("<f4", _padded(params.expression, _N_EXPR)),
            "shape": ("<f4", _padded(shape[None], _N_SHAPE)[0]),
            "time": ("<f8", params.time),
            "found": ("|b1", params.found),
            "n_expression": ("<i8", np.array(params.n_expression)),
            "n_shape": ("<i8", np.array(len(shape))),
        }
        for name, (dtype, array) in arrays.items():
            write_member(archive, name, array.shape, dtype, [array])
        if self._n_offsets:
            for name, length in (("static_offset", 1), ("dynamic_offset", len(params))):
                size = (length, self._n_offsets, 3)
                write_member(archive, name, size, "<f4", _zeros(math.prod(size)))

    @override
    def _discard(self) -> None:
        self._file.discard()
        self._rows.clear()


class FrameFolderSink(ParamsSink):
    """A folder of `{frame:05d}.npz`, as VHAP exports beside `transforms.json`; frames without parameters are left out.

    Args:
        path: the final name of the folder, by custom `flame_param`.
        head: the head that was driven; the offset is written only for one of FLAME's 5023 vertices, or None.
    """

    def __init__(self, path: str | Path, *, head: HeadLike | None = None) -> None:
        super().__init__(path)
        self._folder = AtomicFolder(self.path)
        self._n_offsets = _n_offsets(head)
        self._next = self._n_files = 0

    @override
    def _append(self, params: FlameParams, scores: Float32 | None) -> None:
        shape = np.zeros(0, dtype=np.float32) if params.shape is None else params.shape
        expression = _padded(params.expression, _N_EXPR)
        for row in range(len(params)):
            frame = {name: getattr(params, field)[row : row + 1] for name, field in _POSES.items()}
            frame["expr"] = expression[row : row + 1]
            frame["shape"] = _padded(shape[None], _N_SHAPE)[0]
            if self._n_offsets:
                frame["static_offset"] = np.zeros((1, self._n_offsets, 3), dtype=np.float32)
            if all(np.isfinite(value).all() for value in frame.values()):
                np.savez_compressed(self._folder.temporary / f"{self._next:05d}.npz", **frame)
                self._n_files += 1
            self._next += 1

    @override
    def _publish(self) -> None:
        if self._n_files == 0:
            raise SinkError(f"{self.path} was not made: no frame has parameters")
        self._folder.publish()

    @override
    def _discard(self) -> None:
        self._folder.discard()


def _n_offsets(head: HeadLike | None) -> int:
    """Number of vertices that GaussianAvatars expects offsets for; 0 where the head is no FLAME head."""
    is_flame = head is None or len(head.neutral_vertices) == _FLAME_VERTICES
    return _FLAME_VERTICES + _TEETH if is_flame else 0


def _padded(values: NDArray[Any], least: int) -> Float32:
    """(N, at least `least`) the values with zeros behind them."""
    result = np.zeros((len(values), max(values.shape[1], least)), dtype=np.float32)
    result[:, : values.shape[1]] = values
    return result


def _zeros(count: int) -> Iterator[Float32]:
    while count > 0:
        yield _ZEROS[:count]
        count -= len(_ZEROS)
