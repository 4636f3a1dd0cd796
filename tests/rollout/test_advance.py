"""The way of a rollout, decided from values alone: which phase follows, why, and what target it
asks for."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from rollout import advance as rollouts
from rollout.model import (
    Baking,
    Command,
    Decision,
    Desired,
    Evidence,
    Observed,
    Problem,
    Progress,
    Reason,
    Release,
    Retiring,
    RollingBack,
    Rollout,
    Settled,
    Stepping,
    Verb,
)
from tests.rollout.build import NOON, at, group, instances, release, stuck

ONE, TWO, THREE = release("1"), release("2"), release("3")
NOTHING = Observed()
CALM = Evidence()


def advance(
    rollout: Rollout, wanted: Desired, seen: Observed, evidence: Evidence, now: datetime
) -> Decision:
    """One look at a rollout that somebody has been looking at all the time."""
    turn = rollouts.advance(replace(rollout, last_observed_at=None), wanted, seen, evidence, now)
    return replace(turn, rollout=replace(turn.rollout, last_observed_at=None))


def desired(of: Release | None, *commands: Command) -> Desired:
    return Desired("tiny", of, of.generation if of else 1, commands)


def command(verb: Verb, **fields: Any) -> Command:
    return Command(verb, f"event-{verb}", NOON, **fields)


def serving(of: Release, **fields: Any) -> Rollout:
    return replace(Rollout(stable=of), **fields)


def begun(of: Release, after: Release | None = None, now: datetime = NOON) -> Rollout:
    """A rollout in its first step."""
    return advance(Rollout(stable=after), desired(of), NOTHING, CALM, now).rollout


def stepping(step: int, since: datetime = NOON, healthy: int = 0) -> Rollout:
    return replace(begun(TWO, ONE), phase=Stepping(step, since), progress=Progress(healthy, since))


def baking(since: datetime = NOON, healthy: int = 4) -> Rollout:
    return replace(begun(TWO, ONE), phase=Baking(since), progress=Progress(healthy, since))


def shares(turn: Decision) -> list[tuple[str, int | None]]:
    return [(share.release.version, share.count) for share in turn.target.groups[0].shares]


def test_a_first_release_asks_for_the_whole_group_in_one_step() -> None:
    turn = advance(Rollout(), desired(ONE), NOTHING, CALM, NOON)
    assert turn.rollout.phase == Stepping(0, NOON)
    assert shares(turn) == [("1", None)]
    assert turn.transitions[0].why == "nothing serves yet; step 1 of 1 asks for 100 % on release 1"


def test_a_second_release_takes_a_tenth_first_and_holds_scale_in() -> None:
    turn = advance(serving(ONE), desired(TWO), group(*instances(ONE, 4)), CALM, NOON)
    assert shares(turn) == [("1", None), ("2", 1)]
    assert not turn.target.groups[0].may_scale_in


def test_a_settled_model_wants_no_look_and_changes_nothing() -> None:
    turn = advance(serving(ONE), desired(ONE), group(*instances(ONE, 4)), CALM, NOON)
    assert (turn.rollout, turn.requeue_at, turn.transitions) == (serving(ONE), None, ())
    assert turn.target.groups[0].may_scale_in


@pytest.mark.parametrize(("step", "count"), [(0, 1), (1, 2)])
def test_a_step_is_left_when_its_instances_are_healthy(step: int, count: int) -> None:
    seen = group(*instances(ONE, 4 - count), *instances(TWO, count))
    assert advance(stepping(step), desired(TWO), seen, CALM, at(10)).rollout.phase == Stepping(
        step + 1, at(10)
    )


def test_a_step_is_kept_while_an_instance_is_unhealthy() -> None:
    seen = group(*instances(ONE, 2), *instances(TWO, 1), *instances(TWO, 1, "unhealthy", start=1))
    turn = advance(stepping(1), desired(TWO), seen, CALM, at(10))
    assert turn.rollout.phase == Stepping(1, NOON)
    assert turn.waiting_for == "1 of 2 instances of release 2 are healthy"


@pytest.mark.parametrize("trouble", [{"is_stable": False}, {"version_reached": False}])
def test_a_step_is_kept_until_the_group_is_stable_on_its_versions(trouble: dict[str, Any]) -> None:
    seen = group(*instances(ONE, 3), *instances(TWO, 1), **trouble)
    assert advance(stepping(0), desired(TWO), seen, CALM, at(10)).rollout.phase == Stepping(0, NOON)


def test_a_step_is_kept_while_a_change_it_asks_for_is_unmet() -> None:
    seen = group(*instances(ONE, 3), *instances(TWO, 1))
    turn = advance(
        stepping(0), desired(TWO), seen, Evidence(pending_changes=("the route is missing",)), at(10)
    )
    assert (turn.rollout.phase, turn.waiting_for) == (Stepping(0, NOON), "the route is missing")


def test_health_that_nobody_answered_is_never_healthy() -> None:
    seen = group(*instances(ONE, 3), *instances(TWO, 1, "unknown"))
    assert advance(stepping(0), desired(TWO), seen, CALM, at(10)).rollout.phase == Stepping(0, NOON)


def test_no_health_answer_until_the_deadline_pauses() -> None:
    seen = group(*instances(ONE, 3), *instances(TWO, 1, "unknown"))
    turn = advance(stepping(0), desired(TWO), seen, CALM, at(901))
    assert turn.rollout.paused
    assert turn.conditions[0].why == "no health answer for release 2 for 15 min"


def test_the_last_step_leads_to_the_bake_and_the_bake_to_success() -> None:
    turn = advance(stepping(2), desired(TWO), group(*instances(TWO, 4)), CALM, at(10))
    assert turn.rollout.phase == Baking(at(10))
    early = advance(turn.rollout, desired(TWO), group(*instances(TWO, 4)), CALM, at(300))
    assert early.rollout.phase == Baking(at(10))
    done = advance(turn.rollout, desired(TWO), group(*instances(TWO, 4)), CALM, at(310))
    assert (done.rollout.phase, done.rollout.stable, done.rollout.previous) == (Settled(), TWO, ONE)
    assert done.transitions[0].outcome == "succeeded"


def test_the_way_back_is_kept_until_the_candidate_has_baked() -> None:
    turn = advance(baking(), desired(TWO), group(*instances(TWO, 4)), CALM, at(10))
    assert {"tiny-1", "tiny-2"} <= turn.target.kept_templates


def test_a_release_that_never_gets_healthy_goes_back_at_the_deadline() -> None:
    seen = group(*instances(ONE, 3), *instances(TWO, 1, "unhealthy"))
    turn = advance(stepping(0), desired(TWO), seen, CALM, at(900))
    assert isinstance(turn.rollout.phase, RollingBack)
    assert (turn.rollout.phase.outcome, turn.rollout.phase.reason) == ("rolled_back", "unhealthy")
    assert shares(turn) == [("1", None)]
    assert turn.desired.release == ONE
    assert turn.rollout.failed_digests == (TWO.digest,)


def test_the_deadline_counts_from_the_last_time_the_candidate_got_better() -> None:
    seen = group(*instances(ONE, 2), *instances(TWO, 1), *instances(TWO, 1, "unhealthy", start=1))
    better = advance(stepping(1), desired(TWO), seen, CALM, at(800)).rollout
    assert advance(better, desired(TWO), seen, CALM, at(1600)).rollout.phase == Stepping(1, NOON)
    assert isinstance(
        advance(better, desired(TWO), seen, CALM, at(1700)).rollout.phase, RollingBack
    )


@pytest.mark.parametrize("reason", ["quota", "config"])
def test_what_compute_engine_will_not_mend_goes_back_at_once(reason: Reason) -> None:
    seen = group(*instances(ONE, 3), stuck(TWO, reason, "Quota 'GPUS' exceeded"))
    phase = advance(stepping(0), desired(TWO), seen, CALM, at(10)).rollout.phase
    assert isinstance(phase, RollingBack)
    assert (phase.reason, phase.why) == (reason, "Quota 'GPUS' exceeded")


def test_a_stock_out_is_waited_for_until_the_deadline() -> None:
    seen = group(*instances(ONE, 3), stuck(TWO, "stock-out", "us-central1-a has none"))
    early = advance(stepping(0), desired(TWO), seen, CALM, at(899))
    assert early.rollout.phase == Stepping(0, NOON)
    assert early.conditions[0].why == "us-central1-a has none"
    late = advance(stepping(0), desired(TWO), seen, CALM, at(900)).rollout.phase
    assert isinstance(late, RollingBack)
    assert late.reason == "stock-out"


def test_a_refused_change_goes_back_with_its_class() -> None:
    refusal = Problem("config", "invalid", "Invalid value for field 'resource.name'")
    phase = advance(
        stepping(0), desired(TWO), group(*instances(ONE, 4)), Evidence((refusal,)), at(5)
    ).rollout.phase
    assert isinstance(phase, RollingBack)
    assert phase.reason == "config"


def test_a_candidate_that_flaps_goes_back() -> None:
    rollout, well, ill = (
        stepping(1),
        group(*instances(ONE, 2), *instances(TWO, 2), is_stable=False),
        None,
    )
    ill = group(*instances(ONE, 2), *instances(TWO, 1), *instances(TWO, 1, "unhealthy", start=1))
    for second in range(0, 50, 10):
        rollout = advance(rollout, desired(TWO), well, CALM, at(second)).rollout
        rollout = advance(rollout, desired(TWO), ill, CALM, at(second + 5)).rollout
    assert isinstance(rollout.phase, RollingBack)
    assert rollout.phase.reason == "unhealthy"


def test_a_candidate_that_dies_while_it_bakes_goes_back_soon() -> None:
    ill = group(*instances(TWO, 4, "unhealthy"))
    fell = advance(baking(), desired(TWO), ill, CALM, at(100)).rollout
    assert fell.phase == Baking(NOON)
    turn = advance(fell, desired(TWO), ill, CALM, at(131))
    assert isinstance(turn.rollout.phase, RollingBack)
    assert shares(turn) == [("1", None)]


def test_a_bake_is_not_passed_by_time_that_nobody_watched() -> None:
    seen = group(*instances(TWO, 4))
    watched = replace(baking(), last_observed_at=at(60))
    turn = rollouts.advance(watched, desired(TWO), seen, CALM, at(1060))
    assert turn.rollout.phase == Baking(at(1000))
    assert turn.rollout.last_observed_at == at(1060)
    assert rollouts.advance(
        turn.rollout, desired(TWO), seen, CALM, at(1110)
    ).rollout.phase == Baking(at(1000))
    assert (
        rollouts.advance(
            replace(turn.rollout, last_observed_at=at(1290)), desired(TWO), seen, CALM, at(1300)
        )
        .transitions[0]
        .outcome
        == "succeeded"
    )


def test_no_deadline_runs_while_nobody_can_look() -> None:
    seen = group(*instances(ONE, 3), *instances(TWO, 1, "unhealthy"))
    blind = replace(stepping(0), last_observed_at=at(100))
    assert isinstance(
        rollouts.advance(blind, desired(TWO), seen, CALM, at(5000)).rollout.phase, Stepping
    )


def test_a_rollout_is_watched_from_its_first_moment_on() -> None:
    """Whoever began it may have died right after, and nobody come for an hour: that hour is not the
    candidate's."""
    first = rollouts.advance(Rollout(stable=ONE), desired(TWO), NOTHING, CALM, NOON).rollout
    later = rollouts.advance(first, desired(TWO), group(*instances(ONE, 4)), CALM, at(3600))
    assert isinstance(later.rollout.phase, Stepping), later.transitions


