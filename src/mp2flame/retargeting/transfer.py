"""The built-in head's 52 shapes, carried over to another head.

Letters: V vertices of the head, S of its face, M = 52 shapes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mp2flame.blendshapes import ARKIT, mirror_permutation
from mp2flame.data import FlameParams
from mp2flame.errors import InputError
from mp2flame.geometry.face_regions import Regions
from mp2flame.geometry.mesh import triangle_areas_and_normals
from mp2flame.geometry.symmetry import head_symmetry
from mp2flame.head import FlameHead
from mp2flame.head.landmarks import LandmarkEmbedding
from mp2flame.mapping.linear import N_ROTATIONS
from mp2flame.retargeting.coefficient_fit import Targets, fit_coefficients
from mp2flame.retargeting.deformation_transfer import transfer_deformations
from mp2flame.retargeting.registration import Correspondence, correspond, source_head

Float64 = NDArray[np.float64]

COMPOSED_ON: Final = {"mouthClose": "jawOpen"}
"""Shapes that are defined on top of another one: lips close over an open jaw."""

_EMPHASIS: Final = {"lips": 3.0, "lids": 3.0}
"""Factors on the weights of vertices."""
_BEYOND: Final = 0.2
"""Factor on the weight of a vertex past the registered surface, which should stay still."""
_MIN_EXPLAINED: Final = 0.15
_MIN_MOVE: Final = 2e-5
"""Meters of the face's average movement below which a shape counts as none."""


@dataclass(frozen=True, eq=False)
class Transfer:
    """ARKit's shapes on a head."""

    shapes: FlameParams
    """One row for each ARKit name, in Apple's order, as `FlameHead.blendshapes` has them; zero where omitted."""
    made: tuple[str, ...]
    """The shapes that the head can make, in Apple's order."""
    explained: Float64
    """(52,) the fraction of each shape's movement that the parameters make: 1 - residual / movement."""
    regions: Regions
    """(V,) the built-in head's region masks, carried over."""

    @property
    def omitted(self) -> tuple[str, ...]:
        """The shapes that the head cannot make."""
        return tuple(name for name in ARKIT if name not in self.made)


def transfer_shapes(head: FlameHead, embedding: LandmarkEmbedding) -> Transfer:
    """The parameters that make each of ARKit's 52 shapes on a head, by its geometry alone.

    The built-in head's face is registered to the head's, its shapes are carried over by deformation transfer, and
    expression, jaw and eyes are fitted. A shape of which the head can make next to nothing is omitted; `tongueOut`
    always is, because the tongue is not skin.

    Args:
        head: any head, at the identity that is baked in.
        embedding: where MediaPipe's landmarks lie on it, see `find_landmarks`.

    Raises:
        HeadMismatchError: the landmarks are another head's.
        InputError: the head has no expression components, no face, or eyes that do not turn.
    """
    if head.n_expression == 0:
        raise InputError(
            f"expected a head with expression components; this one ({head.version}) has none: there is nothing that "
            "could make ARKit's shapes"
        )
    match = correspond(head, embedding)
    targets = _targets(head, match)
    values = fit_coefficients(head, targets)
    symmetry = head_symmetry(head)
    if symmetry is not None:
        # The mean of each shape and its mirrored counterpart.
        values = (values + (values @ symmetry.matrix)[mirror_permutation(ARKIT)]) / 2
    return _evaluated(head, targets, values, match)


def _targets(head: FlameHead, match: Correspondence) -> Targets:
    """What the built-in head's shapes ask of the other head."""
    source, face = source_head(), match.target
    base = np.full(len(ARKIT), -1)
    for name, below in COMPOSED_ON.items():
        base[ARKIT.index(name)] = ARKIT.index(below)
    rows = source.blendshapes().to_rows().astype(np.float64)
    rows += np.where(base[:, None] >= 0, rows[base], 0.0)
    moved = source(FlameParams.from_rows(rows))[:, match.source.rows].astype(np.float64)
    carried = transfer_deformations(match.source.vertices, moved, match.source.triangles, match.registered)
    displacement = np.zeros((len(ARKIT), head.n_vertices, 3))
    displacement[:, face.rows] = match.carry(carried)
    area = triangle_areas_and_normals(face.vertices[face.triangles])[0] / 3
    vertex_area = np.bincount(face.triangles.ravel(), np.repeat(area, 3), minlength=len(face.vertices))
    weight = np.zeros(head.n_vertices)
    weight[face.rows] = vertex_area * np.where(match.attached, 1.0, _BEYOND * match.beyond)
    regions = match.regions(head)
    for name, emphasis in _EMPHASIS.items():
        weight[regions[name]] *= emphasis
    return Targets(displacement, weight, rows[:, -N_ROTATIONS:-6], rows[:, -6:], base)


def _evaluated(head: FlameHead, targets: Targets, values: Float64, match: Correspondence) -> Transfer:
    """The shapes without those of which the head can make next to nothing."""
    base = np.where(targets.base[:, None] >= 0, values[targets.base], 0.0)
    composed = targets.base >= 0
    target = targets.displacement.copy()
    target[composed] -= targets.displacement[targets.base[composed]]
    pairs = (head(FlameParams.from_rows(pair)) for pair in np.stack([base, base + values], axis=1))
    movement = np.stack([after - before for before, after in pairs])
    weight = np.sqrt(targets.weight / targets.weight.sum())[:, None]
    size = np.linalg.norm(target * weight, axis=(1, 2))
    residual = np.linalg.norm((target - movement) * weight, axis=(1, 2))
    explained = np.where(size > _MIN_MOVE, 1 - residual / np.maximum(size, _MIN_MOVE), 0.0)
    kept = explained >= _MIN_EXPLAINED
    shapes = FlameParams.from_rows(np.where(kept[:, None], values, 0.0))
    made = tuple(name for name, good in zip(ARKIT, kept, strict=True) if good)
    return Transfer(shapes, made, explained, match.regions(head))
