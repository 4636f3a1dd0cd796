"""How one pass changes a model's stored state, and when the state gets a new revision."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rollout.model import (
    Baking,
    Condition,
    Decision,
    Desired,
    Release,
    Rollout,
    Settled,
    Stepping,
    Target,
    Transition,
)
from rollout.state import (
    Lease,
    ModelState,
    Settlement,
    next_revision,
    release_in_focus,
    settle,
)
from tests.rollout.build import NOON, at, release

ONE, TWO = release("1"), release("2")
NOW = at(600)
OUTPUTS = {"group": "https://example.com/tiny-blue"}
DRIFT = "autoscaler slipway-tiny-blue should have max 4, has 9"
SERVING = ModelState(Desired("tiny", ONE, 1), Rollout(stable=ONE), outputs=OUTPUTS)
ROLLING = ModelState(
    Desired("tiny", TWO, 2),
    Rollout(Stepping(0, NOON), ONE, TWO),
    outputs=OUTPUTS,
    requeue_at=at(5),
    revision=7,
    waiting_for="the group does not exist yet",
)


def decision(state: ModelState, **fields: object) -> Decision:
    """A decision that changes nothing, apart from `fields`."""
    unchanged = Decision(state.rollout, state.desired, Target("tiny"), state.requeue_at)
    return replace(unchanged, **fields)  # type: ignore[arg-type]


def settle_now(state: ModelState, decided: Decision, *changes: str) -> Settlement:
    return settle(state, decided, changes, OUTPUTS, NOW)


# ---- settle


def test_a_pass_over_a_settled_model_leaves_its_state_equal() -> None:
    result = settle_now(SERVING, decision(SERVING))
    assert result == Settlement(SERVING, decision(SERVING))


def test_a_pass_stores_what_was_decided() -> None:
    desired = replace(ROLLING.desired, release=ONE, generation=3)
    baking = replace(ROLLING.rollout, phase=Baking(NOW))
    degraded = Condition("Degraded", "none left", NOW)
    decided = decision(
        ROLLING,
        rollout=baking,
        desired=desired,
        requeue_at=NOW,
        waiting_for="bakes",
        conditions=(degraded,),
    )
    result = settle(ROLLING, decided, (), {"group": "another"}, NOW)
    assert result.state == replace(
        ROLLING,
        rollout=baking,
        desired=desired,
        conditions=(degraded,),
        outputs={"group": "another"},
        waiting_for="bakes",
    )
    assert result.decision == decided


def test_a_condition_keeps_the_time_since_which_it_holds() -> None:
    before = replace(ROLLING, conditions=(Condition("Degraded", "none left", NOON),))
    decided = decision(before, conditions=(Condition("Degraded", "none left", NOW),))
    assert settle_now(before, decided).state.conditions == before.conditions


def test_a_change_to_a_settled_model_that_was_not_due_is_drift() -> None:
    stopped = Condition("Degraded", "quota exceeded", NOW)
    result = settle_now(SERVING, decision(SERVING, conditions=(stopped,)), DRIFT, "and another")
    why = f"{DRIFT}; and another"
    assert result.decision.transitions == (Transition("1", "settled", "repaired", why),)
    assert result.state.conditions == (stopped, Condition("Drifted", why, NOW))
    assert (result.state.requeue_at, result.decision.requeue_at) == (NOW, NOW)


def test_drift_of_a_model_that_serves_nothing_names_no_release() -> None:
    retired = ModelState(Desired("tiny"))
    [repaired] = settle_now(retired, decision(retired), "delete it").decision.transitions
    assert repaired == Transition("", "settled", "repaired", "delete it")


def test_a_change_to_a_settled_model_that_was_due_is_no_drift() -> None:
    """For example the clean-up after a rollout. The model stays due until nothing is left."""
    due = replace(SERVING, requeue_at=at(500))
    result = settle_now(due, decision(due, requeue_at=None), "delete template slipway-tiny-0")
    assert (result.decision.transitions, result.decision.conditions) == ((), ())
    assert (result.decision.requeue_at, result.state.requeue_at) == (NOW, at(500))


def test_a_change_in_the_pass_that_settles_the_model_is_no_drift() -> None:
    ended = Transition("2", "rolling_back", "rolled_back", "it was unhealthy")
    decided = decision(SERVING, transitions=(ended,), requeue_at=NOW)
    result = settle_now(SERVING, decided, "the group is too small")
    assert (result.decision.transitions, result.state.conditions) == ((ended,), ())


def test_a_change_during_a_rollout_is_no_drift_and_moves_no_requeue() -> None:
    decided = decision(ROLLING, requeue_at=at(605))
    result = settle_now(replace(ROLLING, requeue_at=None), decided, "the group is too small")
    assert (result.decision, result.state.requeue_at) == (decided, at(605))


def test_a_settled_model_without_changes_is_no_longer_due() -> None:
    due = replace(SERVING, requeue_at=at(500))
    assert settle_now(due, decision(due, requeue_at=None)).state.requeue_at is None


@pytest.mark.parametrize(("stable", "outputs"), [(ONE, OUTPUTS), (None, {})])
def test_outputs_that_were_not_observed_are_kept_while_a_release_is_stable(
    stable: Release | None, outputs: dict[str, str]
) -> None:
    state = replace(SERVING, rollout=Rollout(stable=stable))
    assert settle(state, decision(state), (), {}, NOW).state.outputs == outputs


# ---- next_revision


@pytest.mark.parametrize(
    "after",
    [
        ROLLING,
        replace(ROLLING, lease=Lease("token", at(700))),
        replace(ROLLING, waiting_for="0 of 1 instances of release 2 are healthy"),
        replace(ROLLING, revision=0),
    ],
)
def test_a_lease_or_what_is_waited_for_raises_no_revision(after: ModelState) -> None:
    assert next_revision(ROLLING, after, is_takeover=False) == 7


@pytest.mark.parametrize(
    "after",
    [
        replace(ROLLING, rollout=replace(ROLLING.rollout, promoted=True)),
        replace(ROLLING, desired=replace(ROLLING.desired, generation=3)),
        replace(ROLLING, conditions=(Condition("Degraded", "none left", NOON),)),
        replace(ROLLING, outputs={}),
        replace(ROLLING, requeue_at=None),
        replace(ROLLING, recent_events=("event-1",)),
    ],
)
def test_any_other_change_raises_the_revision_by_one(after: ModelState) -> None:
    assert next_revision(ROLLING, after, is_takeover=False) == 8


def test_taking_over_an_expired_lease_raises_the_revision_without_any_change() -> None:
    """The worker that held it may have used the request ids of the present revision."""
    abandoned = replace(ROLLING, lease=Lease("other", at(500)))
    assert next_revision(abandoned, ROLLING, is_takeover=True) == 8


# ---- release_in_focus


@pytest.mark.parametrize(
    ("rollout", "focus"),
    [
        (Rollout(Stepping(0, NOON), ONE, TWO), TWO),
        (Rollout(Settled(), ONE), ONE),
        (Rollout(), None),
    ],
)
def test_the_candidate_is_in_focus_and_otherwise_the_stable_release(
    rollout: Rollout, focus: Release | None
) -> None:
    assert release_in_focus(rollout) == focus