def test_a_settled_model_is_not_written_for_being_watched() -> None:
    seen = group(*instances(ONE, 4))
    assert rollouts.advance(serving(ONE), desired(ONE), seen, CALM, at(9999)).rollout == serving(
        ONE
    )


def test_a_pause_counts_nothing_towards_the_bake() -> None:
    seen = group(*instances(TWO, 4))
    paused = rollouts.advance(baking(), desired(TWO, command("pause")), seen, CALM, at(100)).rollout
    resumed = rollouts.advance(
        replace(paused, last_observed_at=at(1050)),
        desired(TWO, command("resume")),
        seen,
        CALM,
        at(1100),
    ).rollout
    assert resumed.phase == Baking(at(1000))


def test_going_back_ends_when_nothing_of_the_candidate_is_left() -> None:
    back = replace(stepping(0), phase=RollingBack("rolled_back", "unhealthy", "it was sick", NOON))
    still = group(*instances(ONE, 3), *instances(TWO, 1, "unhealthy"))
    assert isinstance(advance(back, desired(ONE), still, CALM, at(10)).rollout.phase, RollingBack)
    turn = advance(back, desired(ONE), group(*instances(ONE, 4)), CALM, at(20))
    assert (turn.rollout.phase, turn.rollout.stable, turn.rollout.candidate) == (
        Settled(),
        ONE,
        None,
    )
    assert (turn.transitions[0].outcome, turn.transitions[0].why) == ("rolled_back", "it was sick")


