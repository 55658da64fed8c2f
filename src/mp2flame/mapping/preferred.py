"""Two mappings of one head: the better one where its input is there, the other where it is not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mp2flame.data import FlameParams, Observation
from mp2flame.errors import InputError
from mp2flame.mapping.base import Mapping
from mp2flame.mapping.loading import load_mapping

__all__ = ["Preferred", "default_mapping", "landmarks_beside", "load_preferred"]


@dataclass(frozen=True, eq=False)
class Preferred(Mapping):
    """Landmarks where the source has them, as pictures do; scores alone where not, as phones and recordings do.

    Args:
        landmarks: reads landmarks and scores.
        scores: reads scores alone.

    Raises:
        InputError: the two are for different heads, or give different numbers of coefficients.
    """

    landmarks: Mapping
    scores: Mapping

    def __post_init__(self) -> None:
        first, second = ((m.head_hash, m.head_version, m.n_expression) for m in (self.landmarks, self.scores))
        if first != second:
            raise InputError(f"expected two mappings of the same head; got {first[1]} and {second[1]}, or other widths")

    @property
    def n_expression(self) -> int:
        """E of both."""
        return self.scores.n_expression

    @property
    def head_hash(self) -> str | None:
        """The hash of the head that both were made for."""
        return self.scores.head_hash

    @property
    def head_version(self) -> str | None:
        """The version of the head that both were made for."""
        return self.scores.head_version

    @property
    def straight(self) -> NDArray[np.float64] | None:
        """(3,) what MediaPipe reports of this head when it looks straight ahead."""
        return self.scores.straight

    @property
    def reach(self) -> NDArray[np.float64] | None:
        """(52,) how far each score goes from rest in the people that it was made from."""
        return self.scores.reach

    def __call__(self, observation: Observation) -> FlameParams:
        """FLAME parameters of every frame."""
        return (self.scores if observation.landmarks is None else self.landmarks)(observation)

    def for_person(self, rest: Observation) -> Mapping:
        """Both for this person; a rest without landmarks leaves only the scores to go by.

        Raises:
            InputError: no frame of `rest` has a face.
        """
        scores = self.scores.for_person(rest)
        return scores if rest.landmarks is None else Preferred(self.landmarks.for_person(rest), scores)


def default_mapping() -> Mapping:
    """The mappings that ship for the built-in head: by landmarks where a source has them, else by scores."""
    return Preferred(load_mapping("builtin-landmarks"), load_mapping("builtin"))


def landmarks_beside(scores: Path) -> Path:
    """The landmarks mapping that goes with a scores mapping: `mine-landmarks.safetensors` with `mine.safetensors`."""
    return scores.with_name(f"{scores.stem}-landmarks{scores.suffix}")


def load_preferred(source: str | Path) -> Mapping:
    """`load_mapping`, joined with the landmarks mapping beside it, as `mp2flame calibrate` writes them.

    Args:
        source: as of `load_mapping`.

    Raises:
        MissingFileError: there is nothing of that name.
        FormatError: it is not a mapping, or damaged.
        InputError: the two files are for different heads.
    """
    if source == "builtin":
        return default_mapping()
    mapping = load_mapping(source)
    beside = landmarks_beside(Path(source))
    if Path(source).suffix != ".safetensors" or not Path(source).is_file() or not beside.is_file():
        return mapping
    try:
        return Preferred(load_mapping(beside), mapping)
    except InputError as error:
        raise InputError(
            f"{beside} is taken for the landmarks mapping that goes with {Path(source).name}, and does not: {error}; "
            "move it elsewhere, or calibrate again"
        ) from error
