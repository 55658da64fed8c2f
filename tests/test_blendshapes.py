"""Names and orders, against index tables measured elsewhere and against plain dictionaries."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mp2flame.blendshapes import (
    ARKIT,
    MEDIAPIPE,
    ORDERS,
    canonical_name,
    mirror_name,
    mirror_permutation,
    order_names,
    reorder,
    to_mediapipe,
)
from mp2flame.errors import InputError

# Place of each MediaPipe blendshape in Apple's order; -1 where Apple has none.
_APPLE_OF_MEDIAPIPE = [
    *(-1, 41, 42, 43, 44, 45, 46, 47, 48, 0, 7, 1, 8, 2, 9, 3, 10, 4, 11, 5, 12, 6, 13, 14, 15, 17),
    *(16, 18, 27, 28, 25, 26, 19, 21, 37, 38, 35, 36, 20, 22, 31, 32, 33, 34, 23, 24, 29, 30, 39, 40, 49, 50),
]


def test_mediapipe_order_agrees_with_the_known_permutation() -> None:
    assert [ARKIT.index(name) if name in ARKIT else -1 for name in MEDIAPIPE] == _APPLE_OF_MEDIAPIPE


@pytest.mark.parametrize(
    ("order", "width"), [("mediapipe", 52), ("arkit", 52), ("livelink-csv", 52), ("lam", 52), ("beat", 51)]
)
def test_orders_hold_distinct_names(order: str, width: int) -> None:
    names = ORDERS[order]
    assert len(names) == len(set(names)) == width
    assert set(names) <= {*ARKIT, "_neutral"}


def test_livelink_csv_differs_from_the_packet_in_two_swaps() -> None:
    moved = {i for i, (a, b) in enumerate(zip(ORDERS["arkit"], ORDERS["livelink-csv"], strict=True)) if a != b}
    assert moved == {15, 16, 21, 22}


@pytest.mark.parametrize("order", ORDERS)
def test_conversion_keeps_every_value_with_its_name(order: str) -> None:
    names = ORDERS[order]
    values = np.arange(1, len(names) + 1, dtype=np.float32)
    by_name = dict(zip(names, values.tolist(), strict=True))
    converted = to_mediapipe(values[None], order=order)
    assert converted.shape == (1, 52)
    assert converted.dtype == np.float32
    for name, value in zip(MEDIAPIPE, converted[0].tolist(), strict=True):
        assert value == by_name.get(name, 0.0)


@given(st.sampled_from(sorted(ORDERS)), st.sampled_from(sorted(ORDERS)), st.integers(0, 2**32 - 1))
def test_there_and_back_keeps_what_both_orders_have(first: str, second: str, seed: int) -> None:
    values = np.random.default_rng(seed).random((2, len(ORDERS[first])), dtype=np.float32)
    there = reorder(values, ORDERS[first], ORDERS[second])
    back = reorder(there, ORDERS[second], ORDERS[first])
    shared = [name in ORDERS[second] for name in ORDERS[first]]
    np.testing.assert_array_equal(back, np.where(shared, values, 0))


@pytest.mark.parametrize("order", ["arkit", "livelink-csv"])
def test_vectors_without_tongue_are_accepted_where_it_comes_last(order: str) -> None:
    values = np.random.default_rng(1).random(52, dtype=np.float32)
    np.testing.assert_array_equal(to_mediapipe(values[:51], order=order), to_mediapipe(values, order=order))


@pytest.mark.parametrize(
    ("order", "width"), [("mediapipe", 51), ("beat", 52), ("lam", 51), ("arkit", 50), ("arkit", 61)]
)
def test_wrong_width_names_the_orders(order: str, width: int) -> None:
    with pytest.raises(InputError, match=rf"{order}.*got {width}.*state the order"):
        to_mediapipe(np.zeros(width), order=order)


def test_unknown_order_is_refused() -> None:
    with pytest.raises(InputError, match="among mediapipe, arkit, livelink-csv, lam, beat; got 'apple'"):
        order_names("apple", 52)


def test_order_has_no_default() -> None:
    with pytest.raises(TypeError, match="order"):
        to_mediapipe(np.zeros(52))  # type: ignore[call-arg]


def test_duplicate_source_names_are_refused() -> None:
    with pytest.raises(InputError, match="jawOpen more than once"):
        reorder([1.0, 2.0], ["jawOpen", "jawOpen"], MEDIAPIPE)


@pytest.mark.parametrize(
    ("spelling", "name"),
    [("EyeBlinkLeft", "eyeBlinkLeft"), ("eyeBlink_L", "eyeBlinkLeft"), ("MouthSmile_R", "mouthSmileRight"),
     (" jawopen ", "jawOpen"), ("TongueOut", "tongueOut"), ("_neutral", "_neutral"), ("headYaw", None), ("A", None)],
)  # fmt: skip
def test_spellings(spelling: str, name: str | None) -> None:
    assert canonical_name(spelling) == name


@pytest.mark.parametrize("order", ORDERS)
def test_mirroring_twice_changes_nothing(order: str) -> None:
    names = ORDERS[order]
    permutation = mirror_permutation(names)
    np.testing.assert_array_equal(permutation[permutation], np.arange(len(names)))
    pairs = [name for name in names if mirror_name(name) != name]
    assert len(pairs) == 40
    assert all(names[permutation[i]] == mirror_name(name) for i, name in enumerate(names))


def test_mirror_refuses_a_lonely_side() -> None:
    with pytest.raises(InputError, match="eyeBlinkLeft"):
        mirror_permutation(["jawOpen", "eyeBlinkLeft"])


@pytest.mark.parametrize("values", ["abc", [1j] * 52, ["a"] * 52, None, np.ma.masked_equal(np.zeros(52), 0)])
def test_what_is_no_score_is_an_input_error(values: Any) -> None:
    with pytest.raises(InputError, match="scores must"):
        to_mediapipe(values, order="arkit")
