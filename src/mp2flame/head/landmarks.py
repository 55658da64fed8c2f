"""Where MediaPipe's landmarks lie on a head's surface.

Letters: K landmarks, V vertices, F triangles.

An embedding is one `.npz` with the fields of FLAME's own `mediapipe_landmark_embedding.npz`, so that either kind is
read by the same code: `lmk_face_idx` (K,), `lmk_b_coords` (K, 3), `landmark_indices` (K,). Ours adds `spread` (K,),
and the strings `format` "mp2flame-embedding", `format_version`, `head_hash` and `head_version`.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mp2flame.data import N_LANDMARKS, HeadLike
from mp2flame.errors import FormatError, HeadMismatchError, InputError
from mp2flame.files import read_npz, write_atomic
from mp2flame.validation import check_array, check_header

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

_FORMAT: Final = "mp2flame-embedding"
_FORMAT_VERSION: Final = 1
_KEYS: Final = ("lmk_face_idx", "lmk_b_coords", "landmark_indices")
_STRINGS: Final = ("format", "format_version", "head_hash", "head_version")
# Files store barycentric coordinates in float32 at worst, and not all tools normalize them.
_SUM_TOLERANCE: Final = 1e-3
_EXACT: Final = 1e-12
_MAX_BYTES: Final = 16 << 20


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
    """(K,) meters along each image axis by which MediaPipe misses the point; None where unknown."""
    head_hash: str | None = None
    """`FlameHead.hash` of the head it was found on; None for a file that does not say."""
    head_version: str | None = None
    """`FlameHead.version` of that head."""

    def __post_init__(self) -> None:
        index = check_array("landmark_index", self.landmark_index, ("K",), np.int64)
        n = len(index)
        if not n or index.min() < 0 or index.max() >= N_LANDMARKS or len(np.unique(index)) != n:
            raise InputError(f"landmark_index must be distinct, in 0..{N_LANDMARKS - 1}")
        face = check_array("face_index", self.face_index, (n,), np.int64)
        if face.min() < 0:
            raise InputError(f"face_index must not be negative; got {face.min()}")
        weights = check_array("barycentric", self.barycentric, (n, 3), np.float64, finite=True)
        total = weights.sum(axis=1, keepdims=True)
        if np.abs(total - 1).max() > _SUM_TOLERANCE:
            raise InputError(f"barycentric must sum to one in each row; got {total.ravel()[:3]}...")
        # Dividing what sums to one already would move last digits at each reading and writing.
        weights = np.where(np.abs(total - 1) < _EXACT, weights, weights / total)
        weights.flags.writeable = False
        spread = None
        if self.spread is not None:
            spread = check_array("spread", self.spread, (n,), np.float64, finite=True)
        vars(self).update(landmark_index=index, face_index=face, barycentric=weights, spread=spread)

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

    def check_head(self, head: HeadLike) -> None:
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
            "format_version": str(_FORMAT_VERSION),
            "lmk_face_idx": self.face_index,
            "lmk_b_coords": self.barycentric,
            "landmark_indices": self.landmark_index,
        }
        optional = {"spread": self.spread, "head_hash": self.head_hash, "head_version": self.head_version}
        fields |= {name: value for name, value in optional.items() if value is not None}
        content = io.BytesIO()
        np.savez(content, **fields)
        write_atomic(target, content.getvalue())


def load_embedding(path: str | Path) -> LandmarkEmbedding:
    """Load an embedding: one that `LandmarkEmbedding.save` wrote, or FLAME's `mediapipe_landmark_embedding.npz`.

    Raises:
        MissingFileError: there is no such file.
        FormatError: it is truncated, or no landmark embedding.
    """
    source = Path(path)
    fields = read_npz(source, "landmark embedding", limit=_MAX_BYTES, keys=(*_KEYS, *_STRINGS, "spread"))
    missing = [key for key in _KEYS if key not in fields]
    if missing:
        raise FormatError(
            f"{source}: expected {', '.join(_KEYS)}; {', '.join(missing)} missing: not an embedding of MediaPipe's "
            "landmarks (that of the 68 landmarks is another file)"
        )
    header: dict[str, str] = {key: str(fields[key]) for key in _STRINGS if key in fields}
    if "format" in header:
        check_header(header, expected=_FORMAT, newest=_FORMAT_VERSION, source=source)
    try:
        return LandmarkEmbedding(
            landmark_index=fields["landmark_indices"],
            face_index=fields["lmk_face_idx"],
            barycentric=fields["lmk_b_coords"],
            spread=fields.get("spread"),
            head_hash=header.get("head_hash"),
            head_version=header.get("head_version"),
        )
    except InputError as error:
        raise FormatError(f"{source}: {error}") from error
