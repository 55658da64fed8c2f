"""The head's rotation, from MediaPipe's transform of its canonical face to the camera."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mp2flame import rotations
from mp2flame.data import FlameParams, Observation
from mp2flame.errors import InputError
from mp2flame.mapping.around import Around
from mp2flame.mapping.rest import seen_frames

__all__ = ["HeadPose", "straight_of"]

_TARGETS = ("global_orient", "neck_pose")


@dataclass(frozen=True, eq=False)
class HeadPose(Around):
    """Another mapping, with the head's rotation filled in.

    MediaPipe's axes are FLAME's: X to the subject's left, Y up, Z to the camera. The transform's linear part is a
    rotation times a scale; the nearest rotation is taken.

    MediaPipe's face and a FLAME head need not agree on what is straight ahead: by some degrees a head may look up or
    down at rest by MediaPipe's standard. A mapping that knows by how much for its head (`Mapping.straight`, see
    `straight_of`) has it taken out here.

    MediaPipe fits its transform as if the camera had a vertical opening angle of 63 degrees. No correction is made for
    a face away from the middle of the picture: the same view of a face, moved from the middle to a quarter of the
    picture's width from its edge, is reported as turned by 4 degrees towards the middle. That lies between how the
    head is turned in the room and how it looks in the picture, and which of the two is wanted depends on the camera.

    Args:
        mapping: gives everything else.
        to: `global_orient` turns the whole head, `neck_pose` the head on a still neck.
        relative: rotations are relative to the person's rest frames given to `for_person`; else to the camera, which
            is also right for a person who rests with the head turned.

    Raises:
        InputError: `to` is none of the two.
    """

    to: str = "global_orient"
    relative: bool = False
    _zero: NDArray[np.float64] | None = field(default=None, repr=False)
    """(3, 3) the rotation that counts as none."""

    def __post_init__(self) -> None:
        if self.to not in _TARGETS:
            raise InputError(f"expected the head's rotation to go to {' or '.join(_TARGETS)}; got {self.to!r}")
        if self._zero is None and self.mapping.straight is not None:
            object.__setattr__(self, "_zero", rotations.matrix(self.mapping.straight))

    def __call__(self, observation: Observation) -> FlameParams:
        """FLAME parameters of every frame, with `global_orient` or `neck_pose` from the head transform.

        Sources of blendshapes alone have no head transform: the head stays as the mapping inside leaves it.
        """
        params = self.mapping(observation)
        found = observation.found
        angles = np.zeros((len(found), 3), dtype=np.float32)
        angles[~found] = np.nan
        if observation.head_transform is not None and found.any():
            linear = observation.head_transform[found, :3, :3]
            angles[found] = rotations.nearest_axis_angle(linear if self._zero is None else linear @ self._zero.T)
        if self.to == "neck_pose":
            return replace(params, neck_pose=angles)
        return replace(params, global_orient=angles)

    def for_person(self, rest: Observation) -> HeadPose:
        """The mapping inside for this person; with `relative`, the mean rotation of the rest frames becomes zero.

        Raises:
            InputError: no frame of `rest` has a face.
        """
        inner = self.mapping.for_person(rest)
        if not self.relative or rest.head_transform is None:
            return replace(self, mapping=inner)
        seen_frames(rest)
        return replace(self, mapping=inner, _zero=_mean(_head_rotations(rest)))


def straight_of(head_transform: ArrayLike, global_orient: ArrayLike) -> NDArray[np.float64]:
    """What MediaPipe reports of a head that looks straight ahead, from frames in which its rotation is known.

    Args:
        head_transform: (N, 4, 4) MediaPipe's.
        global_orient: (N, 3) axis-angle, radians: how the head was really turned to the camera.

    Returns:
        (3,) axis-angle, radians; goes into a mapping's metadata as `straight`, as a JSON list.

    Raises:
        InputError: there is no frame, or shapes do not fit.
    """
    reported = np.asarray(head_transform, dtype=np.float64)
    truth = rotations.matrix(global_orient)
    if reported.ndim != 3 or reported.shape[1:] != (4, 4) or len(reported) != len(truth) or not len(truth):
        raise InputError(f"expected head_transform (N, 4, 4) and global_orient (N, 3); got {reported.shape}")
    return rotations.from_matrix(_mean(truth.swapaxes(1, 2) @ rotations.nearest_rotation(reported[:, :3, :3])))


def _mean(rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    """The rotation nearest to the average matrix of (N, 3, 3): the mean in the Frobenius norm."""
    return rotations.nearest_rotation(rotation.mean(axis=0))


def _head_rotations(observation: Observation) -> NDArray[np.float64]:
    """(M, 3, 3) rotations of the M frames that have a face."""
    assert observation.head_transform is not None
    return rotations.nearest_rotation(observation.head_transform[observation.found][:, :3, :3])
