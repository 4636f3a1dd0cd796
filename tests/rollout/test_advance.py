"""What one pass decides: whether the present phase ends, what it waits for, and its target.

The complete result of each phase change is in `test_transitions.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from rollout import transitions
from rollout.advance import OBSERVED_EVERY, advance, mark_observed
from rollout.gates.base import Gate, GateContext, Verdict, Waiting
from rollout.judging import unexplained
from rollout.model import (
    FULL_WEIGHT,
    Baking,
    Condition,
    Decision,
    Desired,
    Evidence,
    Loss,
    Observed,
    Pause,
    Phase,
    Problem,
    Progress,
    Reason,
    Release,
    Retiring,
    RollingBack,
    Rollout,
    Settled,
    Share,
    Stepping,
    TrafficTarget,
    TrafficWeight,
)
from rollout.phases import baking as baking_phase
from rollout.phases import stepping as stepping_phase
from rollout.phases.baking import ALWAYS
from rollout.requeue import LONGEST, PAUSED, SHORTEST
from rollout.strategies.base import steps_digest
from rollout.strategies.rolling import steady_group
from rollout.targets import target_of
from tests.rollout.build import NOON, at, group, instances, release, stuck
from tests.rollout.swap import (
    HEALTHY_BAKE,
    HEALTHY_STEP,
    NO_EVIDENCE,
    NOTHING,
    NOW,
    ONE,
    REFUSALS,
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

FOUR_OF_ONE = group(*instances(ONE, 4))
QUOTA = Evidence((Problem("quota", "CODE", "no quota"),))
ROLLING_BACK = RollingBack("rolled_back", "unhealthy", "it was unhealthy", NOON)
RETIRING = Retiring(NOON, "retired by ann")


def run_observed(
    rollout: Rollout,
    desired_state: Desired,
    observed: Observed,
    now: datetime,
    evidence: Evidence = NO_EVIDENCE,
) -> Decision:
    """One pass over a rollout that has been observed all the time."""
    fresh = replace(rollout, last_observed_at=None)
    decision = advance(fresh, desired_state, observed, evidence, now)
    return replace(decision, rollout=replace(decision.rollout, last_observed_at=None))


def stepping(step: int, **fields: Any) -> Rollout:
    return swapping(Stepping(step, NOON), **fields)


def baking(**fields: Any) -> Rollout:
    return swapping(Baking(NOON), healthy=4, **fields)


def shares(decision: Decision) -> list[tuple[str, int | None]]:
    return [(share.release.version, share.count) for share in decision.target.groups[0].shares]


# ---- Settled


def test_a_settled_model_needs_no_pass_and_changes_nothing() -> None:
    decision = run_pass(serving(ONE), ONE, FOUR_OF_ONE)
    assert (decision.rollout, decision.desired) == (serving(ONE), desired(ONE))
    assert (decision.requeue_at, decision.transitions) == (None, ())
    assert decision.target.groups == (steady_group(ONE, "blue"),)


def test_a_settled_model_reports_everything_that_compute_engine_refuses() -> None:
    decision = run_pass(serving(ONE), ONE, FOUR_OF_ONE, REFUSALS)
    assert decision.conditions == (
        Condition("Degraded", "none left", NOW),
        Condition("Degraded", "too slow", NOW),
    )
    assert (decision.requeue_at, decision.transitions, decision.waiting_for) == (None, (), "")
    assert decision.target.groups == (steady_group(ONE, "blue"),)


def test_a_model_without_a_release_has_an_empty_target() -> None:
    decision = run_pass(Rollout(), None, NOTHING)
    assert decision.rollout == Rollout()
    assert (decision.target.groups, decision.target.traffic) == ((), None)
    assert decision.target.kept_templates == frozenset()


# ---- Stepping


def test_a_step_says_what_it_waits_for_and_asks_for_another_pass_soon() -> None:
    decision = run_pass(stepping(1), TWO, mixed(2, 1, unhealthy=1))
    clocks = "healthy@1767268810:0 starting@1767268810:1"
    assert decision.rollout == stepping(
        1, progress=Progress(1, NOW, initial_size=4, size=4, clocks=clocks, needed=2)
    )
    assert decision.waiting_for == "1 of 2 instances of release 2 are healthy"
    assert (decision.transitions, decision.conditions) == ((), ())
    assert (decision.requeue_at, decision.desired) == (NOW + SHORTEST, desired(TWO))


@pytest.mark.parametrize("change", [{"is_stable": False}, {"target_size": 3}])
def test_a_step_waits_until_the_group_is_stable_on_its_versions(change: dict[str, Any]) -> None:
    observed = group(*instances(ONE, 3), *instances(TWO, 1), **change)
    assert run_pass(stepping(0), TWO, observed).rollout.phase == Stepping(0, NOON)


def test_a_step_ends_when_its_instances_have_been_healthy_for_its_hold() -> None:
    """Of its own clock each, which goes on in the next step."""
    slow = release("2", rollout={"steps": [{"percent": 25, "hold_seconds": 60}, 50, 100]})
    rollout = stepping(0, candidate=slow, steps_digest=steps_digest(slow.spec.rollout.steps or ()))
    rollout = run_observed(rollout, desired(slow), HEALTHY_STEP, at(10)).rollout
    early = run_observed(rollout, desired(slow), HEALTHY_STEP, at(69))
    assert early.rollout.phase == Stepping(0, NOON)
    assert early.waiting_for == (
        "1 of 1 instances of release 2 are healthy; 0 of 1 have been healthy for 60 s without a"
        " break"
    )
    assert run_observed(rollout, desired(slow), HEALTHY_STEP, at(70)).rollout.phase == Stepping(
        1, at(70)
    )
    promoted = replace(rollout, promoted=True)
    assert run_observed(promoted, desired(slow), HEALTHY_STEP, at(20)).rollout.phase == Stepping(
        2, at(20)
    )
    one = replace(rollout, phase=Stepping(0, NOON, is_promoted=True))
    assert run_observed(one, desired(slow), HEALTHY_STEP, at(20)).rollout.phase == Stepping(
        1, at(20)
    )


def test_a_step_waits_while_a_change_it_asks_for_is_pending() -> None:
    pending = Evidence(pending_changes=("the route is missing",))
    decision = run_pass(stepping(0), TWO, HEALTHY_STEP, pending)
    assert (decision.rollout.phase, decision.waiting_for) == (
        Stepping(0, NOON),
        "the route is missing",
    )


def test_unknown_health_is_never_healthy() -> None:
    silent = group(*instances(ONE, 3), *instances(TWO, 1, "unknown"))
    assert run_pass(stepping(0), TWO, silent).rollout.phase == Stepping(0, NOON)


def test_a_waiting_step_reports_its_first_problem_alone_and_once() -> None:
    observed = group(
        *instances(ONE, 3),
        stuck(TWO, "stock-out", "none left"),
        stuck(TWO, "stock-out", "none left"),
        stuck(TWO, "stock-out", "none there either"),
    )
    decision = run_pass(stepping(1), TWO, observed)
    assert decision.conditions == (Condition("Degraded", "none left", NOW),)


def test_missing_progress_begins_now() -> None:
    for phase in (Stepping(1, NOON), Baking(NOON)):
        decision = run_pass(swapping(phase, progress=None), TWO, mixed(2, 0, unhealthy=2))
        clocks = "starting@1767268810:0,1"
        needed = 2 if isinstance(phase, Stepping) else 4
        assert decision.rollout.progress == Progress(
            0, NOW, initial_size=4, size=4, clocks=clocks, needed=needed
        )


@pytest.mark.parametrize(
    ("rollout", "since"),
    [
        (swapping(Stepping(1, at(-50))), at(-50)),
        (swapping(Baking(at(-50))), at(-50)),
        (swapping(Baking(at(-50)), promoted=True), ALWAYS),
    ],
)
def test_gates_know_when_the_phase_began(
    rollout: Rollout, since: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A promoted bake has no minimum time."""
    contexts: list[GateContext] = []

    def capture(gates: Iterable[Gate], context: GateContext) -> Verdict:
        contexts.append(context)
        return Waiting("not yet")

    for phase in (stepping_phase, baking_phase):
        monkeypatch.setattr(phase, "judge", capture)
    run_pass(rollout, TWO, HEALTHY_STEP, REFUSALS)
    [context] = contexts
    assert (context.since, context.now, context.evidence) == (since, NOW, REFUSALS)
    assert (context.health.release, context.progress.healthy) == (TWO, 1)


