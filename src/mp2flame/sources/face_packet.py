"""One face by ARKit's names, independent of the protocol or table that it came in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import isfinite, pi
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mp2flame.blendshapes import MEDIAPIPE, canonical_name, reorder
from mp2flame.data import SCORE_LIMIT, Observation
from mp2flame.errors import FormatError, plain
from mp2flame.rotations import matrix

ANGLE_UNITS: Final = {"radians": 1.0, "degrees": pi / 180, "half-turns": pi}
"""Radians in one unit. Unreal's own ARKit plugin writes half turns; no document says what every app writes."""

_MAX_ANGLE: Final = 720.0


@dataclass(frozen=True, kw_only=True)
class FacePacket:
    """One face as a packet states it."""

    found: bool = True
    scores: Mapping[str, float] = field(default_factory=dict)
    """By ARKit's names; names that the packet lacks are 0."""
    head: NDArray[np.float64] | None = None
    """(4, 4) canonical face to camera, centimeters."""
    stamp: float | None = None
    """Seconds on the sender's clock, where the packet has them."""
    sender: str = ""
    """Name of the sender, where the packet has one."""

    def observation(self, time: float) -> Observation:
        """This face at `time` seconds."""
        if not self.found:
            return Observation.missing(time)
        tongue = self.scores.get("tongueOut")
        return Observation(
            time=np.array([time]),
            found=np.array([True]),
            scores=reorder([list(self.scores.values())], list(self.scores), MEDIAPIPE),
            head_transform=None if self.head is None else self.head[None].astype(np.float32),
            tongue_out=None if tongue is None else np.array([tongue], dtype=np.float32),
        )


def checked_scores(named: Iterable[tuple[str, float]]) -> dict[str, float]:
    """Scores by canonical name.

    Raises:
        FormatError: a value is not finite, or too far from 0..1 for an `Observation`.
    """
    scores: dict[str, float] = {}
    for name, value in named:
        if not (isfinite(value) and abs(value) <= SCORE_LIMIT):
            raise FormatError(f"expected scores about 0..1; got {value:g} for {name}")
        scores[name] = value
    return scores


def distinct_names(names: object) -> tuple[str | None, ...]:
    """ARKit's spelling of a list of blendshape names; None for names that are not ARKit's.

    Raises:
        FormatError: this is no list of texts, none of them is ARKit's, or one comes twice.
    """
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise FormatError("expected a list of blendshape names")
    canonical = tuple(canonical_name(name) for name in names)
    known = [name for name in canonical if name is not None]
    if not known or len(set(known)) != len(known):
        raise FormatError(f"expected distinct ARKit names; got {plain(names[:3])}")
    return canonical


def head_transform(rotation: ArrayLike, centimeters: ArrayLike = (0.0, 0.0, 0.0)) -> NDArray[np.float64]:
    """(4, 4) of a rotation matrix (3, 3) and a position (3,), zero where a stream has none."""
    transform = np.eye(4)
    transform[:3, :3] = rotation
    transform[:3, 3] = centimeters
    return transform


def matrix_from_euler(x: float, y: float, z: float) -> NDArray[np.float64]:
    """The rotation (3, 3) Ry(y) · Rx(x) · Rz(z), radians: roll first, then pitch, then yaw, as in Unity and Unreal."""
    about_y, about_x, about_z = matrix(np.array([[0.0, y, 0.0], [x, 0.0, 0.0], [0.0, 0.0, z]]))
    rotation: NDArray[np.float64] = about_y @ about_x @ about_z
    return rotation


def head_from_angles(yaw: float, pitch: float, roll: float, unit: float) -> NDArray[np.float64]:
    """(4, 4) of Live Link's head angles, each in `unit` radians.

    Yaw > 0 turns to the subject's left, pitch > 0 looks up, roll > 0 tilts to the subject's right (the left ear rises).

    Raises:
        FormatError: an angle is not finite or far out of range.
    """
    if not max(abs(yaw), abs(pitch), abs(roll)) <= _MAX_ANGLE or not isfinite(yaw + pitch + roll):
        raise FormatError(f"expected head angles of at most {_MAX_ANGLE:g}; got {yaw:g}, {pitch:g}, {roll:g}")
    return head_transform(matrix_from_euler(-pitch * unit, yaw * unit, roll * unit))
