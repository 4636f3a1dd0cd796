"""The way back: when it is over, stalled or in need of another way, and who takes over."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rollout.model import (
    Baking,
    Condition,
    Decision,
    Evidence,
    Instance,
    Observed,
    Problem,
    Reason,
    Release,
    RollingBack,
    Rollout,
    Settled,
    Share,
    Stepping,
)
from rollout.requeue import LONGEST_BAKE, STALLED, Attempt, after_attempt
from tests.rollout.build import NOON, at, group, instances, release, stuck
from tests.rollout.swap import NO_EVIDENCE, NOTHING, ONE, THREE, TWO, mixed, run_pass, swapping

DEADLINE, PATIENCE = 900, 240  # of a release with 120 s of start-up time
BACK = RollingBack("rolled_back", "unhealthy", "it was unhealthy", NOON, 4, NOON)


def back_at(
    seconds: float,
    observed: Observed,
    of: Release | None = ONE,
    evidence: Evidence = NO_EVIDENCE,
    **fields: object,
) -> Decision:
    """A pass over a rollback that made its last progress at noon."""
    rollout = swapping(replace(BACK, **fields))  # type: ignore[arg-type]
    return run_pass(
        replace(rollout, last_observed_at=at(seconds)), of, observed, evidence, at(seconds)
    )


def phase_of(decision: Decision) -> RollingBack:
    assert isinstance(decision.rollout.phase, RollingBack)
    return decision.rollout.phase


def without(reason: Reason, old: int, new: int, health: str = "healthy") -> Observed:
    """A group of which one instance of release 1 cannot be created."""
    leaving = instances(TWO, new, health)  # type: ignore[arg-type]
    return group(*instances(ONE, old), stuck(ONE, reason, "none"), *leaving)


NEVER_READY = group(*instances(ONE, 2, "unhealthy"), *instances(TWO, 2, "unhealthy"))


# ---- Progress and the stall


def test_progress_is_the_smallest_rest_and_ends_a_stall() -> None:
    phase = phase_of(back_at(10, mixed(2, 2), stalled="no progress"))
    assert (phase.remaining, phase.improved_at, phase.stalled) == (4, NOON, "no progress")
    phase = phase_of(back_at(10, mixed(3, 1), stalled="no progress"))
    assert (phase.remaining, phase.improved_at, phase.stalled) == (2, at(10), "")
    assert phase_of(back_at(20, mixed(2, 2), remaining=2)).remaining == 2


def test_without_progress_a_rollback_is_stalled_at_its_deadline_and_says_so_once() -> None:
    assert back_at(DEADLINE - 1, NEVER_READY).transitions == ()
    stalled = back_at(DEADLINE, NEVER_READY)
    (transition,) = stalled.transitions
    why = "no progress for 15 min: 2 instances are not on release 1 yet"
    assert (transition.release, transition.from_, transition.to) == ("2", "rolling_back", "stalled")
    assert transition.why == f"{why}; a newer release, or a rollback to another one, takes over"
    assert (transition.reason, transition.outcome) == ("timeout", None)
    assert stalled.conditions == (Condition("RollbackStalled", why, at(DEADLINE)),)
    later = back_at(DEADLINE + 60, NEVER_READY, stalled=why)
    assert (later.transitions, later.conditions[0].why) == ((), why)
    worse = back_at(DEADLINE + 60, mixed(0, 4), stalled=why)
    assert worse.conditions[0].why == why


def test_a_release_that_cannot_start_has_twice_its_start_up_time_and_the_reason_is_told() -> None:
    broken = group(stuck(ONE, "config", "no such image"), *instances(TWO, 3))
    assert back_at(PATIENCE - 1, broken).transitions == ()
    stalled = back_at(PATIENCE, broken)
    assert stalled.transitions[0].reason == "config"
    assert phase_of(stalled).stalled == (
        "no progress for 240 s: 3 instances are not on release 1 yet: no such image"
    )


def test_a_refused_change_is_a_condition_at_once_and_the_reason_of_a_stall() -> None:
    refused = Evidence((Problem("config", "CODE", "no such network"),), ("the group is old",))
    early = back_at(PATIENCE, mixed(2, 2), evidence=refused)
    assert [(each.type, each.why) for each in early.conditions] == [("Degraded", "no such network")]
    late = back_at(DEADLINE, mixed(2, 2), evidence=refused)
    assert [each.type for each in late.conditions] == ["RollbackStalled"]
    assert "no such network" in late.conditions[0].why


def test_a_stalled_rollback_is_looked_at_rarely() -> None:
    stalled = back_at(DEADLINE + 60, NEVER_READY, stalled="no progress")
    assert stalled.requeue_at == at(DEADLINE + 60) + STALLED
    days = back_at(2 * 86_400, NEVER_READY, stalled="no progress")
    assert days.requeue_at == at(2 * 86_400) + LONGEST_BAKE
    repeated = Attempt(actions=1, refused=1, retry_after_seconds=(5,), repeats=1)
    assert after_attempt(days, repeated, at(2 * 86_400)) == days.requeue_at


def test_a_first_release_that_cannot_be_removed_gives_way_to_the_next_one() -> None:
    first = replace(
        swapping(replace(BACK, remaining=1), stable=None, serving_group=None),
        last_observed_at=at(DEADLINE),
    )
    in_use = Observed((), ("health check a",))
    alone = run_pass(first, None, in_use, now=at(DEADLINE))
    assert "health check a still exists" in alone.conditions[0].why
    taken = run_pass(first, THREE, in_use, now=at(DEADLINE))
    assert [(each.release, each.to) for each in taken.transitions] == [
        ("2", "rolled_back"),
        ("3", "step_1"),
    ]
    assert [share.release.version for share in taken.target.groups[0].shares] == ["3"]
    assert taken.rollout.stable_kept is None
    elsewhere = replace(release("3", placement={"region": "europe-west4"}), generation=3)
    assert run_pass(first, elsewhere, mixed(0, 1), now=at(DEADLINE)).rollout.candidate == TWO


# ---- Without room


@pytest.mark.parametrize("reason", ["quota", "stock-out"])
def test_without_room_the_candidate_is_replaced_in_place_at_once_if_it_is_sick(
    reason: Reason,
) -> None:
    decision = back_at(1, without(reason, 1, 2, "unhealthy"))
    assert phase_of(decision).in_place
    assert decision.transitions[0].why == (
        "replaces the instances in place, since there is no room for more: none"
    )
    (target,) = decision.target.groups
    assert (target.surge, target.unavailable) == (0, 1)
    assert back_at(DEADLINE, without(reason, 1, 2), in_place=True).transitions[0].to == "stalled"


def test_a_healthy_candidate_is_replaced_in_place_only_at_the_deadline() -> None:
    healthy = without("stock-out", 1, 2)
    assert not phase_of(back_at(DEADLINE - 1, healthy)).in_place
    assert phase_of(back_at(DEADLINE, healthy)).in_place


def test_the_last_healthy_instances_are_given_up_for_a_quota_but_not_for_a_stock_out() -> None:
    assert phase_of(back_at(DEADLINE, without("quota", 0, 3))).in_place
    stalled = back_at(DEADLINE, without("stock-out", 0, 3))
    assert (phase_of(stalled).in_place, stalled.transitions[0].to) == (False, "stalled")


def test_a_rollback_ends_with_what_serves_if_the_rest_gets_no_room_until_the_deadline() -> None:
    short = without("stock-out", 3, 0)
    assert isinstance(back_at(DEADLINE - 1, short).rollout.phase, RollingBack)
    ended = back_at(DEADLINE, short)
    assert isinstance(ended.rollout.phase, Settled)
    assert ended.transitions[0].outcome == "rolled_back"
    assert ended.transitions[0].why == (
        "it was unhealthy; 3 of 4 instances of release 1 are healthy;"
        " the group is not stable yet: none"
    )
    for not_short in (without("stock-out", 0, 0), without("config", 3, 0)):
        assert back_at(DEADLINE, not_short, remaining=1).transitions[0].to == "stalled"


# ---- A newer release


def test_a_newer_release_takes_over_when_a_rollback_makes_no_progress() -> None:
    observed = group(*instances(ONE, 2), *instances(TWO, 3))
    early = back_at(PATIENCE - 1, observed, THREE, remaining=3)
    assert isinstance(early.rollout.phase, RollingBack)
    taken = back_at(PATIENCE, observed, THREE, remaining=3)
    assert [(each.release, each.to) for each in taken.transitions] == [
        ("2", "rolled_back"),
        ("3", "step_1"),
    ]
    assert "release 3 takes over the rollback: no progress for 240 s" in taken.transitions[0].why
    (target,) = taken.target.groups
    assert target.shares == (Share(ONE, 2), Share(THREE))


@pytest.mark.parametrize(
    ("observed", "stalled"),
    [(group(stuck(ONE, "config", "no such image"), *instances(TWO, 3)), ""), (mixed(2, 2), "why")],
)
def test_it_takes_over_at_once_if_the_stable_release_cannot_start_or_has_stalled(
    observed: Observed, stalled: str
) -> None:
    taken = back_at(1, observed, THREE, stalled=stalled, remaining=1)
    assert taken.rollout.candidate == THREE


def test_the_candidate_published_again_takes_over_and_the_stable_release_does_not() -> None:
    again = replace(TWO, generation=9, force=True)
    assert back_at(1, mixed(2, 2), again, stalled="why").rollout.candidate == again
    same = replace(ONE, generation=9, force=True)
    decision = back_at(1, mixed(2, 2), same, stalled="why")
    assert (decision.rollout.candidate, decision.transitions) == (TWO, ())


def test_content_that_was_rolled_back_does_not_take_over() -> None:
    copy = replace(release("3"), digest="bad")
    rollout = replace(
        swapping(replace(BACK, stalled="why"), failed_digests=("bad",)), last_observed_at=at(1)
    )
    refused = run_pass(rollout, copy, mixed(2, 2), now=at(1))
    (transition,) = refused.transitions
    assert (transition.from_, transition.outcome) == ("rolling_back", "refused")
    assert isinstance(refused.rollout.phase, RollingBack)


def taking_over(kept: int, **fields: object) -> Rollout:
    """Release 3 takes over a rollback from 2 to 1."""
    rollout = swapping(Stepping(0, NOON), candidate=THREE, stable_kept=kept)
    return replace(rollout, **fields)  # type: ignore[arg-type]


def test_what_a_take_over_keeps_falls_with_the_instances_that_run_and_never_rises() -> None:
    def kept_of(*ones: Instance) -> int | None:
        observed = group(*ones, *instances(THREE, 2))
        return run_pass(taking_over(2), THREE, observed).rollout.stable_kept

    assert kept_of(*instances(ONE, 3)) == 2
    assert kept_of(*instances(ONE, 2, "unhealthy")) == 2
    assert kept_of(*instances(ONE, 1), *instances(ONE, 1, action="RECREATING", start=1)) == 1
    assert kept_of() == 0


@pytest.mark.parametrize("phase", [Stepping(0, NOON), Baking(NOON)])
def test_a_take_over_gives_way_to_a_newer_release_at_once(phase: Stepping | Baking) -> None:
    observed = group(*instances(ONE, 1), *instances(THREE, 3))
    newer = replace(release("4"), generation=4)
    decision = run_pass(taking_over(2, phase=phase), newer, observed)
    assert [(each.release, each.to) for each in decision.transitions] == [
        ("3", "superseded"),
        ("4", "step_1"),
    ]
    assert decision.rollout.stable_kept == 1


@pytest.mark.parametrize(
    "newer", [replace(ONE, generation=9, force=True), replace(release("4"), digest="bad")]
)
def test_a_take_over_goes_back_if_the_newer_release_will_not_begin(newer: Release) -> None:
    observed = group(*instances(ONE, 1), *instances(THREE, 3))
    decision = run_pass(taking_over(2, failed_digests=("bad",)), newer, observed)
    assert (phase_of(decision).outcome, decision.rollout.candidate) == ("superseded", THREE)


def test_a_take_over_that_fails_rolls_back_to_the_stable_release_alone() -> None:
    failed = run_pass(
        taking_over(2), THREE, NOTHING, Evidence((Problem("config", "CODE", "no such image"),))
    )
    assert (phase_of(failed).outcome, failed.rollout.stable_kept) == ("rolled_back", None)


# ---- While the candidate's own group exists

CANARY = release(
    "2", rollout={"strategy": "canary", "steps": [{"weight": 100}], "keep_old_seconds": 0}
)


@pytest.mark.parametrize(
    ("strategy", "is_drained", "takes_over"),
    [("rolling", True, True), ("canary", True, False), ("rolling", False, False)],
)
def test_a_stalled_rollback_gives_way_to_what_does_not_need_the_candidates_group(
    strategy: str, is_drained: bool, takes_over: bool
) -> None:
    phase = replace(BACK, stalled="why", remaining=1, improved_at=NOON, is_drained=is_drained)
    rollout = swapping(phase, candidate=CANARY, last_observed_at=at(1))
    steps = [{"weight": 100}] if strategy == "canary" else [100]
    newer = release("3", rollout={"strategy": strategy, "steps": steps})
    observed = Observed(
        (
            *group(*instances(ONE, 3, "unhealthy")).groups,
            *group(*instances(CANARY, 3), colour="green").groups,
        )
    )
    decision = run_pass(rollout, newer, observed, now=at(2))
    assert (decision.rollout.candidate == newer) == takes_over
