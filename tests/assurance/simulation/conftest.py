"""The fixture `run_schedules`, which also reports schedules, rollouts and processor time for the
summary of the test run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import pytest

from tests.assurance.simulation import schedule as schedules
from tests.assurance.simulation.run import FEW_IDLE_TICKS, Result, run
from tests.assurance.simulation.schedule import Schedule
from tests.conftest import SIMULATED

RunSchedules = Callable[[Iterable[Schedule]], list[Result]]


@pytest.fixture
def run_schedules(record_property: Callable[[str, object], None]) -> RunSchedules:
    """Runs all schedules and fails with the traces of those that failed."""

    def run_schedules(plans: Iterable[Schedule]) -> list[Result]:
        began = time.process_time()
        results = [run(plan, idle_ticks=FEW_IDLE_TICKS) for plan in plans]
        rollouts = sum(result.rollouts for result in results)
        record_property(SIMULATED, (len(results), rollouts, time.process_time() - began))
        assert results, "there is no schedule to run"
        failed = [result for result in results if result.violations]
        reports = [
            f"{result.why}\n{schedules.dump(result.schedule)}" + "\n".join(result.trace[-15:])
            for result in failed[:3]
        ]
        assert not failed, f"{len(failed)} of {len(results)} runs failed\n" + "\n\n".join(reports)
        return results

    return run_schedules
