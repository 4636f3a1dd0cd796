"""What the steps of a rollout ask of the group: how many of each release, within which bounds, with
whose settings."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rollout.model import GroupTarget, Observed, Release, Share
from rollout.strategies import STRATEGIES
from rollout.strategies.base import Swap, steps_digest
from rollout.strategies.rolling import instances_of, rolling_steps, steady_group, swap_group
from tests.rollout.build import group, instances, release, step

ONE = release("1", scaling={"min": 2, "max": 8})
TWO = release(
    "2", scaling={"min": 4, "max": 6}, rollout={"steps": [20, 100], "surge": 4, "unavailable": 3}
)
SAME = replace(TWO, template=ONE.template)


@pytest.mark.parametrize(
    ("percent", "size", "count"),
    [
        (10, 3, 1),
        (50, 3, 2),
        (10, 25, 3),
        (100, 7, 7),
        (1, 1000, 10),
        (1, 1, 1),
        (50, 4, 2),
        (51, 4, 3),
        (0, 4, 1),
        (50, 0, 1),
    ],
)
def test_a_share_is_rounded_up_and_at_least_one(percent: int, size: int, count: int) -> None:
    assert instances_of(percent, size) == count


def test_the_ladder_is_what_the_candidate_asked_for() -> None:
    assert rolling_steps(Swap(ONE, TWO, "blue")) == (step(20), step(100))


def test_where_there_is_nothing_to_swap_the_ladder_has_one_step() -> None:
    assert (
        rolling_steps(Swap(None, TWO, "blue"))
        == rolling_steps(Swap(ONE, SAME, "blue"))
        == (step(100),)
    )


def test_a_release_that_stands_has_its_own_bounds_and_may_shrink() -> None:
    assert steady_group(TWO, "blue") == GroupTarget("blue", (Share(TWO),), TWO, 4, 6, True, 4, 3)
    assert steady_group(ONE, "blue") == GroupTarget("blue", (Share(ONE),), ONE, 2, 8, True, 3, 0)


def test_a_release_without_a_surge_asks_for_none() -> None:
    bare = replace(
        ONE,
        spec=ONE.spec.model_copy(
            update={"rollout": ONE.spec.rollout.model_copy(update={"surge": None})}
        ),
    )
    assert steady_group(bare, "blue").surge == 0
    assert swap_group(Swap(None, bare, "blue"), step(100), None).surge == 0


def test_a_swap_has_the_wider_bounds_of_both_and_the_stable_releases_settings() -> None:
    seen = group(*instances(ONE, 5)).group("blue")
    shares = (Share(ONE), Share(TWO, 1))
    assert swap_group(Swap(ONE, TWO, "blue"), step(20), seen) == GroupTarget(
        "blue", shares, ONE, 4, 8, False, 4, 3
    )
    assert swap_group(Swap(TWO, ONE, "blue"), step(20), seen) == GroupTarget(
        "blue", (Share(TWO), Share(ONE, 1)), TWO, 4, 8, False, 3, 0
    )


@pytest.mark.parametrize(("percent", "count"), [(20, 1), (40, 2), (99, 5)])
def test_a_step_counts_from_the_size_that_the_group_has(percent: int, count: int) -> None:
    seen = group(*instances(ONE, 5)).group("blue")
    assert swap_group(Swap(ONE, TWO, "blue"), step(percent), seen).shares == (
        Share(ONE),
        Share(TWO, count),
    )


def test_without_a_group_a_step_counts_from_the_stable_releases_least() -> None:
    assert swap_group(Swap(ONE, TWO, "blue"), step(50), None).shares == (Share(ONE), Share(TWO, 1))
    assert swap_group(Swap(TWO, ONE, "blue"), step(50), None).shares == (Share(TWO), Share(ONE, 2))


def test_the_last_step_gives_the_candidate_everything_with_its_own_settings() -> None:
    target = swap_group(Swap(ONE, TWO, "blue"), step(100), group(*instances(ONE, 5)).group("blue"))
    assert target == GroupTarget("blue", (Share(TWO),), TWO, 4, 8, False, 4, 3)


@pytest.mark.parametrize("stable", [None, replace(ONE, template=TWO.template)])
def test_where_nothing_is_swapped_the_candidate_has_everything_at_once(
    stable: Release | None,
) -> None:
    target = swap_group(Swap(stable, TWO, "blue"), step(20), None)
    assert (target.shares, target.settings, target.may_scale_in) == ((Share(TWO),), TWO, False)


def test_a_group_in_mid_swap_holds_at_least_one_instance() -> None:
    empty = ONE.spec.model_copy(update={"scaling": ONE.spec.scaling.model_copy(update={"min": 0})})
    idle = replace(ONE, spec=empty)
    assert swap_group(Swap(None, idle, "blue"), step(100), None).min == 1
    assert steady_group(idle, "blue").min == 0


def test_the_strategy_looks_at_the_group_there_is() -> None:
    rolling = STRATEGIES["rolling"]
    observed = group(*instances(ONE, 5))
    assert rolling.steps(Swap(ONE, TWO, "blue")) == (step(20), step(100))
    assert rolling.groups(Swap(ONE, TWO, "blue"), step(40), observed)[0].shares == (
        Share(ONE),
        Share(TWO, 2),
    )
    assert rolling.groups(Swap(ONE, TWO, "blue"), step(40), Observed())[0].shares == (
        Share(ONE),
        Share(TWO, 1),
    )
    assert len(rolling.groups(Swap(ONE, TWO, "blue"), step(40), observed)) == 1


def test_a_ladders_hash_tells_ladders_apart_and_stays_the_same_for_ever() -> None:
    """It is stored in mid-rollout: were it made otherwise, every rollout under way would begin its
    ladder again."""
    assert steps_digest((step(10), step(50), step(100))) == "1f441370fcef"
    assert steps_digest((step(10), step(100))) != steps_digest((step(10), step(50), step(100)))
