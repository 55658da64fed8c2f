"""A scripted facial animation by blendshape names: what the demo renders, and what tests of videos are made of.

A key pose names the blendshapes that are not zero. Between key poses every weight follows a smooth step, so that its
speed is zero at each key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mp2flame.blendshapes import ARKIT
from mp2flame.data import FlameParams
from mp2flame.errors import InputError


@dataclass(frozen=True)
class KeyPose:
    """The weights of a face and the rotation of its head at one time."""

    time: float
    """Seconds."""
    weights: Mapping[str, float]
    """Blendshape weights 0..1 by ARKit name; names left out are 0."""
    head: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Degrees: nod down, turn to the subject's left, tilt to the subject's right."""


def both_sides(**weights: float) -> dict[str, float]:
    """Weights for both sides: `both_sides(mouthSmile=1)` is mouthSmileLeft and mouthSmileRight; other names stay.

    Raises:
        InputError: a name is neither a blendshape nor the stem of a pair.
    """
    named: dict[str, float] = {}
    for stem, weight in weights.items():
        names = [name for name in (stem, f"{stem}Left", f"{stem}Right") if name in ARKIT]
        if not names:
            raise InputError(f"expected ARKit blendshape names or their stems; got {stem!r}")
        named |= dict.fromkeys(names, weight)
    return named


_NEUTRAL: Final[Mapping[str, float]] = MappingProxyType({})
_LOOK_LEFT: Final = MappingProxyType({"eyeLookOutLeft": 0.8, "eyeLookInRight": 0.8})
_LOOK_RIGHT: Final = MappingProxyType({"eyeLookInLeft": 0.8, "eyeLookOutRight": 0.8})
_BLINK: Final = both_sides(eyeBlink=1.0)
_SMILE: Final = both_sides(mouthSmile=0.9, cheekSquint=0.4)
_GRIN: Final = both_sides(mouthSmile=0.9, jawOpen=0.35, mouthUpperUp=0.3, browOuterUp=0.5, browInnerUp=0.4)

# The first second is neutral: it is taken as the person's neutral face.
SCRIPT: Final[tuple[KeyPose, ...]] = (
    KeyPose(0.0, _NEUTRAL),
    KeyPose(1.2, _NEUTRAL),
    KeyPose(1.6, _SMILE),
    KeyPose(2.0, _SMILE),
    KeyPose(2.3, _NEUTRAL),
    KeyPose(2.40, _BLINK),
    KeyPose(2.55, _NEUTRAL),
    KeyPose(2.9, both_sides(jawOpen=0.85)),
    KeyPose(3.2, both_sides(jawOpen=0.85)),
    KeyPose(3.5, _NEUTRAL),
    KeyPose(3.8, both_sides(mouthPucker=0.9)),
    KeyPose(4.1, both_sides(mouthPucker=0.9)),
    KeyPose(4.4, both_sides(browInnerUp=0.9, browOuterUp=0.9, eyeWide=0.5)),
    KeyPose(4.8, both_sides(browInnerUp=0.9, browOuterUp=0.9, eyeWide=0.5)),
    KeyPose(5.1, both_sides(browDown=0.9, mouthPress=0.5, mouthFrown=0.5)),
    KeyPose(5.5, both_sides(browDown=0.9, mouthPress=0.5, mouthFrown=0.5)),
    KeyPose(5.7, _NEUTRAL),
    KeyPose(5.80, _BLINK),
    KeyPose(5.95, _NEUTRAL),
    KeyPose(6.2, _LOOK_LEFT, (0.0, 8.0, 0.0)),
    KeyPose(6.5, _LOOK_LEFT, (0.0, 15.0, 0.0)),
    KeyPose(6.9, _LOOK_RIGHT, (0.0, -8.0, 0.0)),
    KeyPose(7.2, _LOOK_RIGHT, (0.0, -15.0, 0.0)),
    KeyPose(7.5, _NEUTRAL),
    KeyPose(7.7, {"mouthLeft": 0.9}),
    KeyPose(7.9, {"mouthLeft": 0.9}, (0.0, 0.0, -4.0)),
    KeyPose(8.2, {"mouthRight": 0.9}, (0.0, 0.0, 4.0)),
    KeyPose(8.4, {"mouthRight": 0.9}, (0.0, 0.0, 4.0)),
    KeyPose(8.6, _NEUTRAL),
    # "aa, oo, ee": a mouth that talks while the head nods.
    KeyPose(8.8, both_sides(jawOpen=0.6), (5.0, 0.0, 0.0)),
    KeyPose(9.0, both_sides(mouthFunnel=0.8, jawOpen=0.15), (-3.0, 3.0, 0.0)),
    KeyPose(9.2, both_sides(mouthStretch=0.6, mouthSmile=0.4, jawOpen=0.15), (4.0, 0.0, 0.0)),
    KeyPose(9.4, both_sides(mouthClose=0.0, mouthPress=0.4), (0.0, -3.0, 0.0)),
    KeyPose(9.6, both_sides(jawOpen=0.5, mouthFunnel=0.3), (4.0, 0.0, 0.0)),
    KeyPose(9.8, both_sides(mouthPucker=0.7), (0.0, 0.0, 0.0)),
    KeyPose(10.1, _GRIN, (-4.0, 10.0, 4.0)),
    KeyPose(10.6, _GRIN, (-4.0, 10.0, 4.0)),
    KeyPose(10.70, {**_GRIN, "eyeBlinkLeft": 1.0}, (-4.0, 8.0, 4.0)),
    KeyPose(10.85, _GRIN, (-3.0, 6.0, 3.0)),
    KeyPose(11.3, _NEUTRAL),
    KeyPose(11.6, _NEUTRAL),
)


