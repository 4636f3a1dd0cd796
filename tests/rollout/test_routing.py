"""Since when the URL map is right, what counts as an edit of it, and when a group has drained."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from rollout.advance import advance
from rollout.gates.traffic import PROPAGATION
from rollout.model import (
    FULL_WEIGHT,
    Baking,
    Decision,
    Demand,
    Evidence,
    Frozen,
    GroupView,
    Kept,
    Observed,
    Phase,
    Progress,
    Retiring,
    RollingBack,
    Rollout,
    Settled,
    Stepping,
)
from rollout.routing import is_edited, observe_route, routed_since
from rollout.strategies.base import Swap, steps_digest
from rollout.strategies.canary import Canary
from tests.rollout.build import NOON, at, instances, release, stuck
from tests.rollout.swap import desired

DRAINING = 60
WEIGHTS = [{"weight": 5, "hold_seconds": 60}, {"weight": 100, "hold_seconds": 60}]
CANARY = {"strategy": "canary", "steps": WEIGHTS, "bake_seconds": 300, "keep_old_seconds": 600}
TRAFFIC = {"draining_seconds": DRAINING}
ONE = release("1", traffic=TRAFFIC)
TWO = release("2", traffic=TRAFFIC, rollout=CANARY)
DRAINED = PROPAGATION + timedelta(seconds=DRAINING)
ROUTED, UNROUTED = Evidence(), Evidence(is_routed=False, edited_by="ann at noon")
BACK = RollingBack("aborted", "aborted", "aborted by ann", NOON, is_drained=False)
KEPT = Kept(ONE, "blue", NOON, at(600))


def canary(phase: Phase, **fields: Any) -> Rollout:
    digest = steps_digest(Canary().steps(Swap(ONE, TWO, "blue")))
    rollout = Rollout(
        phase,
        ONE,
        TWO,
        None,
        digest,
        Progress(4, NOON),
        last_observed_at=NOON,
        serving_group="blue",
    )
    return replace(rollout, **fields)


def both(green: int = 4, health: Any = "healthy") -> Observed:
    blue = GroupView("blue", "us-central1", 3, True, instances(ONE, 3))
    return Observed(
        (blue, GroupView("green", "us-central1", 4, True, instances(TWO, green, health)))
    )


def run(
    rollout: Rollout, evidence: Evidence, now: datetime, observed: Observed | None = None
) -> Decision:
    rollout = replace(rollout, last_observed_at=now if rollout.last_observed_at else None)
    observed = both() if observed is None else observed
    release = None if isinstance(rollout.phase, Retiring) else TWO
    return advance(rollout, desired(release), observed, evidence, now)


# ---- Since when the map is right


@pytest.mark.parametrize(
    "rollout",
    [
        canary(Stepping(0, NOON, 50)),
        canary(Baking(NOON)),
        canary(BACK),
        canary(Retiring(NOON, "", is_drained=False)),
        Rollout(stable=TWO, serving_group="green", kept=replace(KEPT, since=None)),
    ],
)
def test_time_counts_while_the_map_is_right(rollout: Rollout) -> None:
    unwritten = observe_route(rollout, UNROUTED, at(10))
    assert not is_edited(rollout, UNROUTED)
    assert routed_since(unwritten) is None
    right = observe_route(unwritten, ROUTED, at(20))
    assert routed_since(observe_route(right, ROUTED, at(30))) == at(20)
    assert is_edited(right, UNROUTED)
    assert routed_since(observe_route(right, UNROUTED, at(40))) is None


def test_a_candidate_within_the_serving_group_has_no_route_of_its_own() -> None:
    rolling = replace(canary(Stepping(0, NOON)), candidate=release("2"))
    assert observe_route(rolling, ROUTED, at(20)) == rolling


# ---- Edits


@pytest.mark.parametrize("phase", [Stepping(0, NOON, 50, at(5), 1), Baking(NOON, at(5))])
def test_the_second_edit_pauses_a_rollout_until_it_is_resumed(phase: Phase) -> None:
    first = run(canary(phase), UNROUTED, at(10))
    why = "the route in the URL map was changed by ann at noon; it is restored"
    assert [(each.to, each.why) for each in first.transitions] == [("repaired", why)]
    assert (first.rollout.route_edits, first.rollout.paused) == (1, None)
    restored = run(first.rollout, ROUTED, at(20))
    second = run(restored.rollout, UNROUTED, at(30))
    assert [each.to for each in second.transitions] == ["repaired", "paused"]
    assert second.rollout.paused
    assert "2 times, last by ann at noon" in second.rollout.paused.why


def test_what_was_not_written_yet_is_no_edit() -> None:
    decision = run(canary(Stepping(0, NOON, 50, granted=1)), UNROUTED, at(10))
    assert (decision.transitions, decision.rollout.route_edits) == ((), 0)


def test_edits_never_pause_a_way_back() -> None:
    rollout = canary(BACK)
    for seconds in range(0, 100, 20):
        right = run(rollout, ROUTED, at(seconds))
        edited = run(right.rollout, UNROUTED, at(seconds + 10))
        assert [each.to for each in edited.transitions] == ["repaired"]
        assert edited.target.traffic
        assert [each.weight for each in edited.target.traffic.weights] == [FULL_WEIGHT, 0]
        rollout = edited.rollout
    assert (rollout.paused, rollout.route_edits) == (None, 5)


# ---- A bake and a keep count from the map


def test_a_bake_that_somebody_edits_begins_again_after_the_propagation() -> None:
    restored = canary(Baking(NOON, at(100)))
    end = at(100) + PROPAGATION + timedelta(seconds=300)
    assert isinstance(run(restored, ROUTED, end - timedelta(seconds=1)).rollout.phase, Baking)
    succeeded = run(restored, ROUTED, end).rollout
    assert isinstance(succeeded.phase, Settled)
    assert succeeded.kept
    assert succeeded.kept.since == at(100)


def test_a_bake_does_not_end_before_the_map_is_right() -> None:
    assert isinstance(run(canary(Baking(NOON)), UNROUTED, at(10**5)).rollout.phase, Baking)


@pytest.mark.parametrize(
    ("since", "seconds", "is_leaving"),
    [(NOON, 599, False), (NOON, 600, True), (at(590), 600, False), (None, 10**5, False)],
)
def test_a_kept_group_goes_when_it_has_drained(
    since: datetime | None, seconds: float, is_leaving: bool
) -> None:
    rollout = Rollout(stable=TWO, serving_group="green", kept=replace(KEPT, since=since))
    evidence = ROUTED if since else UNROUTED
    kept = run(rollout, evidence, at(seconds)).rollout.kept
    assert kept
    assert kept.is_leaving == is_leaving


# ---- Draining


@pytest.mark.parametrize("phase", [BACK, Retiring(NOON, "", is_drained=False)])
def test_nothing_is_removed_before_it_has_drained(phase: RollingBack | Retiring) -> None:
    routed = canary(replace(phase, routed_since=at(10)))
    early = run(routed, ROUTED, at(9) + DRAINED)
    assert isinstance(early.rollout.phase, RollingBack | Retiring)
    assert not early.rollout.phase.is_drained
    assert "drains until" in early.waiting_for
    assert early.target.is_draining or len(early.target.groups) == 2
    late = run(routed, ROUTED, at(10) + DRAINED)
    assert isinstance(late.rollout.phase, RollingBack | Retiring)
    assert late.rollout.phase.is_drained
    assert not late.target.is_draining
    assert len(late.target.groups) < 2


@pytest.mark.parametrize("phase", [BACK, Retiring(NOON, "", is_drained=False)])
@pytest.mark.parametrize(
    ("health", "evidence", "is_draining"),
    [
        ("healthy", UNROUTED, True),
        ("unknown", UNROUTED, True),
        ("unhealthy", UNROUTED, False),
        ("unhealthy", ROUTED, True),
    ],
)
def test_what_goes_as_a_whole_drains_if_it_can_have_requests(
    phase: Phase, health: Any, evidence: Evidence, is_draining: bool
) -> None:
    view = GroupView("blue", "us-central1", 3, True, instances(TWO, 3, health))
    decision = run(canary(phase, stable=None), evidence, at(10), Observed((view,)))
    assert decision.target.is_draining == is_draining


def test_a_retired_model_drains_although_its_instances_have_become_unhealthy() -> None:
    rollout = canary(Retiring(NOON, "", is_drained=False))
    sick = GroupView("blue", "us-central1", 3, True, instances(ONE, 3, "unhealthy"))
    assert run(rollout, UNROUTED, at(10), Observed((sick,))).target.is_draining
    assert not run(rollout, UNROUTED, at(10), Observed()).target.is_draining


def test_no_release_takes_over_while_the_map_may_send_requests_to_the_candidate() -> None:
    """The map could not be written for an hour. Release 3 would not keep the candidate's group."""
    rolling = replace(release("3"), generation=3)
    observed, stalled = both(), replace(BACK, stalled="stalled", remaining=0)

    def take(phase: RollingBack) -> Decision:
        rollout = canary(phase, last_observed_at=at(3600))
        return advance(rollout, desired(rolling), observed, UNROUTED, at(3600))

    decision = take(stalled)
    assert isinstance(decision.rollout.phase, RollingBack)
    assert [group.colour for group in decision.target.groups] == ["blue", "green"]
    taken = take(replace(stalled, is_drained=True))
    assert taken.rollout.candidate == rolling


