"""The gates of a step and of the bake: each verdict, at the second and the instance where it
changes.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from rollout.gates import BAKE_GATES, STEP_GATES
from rollout.gates.bake import UNHEALTHY_MAJORITY_SECONDS, BakeGate
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
from rollout.gates.health import MAX_FLAPS, HealthGate
from rollout.gates.release_health import ReleaseHealth, observe_release
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


def test_a_step_has_the_health_gate_and_a_bake_the_bake_gate() -> None:
    assert [type(gate) for gate in STEP_GATES] == [HealthGate]
    assert [type(gate) for gate in BAKE_GATES] == [BakeGate]


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
    latency, errors = Query("monitoring", "latency"), Query("monitoring", "errors")
    gates: list[Gate] = [
        Fixed(PASSED, (latency, errors)),
        Fixed(PASSED, (errors, latency)),
        Fixed(PASSED, (Query("prometheus", "latency"),)),
    ]
    assert queries(gates, ANY_CONTEXT) == (latency, errors, Query("prometheus", "latency"))


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


def test_an_instance_that_can_never_be_created_fails_the_step_in_compute_engines_words() -> None:
    found = observe_release(
        target(2),
        TWO,
        view(*instances(ONE, 2), *instances(TWO, 1), stuck(TWO, "quota", "Quota 'GPUS' exceeded")),
    )
    assert step(found, 1) == Failed("quota", "Quota 'GPUS' exceeded")


@pytest.mark.parametrize(
    ("flaps", "fails"), [(MAX_FLAPS - 1, False), (MAX_FLAPS, True), (MAX_FLAPS + 1, True)]
)
def test_the_third_flap_fails_a_step_and_a_bake(flaps: int, fails: bool) -> None:
    progress = Progress(2, NOON, flaps)
    why = f"release 2 lost healthy instances {flaps} times"
    assert step(health(2), 1, progress) == (
        Failed("unhealthy", f"{why} in this step") if fails else Passed(str(health(2)))
    )
    assert isinstance(bake(health(2), 1, progress), Failed) == fails
    if fails:
        assert bake(health(2), 1, progress) == Failed("unhealthy", f"{why} during its bake")


def test_three_flaps_are_too_many() -> None:
    assert MAX_FLAPS == 3


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


@pytest.mark.parametrize(
    ("found", "patience"),
    [
        (health(0, others=4), UNHEALTHY_MAJORITY_SECONDS),
        (health(1, others=3), UNHEALTHY_MAJORITY_SECONDS),
        (health(2, others=3), UNHEALTHY_MAJORITY_SECONDS),
        (health(2, others=2), 240),
        (health(3, others=1), 240),
    ],
)
def test_an_unhealthy_majority_fails_soon_and_a_minority_has_twice_its_start_up_time(
    found: ReleaseHealth, patience: int
) -> None:
    degraded = Progress(4, NOON, 1, NOON)
    assert isinstance(bake(found, patience - 1, degraded), Waiting)
    assert bake(found, patience, degraded) == Failed(
        "unhealthy", f"{found}, for {patience} s of its bake time"
    )


@pytest.mark.parametrize(("startup", "patience"), [(1, 60), (30, 60), (31, 62), (300, 600)])
def test_an_unhealthy_minority_has_at_least_a_minute(startup: int, patience: int) -> None:
    quick = release("2", serving={"startup_seconds": startup}, rollout={"bake_seconds": 3600})
    found = ReleaseHealth(
        quick,
        2,
        (*instances(quick, 1), *instances(quick, 1, "unhealthy", start=1)),
        view(*instances(quick, 2)),
    )
    degraded = Progress(2, NOON, 1, NOON)
    assert isinstance(bake(found, patience - 1, degraded), Waiting)
    assert isinstance(bake(found, patience, degraded), Failed)


def test_an_unhealthy_majority_has_one_minute() -> None:
    assert UNHEALTHY_MAJORITY_SECONDS == 60


def test_a_bake_without_health_data_neither_fails_nor_passes() -> None:
    silent = health(0, others=4, state="unknown")
    degraded = Progress(4, NOON, 1, NOON)
    assert isinstance(bake(silent, 59, degraded), Waiting)
    assert bake(silent, 60, degraded) == Inconclusive("no health data for release 2 for 60 s")


def test_a_degradation_counts_from_when_it_began() -> None:
    degraded = Progress(4, NOON, 1, at(100))
    assert isinstance(bake(health(0, others=4), 159, degraded), Waiting)
    assert isinstance(bake(health(0, others=4), 160, degraded), Failed)
