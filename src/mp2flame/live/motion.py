"""What happens to the mapping's parameters before they are filtered: rest, head pose, gains, or a hand-made pose."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

import numpy as np

from mp2flame.data import N_SCORES, FlameParams, Observation
from mp2flame.filters import Chain, Filter, Hold, Limits, default_filters
from mp2flame.mapping import HeadPose, Mapping
from mp2flame.mapping.around import Around

__all__ = ["HeadPoseTarget", "Motion", "Posed", "smoothing_filters", "without_rest"]

HeadPoseTarget: TypeAlias = Literal["global_orient", "neck_pose", "none"]


@dataclass(frozen=True, eq=False)
class Motion(Around):
    """A mapping with the head's rotation where the source tells it, and gains.

    Args:
        mapping: gives expression, jaw and eyes.
        head_pose: the joint that turns with the head, or "none".
        expression_gain: every expression coefficient is multiplied by it.
        jaw_gain: the jaw's rotation is multiplied by it.
        width: E of what comes out, padded with zeros, so that mappings of different widths can follow each other.
    """

    head_pose: HeadPoseTarget = "global_orient"
    expression_gain: float = 1.0
    jaw_gain: float = 1.0
    width: int = 0
    _turned: Mapping = field(init=False, repr=False)
    """The mapping inside, with the head's rotation where a source tells it."""

    @property
    def n_expression(self) -> int:
        """E of what comes out."""
        return max(self.width, self.mapping.n_expression)

    def __post_init__(self) -> None:
        turned = self.mapping if self.head_pose == "none" else HeadPose(self.mapping, to=self.head_pose)
        object.__setattr__(self, "_turned", turned)

    def __call__(self, observation: Observation) -> FlameParams:
        """FLAME parameters of every frame."""
        params = (self.mapping if observation.head_transform is None else self._turned)(observation)
        expression = params.expression
        missing = self.n_expression - expression.shape[1]
        if missing:
            expression = np.pad(expression, ((0, 0), (0, missing)))
        if missing == 0 and self.expression_gain == 1.0 and self.jaw_gain == 1.0:
            return params
        return replace(
            params,
            expression=expression * np.float32(self.expression_gain),
            jaw_pose=params.jaw_pose * np.float32(self.jaw_gain),
        )

    def for_person(self, rest: Observation) -> Motion:
        """The same for a person with this rest."""
        return replace(self, mapping=self.mapping.for_person(rest))


@dataclass(frozen=True, eq=False)
class Posed(Mapping):
    """Always the same pose, made by hand; it looks at nothing but the time.

    Args:
        params: the pose, N = 1.
    """

    params: FlameParams

    @property
    def n_expression(self) -> int:
        """E of the pose."""
        return self.params.n_expression

    def __call__(self, observation: Observation) -> FlameParams:
        """The pose in every frame."""
        rows = self.params[np.zeros(len(observation), dtype=np.intp)]
        return replace(rows, time=observation.time, found=np.ones(len(observation), dtype=np.bool_))

    def for_person(self, rest: Observation) -> Posed:  # noqa: ARG002 - a pose is the same for everyone
        """The same pose."""
        return self


def without_rest(mapping: Mapping) -> Mapping:
    """The mapping for a face whose scores at rest are all zero, as sliders are."""
    zeros = np.zeros((1, N_SCORES), dtype=np.float32)
    transform = np.eye(4, dtype=np.float32)[None]
    rest = Observation(time=np.zeros(1), found=np.ones(1, dtype=np.bool_), scores=zeros, head_transform=transform)
    return mapping.for_person(rest)


def smoothing_filters(amount: float) -> Filter:
    """The filters of a session.

    Args:
        amount: 1 is the default smoothing, 2 takes away twice as much, 0 nothing; what to do without a face, and
            limits, are always in it.
    """
    return Chain(Hold(), Limits()) if amount <= 0 else default_filters(smoothing=amount)