def test_a_kept_group_that_cannot_be_removed_is_reported_after_the_deadline() -> None:
    """A URL map of others may name its backend service."""
    leaving = replace(KEPT, is_leaving=True, until=NOON)
    rollout = Rollout(stable=TWO, serving_group="green", kept=leaving)
    rolling = replace(release("3"), generation=3)
    for seconds, kinds in ((899, []), (900, ["Degraded"])):
        decision = advance(rollout, desired(rolling), both(), ROUTED, at(seconds))
        assert [each.type for each in decision.conditions] == kinds
    assert "the blue group of release 1 could not be removed for 15 min" in decision.waiting_for
    assert "release 3 begins after that" in decision.waiting_for


def test_a_freeze_keeps_requests_where_they_are() -> None:
    """A step that begins before the window may have its instances only within it."""
    window = Evidence(frozen=Frozen("frozen", at(3600)))
    decision = run(canary(Stepping(0, NOON)), window, at(60))
    assert (decision.waiting_for, decision.transitions) == ("frozen", ())
    granted = run(canary(Stepping(0, NOON)), ROUTED, at(60)).rollout.phase
    assert granted == Stepping(0, NOON, 50, granted=1)


def test_what_a_step_asks_for_has_a_deadline_and_what_load_adds_has_none() -> None:
    """All requests need 4 instances, and there is no capacity for the fourth."""
    missing = stuck(TWO, "stock-out", "no capacity")
    green = GroupView("green", "us-central1", 4, False, (*instances(TWO, 3), missing))
    observed = Observed((both().groups[0], green))
    progress, demand = Progress(3, NOON, initial_size=3, size=3, needed=4), Demand(3)
    required = canary(Stepping(1, NOON, 50, NOON, granted=1), progress=progress, demand=demand)
    back = run(required, ROUTED, at(900), observed).rollout.phase
    assert isinstance(back, RollingBack)
    assert back.reason == "stock-out"
    added = canary(Stepping(0, NOON, 50, NOON, granted=1), progress=progress, demand=demand)
    assert not isinstance(run(added, ROUTED, at(900), observed).rollout.phase, RollingBack)
