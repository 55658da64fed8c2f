"""Which point of the built-in head each point of another head's face is.

Letters: V vertices of the other head, S of its skin, T of the built-in head's skin, M shapes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import as_file, files
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mp2flame.geometry.face_regions import head_regions
from mp2flame.geometry.mesh import ClosestPoints, closest_points
from mp2flame.head import FlameHead, load_head
from mp2flame.head.landmarks import LandmarkEmbedding, load_embedding
from mp2flame.retargeting.face_surface import Skin, face_skin
from mp2flame.retargeting.registration import register

__all__ = ["Correspondence", "correspond", "source_head", "source_landmarks"]

Float64 = NDArray[np.float64]

_REACH: Final = 0.08
"""How far off the registered surface a vertex may be and still follow it, in eye distances."""
_ON_RIM: Final = 1 - 1e-6
_AT_RIM: Final = 0.016
"""Nearer than this a vertex whose counterpart is on the rim has not left the surface, in eye distances."""


@lru_cache(maxsize=1)
def source_head() -> FlameHead:
    """The head whose shapes are carried over: the built-in one."""
    return load_head("builtin")


@lru_cache(maxsize=1)
def source_landmarks() -> LandmarkEmbedding:
    """MediaPipe's landmarks on that head, as `prepare_head` found them."""
    with as_file(files("mp2flame.retargeting") / "assets" / "builtin_landmarks.npz") as path:
        return load_embedding(path)


@dataclass(frozen=True, eq=False)
class Correspondence:
    """The built-in head's skin, laid on another head's."""

    source: Skin
    """The built-in head's."""
    target: Skin
    """The other head's."""
    registered: Float64
    """(T, 3) metres: where the built-in head's vertices lie on the other head."""
    nearest: ClosestPoints
    """For each of the S vertices, the point of the built-in head's skin that it is."""
    attached: NDArray[np.bool_]
    """(S,) which vertices have such a point."""
    beyond: NDArray[np.bool_]
    """(S,) which lie past the rim of the built-in head's skin: ears, neck."""

    def follow(self, values: Float64) -> Float64:
        """Values (M, T, D) of the built-in head's vertices at the other head's (M, S, D); zero where not attached."""
        corners = self.source.triangles[self.nearest.triangle]
        at = np.einsum("sc,mscd->msd", self.nearest.barycentric, values[:, corners])
        result: Float64 = np.where(self.attached[:, None], at, 0.0)
        return result

    def regions(self, head: FlameHead) -> Mapping[str, NDArray[np.bool_]]:
        """The built-in head's region masks (V,) on the other head, by the names in `REGIONS`."""
        masks = {}
        for name, own in head_regions(source_head()).items():
            share = self.follow(own[self.source.rows].astype(np.float64)[None, :, None])[0, :, 0]
            mask = np.zeros(head.n_vertices, dtype=np.bool_)
            mask[self.target.rows[self.attached & (share > 0.5)]] = True
            masks[name] = mask
        return MappingProxyType(masks)


def correspond(head: FlameHead, embedding: LandmarkEmbedding) -> Correspondence:
    """Register the built-in head's skin to that of a head.

    Args:
        head: any head; the identity that is baked in is the one that is registered.
        embedding: where MediaPipe's landmarks lie on it, see `prepare_head`.

    Raises:
        HeadMismatchError: the landmarks are another head's.
        InputError: the head has no face, or eyes that do not turn, or too few landmarks are known.
    """
    source, target = face_skin(source_head(), source_landmarks()), face_skin(head, embedding)
    registered = register(source, target)
    nearest = closest_points(
        target.vertices,
        registered,
        source.triangles,
        normals=target.normals,
        labels=(target.lip, source.triangle_lip),
    )
    near = nearest.distance < _REACH * target.eye_distance
    rim = (source.rim[source.triangles[nearest.triangle]] * nearest.barycentric).sum(axis=1) > _ON_RIM
    at_rim = rim & (nearest.distance < _AT_RIM * target.eye_distance)
    return Correspondence(source, target, registered, nearest, near & (~rim | at_rim), rim & ~near)
