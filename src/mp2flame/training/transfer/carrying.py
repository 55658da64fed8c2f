"""The built-in head's 52 shapes, carried over to another head.

Letters: V vertices of the head, S vertices of the built-in head's skin, M = 52 shapes, E expression coefficients.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import as_file, files
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mp2flame.blendshapes import ARKIT, mirror_permutation
from mp2flame.head import FlameHead, load_head
from mp2flame.head.landmarks import LandmarkEmbedding, load_embedding
from mp2flame.signals import FlameParams
from mp2flame.training.regions import head_regions
from mp2flame.training.surface import head_symmetry, join, split
from mp2flame.training.transfer.closest import nearest_on_mesh
from mp2flame.training.transfer.deformation import transfer_deformations
from mp2flame.training.transfer.registration import register
from mp2flame.training.transfer.skin import Skin, face_skin
from mp2flame.training.transfer.solving import Goal, solve_parameters

__all__ = ["Transfer", "source_head", "source_landmarks", "transfer_shapes"]

Float64 = NDArray[np.float64]

_ATTACHED: Final = 0.08
"""How far off the registered surface a vertex may be and still follow it, in eye distances."""
_LIP_WEIGHT: Final = 3.0
_LID_WEIGHT: Final = 3.0
_BEYOND_WEIGHT: Final = 0.2
_MIN_EXPLAINED: Final = 0.15
_MIN_MM: Final = 0.05


@dataclass(frozen=True, eq=False)
class Transfer:
    """ARKit's shapes on a head."""

    shapes: FlameParams
    """One row for each ARKit name, in Apple's order, as `FlameHead.blendshapes` has them; zero where not made."""
    made: tuple[str, ...]
    """The shapes that the head can make, in Apple's order."""
    explained: Float64
    """(52,) the share of each shape's movement that the parameters make, 1 - residual / movement."""
    wanted: Float64
    """(52, V, 3) metres: the movement that geometry asks for; zero where nothing is known."""
    weight: Float64
    """(V,) how much each vertex counted; zero for what is not skin of the face."""

    @property
    def not_made(self) -> tuple[str, ...]:
        """The shapes that the head cannot make."""
        return tuple(name for name in ARKIT if name not in self.made)


@lru_cache(maxsize=1)
def source_head() -> FlameHead:
    """The head whose shapes are carried over."""
    return load_head("builtin")


@lru_cache(maxsize=1)
def source_landmarks() -> LandmarkEmbedding:
    """MediaPipe's landmarks on that head."""
    with as_file(files("mp2flame.training.transfer") / "assets" / "builtin_landmarks.npz") as path:
        return load_embedding(path)


def transfer_shapes(head: FlameHead, embedding: LandmarkEmbedding) -> Transfer:
    """The parameters that make each of ARKit's 52 shapes on a head, by its geometry alone.

    The built-in head's skin is registered to the head's, its shapes are carried over by deformation transfer, and
    expression, jaw and eyes are solved for.

    Args:
        head: any head; the identity that is baked in is the one that is registered.
        embedding: where MediaPipe's landmarks lie on it, see `prepare_head`.

    Raises:
        HeadMismatchError: the landmarks are another head's.
        InputError: the head has no expression components, no face, or eyes that do not turn.
    """
    source = source_head()
    own, other = face_skin(source, source_landmarks()), face_skin(head, embedding)
    registered = register(own, other)
    shapes = source.blendshapes()
    moved = source(shapes)[:, own.rows].astype(np.float64)
    carried = transfer_deformations(own.vertices, moved, own.triangles, registered)
    wanted, weight = _onto(head, own, other, registered, carried)
    joined = join(shapes).astype(np.float64)
    goal = Goal(wanted, weight, joined[:, -9:-6], joined[:, -6:])
    values = _symmetric(solve_parameters(head, goal), head)
    return _judged(head, goal, values)


def _onto(head: FlameHead, own: Skin, other: Skin, registered: Float64, carried: Float64) -> tuple[Float64, Float64]:
    """(M, V, 3) what the head's own vertices should do, and (V,) how much they count."""
    nearest = nearest_on_mesh(
        other.vertices,
        registered,
        own.triangles,
        normals=other.normals,
        labels=(other.lip, own.triangle_lip),
    )
    corners = own.triangles[nearest.triangle]
    edge = (own.rim[corners] * nearest.barycentric).sum(axis=1) > 1 - 1e-6
    attached = (nearest.distance < _ATTACHED * other.eye_distance) & ~edge
    wanted = np.zeros((len(carried), head.n_vertices, 3))
    follow = np.einsum("sc,mscd->msd", nearest.barycentric, carried[:, corners])
    wanted[:, other.rows] = np.where(attached[:, None], follow, 0.0)
    regions = head_regions(head)
    emphasis = np.ones(head.n_vertices)
    emphasis[regions["lips"]], emphasis[regions["lids"]] = _LIP_WEIGHT, _LID_WEIGHT
    weight = np.zeros(head.n_vertices)
    # Beyond the registered surface, ears and neck, the face should stay still.
    beyond = edge & (nearest.distance > _ATTACHED * other.eye_distance)
    weight[other.rows] = _area(other) * emphasis[other.rows] * np.where(attached, 1.0, _BEYOND_WEIGHT * beyond)
    return wanted, weight


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
    return (values + (values @ symmetry.matrix)[mirror_permutation(ARKIT)]) / 2


def _judged(head: FlameHead, goal: Goal, values: Float64) -> Transfer:
    """Shapes of which the head can make next to nothing are dropped."""
    neutral = head.neutral_vertices.astype(np.float64)
    share = np.sqrt(goal.weight / goal.weight.sum())[:, None]
    made, explained = [], np.zeros(len(ARKIT))
    for index, name in enumerate(ARKIT):
        done = head(split(values[index : index + 1]))[0] - neutral
        size = np.linalg.norm(goal.displacement[index] * share)
        residual = np.linalg.norm((goal.displacement[index] - done) * share)
        explained[index] = 1 - residual / size if size > 0 else 0.0
        if explained[index] >= _MIN_EXPLAINED:
            made.append(name)
        else:
            values[index] = 0.0
    return Transfer(split(values), tuple(made), explained, goal.displacement, goal.weight)
