"""What each step of a rollout asks for: how many instances of each release, within which bounds,
with whose settings, and where the traffic goes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rollout.model import (
    FULL_WEIGHT,
    Colour,
    FleetTarget,
    GroupTarget,
    Observed,
    Release,
    Rollout,
    Share,
    Stepping,
    TrafficTarget,
    TrafficWeight,
)
from rollout.spec.steps import PercentStep
from rollout.strategies import STRATEGIES, strategy_of, swap_of
from rollout.strategies.base import FIRST_GROUP, Swap, all_traffic_to, steps_digest
from rollout.strategies.rolling import Rolling, instances_of, steady_group, swap_group
from tests.rollout.build import NOON, group, instances, release, step

ROLLING = Rolling()
ONE = release("1", scaling={"min": 2, "max": 8})
TWO = release(
    "2", scaling={"min": 4, "max": 6}, rollout={"steps": [20, 100], "surge": 4, "unavailable": 3}
)
SAME_TEMPLATE = replace(TWO, template=ONE.template)
UNEXPOSED = release("3", traffic={"exposure": "none"})
SWAP = Swap(ONE, TWO, "blue")
NOTHING, FIVE = Observed(), group(*instances(ONE, 5))
COLOURS: tuple[Colour, ...] = ("blue", "green")
FIRST, SECOND = Stepping(0, NOON), Stepping(1, NOON)


@pytest.mark.parametrize(
    ("percent", "size", "count"),
    [
        (10, 3, 1),
        (50, 3, 2),
        (10, 25, 3),
        (100, 7, 7),
        (1, 1000, 10),
        (1, 101, 2),
        (1, 1, 1),
        (50, 4, 2),
        (51, 4, 3),
        (0, 4, 1),
        (50, 0, 1),
    ],
)
def test_a_share_is_rounded_up_and_at_least_one(percent: int, size: int, count: int) -> None:
    assert instances_of(percent, size) == count


# ---- Steps


def test_the_steps_are_the_candidates() -> None:
    assert ROLLING.steps(SWAP) == (step(20), step(100))


@pytest.mark.parametrize("swap", [Swap(None, TWO, "blue"), Swap(ONE, SAME_TEMPLATE, "blue")])
def test_there_is_a_single_step_if_there_is_nothing_to_swap(swap: Swap) -> None:
    assert ROLLING.steps(swap) == (step(100),)


@pytest.mark.parametrize(("before", "after"), [(0, 1), (1, 0), (1, 1)])
def test_a_balanced_group_never_has_two_versions(before: int, after: int) -> None:
    shapes = [{"target_shape": shape} for shape in ("even", "balanced")]
    stable, candidate = (
        release("1", placement=shapes[before]),
        release("2", placement=shapes[after]),
    )
    swap = Swap(stable, candidate, "blue")
    assert [each.goal for each in ROLLING.steps(swap)] == ["100 %"]
    (target,) = ROLLING.target(swap, FIRST, FIVE).groups
    assert target.shares == (Share(swap.candidate),)


def test_the_digest_of_steps_tells_them_apart_and_never_changes() -> None:
    """It is stored during a rollout: if it were computed differently, every rollout in progress
    would start its steps again.
    """
    assert steps_digest((step(10), step(50), step(100))) == "371b1a2f8759"
    assert steps_digest((step(10), step(100))) != steps_digest((step(10), step(50), step(100)))


def test_the_digest_of_steps_does_not_depend_on_the_order_of_their_fields() -> None:
    class HeldStep(PercentStep):
        room: str
        ends: str

    class SameStep(PercentStep):
        ends: str
        room: str

    fields: dict[str, Any] = {"percent": 10, "ends": "late", "room": "a"}
    assert steps_digest((HeldStep(**fields),)) == steps_digest((SameStep(**fields),))
    longer = fields | {"ends": "later"}
    assert steps_digest((HeldStep(**fields),)) != steps_digest((HeldStep(**longer),))


# ---- The group


def test_a_steady_release_has_its_own_bounds_and_may_scale_in() -> None:
    assert steady_group(TWO, "blue") == GroupTarget("blue", (Share(TWO),), TWO, 4, 6, True, 4, 3)
    assert steady_group(ONE, "green") == GroupTarget("green", (Share(ONE),), ONE, 2, 8, True, 3, 0)


def test_a_release_without_a_surge_asks_for_none() -> None:
    rollout = ONE.spec.rollout.model_copy(update={"surge": None})
    bare = replace(ONE, spec=ONE.spec.model_copy(update={"rollout": rollout}))
    assert steady_group(bare, "blue").surge == 0
    assert swap_group(Swap(None, bare, "blue"), step(100), NOTHING).surge == 0


def test_a_swap_has_the_wider_bounds_of_both_and_the_stable_releases_settings() -> None:
    assert swap_group(SWAP, step(20), FIVE) == GroupTarget(
        "blue", (Share(ONE), Share(TWO, 1)), ONE, 4, 8, False, 4, 3
    )
    assert swap_group(Swap(TWO, ONE, "blue"), step(20), FIVE) == GroupTarget(
        "blue", (Share(TWO), Share(ONE, 1)), TWO, 4, 8, False, 3, 0
    )


@pytest.mark.parametrize(("percent", "count"), [(20, 1), (40, 2), (99, 5)])
def test_a_step_is_a_percentage_of_the_groups_observed_size(percent: int, count: int) -> None:
    shares = swap_group(SWAP, step(percent), FIVE).shares
    assert shares == (Share(ONE), Share(TWO, count))


def test_without_a_group_a_step_is_a_percentage_of_the_stable_releases_minimum() -> None:
    assert swap_group(SWAP, step(50), NOTHING).shares == (Share(ONE), Share(TWO, 1))
    assert swap_group(Swap(TWO, ONE, "blue"), step(50), NOTHING).shares == (
        Share(TWO),
        Share(ONE, 2),
    )


def test_the_last_step_gives_the_candidate_everything_with_its_own_settings() -> None:
    target = swap_group(SWAP, step(100), FIVE)
    assert target == GroupTarget("blue", (Share(TWO),), TWO, 4, 8, False, 4, 3)


@pytest.mark.parametrize("stable", [None, replace(ONE, template=TWO.template)])
def test_with_nothing_to_swap_the_candidate_has_everything_at_once(stable: Release | None) -> None:
    target = swap_group(Swap(stable, TWO, "blue"), step(20), NOTHING)
    assert (target.shares, target.settings, target.may_scale_in) == ((Share(TWO),), TWO, False)


def test_a_group_has_at_least_one_instance_during_a_swap() -> None:
    scaling = ONE.spec.scaling.model_copy(update={"min": 0})
    idle = replace(ONE, spec=ONE.spec.model_copy(update={"scaling": scaling}))
    assert swap_group(Swap(None, idle, "blue"), step(100), NOTHING).min == 1
    assert steady_group(idle, "blue").min == 0


# ---- The strategy's targets


def test_a_release_names_its_strategy() -> None:
    assert list(STRATEGIES) == ["rolling", "canary", "blue_green"]
    assert isinstance(strategy_of(ONE), Rolling)


@pytest.mark.parametrize("serving", COLOURS)
def test_a_swap_happens_in_the_group_that_serves(serving: Colour) -> None:
    rollout = Rollout(Stepping(0, NOON), ONE, TWO, serving_group=serving)
    swap = swap_of(rollout, TWO)
    assert swap == Swap(ONE, TWO, serving)
    assert ROLLING.candidate_group(swap) == serving


def test_a_first_release_goes_to_the_first_group() -> None:
    swap = swap_of(Rollout(), TWO)
    assert swap == Swap(None, TWO, None)
    assert ROLLING.candidate_group(swap) == FIRST_GROUP == "blue"
    assert [each.colour for each in ROLLING.target(swap, FIRST, NOTHING).groups] == ["blue"]
    assert [each.colour for each in ROLLING.steady_target(TWO, None).groups] == ["blue"]


@pytest.mark.parametrize("serving", COLOURS)
def test_a_step_counts_the_instances_of_the_serving_group_alone(serving: Colour) -> None:
    swap = Swap(ONE, TWO, serving)
    other: Colour = "green" if serving == "blue" else "blue"
    both = Observed(
        (
            *group(*instances(ONE, 5), colour=serving).groups,
            *group(*instances(ONE, 50), colour=other).groups,
        )
    )
    [target] = ROLLING.target(swap, FIRST, both).groups
    assert (target.colour, target.shares) == (serving, (Share(ONE), Share(TWO, 1)))
    [target] = ROLLING.target(swap, FIRST, Observed(both.groups[1:])).groups
    assert (target.colour, target.shares) == (serving, (Share(ONE), Share(TWO, 1)))


@pytest.mark.parametrize("serving", COLOURS)
def test_the_way_back_is_the_stable_release_alone_without_scale_in(serving: Colour) -> None:
    observed = group(*instances(ONE, 3), *instances(TWO, 2), colour=serving)
    target = ROLLING.rollback_target(Swap(ONE, TWO, serving), observed, in_place=False)
    steady = steady_group(ONE, serving)
    assert target.groups == (replace(steady, may_scale_in=False),)


def test_the_way_back_in_place_needs_no_instance_more_than_there_are() -> None:
    target = ROLLING.rollback_target(Swap(ONE, TWO, "blue"), FIVE, in_place=True)
    assert [(each.surge, each.unavailable) for each in target.groups] == [(0, 1)]


def test_a_candidate_that_takes_over_gets_all_but_the_stable_instances_that_are_kept() -> None:
    def shares_of(stable_kept: int, percent: int) -> list[tuple[str, int | None]]:
        swap = Swap(ONE, TWO, "blue", stable_kept)
        shares = swap_group(swap, step(percent), FIVE).shares
        return [(share.release.version, share.count) for share in shares]

    assert shares_of(3, 10) == [("1", 3), ("2", None)]
    assert shares_of(5, 10) == [("1", 4), ("2", None)]
    assert shares_of(3, 80) == [("1", 1), ("2", None)]
    assert shares_of(0, 10) == [("2", None)]
    empty = replace(FIVE, groups=(replace(FIVE.groups[0], target_size=0),))
    assert len(swap_group(Swap(ONE, TWO, "blue", 3), step(10), empty).shares) == 1
    assert shares_of(3, 100) == [("2", None)]


def test_without_a_stable_release_the_way_back_is_nothing() -> None:
    assert ROLLING.rollback_target(Swap(None, TWO, "blue"), FIVE, in_place=False) == FleetTarget()


def test_the_steady_target_is_the_steady_group_with_all_traffic() -> None:
    assert ROLLING.steady_target(TWO, "green") == FleetTarget(
        (steady_group(TWO, "green"),), all_traffic_to("green", TWO)
    )


# ---- Traffic


def full_weight(colour: Colour, settings: Release) -> TrafficTarget:
    return TrafficTarget(settings, (TrafficWeight(colour, FULL_WEIGHT),))


def test_the_full_weight_is_the_largest_of_a_url_map() -> None:
    assert FULL_WEIGHT == 1000


@pytest.mark.parametrize("serving", COLOURS)
def test_the_serving_group_has_the_full_weight_in_every_target(serving: Colour) -> None:
    """The route has the stable release's settings until the candidate has everything."""
    swap, observed = Swap(ONE, TWO, serving), group(*instances(ONE, 5), colour=serving)
    targets = [
        ROLLING.target(swap, FIRST, observed),
        ROLLING.target(swap, SECOND, observed),
        ROLLING.rollback_target(swap, observed, in_place=False),
        ROLLING.steady_target(TWO, serving),
    ]
    assert [target.traffic for target in targets] == [
        full_weight(serving, settings) for settings in (ONE, TWO, ONE, TWO)
    ]


def test_a_model_that_is_not_exposed_has_no_route() -> None:
    assert all_traffic_to("blue", UNEXPOSED) is None
    swap = Swap(UNEXPOSED, UNEXPOSED, "blue")
    assert ROLLING.target(swap, FIRST, FIVE).traffic is None
    assert ROLLING.rollback_target(swap, FIVE, in_place=False).traffic is None
    assert ROLLING.steady_target(UNEXPOSED, "blue").traffic is None


def test_a_model_is_exposed_as_the_release_whose_settings_its_group_has() -> None:
    hides, exposes = Swap(ONE, UNEXPOSED, "blue"), Swap(UNEXPOSED, ONE, "blue")
    last = Stepping(2, NOON)
    assert ROLLING.target(hides, FIRST, FIVE).traffic == full_weight("blue", ONE)
    assert ROLLING.target(hides, last, FIVE).traffic is None
    assert ROLLING.target(exposes, FIRST, FIVE).traffic is None
    assert ROLLING.target(exposes, last, FIVE).traffic == full_weight("blue", ONE)
