"""What the observed group shows of one release, and the progress that is kept of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rollout.gates.release_health import ReleaseHealth, observe_release, update_progress
from rollout.model import Progress
from rollout.strategies.rolling import steady_group
from tests.rollout.build import NOON, at, instances
from tests.rollout.health import ONE, TWO, health, target, view


@pytest.mark.parametrize(
    ("count", "size", "needed"), [(2, 4, 2), (9, 4, 4), (None, 4, 4), (0, 4, 0)]
)
def test_a_release_needs_its_share_but_no_more_than_the_group_has(
    count: int | None, size: int, needed: int
) -> None:
    assert observe_release(target(count), TWO, view(*instances(ONE, size))).needed == needed


def test_a_release_without_a_share_needs_the_whole_group() -> None:
    assert observe_release(steady_group(ONE, "blue"), TWO, view(*instances(ONE, 4))).needed == 4


@pytest.mark.parametrize(("minimum", "needed"), [(3, 3), (1, 1), (0, 1)])
def test_without_a_group_the_minimum_is_needed_and_at_least_one(minimum: int, needed: int) -> None:
    found = observe_release(replace(target(2), min=minimum), TWO, None)
    assert found == ReleaseHealth(TWO, needed, (), None)


@pytest.mark.parametrize(
    ("action", "counts"),
    [("NONE", True), ("RESTARTING", True), ("DELETING", False), ("ABANDONING", False)],
)
def test_an_instance_that_is_being_deleted_does_not_count(action: str, counts: bool) -> None:
    found = observe_release(
        target(1), TWO, view(*instances(ONE, 3), *instances(TWO, 1, action=action))
    )
    assert len(found.instances) == counts


def test_only_a_settled_instance_that_is_reported_healthy_is_healthy() -> None:
    kinds = [
        *instances(TWO, 2),
        *instances(TWO, 1, "unhealthy", start=2),
        *instances(TWO, 1, "unknown", start=3),
        *instances(TWO, 1, action="VERIFYING", start=4),
        *(replace(each, status="STAGING") for each in instances(TWO, 1, start=5)),
    ]
    found = observe_release(target(6), TWO, view(*kinds))
    assert (found.healthy, len(found.instances)) == (2, 6)
    assert str(found) == "2 of 6 instances of release 2 are healthy"


@pytest.mark.parametrize(
    ("found", "is_well"),
    [
        (health(2), True),
        (health(1, needed=2), False),
        (health(2, needed=1), True),
        (health(2, needed=2, others=1), False),
        (health(0), True),
    ],
)
def test_a_release_is_well_if_it_has_enough_instances_and_all_are_healthy(
    found: ReleaseHealth, is_well: bool
) -> None:
    assert found.is_well == is_well


@pytest.mark.parametrize(
    ("found", "is_reached"),
    [
        (health(1), True),
        (health(1, is_stable=False), False),
        (health(1, target_size=5), False),
        (health(1, others=1), False),
        (observe_release(replace(target(0), min=0), TWO, None), False),
    ],
)
def test_a_target_is_reached_if_the_group_is_stable_on_its_versions_and_the_release_is_well(
    found: ReleaseHealth, is_reached: bool
) -> None:
    assert found.is_reached is is_reached


@pytest.mark.parametrize(
    ("found", "has_no_data"),
    [
        (health(0, others=2, state="unknown"), True),
        (health(1, others=1, state="unknown"), False),
        (health(0), False),
        (
            observe_release(target(1), TWO, view(*instances(TWO, 1, "unknown", action="CREATING"))),
            False,
        ),
    ],
)
def test_there_is_no_data_if_the_health_of_every_settled_instance_is_unknown(
    found: ReleaseHealth, has_no_data: bool
) -> None:
    assert found.has_no_data == has_no_data


# ---- Progress


def test_more_healthy_instances_restart_the_time_and_keep_the_number_of_flaps() -> None:
    assert update_progress(Progress(1, NOON, 2, at(5)), health(2), at(9)) == Progress(2, at(9), 2)


def test_as_many_healthy_instances_as_before_only_end_a_degradation() -> None:
    assert update_progress(Progress(2, NOON, 1), health(2), at(9)) == Progress(2, NOON, 1)
    assert update_progress(Progress(2, NOON, 1, at(5)), health(2), at(9)) == Progress(2, NOON, 1)


def test_a_flap_is_counted_once_however_long_it_lasts() -> None:
    degraded = update_progress(Progress(2, NOON, 1), health(1, others=1), at(9))
    assert degraded == Progress(2, NOON, 2, at(9))
    assert update_progress(degraded, health(0, others=2), at(20)) == degraded
