"""Each phase change of a rollout, complete: what it records, what the rollout becomes, what stays
desired, and when the next pass is due.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from rollout.advance import advance
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
    Retiring,
    RollingBack,
    Rollout,
    Settled,
    Share,
    Stepping,
    Transition,
)
from rollout.strategies.rolling import steady_group
from rollout.targets import target_of
from rollout.transitions import MAX_FAILED_DIGESTS, shift, shift_clocks, without_pause
from tests.rollout.build import NOON, at, group, instances, release
from tests.rollout.swap import (
    HEALTHY_BAKE,
    HEALTHY_STEP,
    NO_EVIDENCE,
    NOTHING,
    NOW,
    ONE,
    SINGLE_STEP_DIGEST,
    STEPS_DIGEST,
    THREE,
    TWO,
    desired,
    mixed,
    run_pass,
    serving,
    swapping,
)

QUOTA = Evidence((Problem("quota", "CODE", "no quota"),))
ROLLING_BACK = RollingBack("rolled_back", "unhealthy", "it was unhealthy", NOON)
RETIRING = Retiring(NOON, "retired by ann")
FOUR_OF_ONE = group(*instances(ONE, 4))


def first_release(phase: Phase, **fields: object) -> Rollout:
    """Release 2 rolled out to a model that has no stable release."""
    rollout = swapping(phase, stable=None, steps_digest=SINGLE_STEP_DIGEST, serving_group=None)
    return replace(rollout, **fields)  # type: ignore[arg-type]


# ---- Begin


def test_a_first_release_begins_with_everything_in_one_step() -> None:
    decision = run_pass(Rollout(failed_digests=("d",)), ONE, NOTHING)
    why = "nothing serves yet; step 1 of 1 asks for 100 % on release 1"
    assert decision == Decision(
        rollout=Rollout(
            Stepping(0, NOW),
            None,
            ONE,
            None,
            SINGLE_STEP_DIGEST,
            Progress(0, NOW),
            begun_at=NOW,
            last_observed_at=NOW,
            failed_digests=("d",),
        ),
        desired=desired(ONE),
        target=target_of(decision.rollout, desired(ONE), NOTHING),
        requeue_at=NOW,
        transitions=(Transition("1", "settled", "step_1", why),),
    )
    assert decision.target.groups[0].shares == (Share(ONE),)


def test_a_second_release_begins_with_its_first_step_and_stops_scale_in() -> None:
    decision = run_pass(serving(ONE, paused=Pause("old", NOON)), TWO, FOUR_OF_ONE)
    assert decision.rollout == Rollout(
        Stepping(0, NOW),
        ONE,
        TWO,
        None,
        STEPS_DIGEST,
        Progress(0, NOW),
        begun_at=NOW,
        last_observed_at=NOW,
        serving_group="blue",
    )
    why = "release 1 serves; step 1 of 3 asks for 10 % on release 2"
    assert decision.transitions == (Transition("2", "settled", "step_1", why),)
    assert decision.target.kept_templates == {"tiny-1", "tiny-2"}
    assert decision.target.model == "tiny"
    assert decision.target.groups[0].shares == (Share(ONE), Share(TWO, 1))
    assert not decision.target.groups[0].may_scale_in


def test_a_promoted_release_begins_with_the_last_step() -> None:
    promoted = replace(desired(TWO), promoted=True)
    decision = advance(serving(ONE), promoted, FOUR_OF_ONE, NO_EVIDENCE, NOW)
    assert (decision.rollout.promoted, decision.desired) == (True, desired(TWO))
    assert decision.rollout.phase == Stepping(2, NOW)
    why = "release 1 serves; step 3 of 3 asks for 100 % on release 2"
    assert decision.transitions == (Transition("2", "settled", "step_3", why),)


def test_a_release_with_the_stable_releases_template_needs_a_single_step() -> None:
    wider = replace(release("2", scaling={"max": 9}), template=ONE.template)
    decision = run_pass(serving(ONE), wider, FOUR_OF_ONE)
    assert decision.rollout.steps_digest == SINGLE_STEP_DIGEST
    [target] = decision.target.groups
    assert (target.shares, target.max) == ((Share(wider),), 9)


def test_a_release_that_was_rolled_back_is_refused_and_the_stable_one_is_desired_again() -> None:
    before = serving(ONE, failed_digests=("d", TWO.digest))
    decision = run_pass(before, TWO, FOUR_OF_ONE)
    why = (
        'release 2 was rolled back before; send retry, or publish it with "force": true, to try it'
        " again"
    )
    assert decision.transitions == (Transition("2", "settled", "refused", why, outcome="refused"),)
    assert decision.rollout == replace(before, last_failed="2")
    assert decision.desired == replace(desired(TWO), release=ONE)
    assert decision.requeue_at == NOW


def test_a_release_that_was_rolled_back_begins_again_if_forced() -> None:
    forced = replace(TWO, force=True)
    decision = run_pass(serving(ONE, failed_digests=(TWO.digest,)), forced, NOTHING)
    assert (decision.rollout.phase, decision.rollout.candidate) == (Stepping(0, NOW), forced)


# ---- The next step, and the bake


@pytest.mark.parametrize(
    ("step", "observed", "why"),
    [
        (0, mixed(3, 1), "1 of 1 instances of release 2 are healthy; step 2 of 3 asks for 50 %"),
        (1, mixed(2, 2), "2 of 2 instances of release 2 are healthy; step 3 of 3 asks for 100 %"),
    ],
)
def test_a_healthy_step_leads_to_the_next(step: int, observed: Observed, why: str) -> None:
    decision = run_pass(swapping(Stepping(step, NOON)), TWO, observed)
    assert decision.rollout.phase == Stepping(step + 1, NOW)
    clocks = "healthy@1767268810:" + ",".join("01"[: step + 1])
    assert decision.rollout.progress == Progress(
        step + 1, NOW, initial_size=4, size=4, clocks=clocks, needed=step + 1
    )
    evidence = (why.split(";")[0],)
    assert decision.transitions == (
        Transition("2", f"step_{step + 1}", f"step_{step + 2}", why, evidence=evidence),
    )
    assert (decision.requeue_at, decision.waiting_for, decision.conditions) == (NOW, why, ())


def test_a_promoted_rollout_goes_from_any_step_to_the_last() -> None:
    decision = run_pass(swapping(Stepping(0, NOON), promoted=True), TWO, HEALTHY_STEP)
    assert decision.rollout.phase == Stepping(2, NOW)
    why = "1 of 1 instances of release 2 are healthy; step 3 of 3 asks for 100 %"
    assert (decision.transitions[0].to, decision.transitions[0].why) == ("step_3", why)


def test_the_last_step_leads_to_the_bake() -> None:
    decision = run_pass(swapping(Stepping(2, NOON)), TWO, HEALTHY_BAKE)
    clocks = "healthy@1767268810:0,1,2,3"
    progress = Progress(4, NOW, initial_size=4, size=4, clocks=clocks, needed=4)
    assert decision.rollout == swapping(Baking(NOW), progress=progress, step_seconds=10)
    why = "4 of 4 instances of release 2 are healthy"
    assert decision.transitions == (
        Transition("2", "step_3", "baking", f"{why}; bakes for 300 s", evidence=(why,)),
    )


@pytest.mark.parametrize(("step", "observed"), [(1, mixed(2, 2)), (2, HEALTHY_BAKE)])
def test_the_deadline_is_new_in_the_next_phase_and_what_instances_showed_is_kept(
    step: int, observed: Observed
) -> None:
    healthy = 2 * step
    keys = ",".join(map(str, range(healthy)))
    clocks = f"healthy@1767268805:{keys}"
    kept = Progress(healthy, NOON, None, "", 4, 4, clocks, "1767268801", healthy)
    before = swapping(Stepping(step, NOON), progress=kept)
    assert run_pass(before, TWO, observed).rollout.progress == replace(kept, improved_at=NOW)


def test_a_rollout_whose_steps_have_changed_starts_them_again() -> None:
    decision = run_pass(swapping(Stepping(2, NOON), steps_digest="old"), TWO, mixed(2, 2))
    assert decision.rollout == swapping(Stepping(0, NOW), progress=Progress(2, NOW))
    evidence = ("2 of 4 instances of release 2 are healthy",)
    why = "the steps of its strategy have changed"
    assert decision.transitions == (Transition("2", "step_3", "step_1", why, evidence=evidence),)


# ---- Success


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
    assert decision.rollout == serving(
        TWO, previous=ONE, failed_digests=("d",), last_observed_at=at(290)
    )
    health = "4 of 4 instances of release 2 are healthy"
    why = f"baked for 5 min; {health}"
    assert decision.transitions == (
        Transition("2", "baking", "succeeded", why, outcome="succeeded", evidence=(health,)),
    )
    assert (decision.target.groups, decision.requeue_at, decision.desired) == (
        (steady_group(TWO, "blue"),),
        at(300),
        desired(TWO),
    )


def test_a_first_release_that_baked_serves_from_blue_and_keeps_the_previous_release() -> None:
    before = first_release(
        Baking(NOON), progress=Progress(4, NOON), previous=ONE, last_observed_at=at(290)
    )
    decision = run_pass(before, TWO, HEALTHY_BAKE, now=at(300))
    assert decision.rollout == serving(TWO, previous=ONE, last_observed_at=at(290))


def test_a_promoted_bake_is_over_at_once_and_says_so() -> None:
    before = swapping(Baking(NOON), healthy=4, promoted=True)
    decision = run_pass(before, TWO, HEALTHY_BAKE, now=at(1))
    assert decision.transitions[0].why == "promoted; 4 of 4 instances of release 2 are healthy"
    assert decision.rollout.promoted is False


# ---- Pauses


def test_a_failure_pauses_the_rollout_if_the_release_asks_for_it() -> None:
    careful = release("2", rollout={"on_failure": "pause"})
    decision = run_pass(
        swapping(Stepping(0, NOON), candidate=careful, last_observed_at=at(890)),
        careful,
        mixed(3, 0, unhealthy=1),
        now=at(900),
    )
    why = "0 of 1 instances of release 2 are healthy, and none became healthy for 15 min"
    assert decision.transitions == (Transition("2", "step_1", "paused", why),)
    assert decision.rollout.phase == Stepping(0, NOON)
    assert decision.rollout.paused == Pause(why, at(900), True)
    assert (decision.waiting_for, decision.desired) == (why, desired(careful))
    assert decision.requeue_at == at(900)
    assert decision.conditions == (Condition("Paused", why, at(900)),)


def test_a_step_without_health_data_is_paused_at_the_deadline() -> None:
    silent = group(*instances(ONE, 3), *instances(TWO, 1, "unknown"))
    before = swapping(Stepping(0, NOON), last_observed_at=at(890))
    decision = run_pass(before, TWO, silent, now=at(900))
    why = "no health data for release 2 for 15 min"
    assert decision.rollout.paused == Pause(why, at(900), False)
    assert decision.transitions == (Transition("2", "step_1", "paused", why),)
    assert decision.conditions == (Condition("Paused", why, at(900)),)


def test_a_shift_moves_the_phase_and_its_progress_and_nothing_else() -> None:
    span = at(30) - NOON
    stepping = swapping(Stepping(1, NOON), progress=None)
    assert shift(stepping, span, at(30)) == replace(stepping, phase=Stepping(1, at(30)))
    clocked = swapping(Baking(NOON), progress=Progress(1, NOON, clocks="healthy@1767268800:0"))
    assert shift(clocked, span, at(30)).progress == Progress(
        1, at(30), clocks="healthy@1767268800:0"
    )
    assert shift_clocks(clocked, span).progress == Progress(1, NOON, clocks="healthy@1767268830:0")
    assert shift(swapping(Stepping(1, NOON), healthy=1), span, at(30)).progress == Progress(
        1, at(30)
    )
    others: tuple[Phase, ...] = (Settled(), ROLLING_BACK, RETIRING)
    for phase in others:
        assert shift(swapping(phase, progress=None), span, at(30)) == swapping(phase, progress=None)


def test_what_happened_in_a_pause_counts_from_its_end_and_never_later() -> None:
    """Somebody edited the route, and it was restored, while a person had paused the rollout."""
    restored = swapping(Stepping(1, NOON, routed_since=at(3000)), paused=Pause("", at(60)))
    resumed = without_pause(restored, at(3600))
    assert resumed.phase == Stepping(1, at(3540), routed_since=at(3600))


# ---- Superseded by a newer release


@pytest.mark.parametrize("phase", [Stepping(1, NOON), Baking(NOON)])
def test_a_newer_release_rolls_the_candidate_back(phase: Phase) -> None:
    before = swapping(phase, paused=Pause("paused by ann", NOON), promoted=True)
    decision = run_pass(before, THREE, mixed(2, 2))
    back = RollingBack("superseded", "superseded", "release 3 is newer", NOW)
    assert decision.rollout == swapping(back, progress=None)
    [transition] = decision.transitions
    assert (transition.release, transition.to) == ("2", "rolling_back")
    assert (transition.reason, transition.outcome) == ("superseded", None)
    assert transition.why == "release 3 is newer; rolls back to release 1"
    assert decision.desired == desired(THREE)
    assert decision.target.kept_templates == {"tiny-1", "tiny-2", "tiny-3"}
    assert decision.target.groups[0].shares == (Share(ONE),)


def test_a_newer_first_release_takes_over_at_once_and_both_are_recorded() -> None:
    before = first_release(Baking(NOON), progress=Progress(1, NOON), promoted=True)
    decision = run_pass(before, THREE, group(*instances(TWO, 3)))
    assert decision.rollout == Rollout(
        Stepping(0, NOW),
        None,
        THREE,
        None,
        SINGLE_STEP_DIGEST,
        Progress(0, NOW),
        begun_at=NOW,
        last_observed_at=NOW,
    )
    why = "nothing serves yet; step 1 of 1 asks for 100 % on release 3"
    assert decision.transitions == (
        Transition("2", "baking", "superseded", "release 3 is newer", "superseded", "superseded"),
        Transition("3", "settled", "step_1", why),
    )
    assert decision.target.groups[0].shares == (Share(THREE),)


def test_a_newer_first_release_that_needs_another_group_waits_until_the_first_is_removed() -> None:
    elsewhere = release("3", placement={"region": "us-east1"})
    decision = run_pass(first_release(Stepping(0, NOON)), elsewhere, group(*instances(TWO, 3)))
    assert decision.rollout.phase == RollingBack(
        "superseded", "superseded", "release 3 is newer", NOW, is_drained=False
    )
    assert decision.target.is_draining
    why = "release 3 is newer; removes it, since no release served before it"
    assert decision.transitions[0].why == why
    assert (decision.target.groups, decision.desired.release) == ((), elsewhere)


def test_a_third_first_release_waits_until_the_instances_of_the_first_are_gone() -> None:
    before = first_release(Stepping(0, NOON))
    both = group(*instances(ONE, 1), *instances(TWO, 2))
    waiting = run_pass(before, THREE, both)
    assert (waiting.rollout.candidate, waiting.transitions) == (TWO, ())
    only_two = group(*instances(TWO, 3))
    assert run_pass(waiting.rollout, THREE, only_two).rollout.candidate == THREE


# ---- Rolled back


def failed_step(failed_digests: tuple[str, ...] = ()) -> Decision:
    before = swapping(Stepping(0, NOON), failed_digests=failed_digests)
    return run_pass(before, TWO, HEALTHY_STEP, QUOTA)


def test_a_failed_step_is_rolled_back_and_says_why_and_to_what() -> None:
    decision = failed_step(("d", TWO.digest, "e"))
    assert decision.rollout == swapping(
        RollingBack("rolled_back", "quota", "no quota", NOW),
        progress=None,
        failed_digests=("d", "e", TWO.digest),
        last_failed="2",
    )
    why = "no quota; rolls back to release 1"
    assert decision.transitions == (Transition("2", "step_1", "rolling_back", why, "quota"),)
    assert decision.desired == replace(desired(TWO), release=ONE)
    assert decision.requeue_at == NOW


def test_a_failed_bake_is_rolled_back_too() -> None:
    bad = Evidence((Problem("config", "CODE", "bad"),))
    decision = run_pass(swapping(Baking(NOON), healthy=4), TWO, HEALTHY_BAKE, bad)
    why = "bad; rolls back to release 1"
    assert decision.transitions == (Transition("2", "baking", "rolling_back", why, "config"),)


def test_the_latest_twenty_failures_are_remembered() -> None:
    assert MAX_FAILED_DIGESTS == 20
    many = tuple(f"d{number}" for number in range(20))
    assert failed_step(many).rollout.failed_digests == (*many[1:], TWO.digest)
    assert failed_step(many[1:]).rollout.failed_digests == (*many[1:], TWO.digest)


def test_a_failure_keeps_a_newer_release_desired() -> None:
    patient = release("2", rollout={"on_newer": "wait"})
    before = swapping(Stepping(0, NOON), candidate=patient)
    assert run_pass(before, THREE, HEALTHY_STEP, QUOTA).desired == desired(THREE)


def test_a_failure_makes_the_stable_release_desired_even_if_nothing_was() -> None:
    decision = run_pass(swapping(Stepping(0, NOON)), None, HEALTHY_STEP, QUOTA)
    assert decision.desired.release == ONE


def test_after_a_rollback_the_model_is_settled_as_before() -> None:
    before = swapping(ROLLING_BACK, previous=THREE, failed_digests=("d",))
    decision = run_pass(before, ONE, FOUR_OF_ONE)
    assert decision.rollout == serving(
        ONE,
        previous=THREE,
        progress=Progress(0, NOON),
        last_observed_at=NOON,
        failed_digests=("d",),
    )
    why = "it was unhealthy"
    assert decision.transitions == (
        Transition("2", "rolling_back", "rolled_back", why, "unhealthy", "rolled_back"),
    )
    assert decision.target.groups == (steady_group(ONE, "blue"),)


# ---- Retired


def test_after_a_retirement_each_release_has_its_end_and_failures_are_remembered() -> None:
    before = swapping(RETIRING, failed_digests=("d",), promoted=True)
    decision = run_pass(before, None, NOTHING)
    assert decision.rollout == Rollout(failed_digests=("d",))
    assert decision.transitions == tuple(
        Transition(version, "retiring", "retired", "retired by ann", outcome="retired")
        for version in ("2", "1")
    )
    without_stable = run_pass(swapping(RETIRING, stable=None), None, NOTHING)
    assert [each.release for each in without_stable.transitions] == ["2"]