def test_a_first_release_that_fails_is_removed() -> None:
    turn = advance(begun(ONE), desired(ONE), group(*instances(ONE, 1, "unhealthy")), CALM, at(900))
    assert isinstance(turn.rollout.phase, RollingBack)
    assert turn.target.groups == ()
    assert turn.target.kept_templates == frozenset()
    gone = advance(turn.rollout, turn.desired, NOTHING, CALM, at(950))
    assert (gone.rollout.phase, gone.transitions[0].outcome) == (Settled(), "rolled_back")


def test_a_failed_candidate_is_held_where_the_release_asks_for_it() -> None:
    held = release("2", rollout={"on_failure": "pause"})
    rollout = replace(stepping(0), candidate=held)
    seen = group(*instances(ONE, 3), *instances(held, 1, "unhealthy"))
    turn = advance(rollout, desired(held), seen, CALM, at(900))
    assert turn.rollout.phase == Stepping(0, NOON)
    assert turn.rollout.paused
    assert turn.rollout.paused.after_failure


def test_a_newer_release_sends_the_candidate_back_before_it_begins() -> None:
    turn = advance(
        stepping(1), desired(THREE), group(*instances(ONE, 2), *instances(TWO, 2)), CALM, at(10)
    )
    assert isinstance(turn.rollout.phase, RollingBack)
    assert turn.rollout.phase.outcome == "superseded"
    assert turn.desired.release == THREE
    assert shares(turn) == [("1", None)]
    back = advance(turn.rollout, turn.desired, group(*instances(ONE, 4)), CALM, at(20))
    assert back.transitions[0].outcome == "superseded"
    assert (
        advance(
            back.rollout, back.desired, group(*instances(ONE, 4)), CALM, at(21)
        ).rollout.candidate
        == THREE
    )


