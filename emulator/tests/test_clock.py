"""The virtual clock and the scaled clock."""

from __future__ import annotations

import time

import pytest

from compute_emulator import Cloud, ScaledClock, VirtualClock


def test_virtual_time_advances_only_on_request() -> None:
    clock = VirtualClock(start=100)
    assert clock() == clock.now() == 100
    assert clock.advance(5) == 105
    with pytest.raises(ValueError, match="backwards"):
        clock.advance(-1)


def test_two_scaled_clocks_with_the_same_epochs_agree() -> None:
    epoch = time.time() - 10
    one, other = (ScaledClock(60, real_epoch=epoch, sim_epoch=1000) for _ in range(2))
    assert one() >= 1600
    assert abs(one() - other()) < 60


def test_a_scaled_clock_needs_a_speed() -> None:
    with pytest.raises(ValueError, match="VirtualClock"):
        ScaledClock(0)


def test_any_callable_can_be_the_clock() -> None:
    assert Cloud(clock=lambda: 0).timestamp() == "1969-12-31T17:00:00.000-07:00"


def test_events_at_the_same_time_run_in_order_of_creation() -> None:
    cloud = Cloud(clock=VirtualClock())
    seen: list[str] = []
    for name in ("first", "second"):
        cloud.after(0, lambda name=name: seen.append(name))  # type: ignore[misc]
    cloud.advance()
    assert seen == ["first", "second"]
