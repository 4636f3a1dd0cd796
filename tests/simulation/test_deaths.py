"""A worker dies, or its answer is lost, at every single write to the store, the bus and Compute Engine: the end is the same."""

from __future__ import annotations

import pytest

from tests.simulation import plans
from tests.simulation.conftest import Survive
from tests.simulation.run import reference

WORKLOADS = (
    "create",
    "swap",
    "settings",
    "abort",
    "rollback",
    "retire",
    "nonsense",
    "recreate",
    "retire-midway",
    "two-models",
    "busy",
    "in-place",
    "unexposed",
)


@pytest.mark.parametrize("kind", plans.DEATHS)
@pytest.mark.parametrize("workload", WORKLOADS)
def test_trouble_at_any_external_write_changes_nothing_in_the_end(survive: Survive, workload: str, kind: str) -> None:
    survive(plans.distinct_deaths(workload, (kind,)))


def test_only_deaths_that_leave_the_same_world_as_another_one_are_left_to_the_soak() -> None:
    """Each that is left out is in the story of `create`, or comes less than a second after one that is there: the death after the
    write before."""
    assert [*plans.distinct_deaths("create", ("crash_after",))] == [*plans.deaths("create", ("crash_after",))]
    assert len(plans.writes("create")) >= 25
    for workload in WORKLOADS:
        found = reference(workload)
        all_of_them, tried = {*plans.deaths(workload)}, {*plans.distinct_deaths(workload)}
        assert tried < all_of_them
        for schedule in all_of_them - tried:
            (fault,) = schedule.faults
            at = int(fault.at)
            is_of_create = found.calls[:at] == reference("create").calls[:at] and found.made[:at] == reference("create").made[:at]
            twin = [each for each in tried if each.faults[0].kind == "crash_after" and each.faults[0].at < at]
            nearest = max((int(each.faults[0].at) for each in twin), default=0)
            is_at_once = nearest and found.made[at - 1][0] - found.made[nearest - 1][0] < 1.0
            assert is_of_create or (fault.kind == "crash_before" and is_at_once), schedule


@pytest.mark.parametrize("kind", ["pause_before", "pause_after"])
def test_a_worker_that_stands_still_at_any_write_and_wakes_too_late_changes_nothing(survive: Survive, kind: str) -> None:
    survive(plan for plan in plans.freezes(plans.MAIN) if plan.faults[0].kind == kind)
