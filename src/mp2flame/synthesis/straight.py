"""What MediaPipe reports of a head that looks straight ahead, found by showing it the head."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mp2flame.data import FlameParams
from mp2flame.errors import InputError
from mp2flame.head import FlameHead
from mp2flame.mapping import estimate_frontal_rotation
from mp2flame.synthesis.studio import FRONTAL, Studio

__all__ = ["measure_straight"]

_TURNS: Final = np.radians([[0, 0, 0], [10, 0, 0], [-10, 0, 0], [0, 15, 0], [0, -15, 0]]).astype(np.float32)
_IDENTITY_SPREAD: Final = 0.8


def measure_straight(
    head: FlameHead, landmarker: Path, *, colors: NDArray[np.uint8] | None = None, people: int = 8, seed: int = 0
) -> NDArray[np.float64]:
    """The rotation that MediaPipe reports of this head when its own is zero, averaged over people and turns.

    Args:
        head: the head; it is drawn as the mean identity and as `people` random others.
        landmarker: MediaPipe's face landmarker file.
        colors: (V, 3) RGB to paint it with; None is the head's own.
        people: how many others.
        seed: who they are.

    Returns:
        (3,) axis-angle, radians; as `straight` in a mapping's metadata it makes `WithHeadPose` right for this head.

    Raises:
        InputError: MediaPipe finds no face in any of the pictures.
        MissingExtraError: PyVista or MediaPipe is not installed.
    """
    rng = np.random.default_rng(seed)
    spreads = [0.0] + [_IDENTITY_SPREAD] * people
    reported, truth = [], []
    with Studio(head, landmarker) as studio:
        for spread in spreads:
            person = head.with_shape((spread * rng.standard_normal(head.n_shape)).astype(np.float32))
            studio.seat(person, colors)
            for turn in _TURNS:
                params = FlameParams(
                    time=np.zeros(1),
                    found=np.ones(1, dtype=np.bool_),
                    expression=np.zeros((1, head.n_expression), dtype=np.float32),
                    global_orient=turn[None],
                )
                seen = studio.look(person(params)[0], FRONTAL)
                if seen.found[0]:
                    assert seen.head_transform is not None
                    reported.append(seen.head_transform[0])
                    truth.append(turn)
    if not truth:
        raise InputError(f"MediaPipe found no face in pictures of this head ({head.version})")
    return estimate_frontal_rotation(np.stack(reported), np.stack(truth))