def test_a_release_that_never_becomes_healthy_is_rolled_back_at_the_deadline() -> None:
    unhealthy = mixed(3, 0, unhealthy=1)
    decision = run_observed(stepping(0), desired(TWO), unhealthy, at(900))
    assert isinstance(decision.rollout.phase, RollingBack)
    assert decision.rollout.phase.outcome == "rolled_back"
    assert decision.rollout.phase.reason == "unhealthy"
    assert shares(decision) == [("1", None)]
    assert decision.desired.release == ONE
    assert decision.rollout.failed_digests == (TWO.digest,)


def test_the_deadline_counts_from_the_last_improvement_of_the_candidate() -> None:
    observed = mixed(2, 1, unhealthy=1)
    improved = run_observed(stepping(1), desired(TWO), observed, at(800)).rollout
    early = run_observed(improved, desired(TWO), observed, at(1600))
    assert early.rollout.phase == Stepping(1, NOON)
    late = run_observed(improved, desired(TWO), observed, at(1700))
    assert isinstance(late.rollout.phase, RollingBack)


@pytest.mark.parametrize("reason", ["quota", "config"])
def test_a_problem_that_waiting_does_not_solve_rolls_back_at_once(reason: Reason) -> None:
    observed = group(*instances(ONE, 3), stuck(TWO, reason, "Quota 'GPUS' exceeded"))
    phase = run_pass(stepping(0), TWO, observed).rollout.phase
    assert isinstance(phase, RollingBack)
    assert (phase.reason, phase.why) == (reason, "Quota 'GPUS' exceeded")


