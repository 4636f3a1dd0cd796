"""The capacity lease: what a rollout borrows is written down, renewed, and given back."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from rollout.advance import advance
from rollout.capacity_lease import DURATION, is_overdue, renew
from rollout.model import (
    FULL_WEIGHT,
    Baking,
    Bounds,
    CapacityLease,
    Colour,
    Desired,
    Evidence,
    GroupView,
    Kept,
    Loan,
    Observed,
    Pause,
    Phase,
    RollingBack,
    Rollout,
    Settled,
    Stepping,
    Target,
)
from rollout.targets import target_of
from tests.rollout.build import NOON, at, release

ONE = release("1", scaling={"min": 2, "max": 8})
TWO = release(
    "2",
    scaling={"min": 1, "max": 6},
    rollout={"strategy": "canary", "steps": [{"weight": 50}, {"weight": 100}]},
)
DESIRED = Desired("tiny", TWO)
HALF = Stepping(0, NOON, FULL_WEIGHT // 2)
OWN = {"blue": Bounds(2, 8), "green": Bounds(1, 6)}


def view(colour: Colour, size: int, bounds: Bounds | None = None) -> GroupView:
    return GroupView(colour, "us-central1", size, True, (), bounds)


def rollout(phase: Phase = HALF, **fields: object) -> Rollout:
    base = Rollout(phase, ONE, TWO, serving_group="blue")
    return replace(base, **fields)  # type: ignore[arg-type]


BOTH = Observed((view("blue", 6), view("green", 4)))
TARGET = target_of(rollout(), DESIRED, BOTH)
LEASE = CapacityLease(
    NOON,
    NOON + DURATION,
    (
        Loan("blue", "us-central1", OWN["blue"], 6),
        Loan("green", "us-central1", OWN["green"], 4),
    ),
)


@pytest.mark.parametrize(
    "before",
    [
        rollout(),
        rollout(paused=Pause("by ann", NOON)),
        rollout(Baking(NOON)),
        rollout(RollingBack("aborted", "aborted", "by ann", NOON, is_drained=False)),
        rollout(Settled(), stable=TWO, candidate=None, kept=Kept(ONE, "blue", NOON, at(9000))),
        rollout(stable=None, serving_group=None),
    ],
)
def test_each_group_that_has_more_than_its_release_asks_for_has_a_loan(before: Rollout) -> None:
    decision = advance(before, DESIRED, BOTH, Evidence(), NOON)
    lease = decision.rollout.capacity_lease
    assert lease is not None
    assert lease.expires_at == NOON + DURATION
    loans = {loan.colour: loan.bounds for loan in lease.loans}
    for group in decision.target.groups:
        own = Bounds(group.settings.spec.scaling.min, group.settings.spec.scaling.max)
        if Bounds(group.min, group.max, group.may_scale_in) != own:
            assert loans[group.colour] == own


def test_a_lease_is_renewed_when_half_of_it_is_over() -> None:
    assert renew(None, TARGET, BOTH, NOON) == LEASE
    assert renew(LEASE, TARGET, BOTH, NOON + DURATION / 2 - timedelta(seconds=1)) == LEASE
    late = NOON + 3 * DURATION
    assert is_overdue(LEASE, late)
    assert renew(LEASE, TARGET, BOTH, late) == replace(LEASE, expires_at=late + DURATION)


def test_a_loan_ends_when_the_bounds_are_observed_to_be_restored() -> None:
    settled = target_of(Rollout(stable=ONE, serving_group="blue"), DESIRED, BOTH)
    lent = Bounds(2, 8, may_scale_in=False)
    for bounds, colours in ((lent, ["blue"]), (None, ["blue"]), (OWN["blue"], [])):
        lease = renew(LEASE, settled, Observed((view("blue", 6, bounds),)), at(60))
        assert colours == ([loan.colour for loan in lease.loans] if lease else [])
    narrower = Observed((view("blue", 2, Bounds(1, 2)),))  # by the policy
    assert renew(LEASE, settled, narrower, at(60)) is None
    assert renew(LEASE, Target("tiny"), Observed(), at(60)) is None


def test_an_ending_loan_is_not_renewed() -> None:
    settled = target_of(Rollout(stable=ONE, serving_group="blue"), DESIRED, BOTH)
    observed = Observed((view("blue", 6, Bounds(2, 8, may_scale_in=False)),))
    lease = renew(LEASE, settled, observed, NOON + 2 * DURATION)
    assert lease is not None
    assert lease.expires_at == LEASE.expires_at


@pytest.mark.parametrize(("size", "least"), [(6, 2), (7, 2), (3, 6)])
def test_stable_gets_the_size_back_that_it_had_under_the_lease(size: int, least: int) -> None:
    observed = Observed((view("blue", size), view("green", 4)))
    target = target_of(rollout(capacity_lease=LEASE), DESIRED, observed)
    assert {group.colour: group.min for group in target.groups}["blue"] == least
