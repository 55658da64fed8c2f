"""Mappings built from other mappings: with head pose, with gains, one of two by what the source has, and a constant."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from typing_extensions import Self, override

from mp2flame import rotations
from mp2flame.data import N_SCORES, FlameParams, Observation, replace_unchecked
from mp2flame.errors import InputError
from mp2flame.mapping.base import BlendshapeMapping, MappingInfo
from mp2flame.mapping.person import Person, neutral_of

HeadPoseTarget: TypeAlias = Literal["global_orient", "neck_pose", "none"]
"""The joint that takes the head's rotation."""


@dataclass(frozen=True, eq=False)
class MappingWrapper(BlendshapeMapping):
    """Base class for mappings that wrap one other mapping and are made for the same head."""

    mapping: BlendshapeMapping

    @property
    @override
    def info(self) -> MappingInfo:
        return self.mapping.info

    @override
    def for_person(self, person: Person | Observation) -> Self:
        return replace(self, mapping=self.mapping.for_person(person))

    @override
    def save(self, path: str | Path) -> None:
        self.mapping.save(path)


@dataclass(frozen=True, eq=False)
class WithHeadPose(MappingWrapper):
    """Fills in the head's rotation from MediaPipe's transform of its canonical face to the camera.

    MediaPipe's axes are FLAME's: X to the subject's left, Y up, Z to the camera. The transform's linear part is a
    rotation times a scale; the nearest rotation is taken.

    MediaPipe's face and a FLAME head do not agree exactly on what is frontal: MediaPipe may report a few degrees of
    pitch for a head that faces the camera. A mapping that knows this rotation of its head
    (`MappingInfo.frontal_rotation`, see `estimate_frontal_rotation`) has it removed here.

    MediaPipe assumes a vertical field of view of 63 degrees, and reports the same view of a face as turned by 4 degrees
    towards the image center if the face is a quarter of the image's width from the edge. That is not corrected: it lies
    between the head's rotation in the world and its appearance in the image, and the camera decides which is right.

    Args:
        mapping: gives everything else.
        to: `global_orient` turns the whole head, `neck_pose` the head on a fixed neck.

    Raises:
        InputError: `to` is neither of the two.
    """

    to: str = "global_orient"
    _frontal: NDArray[np.float64] | None = field(init=False, repr=False, default=None)
    """(3, 3) the reported rotation of a frontal head."""

    def __post_init__(self) -> None:
        if self.to not in ("global_orient", "neck_pose"):
            raise InputError(f"expected the head's rotation to go to global_orient or neck_pose; got {self.to!r}")
        frontal = self.mapping.info.frontal_rotation
        if frontal is not None:
            vars(self)["_frontal"] = rotations.matrix(frontal)

    @override
    def __call__(self, observation: Observation) -> FlameParams:
        params = self.mapping(observation)
        found = observation.found
        # Without a transform, as in sources of blendshapes alone, the rotation stays as the wrapped mapping gives it.
        angles = np.where(found[:, None], getattr(params, self.to), np.float32(np.nan))
        if observation.head_transform is not None and found.any():
            linear = observation.head_transform[found, :3, :3]
            angles[found] = rotations.nearest_axis_angle(linear if self._frontal is None else linear @ self._frontal.T)
        return replace_unchecked(params, **{self.to: angles})


def estimate_frontal_rotation(head_transform: ArrayLike, global_orient: ArrayLike) -> NDArray[np.float64]:
    """The rotation that MediaPipe reports for a head that faces the camera, from frames of known rotation.

    Args:
        head_transform: (N, 4, 4) MediaPipe's.
        global_orient: (N, 3) axis-angle, radians: the head's true rotation relative to the camera.

    Returns:
        (3,) axis-angle, radians; goes into a mapping's metadata as `straight`, a JSON list.

    Raises:
        InputError: there is no frame, or shapes do not fit.
    """
    reported = np.asarray(head_transform, dtype=np.float64)
    truth = rotations.matrix(global_orient)
    if reported.ndim != 3 or reported.shape[1:] != (4, 4) or len(reported) != len(truth) or not len(truth):
        raise InputError(f"expected head_transform (N, 4, 4) and global_orient (N, 3); got {reported.shape}")
    turned = truth.swapaxes(1, 2) @ rotations.nearest_rotation(reported[:, :3, :3])
    # The rotation nearest to the average matrix: the mean in the Frobenius norm.
    return rotations.from_matrix(rotations.nearest_rotation(turned.mean(axis=0)))


