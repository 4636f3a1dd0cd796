"""What a process learns of the quota of reads from a refusal."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from infra.compute.errors import RateLimited
from infra.compute.quota import ReadQuota
from tests.rollout.build import NOON


class FixedClock:
    def __init__(self) -> None:
        self.at = NOON

    def now(self) -> datetime:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


def given_refused(served: int) -> tuple[ReadQuota, FixedClock]:
    clock = FixedClock()
    quota = ReadQuota(clock)
    clock.sleep(20)
    for _ in range(served):
        quota.require_open()
        quota.count()
    quota.close(RateLimited(40, "used up"))
    return quota, clock


def test_after_a_refusal_nothing_is_read_before_the_next_minute() -> None:
    quota, clock = given_refused(served=6)
    with pytest.raises(RateLimited) as refused:
        quota.require_open()
    assert refused.value.after_seconds == 40
    clock.sleep(40)
    quota.require_open()
    assert quota.is_scarce
    clock.sleep(61)
    assert not quota.is_scarce


@pytest.mark.parametrize(("served", "spacing"), [(6, 20), (60, 2), (1, 60), (0, 60)])
def test_passes_come_back_half_as_fast_as_they_could_read_and_one_a_minute_at_least(
    served: int, spacing: int
) -> None:
    quota, clock = given_refused(served)
    places = {"a": 40, "b": 40 + spacing, "c": 40 + 2 * spacing}
    assert {model: quota.next_try(model) for model in places} == places
    assert quota.next_try("b") == places["b"], "a model has one place"
    clock.sleep(600)
    assert quota.next_try("d") == 0, "nobody waits any more"


def test_nobody_waits_for_long_since_one_minute_says_little_of_the_next_ones() -> None:
    quota, _ = given_refused(served=0)
    seconds = [quota.next_try(f"model-{number}") for number in range(100)]
    assert max(seconds) == 40 + 300
    assert max(map(seconds.count, seconds)) == 17, "they are spread over that time"


def test_a_clock_that_goes_back_keeps_nobody_waiting() -> None:
    quota, clock = given_refused(served=6)
    quota.next_try("a")
    clock.sleep(-3600)
    quota.require_open()
    assert quota.next_try("a") == 0
    assert not quota.is_scarce