def test_a_stock_out_is_waited_for_until_the_deadline() -> None:
    observed = group(*instances(ONE, 3), stuck(TWO, "stock-out", "us-central1-a has none"))
    early = run_observed(stepping(0), desired(TWO), observed, at(899))
    assert early.rollout.phase == Stepping(0, NOON)
    assert early.conditions[0].why == "us-central1-a has none"
    late = run_observed(stepping(0), desired(TWO), observed, at(900)).rollout.phase
    assert isinstance(late, RollingBack)
    assert late.reason == "stock-out"


def test_a_refused_change_rolls_back_with_its_reason() -> None:
    refusal = Problem("config", "invalid", "Invalid value for field 'resource.name'")
    phase = run_pass(stepping(0), TWO, FOUR_OF_ONE, Evidence((refusal,))).rollout.phase
    assert isinstance(phase, RollingBack)
    assert phase.reason == "config"


def test_a_candidate_that_flaps_is_rolled_back() -> None:
    rollout = stepping(1)
    healthy = group(*instances(ONE, 2), *instances(TWO, 2), is_stable=False)
    unhealthy = mixed(2, 1, unhealthy=1)
    for second in range(0, 50, 10):
        rollout = run_observed(rollout, desired(TWO), healthy, at(second)).rollout
        rollout = run_observed(rollout, desired(TWO), unhealthy, at(second + 5)).rollout
    assert isinstance(rollout.phase, RollingBack)
    assert rollout.phase.reason == "unhealthy"


def test_what_was_lost_has_to_be_explained_while_a_release_is_judged() -> None:
    """The instance is the same in both; only a release that is judged has evidence to weigh."""
    weighed = run_observed(baking(), desired(TWO), HEALTHY_BAKE, at(90)).rollout
    fallen = mixed(0, 3, unhealthy=1)
    assert [each.name for each in unexplained(weighed, fallen)] == ["tiny-2-3"]
    assert unexplained(weighed, HEALTHY_BAKE) == ()
    for phase in (Settled(), ROLLING_BACK):
        assert unexplained(replace(weighed, phase=phase), fallen) == ()
    watched = serving(TWO, watched_since=at(100), progress=weighed.progress)
    assert [each.name for each in unexplained(watched, fallen)] == ["tiny-2-3"]


def test_the_environments_losses_are_a_condition_and_end_no_rollout() -> None:
    rollout = run_observed(baking(), desired(TWO), HEALTHY_BAKE, at(90)).rollout
    members = [replace(each, status="STOPPING") for each in instances(TWO, 4)]
    losses = Evidence(losses=tuple(Loss(each.name, "environment", "preempted") for each in members))
    for seconds in (100, 200, 5000):
        decision = run_observed(rollout, desired(TWO), group(*members), at(seconds), losses)
        rollout = decision.rollout
        assert isinstance(rollout.phase, Baking)
        assert decision.conditions[0].why == "preempted"


# ---- The watch


WATCHED = release("2", rollout={"watch_seconds": 3600})


def watched(**fields: Any) -> Rollout:
    progress = Progress(4, NOON, initial_size=4, size=4, clocks="healthy@1767268800:0,1,2,3")
    return serving(WATCHED, previous=ONE, watched_since=NOON, progress=progress, **fields)


