"""Counts the calls of a swap, its cost in function calls, the cost of passes over a settled model,
and the writes of the URL map for many models, in virtual time.

Uses the journeys' scenario, with the Compute Engine emulator in this process. Calls come from the
emulator's log of a whole swap; writes are counted at the store, the bus and the Compute client's
transport.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from statistics import median
from typing import Any

from bench.function_calls import count
from bench.results import Row, row
from bench.setting import release_message
from compute_emulator import LoggedCall
from handlers.reconcile.loop import reconcile
from tests.concurrent import ConcurrentScenario
from tests.routes import canaries_and_a_rollback
from tests.scenario import InterceptedBus, InterceptedStore, Scenario, intercepted_transport

PASSES, BATCHES = 40, 5
WRITE_SECONDS = 30.0
READS = ("get", "list", "aggregatedList", "wait")


def changes(calls: list[LoggedCall]) -> list[LoggedCall]:
    """The calls that change something, or were meant to."""
    return [call for call in calls if not call.method.rpartition(".")[2].startswith(READS)]


def swap() -> Row:
    """Mutating calls from the publication of the second release until the model is settled, without
    the insert of its template.
    """
    scenario = _serving()
    scenario.emulator.calls.clear()
    began = scenario.clock.now()
    scenario.when_published(release_message("2"))
    scenario.when_settled()
    made = changes(list(scenario.emulator.calls.log))
    counted = [call for call in made if call.method != "compute.instanceTemplates.insert"]
    entered = [
        (entry["at"].timestamp(), entry["to"]) for entry in scenario.log() if entry["at"] >= began
    ]
    steps = [phase for _, phase in entered if phase.startswith("step_")]
    if scenario.serving_version() != "2" or len(made) - len(counted) != 1:
        raise RuntimeError("the swap did not go as expected:\n" + scenario.history())
    by_phase = Counter([phase for at, phase in entered if at <= call.at][-1] for call in counted)
    how = (
        f"changes in the emulator's log of a whole swap in {len(steps)} steps, without the"
        " template's insert, divided by steps; virtual time"
    )
    return row(
        "swap_mutations_per_step",
        len(counted) / len(steps),
        how,
        most_in_a_step=max(by_phase[step] for step in steps),
        by_phase=dict(by_phase),
        changes=[f"{call.http} {call.target}" for call in made],
        all_calls=scenario.emulator.calls.counts.total(),
    )


def function_calls() -> Row:
    """The cost of a whole swap."""
    scenario = _serving()

    def run() -> None:
        scenario.when_published(release_message("2"))
        scenario.when_settled()

    counted = count(run)
    if scenario.serving_version() != "2":
        raise RuntimeError("the swap did not go as expected:\n" + scenario.history())
    how = (
        "Python function calls of a whole swap in virtual time, by Slipway, Google's client and"
        " the emulator in one process"
    )
    return row("swap_function_calls", counted.total(), how, **counted)


def settled() -> tuple[Row, Row]:
    """Passes over a settled model with nothing due: their writes, and the CPU time of each in this
    process.
    """
    scenario = _serving()
    written: list[str] = []

    def counting(name: str) -> Callable[[Callable[[], Any]], Any]:
        def around(write: Callable[[], Any]) -> Any:
            written.append(name)
            return write()

        return around

    store, bus = (
        InterceptedStore(scenario.store, counting("store")),
        InterceptedBus(scenario.bus, counting("bus")),
    )
    world = scenario.new_worker(
        store, bus, intercepted_transport(scenario.emulator, counting("compute"))
    )
    reconcile(world, "tiny")  # creates its clients
    scenario.emulator.calls.clear()
    spent = []
    for _ in range(BATCHES):
        began = time.process_time()
        for _ in range(PASSES):
            reconcile(world, "tiny")
        spent.append((time.process_time() - began) / PASSES * 1000)
    calls = scenario.emulator.calls.counts.total() / (PASSES * BATCHES)
    is_still = (
        not changes(list(scenario.emulator.calls.log)) and scenario.emulator.calls.mutations == 0
    )
    if not is_still and "compute" not in written:
        raise RuntimeError("the emulator saw changes that the transport did not")
    how = (
        f"{PASSES * BATCHES} passes over a settled model: commits to the store, messages to the"
        " bus, changes at Compute Engine"
    )
    cpu = (
        "CPU time of a pass over a settled model, including the emulator in process; median of"
        f" {BATCHES} batches of {PASSES}"
    )
    return (
        row("settled_pass_writes", len(written), how, **dict(Counter(written))),
        row(
            "settled_pass_cpu_ms",
            median(spent),
            cpu,
            batches=[round(each, 2) for each in spent],
            calls_per_pass=calls,
        ),
    )


def routes() -> tuple[Row, Row]:
    """What 50 canaries that change their weights at once cost a rollback that comes 5 s later."""
    scenario = ConcurrentScenario()
    times = canaries_and_a_rollback(scenario, 50, WRITE_SECONDS)
    if len(times) != 51:
        raise RuntimeError(f"only {len(times)} of 51 routes are in the URL map")
    story = (
        f"50 canaries change weights at once, and 5 s later one model rolls back; a write of the"
        f" URL map takes {WRITE_SECONDS:g} s, one after the other; virtual time"
    )
    return (
        row(
            "url_map_writes_for_51_routes",
            scenario.calls("urlMaps.update"),
            f"updates in the emulator's log: {story}",
            slowest_route_s=max(times.values()),
        ),
        row(
            "rollback_in_url_map_s",
            times["bad"],
            f"until the map has the rollback's route: {story}",
        ),
    )


def _serving() -> Scenario:
    scenario = Scenario(is_fast=False)
    scenario.when_published(release_message("1"))
    scenario.when_settled()
    if scenario.serving_version() != "1":
        raise RuntimeError("release 1 does not serve:\n" + scenario.history())
    return scenario
