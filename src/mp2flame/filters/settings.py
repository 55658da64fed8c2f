"""The check that every filter makes of its settings."""

from __future__ import annotations

import math
from collections.abc import Mapping

from mp2flame.errors import InputError

__all__ = ["check_settings"]


def check_settings(settings: Mapping[str, float], *, zero: bool = False) -> None:
    """Settings are positive numbers; with `zero`, zero will do.

    Raises:
        InputError: one is not.
    """
    for name, value in settings.items():
        if not (math.isfinite(value) and (value > 0 or (zero and value == 0))):
            raise InputError(f"expected {name} to be {'zero or ' * zero}a positive number; got {value}")