def test_a_newer_first_release_takes_over_without_removing_the_fleet() -> None:
    turn = advance(begun(ONE), desired(TWO), group(*instances(ONE, 1)), CALM, at(10))
    assert [transition.to for transition in turn.transitions] == ["superseded", "step_1"]
    assert shares(turn) == [("2", None)]


def test_a_third_first_release_waits_for_the_instances_of_the_first() -> None:
    rollout, mixed = begun(TWO), group(*instances(ONE, 2), *instances(TWO, 1))
    waits = advance(rollout, desired(THREE), mixed, CALM, at(10))
    assert waits.rollout.candidate == TWO
    taken = advance(waits.rollout, desired(THREE), group(*instances(TWO, 3)), CALM, at(20))
    assert taken.rollout.candidate == THREE


def test_a_newer_release_waits_where_the_candidate_asks_for_it() -> None:
    patient = release("2", rollout={"on_newer": "wait"})
    rollout = replace(stepping(0), candidate=patient)
    turn = advance(rollout, desired(THREE), group(*instances(ONE, 4)), CALM, at(10))
    assert turn.rollout.candidate == patient
    assert isinstance(turn.rollout.phase, Stepping)


def test_a_release_that_went_back_is_refused_unless_forced() -> None:
    rollout = serving(ONE, failed_digests=(TWO.digest,))
    refused = advance(rollout, desired(TWO), group(*instances(ONE, 4)), CALM, NOON)
    assert refused.transitions[0].outcome == "refused"
    assert refused.desired.release == ONE
    forced = advance(
        rollout, desired(replace(TWO, force=True)), group(*instances(ONE, 4)), CALM, NOON
    )
    assert forced.rollout.phase == Stepping(0, NOON)


def test_a_release_with_the_same_template_needs_one_step_only() -> None:
    wider = replace(release("2", scaling={"max": 9}), template=ONE.template)
    turn = advance(serving(ONE), desired(wider), group(*instances(ONE, 4)), CALM, NOON)
    assert shares(turn) == [("2", None)]
    assert turn.target.groups[0].max == 9


# ---- Commands


def test_pause_holds_a_step_that_could_be_left_and_resume_lets_it_go() -> None:
    seen = group(*instances(ONE, 3), *instances(TWO, 1))
    paused = advance(stepping(0), desired(TWO, command("pause")), seen, CALM, at(1))
    held = advance(paused.rollout, paused.desired, seen, CALM, at(5000))
    assert held.rollout.phase == Stepping(0, NOON)
    resumed = advance(held.rollout, desired(TWO, command("resume")), seen, CALM, at(5001))
    assert advance(
        resumed.rollout, resumed.desired, seen, CALM, at(5002)
    ).rollout.phase == Stepping(1, at(5002))


