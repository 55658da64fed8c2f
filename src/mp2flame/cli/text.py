"""Words for numbers in what people read."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

__all__ = ["counted", "listed"]


def counted(number: int, noun: str) -> str:
    """The number and its noun, with an s where it is not one."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def listed(names: Iterable[str]) -> str:
    """Names with commas between them; those that count up, such as `expression 3` and `expression 4`, as one range."""
    runs = [[name for _, name in run] for _, run in groupby(enumerate(names), key=_run_of)]
    return ", ".join(run[0] if len(run) == 1 else f"{run[0]} to {_split(run[-1])[1]}" for run in runs)


def _split(name: str) -> tuple[str, str]:
    noun, _, last = name.rpartition(" ")
    return noun, last


def _run_of(place: tuple[int, str]) -> tuple[str | None, int]:
    """What a numbered name shares with those that it counts up with, and any other name with none."""
    index, (noun, last) = place[0], _split(place[1])
    return (noun, int(last) - index) if noun and last.isdecimal() else (None, index)