def test_a_release_is_watched_after_its_bake_and_then_settled() -> None:
    bake = swapping(Baking(NOON), candidate=WATCHED)
    decision = run_observed(bake, desired(WATCHED), HEALTHY_BAKE, at(300))
    assert (decision.rollout.phase, decision.rollout.watched_since) == (Settled(), at(300))
    assert decision.transitions[0].outcome == "succeeded"
    waiting = run_observed(decision.rollout, desired(WATCHED), HEALTHY_BAKE, at(400))
    assert (waiting.rollout, waiting.transitions) == (decision.rollout, ())
    assert waiting.requeue_at == at(460)
    done = run_observed(decision.rollout, desired(WATCHED), HEALTHY_BAKE, at(3900))
    assert done.rollout == serving(WATCHED, previous=ONE)
    assert (done.requeue_at, done.transitions) == (None, ())


@pytest.mark.parametrize(
    ("stable", "fields"),
    [(None, {}), (ONE, {"is_restored": True}), (ONE, {"spec": TWO.spec})],
)
def test_a_release_without_a_way_back_or_a_watch_is_settled_after_its_bake(
    stable: Release | None, fields: dict[str, Any]
) -> None:
    """What a rollback restored would otherwise go back to the release that was rolled back."""
    candidate = replace(WATCHED, **fields)
    digest = SINGLE_STEP_DIGEST if stable is None else STEPS_DIGEST
    bake = swapping(Baking(NOON), candidate=candidate, stable=stable, steps_digest=digest)
    decision = run_observed(bake, desired(candidate), HEALTHY_BAKE, at(300))
    assert (decision.rollout.watched_since, decision.rollout.progress) == (None, None)
    assert decision.rollout.stable == candidate


def test_a_watched_release_that_falls_sick_goes_back_once() -> None:
    fallen = mixed(0, 1, unhealthy=3)
    falling = run_observed(watched(), desired(WATCHED), fallen, at(100)).rollout
    decision = run_observed(falling, desired(WATCHED), fallen, at(160))
    phase = decision.rollout.phase
    assert isinstance(phase, RollingBack)
    assert (phase.outcome, phase.reason) == ("rolled_back", "unhealthy")
    [transition] = decision.transitions
    assert (transition.release, transition.from_, transition.to) == ("2", "settled", "rolling_back")
    assert decision.rollout.failed_digests == (WATCHED.digest,)
    assert shares(decision) == [("1", None)]
    done = run_observed(decision.rollout, decision.desired, FOUR_OF_ONE, at(400)).rollout
    assert (done.phase, done.stable, done.watched_since) == (Settled(), ONE, None)


def test_a_newer_release_begins_while_the_present_one_is_watched() -> None:
    decision = run_observed(watched(), desired(THREE), HEALTHY_BAKE, at(100))
    assert (decision.rollout.phase, decision.rollout.candidate) == (Stepping(0, at(100)), THREE)
    assert decision.rollout.watched_since is None


# ---- Baking


def test_a_waiting_bake_asks_for_a_pass_less_often() -> None:
    decision = run_pass(baking(), TWO, HEALTHY_BAKE)
    assert decision.waiting_for == (
        "bakes until 2026-01-01T12:05:00Z; 4 of 4 instances of release 2 are healthy"
    )
    assert decision.requeue_at == NOW + LONGEST


def test_the_last_step_leads_to_the_bake_and_the_bake_to_success() -> None:
    bake = run_observed(stepping(2), desired(TWO), HEALTHY_BAKE, at(10)).rollout
    assert bake.phase == Baking(at(10))
    early = run_observed(bake, desired(TWO), HEALTHY_BAKE, at(309)).rollout
    assert early.phase == Baking(at(10))
    done = run_observed(bake, desired(TWO), HEALTHY_BAKE, at(310))
    assert (done.rollout.phase, done.rollout.stable, done.rollout.previous) == (Settled(), TWO, ONE)
    assert done.transitions[0].outcome == "succeeded"


def test_a_candidate_that_fails_during_its_bake_is_rolled_back_soon() -> None:
    unhealthy = mixed(0, 0, unhealthy=4)
    healthy = run_observed(baking(), desired(TWO), HEALTHY_BAKE, at(90)).rollout
    degraded = run_observed(healthy, desired(TWO), unhealthy, at(100)).rollout
    assert degraded.phase == Baking(NOON)
    decision = run_observed(degraded, desired(TWO), unhealthy, at(161))
    assert isinstance(decision.rollout.phase, RollingBack)
    assert shares(decision) == [("1", None)]


# ---- Pauses


