"""What failed once, and single kinds of trouble. README.md says how to read and replay a run.

A run that fails says its schedule as a file; shrink it with `python -m tests.assurance.simulation
FILE` and keep it in `regressions/`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.assurance.simulation import plans
from tests.assurance.simulation import schedule as schedules
from tests.assurance.simulation.conftest import Survive
from tests.assurance.simulation.run import reference, run
from tests.assurance.simulation.schedule import Fault, Schedule
from tests.assurance.simulation.workloads import WORKLOADS

REGRESSIONS = sorted((Path(__file__).parent / "regressions").glob("*.json"))


@pytest.mark.parametrize("path", REGRESSIONS, ids=lambda path: path.stem)
def test_what_failed_once_never_fails_again(survive: Survive, path: Path) -> None:
    survive([schedules.read(path)])


@pytest.mark.parametrize("workload", ["pause", "rollback", "again", "recreate", "scale"])
def test_what_people_say_twice_or_late_is_said_once(survive: Survive, workload: str) -> None:
    """Each message of people once more at once, and thrice more much later: an even number of
    rollbacks would undo itself."""
    said = reference(workload).said
    assert len(said) == sum(not step.do for step in WORKLOADS[workload].steps)
    survive(
        Schedule(workload, (Fault("duplicate", at, "model-releases", copies, seconds),))
        for at in said
        for copies, seconds in ((1, 0.0), (3, 200.0))
    )


@pytest.mark.parametrize("workload", ["swap", "rollback"])
def test_any_wake_up_may_be_lost(survive: Survive, workload: str) -> None:
    survive(
        Schedule(workload, (Fault("drop", at, "model-wakeups"),))
        for at in range(1, reference(workload).messages + 1)
    )


def test_all_wake_ups_may_be_lost_while_the_clock_ticks(survive: Survive) -> None:
    survive(
        [
            Schedule(workload, (Fault("drop", 1, "model-wakeups", plans.FOR_EVER),))
            for workload in ("swap", "rollback")
        ]
    )


def test_what_compute_engine_refuses_for_good_sends_the_release_back_with_the_reason() -> None:
    group = "compute.regionInstanceGroupManagers.patch"
    plan = Schedule("swap", (Fault("operation_error", 1, group, 3, code="QUOTA_EXCEEDED"),))
    result = run(plan)
    assert not result.broken, result.why
    assert result.end["tiny"]["outcomes"] == {"1": "succeeded", "2": "rolled_back"}
