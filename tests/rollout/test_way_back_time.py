"""How long the way back would take, what that refuses, and how requests return to a short fleet."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rollout.advance import advance
from rollout.model import (
    Baking,
    Evidence,
    GroupView,
    Kept,
    Observed,
    Phase,
    Progress,
    Reason,
    Release,
    Retiring,
    RollingBack,
    Rollout,
    Stepping,
    phase_name,
)
from rollout.spec.way_back import ROUTE_SECONDS, least_seconds, round_seconds, rounds
from rollout.strategies import strategy_of, swap_of
from rollout.strategies.base import steps_digest
from rollout.transitions import roll_back
from rollout.way_back_time import seconds_to_roll_back, weight_to_leave
from tests.rollout.build import NOON, at, group, instances, release
from tests.rollout.swap import desired, mixed, run_pass, serving, swapping

QUICK = {"draining_seconds": 0}
CANARY = {
    "strategy": "canary",
    "steps": [{"weight": 5, "hold_seconds": 0}, {"weight": 100, "hold_seconds": 0}],
    "bake_seconds": 0,
}
ONE = release("1", traffic=QUICK, serving={"startup_seconds": 100})
TWO = release("2", traffic=QUICK, rollout=CANARY)
START = 130  # 100 s, and what the group takes beside
BACK = RollingBack("aborted", "aborted", "aborted", NOON, is_drained=False)
KEPT = Kept(ONE, "blue", NOON, at(600))


def canary(phase: Phase, **fields: Any) -> Rollout:
    begun = Rollout(phase, ONE, TWO, serving_group="blue", progress=Progress(4, NOON))
    digest = steps_digest(strategy_of(TWO).steps(swap_of(begun, TWO)))
    return replace(begun, steps_digest=digest, last_observed_at=NOON, **fields)


def both(healthy: int = 3, sick: int = 0, green: int = 4) -> Observed:
    blue = (*instances(ONE, healthy), *instances(ONE, sick, "unhealthy", start=healthy))
    return Observed(
        (
            GroupView("blue", "us-central1", 3, True, blue),
            GroupView("green", "us-central1", green, True, instances(TWO, green)),
        )
    )


@pytest.mark.parametrize(
    ("rollout", "observed", "seconds"),
    [
        # A second group: one write of the URL map, and a start if stable is short.
        (canary(Stepping(0, NOON)), both(), 0),
        (canary(Stepping(0, NOON, 50, granted=1)), both(), ROUTE_SECONDS),
        (canary(Stepping(0, NOON, granted=1)), both(), ROUTE_SECONDS),
        (canary(Baking(NOON)), both(), ROUTE_SECONDS),
        (canary(Baking(NOON)), both(2, 1), ROUTE_SECONDS + START),
        (canary(BACK), both(), ROUTE_SECONDS),
        (canary(replace(BACK, routed_since=at(-100))), both(), 20),
        (canary(replace(BACK, routed_since=at(-500))), both(), 0),
        (canary(replace(BACK, routed_since=NOON, weight=50)), both(2, 1), ROUTE_SECONDS + START),
        (canary(replace(BACK, is_drained=True)), both(), 0),
        (Rollout(stable=TWO, serving_group="green", kept=KEPT), both(), ROUTE_SECONDS),
        (
            Rollout(stable=TWO, serving_group="green", kept=replace(KEPT, is_leaving=True)),
            both(),
            None,
        ),
        # One group: rounds of three instances, one in each zone.
        (swapping(Stepping(0, NOON), stable=ONE), mixed(3, 0), 0),
        (swapping(Stepping(0, NOON), stable=ONE), mixed(3, 1), START),
        (swapping(Baking(NOON), stable=ONE), mixed(0, 2), 2 * START),
        (swapping(BACK, stable=ONE), mixed(2, 1), START),
        (swapping(replace(BACK, in_place=True), stable=ONE), mixed(2, 1), START),
        (serving(release("2"), watched_since=NOON, previous=ONE), mixed(0, 2), 2 * START),
        # No way back.
        (serving(ONE), mixed(3, 0), None),
        (swapping(Stepping(0, NOON), stable=None), mixed(0, 1), None),
        (canary(Retiring(NOON, "")), both(), None),
    ],
)
def test_the_estimate_of_each_phase(
    rollout: Rollout, observed: Observed, seconds: int | None
) -> None:
    assert seconds_to_roll_back(rollout, observed, NOON) == seconds


@pytest.mark.parametrize(
    ("fullest_zone", "rollout", "in_place", "count"),
    [
        (0, {}, False, 0),
        (1, {}, False, 1),
        (4, {}, False, 4),
        (4, {"surge": 6}, False, 2),
        (4, {"surge": 3, "unavailable": 3}, False, 2),
        (4, {"surge": 6}, True, 4),
        (4, {"unavailable": 6}, True, 2),
    ],
)
def test_a_group_replaces_by_surge_and_zones(
    fullest_zone: int, rollout: dict[str, Any], in_place: bool, count: int
) -> None:
    spec = release("1", rollout=rollout).spec
    assert rounds(fullest_zone, spec, in_place=in_place) == count


def test_the_shortest_way_back_of_a_spec() -> None:
    rolling = release("1", scaling={"min": 7, "max": 9}).spec
    assert least_seconds(rolling) == 3 * round_seconds(rolling)
    assert least_seconds(TWO.spec) == ROUTE_SECONDS


# ---- The limit


def limited(limit: int, strategy: dict[str, Any] | None = None) -> Release:
    rollout = (strategy or {"steps": [10, 100]}) | {"max_seconds_to_roll_back": limit}
    return release("2", traffic=QUICK, serving={"startup_seconds": 100}, rollout=rollout)


@pytest.mark.parametrize(("limit", "phase"), [(389, "refused"), (390, "step_1")])
def test_a_first_step_beyond_the_limit_is_refused(limit: int, phase: str) -> None:
    candidate = replace(limited(limit, {"steps": [100]}), version="2")
    decision = run_pass(serving(ONE), candidate, group(*instances(ONE, 9)))
    (made,) = decision.transitions
    assert made.to == phase
    if phase == "refused":
        assert "the way back from 100 % would take 390 s" in made.why
        assert decision.rollout == serving(ONE)


@pytest.mark.parametrize(
    ("limit", "promoted", "reached"),
    [(389, False, "paused"), (389, True, "step_2"), (390, False, "step_2")],
)
def test_a_later_step_beyond_the_limit_waits_for_a_person(
    limit: int, promoted: bool, reached: str
) -> None:
    candidate = limited(limit)
    digest = steps_digest(strategy_of(candidate).steps(swap_of(serving(ONE), candidate)))
    rollout = swapping(
        Stepping(0, NOON),
        1,
        stable=ONE,
        candidate=candidate,
        steps_digest=digest,
        promoted=promoted,
    )
    decision = run_pass(rollout, candidate, mixed(8, 1))
    assert [each.to for each in decision.transitions] == [reached]


def test_a_weight_beyond_the_limit_waits_until_the_stable_release_is_complete() -> None:
    candidate = limited(ROUTE_SECONDS, CANARY)
    rollout = replace(canary(Stepping(0, NOON)), candidate=candidate)
    short = advance(rollout, desired(candidate), both(2, 1), Evidence(), at(10))
    assert (short.transitions, short.rollout.paused) == ((), None)
    assert "since release 1 lacks healthy instances" in short.waiting_for
    whole = advance(rollout, desired(candidate), both(), Evidence(), at(10))
    assert isinstance(whole.rollout.phase, Stepping)
    assert whole.rollout.phase.weight == 50


# ---- Pacing


@pytest.mark.parametrize(
    ("before", "healthy", "needed", "left"),
    [
        (1000, 10, 10, 0),
        (1000, 12, 10, 0),
        (1000, 5, 10, 500),
        (1000, 0, 10, 1000),
        (50, 5, 10, 50),
        (1000, 999, 1000, 100),
        (300, 5, 10, 300),
        (500, 0, 0, 0),
    ],
)
def test_requests_return_by_what_the_stable_release_can_take(
    before: int, healthy: int, needed: int, left: int
) -> None:
    assert weight_to_leave(before, healthy, needed) == left


def paced(
    phase: RollingBack, observed: Observed, now: float = 10, goal: Release = ONE
) -> RollingBack:
    decision = advance(canary(phase), desired(goal), observed, Evidence(), at(now))
    assert isinstance(decision.rollout.phase, RollingBack)
    assert decision.target.traffic
    weights = {each.colour: each.weight for each in decision.target.traffic.weights}
    assert weights["green"] == decision.rollout.phase.weight
    return decision.rollout.phase


def test_requests_return_as_the_stable_release_heals_and_never_fall_back() -> None:
    phase = replace(BACK, weight=1000)
    weights = []
    for healthy in (1, 2, 1, 3):
        phase = paced(phase, both(healthy, 3 - healthy))
        weights.append(phase.weight)
    assert weights == [700, 400, 400, 0]


@pytest.mark.parametrize(
    ("observed", "now"), [(both(1, 2, green=0), 10), (both(1, 2), 900), (both(3), 10)]
)
def test_all_requests_return_at_once_if_the_candidate_cannot_or_need_not_take_them(
    observed: Observed, now: float
) -> None:
    assert paced(replace(BACK, weight=1000), observed, now).weight == 0


def test_a_candidate_that_alone_serves_gives_way_only_to_a_newer_release() -> None:
    """No instance of the stable release is healthy, and may never be again."""
    phase = replace(BACK, weight=1000)
    assert paced(phase, both(0, 3), 10**6).weight == 1000
    newer = replace(release("3"), generation=3)
    assert paced(phase, both(0, 3), 899, newer).weight == 1000
    assert paced(phase, both(0, 3), 900, newer).weight == 0


@pytest.mark.parametrize(("reason", "weight"), [("unhealthy", 0), ("aborted", 1000)])
def test_a_sick_candidate_keeps_nothing(reason: Reason, weight: int) -> None:
    rollout = canary(Baking(NOON))
    change = roll_back(rollout, desired(TWO), "aborted", reason, "why", NOON)
    assert isinstance(change.rollout.phase, RollingBack)
    assert change.rollout.phase.weight == weight


@pytest.mark.parametrize(
    ("observed", "phase"),
    [(both(1, 2), "rolling_back"), (both(0, 3), "step_1"), (both(0, 3, green=0), "rolling_back")],
    ids=["stable serves too", "the candidate serves alone", "nothing serves"],
)
def test_a_newer_release_does_not_end_what_alone_serves(observed: Observed, phase: str) -> None:
    rollout = canary(Stepping(0, NOON, 500, granted=1, routed_since=NOON))
    decision = run_pass(rollout, release("3"), observed)
    assert phase_name(decision.rollout.phase) == phase
