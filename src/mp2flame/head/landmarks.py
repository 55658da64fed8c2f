"""Where MediaPipe's landmarks lie on a head's surface.

Letters: K landmarks, V vertices, F triangles.

An embedding is one `.npz` with the fields of FLAME's own `mediapipe_landmark_embedding.npz`, so that either kind is
read by the same code: `lmk_face_idx` (K,), `lmk_b_coords` (K, 3), `landmark_indices` (K,). Ours adds `spread` (K,),
and the strings `format` "mp2flame-embedding", `format_version`, `head_hash` and `head_version`.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mp2flame.data import N_LANDMARKS
from mp2flame.errors import FormatError, HeadMismatchError, InputError, MissingFileError
from mp2flame.files import write_atomic

if TYPE_CHECKING:
    from mp2flame.head.model import FlameHead

__all__ = ["LandmarkEmbedding", "load_embedding"]

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

_FORMAT: Final = "mp2flame-embedding"
_FORMAT_VERSION: Final = "1"
_KEYS: Final = ("lmk_face_idx", "lmk_b_coords", "landmark_indices")
_STRINGS: Final = ("format", "format_version", "head_hash", "head_version")
# Files store barycentric coordinates in float32 at worst, and not all tools normalise them.
_SUM_TOLERANCE: Final = 1e-3
_EXACT: Final = 1e-12
_MAX_BYTES: Final = 16 * 1024**2


@dataclass(frozen=True, kw_only=True, eq=False)
class LandmarkEmbedding:
    """K of MediaPipe's 478 landmarks as points fixed to a head's triangles.

    Raises:
        InputError: a shape is wrong, an index is out of range or given twice, or weights do not sum to one.
    """

    landmark_index: Int64
    """(K,) which of MediaPipe's landmarks."""
    face_index: Int64
    """(K,) the triangle that each lies on."""
    barycentric: Float64
    """(K, 3) the weights of the triangle's corners; each row sums to one."""
    spread: Float64 | None = None
    """(K,) metres along each picture axis by which MediaPipe misses the point; None where unknown."""
    head_hash: str | None = None
    """`FlameHead.hash` of the head it was found on; None for a file that does not say."""
    head_version: str | None = None
    """`FlameHead.version` of that head."""

    def __post_init__(self) -> None:
        index = _whole("landmark_index", self.landmark_index)
        if not len(index) or index.min() < 0 or index.max() >= N_LANDMARKS or len(np.unique(index)) != len(index):
            raise InputError(f"LandmarkEmbedding.landmark_index must be distinct, in 0..{N_LANDMARKS - 1}")
        face = _whole("face_index", self.face_index)
        if len(face) != len(index) or face.min() < 0:
            raise InputError(f"LandmarkEmbedding.face_index must be ({len(index)},), not negative; got {face.shape}")
        weights = _finite("barycentric", self.barycentric, (len(index), 3))
        total = weights.sum(axis=1, keepdims=True)
        if np.abs(total - 1).max() > _SUM_TOLERANCE:
            raise InputError(f"LandmarkEmbedding.barycentric must sum to one in each row; got {total.ravel()[:3]}...")
        spread = None if self.spread is None else _finite("spread", self.spread, (len(index),))
        # Dividing what sums to one already would move last digits at each reading and writing.
        weights = np.where(np.abs(total - 1) < _EXACT, weights, weights / total)
        values = {"landmark_index": index, "face_index": face, "barycentric": weights, "spread": spread}
        for name, value in values.items():
            if value is not None:
                value.flags.writeable = False
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.landmark_index)

    def corners(self, faces: ArrayLike) -> Int64:
        """(K, 3) the vertices whose weighted sum each landmark is.

        Args:
            faces: (F, 3) the head's triangles.

        Raises:
            InputError: there are fewer triangles than the embedding names.
        """
        triangles = np.asarray(faces, dtype=np.int64)
        if triangles.ndim != 2 or triangles.shape[1] != 3 or len(triangles) <= self.face_index.max():
            raise InputError(
                f"expected at least {self.face_index.max() + 1} triangles (F, 3); got {triangles.shape}: "
                "these landmarks were found on another head"
            )
        corners: Int64 = triangles[self.face_index]
        return corners

    def positions(self, vertices: ArrayLike, faces: ArrayLike) -> Float64:
        """Where the landmarks are on a posed head.

        Args:
            vertices: (..., V, 3).
            faces: (F, 3) the head's triangles.

        Returns:
            (..., K, 3), in the unit of `vertices`.

        Raises:
            InputError: the mesh is too small for these landmarks.
        """
        points, corners = np.asarray(vertices, dtype=np.float64), self.corners(faces)
        if points.ndim < 2 or points.shape[-1] != 3 or points.shape[-2] <= corners.max():
            raise InputError(f"expected vertices (..., V, 3) with V > {corners.max()}; got {points.shape}")
        result: Float64 = np.einsum("kc,...kcd->...kd", self.barycentric, points[..., corners, :])
        return result

    def check_head(self, head: FlameHead) -> None:
        """Refuse a head that these landmarks cannot be meant for.

        Raises:
            HeadMismatchError: the embedding names another head.
            InputError: the head has too few triangles.
        """
        if self.head_hash is not None and self.head_hash != head.hash:
            raise HeadMismatchError(
                f"expected the head that these landmarks were found on ({self.head_version or 'version unknown'}, hash "
                f"{self.head_hash[:12]}); got {head.version}, hash {head.hash[:12]}: find them again for this head"
            )
        self.corners(head.faces)

    def save(self, path: str | Path) -> None:
        """Write the embedding as `.npz`, under a temporary name first.

        Raises:
            InputError: the name does not end in `.npz`, or is a folder.
            MissingFileError: the folder does not exist.
            SinkError: the file cannot be written.
        """
        target = Path(path)
        if target.suffix.lower() != ".npz":
            raise InputError(f"expected a file name that ends in .npz; got {target.name!r}")
        fields: dict[str, Any] = {
            "format": _FORMAT,
            "format_version": _FORMAT_VERSION,
            "lmk_face_idx": self.face_index,
            "lmk_b_coords": self.barycentric,
            "landmark_indices": self.landmark_index,
        }
        optional = {"spread": self.spread, "head_hash": self.head_hash, "head_version": self.head_version}
        fields |= {name: value for name, value in optional.items() if value is not None}
        content = io.BytesIO()
        np.savez(content, **fields)
        write_atomic(target, content.getvalue())


