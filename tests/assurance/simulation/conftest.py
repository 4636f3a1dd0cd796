"""The fixture `run_schedules`, which also reports schedules, rollouts and processor time for the
summary of the test run.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

import pytest

from tests.assurance.simulation import schedule as schedules
from tests.assurance.simulation.branches import run_all
from tests.assurance.simulation.run import FEW_IDLE_TICKS, Result
from tests.assurance.simulation.schedule import Schedule
from tests.conftest import SIMULATED

RunSchedules = Callable[[Iterable[Schedule]], list[Result]]


@pytest.fixture
def run_schedules(record_property: Callable[[str, object], None]) -> RunSchedules:
    """Runs all schedules and fails with the traces of those that failed."""

    def run_schedules(plans: Iterable[Schedule]) -> list[Result]:
        began = _cpu_seconds()
        results = run_all(plans, idle_ticks=FEW_IDLE_TICKS)
        rollouts = sum(result.rollouts for result in results)
        record_property(SIMULATED, (len(results), rollouts, _cpu_seconds() - began))
        assert results, "there is no schedule to run"
        failed = [result for result in results if result.violations]
        reports = [
            f"{result.why}\n{schedules.dump(result.schedule)}" + "\n".join(result.trace[-15:])
            for result in failed[:3]
        ]
        assert not failed, f"{len(failed)} of {len(results)} runs failed\n" + "\n\n".join(reports)
        return results

    return run_schedules


def _cpu_seconds() -> float:
    """Of this process and of its branches."""
    return sum(os.times()[:4])
