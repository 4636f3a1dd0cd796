"""What failed once, and single kinds of trouble. README.md says how to read and replay a run.

A run that fails says its schedule as a file; shrink it with `python -m tests.simulation FILE` and keep it in `regressions/`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.simulation import plans
from tests.simulation import schedule as schedules
from tests.simulation.conftest import Survive
from tests.simulation.run import reference, run
from tests.simulation.schedule import Fault, Schedule

REGRESSIONS = sorted((Path(__file__).parent / "regressions").glob("*.json"))
<<<<<<< HEAD
MAIN = ("create", "swap", "retire", "two-models", "unexposed")
DEATHS = ("crash_before", "crash_after", "lost_reply", "no_effect", "pause_before", "pause_after")
SHARES = 4
SEEDS = 80


def check(*plans: Schedule) -> None:
    """Run them all and tell of every one that failed."""
    failed: list[Result] = [result for result in map(run, plans) if result.broken]
    told = [f"{result.why}\n{schedules.dump(result.schedule)}" + "\n".join(result.story[-15:]) for result in failed[:3]]
    assert not failed, f"{len(failed)} of {len(plans)} runs failed\n" + "\n\n".join(told)


@pytest.mark.parametrize("path", REGRESSIONS, ids=lambda path: path.stem)
def test_what_failed_once_never_fails_again(path: Path) -> None:
    check(schedules.read(path))


@pytest.mark.parametrize("share", range(SHARES))
@pytest.mark.parametrize("workload", MAIN)
def test_trouble_at_any_external_write_changes_nothing_in_the_end(workload: str, share: int) -> None:
    """Every write of the run without faults once, with one kind of trouble after the other."""
    points = [int(point.split()[0]) for point in reference(workload).points]
    kinds = [DEATHS[number % len(DEATHS)] for number in range(len(points))]
    chosen = list(zip(kinds, points, strict=True))[share::SHARES]
    check(*(Schedule(workload, (Fault(kind, at, seconds=200.0),)) for kind, at in chosen))


@pytest.mark.parametrize("code", ERRORS)
def test_every_class_of_error_is_survived_at_reads_and_writes(code: str) -> None:
    calls = reference("swap").calls
    check(
        *(
            Schedule("swap", (Fault("error", at, "compute.*", times, code=code),))
            for times, step in ((1, 6), (4, 4))
            for at in range(1, calls // 2, calls // step)
        )
    )


@pytest.mark.parametrize("code", OPERATION_ERRORS)
def test_an_operation_that_fails_is_an_action_that_did_not_happen(code: str) -> None:
    writes = [point.split() for point in reference("swap").points if " compute." in point]
    check(*(Schedule("swap", (Fault("operation_error", int(at), name, code=code),)) for at, name, _ in writes[::3]))


def test_an_operation_that_never_ends_holds_nothing_up_for_ever() -> None:
    writes = [point.split() for point in reference("swap").points if " compute." in point]
    check(*(Schedule("swap", (Fault("operation_never", int(at), name),)) for at, name, _ in writes[::3]))
=======


@pytest.mark.parametrize("path", REGRESSIONS, ids=lambda path: path.stem)
def test_what_failed_once_never_fails_again(survive: Survive, path: Path) -> None:
    survive([schedules.read(path)])
>>>>>>> 35bae43 (Simulate every death of 14 workloads, a matrix of 1,275 errors and 2,000 seeds with every commit)


@pytest.mark.parametrize("workload", ["pause", "rollback", "again", "recreate", "scale"])
def test_what_people_say_twice_or_late_is_said_once(survive: Survive, workload: str) -> None:
    """Each message of people once more, one to five times, at once and much later."""
    messages = reference(workload).messages
    survive(
        Schedule(workload, (Fault("duplicate", at, "model-releases", copies, seconds),))
        for at in range(1, messages // 2, 4)
        for copies, seconds in ((1, 0.0), (4, 200.0))
    )


@pytest.mark.parametrize("workload", ["swap", "rollback"])
def test_any_wake_up_may_be_lost(survive: Survive, workload: str) -> None:
    survive(Schedule(workload, (Fault("drop", at, "model-wakeups"),)) for at in range(1, reference(workload).messages - 50))


def test_all_wake_ups_may_be_lost_while_the_clock_ticks(survive: Survive) -> None:
    survive([Schedule(workload, (Fault("drop", 1, "model-wakeups", plans.FOR_EVER),)) for workload in ("swap", "rollback")])


def test_what_compute_engine_refuses_for_good_sends_the_release_back_with_the_reason() -> None:
    group = "compute.regionInstanceGroupManagers.patch"
    plan = Schedule("swap", (Fault("operation_error", 1, group, 3, code="QUOTA_EXCEEDED"),))
    result = run(plan)
    assert not result.broken, result.why
    assert result.end["tiny"]["outcomes"] == {"1": "succeeded", "2": "rolled_back"}
