"""Which conditions hold, since when, and when a failed observation is recorded as one."""

from __future__ import annotations

from datetime import datetime

import pytest

from rollout.conditions import OBSERVATION_GAP, conditions_of, keep_since, observation_failed
from rollout.model import Condition, Pause, Rollout, Stepping
from tests.rollout.build import NOON, at

NOW = at(10)
PAUSED = Condition("Paused", "paused by ann", NOON)
BUSY = "compute.googleapis.com: 503"


def test_a_pause_a_want_of_capacity_and_each_warning_are_a_condition() -> None:
    paused = Rollout(paused=Pause("paused by ann", NOON))
    assert conditions_of(paused, None, "no quota", ("none left", "too slow"), NOW) == (
        PAUSED,
        Condition("CapacityScarce", "no quota", NOW),
        Condition("Degraded", "none left", NOW),
        Condition("Degraded", "too slow", NOW),
    )
    assert conditions_of(Rollout(), None, "", (), NOW) == ()


def test_a_condition_that_held_before_keeps_its_time() -> None:
    before = (PAUSED, Condition("Degraded", "none left", NOON))
    after = (
        Condition("Paused", "paused by ann", NOW),
        Condition("Degraded", "too slow", NOW),
        Condition("Drifted", "none left", NOW),
    )
    assert keep_since(before, after) == (PAUSED, *after[1:])


def rollout(last_observed_at: datetime | None) -> Rollout:
    return Rollout(Stepping(0, NOON), last_observed_at=last_observed_at)


@pytest.mark.parametrize(("seconds", "is_recorded"), [(0, False), (184, False), (185, True)])
def test_a_failed_observation_is_a_condition_once_the_pass_is_three_minutes_late(
    seconds: float, is_recorded: bool
) -> None:
    expected = Condition("ObservationFailed", BUSY, at(seconds)) if is_recorded else None
    assert observation_failed(rollout(NOON), (PAUSED,), BUSY, at(seconds)) == expected


def test_a_failed_observation_is_recorded_once() -> None:
    recorded = (PAUSED, Condition("ObservationFailed", "another reason", at(200)))
    assert observation_failed(rollout(NOON), recorded, BUSY, at(900)) is None


def test_a_model_without_a_rollout_in_progress_records_no_failed_observation() -> None:
    assert observation_failed(rollout(None), (), BUSY, at(900)) is None


def test_the_gap_that_counts_as_not_observed() -> None:
    assert OBSERVATION_GAP.total_seconds() == 180
