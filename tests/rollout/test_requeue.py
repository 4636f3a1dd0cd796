"""When the next pass over a model is due."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from rollout import requeue
from rollout.model import (
    Baking,
    Decision,
    Desired,
    Pause,
    Phase,
    Progress,
    Retiring,
    RollingBack,
    Rollout,
    Settled,
    Stepping,
    Target,
    Transition,
)
from rollout.requeue import Attempt, after_attempt, after_decision, merge
from tests.rollout.build import NOON, at, release

NOW = at(600)
DUE = at(615)
STEPPING = Stepping(1, NOON)
PHASES: tuple[Phase, ...] = (
    Settled(),
    STEPPING,
    Baking(NOON),
    RollingBack("aborted", "aborted", "", NOON),
    Retiring(NOON, ""),
)


def test_the_spans_between_passes() -> None:
    spans = (
        requeue.SHORTEST,
        requeue.LONGEST,
        requeue.LONGEST_BAKE,
        requeue.PAUSED,
        requeue.RETRY,
        requeue.SETTLED_RETRY,
        requeue.MOVE_BEYOND,
    )
    assert [span.total_seconds() for span in spans] == [5, 15, 300, 600, 5, 60, 120]


# ---- After a decision


def due(phase: Phase, now: datetime, paused: Pause | None = None) -> datetime | None:
    return after_decision(Rollout(phase, paused=paused), has_transitions=False, now=now)


@pytest.mark.parametrize("phase", PHASES)
def test_a_transition_asks_for_another_pass_at_once(phase: Phase) -> None:
    assert after_decision(Rollout(phase), has_transitions=True, now=NOW) == NOW


def test_a_settled_model_needs_no_pass() -> None:
    assert due(Settled(), NOW) is None


@pytest.mark.parametrize(
    ("taken", "wait"), [(0, 15), (900, 15), (3600, 60), (18_000, 300), (2_000_000, 300)]
)
def test_a_long_bake_is_observed_rarely(taken: float, wait: float) -> None:
    assert due(Baking(NOON), at(taken)) == at(taken + wait)


def test_a_step_that_awaits_approval_is_observed_as_rarely_as_a_bake() -> None:
    """Whoever approves it wakes it."""
    approve = {"approve": {"by": "model-approvals"}}
    two = release("2", rollout={"steps": [10, approve, 100]})
    rollout = Rollout(Stepping(1, NOON), release("1"), two, serving_group="blue")
    assert requeue.interval(rollout, at(18_000)) == timedelta(minutes=5)
    at_once = replace(rollout, phase=Stepping(0, NOON))
    assert requeue.interval(at_once, at(18_000)) == timedelta(seconds=15)


def test_a_bake_that_has_lost_instances_is_observed_every_fifteen_seconds() -> None:
    degraded = Rollout(Baking(NOON), progress=Progress(3, NOON, clocks="lost@1767268800:0"))
    assert requeue.interval(degraded, at(18_000)) == timedelta(seconds=15)


@pytest.mark.parametrize("phase", [STEPPING, Baking(NOON)])
def test_a_paused_rollout_is_observed_every_ten_minutes(phase: Phase) -> None:
    assert due(phase, NOW, Pause("paused by ann", NOON)) == NOW + timedelta(minutes=10)


@pytest.mark.parametrize(
    ("phase", "left", "wait"),
    [(STEPPING, 3600, 60), (STEPPING, 20, 20), (Settled(), 3600, 600), (Settled(), 20, 20)],
)
def test_a_frozen_rollout_is_observed_every_minute(phase: Phase, left: int, wait: int) -> None:
    until = NOW + timedelta(seconds=left)
    due = after_decision(Rollout(phase), has_transitions=False, frozen_until=until, now=NOW)
    assert due == NOW + timedelta(seconds=wait)


@pytest.mark.parametrize(
    ("unobserved", "retry_after", "earliest", "latest"),
    [(0, 0, 5, 35), (20, 40, 40, 70), (100, 30, 30, 130), (5000, 30, 30, 330)],
)
def test_what_could_not_be_read_is_tried_again_later_and_spread_ever_wider(
    unobserved: float, retry_after: float, earliest: float, latest: float
) -> None:
    rollout = Rollout(STEPPING, last_observed_at=NOW - timedelta(seconds=unobserved))
    for jitter, wait in ((0, earliest), (1, latest)):
        tried = requeue.after_failure(rollout, retry_after, jitter, NOW)
        assert tried == NOW + timedelta(seconds=wait)


@pytest.mark.parametrize(
    ("taken", "wait"), [(0, 5), (40, 5), (64, 8), (119, 14.875), (121, 15), (900, 15)]
)
@pytest.mark.parametrize("phase", [STEPPING, *PHASES[3:]])
def test_the_longer_a_phase_takes_the_longer_the_wait(
    phase: Phase, taken: float, wait: float
) -> None:
    assert due(phase, at(taken)) == at(taken + wait)


# ---- After an attempt


def decision(phase: Phase = STEPPING, requeue_at: datetime | None = DUE) -> Decision:
    return Decision(Rollout(phase), Desired("tiny"), Target("tiny"), requeue_at)


TRANSITION = Transition("2", "step_1", "step_2", "it is healthy")


@pytest.mark.parametrize("requeue_at", [DUE, None])
def test_without_a_change_the_next_pass_is_when_the_decision_says(
    requeue_at: datetime | None,
) -> None:
    assert after_attempt(decision(requeue_at=requeue_at), Attempt(), NOW) == requeue_at


def test_after_a_change_the_next_pass_is_at_once() -> None:
    assert after_attempt(decision(), Attempt(actions=2), NOW) == NOW


def test_after_a_transition_the_next_pass_is_at_once() -> None:
    moved = replace(decision(), transitions=(TRANSITION,))
    assert after_attempt(moved, Attempt(), NOW) == NOW
    # Without actions, two empty plans in a row are no repeated change.
    assert after_attempt(moved, Attempt(repeats=3), NOW) == NOW


@pytest.mark.parametrize(("repeats", "wait"), [(1, 5), (2, 10), (3, 20), (4, 40)])
def test_the_back_off_doubles_while_the_same_change_is_repeated(repeats: int, wait: int) -> None:
    attempt = Attempt(actions=1, repeats=repeats)
    assert after_attempt(decision(), attempt, NOW) == NOW + timedelta(seconds=wait)
    moved = replace(decision(), transitions=(TRANSITION,))
    assert after_attempt(moved, attempt, NOW) == NOW + timedelta(seconds=wait)


@pytest.mark.parametrize(
    ("retry_after", "repeats", "wait"),
    [
        ((0.0,), 0, 5),
        ((2.0, 30.0, 7.0), 0, 30),
        ((7.0,), 3, 20),
        ((30.0,), 3, 30),
    ],
)
def test_pending_actions_are_retried_after_the_longest_wait(
    retry_after: tuple[float, ...], repeats: int, wait: int
) -> None:
    """The longest of five seconds, the back-off, and what Compute Engine asks for."""
    attempt = Attempt(actions=3, retry_after_seconds=retry_after, repeats=repeats)
    assert after_attempt(decision(), attempt, NOW) == NOW + timedelta(seconds=wait)


@pytest.mark.parametrize(("phase", "wait"), [(Settled(), 60), (STEPPING, 0)])
def test_a_refused_change_to_a_settled_model_is_retried_after_a_minute(
    phase: Phase, wait: int
) -> None:
    """During a rollout the next pass follows at once, because it rolls back."""
    attempt = Attempt(actions=2, refused=1)
    assert after_attempt(decision(phase), attempt, NOW) == NOW + timedelta(seconds=wait)


def test_pending_actions_come_before_refused_ones() -> None:
    attempt = Attempt(actions=2, refused=1, retry_after_seconds=(7.0,))
    assert after_attempt(decision(Settled()), attempt, NOW) == NOW + timedelta(seconds=7)


# ---- The stored time


@pytest.mark.parametrize(
    ("stored", "requested", "merged"),
    [
        (None, None, None),
        (at(0), None, None),
        (None, at(605), at(605)),
        (at(0), at(605), at(0)),
        (at(700), at(605), at(605)),
        (at(0), at(720), at(0)),
        (at(0), at(721), at(721)),
    ],
)
def test_a_stored_time_moves_only_if_the_next_pass_is_earlier_or_far_off(
    stored: datetime | None, requested: datetime | None, merged: datetime | None
) -> None:
    assert merge(stored, requested, NOW) == merged


# ---- When the instances of a step may be healthy


@pytest.mark.parametrize(
    ("taken", "wait"),
    [
        (0, 30),
        (40, 30),
        (55, 41),  # not 30, for so little would be left
        (94, 5),
        (96, 2),
        (103.9, 2),
        (104, 13),  # as without that time
        (400, 15),
    ],
)
def test_a_step_is_looked_at_often_about_the_time_that_the_last_one_took(
    taken: float, wait: float
) -> None:
    rollout = Rollout(Stepping(1, NOON), step_seconds=100)
    assert requeue.interval(rollout, at(taken)) == timedelta(seconds=wait)


def test_after_a_swap_the_next_pass_is_when_instances_may_be_healthy() -> None:
    rollout = Rollout(Stepping(1, NOON), step_seconds=100)
    decision = Decision(rollout, Desired("tiny"), Target("tiny"), at(0))
    assert after_attempt(decision, Attempt(actions=2, is_swap=True), NOON) == at(30)
    assert after_attempt(decision, Attempt(actions=2), NOON) == NOON
    repeated = Attempt(actions=2, is_swap=True, repeats=1)
    assert after_attempt(decision, repeated, NOON) == at(5)
