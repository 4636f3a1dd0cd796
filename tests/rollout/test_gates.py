"""The gates of a step and of the bake: each of the four verdicts, at the very second and instance
where it changes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rollout.gates.base import Failed, Inconclusive, Passed, Verdict, Waiting
from rollout.gates.health import MAX_FLAPS, SICK_MAJORITY_SECONDS, bake_gate, step_gate
from rollout.gates.release_health import ReleaseHealth, observe_release, update_progress
from rollout.model import (
    Evidence,
    GroupTarget,
    GroupView,
    Health,
    Instance,
    Problem,
    Progress,
    Reason,
    Share,
)
from rollout.strategies.rolling import steady_group
from tests.rollout.build import NOON, at, group, instances, release, stuck

ONE, TWO = release("1"), release("2")
CALM = Evidence()
DEADLINE, BAKE = 900, 300  # the defaults of a release
BEGUN = Progress(0, NOON)


def target(count: int | None) -> GroupTarget:
    return replace(steady_group(ONE, "blue"), shares=(Share(ONE), Share(TWO, count)))


def view(*members: Instance, **changes: Any) -> GroupView:
    return group(*members, **changes).groups[0]


def seen(
    healthy: int,
    needed: int | None = None,
    sick: int = 0,
    health: Health = "unhealthy",
    **changes: Any,
) -> ReleaseHealth:
    """A look at release 2 that has everything: `needed` of it are asked for and `healthy` of these
    are."""
    members = (*instances(TWO, healthy), *instances(TWO, sick, health, start=healthy))
    return observe_release(
        target(healthy + sick if needed is None else needed),
        TWO,
        view(*instances(ONE, 5), *members, **changes),
    )


def step(
    at_a_look: ReleaseHealth, seconds: float, progress: Progress = BEGUN, evidence: Evidence = CALM
) -> Verdict:
    return step_gate(at_a_look, progress, evidence, at(seconds))


def bake(
    at_a_look: ReleaseHealth, seconds: float, progress: Progress = BEGUN, evidence: Evidence = CALM
) -> Verdict:
    return bake_gate(at_a_look, progress, evidence, NOON, at(seconds))


# ---- A look


@pytest.mark.parametrize(
    ("asked", "size", "needed"), [(2, 4, 2), (9, 4, 4), (None, 4, 4), (0, 4, 0)]
)
def test_a_release_needs_what_is_asked_for_but_no_more_than_the_group_has(
    asked: int | None, size: int, needed: int
) -> None:
    assert observe_release(target(asked), TWO, view(*instances(ONE, size))).needed == needed


def test_a_release_that_no_share_names_needs_the_whole_group() -> None:
    assert observe_release(steady_group(ONE, "blue"), TWO, view(*instances(ONE, 4))).needed == 4


@pytest.mark.parametrize(("least", "needed"), [(3, 3), (1, 1), (0, 1)])
def test_without_a_group_the_least_is_needed_and_at_least_one(least: int, needed: int) -> None:
    found = observe_release(replace(target(2), min=least), TWO, None)
    assert (found.needed, found.instances, found.group, found.release) == (needed, (), None, TWO)


@pytest.mark.parametrize(
    ("action", "counts"),
    [("NONE", True), ("RESTARTING", True), ("DELETING", False), ("ABANDONING", False)],
)
def test_what_is_being_deleted_no_longer_counts(action: str, counts: bool) -> None:
    found = observe_release(
        target(1), TWO, view(*instances(ONE, 3), *instances(TWO, 1, action=action))
    )
    assert len(found.instances) == counts


def test_only_what_runs_and_is_healthy_by_the_balancers_own_word_is_healthy() -> None:
    kinds = [
        *instances(TWO, 2),
        *instances(TWO, 1, "unhealthy", start=2),
        *instances(TWO, 1, "unknown", start=3),
        *instances(TWO, 1, action="VERIFYING", start=4),
        *(replace(each, status="STAGING") for each in instances(TWO, 1, start=5)),
    ]
    found = observe_release(target(6), TWO, view(*kinds))
    assert (found.healthy, len(found.instances)) == (2, 6)
    assert str(found) == "2 of 6 instances of release 2 are healthy"


@pytest.mark.parametrize(
    ("found", "is_well"),
    [
        (seen(2), True),
        (seen(1, needed=2), False),
        (seen(2, needed=1), True),
        (seen(2, needed=2, sick=1), False),
        (seen(0), True),
    ],
)
def test_a_release_is_well_when_it_has_enough_and_none_of_it_is_sick(
    found: ReleaseHealth, is_well: bool
) -> None:
    assert found.is_well == is_well


@pytest.mark.parametrize(
    ("found", "is_reached"),
    [
        (seen(1), True),
        (seen(1, is_stable=False), False),
        (seen(1, version_reached=False), False),
        (seen(1, sick=1), False),
        (observe_release(replace(target(0), min=0), TWO, None), False),
    ],
)
def test_a_target_is_reached_when_the_group_says_so_and_the_balancer_too(
    found: ReleaseHealth, is_reached: bool
) -> None:
    assert found.is_reached is is_reached


@pytest.mark.parametrize(
    ("found", "has_no_data"),
    [
        (seen(0, sick=2, health="unknown"), True),
        (seen(1, sick=1, health="unknown"), False),
        (seen(0), False),
        (
            observe_release(target(1), TWO, view(*instances(TWO, 1, "unknown", action="CREATING"))),
            False,
        ),
    ],
)
def test_there_is_no_data_when_all_that_run_have_no_answer(
    found: ReleaseHealth, has_no_data: bool
) -> None:
    assert found.has_no_data == has_no_data


# ---- Progress


def test_getting_better_starts_the_time_anew_and_keeps_the_count_of_falls() -> None:
    assert update_progress(Progress(1, NOON, 2, at(5)), seen(2), at(9)) == Progress(2, at(9), 2)


def test_staying_as_it_was_changes_nothing_but_the_end_of_an_illness() -> None:
    assert update_progress(Progress(2, NOON, 1), seen(2), at(9)) == Progress(2, NOON, 1)
    assert update_progress(Progress(2, NOON, 1, at(5)), seen(2), at(9)) == Progress(2, NOON, 1)


def test_a_fall_is_counted_once_however_long_it_lasts() -> None:
    fallen = update_progress(Progress(2, NOON, 1), seen(1, sick=1), at(9))
    assert fallen == Progress(2, NOON, 2, at(9))
    assert update_progress(fallen, seen(0, sick=2), at(20)) == fallen


# ---- The gate of a step


def test_a_step_that_is_reached_passes_also_long_after_the_deadline() -> None:
    assert step(seen(2), 10 * DEADLINE) == Passed("2 of 2 instances of release 2 are healthy")


@pytest.mark.parametrize("reason", ["quota", "config", "policy"])
def test_what_will_not_mend_by_itself_fails_at_once_even_where_all_is_well(reason: Reason) -> None:
    refusals = (Problem("stock-out", "CODE", "none left"), Problem(reason, "CODE", "it is refused"))
    for gate in (step, bake):
        assert gate(seen(2), 0, evidence=Evidence(refusals)) == Failed(reason, "it is refused")


@pytest.mark.parametrize("reason", ["stock-out", "timeout"])
def test_what_may_mend_is_waited_for(reason: Reason) -> None:
    evidence = Evidence((Problem(reason, "CODE", "not now"),))
    assert isinstance(step(seen(1, needed=2), 0, evidence=evidence), Waiting)
    assert isinstance(bake(seen(2), 0, evidence=evidence), Waiting)


def test_an_instance_that_cannot_be_made_for_good_fails_the_step_in_compute_engines_words() -> None:
    found = observe_release(
        target(2),
        TWO,
        view(*instances(ONE, 2), *instances(TWO, 1), stuck(TWO, "quota", "Quota 'GPUS' exceeded")),
    )
    assert step(found, 1) == Failed("quota", "Quota 'GPUS' exceeded")


@pytest.mark.parametrize(
    ("flaps", "fails"), [(MAX_FLAPS - 1, False), (MAX_FLAPS, True), (MAX_FLAPS + 1, True)]
)
def test_the_third_fall_fails_a_step_and_a_bake(flaps: int, fails: bool) -> None:
    fell = Progress(2, NOON, flaps)
    why = f"release 2 lost healthy instances {flaps} times"
    assert step(seen(2), 1, fell) == (
        Failed("unhealthy", f"{why} in this step") if fails else Passed(str(seen(2)))
    )
    assert isinstance(bake(seen(2), 1, fell), Failed) == fails
    if fails:
        assert bake(seen(2), 1, fell) == Failed("unhealthy", f"{why} while it baked")


def test_three_falls_are_too_many() -> None:
    assert MAX_FLAPS == 3


@pytest.mark.parametrize(
    ("found", "evidence", "why"),
    [
        (seen(1, needed=2), CALM, "1 of 2 instances of release 2 are healthy"),
        (
            seen(2, is_stable=False),
            CALM,
            "2 of 2 instances of release 2 are healthy; the group is still changing",
        ),
        (
            seen(2),
            Evidence(pending_changes=("the route is missing", "another")),
            "the route is missing",
        ),
        (observe_release(target(1), TWO, None), CALM, "the group does not exist yet"),
        (
            observe_release(
                target(2),
                TWO,
                view(*instances(TWO, 1), stuck(TWO, "stock-out", "us-central1-a has none")),
            ),
            Evidence(pending_changes=("the route is missing",)),
            "1 of 2 instances of release 2 are healthy; us-central1-a has none",
        ),
    ],
)
def test_until_the_deadline_a_step_waits_and_says_for_what(
    found: ReleaseHealth, evidence: Evidence, why: str
) -> None:
    assert step(found, DEADLINE - 1, evidence=evidence) == Waiting(why)


@pytest.mark.parametrize(
    ("found", "evidence", "verdict"),
    [
        (
            seen(1, sick=1),
            CALM,
            Failed(
                "unhealthy",
                "1 of 2 instances of release 2 are healthy, and none got better for 15 min",
            ),
        ),
        (
            seen(0, sick=2, health="unknown"),
            CALM,
            Inconclusive("no health answer for release 2 for 15 min"),
        ),
        (
            seen(1, needed=3),
            CALM,
            Failed(
                "unhealthy",
                "1 of 3 instances of release 2 are healthy, and none got better for 15 min",
            ),
        ),
        (
            seen(0, needed=2),
            CALM,
            Failed("timeout", "no progress for 15 min: 0 of 2 instances of release 2 are healthy"),
        ),
        (
            seen(2),
            Evidence(pending_changes=("the route is missing",)),
            Failed("timeout", "no progress for 15 min: the route is missing"),
        ),
        (
            seen(2, is_stable=False),
            CALM,
            Passed(
                "2 of 2 instances of release 2 are healthy; the rest of the group does not get"
                " stable"
            ),
        ),
        (
            seen(2, is_stable=False, version_reached=False),
            CALM,
            Failed(
                "timeout",
                "no progress for 15 min: 2 of 2 instances of release 2 are healthy; the group is"
                " still changing",
            ),
        ),
        (
            seen(2, is_stable=False),
            Evidence(pending_changes=("the route is missing",)),
            Failed("timeout", "no progress for 15 min: the route is missing"),
        ),
        (
            observe_release(target(1), TWO, None),
            CALM,
            Failed("timeout", "no progress for 15 min: the group does not exist yet"),
        ),
        (
            observe_release(
                target(2),
                TWO,
                view(*instances(TWO, 1), stuck(TWO, "stock-out", "us-central1-a has none")),
            ),
            CALM,
            Failed("stock-out", "no instance could be created for 15 min: us-central1-a has none"),
        ),
    ],
)
def test_at_the_deadline_a_step_says_what_it_is_that_made_no_progress(
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
def test_an_instance_that_is_checked_or_made_again_for_so_long_is_sick(
    action: str, reason: str
) -> None:
    verdict = step(
        observe_release(target(1), TWO, view(*instances(TWO, 1, action=action))), DEADLINE
    )
    assert isinstance(verdict, Failed)
    assert verdict.reason == reason


def test_the_deadline_is_the_releases_own_and_counts_from_the_last_time_it_got_better() -> None:
    patient = release("2", rollout={"progress_deadline_seconds": 7200})
    found = ReleaseHealth(patient, 2, instances(patient, 1), view(*instances(patient, 1)))
    better = Progress(1, at(100))
    assert isinstance(step(found, 7299, better), Waiting)
    assert step(found, 7300, better) == Failed(
        "unhealthy", "1 of 2 instances of release 2 are healthy, and none got better for 2 h"
    )


# ---- The gate of the bake


@pytest.mark.parametrize(
    ("seconds", "verdict"),
    [
        (0, Waiting("bakes for another 5 min; 2 of 2 instances of release 2 are healthy")),
        (1, Waiting("bakes for another 299 s; 2 of 2 instances of release 2 are healthy")),
        (BAKE - 1, Waiting("bakes for another 1 s; 2 of 2 instances of release 2 are healthy")),
        (BAKE, Passed("baked for 5 min; 2 of 2 instances of release 2 are healthy")),
        (7199, Passed("baked for 119 min; 2 of 2 instances of release 2 are healthy")),
        (7200, Passed("baked for 2 h; 2 of 2 instances of release 2 are healthy")),
        (10900, Passed("baked for 3 h; 2 of 2 instances of release 2 are healthy")),
    ],
)
def test_a_bake_passes_at_its_very_end(seconds: float, verdict: Verdict) -> None:
    assert bake(seen(2), seconds) == verdict


def test_a_bake_that_is_over_waits_for_those_that_just_fell() -> None:
    assert bake(seen(1, sick=1), BAKE) == Waiting(
        "baked, but only 1 of 2 instances of release 2 are healthy"
    )


@pytest.mark.parametrize(
    ("found", "patience"),
    [
        (seen(0, sick=4), SICK_MAJORITY_SECONDS),
        (seen(1, sick=3), SICK_MAJORITY_SECONDS),
        (seen(2, sick=3), SICK_MAJORITY_SECONDS),
        (seen(2, sick=2), 240),
        (seen(3, sick=1), 240),
    ],
)
def test_a_sick_majority_is_not_waited_for_and_a_few_have_twice_their_start_up_time(
    found: ReleaseHealth, patience: int
) -> None:
    unwell = Progress(4, NOON, 1, NOON)
    assert isinstance(bake(found, patience - 1, unwell), Waiting)
    assert bake(found, patience, unwell) == Failed(
        "unhealthy", f"{found}, for {patience} s of its bake time"
    )


@pytest.mark.parametrize(("startup", "patience"), [(1, 60), (30, 60), (31, 62), (300, 600)])
def test_a_few_have_at_least_a_minute(startup: int, patience: int) -> None:
    quick = release("2", serving={"startup_seconds": startup}, rollout={"bake_seconds": 3600})
    found = ReleaseHealth(
        quick,
        2,
        (*instances(quick, 1), *instances(quick, 1, "unhealthy", start=1)),
        view(*instances(quick, 2)),
    )
    unwell = Progress(2, NOON, 1, NOON)
    assert isinstance(bake(found, patience - 1, unwell), Waiting)
    assert isinstance(bake(found, patience, unwell), Failed)


def test_half_a_minute_is_what_a_sick_majority_has() -> None:
    assert SICK_MAJORITY_SECONDS == 30


def test_no_answer_about_those_that_bake_is_no_failure_and_no_success() -> None:
    silent = seen(0, sick=4, health="unknown")
    unwell = Progress(4, NOON, 1, NOON)
    assert isinstance(bake(silent, 29, unwell), Waiting)
    assert bake(silent, 30, unwell) == Inconclusive("no health answer for release 2 for 30 s")


def test_an_illness_counts_from_when_it_began() -> None:
    unwell = Progress(4, NOON, 1, at(100))
    assert isinstance(bake(seen(0, sick=4), 129, unwell), Waiting)
    assert isinstance(bake(seen(0, sick=4), 130, unwell), Failed)
