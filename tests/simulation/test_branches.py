"""Runs that share their beginning are the very runs that each schedule makes alone."""

from __future__ import annotations

import pytest

from tests.simulation import plans
from tests.simulation.conftest import Together
from tests.simulation.run import run
from tests.simulation.schedule import Fault, Schedule
from tests.simulation.workloads import WORKLOADS

ODD = (
    Schedule("swap"),  # leaves the trunk only when everything is mended
    Schedule("swap", (Fault("load", 1000.0, code="3"),)),
    Schedule("swap", (Fault("stale", 40, "compute.*", seconds=20.0), Fault("skew", 3, seconds=60.0))),
    Schedule("swap", (Fault("drop", 5, "model-releases"),), chaos_seconds=1.0),
    Schedule("swap", (Fault("crash_after", 1_000_000),), chaos_seconds=30.0),
)


@pytest.mark.parametrize("workload", WORKLOADS)
def test_a_run_is_the_same_alone_and_together_with_others(together: Together, workload: str) -> None:
    schedules = [plans.of_seed(seed) for seed in range(3 * len(WORKLOADS)) if plans.workload_of(seed) == workload]
    schedules += list(plans.deaths(workload))[::40]
    _compare(together, schedules)


def test_so_is_one_that_is_struck_late_or_never(together: Together) -> None:
    _compare(together, [*ODD, ODD[0]])


def _compare(together: Together, schedules: list[Schedule]) -> None:
    shared, _ = together(schedules, is_told=True)
    alone = [run(schedule, is_told=True) for schedule in schedules]
    assert [each.story for each in shared] == [each.story for each in alone]
    assert shared == alone
