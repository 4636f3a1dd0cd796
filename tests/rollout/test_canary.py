"""Strategy `canary`: what each step asks for of both groups and of the route."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rollout.model import (
    FULL_WEIGHT,
    Cohort,
    Colour,
    FleetTarget,
    GroupView,
    Kept,
    Mirror,
    Observed,
    Release,
    Stepping,
    TrafficTarget,
    TrafficWeight,
)
from rollout.spec.steps import WeightStep
from rollout.strategies.base import Swap
from rollout.strategies.blue_green import BlueGreen
from rollout.strategies.canary import Canary
from rollout.strategies.rolling import Rolling
from tests.rollout.build import NOON, at, release, step

CANARY, ROLLING = Canary(), Rolling()
WEIGHTS = [{"weight": 5, "hold_seconds": 600}, {"weight": 100, "hold_seconds": 0}]
ONE = release("1", scaling={"min": 2, "max": 20})
TWO = release("2", scaling={"min": 1, "max": 6}, rollout={"strategy": "canary", "steps": WEIGHTS})
SAME_TEMPLATE = replace(TWO, template=ONE.template)
FIVE, FULL = WeightStep(weight=5, hold_seconds=600), WeightStep(weight=100, hold_seconds=0)
FIRST, GRANTED = Stepping(0, NOON), Stepping(0, NOON, 50, granted=1)
OTHER: dict[Colour, Colour] = {"blue": "green", "green": "blue"}


def view(colour: Colour, size: int) -> GroupView:
    return GroupView(colour, "us-central1", size, True, ())


def traffic(settings: Release, **weights: int) -> TrafficTarget:
    colours: tuple[Colour, ...] = ("blue", "green")
    return TrafficTarget(
        settings,
        tuple(TrafficWeight(each, weights[each]) for each in colours if each in weights),
    )


def by_weight(target: FleetTarget) -> dict[Colour, int]:
    assert target.traffic
    return {each.colour: each.weight for each in target.traffic.weights}


def test_an_approval_leaves_groups_and_route_as_they_are() -> None:
    approve = {"approve": {"by": "model-approvals"}}
    steps = [WEIGHTS[0], approve, WEIGHTS[1]]
    for strategy in (CANARY, BlueGreen()):
        two = replace(TWO, spec=release("2", rollout={"strategy": "canary", "steps": steps}).spec)
        swap, observed = Swap(ONE, two, "blue"), Observed((view("blue", 10),))
        before, awaited = (
            strategy.target(swap, Stepping(step, NOON, 50, granted=1), observed) for step in (0, 1)
        )
        assert before == awaited


@pytest.mark.parametrize("serving", ["blue", "green"])
def test_a_canary_runs_in_the_other_group(serving: Colour) -> None:
    swap = Swap(ONE, TWO, serving)
    assert CANARY.candidate_group(swap) == OTHER[serving]
    assert CANARY.steps(swap) == (FIVE, FULL)
    target = CANARY.target(swap, GRANTED, Observed((view(serving, 10),)))
    stable, candidate = target.groups
    assert (stable.colour, stable.settings) == (serving, ONE)
    assert (candidate.colour, candidate.settings) == (OTHER[serving], TWO)
    assert by_weight(target) == {serving: 950, OTHER[serving]: 50}


def test_a_step_gets_its_instances_before_its_weight() -> None:
    swap, observed = Swap(ONE, TWO, "blue"), Observed((view("blue", 10), view("green", 1)))
    before = CANARY.target(swap, Stepping(1, NOON, 50, granted=1), observed)
    after = CANARY.target(swap, Stepping(1, NOON, FULL_WEIGHT, granted=2), observed)
    assert before.groups == after.groups
    assert before.groups[1].min == 11
    assert before.traffic == traffic(ONE, blue=950, green=50)
    assert after.traffic == traffic(TWO, blue=0, green=1000)


@pytest.mark.parametrize(("size", "least"), [(0, 1), (10, 1), (60, 4), (1000, 20)])
def test_the_candidate_is_sized_within_the_wider_bounds(size: int, least: int) -> None:
    observed = Observed((view("blue", size),))
    stable, candidate = CANARY.target(Swap(ONE, TWO, "blue"), FIRST, observed).groups
    assert (candidate.min, candidate.max) == (least, 20)
    assert not any(group.may_scale_in for group in (stable, candidate))
    assert (stable.min, stable.max) == (2, 20)


@pytest.mark.parametrize("stable", [None, ONE])
def test_what_has_nothing_to_compare_takes_one_step_in_place(stable: Release | None) -> None:
    swap = Swap(stable, TWO if stable is None else SAME_TEMPLATE, "blue")
    (only,) = CANARY.steps(swap)
    assert only == step(100, 600)
    assert CANARY.candidate_group(swap) == "blue"
    observed = Observed((view("blue", 2),))
    assert CANARY.target(swap, FIRST, observed) == ROLLING.target(swap, FIRST, observed)
    back = CANARY.rollback_target(swap, observed, in_place=True, is_drained=False)
    assert back == ROLLING.rollback_target(swap, observed, in_place=True)


def test_the_same_template_in_other_zones_needs_the_other_group() -> None:
    moved = release(
        "3",
        placement={"zones": ["us-central1-b"]},
        rollout={"strategy": "canary", "steps": WEIGHTS},
    )
    swap = Swap(ONE, replace(moved, template=ONE.template), "blue")
    assert CANARY.candidate_group(swap) == "green"


def test_the_way_back_moves_requests_first_and_instances_after_draining() -> None:
    swap, both = Swap(ONE, TWO, "blue"), Observed((view("blue", 10), view("green", 11)))
    first = CANARY.rollback_target(swap, both, in_place=False, is_drained=False)
    assert [group.colour for group in first.groups] == ["blue", "green"]
    assert first.traffic == traffic(ONE, blue=1000, green=0)
    assert not any(group.may_scale_in for group in first.groups)
    then = CANARY.rollback_target(swap, both, in_place=False, is_drained=True)
    assert [group.colour for group in then.groups] == ["blue"]
    assert then.traffic == traffic(ONE, blue=1000)


def test_a_candidate_without_a_group_is_not_waited_for() -> None:
    alone = Observed((view("blue", 10),))
    swap = Swap(ONE, TWO, "blue")
    target = CANARY.rollback_target(swap, alone, in_place=False, is_drained=False)
    assert [group.colour for group in target.groups] == ["blue"]


def test_the_old_group_is_kept_warm_without_requests_until_it_leaves() -> None:
    kept = Kept(ONE, "blue", NOON, at(3600))
    warm = CANARY.steady_target(TWO, "green", kept)
    assert by_weight(warm) == {"green": 1000, "blue": 0}
    assert [(group.colour, group.may_scale_in) for group in warm.groups] == [
        ("green", True),
        ("blue", False),
    ]
    alone = CANARY.steady_target(TWO, "green", replace(kept, is_leaving=True))
    assert alone == CANARY.steady_target(TWO, "green") == ROLLING.steady_target(TWO, "green")


# ---- Kinds of step

MATCH, MIRROR = {"match": {"header": "x-canary", "value": "1"}}, {"mirror": 10}
KINDS = [{"percent": 20}, {"preview": True}, MATCH, MIRROR, {"weight": 50}, {"weight": 100}]


def mixed(strategy: str) -> Swap:
    candidate = release(
        "2",
        scaling={"min": 1, "max": 20},
        rollout={"strategy": strategy, "steps": KINDS},
        traffic={"mirror_safe": True, "preview_host": "next.example.com"},
    )
    return Swap(ONE, candidate, "blue")


PREVIEW = Cohort("green", "x-slipway-preview", "2", "next.example.com")
USERS = Cohort("green", "x-canary", "1")


@pytest.mark.parametrize(
    ("step", "weight", "granted", "size", "weight_after", "cohorts", "mirror"),
    [
        (0, 0, 0, 3, 0, (), None),
        (1, 0, 0, 3, 0, (), None),
        (1, 0, 2, 3, 0, (PREVIEW,), None),
        (2, 0, 2, 3, 0, (PREVIEW,), None),
        (2, 0, 3, 3, 0, (PREVIEW, USERS), None),
        (3, 0, 3, 4, 0, (PREVIEW, USERS), None),
        (3, 0, 4, 4, 0, (PREVIEW, USERS), Mirror("green", 100)),
        (4, 0, 4, 6, 0, (PREVIEW, USERS), None),
        (4, 500, 5, 6, 500, (PREVIEW, USERS), None),
        (5, 500, 5, 11, 500, (PREVIEW, USERS), None),
        (5, 1000, 6, 11, 1000, (), None),
        # Promoted from the preview: what was skipped was never granted.
        (5, 0, 2, 11, 0, (PREVIEW,), None),
    ],
)
def test_a_step_has_the_capacity_for_what_it_sends_and_sends_it_once_granted(
    step: int,
    weight: int,
    granted: int,
    size: int,
    weight_after: int,
    cohorts: tuple[Cohort, ...],
    mirror: Mirror | None,
) -> None:
    swap, phase = mixed("canary"), Stepping(step, NOON, weight, granted=granted)
    target = CANARY.target(swap, phase, Observed((view("blue", 10),)))
    assert target.traffic
    assert target.groups[1].min == size
    assert by_weight(target)["green"] == weight_after
    assert (target.traffic.cohorts, target.traffic.mirror) == (cohorts, mirror)


def test_a_blue_green_candidate_has_full_size_from_its_first_step() -> None:
    strategy, swap = BlueGreen(), mixed("blue_green")
    sizes = [
        strategy.target(swap, Stepping(step, NOON), Observed((view("blue", 10),))).groups[1].min
        for step in range(len(KINDS))
    ]
    assert sizes == [11] * len(KINDS)


def test_the_way_back_has_no_cohort_and_no_mirror() -> None:
    both = Observed((view("blue", 10), view("green", 4)))
    back = CANARY.rollback_target(mixed("canary"), both, in_place=False, is_drained=False)
    assert back.traffic == traffic(ONE, blue=1000, green=0)
