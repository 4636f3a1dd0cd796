"""A seed always makes the same run, with every client and every store."""

from __future__ import annotations

import itertools

import pytest

from infra.store.sqlite import SqliteStore
from tests.assurance.simulation import generators
from tests.assurance.simulation import schedule as schedules
from tests.assurance.simulation.branches import run_all
from tests.assurance.simulation.run import reference, run
from tests.assurance.simulation.schedule import Fault, Schedule
from tests.assurance.simulation.workloads import WORKLOADS
from tests.memory_store import MemoryStore

NAMES = ("swap", "two-models", "supersede")


def draw(seed: int) -> Schedule:
    workload = NAMES[seed % len(NAMES)]
    return schedules.draw(seed, workload, len(reference(workload).calls))


@pytest.mark.parametrize("seed", range(6))
def test_the_same_seed_makes_the_same_run_call_for_call(seed: int) -> None:
    once, again = run(draw(seed), with_trace=True), run(draw(seed), with_trace=True)
    assert len(once.calls) > 100
    assert (once.trace_digest, once.trace) == (again.trace_digest, again.trace)


def test_different_seeds_make_different_runs() -> None:
    assert len({run(draw(seed), with_trace=True).trace_digest for seed in range(4)}) == 4


@pytest.mark.parametrize("seed", range(3))
def test_the_fast_calls_make_the_same_run_as_the_real_client(
    seed: int,
) -> None:
    plan = draw(seed)
    fast, real = run(plan, with_trace=True), run(plan, is_fast=False, with_trace=True)
    assert fast.trace == real.trace
    assert fast.trace_digest == real.trace_digest


def test_a_schedule_survives_a_round_trip_through_a_file() -> None:
    plan = draw(1)
    assert schedules.load(schedules.dump(plan)) == plan


def test_a_failing_schedule_shrinks_to_the_faults_that_it_needs() -> None:
    needed = Fault("lost_reply", 7)
    plan = Schedule(
        "swap", (Fault("drop", 1), needed, Fault("crash_after", 3), Fault("skew", 1, seconds=60.0))
    )
    assert schedules.shrink(plan, lambda each: needed in each.faults).faults == (needed,)


def test_branches_have_the_results_of_separate_runs() -> None:
    cells = generators.matrix("compute.regionInstanceGroupManagers.patch").values()
    plans = [
        *itertools.islice(generators.distinct_crashes("swap"), 5, None, 12),
        *itertools.islice(cells, 1, None, 10),
    ]
    assert run_all(plans, with_trace=True) == [run(plan, with_trace=True) for plan in plans]


@pytest.mark.parametrize("workload", WORKLOADS)
def test_every_workload_succeeds_without_faults(workload: str) -> None:
    found = reference(workload)
    assert found.violations == ()
    assert bool(found.end["refused"]) == (workload == "invalid-messages")


@pytest.mark.parametrize("seed", range(3))
def test_the_memory_store_makes_the_same_run_as_sqlite(seed: int) -> None:
    plan = draw(seed)
    ours, sqlite = (
        run(plan, with_trace=True, store=store)
        for store in (MemoryStore(), SqliteStore(":memory:"))
    )
    assert ours.trace
    assert (ours.trace_digest, ours.trace) == (sqlite.trace_digest, sqlite.trace)
