"""What every packet becomes on its way in, and is made from on its way out: ARKit's names, a head, a time stamp."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import isfinite

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mp2flame.blendshapes import ARKIT, MEDIAPIPE, reorder
from mp2flame.data import FlameParams, Observation
from mp2flame.errors import FormatError, InputError
from mp2flame.rotations import matrix

__all__ = [
    "FacePacket",
    "arkit_scores",
    "check_single",
    "checked_scores",
    "head_rotation",
    "head_transform",
    "rotation",
]

_LIMIT = 10.0


@dataclass(frozen=True, kw_only=True)
class FacePacket:
    """One face as a packet tells it."""

    found: bool = True
    scores: Mapping[str, float] = field(default_factory=dict)
    """By ARKit's names; names that the packet lacks are 0."""
    head: NDArray[np.float64] | None = None
    """(4, 4) canonical face to camera, centimetres."""
    stamp: float | None = None
    """Seconds on the sender's clock, where the packet carries one."""
    sender: str = ""
    """Who the packet says it is from."""

    def observation(self, time: float) -> Observation:
        """This face at `time` seconds."""
        if not self.found:
            return Observation.missing(time)
        values = list(self.scores.values())
        tongue = self.scores.get("tongueOut")
        return Observation(
            time=np.array([time]),
            found=np.array([True]),
            scores=reorder([values], list(self.scores), MEDIAPIPE),
            head_transform=None if self.head is None else self.head[None].astype(np.float32),
            tongue_out=None if tongue is None else np.array([tongue], dtype=np.float32),
        )


def checked_scores(named: Iterable[tuple[str, float]]) -> dict[str, float]:
    """Scores by canonical name, each finite and within the bounds of an `Observation`.

    Raises:
        FormatError: a value is not.
    """
    scores: dict[str, float] = {}
    for name, value in named:
        if not (isfinite(value) and abs(value) <= _LIMIT):
            raise FormatError(f"expected scores about 0..1; got {value:g} for {name}")
        scores[name] = value
    return scores


def head_transform(turn: ArrayLike, centimetres: ArrayLike = (0.0, 0.0, 0.0)) -> NDArray[np.float64]:
    """(4, 4) of a rotation matrix (3, 3) and a place (3,); a stream that tells no place leaves it at zero."""
    transform = np.eye(4)
    transform[:3, :3] = turn
    transform[:3, 3] = centimetres
    return transform


def check_single(observation: Observation) -> None:
    """Sinks take one frame at a time.

    Raises:
        InputError: there are more.
    """
    if len(observation) != 1:
        raise InputError(f"expected a single frame; got {len(observation)}: write them one by one")


def arkit_scores(observation: Observation) -> NDArray[np.float32]:
    """(52,) scores of a single frame in ARKit's order; tongueOut is 0 where nobody has seen it. NaN without a face."""
    scores: NDArray[np.float32] = reorder(observation.scores[0], MEDIAPIPE, ARKIT)
    if not observation.found[0]:
        scores[:] = np.nan
    elif observation.tongue_out is not None:
        scores[ARKIT.index("tongueOut")] = observation.tongue_out[0]
    return scores


def rotation(pose: NDArray[np.float32]) -> NDArray[np.float64] | None:
    """(3, 3) of a single frame's axis-angle (1, 3); None where it is not known."""
    return matrix(pose[0]) if np.isfinite(pose).all() else None


def head_rotation(params: FlameParams) -> NDArray[np.float64] | None:
    """(3, 3) how a single frame's head is turned: the root's rotation and the neck's; None where it is not known."""
    root, neck = rotation(params.global_orient), rotation(params.neck_pose)
    return None if root is None or neck is None else root @ neck
