"""What the observed group shows of one release, and the progress that is kept of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from rollout.gates.clocks import State, decode, encode, lost_instances
from rollout.gates.release_health import ReleaseHealth, flaps_of, observe_release, update_progress
from rollout.model import Loss, Progress
from rollout.strategies.rolling import steady_group
from tests.rollout.build import NOON, at, instances, stuck
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


def progress_after(
    progress: Progress, found: ReleaseHealth, seconds: float, *losses: Loss
) -> Progress:
    return update_progress(found, progress, losses, at(seconds))[1]


START = Progress(0, NOON)
TWO_HEALTHY = progress_after(START, health(2), 5)
EXPLAINED = Loss("tiny-2-1", "environment", "preempted")


def test_more_healthy_instances_restart_the_time_and_as_many_change_nothing() -> None:
    assert (TWO_HEALTHY.healthy, TWO_HEALTHY.improved_at) == (2, at(5))
    assert progress_after(TWO_HEALTHY, health(2), 99) == TWO_HEALTHY


def test_a_group_that_grows_late_gives_its_new_instances_the_whole_deadline() -> None:
    grown = progress_after(TWO_HEALTHY, health(2, needed=3, others=1), 2000)
    assert grown.improved_at == at(2000)
    # The third one has never been healthy: that the group grows again gives it no more time.
    assert progress_after(grown, health(2, needed=4, others=2), 2500).improved_at == at(2000)
    sick = progress_after(START, health(1, needed=2, others=1), 5)
    assert progress_after(sick, health(1, needed=3, others=2), 2000).improved_at == at(5)


def test_a_fall_is_counted_once_however_long_it_lasts_and_again_after_a_recovery() -> None:
    fallen = progress_after(TWO_HEALTHY, health(1, others=1), 9)
    assert flaps_of(fallen, at(9)) == 1
    assert progress_after(fallen, health(1, others=1), 60) == fallen
    again = progress_after(progress_after(fallen, health(2), 70), health(1, others=1), 80)
    assert (flaps_of(again, at(80)), flaps_of(again, at(9 + 1800)), again.improved_at) == (
        2,
        1,
        at(5),
    )


def test_only_the_clock_of_the_instance_that_broke_starts_anew() -> None:
    progress = progress_after(TWO_HEALTHY, health(1, others=1), 9)
    found, _ = update_progress(health(2), progress, (), at(100))
    assert found.since("healthy") == [at(5), at(100)]
    assert (found.unproven(timedelta(seconds=95), at(100)), found.needed) == (1, 2)


@pytest.mark.parametrize(
    ("changes", "loss", "flaps", "state"),
    [
        # Its process fell while its VM ran.
        ({"health": "unhealthy"}, None, 1, "lost"),
        ({"health": "unhealthy"}, EXPLAINED, 0, "gone"),
        # Its VM went. Nobody knows why, or it is known.
        ({"status": "STOPPING"}, None, 0, "gone"),
        ({"action": "RECREATING", "status": ""}, None, 0, "gone"),
        ({"action": "RECREATING"}, EXPLAINED, 0, "gone"),
        ({"action": "RECREATING"}, replace(EXPLAINED, owner="release"), 1, "lost"),
        # It came back between two passes.
        ({"action": "VERIFYING"}, None, 0, "starting"),
        ({"action": "VERIFYING"}, replace(EXPLAINED, owner="release"), 1, "lost"),
        ({"health": "unknown"}, None, 0, "silent"),
    ],
)
def test_a_loss_is_the_releases_only_if_its_process_fell_while_its_vm_ran(
    changes: dict[str, Any], loss: Loss | None, flaps: int, state: State
) -> None:
    kept, broken = instances(TWO, 2)
    members = (kept, replace(broken, **changes))
    found = observe_release(target(2), TWO, view(*members))
    asks = {each.name for each in lost_instances(decode(TWO_HEALTHY.clocks), members)}
    assert asks == (set() if state == "silent" else {broken.name})
    weighed, progress = update_progress(found, TWO_HEALTHY, (loss,) if loss else (), at(60))
    assert flaps_of(progress, at(60)) == flaps
    assert weighed.since(state) == [at(60)]
    assert bool(progress.halted_since) == (state == "gone")


def test_an_instance_without_a_vm_has_no_clock_and_one_that_never_answered_keeps_its_own() -> None:
    new = observe_release(target(1), TWO, view(*instances(TWO, 1, action="CREATING")))
    creating = replace(new, instances=tuple(replace(each, status="") for each in new.instances))
    assert progress_after(START, creating, 5).clocks == ""
    starting = progress_after(START, health(0, others=1), 5)
    repaired = observe_release(target(1), TWO, view(*instances(TWO, 1, action="RECREATING")))
    assert progress_after(starting, repaired, 60) == starting
    taken = progress_after(starting, repaired, 60, Loss("tiny-2-0", "environment", "preempted"))
    assert (taken.halted_since, taken.halted_by) == (at(60), "preempted")
    no_room = replace(stuck(TWO, "stock-out", "the zone is down"), name="tiny-2-0")
    blocked = observe_release(target(1), TWO, view(no_room))
    assert progress_after(starting, blocked, 60).halted_since == at(60)


def test_a_deadline_begins_anew_when_the_environment_has_given_instances_back() -> None:
    away = view(instances(TWO, 1)[0], replace(instances(TWO, 2)[1], status="STOPPING"))
    halted = progress_after(TWO_HEALTHY, observe_release(target(2), TWO, away), 105)
    assert (halted.halted_since, halted.improved_at) == (at(105), at(5))
    assert progress_after(halted, observe_release(target(2), TWO, away), 5000) == halted
    back = progress_after(halted, health(1, others=1), 6105)
    assert (back.halted_since, back.improved_at) == (None, at(6105))


def test_growth_that_finds_no_capacity_neither_counts_nor_keeps_the_group_unstable() -> None:
    grown = view(*instances(TWO, 6), stuck(TWO, "quota", "no more"), is_stable=False)
    six = progress_after(START, observe_release(target(None), TWO, view(*instances(TWO, 6))), 5)
    found, progress = update_progress(observe_release(target(None), TWO, grown), six, (), at(60))
    assert (found.needed, found.is_reached, progress.halted_since) == (6, True, at(60))
    swapped = view(*instances(TWO, 5), stuck(TWO, "quota", "no more"))
    found, _ = update_progress(observe_release(target(None), TWO, swapped), six, (), at(60))
    assert (found.needed, found.is_reached) == (6, False)


def test_lost_capacity_of_the_stable_release_halts_the_deadline() -> None:
    """So does a zone that is down: what it took of the stable release cannot be created again."""
    six = progress_after(
        START, observe_release(target(1), TWO, view(*instances(ONE, 5), *instances(TWO, 1))), 5
    )
    down = view(*instances(ONE, 4), stuck(ONE, "stock-out", "none left"), *instances(TWO, 1))
    assert progress_after(six, observe_release(target(1), TWO, down), 60).halted_since == at(60)


def test_the_clocks_of_a_large_group_are_one_short_string() -> None:
    many = progress_after(START, health(2000), 5)
    assert len(many.clocks) < 12_000
    found, again = update_progress(health(2000), many, (), at(600))
    assert (again, found.unproven(timedelta(seconds=595), at(600))) == (many, 0)
    assert encode(decode(many.clocks)) == many.clocks


def test_a_swap_whose_room_the_groups_growth_took_is_halted() -> None:
    six = (*instances(ONE, 5), *instances(TWO, 1))
    begun = progress_after(START, observe_release(target(1), TWO, view(*six)), 5)
    grown = (*instances(ONE, 7), *instances(TWO, 1), stuck(TWO, "quota", "no more"))
    for size, halted_since in ((6, None), (8, at(60))):
        observed = view(*grown, target_size=size, is_stable=False)
        progress = progress_after(begun, observe_release(target(2), TWO, observed), 60)
        assert progress.halted_since == halted_since
