"""A worker crashes, or its reply is lost, at every write to the store, the bus and Compute Engine:
the final state is the same.
"""

from __future__ import annotations

import itertools

import pytest

from tests.assurance.simulation import generators, workloads
from tests.assurance.simulation.conftest import RunSchedules
from tests.assurance.simulation.run import reference

WORKLOADS = (
    "create",
    "swap",
    "settings",
    "abort",
    "rollback",
    "retire",
    "invalid-messages",
    "recreate",
    "retire-midway",
    "two-models",
    "busy",
    "in-place",
    "unexposed",
)
SECOND_GROUP = ("canary", "canary-abort", "blue-green")
"""Longer ones: the wide tier runs the crashes after their writes, the soak all kinds."""
LOST_REPLIES = ("create", "swap", "rollback", "retire", "two-models")
"""In the others it ends like a crash after the write, which all have; the soak runs both."""
CASES = [
    *itertools.product(WORKLOADS, ("crash_before", "crash_after")),
    *itertools.product(LOST_REPLIES, ("lost_reply",)),
    *itertools.product(SECOND_GROUP, ("crash_after",)),
]


@pytest.mark.wide
@pytest.mark.parametrize(("workload", "kind"), CASES)
def test_a_crash_at_any_external_write_does_not_change_the_final_state(
    run_schedules: RunSchedules, workload: str, kind: str
) -> None:
    run_schedules(generators.distinct_crashes(workload, (kind,)))


@pytest.mark.parametrize("workload", [*WORKLOADS, *SECOND_GROUP])
def test_a_crash_at_a_sample_of_writes_does_not_change_the_final_state(
    run_schedules: RunSchedules, workload: str
) -> None:
    run_schedules(generators.sample(generators.distinct_crashes(workload)))


def test_only_crashes_that_leave_the_same_state_as_another_are_left_to_the_soak() -> None:
    """Each omitted crash is in the prefix shared with another workload, or comes less than a second
    after one that is included: the crash after the same worker's previous write.
    """
    assert [*generators.distinct_crashes("create", ("crash_after",))] == [
        *generators.crashes("create", ("crash_after",))
    ]
    assert len(generators.writes("create")) >= 25
    for workload in WORKLOADS:
        made = reference(workload).call_log
        every = {*generators.crashes(workload)}
        kept = {*generators.distinct_crashes(workload)}
        after = [int(each.faults[0].at) for each in kept if each.faults[0].kind == "crash_after"]
        assert kept < every
        for (fault,) in (schedule.faults for schedule in every - kept):
            at = int(fault.at)
            earlier = max((each for each in after if each < at), default=at)
            workers = {worker for _, worker in made[earlier - 1 : at]}
            is_immediate = (
                earlier < at and len(workers) == 1 and made[at - 1][0] - made[earlier - 1][0] < 1.0
            )
            is_same = fault.kind == "crash_before" and is_immediate
            assert is_same or is_shared_with_another(workload, at), (workload, fault)


def test_a_worker_stalls_at_every_call_that_is_not_shared_with_another_workload() -> None:
    for workload in WORKLOADS:
        stalled = {int(schedule.faults[0].at) for schedule in generators.call_stalls(workload)}
        calls = {*range(1, generators.calls_until_idle(workload) + 1)}
        assert max(at for at, _ in generators.writes(workload)) in calls
        assert stalled <= calls
        assert all(is_shared_with_another(workload, at) for at in calls - stalled), workload


def is_shared_with_another(workload: str, at: int) -> bool:
    """Whether the run of a workload is identical up to a call to that of the one that covers its
    beginning.
    """
    covering = generators.COVERED_BY.get(workload, generators.PREFIX)
    found, other = reference(workload), reference(covering)
    steps = workloads.WORKLOADS[covering].steps
    begins_alike = workloads.WORKLOADS[workload].steps[: len(steps)] == steps
    taken = found.calls_before_steps
    return (
        begins_alike
        and len(taken) > len(steps)
        and at <= taken[len(steps)]
        and (found.calls[:at], found.call_log[:at]) == (other.calls[:at], other.call_log[:at])
    )


@pytest.mark.wide
@pytest.mark.parametrize("kind", ["stall_before", "stall_after"])
def test_a_worker_that_stalls_at_any_write_past_its_lease_changes_nothing(
    run_schedules: RunSchedules, kind: str
) -> None:
    stalls = generators.write_stalls(generators.MAIN)
    run_schedules(stall for stall in stalls if stall.faults[0].kind == kind)


def test_a_worker_that_stalls_at_a_sample_of_writes_changes_nothing(
    run_schedules: RunSchedules,
) -> None:
    run_schedules(generators.sample(generators.write_stalls(generators.MAIN)))
