"""One check of arrays, one of numbers and one of file headers: what passes, what is refused, and how it is said."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mp2flame.errors import FormatError, InputError
from mp2flame.validation import check_array, check_header, check_number


def test_an_array_that_fits_is_not_copied_and_cannot_be_changed() -> None:
    array = np.zeros((2, 3), dtype=np.float32)
    checked = check_array("a", array, (2, 3), np.float32)
    assert np.shares_memory(checked, array)
    assert not checked.flags.writeable
    assert array.flags.writeable


@pytest.mark.parametrize(
    ("value", "dtype"),
    [([[1, 2, 3]], np.float32), ([[True, False, True]], np.float32), ([[1.0, 2.0, 3.0]], np.int64)]
    + [(np.array([[1, 0, 1]], dtype=kind), np.bool_) for kind in (np.uint8, np.float64, np.int64)],
)
def test_numbers_of_another_kind_that_hold_the_same_values_are_converted(value: Any, dtype: type[Any]) -> None:
    checked = check_array("a", value, (1, 3), dtype)
    assert checked.dtype == dtype
    np.testing.assert_array_equal(checked, np.asarray(value))


@pytest.mark.parametrize(
    ("value", "dtype", "message"),
    [
        (np.array([1j, 2, 3]), np.float32, "a must be an array of float32; got complex128"),
        (["no", "yes", "no"], np.bool_, "a must be an array of bool; got list"),
        ([0, 1, 2], np.bool_, "values that bool does not hold"),
        ([0.5, 1, 2], np.int64, "values that int64 does not hold"),
        ([np.nan, 1, 2], np.int64, "values that int64 does not hold"),
        ([2**70, 1, 2], np.int64, "a must be an array of int64"),
        ([2**63, 1, 2], np.int64, "values that int64 does not hold"),
        ([256, 1, 2], np.uint8, "values that uint8 does not hold"),
        ([-1, 1, 2], np.uint8, "values that uint8 does not hold"),
        ([[1], [2, 3]], np.float32, "a must be an array of float32; got list"),
        (np.ma.masked_array([1.0, 2.0, 3.0], mask=[False, True, False]), np.float32, "must not be masked"),
        (None, np.float32, "got NoneType"),
        ([1, 2], np.float32, r"a must have shape \(3,\); got \(2,\)"),
        ([[1, 2, 3]], np.float32, r"a must have shape \(3,\); got \(1, 3\)"),
    ],
)
def test_what_is_no_such_array_is_refused(value: Any, dtype: type[Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_array("a", value, (3,), dtype)


def test_letters_stand_for_any_length_and_finite_is_asked_for() -> None:
    array = np.array([[1.0, np.nan]])
    assert check_array("a", array, ("N", 2), np.float64).shape == (1, 2)
    with pytest.raises(InputError, match=r"a must have shape \(N, 3\); got \(1, 2\)"):
        check_array("a", array, ("N", 3), np.float64)
    with pytest.raises(FormatError, match="a must be finite"):
        check_array("a", array, ("N", 2), np.float64, finite=True, error=FormatError)
    with pytest.raises(InputError, match="finite"):
        check_array("a", np.array([1e300]), ("N",), np.float32, finite=True)


def test_numbers_within_their_limits() -> None:
    for value in (1, 1.0, np.float32(1), np.int64(1)):
        assert check_number("n", value, above=0, at_most=1) == 1.0
    for value, message in (
        (0, "n must be a finite number above 0 and at most 1; got 0"),
        (2, "at most 1; got 2"),
        (np.nan, "got nan"),
        (10**400, "got 1000"),
        (True, "got True"),
        ("1", "got 1"),
        (None, "got None"),
        (1j, "got 1j"),
    ):
        with pytest.raises(InputError, match=message):
            check_number("n", value, above=0, at_most=1)


_HEADER = {"format": "mp2flame-x", "format_version": "1"}


def test_headers_of_versions_that_are_known() -> None:
    assert check_header(_HEADER, expected="mp2flame-x", newest=1, source="f") == 1
    assert check_header(_HEADER | {"format_version": 2}, expected="mp2flame-x", newest=3, source="f") == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "other"}, "f: expected format 'mp2flame-x'; got 'other'"),
        ({"format": None}, "got None: this is another kind of file"),
        ({"format": "\x1b[2J" + "x" * 9000}, "got .{1,62}: this is"),
        ({"format_version": "2"}, "format version 2 is newer than 1"),
        ({"format_version": "0"}, "whole number from 1; got 0"),
        ({"format_version": "-1"}, "whole number from 1"),
        ({"format_version": "9" * 5000}, "whole number from 1"),
        ({"format_version": 10**5000}, "whole number from 1"),
        ({"format_version": "\u0661"}, "whole number from 1"),
        ({"format_version": 1.0}, "whole number from 1"),
        ({"format_version": True}, "whole number from 1"),
        ({"format_version": None}, "whole number from 1"),
    ],
)
def test_other_headers_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(FormatError, match=message) as caught:
        check_header(_HEADER | changes, expected="mp2flame-x", newest=1, source="f")
    assert len(str(caught.value)) < 300