@dataclass(frozen=True, eq=False)
class LandmarksOrScores(BlendshapeMapping):
    """Reads landmarks where the source has them, as images do, and scores alone where it does not, as phones do.

    Args:
        landmarks: reads landmarks and scores.
        scores: reads scores alone.

    Raises:
        InputError: the two are for different heads, or give different numbers of coefficients.
    """

    landmarks: BlendshapeMapping
    scores: BlendshapeMapping

    def __post_init__(self) -> None:
        both = (self.landmarks.info, self.scores.info)
        first, second = ((info.head_hash, info.head_version, info.n_expression) for info in both)
        if first != second:
            raise InputError(f"expected two mappings of the same head; got {first[1]} and {second[1]}, or other widths")

    @property
    @override
    def info(self) -> MappingInfo:
        return self.scores.info

    @override
    def __call__(self, observation: Observation) -> FlameParams:
        return (self.scores if observation.landmarks is None else self.landmarks)(observation)

    @override
    def for_person(self, person: Person | Observation) -> BlendshapeMapping:
        """Both mappings for this person; neutral frames without landmarks leave only the scores mapping.

        Raises:
            InputError: no frame has a face.
        """
        scores = self.scores.for_person(person)
        if neutral_of(person).landmarks is None:
            return scores
        return LandmarksOrScores(self.landmarks.for_person(person), scores)

    @override
    def save(self, path: str | Path) -> None:
        """Write the scores mapping to `path` and the landmarks mapping beside it, see `companion_path`."""
        self.scores.save(path)
        self.landmarks.save(companion_path(path))


def companion_path(scores: str | Path) -> Path:
    """The landmarks mapping that belongs to a scores mapping: `mine-landmarks.safetensors` to `mine.safetensors`."""
    path = Path(scores)
    return path.parent / f"{path.stem}-landmarks{path.suffix}"


@dataclass(frozen=True, eq=False)
class WithGains(MappingWrapper):
    """Multiplies expression and jaw by gains, and pads the expression so that mappings can replace each other.

    Args:
        mapping: gives expression, jaw and eyes.
        expression_gain: factor of every expression coefficient.
        jaw_gain: factor of the jaw's rotation.
        n_expression: E of the result, padded with zeros; the wrapped mapping's if that is larger.
    """

    expression_gain: float = 1.0
    jaw_gain: float = 1.0
    n_expression: int = 0

    @property
    @override
    def info(self) -> MappingInfo:
        inner = self.mapping.info
        return replace(inner, n_expression=max(self.n_expression, inner.n_expression))

    @override
    def __call__(self, observation: Observation) -> FlameParams:
        params = self.mapping(observation)
        expression = params.expression
        missing = self.n_expression - expression.shape[1]
        if missing > 0:
            expression = np.pad(expression, ((0, 0), (0, missing)))
        elif self.expression_gain == 1.0 and self.jaw_gain == 1.0:
            return params
        return replace_unchecked(
            params,
            expression=expression * np.float32(self.expression_gain),
            jaw_pose=params.jaw_pose * np.float32(self.jaw_gain),
        )


@dataclass(frozen=True, eq=False)
class ConstantPose(BlendshapeMapping):
    """The same pose in every frame, whatever the observation; it reads only the time.

    Args:
        params: the pose, N = 1.
    """

    params: FlameParams

    @property
    @override
    def info(self) -> MappingInfo:
        return MappingInfo(n_expression=self.params.n_expression)

    @override
    def __call__(self, observation: Observation) -> FlameParams:
        rows = self.params[np.zeros(len(observation), dtype=np.intp)]
        return replace_unchecked(rows, time=observation.time, found=np.ones(len(observation), dtype=np.bool_))

    @override
    def for_person(self, person: Person | Observation) -> Self:
        return self


def with_zero_neutral(mapping: BlendshapeMapping) -> BlendshapeMapping:
    """The mapping for a face whose neutral scores are all zero, as sliders are."""
    return mapping.for_person(
        Observation(
            time=np.zeros(1),
            found=np.ones(1, dtype=np.bool_),
            scores=np.zeros((1, N_SCORES), dtype=np.float32),
            head_transform=np.eye(4, dtype=np.float32)[None],
        )
    )
