"""Past failures, and single kinds of message faults. README.md says how to read and replay a run.

A failing test prints its schedule as JSON; save it, replay it with `python -m
tests.assurance.simulation FILE`, and keep it in `regressions/`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.assurance.simulation import generators
from tests.assurance.simulation import schedule as schedules
from tests.assurance.simulation.conftest import RunSchedules
from tests.assurance.simulation.run import reference, run
from tests.assurance.simulation.schedule import Fault, Schedule
from tests.assurance.simulation.workloads import WORKLOADS

REGRESSIONS = sorted((Path(__file__).parent / "regressions").glob("*.json"))


@pytest.mark.parametrize("path", REGRESSIONS, ids=lambda path: path.stem)
def test_past_failures_stay_fixed(run_schedules: RunSchedules, path: Path) -> None:
    run_schedules([schedules.read(path)])


@pytest.mark.parametrize("workload", ["pause", "rollback", "again", "recreate", "scale"])
def test_a_duplicate_or_late_user_message_has_no_effect(
    run_schedules: RunSchedules, workload: str
) -> None:
    """One extra copy of each user message at once, and three much later: with an even number in
    all, rollbacks would undo each other.
    """
    sent = reference(workload).user_messages
    assert len(sent) == sum(not step.do for step in WORKLOADS[workload].steps)
    run_schedules(
        Schedule(workload, (Fault("duplicate", at, "model-releases", copies, seconds),))
        for at in sent
        for copies, seconds in ((1, 0.0), (3, 200.0))
    )


@pytest.mark.parametrize("workload", ["swap", "rollback"])
def test_any_wake_up_may_be_lost(run_schedules: RunSchedules, workload: str) -> None:
    run_schedules(
        Schedule(workload, (Fault("drop", at, "model-wakeups"),))
        for at in range(1, reference(workload).messages + 1)
    )


def test_all_wake_ups_except_ticks_may_be_lost(run_schedules: RunSchedules) -> None:
    run_schedules(
        [
            Schedule(workload, (Fault("drop", 1, "model-wakeups", generators.FOREVER),))
            for workload in ("swap", "rollback")
        ]
    )


def test_a_permanent_refusal_by_compute_engine_rolls_the_release_back() -> None:
    group = "compute.regionInstanceGroupManagers.patch"
    plan = Schedule("swap", (Fault("operation_error", 1, group, 3, code="QUOTA_EXCEEDED"),))
    result = run(plan)
    assert not result.violations, result.why
    assert result.end["tiny"]["outcomes"] == {"1": "succeeded", "2": "rolled_back"}
