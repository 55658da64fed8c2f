"""Stamps that are coarse, late, repeated, reset or absent always give rising times."""

from __future__ import annotations

import numpy as np
import pytest

from mp2flame.streams.base import PacketClock


class _Wall:
    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def test_stamps_take_the_jitter_of_the_network_away() -> None:
    wall, rng = _Wall(), np.random.default_rng(0)
    clock = PacketClock(wall)
    times: list[float | None] = []
    for index in range(100):
        wall.seconds = 100 + index / 30 + rng.uniform(0, 0.02)
        times.append(clock.stamp(5000 + index / 30))
    assert times == pytest.approx(list(np.arange(100) / 30), abs=1e-9)


def test_without_stamps_the_time_of_receipt_counts() -> None:
    wall = _Wall()
    clock = PacketClock(wall)
    assert clock.stamp(None) == 0.0
    wall.seconds += 0.25
    assert clock.stamp(None) == pytest.approx(0.25)


def test_late_packets_are_dropped() -> None:
    wall = _Wall()
    clock = PacketClock(wall)
    for index, expected in ((0, 0.0), (2, 2 / 30), (1, None), (3, 3 / 30)):
        got = clock.stamp(index / 30)
        assert got == (None if expected is None else pytest.approx(expected))
        wall.seconds += 1 / 60


def test_a_restart_or_midnight_goes_on_from_our_own_clock() -> None:
    wall = _Wall()
    clock = PacketClock(wall)
    clock.stamp(86399.9)
    wall.seconds += 0.2
    assert clock.stamp(0.1) == pytest.approx(0.2)
    wall.seconds += 0.1
    assert clock.stamp(0.2) == pytest.approx(0.3)


def test_stamps_that_stand_still_are_not_trusted() -> None:
    wall = _Wall()
    clock = PacketClock(wall)
    times = []
    for _ in range(20):
        times.append(clock.stamp(42.0))
        wall.seconds += 1 / 60
    assert times == pytest.approx(list(np.arange(20) / 60), abs=1e-9)


def test_any_stamps_at_all_give_rising_times() -> None:
    wall, rng = _Wall(), np.random.default_rng(3)
    clock = PacketClock(wall)
    times = []
    for _ in range(2000):
        wall.seconds += float(rng.exponential(0.02))
        kind = rng.integers(4)
        sent = (None, wall.seconds + rng.normal(), float(rng.normal() * 1e9), wall.seconds)[kind]
        if (time := clock.stamp(sent)) is not None:
            times.append(time)
        if rng.integers(20) == 0:
            times.append(clock.silence())
    assert len(times) > 500
    assert (np.diff(times) > 0).all()
    assert np.isfinite(times).all()
