"""Words for numbers in what people read."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["counted", "listed"]


def counted(number: int, noun: str) -> str:
    """The number and its noun, with an s where it is not one."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def listed(names: Iterable[str]) -> str:
    """Names with commas between them; those that count up, such as `expression 3` and `expression 4`, as one range."""
    runs: list[tuple[str, int | None, int | None]] = []
    for name in names:
        noun, _, last = name.rpartition(" ")
        number = int(last) if noun and last.isdecimal() else None
        if number is not None and runs and runs[-1][0] == noun and runs[-1][2] == number - 1:
            runs[-1] = (noun, runs[-1][1], number)
        else:
            runs.append((name, None, None) if number is None else (noun, number, number))
    return ", ".join(
        noun if first is None else f"{noun} {first}" if first == last else f"{noun} {first} to {last}"
        for noun, first, last in runs
    )
