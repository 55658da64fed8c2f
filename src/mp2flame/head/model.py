"""`FlameHead`: FLAME parameters to vertices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mp2flame.data import FlameParams
from mp2flame.errors import InputError
from mp2flame.head.arrays import HeadArrays
from mp2flame.head.skinning import Rest, make_rest, pose_vertices

__all__ = ["JOINT_NAMES", "FlameHead"]

Float32 = NDArray[np.float32]

JOINT_NAMES = ("root", "neck", "jaw", "left_eye", "right_eye")


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    view: NDArray[Any] = array.view()
    view.flags.writeable = False
    return view


@dataclass(frozen=True, eq=False)
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
    def template(self) -> Float32:
        """(V, 3) metres: the mean identity at rest."""
        return self.arrays.v_template

    @cached_property
    def neutral_vertices(self) -> Float32:
        """(V, 3) metres: the baked identity at rest."""
        return _frozen(self._identity(self.shape).astype(np.float32))

    def joints(self) -> Float32:
        """(5, 3) metres: the joints of the baked identity at rest."""
        return self._rest.joints.astype(np.float32)

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
        try:
            given = np.asarray(shape, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise InputError(f"expected identity coefficients (S,) as numbers; got {type(shape).__name__}") from error
        if given.ndim != 1 or len(given) > self.n_shape:
            raise InputError(
                f"expected at most {self.n_shape} identity coefficients, the number this head has ({self.version}); "
                f"got shape {given.shape}"
            )
        if not np.isfinite(given).all():
            raise InputError("expected finite identity coefficients; got NaN or infinity")
        padded = np.zeros(self.n_shape, dtype=np.float32)
        padded[: len(given)] = given
        return replace(self, shape=_frozen(padded))

    def __call__(self, params: FlameParams) -> Float32:
        """The vertices of every frame.

        Coefficients that `params` leaves out are zero: FLAME's first 50 expression components are a subset of its 100.
        Where `params.shape` is given it takes the place of the baked identity (the last one is remembered, so a
        sequence of frames of one person bakes once). A frame with NaN among its parameters has NaN vertices.

        Args:
            params: N frames.

        Returns:
            (N, V, 3) float32, metres; planar in memory, all x of a frame before all y (`np.ascontiguousarray` copies
            it into the usual order).

        Raises:
            InputError: there are more expression or identity coefficients than this head has.
        """
        if params.n_expression > self.n_expression:
            raise InputError(
                f"expected at most {self.n_expression} expression coefficients, the number this head has "
                f"({self.version}); got {params.n_expression}: these parameters belong to another head"
            )
        poses = np.stack(
            [params.global_orient, params.neck_pose, params.jaw_pose, params.leye_pose, params.reye_pose], axis=1
        )
        rest = self._rest if params.shape is None else self._rest_of(params.shape)
        return pose_vertices(self.arrays.basis, rest, params.expression, poses, params.translation)

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
