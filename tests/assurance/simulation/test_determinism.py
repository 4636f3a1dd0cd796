"""One seed is one run: the same trace however often, on whatever client."""

from __future__ import annotations

import pytest

from infra.store.sqlite import SqliteStore
from tests.assurance.simulation import schedule as schedules
from tests.assurance.simulation.memory import MemoryStore
from tests.assurance.simulation.run import reference, run
from tests.assurance.simulation.schedule import Fault, Schedule
from tests.assurance.simulation.workloads import WORKLOADS

NAMES = ("swap", "two-models", "supersede")


def drawn(seed: int) -> Schedule:
    workload = NAMES[seed % len(NAMES)]
    return schedules.drawn(seed, workload, len(reference(workload).calls))


@pytest.mark.parametrize("seed", range(6))
def test_the_same_seed_is_the_same_run_to_the_last_call(seed: int) -> None:
    once, again = run(drawn(seed), is_told=True), run(drawn(seed), is_told=True)
    assert len(once.calls) > 100
    assert (once.trace, once.story) == (again.trace, again.story)


def test_other_seeds_are_other_runs() -> None:
    assert len({run(drawn(seed), is_told=True).trace for seed in range(4)}) == 4


@pytest.mark.parametrize("seed", range(3))
def test_the_calls_without_the_client_make_the_very_run_that_the_real_client_makes(
    seed: int,
) -> None:
    plan = drawn(seed)
    fast, real = run(plan, is_told=True), run(plan, is_fast=False, is_told=True)
    assert fast.story == real.story
    assert fast.trace == real.trace


def test_a_schedule_is_the_same_after_a_file() -> None:
    plan = drawn(1)
    assert schedules.load(schedules.dump(plan)) == plan


def test_a_failing_schedule_shrinks_to_the_faults_that_it_needs() -> None:
    needed = Fault("lost_reply", 7)
    plan = Schedule(
        "swap", (Fault("drop", 1), needed, Fault("crash_after", 3), Fault("skew", 1, seconds=60.0))
    )
    assert schedules.shrunk(plan, lambda each: needed in each.faults).faults == (needed,)


@pytest.mark.parametrize("workload", WORKLOADS)
def test_every_workload_ends_well_when_nothing_goes_wrong(workload: str) -> None:
    assert reference(workload).broken == ()


@pytest.mark.parametrize("seed", range(3))
def test_the_store_of_dictionaries_makes_the_very_run_that_sqlite_makes(seed: int) -> None:
    plan = drawn(seed)
    ours, sqlite = (
        run(plan, is_told=True, store=store) for store in (MemoryStore(), SqliteStore(":memory:"))
    )
    assert ours.story
    assert (ours.trace, ours.story) == (sqlite.trace, sqlite.story)
