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
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from mp2flame.data import VECTORS, FlameParams, Float32, HeadLike
from mp2flame.errors import SinkError
from mp2flame.files import AtomicFile, AtomicFolder
from mp2flame.formats.base import ParamsSink
from mp2flame.formats.npz import Layout

LAYOUT: Final = Layout(
    expression="expr",
    vectors={
        "global_orient": ("rotation", 3, 0),
        "neck_pose": ("neck_pose", 3, 0),
        "jaw_pose": ("jaw_pose", 3, 0),
        "leye_pose": ("eyes_pose", 6, 0),
        "reye_pose": ("eyes_pose", 6, 3),
        "translation": ("translation", 3, 0),
    },
)
OFFSETS: Final = frozenset({"static_offset", "dynamic_offset"})
"""Arrays of this layout that are large and that no parameter comes from."""

_FLAME_VERTICES, _TEETH = 5023, 120
_N_EXPR, _N_SHAPE = 100, 300
_ZEROS: Final = np.zeros(1 << 20, dtype=np.float32)
"""Zeros are given to the compressor in blocks of about 4 MB."""


class NpzSink(ParamsSink):
    """One `.npz` for the sequence, which GaussianAvatars plays as `--motion_path`.

    Expression and identity are padded with zeros to 100 and 300. Beside the names above it holds `time` (T,) float64,
    `found` (T,) bool and the unpadded widths `n_expression` and `n_shape`, which those programs pass over. The offsets
    are zeros; compressed they cost about 60 bytes a frame, and a reader that does not ask for them never inflates them.
    Until the file is closed the parameters wait in memory, about 1 kB a frame: 100 MB for an hour.

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
        self._rows.append((params.time, params.found, params.to_rows(VECTORS)))

    @override
    def _publish(self) -> None:
        assert self._first is not None
        time, found, rows = (np.concatenate(parts) for parts in zip(*self._rows, strict=True))
        params = FlameParams.from_rows(rows, VECTORS, time=time, found=found, shape=self._first.shape)
        arrays = _arrays(params) | {
            "time": params.time,
            "found": params.found,
            "n_expression": np.array(params.n_expression),
            "n_shape": np.array(0 if params.shape is None else len(params.shape)),
        }
        with zipfile.ZipFile(self._file.temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for name, array in arrays.items():
                _write_member(archive, name, array.shape, array.dtype, [array])
            for name, length in (("static_offset", 1), ("dynamic_offset", len(params))) if self._n_offsets else ():
                size = (length, self._n_offsets, 3)
                _write_member(archive, name, size, _ZEROS.dtype, _zeros(math.prod(size)))
        self._file.publish()

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
        self._n_files = 0

    @override
    def _append(self, params: FlameParams, scores: Float32 | None) -> None:
        for row, single in enumerate(params):
            arrays = _arrays(single)
            if not all(np.isfinite(array).all() for array in arrays.values()):
                continue
            if self._n_offsets:
                arrays["static_offset"] = np.zeros((1, self._n_offsets, 3), dtype=np.float32)
            np.savez_compressed(self._folder.temporary / f"{self.n_frames + row:05d}.npz", **arrays)  # type: ignore[arg-type]  # of its stub
            self._n_files += 1

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


def _arrays(params: FlameParams) -> dict[str, NDArray[Any]]:
    """The parameters under VHAP's names, padded to its widths."""
    shape = np.zeros(0, dtype=np.float32) if params.shape is None else params.shape
    return {
        "rotation": params.global_orient,
        "neck_pose": params.neck_pose,
        "jaw_pose": params.jaw_pose,
        "eyes_pose": params.eye_pose,
        "translation": params.translation,
        "expr": np.pad(params.expression, ((0, 0), (0, max(0, _N_EXPR - params.n_expression)))),
        "shape": np.pad(shape, (0, max(0, _N_SHAPE - len(shape)))),
    }


def _zeros(count: int) -> Iterator[Float32]:
    while count > 0:
        yield _ZEROS[:count]
        count -= len(_ZEROS)


def _write_member(
    archive: zipfile.ZipFile, name: str, shape: tuple[int, ...], dtype: np.dtype[Any], chunks: Iterable[NDArray[Any]]
) -> None:
    """Write one array in pieces; `numpy.savez` would need it whole in memory."""
    # Opened by name, a member gets a fixed date: the same parameters give the same bytes.
    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
        little = dtype.newbyteorder("<")
        header = {"descr": np.lib.format.dtype_to_descr(little), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(member, header)
        for chunk in chunks:
            member.write(np.ascontiguousarray(chunk, dtype=little).tobytes())
