"""The arrays of a head in FLAME's layout, checked once.

Letters: V vertices, F triangles, J = 5 joints (root, neck, jaw, left eye, right eye), S identity and E expression
components. Meters, +Y up, the face looks to +Z, +X is the subject's left.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mp2flame.blendshapes import ARKIT
from mp2flame.errors import FormatError
from mp2flame.head.skinning import Basis, make_basis
from mp2flame.validation import check_array

Array = NDArray[Any]
Float32 = NDArray[np.float32]

N_JOINTS = 5
_N_CORRECTIVES = (N_JOINTS - 1) * 9
# FLAME's own split, and that of the files cut down for smplx.
_SPLITS = {400: 300, 20: 10}

REQUIRED_KEYS = ("v_template", "f", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table")
BLENDSHAPE_KEYS = {
    "expression": "blendshape_expression",
    "jaw_pose": "blendshape_jaw_pose",
    "leye_pose": "blendshape_leye_pose",
    "reye_pose": "blendshape_reye_pose",
}
OPTIONAL_KEYS = ("vertex_colors", "region", "mirror", *BLENDSHAPE_KEYS.values())


@dataclass(frozen=True, kw_only=True, eq=False)
class HeadArrays:
    """A checked head; the mean identity, no pose. Its arrays are read-only."""

    v_template: Float32
    """(V, 3) meters."""
    faces: NDArray[np.uint32]
    """(F, 3)."""
    shapedirs: Float32
    """(V, 3, S + E) meters per unit: identity components, then expression components."""
    posedirs: Float32
    """(V, 3, 36) meters per entry of R - I, row by row, of joints 1 to 4."""
    regressor: Float32
    """(5, V) joints from vertices."""
    weights: Float32
    """(V, 5) skinning weights."""
    parents: tuple[int, ...]
    """Five parent joints, -1 for the root."""
    n_shape: int
    """S."""
    vertex_colors: NDArray[np.uint8] | None = None
    """(V, 3) RGB."""
    region: NDArray[np.uint8] | None = None
    """(V,) labels."""
    mirror: NDArray[np.uint32] | None = None
    """(V,) the index of each vertex's mirror image."""
    blendshapes: Mapping[str, Float32] | None = None
    """Per field of `FlameParams`, (52, E) or (52, 3): the parameters of each ARKit shape, in Apple's order."""

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, np.ndarray):
                view = value.view()
                view.flags.writeable = False
                object.__setattr__(self, item.name, view)

    @property
    def n_expression(self) -> int:
        """E."""
        return int(self.shapedirs.shape[2]) - self.n_shape

    @cached_property
    def basis(self) -> Basis:
        """The arrays as posing wants them, arranged when first needed."""
        expression = self.shapedirs[:, :, self.n_shape :]
        return make_basis(expression, self.posedirs, self.regressor, self.weights, self.parents)

    @cached_property
    def hash(self) -> str:
        """sha256 of template, shape, pose, regressor and weight arrays as float32 and faces as uint32, little-endian.

        It does not depend on the kind of file, nor on a storage narrower or wider than float32.
        """
        digest = hashlib.sha256()
        for array in (self.v_template, self.shapedirs, self.posedirs, self.regressor, self.weights):
            digest.update(np.ascontiguousarray(array, dtype="<f4").data)
        digest.update(np.ascontiguousarray(self.faces, dtype="<u4").data)
        return digest.hexdigest()


