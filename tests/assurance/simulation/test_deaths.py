"""A worker dies, or its answer is lost, at every single write to the store, the bus and Compute
Engine: the end is the same."""

from __future__ import annotations

import pytest

from tests.assurance.simulation import plans, workloads
from tests.assurance.simulation.conftest import Survive
from tests.assurance.simulation.run import reference

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
def test_trouble_at_any_external_write_changes_nothing_in_the_end(
    survive: Survive, workload: str, kind: str
) -> None:
    survive(plans.distinct_deaths(workload, (kind,)))


def test_only_deaths_that_leave_the_same_world_as_another_one_are_left_to_the_soak() -> None:
    """Each that is left out is in the story of `create`, or comes less than a second after one that
    is there: the death after the same worker's write before."""
    assert [*plans.distinct_deaths("create", ("crash_after",))] == [
        *plans.deaths("create", ("crash_after",))
    ]
    assert len(plans.writes("create")) >= 25
    for workload in WORKLOADS:
        made = reference(workload).made
        all_of_them, tried = {*plans.deaths(workload)}, {*plans.distinct_deaths(workload)}
        after = [int(each.faults[0].at) for each in tried if each.faults[0].kind == "crash_after"]
        assert tried < all_of_them
        for (fault,) in (schedule.faults for schedule in all_of_them - tried):
            at = int(fault.at)
            earlier = max((each for each in after if each < at), default=at)
            workers = {worker for _, worker in made[earlier - 1 : at]}
            is_at_once = (
                earlier < at and len(workers) == 1 and made[at - 1][0] - made[earlier - 1][0] < 1.0
            )
            assert is_of_create(workload, at) or (fault.kind == "crash_before" and is_at_once), (
                workload,
                fault,
            )


def test_a_worker_freezes_at_every_call_until_rest_that_is_not_of_the_story_of_create() -> None:
    for workload in WORKLOADS:
        frozen = {int(schedule.faults[0].at) for schedule in plans.zombies(workload)}
        calls = {*range(1, plans.until_rest(workload) + 1)}
        assert max(at for at, _ in plans.writes(workload)) in calls
        assert frozen <= calls
        assert all(is_of_create(workload, at) for at in calls - frozen), workload


def is_of_create(workload: str, at: int) -> bool:
    """Whether a workload's story is that of `create` up to a call, and another one's."""
    found, create = reference(workload), reference("create")
    is_asked_alike = workloads.WORKLOADS[workload].steps[:1] == workloads.WORKLOADS["create"].steps
    is_first = len(found.steps) > 1 and at <= found.steps[1]
    return (
        is_asked_alike
        and is_first
        and (found.calls[:at], found.made[:at]) == (create.calls[:at], create.made[:at])
    )


@pytest.mark.parametrize("kind", ["pause_before", "pause_after"])
def test_a_worker_that_stands_still_at_any_write_and_wakes_too_late_changes_nothing(
    survive: Survive, kind: str
) -> None:
    survive(plan for plan in plans.freezes(plans.MAIN) if plan.faults[0].kind == kind)
