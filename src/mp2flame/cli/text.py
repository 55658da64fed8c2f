"""Words for numbers in what people read."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby


def pluralize(number: int, noun: str) -> str:
    """The number and its noun, with an s unless it is one."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def join_ranges(names: Iterable[str]) -> str:
    """Names joined by commas; consecutively numbered ones, such as `expression 3` and `expression 4`, as one range."""
    runs = [[name for _, name in run] for _, run in groupby(enumerate(names), key=_run_of)]
    return ", ".join(run[0] if len(run) == 1 else f"{run[0]} to {_split(run[-1])[1]}" for run in runs)


def _split(name: str) -> tuple[str, str]:
    noun, _, last = name.rpartition(" ")
    return noun, last


def _run_of(place: tuple[int, str]) -> tuple[str | None, int]:
    """A key that consecutively numbered names share; any other name has one of its own."""
    index, (noun, last) = place[0], _split(place[1])
    return (noun, int(last) - index) if noun and last.isdecimal() else (None, index)