@pytest.mark.parametrize("phase", [Stepping(0, NOON), Baking(at(-900))])
def test_a_pause_holds_a_phase_that_could_end_and_says_why(phase: Phase) -> None:
    paused = swapping(phase, healthy=1, paused=Pause("paused by ann", at(5)))
    observed = HEALTHY_STEP if isinstance(phase, Stepping) else HEALTHY_BAKE
    decision = run_pass(paused, TWO, observed)
    assert (decision.rollout.phase, decision.waiting_for) == (phase, "paused by ann")
    assert decision.transitions == ()
    assert decision.conditions == (Condition("Paused", "paused by ann", at(5)),)
    assert decision.requeue_at == NOW + PAUSED


def test_a_failure_during_a_pause_rolls_back_unless_the_pause_is_because_of_a_failure() -> None:
    after_failure = Pause("it was unhealthy", NOON, after_failure=True)
    decision = run_pass(stepping(0, paused=after_failure), TWO, HEALTHY_STEP, QUOTA)
    assert (decision.rollout.phase, decision.rollout.paused) == (Stepping(0, NOON), after_failure)
    assert decision.waiting_for == "it was unhealthy"
    by_ann = stepping(0, paused=Pause("paused by ann", NOON))
    assert isinstance(run_pass(by_ann, TWO, HEALTHY_STEP, QUOTA).rollout.phase, RollingBack)


def test_missing_health_data_during_a_pause_is_a_warning() -> None:
    paused = Pause("paused by ann", NOON)
    progress = Progress(4, NOON, clocks="silent@1767268800:0,1,2,3")
    before = baking(progress=progress, paused=paused, last_observed_at=at(50))
    silent = group(*instances(TWO, 4, "unknown"))
    decision = run_pass(before, TWO, silent, now=at(60))
    why = "no health data for release 2 for 60 s"
    assert decision.conditions == (
        Condition("Paused", "paused by ann", NOON),
        Condition("Degraded", why, at(60)),
    )
    assert (decision.waiting_for, decision.transitions) == (why, ())
    assert decision.rollout.paused == paused


def test_no_deadline_runs_during_a_pause() -> None:
    unhealthy = mixed(3, 0, unhealthy=1)
    paused = stepping(0, paused=Pause("paused by ann", at(1)))
    decision = run_observed(paused, desired(TWO), unhealthy, at(9000))
    assert decision.rollout.phase == Stepping(0, NOON)


# ---- A newer release


@pytest.mark.parametrize("phase", [Stepping(0, NOON), Baking(NOON)])
def test_a_newer_release_waits_if_the_candidate_asks_for_it(phase: Phase) -> None:
    patient = release("2", rollout={"on_newer": "wait"})
    decision = run_pass(swapping(phase, candidate=patient), THREE, mixed(2, 2))
    assert isinstance(decision.rollout.phase, Stepping | Baking)
    assert decision.rollout.candidate == patient


def test_a_newer_release_begins_after_the_candidate_has_been_rolled_back() -> None:
    decision = run_observed(stepping(1), desired(THREE), mixed(2, 2), at(10))
    assert isinstance(decision.rollout.phase, RollingBack)
    back = run_observed(decision.rollout, decision.desired, FOUR_OF_ONE, at(20))
    assert back.transitions[0].outcome == "superseded"
    begun = run_observed(back.rollout, back.desired, FOUR_OF_ONE, at(21))
    assert begun.rollout.candidate == THREE


# ---- Rolling back


@pytest.mark.parametrize(
    ("observed", "evidence", "waiting_for"),
    [
        (mixed(2, 2), NO_EVIDENCE, "2 instances are not on release 1 yet"),
        (
            group(*instances(ONE, 3), *instances(ONE, 1, action="RECREATING")),
            NO_EVIDENCE,
            "3 of 4 instances of release 1 are healthy; the group is not stable yet",
        ),
        (
            NOTHING,
            NO_EVIDENCE,
            "0 of 1 instances of release 1 are healthy; the group is not stable yet",
        ),
        (
            FOUR_OF_ONE,
            Evidence(pending_changes=("the route is missing", "other")),
            "the route is missing",
        ),
    ],
)
def test_a_rollback_waits_until_everything_is_as_before(
    observed: Observed, evidence: Evidence, waiting_for: str
) -> None:
    decision = run_pass(swapping(ROLLING_BACK), ONE, observed, evidence)
    before = replace(decision.rollout, phase=ROLLING_BACK)
    assert (before, decision.waiting_for) == (swapping(ROLLING_BACK), waiting_for)
    assert (decision.transitions, decision.conditions) == ((), ())
    assert decision.requeue_at == NOW + SHORTEST


