"""Every way that is not onward, whole: giving way to a newer release, going back, retiring, and
time that nobody watched."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rollout.advance import advance, mark_observed, target_of
from rollout.model import (
    Baking,
    Command,
    Decision,
    Evidence,
    Instance,
    Observed,
    Pause,
    Phase,
    Problem,
    Progress,
    Release,
    Retiring,
    RollingBack,
    Rollout,
    Settled,
    Stepping,
    Transition,
)
from rollout.requeue import SHORTEST
from rollout.strategies.rolling import steady_group
from rollout.transitions import MAX_FAILED_DIGESTS
from tests.rollout.build import NOON, at, group, instances, release
from tests.rollout.swap import (
    HEALTHY_BAKE,
    HEALTHY_STEP,
    NO_EVIDENCE,
    NOTHING,
    NOW,
    ONE,
    REFUSALS,
    SINGLE_STEP_DIGEST,
    THREE,
    TWO,
    desired,
    mixed,
    run_pass,
    swapping,
)

# ---- Newer releases


@pytest.mark.parametrize("phase", [Stepping(1, NOON), Baking(NOON)])
def test_a_newer_release_turns_a_swap_round(phase: Phase) -> None:
    decision = run_pass(
        swapping(phase, paused=Pause("paused by ann", NOON), promoted=True), THREE, mixed(2, 2)
    )
    back = RollingBack("superseded", "superseded", "release 3 is newer", NOW)
    assert decision.rollout == swapping(back, progress=None)
    [told] = decision.transitions
    assert (told.release, told.to, told.reason, told.outcome) == (
        "2",
        "rolling_back",
        "superseded",
        None,
    )
    assert told.why == "release 3 is newer; goes back to release 1"
    assert decision.desired == desired(THREE)
    assert decision.target.kept_templates == {"tiny-1", "tiny-2", "tiny-3"}


@pytest.mark.parametrize("phase", [Stepping(0, NOON), Baking(NOON)])
def test_a_release_that_is_to_be_finished_first_is_finished(phase: Phase) -> None:
    patient = release("2", rollout={"on_newer": "wait"})
    decision = run_pass(swapping(phase, candidate=patient), THREE, mixed(2, 2))
    assert not isinstance(decision.rollout.phase, RollingBack)
    assert decision.rollout.candidate == patient


def test_a_newer_first_release_takes_over_at_once_and_both_are_told() -> None:
    first = Rollout(
        Baking(NOON),
        None,
        TWO,
        steps_digest=SINGLE_STEP_DIGEST,
        progress=Progress(1, NOON),
        promoted=True,
        last_observed_at=NOON,
    )
    decision = run_pass(first, THREE, group(*instances(TWO, 3)))
    assert decision.rollout == Rollout(
        Stepping(0, NOW),
        None,
        THREE,
        None,
        SINGLE_STEP_DIGEST,
        Progress(0, NOW),
        last_observed_at=NOW,
    )
    assert decision.transitions == (
        Transition("2", "baking", "superseded", "release 3 is newer", "superseded", "superseded"),
        Transition(
            "3", "settled", "step_1", "nothing serves yet; step 1 of 1 asks for 100 % on release 3"
        ),
    )


def test_a_newer_first_release_that_cannot_live_in_the_group_waits_until_that_is_gone() -> None:
    elsewhere = release("3", placement={"region": "us-east1"})
    first = Rollout(
        Stepping(0, NOON),
        None,
        TWO,
        steps_digest=SINGLE_STEP_DIGEST,
        progress=Progress(0, NOON),
        last_observed_at=NOON,
    )
    decision = run_pass(first, elsewhere, group(*instances(TWO, 3)))
    assert decision.rollout.phase == RollingBack(
        "superseded", "superseded", "release 3 is newer", NOW
    )
    assert (
        decision.transitions[0].why
        == "release 3 is newer; removes it, since no release was before it"
    )
    assert (decision.target.groups, decision.desired.release) == ((), elsewhere)


def test_a_third_first_release_waits_until_the_instances_of_the_first_have_gone() -> None:
    first = Rollout(
        Stepping(0, NOON),
        None,
        TWO,
        steps_digest=SINGLE_STEP_DIGEST,
        progress=Progress(0, NOON),
        last_observed_at=NOON,
    )
    decision = run_pass(first, THREE, group(*instances(ONE, 1), *instances(TWO, 2)))
    assert (decision.rollout.candidate, decision.transitions) == (TWO, ())


# ---- Going back


def failed_step(failed: tuple[str, ...] = (), of: Release | None = TWO) -> Decision:
    return run_pass(
        swapping(Stepping(0, NOON), failed_digests=failed),
        of,
        HEALTHY_STEP,
        Evidence((Problem("quota", "CODE", "no quota"),)),
    )


def test_a_failed_step_goes_back_with_why_and_whereto() -> None:
    decision = failed_step(("d", TWO.digest, "e"))
    assert decision.rollout == swapping(
        RollingBack("rolled_back", "quota", "no quota", NOW),
        progress=None,
        failed_digests=("d", "e", TWO.digest),
    )
    assert decision.transitions == (
        Transition("2", "step_1", "rolling_back", "no quota; goes back to release 1", "quota"),
    )
    assert decision.desired == replace(desired(TWO), release=ONE)
    assert decision.requeue_at == NOW


def test_a_failed_bake_goes_back_too() -> None:
    decision = run_pass(
        swapping(Baking(NOON), healthy=4),
        TWO,
        HEALTHY_BAKE,
        Evidence((Problem("config", "CODE", "bad"),)),
    )
    assert decision.transitions == (
        Transition("2", "baking", "rolling_back", "bad; goes back to release 1", "config"),
    )


def test_of_the_failures_the_latest_twenty_are_remembered() -> None:
    assert MAX_FAILED_DIGESTS == 20
    many = tuple(f"d{number}" for number in range(20))
    assert failed_step(many).rollout.failed_digests == (*many[1:], TWO.digest)
    assert failed_step(many[1:]).rollout.failed_digests == (*many[1:], TWO.digest)


def test_a_failure_takes_no_newer_release_off_what_is_desired() -> None:
    patient = release("2", rollout={"on_newer": "wait"})
    quota = Evidence((Problem("quota", "CODE", "no quota"),))
    decision = run_pass(swapping(Stepping(0, NOON), candidate=patient), THREE, HEALTHY_STEP, quota)
    assert decision.desired == desired(THREE)
    assert run_pass(swapping(Stepping(0, NOON)), None, HEALTHY_STEP, quota).desired.release == ONE


BACK = RollingBack("rolled_back", "unhealthy", "it was sick", NOON)


def test_going_back_asks_for_the_stable_release_alone_and_holds_the_group_as_wide_as_it_may_be() -> (
    None
):
    target = target_of(swapping(BACK), desired(ONE), mixed(2, 2))
    assert target.groups == (replace(steady_group(ONE, "blue"), may_scale_in=False),)


def moving(of: Release, count: int) -> tuple[Instance, ...]:
    return instances(of, count, action="RECREATING")


@pytest.mark.parametrize(
    ("seen", "evidence", "waits"),
    [
        (mixed(2, 2), NO_EVIDENCE, "2 instances are not on release 1 yet"),
        (
            group(*instances(ONE, 3), *moving(ONE, 1)),
            NO_EVIDENCE,
            "3 of 4 instances of release 1 are healthy; the group gets stable again",
        ),
        (
            NOTHING,
            NO_EVIDENCE,
            "0 of 1 instances of release 1 are healthy; the group gets stable again",
        ),
        (
            group(*instances(ONE, 4)),
            Evidence(pending_changes=("the route is missing", "other")),
            "the route is missing",
        ),
    ],
)
def test_going_back_waits_until_all_is_as_it_was(
    seen: Observed, evidence: Evidence, waits: str
) -> None:
    before = swapping(BACK)
    decision = run_pass(before, ONE, seen, evidence)
    assert (decision.rollout, decision.waiting_for, decision.transitions, decision.conditions) == (
        before,
        waits,
        (),
        (),
    )
    assert decision.requeue_at == NOW + SHORTEST


def test_going_back_tells_its_troubles() -> None:
    decision = run_pass(swapping(BACK), ONE, mixed(2, 2), REFUSALS)
    assert [condition.why for condition in decision.conditions] == ["none left", "too slow"]


def test_having_gone_back_the_model_is_settled_as_before() -> None:
    decision = run_pass(
        swapping(BACK, previous=THREE, failed_digests=("d",)), ONE, group(*instances(ONE, 4))
    )
    assert decision.rollout == Rollout(
        Settled(),
        ONE,
        None,
        THREE,
        progress=Progress(0, NOON),
        last_observed_at=NOON,
        failed_digests=("d",),
    )
    assert decision.transitions == (
        Transition("2", "rolling_back", "rolled_back", "it was sick", "unhealthy", "rolled_back"),
    )
    assert decision.target.groups == (steady_group(ONE, "blue"),)


def test_a_first_release_is_gone_when_nothing_of_it_is_left() -> None:
    first = swapping(BACK, stable=None)
    left = run_pass(
        first,
        None,
        Observed(mixed(0, 1).groups, ("health check a", "health check b", "health check c")),
    )
    assert left.waiting_for == "the blue group, health check a, health check b still there"
    route = run_pass(first, None, NOTHING, Evidence(pending_changes=("the route is still there",)))
    assert (route.waiting_for, route.rollout) == ("the route is still there", first)
    gone = run_pass(first, None, NOTHING)
    assert (gone.rollout.phase, gone.rollout.candidate, gone.waiting_for) == (Settled(), None, "")


# ---- Retiring


RETIRING = Retiring(NOON, "retired by ann")


@pytest.mark.parametrize(
    ("seen", "evidence", "waits"),
    [
        (mixed(1, 0), NO_EVIDENCE, "the blue group still there"),
        (Observed(leftovers=("health check a",)), NO_EVIDENCE, "health check a still there"),
        (
            NOTHING,
            Evidence(pending_changes=("the route is still there", "other")),
            "the route is still there",
        ),
    ],
)
def test_retiring_waits_until_nothing_is_left(
    seen: Observed, evidence: Evidence, waits: str
) -> None:
    decision = run_pass(swapping(RETIRING), None, seen, evidence)
    assert (decision.rollout, decision.waiting_for, decision.transitions) == (
        swapping(RETIRING),
        waits,
        (),
    )
    assert (decision.target.groups, decision.target.kept_templates, decision.requeue_at) == (
        (),
        frozenset(),
        NOW + SHORTEST,
    )


def test_retiring_tells_its_troubles() -> None:
    decision = run_pass(swapping(RETIRING), None, mixed(1, 0), REFUSALS)
    assert [condition.why for condition in decision.conditions] == ["none left", "too slow"]


def test_having_retired_each_release_has_its_end_and_what_failed_is_remembered() -> None:
    decision = run_pass(swapping(RETIRING, failed_digests=("d",), promoted=True), None, NOTHING)
    assert decision.rollout == Rollout(failed_digests=("d",))
    assert decision.transitions == tuple(
        Transition(version, "retiring", "retired", "retired by ann", outcome="retired")
        for version in ("2", "1")
    )
    assert [
        each.release
        for each in run_pass(swapping(RETIRING, stable=None), None, NOTHING).transitions
    ] == ["2"]


# ---- Commands, and time in which nobody looked


def test_a_turn_with_a_command_decides_nothing_else() -> None:
    pause = Command("pause", "event", NOON)
    decision = advance(
        swapping(Stepping(0, NOON)),
        replace(desired(TWO), commands=(pause,)),
        HEALTHY_STEP,
        NO_EVIDENCE,
        NOW,
    )
    assert decision.rollout == swapping(Stepping(0, NOON), paused=Pause("paused on command", NOW))
    assert (decision.desired, decision.requeue_at, decision.waiting_for) == (desired(TWO), NOW, "")
    assert [told.to for told in decision.transitions] == ["paused"]


@pytest.mark.parametrize(
    ("gap", "shift", "noted"),
    [(59, 0, False), (60, 0, True), (180, 0, True), (181, 181, True), (4000, 4000, True)],
)
def test_a_gap_is_noted_after_a_minute_and_counts_for_nothing_beyond_three(
    gap: int, shift: int, noted: bool
) -> None:
    before = swapping(Baking(NOON))
    after = mark_observed(before, at(gap))
    assert after.phase == Baking(at(shift))
    assert after.progress == Progress(0, at(shift))
    assert after.last_observed_at == (at(gap) if noted else NOON)


def test_a_rollout_that_nobody_looked_at_yet_is_watched_from_now_on() -> None:
    assert mark_observed(swapping(Baking(NOON), last_observed_at=None), NOW) == swapping(
        Baking(NOON), last_observed_at=NOW
    )


def test_a_settled_model_is_not_watched() -> None:
    assert mark_observed(Rollout(stable=ONE, last_observed_at=NOON), at(1)) == Rollout(stable=ONE)


def test_a_rollout_on_its_way_without_a_candidate_is_an_error_that_names_the_phase() -> None:
    with pytest.raises(ValueError, match=r"^a rollout in phase step_2 has no candidate$"):
        target_of(Rollout(Stepping(1, NOON), ONE), desired(ONE), NOTHING)


def test_no_template_is_kept_for_a_model_that_goes() -> None:
    assert (
        target_of(swapping(RETIRING, previous=THREE), desired(None), NOTHING).kept_templates
        == frozenset()
    )
    kept = target_of(
        swapping(Baking(NOON), previous=THREE), desired(release("4")), HEALTHY_BAKE
    ).kept_templates
    assert kept == {"tiny-1", "tiny-2", "tiny-3", "tiny-4"}
