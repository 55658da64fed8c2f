"""Points fixed to a head's surface, by linear blend skinning, with analytic derivatives.

Letters: N frames, K points, J = 5 joints, C coefficients, P = 36 pose correctives.

The model is that of `mp2flame.head.skinning`, for the points alone. A point is a fixed sum of posed vertices, and a
posed vertex is a sum over joints, so each point needs only one position and one weight for each joint: K x J positions
that are linear in coefficients and correctives, and K x J weights.

Derivatives of rotations go by the left Jacobian of SO(3) (Barfoot 2017, "State Estimation for Robotics", section 7.1):
a change d of an axis-angle vector turns its rotation R into (I + [Jl d]x) R.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mp2flame import rotations
from mp2flame.head.landmarks import LandmarkEmbedding

if TYPE_CHECKING:
    from mp2flame.head import FlameHead

Float64 = NDArray[np.float64]

_SERIES_BELOW: Final = 0.05
_INACTIVE: Final = 1e-3
"""A component is inactive if it moves the head by less than this fraction of what the strongest component does."""
_MAX_IDENTITY: Final = 100
"""Identity coefficients beyond these move a face by less than the error of its landmarks."""


def n_estimated_identity(head: FlameHead) -> int:
    """S', the number of leading identity coefficients that are estimated from landmarks."""
    return min(head.n_shape, _MAX_IDENTITY)


def n_active_expression(head: FlameHead) -> int:
    """The number of expression coefficients up to the last one that moves the head; 0 if none does."""
    components = head.arrays.shapedirs[:, :, head.n_shape :]
    size = np.sqrt((components.astype(np.float64) ** 2).sum(axis=(0, 1)))
    # Files padded to FLAME's width end in components that are zero, or as good as that.
    active = np.flatnonzero(size > _INACTIVE * size.max(initial=0.0))
    return int(active[-1]) + 1 if len(active) else 0


def estimated_columns(head: FlameHead) -> NDArray[np.int64]:
    """The columns of the coefficients that are estimated: identity (S'), then expression (E)."""
    return np.concatenate([np.arange(n_estimated_identity(head)), head.n_shape + np.arange(n_active_expression(head))])


def rotation_derivatives(axis_angle: ArrayLike) -> Float64:
    """(..., 3, 3, 3): how the rotation matrix of an axis-angle vector (..., 3) changes with each of its numbers."""
    vector = np.asarray(axis_angle, dtype=np.float64)
    angle = np.linalg.norm(vector, axis=-1)[..., None, None]
    square = angle * angle
    series = 1 / 6 - square / 120 + square * square / 5040
    exact = (1 - np.sinc(angle / np.pi)) / np.maximum(square, _SERIES_BELOW**2)
    cross = _cross(vector)
    b = 0.5 * np.sinc(angle / (2 * np.pi)) ** 2
    jacobian = np.eye(3) + b * cross + np.where(angle < _SERIES_BELOW, series, exact) * (cross @ cross)
    # Column i of the Jacobian is the axis that the rotation goes on about when number i grows.
    axes = np.swapaxes(jacobian, -1, -2)
    turned: Float64 = _cross(axes) @ rotations.matrix(vector)[..., None, :, :]
    return turned


def _cross(vector: Float64) -> Float64:
    """(..., 3, 3) cross-product matrices of vectors (..., 3)."""
    cross = np.zeros((*vector.shape, 3))
    x, y, z = vector[..., 0], vector[..., 1], vector[..., 2]
    cross[..., 0, 1], cross[..., 0, 2], cross[..., 1, 2] = -z, y, -x
    cross[..., 1, 0], cross[..., 2, 0], cross[..., 2, 1] = z, -y, x
    return cross


@dataclass(frozen=True, eq=False)
class PosedPoints:
    """The points of N frames."""

    positions: Float64
    """(N, K, 3) meters."""
    jacobian: Float64
    """(N, C + 3M + 3, 3, K) meters for one unit of each coefficient, for a radian of each number of the M joints that
    were asked for, and for a meter of translation. Axes come before points, which are many: sums over long rows are
    quick."""