def test_no_deadline_runs_while_paused() -> None:
    seen = group(*instances(ONE, 3), *instances(TWO, 1, "unhealthy"))
    paused = advance(stepping(0), desired(TWO, command("pause")), seen, CALM, at(1)).rollout
    assert advance(paused, desired(TWO), seen, CALM, at(9000)).rollout.phase == Stepping(0, NOON)


def test_promote_skips_the_steps_and_the_bake_but_not_the_health() -> None:
    ill = group(*instances(ONE, 3), *instances(TWO, 1, "unhealthy"))
    rollout = advance(stepping(0), desired(TWO, command("promote")), ill, CALM, at(1)).rollout
    assert advance(rollout, desired(TWO), ill, CALM, at(2)).rollout.phase == Stepping(0, NOON)
    rollout = advance(
        rollout, desired(TWO), group(*instances(ONE, 3), *instances(TWO, 1)), CALM, at(3)
    ).rollout
    assert rollout.phase == Stepping(2, at(3))
    rollout = advance(rollout, desired(TWO), group(*instances(TWO, 4)), CALM, at(4)).rollout
    assert (
        advance(rollout, desired(TWO), group(*instances(TWO, 4)), CALM, at(5))
        .transitions[0]
        .outcome
        == "succeeded"
    )


def test_abort_goes_back_and_does_not_remember_the_release_as_failed() -> None:
    turn = advance(
        stepping(1),
        desired(TWO, command("abort", reason="wrong weights")),
        group(*instances(ONE, 4)),
        CALM,
        at(1),
    )
    assert isinstance(turn.rollout.phase, RollingBack)
    assert turn.rollout.phase.why == "aborted on command: wrong weights"
    assert turn.rollout.failed_digests == ()
    assert turn.desired.release == ONE


def test_rollback_returns_to_what_served_before_in_one_step() -> None:
    rollout = serving(TWO, previous=ONE)
    turn = advance(
        rollout, desired(TWO, command("rollback")), group(*instances(TWO, 4)), CALM, at(1)
    )
    begun_back = advance(turn.rollout, turn.desired, group(*instances(TWO, 4)), CALM, at(2))
    assert begun_back.rollout.phase == Stepping(2, at(2))
    assert shares(begun_back) == [("1", None)]


def test_retire_removes_everything_and_ends_when_nothing_is_left() -> None:
    turn = advance(
        serving(ONE), desired(ONE, command("retire")), group(*instances(ONE, 4)), CALM, at(1)
    )
    assert isinstance(turn.rollout.phase, Retiring)
    assert turn.target.groups == ()
    left = advance(
        turn.rollout,
        turn.desired,
        Observed(leftovers=("health check slipway-tiny-blue-live",)),
        CALM,
        at(2),
    )
    assert left.waiting_for == "health check slipway-tiny-blue-live still there"
    gone = advance(turn.rollout, turn.desired, NOTHING, CALM, at(3))
    assert (gone.rollout.phase, gone.rollout.stable, gone.transitions[0].outcome) == (
        Settled(),
        None,
        "retired",
    )


@pytest.mark.parametrize("verb", ["pause", "resume", "promote", "abort"])
def test_a_command_with_nothing_to_do_says_so_and_changes_nothing(verb: Verb) -> None:
    turn = advance(serving(ONE), desired(ONE, command(verb)), group(*instances(ONE, 4)), CALM, NOON)
    assert turn.rollout == serving(ONE)
    assert turn.transitions[0].why.startswith(f"{verb} changes nothing")


def test_a_command_for_another_release_changes_nothing() -> None:
    turn = advance(
        stepping(0),
        desired(TWO, command("abort", version="9")),
        group(*instances(ONE, 4)),
        CALM,
        NOON,
    )
    assert turn.rollout == stepping(0)


def test_a_release_that_never_began_ends_superseded_when_the_model_is_retired() -> None:
    turn = advance(
        stepping(0), desired(THREE, command("retire")), group(*instances(ONE, 4)), CALM, NOON
    )
    assert [(told.release, told.outcome) for told in turn.transitions] == [
        ("3", "superseded"),
        ("2", None),
    ]
