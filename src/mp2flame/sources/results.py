"""What MediaPipe's face landmarker returns, in arrays; it is read as it comes, without importing mediapipe."""

from __future__ import annotations

from itertools import chain
from math import isfinite
from operator import attrgetter
from pathlib import Path
from typing import Any, Final

import numpy as np

from mp2flame.blendshapes import MEDIAPIPE
from mp2flame.data import N_LANDMARKS, N_SCORES
from mp2flame.errors import FormatError
from mp2flame.sources.faces import Box

__all__ = ["Face", "check_result"]

_POSITION: Final = attrgetter("x", "y", "z")
_SCORE: Final = attrgetter("score")


class Face:
    """The first face of a result.

    Args:
        result: with at least one face, and of a landmarker that passed `check_result`.
        width: of the picture, pixels.
        height: of the picture, pixels.
    """

    def __init__(self, result: Any, width: int, height: int) -> None:
        positions = chain.from_iterable(map(_POSITION, result.face_landmarks[0]))
        self.landmarks = np.fromiter(positions, np.float32, 3 * N_LANDMARKS).reshape(N_LANDMARKS, 3)
        self.scores = np.fromiter(map(_SCORE, result.face_blendshapes[0]), np.float32, N_SCORES)
        self.transform = np.asarray(result.facial_transformation_matrixes[0], dtype=np.float32)
        left, top, _ = self.landmarks.min(axis=0).tolist()
        right, bottom, _ = self.landmarks.max(axis=0).tolist()
        self.box = Box(width * left, height * top, width * right, height * bottom)

    @property
    def is_finite(self) -> bool:
        """Whether all of it are numbers."""
        # The sum of a few hundred numbers of ordinary size is finite if, and only if, each of them is.
        return isfinite(self.landmarks.sum() + self.scores.sum() + self.transform.sum())


def check_result(result: Any, path: Path) -> None:
    """Refuse what a bundle gives that is not MediaPipe's face landmarker.

    Args:
        result: with at least one face.
        path: the bundle.

    Raises:
        FormatError: its blendshapes or landmarks are others.
    """
    names = tuple(category.category_name for category in result.face_blendshapes[0])
    if names != MEDIAPIPE:
        first = next((pair for pair in zip(names, MEDIAPIPE, strict=False) if pair[0] != pair[1]), ("nothing", "more"))
        raise FormatError(
            f"expected the {len(MEDIAPIPE)} blendshapes of MediaPipe's face landmarker in their order; {path} gives "
            f"{len(names)}, with {first[0]} in the place of {first[1]}: `mp2flame fetch landmarker` gets the right one"
        )
    if len(result.face_landmarks[0]) != N_LANDMARKS:
        raise FormatError(f"expected {N_LANDMARKS} landmarks; {path} gives {len(result.face_landmarks[0])}")
