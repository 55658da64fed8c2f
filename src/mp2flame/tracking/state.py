"""In which order the solver keeps a frame's unknowns.

A frame is one row: E expression coefficients, jaw (3), left eye (3), right eye (3), the head's rotation (3), all
axis-angle in radians, and the head's translation (3), metres.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mp2flame.data import FlameParams
from mp2flame.mapping.linear import N_ROTATIONS

__all__ = ["EYES", "Layout", "chunks", "face_rows", "params_of"]

Float64 = NDArray[np.float64]

JAW, LEFT_EYE, RIGHT_EYE = 2, 3, 4
"""Joints of every FLAME head."""
EYES: Final = (LEFT_EYE, RIGHT_EYE)
_JAW: Final = (0.2, 0.03, 0.02)
_EYE: Final = (0.25, 0.25, 0.02)
"""Radians."""


@dataclass(frozen=True)
class Layout:
    """Columns of a row for a head with E expression coefficients whose rotation goes to one joint."""

    n_expression: int
    """E."""
    joint: int = 0
    """The joint that turns the head: 0 the root, 1 the neck."""

    @property
    def width(self) -> int:
        """Unknowns of a frame."""
        return self.n_face + 6

    @property
    def n_face(self) -> int:
        """Unknowns that are the face's own: expression, jaw and eyes."""
        return self.n_expression + N_ROTATIONS

    @property
    def eyes(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The columns of the left eye's axis-angle, and of the right one's."""
        left = self.n_expression + 3 + np.arange(3)
        return left, left + 3

    @property
    def moving(self) -> tuple[int, ...]:
        """The joints that turn, in the order of the columns."""
        return (JAW, LEFT_EYE, RIGHT_EYE, self.joint)

    @property
    def face_deviation(self) -> Float64:
        """(E + 9,) standard deviation of a face's numbers in lively faces: one for each coefficient, by definition."""
        return np.concatenate([np.ones(self.n_expression), _JAW, _EYE, _EYE])

    def poses(self, rows: Float64) -> Float64:
        """(N, 5, 3) every joint's axis-angle of rows (N, D)."""
        e = self.n_expression
        poses = np.zeros((len(rows), 5, 3))
        for place, joint in enumerate(self.moving):
            poses[:, joint] = rows[:, e + 3 * place : e + 3 * place + 3]
        return poses

    def turn(self, rows: Float64) -> Float64:
        """(N, 3) the head's rotation."""
        return rows[:, self.n_face : self.n_face + 3]

    def translation(self, rows: Float64) -> Float64:
        """(N, 3) the head's translation."""
        return rows[:, self.n_face + 3 :]


def chunks(n: int, size: int) -> list[slice]:
    """N rows in slices of some rows."""
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]


def face_rows(params: FlameParams) -> Float64:
    """(N, E + 9) expression, jaw, left eye, right eye."""
    parts = (params.expression, params.jaw_pose, params.leye_pose, params.reye_pose)
    return np.concatenate(parts, axis=1).astype(np.float64)


def params_of(layout: Layout, rows: Float64, n_expression: int) -> FlameParams:
    """The parameters of rows (N, D) of the mean identity, with as many expression coefficients as the head has."""
    n, e = rows.shape[0], layout.n_expression
    expression = np.zeros((n, n_expression), dtype=np.float32)
    expression[:, :e] = rows[:, :e]
    jaw, left, right, turn, place = np.split(rows[:, e:].astype(np.float32), 5, axis=1)
    turned = {"global_orient" if layout.joint == 0 else "neck_pose": turn}
    return FlameParams(
        time=np.zeros(n),
        found=np.ones(n, dtype=np.bool_),
        expression=expression,
        jaw_pose=jaw,
        leye_pose=left,
        reye_pose=right,
        translation=place,
        **turned,
    )
