"""What every mapping is: a pure function from `Observation` to `FlameParams`."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from mp2flame.data import FlameParams, Observation

__all__ = ["Mapping"]


class Mapping(ABC):
    """A pure, stateless function; single frames or batches; the same input gives the same bytes.

    Rows without a face come out NaN with `found` False.
    """

    @property
    @abstractmethod
    def n_expression(self) -> int:
        """E, the number of expression coefficients it gives."""

    @property
    def head_hash(self) -> str | None:
        """The hash of the head that it was made for; None where that is not known."""
        return None

    @property
    def head_version(self) -> str | None:
        """The version of the head that it was made for, in words; None where that is not known."""
        return None

    @property
    def straight(self) -> NDArray[np.float64] | None:
        """(3,) axis-angle that MediaPipe reports of this head when it looks straight ahead; None if not known."""
        return None

    @property
    def reach(self) -> NDArray[np.float64] | None:
        """(52,) how far each score goes from rest in the people that it was made from; None if not known."""
        return None

    @abstractmethod
    def __call__(self, observation: Observation) -> FlameParams:
        """FLAME parameters of every frame.

        Args:
            observation: N frames.

        Returns:
            FlameParams of the same N frames, with the same `time` and `found`.

        Raises:
            InputError: the observation lacks what this mapping reads, such as landmarks.
        """

    @abstractmethod
    def for_person(self, rest: Observation) -> Mapping:
        """This mapping with a person's neutral as data in it.

        Args:
            rest: frames of the person with the face at rest; those with a face are averaged robustly.

        Raises:
            InputError: no frame of `rest` has a face.
        """
