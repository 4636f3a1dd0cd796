"""The plan of a rollout, from values alone; `tests/console/test_plan.py` compares it with one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from infra.fleet import naming
from infra.fleet.forecast import Inputs, RolloutPlan, rollout_plan
from infra.fleet.reads import full_reads, scope_of
from infra.fleet.whole_plan import whole_plan
from rollout.model import Desired, Release, Rollout
from rollout.plan_hash import changed_actions, changed_documents
from rollout.policy.policy import Policy
from rollout.policy.prices import Prices
from rollout.start_times import LogEntry, first_steps_of, past_start
from rollout.state import ModelState
from tests.infra.build import NOON, World, release
from tests.rollout.build import at, step

PRICES = Prices(per_vcpu={"n1-standard": 0.05})
POLICY = Policy()
SCALING = {"min": 4, "max": 8}
DRAINING = {"draining_seconds": 100}


def one(**sections: Any) -> Release:
    return release("1", scaling=SCALING, traffic=DRAINING, **sections)


GROUP = naming.group("tiny", "blue", "us-central1")
HEALTHY = tuple(
    {
        "instance": f"zones/us-central1-b/instances/{number}",
        "currentAction": "NONE",
        "instanceStatus": "RUNNING",
        "instanceHealth": [{"detailedHealthState": "HEALTHY"}],
    }
    for number in range(4)
)


def two(**rollout: Any) -> Release:
    return release("2", scaling=SCALING, traffic=DRAINING, rollout=rollout)


def inputs(stable: Release | None, candidate: Release, log: tuple[LogEntry, ...] = ()) -> Inputs:
    """A settled model whose fleet is as its stable release asks for."""
    rollout = Rollout(stable=stable, serving_group="blue") if stable else Rollout()
    desired, world = Desired("tiny", candidate), World()
    reads = full_reads(scope_of(rollout, desired), sweep=True)
    for _ in range(2 if stable else 0):  # a route follows the URL map
        assert stable is not None
        plan = whole_plan(rollout, desired, stable, POLICY, world.snapshot(reads)).plan
        world.do(plan)
    state = ModelState(desired, rollout)
    snapshot = replace(world.snapshot(reads), instances={GROUP: HEALTHY})
    return Inputs(state, candidate, stable, {}, POLICY, PRICES, snapshot, {}, log, NOON)


def counts(plan: RolloutPlan) -> list[tuple[int, int, int, int]]:
    return [(each.stable, each.candidate, each.surge, each.lowest) for each in plan.steps]


STEPS = [{"percent": 25, "hold_seconds": 0}, {"percent": 100, "hold_seconds": 0}]
WEIGHTS = [{"weight": 10}, {"weight": 100}]


@pytest.mark.parametrize(
    ("rollout", "found"),
    [
        ({"surge": 1, "steps": STEPS}, [(3, 1, 1, 4), (0, 4, 3, 4)]),
        ({"surge": 9, "steps": STEPS}, [(3, 1, 1, 4), (0, 4, 3, 4)]),
        ({"unavailable": 1, "steps": STEPS}, [(3, 1, 0, 3), (0, 4, 0, 1)]),
        ({"strategy": "canary", "steps": WEIGHTS}, [(4, 4, 0, 4), (4, 5, 0, 4)]),
    ],
    ids=["surge of each zone", "no more than are replaced", "unavailable", "second group"],
)
def test_surge_and_capacity_are_those_that_a_regional_group_has(
    rollout: dict[str, Any], found: list[tuple[int, int, int, int]]
) -> None:
    assert counts(rollout_plan(inputs(one(), two(**rollout)))) == found


def test_a_first_release_has_no_way_back_and_no_lowest_capacity() -> None:
    plan = rollout_plan(inputs(None, two(steps=STEPS)))
    assert counts(plan) == [(0, 4, 0, 0)]
    assert [each.seconds_to_roll_back for each in plan.steps] == [None]
    assert {each.sign for each in plan.changes} == {"+"}
    assert plan.peak.instances == 4


def test_a_plan_has_the_diff_of_the_whole_rollout() -> None:
    plan = rollout_plan(inputs(one(), two(strategy="blue_green")))
    signs = [(each.sign, each.resource.rpartition("-")[0]) for each in plan.changes]
    assert ("+", "group slipway-tiny") in signs
    assert ("-", "group slipway-tiny") in signs
    assert [each.weight for each in plan.steps] == [0, 100]


def test_times_follow_past_rollouts_and_draining() -> None:
    log = (
        LogEntry("1", "settled", "step_1", at(0)),
        LogEntry("1", "step_1", "baking", at(70)),
        LogEntry("2", "settled", "step_1", at(100)),
        LogEntry("2", "step_1", "rolling_back", at(900)),
    )
    first = {"1": step(100, 30), "2": step(100, 30)}
    assert past_start(log, first) == 40
    assert past_start((), first) is None
    before = one(rollout={"steps": [{"percent": 100, "hold_seconds": 30}]})
    assert first_steps_of((before, None)) == {"1": step(100, 30)}
    plan = rollout_plan(inputs(before, two(steps=STEPS, bake_seconds=7), log))
    assert (plan.start_seconds, plan.start_basis) == (40, "past rollouts")
    assert [(each.start_seconds, each.hold_seconds) for each in plan.steps] == [(40, 100)] * 2
    assert plan.seconds == 2 * 140 + 7


def test_a_plan_holds_until_what_it_decided_on_changes() -> None:
    given = inputs(one(), two(steps=STEPS))
    state, release_, base = given.state, given.release, given.base
    plan = rollout_plan(given).hash
    kinds = ("insert instanceTemplates", "patch regionInstanceGroupManagers")
    assert changed_documents(plan, state.rollout, release_, base, POLICY) == ""
    assert changed_actions(plan, kinds) == ""
    other = replace(release_, digest="other")
    assert changed_documents(plan, state.rollout, other, None, Policy(max_instances=9)) == (
        "the merged spec and the release that it inherits from and the policy changed after it was"
        " planned; plan it again"
    )
    assert changed_actions(plan, kinds[:1]).startswith(
        "what has to be done changed after it was planned, and is now insert instanceTemplates;"
    )


def test_prices_and_accelerators_are_those_of_the_peak() -> None:
    plan = rollout_plan(inputs(one(), two(surge=3, steps=STEPS)))
    assert (plan.peak.instances, plan.peak.accelerators) == (7, 0)
    assert plan.peak.cost == float("inf"), "no price of the disk"
