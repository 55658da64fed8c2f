"""The state vector of a frame: what is estimated, in which order.

Letters: N frames, E expression coefficients, D = E + 15.

A state is one row: E expression coefficients, jaw (3), left eye (3), right eye (3), head rotation (3), all axis-angle
in radians, and head translation (3), meters. The first E + 9 entries are the face's, the last six the head pose.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mp2flame.data import FACE_POSES, FlameParams
from mp2flame.tracking.config import HeadPose

Float64 = NDArray[np.float64]

JAW, LEFT_EYE, RIGHT_EYE = 2, 3, 4
"""Joints of every FLAME head."""
_JAW_STD_RAD: Final = (0.2, 0.03, 0.02)
_EYE_STD_RAD: Final = (0.25, 0.25, 0.02)


@dataclass(frozen=True)
class StateLayout:
    """The columns of a state, for a head with E expression coefficients."""

    n_expression: int
    """E, the coefficients that are estimated."""
    head_joint: int = 0
    """The joint that takes the head's rotation: 0 the root, 1 the neck."""

    @property
    def width(self) -> int:
        """D."""
        return self.n_face + 6

    @property
    def n_face(self) -> int:
        """E + 9."""
        return self.n_expression + 9

    @property
    def eyes(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The columns of the left eye's rotation, and of the right eye's."""
        left = self.n_expression + 3 + np.arange(3)
        return left, left + 3

    @property
    def joints(self) -> tuple[int, ...]:
        """The joints whose rotations are estimated, in the order of the columns."""
        return JAW, LEFT_EYE, RIGHT_EYE, self.head_joint

    @property
    def face_std(self) -> Float64:
        """(E + 9,) standard deviation of each entry of a lively face; 1 for the coefficients, by their definition."""
        return np.concatenate([np.ones(self.n_expression), _JAW_STD_RAD, _EYE_STD_RAD, _EYE_STD_RAD])

    def arguments(self, states: Float64) -> tuple[Float64, Float64, Float64]:
        """States (N, D) as the arguments of `SkinnedPoints.pose`: (N, E), (N, 5, 3) and (N, 3)."""
        poses = np.zeros((len(states), 5, 3))
        poses[:, self.joints] = states[:, self.n_expression : -3].reshape(len(states), 4, 3)
        return states[:, : self.n_expression], poses, states[:, -3:]

    def face(self, states: Float64) -> Float64:
        """(N, E + 9) expression, jaw and eyes."""
        return states[:, : self.n_face]

    def rotation(self, states: Float64) -> Float64:
        """(N, 3) the head's rotation."""
        return states[:, self.n_face : self.n_face + 3]

    def params(
        self,
        states: NDArray[np.floating],
        n_expression: int,
        *,
        head_pose: HeadPose | None = None,
        time: NDArray[np.float64] | None = None,
        shape: NDArray[np.floating] | None = None,
    ) -> FlameParams:
        """The parameters of states (N, D); frames whose state is NaN have no face.

        Args:
            states: (N, D).
            n_expression: the expression coefficients of the head, E or more.
            head_pose: the parameter that takes the head's rotation; None is that of `head_joint`.
            time: (N,) seconds; None is 0.
            shape: identity coefficients.
        """
        rotation = head_pose or ("neck_pose" if self.head_joint else "global_orient")
        vectors = (*FACE_POSES, rotation, "translation") if rotation != "none" else FACE_POSES
        e, last = self.n_expression, self.n_expression + 3 * len(vectors)
        found = np.isfinite(states[:, 0])
        padding = np.where(found[:, None], 0.0, np.nan).repeat(n_expression - e, axis=1)
        rows = np.concatenate([states[:, :e], padding, states[:, e:last]], axis=1)
        return FlameParams.from_rows(rows, vectors, time=time, found=found, shape=shape)


def chunks(n: int, size: int) -> list[slice]:
    """Slices of `size` frames that cover N frames."""
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]