def test_a_rollback_reports_what_is_refused() -> None:
    decision = run_pass(swapping(ROLLING_BACK), ONE, mixed(2, 2), REFUSALS)
    assert [condition.why for condition in decision.conditions] == ["none left", "too slow"]


def test_the_rollback_of_a_first_release_waits_until_nothing_is_left() -> None:
    first = swapping(ROLLING_BACK, stable=None, serving_group=None)
    leftovers = ("health check a", "health check b", "health check c")
    left = run_pass(first, None, Observed(mixed(0, 1).groups, leftovers))
    assert left.waiting_for == "the blue group, health check a, health check b still exist"
    pending = Evidence(pending_changes=("the route still exists",))
    route = run_pass(first, None, NOTHING, pending)
    assert (route.waiting_for, route.rollout.candidate) == ("the route still exists", TWO)
    gone = run_pass(first, None, NOTHING)
    assert (gone.rollout.phase, gone.rollout.candidate) == (Settled(), None)
    assert gone.waiting_for == ""


def test_a_first_release_that_fails_is_removed() -> None:
    begun = run_observed(Rollout(), desired(ONE), NOTHING, NOON).rollout
    unhealthy = group(*instances(ONE, 1, "unhealthy"))
    decision = run_observed(begun, desired(ONE), unhealthy, at(900))
    assert isinstance(decision.rollout.phase, RollingBack)
    assert (decision.target.groups, decision.target.traffic) == ((), None)
    assert decision.target.kept_templates == frozenset()
    gone = run_observed(decision.rollout, decision.desired, NOTHING, at(950))
    assert (gone.rollout.phase, gone.transitions[0].outcome) == (Settled(), "rolled_back")


# ---- Retiring


@pytest.mark.parametrize(
    ("observed", "evidence", "waiting_for"),
    [
        (mixed(1, 0), NO_EVIDENCE, "the blue group still exists"),
        (Observed(leftovers=("health check a",)), NO_EVIDENCE, "health check a still exists"),
        (
            Observed(leftovers=("health check a", "health check b")),
            NO_EVIDENCE,
            "health check a, health check b still exist",
        ),
        (
            NOTHING,
            Evidence(pending_changes=("the route still exists", "other")),
            "the route still exists",
        ),
    ],
)
def test_a_retirement_waits_until_nothing_is_left(
    observed: Observed, evidence: Evidence, waiting_for: str
) -> None:
    decision = run_pass(swapping(RETIRING), None, observed, evidence)
    assert (decision.rollout, decision.waiting_for) == (swapping(RETIRING), waiting_for)
    assert (decision.transitions, decision.requeue_at) == ((), NOW + SHORTEST)
    assert (decision.target.groups, decision.target.traffic) == ((), None)
    assert decision.target.kept_templates == frozenset()


def test_a_retirement_reports_what_is_refused() -> None:
    decision = run_pass(swapping(RETIRING), None, mixed(1, 0), REFUSALS)
    assert [condition.why for condition in decision.conditions] == ["none left", "too slow"]


# ---- What people requested


def test_a_paused_step_ends_after_a_resume() -> None:
    pause = Pause("paused by ann", NOON)
    paused = run_observed(stepping(0, paused=pause), desired(TWO), HEALTHY_STEP, at(5000))
    assert (paused.rollout.phase, paused.waiting_for) == (Stepping(0, NOON), "paused by ann")
    resumed = replace(paused.rollout, paused=None)
    following = run_observed(resumed, paused.desired, HEALTHY_STEP, at(5002))
    assert following.rollout.phase == Stepping(1, at(5002))


def test_promote_skips_the_steps_and_the_bake_but_not_the_health_gates() -> None:
    unhealthy = mixed(3, 0, unhealthy=1)
    waiting = run_observed(stepping(0, promoted=True), desired(TWO), unhealthy, at(2)).rollout
    assert waiting.phase == Stepping(0, NOON)
    last = run_observed(waiting, desired(TWO), HEALTHY_STEP, at(3)).rollout
    assert last.phase == Stepping(2, at(3))
    bake = run_observed(last, desired(TWO), HEALTHY_BAKE, at(4)).rollout
    done = run_observed(bake, desired(TWO), HEALTHY_BAKE, at(5))
    assert done.transitions[0].outcome == "succeeded"


def test_a_restored_release_returns_in_one_step() -> None:
    before, back = serving(TWO, previous=ONE), replace(ONE, generation=3, is_restored=True)
    begun = run_observed(before, desired(back), group(*instances(TWO, 4)), at(2))
    assert (begun.rollout.phase, begun.rollout.promoted) == (Stepping(2, at(2)), True)
    assert shares(begun) == [("1", None)]


