"""The built-in head's 52 shapes, carried over to another head.

Letters: V vertices of the head, S of its skin, M = 52 shapes.
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
from mp2flame.geometry.symmetry import head_symmetry
from mp2flame.head import FlameHead
from mp2flame.head.landmarks import LandmarkEmbedding
from mp2flame.mapping.linear import N_ROTATIONS
from mp2flame.retargeting.coefficient_fit import Goal, solve_parameters
from mp2flame.retargeting.correspondence import Correspondence, correspond, source_head
from mp2flame.retargeting.deformation_transfer import transfer_deformations
from mp2flame.retargeting.face_surface import Skin

__all__ = ["ON_TOP", "Transfer", "transfer_shapes"]

Float64 = NDArray[np.float64]

ON_TOP: Final = {"mouthClose": "jawOpen"}
"""Shapes that are made for another's being up: lips close over an open jaw."""

_EMPHASIS: Final = {"lips": 3.0, "lids": 3.0}
_BEYOND: Final = 0.2
"""What a vertex past the registered surface counts: it should stay still."""
_MIN_EXPLAINED: Final = 0.15
_MIN_MOVE: Final = 2e-5
"""Metres of the face's average movement below which a shape is none."""


@dataclass(frozen=True, eq=False)
class Transfer:
    """ARKit's shapes on a head."""

    shapes: FlameParams
    """One row for each ARKit name, in Apple's order, as `FlameHead.blendshapes` has them; zero where not made."""
    made: tuple[str, ...]
    """The shapes that the head can make, in Apple's order."""
    explained: Float64
    """(52,) the share of each shape's movement that the parameters make: 1 - residual / movement."""
    wanted: Float64
    """(52, V, 3) metres: the movement that geometry asks for; zero where nothing is known."""
    weight: Float64
    """(V,) how much each vertex counted; zero for what is not skin of the face."""
    regions: Regions
    """(V,) the built-in head's region masks, carried over."""

    @property
    def not_made(self) -> tuple[str, ...]:
        """The shapes that the head cannot make."""
        return tuple(name for name in ARKIT if name not in self.made)


def transfer_shapes(head: FlameHead, embedding: LandmarkEmbedding) -> Transfer:
    """The parameters that make each of ARKit's 52 shapes on a head, by its geometry alone.

    The built-in head's skin is registered to the head's, its shapes are carried over by deformation transfer, and
    expression, jaw and eyes are solved for. A shape of which the head can make next to nothing is left at zero;
    `tongueOut` always is, for the tongue is not skin.

    Args:
        head: any head; the identity that is baked in is the one that is registered.
        embedding: where MediaPipe's landmarks lie on it, see `prepare_head`.

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
    goal = _goal(head, match)
    values = _symmetric(solve_parameters(head, goal), head)
    return _judged(head, goal, values, match)


def _goal(head: FlameHead, match: Correspondence) -> Goal:
    """What the built-in head's shapes ask of the other head."""
    source, skin = source_head(), match.target
    base = np.full(len(ARKIT), -1)
    joined = source.blendshapes().to_rows().astype(np.float64)
    for name, below in ON_TOP.items():
        base[ARKIT.index(name)] = ARKIT.index(below)
    raised = joined + np.where(base[:, None] >= 0, joined[base], 0.0)
    moved = source(FlameParams.from_rows(raised))[:, match.source.rows].astype(np.float64)
    carried = transfer_deformations(match.source.vertices, moved, match.source.triangles, match.registered)
    wanted = np.zeros((len(ARKIT), head.n_vertices, 3))
    wanted[:, skin.rows] = match.follow(carried)
    weight = np.zeros(head.n_vertices)
    weight[skin.rows] = _area(skin) * np.where(match.attached, 1.0, _BEYOND * match.beyond)
    regions = match.regions(head)
    for name, emphasis in _EMPHASIS.items():
        weight[regions[name]] *= emphasis
    return Goal(wanted, weight, raised[:, -N_ROTATIONS:-6], raised[:, -6:], base)


def _area(skin: Skin) -> Float64:
    corners = skin.vertices[skin.triangles]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 6
    total = np.bincount(skin.triangles.ravel(), np.repeat(area, 3), minlength=len(skin.vertices))
    return total.astype(np.float64)


def _symmetric(values: Float64, head: FlameHead) -> Float64:
    """The mean of each shape and its mirrored counterpart, where the head is symmetric."""
    symmetry = head_symmetry(head)
    if symmetry is None:
        return values
    mean: Float64 = (values + (values @ symmetry.matrix)[mirror_permutation(ARKIT)]) / 2
    return mean


def _judged(head: FlameHead, goal: Goal, values: Float64, match: Correspondence) -> Transfer:
    """Shapes of which the head can make next to nothing are dropped."""
    below = np.where(goal.base[:, None] >= 0, values[goal.base], 0.0)
    on_top = goal.base >= 0
    wanted = goal.displacement.copy()
    wanted[on_top] -= goal.displacement[goal.base[on_top]]
    pairs = (head(FlameParams.from_rows(pair)) for pair in np.stack([below, below + values], axis=1))
    done = np.stack([after - before for before, after in pairs])
    share = np.sqrt(goal.weight / goal.weight.sum())[:, None]
    size = np.linalg.norm(wanted * share, axis=(1, 2))
    residual = np.linalg.norm((wanted - done) * share, axis=(1, 2))
    explained = np.where(size > _MIN_MOVE, 1 - residual / np.maximum(size, _MIN_MOVE), 0.0)
    kept = explained >= _MIN_EXPLAINED
    values = np.where(kept[:, None], values, 0.0)
    made = tuple(name for name, good in zip(ARKIT, kept, strict=True) if good)
    return Transfer(FlameParams.from_rows(values), made, explained, wanted, goal.weight, match.regions(head))
