"""The policy's field `stop`: how it is read, and what a stop does to a rollout's clocks."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from rollout import stopped
from rollout.model import Condition, Desired, Kept, Pause, Rollout, Stepping
from rollout.policy.policy import load_policy
from rollout.policy.stop import Stop, stop_of
from rollout.state import ModelState
from tests.rollout.build import NOON, release

HOUR = timedelta(hours=1)
STOPPED = (Condition("Stopped", "stopped: x", NOON),)


def test_a_stop_says_who_since_when_and_why() -> None:
    field = {"reason": "incident", "by": "ann", "since": "2026-01-01T12:00:00Z", "rollbacks": True}
    stop = load_policy({"stop": field}).stop
    assert stop == Stop("incident", "ann", "2026-01-01T12:00:00Z", rollbacks=True)
    assert stop.why == "stopped by ann since 2026-01-01T12:00:00Z, rollbacks too: incident"
    assert load_policy({"stop": None}).stop is None
    assert stop_of({"stop": {"reason": "x"}}) == Stop("x")
    assert stop_of({}) == stop_of(None) is None


@pytest.mark.parametrize(
    ("value", "why", "rollbacks"),
    [
        (True, "stop must be an object", True),
        ("", "stop must be an object", True),
        ({}, "stop.reason must say why", False),
        ({"reason": "x", "rollback": True}, "stop has unknown fields rollback", False),
        ({"reason": "x", "rollbacks": "yes"}, "stop.rollbacks must be true or false", True),
        ({"reason": "\u2060"}, "stop.reason must be printable", False),
        ({"reason": "x" * 501}, "stop.reason must be printable", False),
        ({"reason": "x", "by": 1}, "stop.by must be printable", False),
    ],
)
def test_a_stop_that_cannot_be_read_stops_and_says_why(
    value: Any, why: str, rollbacks: bool
) -> None:
    with pytest.raises(ValueError, match=f"settings/policy: {why}"):
        load_policy({"stop": value})
    stop = stop_of({"stop": value, "regions": 1})
    assert stop is not None
    assert why in stop.why
    assert stop.rollbacks is rollbacks


def stepping(**fields: Any) -> ModelState:
    rollout = Rollout(
        Stepping(1, NOON - HOUR), stable=release("1"), candidate=release("2"), last_observed_at=NOON
    )
    return ModelState(Desired("tiny", release("2")), replace(rollout, **fields), conditions=STOPPED)


def test_the_time_of_a_stop_counts_once_also_beside_a_pause() -> None:
    moved = stopped.start(stepping(), NOON + 5 * HOUR)
    assert moved.rollout.phase == Stepping(1, NOON + 4 * HOUR)
    assert (moved.conditions, moved.rollout.last_observed_at) == ((), NOON + 5 * HOUR)
    for since, span in ((NOON - HOUR, 0 * HOUR), (NOON + 2 * HOUR, 2 * HOUR)):
        paused = stepping(paused=Pause("x", since))
        phase = stopped.start(paused, NOON + 5 * HOUR).rollout.phase
        assert phase == Stepping(1, NOON - HOUR + span)  # resume moves it by the rest
    calm = replace(stepping(), conditions=())
    assert stopped.start(calm, NOON + HOUR) is calm


def test_a_watch_and_a_kept_group_last_as_long_as_without_the_stop() -> None:
    kept = Kept(release("1"), "blue", NOON, NOON + HOUR)
    state = stepping(phase=Rollout().phase, candidate=None, kept=kept, watched_since=NOON - HOUR)
    moved = stopped.start(state, NOON + 3 * HOUR).rollout
    assert moved.kept == replace(kept, until=NOON + 4 * HOUR)
    assert moved.watched_since == NOON + 2 * HOUR


def test_a_state_of_which_nothing_is_due_is_not_written() -> None:
    settled = ModelState(Desired("tiny", release("1")), Rollout(stable=release("1")))
    assert stopped.hold_all(settled, Stop("x"), NOON) is settled
    after = stopped.hold_all(replace(settled, requeue_at=NOON), Stop("x"), NOON)
    assert after.requeue_at == NOON + stopped.LOOK_EVERY
    assert after.rollout == settled.rollout