@dataclass(frozen=True, eq=False)
class SkinnedPoints:
    """K points of a head; C coefficients move them, those of expression, of identity, or both."""

    base: Float64
    """(K, J, 3) meters: the weighted position of every point for each joint, all coefficients zero."""
    directions: Float64
    """(C, K, J, 3) meters for one unit of each coefficient."""
    correctives: Float64
    """(P, K, J, 3) meters."""
    weights: Float64
    """(K, J) how much of each point a joint carries."""
    joints: Float64
    """(J, 3) meters, all coefficients zero."""
    joint_directions: Float64
    """(C, J, 3)."""
    parents: tuple[int, ...]
    """J parent joints, -1 for the root."""

    @classmethod
    def at_landmarks(cls, head: FlameHead, embedding: LandmarkEmbedding) -> SkinnedPoints:
        """The landmarks of a head's mean identity; its coefficients are identity (S), then expression (E)."""
        return cls.at(head, embedding.corners(head.faces), embedding.barycentric)

    @classmethod
    def at(
        cls,
        head: FlameHead,
        corners: NDArray[np.int64],
        barycentric: Float64,
        columns: slice | NDArray[np.integer] = slice(None),
    ) -> SkinnedPoints:
        """Any points of a head's mean identity.

        Args:
            head: the head.
            corners: (K, 3) vertices.
            barycentric: (K, 3) their weights.
            columns: which of its coefficients move them, of identity (S), then expression (E).
        """
        arrays = head.arrays
        weights = barycentric[:, :, None] * arrays.weights[corners].astype(np.float64)

        def carried(values: NDArray[np.float32]) -> Float64:
            """The weighted positions (X, K, J, 3) of vertices (V, 3, X)."""
            result = np.einsum("kcj,kcdx->xkjd", weights, values[corners].astype(np.float64), optimize=True)
            # Sums over coefficients would copy it each time otherwise.
            return np.ascontiguousarray(result)

        regressor, shapedirs = arrays.regressor.astype(np.float64), arrays.shapedirs[:, :, columns]
        return cls(
            base=carried(arrays.v_template[..., None])[0],
            directions=carried(shapedirs),
            correctives=carried(arrays.posedirs),
            weights=weights.sum(axis=1),
            joints=regressor @ arrays.v_template,
            joint_directions=np.einsum("jv,vdx->xjd", regressor, shapedirs, optimize=True),
            parents=arrays.parents,
        )

    def select_coefficients(self, columns: slice | NDArray[np.integer]) -> SkinnedPoints:
        """The same points moved by some of the coefficients only; the others stay zero."""
        return replace(self, directions=self.directions[columns], joint_directions=self.joint_directions[columns])

    def select_points(self, rows: NDArray[np.intp]) -> SkinnedPoints:
        """Some of the points."""
        fields = {name: getattr(self, name)[rows] for name in ("base", "weights")}
        moved = {name: getattr(self, name)[:, rows] for name in ("directions", "correctives")}
        return replace(self, **fields, **moved)

    def with_fixed(self, coefficients: ArrayLike) -> SkinnedPoints:
        """The same points with the first coefficients (B,) fixed at these values and gone from the list."""
        fixed = np.asarray(coefficients, dtype=np.float64)
        b = len(fixed)
        return replace(
            self.select_coefficients(slice(b, None)),
            base=self.base + np.tensordot(fixed, self.directions[:b], axes=1),
            joints=self.joints + np.tensordot(fixed, self.joint_directions[:b], axes=1),
        )

    def sizes(self, coefficients: Float64) -> tuple[Float64, Float64]:
        """Meters (N,), the root mean square distance of the neutral points from their mean, and its gradient (N, C).

        Args:
            coefficients: (N, C).
        """
        neutral = self.base.sum(axis=1) + np.tensordot(coefficients, self.directions.sum(axis=2), axes=1)
        neutral -= neutral.mean(axis=1, keepdims=True)
        size = np.sqrt((neutral**2).sum(axis=2).mean(axis=1))
        gradient = np.einsum("nkd,ckd->nc", neutral, self.directions.sum(axis=2), optimize=True)
        return size, gradient / (size[:, None] * neutral.shape[1])

    def pose(self, coefficients: Float64, poses: Float64, translation: Float64) -> Float64:
        """(N, K, 3) meters: where the points are.

        Args:
            coefficients: (N, C).
            poses: (N, J, 3) axis-angle, radians, of each joint in its parent's frame.
            translation: (N, 3) meters.
        """
        return self._skin(self._pose_joints(coefficients, poses)) + translation[:, None]

    def differentiate(
        self, coefficients: Float64, poses: Float64, translation: Float64, moving: tuple[int, ...]
    ) -> PosedPoints:
        """The points and their derivatives; arguments as for `pose`.

        Args:
            coefficients: (N, C).
            poses: (N, J, 3).
            translation: (N, 3).
            moving: the joints by whose rotation to differentiate.
        """
        posed = self._pose_joints(coefficients, poses)
        n, points = len(posed.world), len(self.base)
        shift = np.broadcast_to(np.eye(3)[None, :, :, None], (n, 3, 3, points))
        turns = [self._by_rotation(joint, rotation_derivatives(poses[:, joint]), posed) for joint in moving]
        jacobian = np.concatenate([self._by_coefficient(posed.world), *turns, shift], axis=1)
        return PosedPoints(self._skin(posed) + translation[:, None], jacobian)

    def _pose_joints(self, coefficients: Float64, poses: Float64) -> _Joints:
        local = rotations.matrix(poses)
        neutral = self.joints + np.tensordot(coefficients, self.joint_directions, axes=1)
        world, positions = local.copy(), neutral.copy()
        for joint, parent in enumerate(self.parents[1:], start=1):
            world[:, joint] = world[:, parent] @ local[:, joint]
            bone = (neutral[:, joint] - neutral[:, parent])[..., None]
            positions[:, joint] = positions[:, parent] + (world[:, parent] @ bone)[..., 0]
        bent = (local[:, 1:] - np.eye(3)).reshape(len(poses), -1)
        offsets = self.base + np.tensordot(bent, self.correctives, axes=1)
        offsets += np.tensordot(coefficients, self.directions, axes=1)
        offsets -= self.weights[..., None] * neutral[:, None]
        return _Joints(local, world, neutral, positions, offsets)

    def _skin(self, posed: _Joints) -> Float64:
        """(N, K, 3) the sum over joints of their offsets, rotated and moved with the joint."""
        rotated = np.einsum("njde,nkje->nkd", posed.world, posed.offsets, optimize=True)
        result: Float64 = rotated + self.weights @ posed.positions
        return result

    @cached_property
    def _offset_directions(self) -> Float64:
        """(C, 3J + J, K) the change of each joint's offsets by each coefficient, then the joints' weights."""
        own = self.directions - self.weights[..., None] * self.joint_directions[:, None]
        c, k, j, _ = own.shape
        weights = np.broadcast_to(self.weights.T, (c, j, k))
        return np.concatenate([own.reshape(c, k, 3 * j).swapaxes(1, 2), weights], axis=1)

    @cached_property
    def _offset_correctives(self) -> Float64:
        """(P, 3J, K) the change of each joint's offsets by each corrective."""
        p, k = self.correctives.shape[:2]
        return np.ascontiguousarray(self.correctives.reshape(p, k, -1).swapaxes(1, 2))

    def _by_coefficient(self, world: Float64) -> Float64:
        """(N, C, 3, K) the derivatives by the coefficients."""
        n, (c, j, _) = len(world), self.joint_directions.shape
        positions = np.zeros((n, c, j, 3)) + self.joint_directions
        for joint, parent in enumerate(self.parents[1:], start=1):
            bone = self.joint_directions[:, joint] - self.joint_directions[:, parent]
            positions[:, :, joint] = positions[:, :, parent] + bone @ world[:, parent].swapaxes(1, 2)
        rotated = np.broadcast_to(_block_row(world)[:, None], (n, c, 3, 3 * j))
        result: Float64 = np.concatenate([rotated, positions.swapaxes(2, 3)], axis=3) @ self._offset_directions
        return result

    def _by_rotation(self, moved: int, change: Float64, posed: _Joints) -> Float64:
        """(N, 3, 3, K) the derivatives by one joint's axis-angle, whose rotation has the derivatives (N, 3, 3, 3)."""
        n, j = len(change), len(self.parents)
        world = np.zeros((n, 3, *posed.world.shape[1:]))
        positions = np.zeros((n, 3, j, 3))
        for joint, parent in enumerate(self.parents):
            if joint == moved:
                world[:, :, joint] = change if parent < 0 else posed.world[:, None, parent] @ change
            if parent >= 0:
                bone = (posed.neutral[:, joint] - posed.neutral[:, parent])[:, None, :, None]
                positions[:, :, joint] = positions[:, :, parent] + (world[:, :, parent] @ bone)[..., 0]
                if joint != moved:
                    world[:, :, joint] = world[:, :, parent] @ posed.local[:, None, joint]
        offsets = posed.offsets.reshape(n, -1, 3 * j).swapaxes(1, 2)
        result: Float64 = _block_row(world) @ offsets[:, None] + positions.swapaxes(2, 3) @ self.weights.T
        if moved > 0:
            correctives = _block_row(posed.world)[:, None] @ self._offset_correctives[9 * (moved - 1) : 9 * moved]
            result += (change.reshape(n, 3, 9) @ correctives.reshape(n, 9, -1)).reshape(result.shape)
        return result


def _block_row(matrices: Float64) -> Float64:
    """(..., 3, 3J) of matrices (..., J, 3, 3)."""
    *lead, j, _, _ = matrices.shape
    return np.swapaxes(matrices, -3, -2).reshape(*lead, 3, 3 * j)


@dataclass(frozen=True, eq=False)
class _Joints:
    """The joints of N posed heads."""

    local: Float64
    """(N, J, 3, 3) rotations in the parent's frame."""
    world: Float64
    """(N, J, 3, 3) rotations in the world."""
    neutral: Float64
    """(N, J, 3) meters, of the neutral head."""
    positions: Float64
    """(N, J, 3) meters, posed, without the head's translation."""
    offsets: Float64
    """(N, K, J, 3) meters, the points relative to each joint, weighted, before its rotation."""