def check_arrays(arrays: Mapping[str, Array], source: str, n_shape: int | None = None) -> HeadArrays:
    """Check a head's arrays, in FLAME's names, and bring them to float32.

    Args:
        arrays: `REQUIRED_KEYS`, and any of `OPTIONAL_KEYS`.
        source: what to call the file in messages.
        n_shape: S, where `shapedirs` does not say by its width.

    Raises:
        FormatError: an array is absent, or has the wrong shape, kind or values.
    """

    def get(name: str, shape: tuple[int | str, ...], dtype: type[Any] = np.float32) -> Array:
        if name not in arrays:
            raise FormatError(
                f"{source}: expected a FLAME head with {name}; got {', '.join(sorted(arrays)) or 'nothing'}"
            )
        array = arrays[name]
        if dtype is not np.float32 and array.dtype.kind not in "iu":
            raise FormatError(f"{source}: {name} must be whole numbers; got {array.dtype}: not a FLAME head")
        checked = check_array(f"{source}: {name}", array, shape, dtype, finite=True, error=FormatError)
        return np.ascontiguousarray(checked)

    def indices(name: str, shape: tuple[int | str, ...]) -> NDArray[np.uint32]:
        array = get(name, shape, np.int64)
        if array.size and (array.min() < 0 or array.max() >= n_vertices):
            raise FormatError(
                f"{source}: {name} must index {n_vertices} vertices; got {array.min()} to {array.max()}: damaged file"
            )
        return array.astype(np.uint32)

    template = get("v_template", ("V", 3))
    n_vertices = len(template)
    if n_vertices == 0:
        raise FormatError(f"{source}: expected a head with vertices; got none")
    shapedirs = get("shapedirs", (n_vertices, 3, "S + E"))
    identity = _split(shapedirs.shape[2], n_shape, source)
    extras: dict[str, Any] = {
        name: get(name, shape, np.uint8)
        for name, shape in (("vertex_colors", (n_vertices, 3)), ("region", (n_vertices,)))
        if name in arrays
    }
    if "mirror" in arrays:
        extras["mirror"] = indices("mirror", (n_vertices,))
    if any(key in arrays for key in BLENDSHAPE_KEYS.values()):
        widths = {"expression": shapedirs.shape[2] - identity}
        extras["blendshapes"] = {
            field: get(key, (len(ARKIT), widths.get(field, 3))) for field, key in BLENDSHAPE_KEYS.items()
        }
    return HeadArrays(
        v_template=template,
        faces=indices("f", ("F", 3)),
        shapedirs=shapedirs,
        posedirs=get("posedirs", (n_vertices, 3, _N_CORRECTIVES)),
        regressor=get("J_regressor", (N_JOINTS, n_vertices)),
        weights=get("weights", (n_vertices, N_JOINTS)),
        parents=_parents(arrays, source),
        n_shape=identity,
        **extras,
    )


def _parents(arrays: Mapping[str, Array], source: str) -> tuple[int, ...]:
    """Parent joints from a kinematic tree (2, 5); FLAME writes the root's as -1 in 32 or 64 unsigned bits."""
    table = arrays.get("kintree_table", np.zeros(0))
    if table.shape != (2, N_JOINTS) or table.dtype.kind not in "iu":
        raise FormatError(
            f"{source}: kintree_table must have shape (2, {N_JOINTS}) and be whole numbers; got {table.shape} of "
            f"{table.dtype}: not a FLAME head"
        )
    parents = [-1 if int(parent) >= 2**32 - 1 else int(parent) for parent in table[0]]
    if parents[0] != -1 or not all(0 <= parent < joint for joint, parent in enumerate(parents[1:], start=1)):
        raise FormatError(
            f"{source}: kintree_table must give -1 for the root and an earlier joint for the others; got {parents}"
        )
    return tuple(parents)


def _split(width: int, n_shape: int | None, source: str) -> int:
    """How many of `width` components are identity."""
    known = _SPLITS.get(width) if n_shape is None else n_shape
    if known is None:
        raise FormatError(
            f"{source}: expected shapedirs with 400 components (300 identity, then 100 expression) or 20 (10 and 10); "
            f"got {width}. Say how many are identity: load_head(path, n_shape=...)"
        )
    if not 0 <= known <= width:
        raise FormatError(f"{source}: expected n_shape from 0 to {width}, the width of shapedirs; got {known}")
    return known
