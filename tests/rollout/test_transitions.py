"""Every way onward from one phase to the next, whole: what goes on record, what the rollout
becomes, when to look again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rollout.advance import OBSERVED_EVERY, target_of
from rollout.conditions import OBSERVATION_GAP
from rollout.model import (
    Baking,
    Condition,
    Decision,
    Evidence,
    Observed,
    Pause,
    Phase,
    Problem,
    Progress,
    Release,
    Retiring,
    RollingBack,
    Rollout,
    Share,
    Stepping,
    Transition,
)
from rollout.requeue import LONGEST, PAUSED, SHORTEST
from rollout.strategies.rolling import steady_group
from tests.rollout.build import NOON, at, group, instances, release, stuck
from tests.rollout.swap import (
    HEALTHY_BAKE,
    HEALTHY_STEP,
    NOTHING,
    NOW,
    ONE,
    REFUSALS,
    SINGLE_STEP_DIGEST,
    STEPS_DIGEST,
    TWO,
    desired,
    mixed,
    run_pass,
    swapping,
)

# ---- Settled


def test_a_first_release_begins() -> None:
    decision = run_pass(Rollout(failed_digests=("d",)), ONE, NOTHING)
    assert decision == Decision(
        rollout=Rollout(
            Stepping(0, NOW),
            None,
            ONE,
            None,
            SINGLE_STEP_DIGEST,
            Progress(0, NOW),
            last_observed_at=NOW,
            failed_digests=("d",),
        ),
        desired=desired(ONE),
        target=target_of(decision.rollout, desired(ONE), NOTHING),
        requeue_at=NOW,
        transitions=(
            Transition(
                "1",
                "settled",
                "step_1",
                "nothing serves yet; step 1 of 1 asks for 100 % on release 1",
            ),
        ),
    )


def test_a_second_release_begins_with_the_first_step_of_its_ladder() -> None:
    decision = run_pass(
        Rollout(stable=ONE, paused=Pause("old", NOON)), TWO, group(*instances(ONE, 4))
    )
    assert decision.rollout == Rollout(
        Stepping(0, NOW), ONE, TWO, None, STEPS_DIGEST, Progress(0, NOW), last_observed_at=NOW
    )
    why = "release 1 serves; step 1 of 3 asks for 10 % on release 2"
    assert decision.transitions == (Transition("2", "settled", "step_1", why),)
    assert decision.target.kept_templates == {"tiny-1", "tiny-2"}
    assert decision.target.model == "tiny"


def test_a_promoted_release_begins_with_the_last_step() -> None:
    decision = run_pass(Rollout(stable=ONE, promoted=True), TWO, group(*instances(ONE, 4)))
    assert decision.rollout.phase == Stepping(2, NOW)
    why = "release 1 serves; step 1 of 3 asks for 100 % on release 2"
    assert decision.transitions == (Transition("2", "settled", "step_3", why),)


def test_what_went_back_before_is_refused_and_the_stable_release_desired_again() -> None:
    decision = run_pass(
        Rollout(stable=ONE, failed_digests=("d", TWO.digest)), TWO, group(*instances(ONE, 4))
    )
    why = 'release 2 went back before; publish it with "force": true to try it again'
    assert decision.transitions == (Transition("2", "settled", "refused", why, outcome="refused"),)
    assert decision.rollout == Rollout(stable=ONE, failed_digests=("d", TWO.digest))
    assert decision.desired == replace(desired(TWO), release=ONE)
    assert decision.requeue_at == NOW


def test_what_went_back_before_is_tried_again_where_that_is_forced() -> None:
    forced = replace(TWO, force=True)
    assert (
        run_pass(
            Rollout(stable=ONE, failed_digests=(TWO.digest,)), forced, NOTHING
        ).rollout.candidate
        == forced
    )


def test_a_settled_model_tells_all_that_compute_engine_refuses() -> None:
    decision = run_pass(Rollout(stable=ONE), ONE, group(*instances(ONE, 4)), REFUSALS)
    assert decision.conditions == (
        Condition("Degraded", "none left", NOW),
        Condition("Degraded", "too slow", NOW),
    )
    assert (decision.requeue_at, decision.transitions, decision.waiting_for) == (None, (), "")
    assert decision.target.groups == (steady_group(ONE, "blue"),)


def test_a_settled_model_without_a_release_wants_nothing_at_all() -> None:
    decision = run_pass(Rollout(), None, NOTHING)
    assert (decision.rollout, decision.target.groups, decision.target.kept_templates) == (
        Rollout(),
        (),
        frozenset(),
    )


# ---- Stepping


@pytest.mark.parametrize(
    ("step", "seen", "why"),
    [
        (0, mixed(3, 1), "1 of 1 instances of release 2 are healthy; step 2 of 3 asks for 50 %"),
        (1, mixed(2, 2), "2 of 2 instances of release 2 are healthy; step 3 of 3 asks for 100 %"),
    ],
)
def test_a_step_leads_to_the_next(step: int, seen: Observed, why: str) -> None:
    decision = run_pass(swapping(Stepping(step, NOON)), TWO, seen)
    healthy = step + 1
    assert decision.rollout == swapping(Stepping(step + 1, NOW), progress=Progress(healthy, NOW))
    evidence = (why.split(";")[0],)
    assert decision.transitions == (
        Transition("2", f"step_{step + 1}", f"step_{step + 2}", why, evidence=evidence),
    )
    assert (decision.requeue_at, decision.waiting_for, decision.conditions) == (NOW, "", ())


def test_a_promoted_rollout_leads_from_any_step_to_the_last() -> None:
    decision = run_pass(swapping(Stepping(0, NOON), promoted=True), TWO, HEALTHY_STEP)
    assert decision.rollout.phase == Stepping(2, NOW)
    why = "1 of 1 instances of release 2 are healthy; step 3 of 3 asks for 100 %"
    assert (decision.transitions[0].to, decision.transitions[0].why) == ("step_3", why)


def test_the_last_step_leads_to_the_bake() -> None:
    decision = run_pass(swapping(Stepping(2, NOON)), TWO, HEALTHY_BAKE)
    assert decision.rollout == swapping(Baking(NOW), progress=Progress(4, NOW))
    why = "4 of 4 instances of release 2 are healthy"
    assert decision.transitions == (
        Transition("2", "step_3", "baking", f"{why}; bakes for 300 s", evidence=(why,)),
    )


@pytest.mark.parametrize(("step", "seen"), [(1, mixed(2, 2)), (2, HEALTHY_BAKE)])
def test_what_comes_next_begins_with_a_clean_record(step: int, seen: Observed) -> None:
    """Falls and time belong to the step in which they were."""
    healthy = 2 * step
    decision = run_pass(
        swapping(Stepping(step, NOON), progress=Progress(healthy, NOON, 2, at(5))), TWO, seen
    )
    assert decision.rollout.progress == Progress(healthy, NOW)


def test_a_rollout_whose_ladder_has_changed_begins_it_again() -> None:
    decision = run_pass(swapping(Stepping(2, NOON), steps_digest="of old"), TWO, mixed(2, 2))
    assert decision.rollout == swapping(Stepping(0, NOW), progress=Progress(2, NOW))
    evidence = ("2 of 4 instances of release 2 are healthy",)
    assert decision.transitions == (
        Transition(
            "2", "step_3", "step_1", "the steps of its strategy have changed", evidence=evidence
        ),
    )


def test_a_step_beyond_the_ladder_is_its_last() -> None:
    target = target_of(swapping(Stepping(7, NOON)), desired(TWO), HEALTHY_BAKE)
    assert target.groups[0].shares == (Share(TWO),)


def test_a_step_that_waits_says_for_what_and_looks_again_soon() -> None:
    decision = run_pass(swapping(Stepping(1, NOON)), TWO, mixed(2, 1, unhealthy=1))
    assert decision.rollout == swapping(Stepping(1, NOON), progress=Progress(1, NOW))
    assert (decision.waiting_for, decision.transitions, decision.conditions) == (
        "1 of 2 instances of release 2 are healthy",
        (),
        (),
    )
    assert decision.requeue_at == NOW + SHORTEST
    assert decision.desired == desired(TWO)


def test_a_step_that_waits_tells_its_first_trouble_alone_and_once() -> None:
    seen = group(
        *instances(ONE, 3),
        stuck(TWO, "stock-out", "none left"),
        stuck(TWO, "stock-out", "none left"),
        stuck(TWO, "stock-out", "nor there"),
    )
    decision = run_pass(swapping(Stepping(1, NOON)), TWO, seen)
    assert decision.conditions == (Condition("Degraded", "none left", NOW),)


def test_progress_that_was_never_noted_begins_now() -> None:
    for phase in (Stepping(1, NOON), Baking(NOON)):
        assert run_pass(
            swapping(phase, progress=None), TWO, mixed(2, 0, unhealthy=2)
        ).rollout.progress == Progress(0, NOW)


# ---- Pauses


@pytest.mark.parametrize("phase", [Stepping(0, NOON), Baking(at(-900))])
def test_a_pause_holds_what_could_be_left_and_says_why(phase: Phase) -> None:
    paused = swapping(phase, healthy=1, paused=Pause("paused by ann", at(5)))
    decision = run_pass(paused, TWO, HEALTHY_STEP if isinstance(phase, Stepping) else HEALTHY_BAKE)
    assert (decision.rollout.phase, decision.waiting_for, decision.transitions) == (
        phase,
        "paused by ann",
        (),
    )
    assert decision.conditions == (Condition("Paused", "paused by ann", at(5)),)
    assert decision.requeue_at == NOW + PAUSED


def test_a_failure_that_is_to_pause_is_told_as_a_pause() -> None:
    held = release("2", rollout={"on_failure": "pause"})
    decision = run_pass(
        swapping(Stepping(0, NOON), candidate=held, last_observed_at=at(890)),
        held,
        mixed(3, 0, unhealthy=1),
        now=at(900),
    )
    why = "0 of 1 instances of release 2 are healthy, and none got better for 15 min"
    assert decision.transitions == (Transition("2", "step_1", "paused", why),)
    assert decision.rollout.paused == Pause(why, at(900), True)
    assert (decision.waiting_for, decision.desired, decision.requeue_at) == (
        why,
        desired(held),
        at(900),
    )
    assert decision.conditions == (Condition("Paused", why, at(900)),)


def test_a_failure_that_slipway_paused_for_stays_paused_and_one_that_a_person_paused_goes_back() -> (
    None
):
    refused = Evidence((Problem("quota", "CODE", "no quota"),))
    by_slipway = swapping(Stepping(0, NOON), paused=Pause("it was sick", NOON, after_failure=True))
    decision = run_pass(by_slipway, TWO, HEALTHY_STEP, refused)
    assert (decision.rollout.phase, decision.rollout.paused, decision.waiting_for) == (
        Stepping(0, NOON),
        by_slipway.paused,
        "it was sick",
    )
    by_ann = swapping(Stepping(0, NOON), paused=Pause("paused by ann", NOON))
    assert isinstance(run_pass(by_ann, TWO, HEALTHY_STEP, refused).rollout.phase, RollingBack)


def test_no_answer_pauses_once_and_is_then_a_trouble_beside_the_pause() -> None:
    silent = group(*instances(ONE, 3), *instances(TWO, 1, "unknown"))
    why = "no health answer for release 2 for 15 min"
    first = run_pass(
        swapping(Stepping(0, NOON), last_observed_at=at(890)), TWO, silent, now=at(900)
    )
    assert first.rollout.paused == Pause(why, at(900), False)
    assert first.transitions == (Transition("2", "step_1", "paused", why),)
    unwell = Progress(4, NOON, 1, NOON)
    paused = swapping(
        Baking(NOON), progress=unwell, paused=Pause("paused by ann", NOON), last_observed_at=at(50)
    )
    decision = run_pass(paused, TWO, group(*instances(TWO, 4, "unknown")), now=at(60))
    why = "no health answer for release 2 for 60 s"
    assert decision.conditions == (
        Condition("Paused", "paused by ann", NOON),
        Condition("Degraded", why, at(60)),
    )
    assert (decision.waiting_for, decision.transitions, decision.rollout.paused) == (
        why,
        (),
        Pause("paused by ann", NOON),
    )


# ---- Baking


def test_a_bake_that_is_over_makes_the_candidate_the_stable_release() -> None:
    before = swapping(
        Baking(NOON),
        healthy=4,
        failed_digests=("d", TWO.digest),
        paused=None,
        promoted=False,
        last_observed_at=at(290),
    )
    decision = run_pass(before, TWO, HEALTHY_BAKE, now=at(300))
    assert decision.rollout == Rollout(
        stable=TWO, previous=ONE, failed_digests=("d",), last_observed_at=at(290)
    )
    seen = "4 of 4 instances of release 2 are healthy"
    why = f"baked for 5 min; {seen}"
    assert decision.transitions == (
        Transition("2", "baking", "succeeded", why, outcome="succeeded", evidence=(seen,)),
    )
    assert (decision.target.groups, decision.requeue_at, decision.desired) == (
        (steady_group(TWO, "blue"),),
        at(300),
        desired(TWO),
    )


def test_a_first_release_that_baked_leaves_what_was_before_it_on_record() -> None:
    before = swapping(Baking(NOON), healthy=4, stable=None, previous=ONE, last_observed_at=at(290))
    assert run_pass(before, TWO, HEALTHY_BAKE, now=at(300)).rollout.previous == ONE


def test_a_promoted_bake_is_over_at_once_and_says_so() -> None:
    decision = run_pass(
        swapping(Baking(NOON), healthy=4, promoted=True), TWO, HEALTHY_BAKE, now=at(1)
    )
    assert decision.transitions[0].why == "promoted; 4 of 4 instances of release 2 are healthy"
    assert decision.rollout.promoted is False


def test_a_bake_that_waits_looks_again_less_often() -> None:
    decision = run_pass(swapping(Baking(NOON), healthy=4), TWO, HEALTHY_BAKE)
    assert (decision.waiting_for, decision.requeue_at) == (
        "bakes for another 290 s; 4 of 4 instances of release 2 are healthy",
        NOW + LONGEST,
    )


@pytest.mark.parametrize(
    ("taken", "pause"), [(0, 5), (40, 5), (64, 8), (119, 14.875), (121, 15), (900, 15)]
)
@pytest.mark.parametrize(
    ("phase", "of"),
    [
        (Stepping(1, NOON), TWO),
        (RollingBack("aborted", "aborted", "", NOON), ONE),
        (Retiring(NOON, ""), None),
    ],
)
def test_what_takes_long_is_looked_at_less_often(
    phase: Phase, of: Release | None, taken: float, pause: float
) -> None:
    decision = run_pass(
        swapping(phase, last_observed_at=at(taken)), of, mixed(2, 2, unhealthy=1), now=at(taken)
    )
    assert decision.requeue_at == at(taken + pause)


def test_how_often_each_phase_is_looked_at() -> None:
    spans = (
        SHORTEST,
        LONGEST,
        PAUSED,
        OBSERVED_EVERY,
        OBSERVATION_GAP,
    )
    assert [span.total_seconds() for span in spans] == [5, 15, 60, 60, 180]