def sample_weights(
    time: NDArray[np.float64], script: Sequence[KeyPose] = SCRIPT
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weights and head rotation at any times.

    Args:
        time: (N,) seconds.
        script: key poses in rising time.

    Returns:
        Weights (N, 52) in ARKit's order, and the head's rotation (N, 3) as axis-angle in radians.
    """
    keys = np.array([key.time for key in script])
    table = np.array([[*(key.weights.get(name, 0.0) for name in ARKIT), *np.radians(key.head)] for key in script])
    right = np.clip(np.searchsorted(keys, time, side="right"), 1, len(keys) - 1)
    part = np.clip((time - keys[right - 1]) / (keys[right] - keys[right - 1]), 0.0, 1.0)
    smooth = (part * part * (3 - 2 * part))[:, None]
    pose = (table[right - 1] * (1 - smooth) + table[right] * smooth).astype(np.float32)
    return pose[:, : len(ARKIT)], pose[:, len(ARKIT) :]


def animate(
    shapes: FlameParams, *, fps: float = 30.0, script: Sequence[KeyPose] = SCRIPT
) -> tuple[FlameParams, NDArray[np.float32]]:
    """The script as FLAME parameters of one head.

    Args:
        shapes: the head's 52 blendshapes in ARKit's order, as `FlameHead.blendshapes()` gives them.
        fps: frames per second.
        script: key poses in rising time.

    Returns:
        The parameters of every frame, and their weights (N, 52) in ARKit's order.

    Raises:
        InputError: `shapes` does not have one row for each ARKit name.
    """
    if len(shapes) != len(ARKIT):
        raise InputError(f"expected {len(ARKIT)} blendshapes, one row for each ARKit name; got {len(shapes)}")
    time = np.arange(round(script[-1].time * fps) + 1) / fps
    weights, rotation = sample_weights(time, script)
    params = FlameParams(
        time=time,
        found=np.ones(len(time), dtype=np.bool_),
        expression=weights @ shapes.expression,
        jaw_pose=weights @ shapes.jaw_pose,
        leye_pose=weights @ shapes.leye_pose,
        reye_pose=weights @ shapes.reye_pose,
    )
    return replace(params, global_orient=rotation), weights
