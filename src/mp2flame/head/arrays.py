"""The arrays of a head in FLAME's layout, checked once.

Letters: V vertices, F triangles, J = 5 joints (root, neck, jaw, left eye, right eye), S identity and E expression
components. Metres, +Y up, the face looks to +Z, +X is the subject's left.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mp2flame.blendshapes import ARKIT
from mp2flame.errors import FormatError
from mp2flame.head.skinning import Basis, make_basis

__all__ = ["BLENDSHAPE_KEYS", "OPTIONAL_KEYS", "REQUIRED_KEYS", "HeadArrays", "check_arrays"]

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
    """(V, 3) metres."""
    faces: NDArray[np.uint32]
    """(F, 3)."""
    shapedirs: Float32
    """(V, 3, S + E) metres per unit: identity components, then expression components."""
    posedirs: Float32
    """(V, 3, 36) metres per entry of R - I, row by row, of joints 1 to 4."""
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


def _checked(get: Callable[[str], Array], name: str, shape: tuple[int | None, ...], kinds: str, source: str) -> Array:
    """Array `name`, of one of these dtype kinds and this shape (None is any length); floats finite, as float32."""
    array = get(name)
    wanted = "(" + ", ".join("any" if size is None else str(size) for size in shape) + ("," * (len(shape) == 1)) + ")"
    if array.dtype.kind not in kinds:
        raise FormatError(f"{source}: {name} must be numbers of kind {kinds}; got {array.dtype}: not a FLAME head")
    if array.ndim != len(shape) or any(size not in (None, got) for size, got in zip(shape, array.shape, strict=True)):
        raise FormatError(f"{source}: {name} must have shape {wanted}; got {array.shape}: not a FLAME head")
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):
            array = np.ascontiguousarray(array, dtype=np.float32)
        if not np.isfinite(array).all():
            raise FormatError(f"{source}: {name} must be finite; got NaN or infinity: fetch the file again")
    return array


def _parents(table: Array, source: str) -> tuple[int, ...]:
    """Parent joints from a kinematic tree (2, 5); FLAME writes the root's as -1 in 32 or 64 unsigned bits."""
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


def _indices(array: Array, name: str, limit: int, source: str) -> NDArray[np.uint32]:
    if array.size and (int(array.min()) < 0 or int(array.max()) >= limit):
        raise FormatError(
            f"{source}: {name} must index {limit} vertices; got {int(array.min())} to {int(array.max())}: damaged file"
        )
    return np.ascontiguousarray(array, dtype=np.uint32)


def _extras(arrays: Mapping[str, Array], n_vertices: int, n_expression: int, source: str) -> dict[str, Any]:
    """The optional arrays that are there."""
    found: dict[str, Any] = {}
    for name, shape in (("vertex_colors", (n_vertices, 3)), ("region", (n_vertices,))):
        if name in arrays:
            checked = _checked(arrays.__getitem__, name, shape, "u", source)
            found[name] = np.ascontiguousarray(checked, dtype=np.uint8)
    if "mirror" in arrays:
        mirror = _checked(arrays.__getitem__, "mirror", (n_vertices,), "iu", source)
        found["mirror"] = _indices(mirror, "mirror", n_vertices, source)
    if any(key in arrays for key in BLENDSHAPE_KEYS.values()):
        get = _required(arrays, source)
        found["blendshapes"] = {
            field: _checked(get, key, (len(ARKIT), n_expression if field == "expression" else 3), "f", source)
            for field, key in BLENDSHAPE_KEYS.items()
        }
    return found


def _required(arrays: Mapping[str, Array], source: str) -> Callable[[str], Array]:
    def get(name: str) -> Array:
        if name not in arrays:
            raise FormatError(
                f"{source}: expected a FLAME head with {name}; got {', '.join(sorted(arrays)) or 'nothing'}"
            )
        return arrays[name]

    return get


def check_arrays(arrays: Mapping[str, Array], source: str, n_shape: int | None = None) -> HeadArrays:
    """Check a head's arrays, in FLAME's names, and bring them to float32.

    Args:
        arrays: `REQUIRED_KEYS`, and any of `OPTIONAL_KEYS`.
        source: what to call the file in messages.
        n_shape: S, where `shapedirs` does not say by its width.

    Raises:
        FormatError: an array is absent, or has the wrong shape, kind or values.
    """
    get = _required(arrays, source)
    template = _checked(get, "v_template", (None, 3), "f", source)
    n_vertices = len(template)
    if n_vertices == 0:
        raise FormatError(f"{source}: expected a head with vertices; got none")
    shapedirs = _checked(get, "shapedirs", (n_vertices, 3, None), "f", source)
    identity = _split(shapedirs.shape[2], n_shape, source)
    tree = _checked(get, "kintree_table", (2, N_JOINTS), "iu", source)
    faces = _checked(get, "f", (None, 3), "iu", source)
    return HeadArrays(
        v_template=template,
        faces=_indices(faces, "f", n_vertices, source),
        shapedirs=shapedirs,
        posedirs=_checked(get, "posedirs", (n_vertices, 3, _N_CORRECTIVES), "f", source),
        regressor=_checked(get, "J_regressor", (N_JOINTS, n_vertices), "f", source),
        weights=_checked(get, "weights", (n_vertices, N_JOINTS), "f", source),
        parents=_parents(tree, source),
        n_shape=identity,
        **_extras(arrays, n_vertices, shapedirs.shape[2] - identity, source),
    )