def test_a_restored_release_does_not_wait_for_another_one() -> None:
    patient = release("2", rollout={"on_newer": "wait"})
    back = replace(THREE, is_restored=True)
    waiting = run_pass(stepping(0, candidate=patient), THREE, mixed(3, 0))
    assert isinstance(waiting.rollout.phase, Stepping)
    yielded = run_pass(stepping(0, candidate=patient), back, mixed(3, 0))
    assert isinstance(yielded.rollout.phase, RollingBack)


def test_what_serves_already_ends_when_it_is_desired_again() -> None:
    again = replace(ONE, generation=7, force=True)
    decision = run_pass(serving(ONE), again, FOUR_OF_ONE)
    assert decision.rollout == serving(again)
    [transition] = decision.transitions
    assert (transition.outcome, transition.why) == ("succeeded", "release 1 serves already")


def test_a_retirement_ends_when_nothing_is_left() -> None:
    before = replace(serving(ONE), phase=RETIRING)
    leftover = Observed(leftovers=("health check slipway-tiny-blue-live",))
    left = run_observed(before, desired(None), leftover, at(2))
    assert left.target.groups == ()
    assert left.waiting_for == "health check slipway-tiny-blue-live still exists"
    gone = run_observed(before, desired(None), NOTHING, at(3))
    assert (gone.rollout.phase, gone.rollout.stable) == (Settled(), None)
    assert gone.transitions[0].outcome == "retired"


# ---- Time in which nobody observed the rollout


def test_how_often_an_observation_is_recorded() -> None:
    assert OBSERVED_EVERY.total_seconds() == 60


@pytest.mark.parametrize(
    ("gap", "shift", "is_recorded"),
    [(59, 0, False), (60, 0, True), (75, 0, True), (76, 61, True), (4000, 3985, True)],
)
def test_a_gap_is_recorded_after_a_minute_and_lateness_beyond_a_minute_counts_for_nothing(
    gap: int, shift: int, is_recorded: bool
) -> None:
    after = mark_observed(swapping(Baking(NOON)), at(gap))
    assert after.phase == Baking(at(shift))
    assert after.progress == Progress(0, at(shift))
    assert after.last_observed_at == (at(gap) if is_recorded else NOON)


def test_a_rollout_that_was_never_observed_is_observed_from_now_on() -> None:
    before = swapping(Baking(NOON), last_observed_at=None)
    assert mark_observed(before, NOW) == swapping(Baking(NOON), last_observed_at=NOW)


def test_a_settled_model_records_no_observation() -> None:
    assert mark_observed(serving(ONE, last_observed_at=NOON), at(1)) == serving(ONE)
    decision = run_pass(serving(ONE), ONE, FOUR_OF_ONE, now=at(9999))
    assert decision.rollout == serving(ONE)


def test_unobserved_time_does_not_count_as_bake_time() -> None:
    before = baking(last_observed_at=at(60))
    after = run_pass(before, TWO, HEALTHY_BAKE, now=at(1060)).rollout
    assert (after.phase, after.last_observed_at) == (Baking(at(985)), at(1060))
    early = run_pass(after, TWO, HEALTHY_BAKE, now=at(1110)).rollout
    assert early.phase == Baking(at(985))
    observed = replace(after, last_observed_at=at(1290))
    done = run_pass(observed, TWO, HEALTHY_BAKE, now=at(1300))
    assert done.transitions[0].outcome == "succeeded"


def test_a_long_bake_that_is_observed_as_rarely_as_planned_is_not_late() -> None:
    before = baking(last_observed_at=at(18_000))
    after = run_pass(before, TWO, HEALTHY_BAKE, now=at(18_300))
    assert after.transitions[0].outcome == "succeeded"


def test_the_time_of_a_pause_is_taken_off_once() -> None:
    paused = replace(baking(last_observed_at=at(90)), paused=Pause("paused by ann", at(100)))
    observed = mark_observed(paused, at(1500))
    assert (observed.phase, observed.last_observed_at) == (paused.phase, at(1500))
    resumed = transitions.resume(observed, desired(TWO), "resumed", at(1700)).rollout
    assert mark_observed(resumed, at(1710)).phase == Baking(at(1600))


def test_no_deadline_runs_in_unobserved_time() -> None:
    unhealthy = mixed(3, 0, unhealthy=1)
    before = stepping(0, last_observed_at=at(100))
    assert isinstance(run_pass(before, TWO, unhealthy, now=at(5000)).rollout.phase, Stepping)


