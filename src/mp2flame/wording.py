"""Words for numbers in what people read."""

from __future__ import annotations

__all__ = ["counted"]


def counted(number: int, noun: str) -> str:
    """The number and its noun, with an s where it is not one."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
