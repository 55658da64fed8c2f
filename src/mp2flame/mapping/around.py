"""What every mapping that stands around another one hands through."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mp2flame.mapping.base import Mapping

__all__ = ["Around"]


@dataclass(frozen=True, eq=False)
class Around(Mapping):
    """Another mapping with something done to what it gives; it is made for the same head and from the same people.

    Args:
        mapping: the mapping inside.
    """

    mapping: Mapping

    @property
    def n_expression(self) -> int:
        """E of the mapping inside."""
        return self.mapping.n_expression

    @property
    def head_hash(self) -> str | None:
        """The hash of the head that the mapping inside was made for."""
        return self.mapping.head_hash

    @property
    def head_version(self) -> str | None:
        """The version of the head that the mapping inside was made for."""
        return self.mapping.head_version

    @property
    def reach(self) -> NDArray[np.float64] | None:
        """(52,) as the mapping inside."""
        return self.mapping.reach
