"""`FlameHead`: FLAME parameters to vertices, joints and landmarks.

`FlameHead.save` writes a head as one `.safetensors`: FLAME's arrays by FLAME's names (`v_template`, `f`, `shapedirs`,
`posedirs`, `J_regressor`, `weights`, `kintree_table`; float32, or float16 for the three bases), the optional
`vertex_colors`, `region`, `mirror` and `blendshape_*`, and string metadata: `format` "mp2flame-head", `format_version`,
`version`, `n_shape`, `n_expression`, `source_sha256` and whatever the source says of licence and provenance.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mp2flame.blendshapes import ARKIT
from mp2flame.data import POSES, FlameParams
from mp2flame.errors import InputError
from mp2flame.files import encode_safetensors, write_atomic
from mp2flame.head.arrays import BLENDSHAPE_KEYS, HeadArrays
from mp2flame.head.landmarks import LandmarkEmbedding
from mp2flame.head.skinning import Rest, make_rest, pose_joints, pose_vertices
from mp2flame.validation import check_array

Float32 = NDArray[np.float32]

FORMAT: Final = "mp2flame-head"
FORMAT_VERSION: Final = 1
JOINT_NAMES: Final = ("root", "neck", "jaw", "left_eye", "right_eye")


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    view: NDArray[Any] = array.view()
    view.flags.writeable = False
    return view


@dataclass(frozen=True, eq=False, repr=False)
class FlameHead:
    """A head model with one identity baked in: a function from `FlameParams` to vertices.

    Made by `load_head`. Calling it keeps no state that matters: the same parameters give the same vertices, from any
    thread.
    """

    arrays: HeadArrays
    """The model's arrays, at the mean identity."""
    version: str
    """Which FLAME this is, for example "FLAME 2020"."""
    shape: Float32 | None = None
    """(S,) the identity that `with_shape` baked; None is the mean identity."""
    source_sha256: str | None = None
    """sha256 of the file that the head was first read from, before any conversion."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """What the file says about itself: licence, provenance and so on."""

    def __repr__(self) -> str:
        return (
            f"FlameHead({self.version!r}, {self.n_vertices} vertices, {self.n_shape} identity and "
            f"{self.n_expression} expression coefficients, hash {self.hash[:12]})"
        )

    @property
    def hash(self) -> str:
        """sha256 of the model's arrays: the same for every kind of file, whatever identity is baked."""
        return self.arrays.hash

    @property
    def faces(self) -> NDArray[np.uint32]:
        """(F, 3) vertex indices."""
        return self.arrays.faces

    @property
    def n_vertices(self) -> int:
        """V."""
        return len(self.arrays.v_template)

    @property
    def n_shape(self) -> int:
        """S, the number of identity coefficients."""
        return self.arrays.n_shape

    @property
    def n_expression(self) -> int:
        """E, the number of expression coefficients."""
        return self.arrays.n_expression

    @property
    def vertex_colors(self) -> NDArray[np.uint8] | None:
        """(V, 3) RGB, or None."""
        return self.arrays.vertex_colors

    @property
    def region(self) -> NDArray[np.uint8] | None:
        """(V,) labels of the surface's parts, or None."""
        return self.arrays.region

    @property
    def mirror(self) -> NDArray[np.uint32] | None:
        """(V,) the index of each vertex's mirror image, or None."""
        return self.arrays.mirror

    @property
    def joint_names(self) -> tuple[str, ...]:
        """The five joints, in order."""
        return JOINT_NAMES

    @property
    def v_template(self) -> Float32:
        """(V, 3) meters: the mean identity with a neutral face."""
        return self.arrays.v_template

    template = v_template

    @cached_property
    def neutral_vertices(self) -> Float32:
        """(V, 3) meters: the baked identity with a neutral face."""
        return _frozen(self._identity(self.shape).astype(np.float32))

    @cached_property
    def _rest(self) -> Rest:
        return make_rest(self._identity(self.shape), self.arrays.regressor)

    def _identity(self, shape: Float32 | None) -> NDArray[np.float64]:
        vertices = self.arrays.v_template.astype(np.float64)
        if shape is not None and shape.any():
            last = int(np.flatnonzero(shape)[-1]) + 1
            components = self.arrays.shapedirs.reshape(vertices.size, -1)[:, :last]
            vertices += (components @ shape[:last]).reshape(vertices.shape)
        return vertices

    def with_shape(self, shape: ArrayLike) -> FlameHead:
        """The same head with another identity baked in, in place of any baked before.

        Args:
            shape: (S',) identity coefficients, S' <= S; those left out are zero.

        Raises:
            InputError: `shape` is not a vector of at most S finite numbers.
        """
        coefficients = check_array("identity coefficients", shape, ("S",), np.float32, finite=True)
        if len(coefficients) > self.n_shape:
            raise InputError(
                f"expected at most {self.n_shape} identity coefficients, the number this head has ({self.version}); "
                f"got {len(coefficients)}"
            )
        padded = np.zeros(self.n_shape, dtype=np.float32)
        padded[: len(coefficients)] = coefficients
        return replace(self, shape=_frozen(padded))

    def __call__(self, params: FlameParams) -> Float32:
        """The vertices of every frame.

        Coefficients that `params` leaves out are zero: FLAME's first 50 expression components are a subset of its 100.
        Where `params.shape` is given it takes the place of the baked identity (the last one is remembered, so a
        sequence of frames of one person bakes once). A frame with NaN among its parameters has NaN vertices.

        Args:
            params: N frames.

        Returns:
            (N, V, 3) float32, meters; planar in memory, all x of a frame before all y (`np.ascontiguousarray` copies
            it into the usual order).

        Raises:
            InputError: there are more expression or identity coefficients than this head has.
        """
        return pose_vertices(self.arrays.basis, *self._pose(params))

    def joints(self, params: FlameParams | None = None) -> Float32:
        """The joints, in the order of `joint_names`.

        Args:
            params: N frames; None for the baked identity with a neutral face.

        Returns:
            (N, 5, 3) meters, or (5, 3) without `params`.

        Raises:
            InputError: there are more expression or identity coefficients than this head has.
        """
        if params is None:
            return self._rest.joints.astype(np.float32)
        return pose_joints(self.arrays.basis, *self._pose(params))

    def landmarks(self, params: FlameParams, embedding: LandmarkEmbedding) -> Float32:
        """Landmarks on the posed surface.

        Args:
            params: N frames.
            embedding: where each of K landmarks lies on this head; see `load_embedding`.

        Returns:
            (N, K, 3) meters, in the order of `embedding.landmark_index`.

        Raises:
            HeadMismatchError: the embedding was made for another head.
            InputError: there are more expression or identity coefficients than this head has.
        """
        embedding.check_head(self)
        return embedding.positions(self(params), self.faces).astype(np.float32)

    def _pose(self, params: FlameParams) -> tuple[Rest, Float32, Float32, Float32]:
        """The identity, and the expression, joint rotations (N, 5, 3) and translation of `params`."""
        if params.n_expression > self.n_expression:
            raise InputError(
                f"expected at most {self.n_expression} expression coefficients, the number this head has "
                f"({self.version}); got {params.n_expression}: these parameters belong to another head"
            )
        poses = np.stack([getattr(params, name) for name in POSES], axis=1)
        rest = self._rest if params.shape is None else self._rest_of(params.shape)
        return rest, params.expression, poses, params.translation

    def _rest_of(self, shape: Float32) -> Rest:
        key = shape.tobytes()
        last = self._last.get("head")
        if last is None or last[0] != key:
            last = (key, self.with_shape(shape)._rest)
            self._last["head"] = last
        return last[1]

    @cached_property
    def _last(self) -> dict[str, tuple[bytes, Rest]]:
        """The identity of the last parameters that brought their own; replaced as a whole."""
        return {}

    def blendshapes(self) -> FlameParams:
        """The parameters that make each of ARKit's 52 shapes at weight 1, one row each, in Apple's order.

        Raises:
            InputError: the head does not carry them.
        """
        shapes = self.arrays.blendshapes
        if shapes is None:
            raise InputError(
                f"expected a head that carries ARKit's shapes; this one does not ({self.version}). "
                'The built-in head does: load_head("builtin").blendshapes(). For other heads `mp2flame transfer --head '
                "FILE -o arkit.safetensors` makes them, as a mapping (--mapping arkit.safetensors)"
            )
        n = len(shapes["expression"])
        return FlameParams(time=np.zeros(n), found=np.ones(n, dtype=np.bool_), **shapes)

    def save(self, path: str | Path) -> None:
        """Write the head as `.safetensors`: safe to share, and several times faster to load than a pickle.

        The same head gives the same bytes. The file is written beside its place and moved there when it is whole.

        Raises:
            InputError: the name does not end in `.safetensors`, or an identity is baked into the head.
            SinkError: the file cannot be written.
        """
        target = Path(path)
        if target.suffix.lower() != ".safetensors":
            raise InputError(f"expected a file name that ends in .safetensors; got {target.name!r}")
        if self.shape is not None and self.shape.any():
            raise InputError(
                "expected a head at the mean identity; got one with an identity baked in: save the head itself"
            )
        own = self.arrays
        optional = {name: getattr(own, name) for name in ("vertex_colors", "region", "mirror")}
        optional |= {BLENDSHAPE_KEYS[name]: array for name, array in (own.blendshapes or {}).items()}
        arrays: dict[str, NDArray[Any]] = {
            "v_template": own.v_template,
            "f": own.faces,
            "shapedirs": own.shapedirs,
            "posedirs": own.posedirs,
            "J_regressor": own.regressor,
            "weights": own.weights,
            "kintree_table": np.array([own.parents, range(len(own.parents))], dtype=np.int64),
            **{name: array for name, array in optional.items() if array is not None},
        }
        metadata = {
            **self.metadata,
            "format": FORMAT,
            "format_version": str(FORMAT_VERSION),
            "version": self.version,
            "n_shape": str(self.n_shape),
            "n_expression": str(self.n_expression),
        }
        if own.blendshapes is not None:
            metadata["blendshape_names"] = json.dumps(list(ARKIT))
        if self.source_sha256 is not None:
            metadata["source_sha256"] = self.source_sha256
        write_atomic(target, encode_safetensors(arrays, metadata))
