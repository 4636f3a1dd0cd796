"""`survive` runs schedules, and tells the run's end how many there were in how much of a
processor's time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import pytest

from tests.assurance.simulation import schedule as schedules
from tests.assurance.simulation.run import FEW_QUIET_TICKS, Result, run
from tests.assurance.simulation.schedule import Schedule
from tests.conftest import SIMULATED

Survive = Callable[[Iterable[Schedule]], list[Result]]


@pytest.fixture
def survive(record_property: Callable[[str, object], None]) -> Survive:
    """Runs them all, and fails with the story of those that did."""

    def survive(plans: Iterable[Schedule]) -> list[Result]:
        began = time.process_time()
        results = [run(plan, quiet_ticks=FEW_QUIET_TICKS) for plan in plans]
        rollouts = sum(result.rollouts for result in results)
        record_property(SIMULATED, (len(results), rollouts, time.process_time() - began))
        assert results, "there is no schedule to run"
        failed = [result for result in results if result.broken]
        told = [
            f"{result.why}\n{schedules.dump(result.schedule)}" + "\n".join(result.story[-15:])
            for result in failed[:3]
        ]
        assert not failed, f"{len(failed)} of {len(results)} runs failed\n" + "\n\n".join(told)
        return results

    return survive