def _whole(name: str, value: ArrayLike) -> Int64:
    """Whole numbers (K,), which some copies of the official file store as floats."""
    array = np.asarray(value)
    if array.ndim != 1 or array.dtype.kind not in "fiu":
        raise InputError(f"LandmarkEmbedding.{name} must be whole numbers (K,); got {array.dtype} {array.shape}")
    if array.dtype.kind == "f" and not (np.isfinite(array).all() and (array == np.round(array)).all()):
        raise InputError(f"LandmarkEmbedding.{name} must be whole numbers; got fractions")
    return array.astype(np.int64)


def _finite(name: str, value: ArrayLike, shape: tuple[int, ...]) -> Float64:
    array = np.asarray(value)
    if array.shape != shape or array.dtype.kind not in "fiu" or not np.isfinite(array).all():
        raise InputError(f"LandmarkEmbedding.{name} must be finite numbers {shape}; got {array.dtype} {array.shape}")
    return array.astype(np.float64)


def load_embedding(path: str | Path) -> LandmarkEmbedding:
    """Load an embedding: one that `LandmarkEmbedding.save` wrote, or FLAME's `mediapipe_landmark_embedding.npz`.

    Raises:
        MissingFileError: there is no such file.
        FormatError: it is truncated, or no landmark embedding.
    """
    source = Path(path)
    if not source.is_file():
        raise MissingFileError(f"expected a landmark embedding at {source}; there is no such file")
    if source.stat().st_size > _MAX_BYTES:
        raise FormatError(f"{source}: expected a landmark embedding of some kilobytes; got {source.stat().st_size} B")
    fields = _read(source)
    missing = [key for key in _KEYS if key not in fields]
    if missing:
        raise FormatError(
            f"{source}: expected {', '.join(_KEYS)}; {', '.join(missing)} missing: not an embedding of MediaPipe's "
            "landmarks (that of the 68 landmarks is another file)"
        )
    said = {key: str(fields[key]) for key in _STRINGS if key in fields}
    if (said.get("format", _FORMAT), said.get("format_version", _FORMAT_VERSION)) != (_FORMAT, _FORMAT_VERSION):
        raise FormatError(
            f"{source}: expected {_FORMAT!r}, version {_FORMAT_VERSION}; got {said.get('format')!r}, version "
            f"{said.get('format_version')}: another kind of file, or one of a newer mp2flame"
        )
    try:
        return LandmarkEmbedding(
            landmark_index=fields["landmark_indices"],
            face_index=fields["lmk_face_idx"],
            barycentric=fields["lmk_b_coords"],
            spread=fields.get("spread"),
            head_hash=said.get("head_hash"),
            head_version=said.get("head_version"),
        )
    except InputError as error:
        raise FormatError(f"{source}: {error}") from error


def _read(source: Path) -> dict[str, NDArray[Any]]:
    try:
        file = np.load(io.BytesIO(source.read_bytes()), allow_pickle=False)
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise FormatError(f"{source}: expected an .npz of several arrays; got a single one")
        with file:
            return {key: file[key] for key in (*_KEYS, *_STRINGS, "spread") if key in file.files}
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, OSError, MemoryError, NotImplementedError) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"{source}: expected a whole .npz; it is truncated, damaged or another kind") from error
