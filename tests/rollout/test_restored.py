"""What a model on hold goes on with once a person resumes it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rollout import restored
from rollout.model import (
    FULL_WEIGHT,
    Baking,
    Desired,
    Kept,
    Observed,
    Phase,
    Release,
    Retiring,
    RollingBack,
    Rollout,
    Settled,
    Stepping,
    Target,
    TrafficWeight,
)
from rollout.state import ModelState, next_revision
from tests.rollout.build import group, instances, release

NOW = datetime(2026, 1, 2, tzinfo=UTC)
ONE, TWO, THREE = release("1"), release("2"), release("3")
BACK = RollingBack("rolled_back", "unhealthy", "2 is sick", NOW)


def state_of(phase: Phase, candidate: Release | None, desired: Release | None) -> ModelState:
    rollout = Rollout(phase, stable=ONE, candidate=candidate, serving_group="blue")
    generation = desired.generation if desired else 3
    resumed = replace(Desired("tiny"), release=desired, generation=generation)
    return ModelState(resumed, rollout, revision=40)


def hold(state: ModelState, observed: Observed) -> ModelState:
    return restored.hold(state, 85, observed, Target("tiny"), NOW).state


@pytest.mark.parametrize(
    ("phase", "candidate", "desired", "running", "phase_after", "candidate_after"),
    [
        # The stable release runs: whatever was begun since is over.
        (Settled(), None, ONE, ONE, Settled, None),
        (Stepping(0, NOW), TWO, TWO, ONE, Settled, None),
        # The candidate has everything already.
        (Stepping(0, NOW), TWO, TWO, TWO, Stepping, TWO),
        (Baking(NOW), TWO, TWO, TWO, Stepping, TWO),
        # It was published again.
        (Settled(), None, THREE, THREE, Stepping, THREE),
        (Stepping(0, NOW), TWO, THREE, THREE, Stepping, THREE),
        # What runs is unknown: what is desired.
        (Settled(), None, ONE, THREE, Settled, None),
        (Settled(), None, TWO, THREE, Stepping, TWO),
        # What people or failures have begun ends as usual.
        (BACK, TWO, ONE, TWO, RollingBack, TWO),
        (BACK, TWO, ONE, ONE, RollingBack, TWO),
        (Retiring(NOW, "retired"), None, None, ONE, Retiring, None),
    ],
)
def test_resume_goes_on_with_the_release_that_runs(
    phase: Phase,
    candidate: Release | None,
    desired: Release | None,
    running: Release,
    phase_after: type,
    candidate_after: Release | None,
) -> None:
    observed = group(*instances(running, 3))
    on_hold = hold(state_of(phase, candidate, desired), observed)
    assert restored.adopt(on_hold, 85, observed, (), NOW) == (on_hold, ())
    resumed = restored.resume(on_hold, "", "resumed by ann", NOW)
    after, transitions = restored.adopt(resumed, 85, observed, (), NOW)
    assert (type(after.rollout.phase), after.rollout.candidate) == (phase_after, candidate_after)
    assert (after.hold, after.conditions) == (None, ())
    assert not restored.is_newer(after, 85)
    assert transitions[-1].why.startswith("resumed by ann: goes on with")
    ended = [each.release for each in transitions if each.outcome]
    assert ended == ([candidate.version] if candidate and candidate != candidate_after else [])


def test_a_hold_outlasts_events_and_is_written_once() -> None:
    observed = group(*instances(TWO, 3))
    on_hold = hold(state_of(Settled(), None, ONE), observed)
    later = replace(on_hold, revision=90)
    again = restored.hold(later, 85, observed, Target("tiny"), NOW + timedelta(minutes=5))
    assert restored.is_newer(later, 85)
    assert (again.state, again.decision.transitions) == (later, ())


def test_the_revision_goes_on_above_the_mark() -> None:
    observed = group(*instances(ONE, 3))
    on_hold = hold(state_of(Settled(), None, ONE), observed)
    resumed = restored.resume(on_hold, "", "resumed on command", NOW)
    after, _ = restored.adopt(resumed, 85, observed, (), NOW)
    assert next_revision(resumed, after, is_takeover=False) == 86


# ---- With two groups

CANARY = release("2", rollout={"strategy": "canary", "steps": [{"weight": 5}, {"weight": 100}]})


def resumed(
    observed: Observed, *routed: TrafficWeight, desired: Release = CANARY, **fields: Any
) -> Rollout:
    state = state_of(Settled(), None, desired)
    state = replace(state, rollout=replace(state.rollout, **fields))
    on_hold = restored.resume(hold(state, observed), desired.version, "resumed by ann", NOW)
    return restored.adopt(on_hold, 85, observed, routed, NOW)[0].rollout


def both(blue: Release | None, green: Release) -> Observed:
    parts = [("blue", blue), ("green", green)]
    return Observed(
        tuple(
            view
            for colour, of in parts
            if of
            for view in group(*instances(of, 3), colour=colour).groups
        )
    )


def test_a_release_that_serves_alone_from_its_own_group_is_the_stable_one() -> None:
    after = resumed(both(None, CANARY))
    assert (after.phase, after.stable, after.serving_group) == (Settled(), CANARY, "green")
    assert (after.previous, after.kept, after.watched_since) == (ONE, None, None)


@pytest.mark.parametrize(("weight", "granted"), [(0, 0), (500, 0), (FULL_WEIGHT, 2)])
def test_a_canary_keeps_the_requests_that_the_url_map_gives_it(weight: int, granted: int) -> None:
    after = resumed(both(ONE, CANARY), TrafficWeight("green", weight))
    assert after.phase == Stepping(1, NOW, weight, granted=granted)
    assert after.serving_group == "blue"


def test_the_stable_release_is_found_in_the_group_that_runs_it() -> None:
    after = resumed(both(None, ONE), desired=ONE, kept=Kept(TWO, "green", NOW, NOW))
    assert (after.phase, after.serving_group, after.kept) == (Settled(), "green", None)


def test_a_rolling_release_is_found_in_the_group_that_runs_it() -> None:
    after = resumed(both(None, TWO), desired=TWO)
    assert (after.phase, after.serving_group) == (Stepping(2, NOW), "green")


def test_an_unknown_release_is_replaced_where_it_runs() -> None:
    after = resumed(both(None, THREE), desired=ONE)
    assert (after.phase, after.serving_group) == (Settled(), "green")