def test_a_rollout_is_observed_from_its_first_moment_on() -> None:
    """The worker that began it may have died right after, and no pass may have followed for an
    hour. That hour must not count against the candidate.
    """
    begun = run_pass(serving(ONE), TWO, NOTHING, now=NOON).rollout
    later = run_pass(begun, TWO, FOUR_OF_ONE, now=at(3600))
    assert isinstance(later.rollout.phase, Stepping), later.transitions


# ---- Targets


def test_a_step_beyond_the_steps_is_the_last_one() -> None:
    target = target_of(stepping(7), desired(TWO), HEALTHY_BAKE)
    assert target.groups[0].shares == (Share(TWO),)


def test_a_rollback_asks_for_the_stable_release_alone_without_scale_in() -> None:
    target = target_of(swapping(ROLLING_BACK), desired(ONE), mixed(2, 2))
    assert target.groups == (replace(steady_group(ONE, "blue"), may_scale_in=False),)


def test_the_templates_of_all_releases_that_may_serve_again_are_kept() -> None:
    kept = target_of(baking(previous=THREE), desired(release("4")), HEALTHY_BAKE).kept_templates
    assert kept == {"tiny-1", "tiny-2", "tiny-3", "tiny-4"}


def test_a_model_that_is_being_retired_keeps_no_template() -> None:
    target = target_of(swapping(RETIRING, previous=THREE), desired(None), NOTHING)
    assert target.kept_templates == frozenset()


def test_a_rollout_without_a_candidate_is_an_error_that_names_the_phase() -> None:
    with pytest.raises(ValueError, match=r"^a rollout in phase step_2 has no candidate$"):
        target_of(Rollout(Stepping(1, NOON), ONE), desired(ONE), NOTHING)


# ---- The green group


def green(*members: Any, **changes: Any) -> Observed:
    return group(*members, colour="green", **changes)


def test_a_model_that_serves_from_green_is_rolled_out_entirely_in_green() -> None:
    """Target, traffic, health and success, from one settled release to the next."""
    rollout = serving(ONE, serving_group="green")
    observations = [
        (at(0), green(*instances(ONE, 4)), "step_1", ONE),
        (at(1), green(*instances(ONE, 3), *instances(TWO, 1)), "step_2", ONE),
        (at(2), green(*instances(ONE, 2), *instances(TWO, 2)), "step_3", TWO),
        (at(3), green(*instances(TWO, 4)), "baking", TWO),
        (at(303), green(*instances(TWO, 4)), "succeeded", TWO),
    ]
    for now, observed, to, settings in observations:
        decision = run_observed(rollout, desired(TWO), observed, now)
        assert [transition.to for transition in decision.transitions] == [to]
        assert [target.colour for target in decision.target.groups] == ["green"]
        weights = (TrafficWeight("green", FULL_WEIGHT),)
        assert decision.target.traffic == TrafficTarget(settings, weights, is_claimed=True)
        rollout = decision.rollout
        assert rollout.serving_group == "green"
    assert (rollout.phase, rollout.stable) == (Settled(), TWO)


def test_a_candidate_in_green_is_not_judged_by_the_blue_group() -> None:
    before = stepping(0, serving_group="green")
    decision = run_pass(before, TWO, HEALTHY_STEP)
    assert decision.rollout.phase == Stepping(0, NOON)
    assert decision.waiting_for == "the group does not exist yet"


def test_a_rollback_in_green_ends_in_green() -> None:
    before = swapping(ROLLING_BACK, serving_group="green")
    mixed_green = green(*instances(ONE, 2), *instances(TWO, 2))
    waiting = run_pass(before, ONE, mixed_green)
    assert waiting.waiting_for == "2 instances are not on release 1 yet"
    steady = steady_group(ONE, "green")
    assert waiting.target.groups == (replace(steady, may_scale_in=False),)
    done = run_pass(before, ONE, green(*instances(ONE, 4)))
    assert done.transitions[0].outcome == "rolled_back"
    assert (done.rollout.serving_group, done.target.groups) == ("green", (steady,))
    # The blue group is not the one that has to be as before.
    assert run_pass(before, ONE, FOUR_OF_ONE).transitions == ()


def test_what_is_left_of_a_first_release_in_green_is_named() -> None:
    before = swapping(ROLLING_BACK, stable=None, serving_group="green")
    left = run_pass(before, None, green(*instances(TWO, 1)))
    assert left.waiting_for == "the green group still exists"
