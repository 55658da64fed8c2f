"""Words for numbers."""

from __future__ import annotations

import pytest

from mp2flame.cli.text import join_ranges, pluralize


def test_one_thing_has_no_s() -> None:
    assert [pluralize(n, "frame") for n in (0, 1, 2)] == ["0 frames", "1 frame", "2 frames"]


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ([], ""),
        (["jaw z"], "jaw z"),
        (["expression 3"], "expression 3"),
        (["expression 3", "expression 4"], "expression 3 to 4"),
        (["expression 1", "expression 3", "expression 4", "expression 5"], "expression 1, expression 3 to 5"),
        (["expression 5", "eye 6", "jaw x", "jaw 7", "jaw 6"], "expression 5, eye 6, jaw x, jaw 7, jaw 6"),
        (["left eye x", "left eye y", "7", "8"], "left eye x, left eye y, 7, 8"),
    ],
)
def test_names_that_count_up_are_one_range(names: list[str], text: str) -> None:
    assert join_ranges(names) == text
