"""VHAP's and GaussianAvatars' parameters: one `.npz` for a sequence, or a folder with one for each frame.

    translation rotation neck_pose jaw_pose (T, 3), eyes_pose (T, 6) left first, expr (T, 100), shape (300,),
    static_offset (1, 5143, 3), dynamic_offset (T, 5143, 3), all float32

GaussianAvatars' `--motion_path` wants every one of these but shape and static_offset, and drops whatever is not
float32. 5143 is FLAME's 5023 vertices and the 120 of the teeth that both programs add. Sources: `save_result` and
`export_as_nerf_dataset` of VHAP, `FlameGaussianModel.load_ply` of GaussianAvatars.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mp2flame.data import FlameParams, Float32
from mp2flame.errors import FormatError, SinkError
from mp2flame.files import AtomicFile, AtomicFolder, check_writable, write_errors
from mp2flame.formats.arrays import constant, frame_times, rows
from mp2flame.formats.spool import RowSpool
from mp2flame.formats.writer import ParamsWriter

__all__ = ["OFFSETS", "FrameFolderWriter", "NpzWriter", "read_vhap"]

OFFSETS = frozenset({"static_offset", "dynamic_offset"})
"""Arrays of this layout that are large and that no parameter comes from."""

_FLAME_VERTICES, _TEETH = 5023, 120
_N_EXPR, _N_SHAPE = 100, 300
_POSES = {
    "rotation": "global_orient",
    "neck_pose": "neck_pose",
    "jaw_pose": "jaw_pose",
    "eyes_pose": "eye_pose",
    "translation": "translation",
}
_WIDTHS = {"eyes_pose": 6}
# Zeros are handed to the compressor in blocks of about 4 MB.
_ZEROS = np.zeros(1 << 20, dtype=np.float32)


def read_vhap(arrays: Mapping[str, NDArray[Any]], *, where: str, frame_rate: float) -> FlameParams:
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
        ours: rows(arrays, name, _WIDTHS.get(name, 3), n=n, where=where, found=found) for name, ours in _POSES.items()
    }
    eyes = poses.pop("eye_pose")
    shape = constant(arrays, "shape", where=where)
    # Ours are padded to the widths that the field's programs expect; these two say what was there.
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


def _true_width(arrays: Mapping[str, NDArray[Any]], name: str, stored: int, *, where: str) -> int:
    if name not in arrays:
        return stored
    width = arrays[name]
    if width.ndim != 0 or width.dtype.kind not in "iu" or not 0 <= width <= stored:
        raise FormatError(f"{where}: {name} must be a whole number up to {stored}; got {width!r}")
    return int(width)


class NpzWriter(ParamsWriter):
    """One `.npz` for the sequence, which GaussianAvatars plays as `--motion_path`.

    Expression and identity are padded with zeros to 100 and 300. Beside the names above it holds `time` (T,) float64,
    `found` (T,) bool and the unpadded widths `n_expression` and `n_shape`, which those programs pass over. The offsets
    are zeros; compressed they cost about 60 bytes a frame, and a reader that does not ask for them never inflates them.

    Args:
        path: the final name.
        head_vertices: V of the head that was driven; the offsets are written only for FLAME's 5023, or None.
    """

    def __init__(self, path: Path, *, head_vertices: int | None = None) -> None:
        super().__init__(path)
        check_writable(path)
        self._n_offsets = _n_offsets(head_vertices)
        with write_errors(path, "nothing was written"):
            self._spool = RowSpool(path.parent)

    def _write(self, params: FlameParams, scores: Float32 | None) -> None:  # noqa: ARG002 - this format keeps none
        self._spool.append(params)

    def _publish(self) -> None:
        part = AtomicFile(self.path)
        try:
            with zipfile.ZipFile(part.temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
                self._write_members(archive)
            part.publish()
        finally:
            part.discard()

    def _write_members(self, archive: zipfile.ZipFile) -> None:
        spool, n = self._spool, self._spool.n_frames
        for name, field in _POSES.items():
            _write_member(archive, name, (n, _WIDTHS.get(name, 3)), "<f4", spool.chunks(field))
        width = max(spool.n_expression, _N_EXPR)
        expression = (_padded(chunk, width) for chunk in spool.chunks("expression"))
        _write_member(archive, "expr", (n, width), "<f4", expression)
        shape = np.zeros(0, dtype=np.float32) if spool.shape is None else spool.shape
        width = max(len(shape), _N_SHAPE)
        _write_member(archive, "shape", (width,), "<f4", [_padded(shape[None], width)])
        _write_member(archive, "time", (n,), "<f8", spool.chunks("time"))
        _write_member(archive, "found", (n,), "|b1", spool.chunks("found"))
        _write_member(archive, "n_expression", (), "<i8", [np.array(spool.n_expression)])
        _write_member(archive, "n_shape", (), "<i8", [np.array(len(shape))])
        if self._n_offsets:
            for name, length in (("static_offset", 1), ("dynamic_offset", n)):
                size = (length, self._n_offsets, 3)
                _write_member(archive, name, size, "<f4", _zeros(math.prod(size)))

    def _discard(self) -> None:
        self._spool.close()


class FrameFolderWriter(ParamsWriter):
    """A folder of `{frame:05d}.npz`, as VHAP exports beside `transforms.json`; frames without parameters are left out.

    Args:
        path: the final name of the folder, by custom `flame_param`.
        head_vertices: V of the head that was driven; the offset is written only for FLAME's 5023, or None.
    """

    def __init__(self, path: Path, *, head_vertices: int | None = None) -> None:
        super().__init__(path)
        self._folder = AtomicFolder(path)
        self._n_offsets = _n_offsets(head_vertices)
        self._n_files = 0

    def _write(self, params: FlameParams, scores: Float32 | None) -> None:  # noqa: ARG002 - this format keeps none
        shape = np.zeros(0, dtype=np.float32) if params.shape is None else params.shape
        expression = _padded(params.expression, max(params.n_expression, _N_EXPR))
        for row in range(len(params)):
            frame = {name: getattr(params, field)[row : row + 1] for name, field in _POSES.items()}
            frame["expr"] = expression[row : row + 1]
            frame["shape"] = _padded(shape[None], max(len(shape), _N_SHAPE))[0]
            if self._n_offsets:
                frame["static_offset"] = np.zeros((1, self._n_offsets, 3), dtype=np.float32)
            if all(np.isfinite(value).all() for value in frame.values()):
                np.savez_compressed(self._folder.temporary / f"{self.n_frames + row:05d}.npz", **frame)
                self._n_files += 1

    def _publish(self) -> None:
        if self._n_files == 0:
            raise SinkError(f"{self.path} was not made: no frame has parameters")
        self._folder.publish()

    def _discard(self) -> None:
        self._folder.discard()


def _n_offsets(head_vertices: int | None) -> int:
    """Vertices that GaussianAvatars expects offsets for; 0 where the head is no FLAME head."""
    return _FLAME_VERTICES + _TEETH if head_vertices in (None, _FLAME_VERTICES) else 0


def _padded(values: NDArray[Any], width: int) -> Float32:
    result = np.zeros((len(values), width), dtype=np.float32)
    result[:, : values.shape[1]] = values
    return result


def _zeros(count: int) -> Iterator[Float32]:
    while count > 0:
        yield _ZEROS[:count]
        count -= len(_ZEROS)


def _write_member(
    archive: zipfile.ZipFile, name: str, shape: tuple[int, ...], dtype: str, chunks: Iterable[NDArray[Any]]
) -> None:
    """One array of the archive, in pieces; `numpy.savez` would need it whole in memory."""
    # Opened by name, a member gets a fixed date: the same parameters give the same bytes.
    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
        header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(member, header)
        for chunk in chunks:
            member.write(np.ascontiguousarray(chunk, dtype=dtype).tobytes())
