"""The gate `approval`, at its seconds, in one pass of a step, and after a pause."""

from __future__ import annotations

from dataclasses import replace

from rollout.advance import advance
from rollout.model import (
    Decision,
    Desired,
    Evidence,
    Health,
    Pause,
    Progress,
    RollingBack,
    Rollout,
    Stepping,
)
from rollout.spec.steps import PercentStep, promoted_step
from rollout.strategies import strategy_of, swap_of
from rollout.strategies.base import steps_digest
from tests.rollout.build import NOON, at, group, instances, release

ONE = release("1")
AWAITING = Stepping(1, NOON)
HOUR = {"by": "approvals", "timeout_seconds": 3600}


def judge(
    seconds: float,
    phase: Stepping = AWAITING,
    paused: Pause | None = None,
    health: Health = "healthy",
    **approval: str,
) -> Decision:
    """One pass over release 2, which has 10 % and asks for approval."""
    steps = [10, {"approve": HOUR | approval, "hold_seconds": 0}, 100]
    two = release("2", rollout={"steps": steps})
    rollout = Rollout(phase, ONE, two, progress=Progress(1, NOON), serving_group="blue")
    digest = steps_digest(strategy_of(two).steps(swap_of(rollout, two)))
    rollout = replace(
        rollout, steps_digest=digest, paused=paused, last_observed_at=at(seconds - 10)
    )
    observed = group(*instances(ONE, 3), *instances(two, 1, health))
    desired = Desired("tiny", two, 2)
    return advance(rollout, desired, observed, Evidence(), at(seconds))


def test_a_step_waits_for_its_approval_with_the_instances_of_the_step_before() -> None:
    decision = judge(3599)
    assert decision.waiting_for.startswith("approval by approvals is awaited until 2026-01-01T13:0")
    [blue] = decision.target.groups
    assert [share.count for share in blue.shares] == [None, 1]
    assert judge(5, Stepping(1, NOON, approved_by="ann")).rollout.phase == Stepping(2, at(5))


def test_without_approval_the_release_is_rolled_back_or_paused() -> None:
    back = judge(3600).rollout.phase
    assert isinstance(back, RollingBack)
    assert (back.outcome, back.reason) == ("rolled_back", "timeout")
    paused = judge(3600, on_timeout="pause").rollout
    assert paused.paused == Pause(
        "approval by approvals was awaited until 2026-01-01T13:00:00Z", at(3600)
    )


def test_a_failure_counts_while_approval_is_awaited_and_after_it() -> None:
    for phase in (Stepping(1, NOON), Stepping(1, NOON, approved_by="ann")):
        assert isinstance(judge(2000, phase, health="unhealthy").rollout.phase, RollingBack)


def test_the_time_to_approve_stands_still_while_a_person_pauses() -> None:
    assert judge(9000, paused=Pause("paused by ann", at(60))).rollout.phase == Stepping(1, NOON)


def test_a_full_promotion_stops_before_the_next_approval() -> None:
    two = release("2", rollout={"steps": [10, 20, {"approve": HOUR}, 50, 100]})
    steps = two.spec.rollout.steps or ()
    assert [promoted_step(steps, after, is_approved=False) for after in range(-1, 4)] == [
        1,
        1,
        2,
        4,
        4,
    ]
    assert promoted_step(steps, -1, is_approved=True) == 4
    assert promoted_step((PercentStep(percent=100),), -1, is_approved=False) == 0
