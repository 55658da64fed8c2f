"""How far some shapes go at weight 1, as a factor on the source's own displacement."""

from __future__ import annotations

__all__ = ["GAINS"]


def _pair(name: str, gain: float) -> dict[str, float]:
    return {name + "Left": gain, name + "Right": gain}


# Found by measuring with scripts/measure_rises.py; the reason stands beside each.
GAINS: dict[str, float] = {}
