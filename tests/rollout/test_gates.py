"""The gates of a step and of the bake: each verdict, at the second and the instance where it
changes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest

from rollout.gates import BAKE_GATES, STEP_GATES, WATCH_GATES
from rollout.gates.approval import ApprovalGate
from rollout.gates.bake import BakeGate
from rollout.gates.base import (
    Failed,
    Gate,
    GateContext,
    Inconclusive,
    Passed,
    Query,
    Verdict,
    Waiting,
    duration,
    judge,
    queries,
)
from rollout.gates.clocks import Clock, State, encode_times
from rollout.gates.health import UNHEALTHY_MAJORITY_SECONDS, HealthGate
from rollout.gates.metrics import MetricsGate
from rollout.gates.release_health import ReleaseHealth, observe_release, update_progress
from rollout.gates.requests import RequestsGate
from rollout.gates.traffic import TrafficGate
from rollout.model import Evidence, Problem, Progress, Reason
from tests.rollout.build import NOON, at, instances, release, stuck
from tests.rollout.health import ONE, TWO, health, target, view

NO_EVIDENCE = Evidence()
ROUTE_MISSING = Evidence(pending_changes=("the route is missing", "another"))
DEADLINE, BAKE = 900, 300  # the defaults of a release
BEGUN = Progress(0, NOON)
STOCK_OUT = observe_release(
    target(2),
    TWO,
    view(*instances(TWO, 1), stuck(TWO, "stock-out", "us-central1-a has none")),
)
NO_GROUP = observe_release(target(1), TWO, None)


def context(
    found: ReleaseHealth, seconds: float, progress: Progress, evidence: Evidence
) -> GateContext:
    return GateContext(found, progress, evidence, NOON, at(seconds))


def step(
    found: ReleaseHealth,
    seconds: float,
    progress: Progress = BEGUN,
    evidence: Evidence = NO_EVIDENCE,
) -> Verdict:
    """The verdict on a step, `seconds` after noon."""
    return judge(STEP_GATES, context(found, seconds, progress, evidence))


def bake(
    found: ReleaseHealth,
    seconds: float,
    progress: Progress = BEGUN,
    evidence: Evidence = NO_EVIDENCE,
) -> Verdict:
    """The verdict on a bake that began at noon, `seconds` later."""
    return judge(BAKE_GATES, context(found, seconds, progress, evidence))


def test_the_gates_of_a_step_and_of_a_bake() -> None:
    assert [type(gate) for gate in STEP_GATES] == [
        HealthGate,
        TrafficGate,
        RequestsGate,
        MetricsGate,
        ApprovalGate,
    ]
    assert [type(gate) for gate in BAKE_GATES] == [BakeGate, TrafficGate, MetricsGate]


# ---- Several gates


@dataclass(frozen=True)
class Fixed:
    """A gate with a fixed verdict and fixed queries."""

    verdict: Verdict
    needs: tuple[Query, ...] = ()

    def queries(self, context: GateContext) -> tuple[Query, ...]:
        return self.needs

    def judge(self, context: GateContext) -> Verdict:
        return self.verdict


ANY_CONTEXT = context(health(1), 0, BEGUN, NO_EVIDENCE)
PASSED, WAITING = Passed("it is healthy"), Waiting("it starts")
FAILED, INCONCLUSIVE = Failed("unhealthy", "it is unhealthy"), Inconclusive("no health data")


def verdict_of(*verdicts: Verdict) -> Verdict:
    return judge([Fixed(verdict) for verdict in verdicts], ANY_CONTEXT)


@pytest.mark.parametrize(
    ("winner", "others"),
    [
        (FAILED, (INCONCLUSIVE, WAITING, PASSED)),
        (INCONCLUSIVE, (WAITING, PASSED)),
        (WAITING, (PASSED,)),
    ],
)
def test_a_failure_wins_over_missing_data_and_missing_data_over_waiting(
    winner: Verdict, others: tuple[Verdict, ...]
) -> None:
    assert verdict_of(winner, *others) == winner
    assert verdict_of(*others, winner) == winner


def test_of_two_equal_verdicts_the_first_gates_reason_is_reported() -> None:
    assert verdict_of(PASSED, Waiting("one"), Waiting("two")) == Waiting("one")
    assert verdict_of(Failed("quota", "one"), Failed("config", "two")) == Failed("quota", "one")


def test_several_gates_pass_together_with_all_their_reasons() -> None:
    assert verdict_of(PASSED, Passed("ann approved")) == Passed("it is healthy; ann approved")


def test_each_query_is_needed_once() -> None:
    step, demand = Query("step", NOON, NOON), Query("demand", NOON, NOON)
    gates: list[Gate] = [
        Fixed(PASSED, (step, demand)),
        Fixed(PASSED, (demand, step)),
        Fixed(PASSED, (Query("step", NOON, at(1)),)),
    ]
    assert queries(gates, ANY_CONTEXT) == (step, demand, Query("step", NOON, at(1)))


def test_the_gates_need_no_evidence_beside_the_observed_fleet() -> None:
    assert queries((*STEP_GATES, *BAKE_GATES), ANY_CONTEXT) == ()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (299, "299 s"),
        (300, "5 min"),
        (7199, "119 min"),
        (7200, "2 h"),
        (10900, "3 h"),
    ],
)
def test_a_duration_has_one_unit(seconds: float, text: str) -> None:
    assert duration(at(seconds) - NOON) == text


# ---- The gate of a step


def test_a_reached_step_passes_also_long_after_the_deadline() -> None:
    assert step(health(2), 10 * DEADLINE) == Passed("2 of 2 instances of release 2 are healthy")


@pytest.mark.parametrize("reason", ["quota", "config", "policy"])
def test_a_problem_that_does_not_pass_by_itself_fails_at_once_even_a_healthy_release(
    reason: Reason,
) -> None:
    refusals = (Problem("stock-out", "CODE", "none left"), Problem(reason, "CODE", "it is refused"))
    for gate in (step, bake):
        assert gate(health(2), 0, evidence=Evidence(refusals)) == Failed(reason, "it is refused")


@pytest.mark.parametrize("reason", ["stock-out", "timeout"])
def test_a_problem_that_may_pass_by_itself_is_waited_for(reason: Reason) -> None:
    evidence = Evidence((Problem(reason, "CODE", "not now"),))
    assert isinstance(step(health(1, needed=2), 0, evidence=evidence), Waiting)
    assert isinstance(bake(health(2), 0, evidence=evidence), Waiting)


def test_a_release_that_waits_for_capacity_does_not_fail_for_want_of_quota() -> None:
    blocked = stuck(TWO, "quota", "Quota 'GPUS' exceeded")
    none = observe_release(target(1), TWO, view(*instances(ONE, 3), blocked))
    _, short = update_progress(none, BEGUN, (), at(60), is_patient=True)
    for seconds in (60, 7200):
        late = context(none, seconds, short, NO_EVIDENCE)
        assert isinstance(judge(STEP_GATES, replace(late, is_patient=True)), Waiting)
    _, progress = update_progress(health(0, 1), short, (), at(7260), is_patient=True)
    assert (progress.halted_since, progress.improved_at) == (None, at(7260))


def test_a_release_that_gets_no_instance_for_want_of_quota_fails_in_compute_engines_words() -> None:
    blocked = stuck(TWO, "quota", "Quota 'GPUS' exceeded")
    none = observe_release(target(2), TWO, view(*instances(ONE, 2), blocked))
    assert step(none, 1) == bake(none, 1) == Failed("quota", "Quota 'GPUS' exceeded")
    some = observe_release(target(2), TWO, view(*instances(ONE, 2), *instances(TWO, 1), blocked))
    assert isinstance(step(some, 1), Waiting)
    assert isinstance(bake(some, 10 * BAKE), Waiting)
    assert step(some, DEADLINE) == Failed(
        "quota", "no instance could be created for 15 min: Quota 'GPUS' exceeded"
    )


@pytest.mark.parametrize(
    ("needed", "flaps", "fails"),
    [(1, 2, False), (1, 3, True), (2, 3, True), (12, 12, False), (12, 13, True)],
)
def test_more_than_one_fall_for_each_instance_within_half_an_hour_is_too_many(
    needed: int, flaps: int, fails: bool
) -> None:
    """In a step and in the bake alike, for the falls are not forgotten in between."""
    progress = replace(BEGUN, flaps=encode_times([NOON] * flaps))
    why = f"release 2 lost healthy instances {flaps} times within 30 min"
    for gate in (step, bake):
        verdict = gate(health(needed), 1799, progress)
        assert (verdict == Failed("unhealthy", why)) == fails
        assert not isinstance(gate(health(needed), 1800, progress), Failed)


def with_clocks(
    found: ReleaseHealth, state: State, since: float, count: int | None = None
) -> ReleaseHealth:
    """The health with `count` of its instances, or all, in a state since then."""
    names = [each.name.rpartition("-")[2] for each in found.instances][:count]
    return replace(found, clocks=dict.fromkeys(names, Clock(state, at(since))))


def test_a_step_ends_when_each_instance_has_been_healthy_for_its_hold() -> None:
    found = with_clocks(health(2), "healthy", 0)
    one_late = replace(found, clocks={**found.clocks, "1": Clock("healthy", at(100))})
    hold = timedelta(seconds=480)
    for seconds, verdict in ((480, Waiting), (579, Waiting), (580, Passed)):
        weighed = judge(
            STEP_GATES, replace(context(one_late, seconds, BEGUN, NO_EVIDENCE), hold=hold)
        )
        assert isinstance(weighed, verdict)


def test_in_a_large_group_one_in_ten_may_be_away_if_the_environment_took_it() -> None:
    """Otherwise a large Spot fleet would never get on: some are always on their way back."""
    hold = timedelta(seconds=60)
    for count, is_returned, passes in ((2, True, True), (3, True, False), (2, False, False)):
        found = with_clocks(health(20), "healthy", 0)
        young = dict.fromkeys(map(str, range(count)), Clock("healthy", at(60), is_returned))
        weighed = context(replace(found, clocks={**found.clocks, **young}), 60, BEGUN, NO_EVIDENCE)
        assert isinstance(judge(STEP_GATES, replace(weighed, hold=hold)), Passed) == passes


def test_no_deadline_runs_while_the_environment_keeps_instances_away() -> None:
    halted = replace(BEGUN, halted_since=NOON)
    assert isinstance(step(health(1, needed=2), 100 * DEADLINE, halted), Waiting)
    waiting = with_clocks(health(1, others=1), "starting", 0)
    assert isinstance(bake(waiting, 100 * DEADLINE, halted), Waiting)


@pytest.mark.parametrize("progress", [BEGUN, replace(BEGUN, halted_since=NOON)])
def test_a_complete_candidate_passes_at_the_deadline_beside_old_instances_that_cannot_start(
    progress: Progress,
) -> None:
    old = (*instances(ONE, 5), stuck(ONE, "stock-out", "none"))
    found = observe_release(target(1), TWO, view(*old, *instances(TWO, 1), target_size=6))
    assert isinstance(step(found, DEADLINE - 1, progress), Waiting)
    assert isinstance(step(found, DEADLINE, progress), Passed)
    serving = observe_release(
        target(1), TWO, view(*instances(ONE, 6), *instances(TWO, 1), target_size=6, is_stable=False)
    )
    assert not isinstance(step(serving, DEADLINE, progress), Passed)


@pytest.mark.parametrize(
    ("found", "evidence", "why"),
    [
        (health(1, needed=2), NO_EVIDENCE, "1 of 2 instances of release 2 are healthy"),
        (
            health(2, is_stable=False),
            NO_EVIDENCE,
            "2 of 2 instances of release 2 are healthy; the group is still changing",
        ),
        (health(2), ROUTE_MISSING, "the route is missing"),
        (NO_GROUP, NO_EVIDENCE, "the group does not exist yet"),
        (
            STOCK_OUT,
            ROUTE_MISSING,
            "1 of 2 instances of release 2 are healthy; us-central1-a has none",
        ),
    ],
)
def test_until_the_deadline_a_step_says_what_it_waits_for(
    found: ReleaseHealth, evidence: Evidence, why: str
) -> None:
    assert step(found, DEADLINE - 1, evidence=evidence) == Waiting(why)


@pytest.mark.parametrize(
    ("found", "evidence", "verdict"),
    [
        (
            health(1, others=1),
            NO_EVIDENCE,
            Failed(
                "unhealthy",
                "1 of 2 instances of release 2 are healthy, and none became healthy for 15 min",
            ),
        ),
        (
            health(0, others=2, state="unknown"),
            NO_EVIDENCE,
            Inconclusive("no health data for release 2 for 15 min"),
        ),
        (
            health(1, needed=3),
            NO_EVIDENCE,
            Failed(
                "unhealthy",
                "1 of 3 instances of release 2 are healthy, and none became healthy for 15 min",
            ),
        ),
        (
            health(0, needed=2),
            NO_EVIDENCE,
            Failed("timeout", "no progress for 15 min: 0 of 2 instances of release 2 are healthy"),
        ),
        (
            health(2),
            ROUTE_MISSING,
            Failed("timeout", "no progress for 15 min: the route is missing"),
        ),
        (
            health(2, is_stable=False),
            NO_EVIDENCE,
            Passed(
                "2 of 2 instances of release 2 are healthy; the rest of the group does not become"
                " stable"
            ),
        ),
        (
            health(2, is_stable=False, target_size=6),
            NO_EVIDENCE,
            Failed(
                "timeout",
                "no progress for 15 min: 2 of 2 instances of release 2 are healthy; the group is"
                " still changing",
            ),
        ),
        (
            health(2, is_stable=False),
            ROUTE_MISSING,
            Failed("timeout", "no progress for 15 min: the route is missing"),
        ),
        (
            NO_GROUP,
            NO_EVIDENCE,
            Failed("timeout", "no progress for 15 min: the group does not exist yet"),
        ),
        (
            STOCK_OUT,
            NO_EVIDENCE,
            Failed("stock-out", "no instance could be created for 15 min: us-central1-a has none"),
        ),
    ],
)
def test_at_the_deadline_a_step_says_what_made_no_progress(
    found: ReleaseHealth, evidence: Evidence, verdict: Verdict
) -> None:
    assert step(found, DEADLINE, evidence=evidence) == verdict


@pytest.mark.parametrize(
    ("action", "reason"),
    [
        ("VERIFYING", "unhealthy"),
        ("RECREATING", "unhealthy"),
        ("CREATING", "timeout"),
        ("RESTARTING", "timeout"),
    ],
)
def test_an_instance_that_is_verified_or_recreated_until_the_deadline_is_unhealthy(
    action: str, reason: str
) -> None:
    found = observe_release(target(1), TWO, view(*instances(TWO, 1, action=action)))
    verdict = step(found, DEADLINE)
    assert isinstance(verdict, Failed)
    assert verdict.reason == reason


def test_the_deadline_is_the_releases_and_counts_from_its_last_improvement() -> None:
    patient = release("2", rollout={"progress_deadline_seconds": 7200})
    found = ReleaseHealth(patient, 2, instances(patient, 1), view(*instances(patient, 1)))
    improved = Progress(1, at(100))
    assert isinstance(step(found, 7299, improved), Waiting)
    assert step(found, 7300, improved) == Failed(
        "unhealthy", "1 of 2 instances of release 2 are healthy, and none became healthy for 2 h"
    )


# ---- The gate of the bake


@pytest.mark.parametrize("seconds", [0, 1, BAKE - 1])
def test_a_bake_says_until_when_it_waits(seconds: float) -> None:
    """The same sentence throughout, so that it is stored once."""
    assert bake(health(2), seconds) == Waiting(
        "bakes until 2026-01-01T12:05:00Z; 2 of 2 instances of release 2 are healthy"
    )


@pytest.mark.parametrize(
    ("seconds", "span"), [(BAKE, "5 min"), (7199, "119 min"), (7200, "2 h"), (10900, "3 h")]
)
def test_a_bake_passes_at_its_end(seconds: float, span: str) -> None:
    assert bake(health(2), seconds) == Passed(
        f"baked for {span}; 2 of 2 instances of release 2 are healthy"
    )


def test_a_bake_that_is_over_waits_for_instances_that_have_just_failed() -> None:
    assert bake(health(1, others=1), BAKE) == Waiting(
        "bake time is over, but only 1 of 2 instances of release 2 are healthy"
    )


@pytest.mark.parametrize("gate", [step, bake])
@pytest.mark.parametrize(
    ("lost", "patience"),
    [(4, UNHEALTHY_MAJORITY_SECONDS), (3, UNHEALTHY_MAJORITY_SECONDS), (2, 240), (1, 240)],
)
def test_a_fallen_majority_fails_soon_and_a_minority_has_twice_its_start_up_time(
    gate: Callable[..., Verdict], lost: int, patience: int
) -> None:
    found = with_clocks(health(0, others=4), "lost", 100, lost)
    assert isinstance(gate(found, 100 + patience - 1), Waiting)
    why = f"0 of 4 instances of release 2 are healthy, for {patience} s"
    assert gate(found, 100 + patience) == Failed("unhealthy", why)


@pytest.mark.parametrize(("startup", "patience"), [(1, 60), (30, 60), (31, 62), (300, 600)])
def test_a_fallen_minority_has_at_least_a_minute(startup: int, patience: int) -> None:
    quick = release("2", serving={"startup_seconds": startup}, rollout={"bake_seconds": 3600})
    members = (*instances(quick, 1), *instances(quick, 1, "unhealthy", start=1))
    found = ReleaseHealth(quick, 2, members, view(*members), {"1": Clock("lost", NOON)})
    assert isinstance(bake(found, patience - 1), Waiting)
    assert isinstance(bake(found, patience), Failed)


def test_an_unhealthy_majority_has_one_minute() -> None:
    assert UNHEALTHY_MAJORITY_SECONDS == 60


def test_a_phase_without_health_data_neither_fails_nor_passes() -> None:
    silent = with_clocks(health(0, others=4, state="unknown"), "silent", 0)
    for gate in (step, bake):
        assert isinstance(gate(silent, 59), Waiting)
        assert gate(silent, 60) == Inconclusive("no health data for release 2 for 60 s")


def test_an_instance_that_never_answers_during_the_bake_has_the_progress_deadline() -> None:
    found = with_clocks(health(1, others=1), "starting", 0, 2)
    assert isinstance(bake(found, DEADLINE - 1), Waiting)
    assert bake(found, DEADLINE) == Failed(
        "unhealthy",
        "1 of 2 instances of release 2 are healthy, and the rest did not become so in 15 min",
    )


# ---- The gate of the watch


def watch(found: ReleaseHealth, seconds: float, progress: Progress = BEGUN) -> Verdict:
    watched = release("2", rollout={"watch_seconds": 3600})
    found = replace(found, release=watched)
    return judge(WATCH_GATES, context(found, seconds, progress, NO_EVIDENCE))


def test_a_watch_ends_after_its_time() -> None:
    assert watch(health(2), 3599) == Waiting("watched until 2026-01-01T13:00:00Z")
    assert isinstance(watch(health(2), 3600), Passed)


def test_a_watch_fails_only_if_the_fleet_falls_sick_by_the_releases_fault() -> None:
    assert isinstance(watch(with_clocks(health(0, others=4), "lost", 0, 3), 60), Failed)
    for state in ("gone", "silent", "starting"):
        assert isinstance(watch(with_clocks(health(0, others=4), state, 0), 3000), Waiting)
    assert isinstance(watch(with_clocks(health(2, others=2), "lost", 0, 2), 3000), Waiting)
    flapped = replace(BEGUN, flaps=encode_times([NOON] * 5))
    assert isinstance(watch(health(4), 60, flapped), Failed)
