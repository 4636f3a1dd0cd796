"""What a model on hold goes on with once a person resumes it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from rollout import restored
from rollout.model import (
    Baking,
    Desired,
    Observed,
    Phase,
    Release,
    Retiring,
    RollingBack,
    Rollout,
    Settled,
    Stepping,
    Target,
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
