"""What a swap and a settled turn cost, counted in virtual time: the journeys' own world, with
Compute Engine in this process.

Calls are read from the stand-in's log of a whole swap; writes are counted at the store, the bus and
Compute Engine's transport."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from statistics import median
from typing import Any

from bench.results import Row, row
from bench.setting import release_message
from compute_emulator.engine.call_log import LoggedCall
from handlers.reconcile.loop import reconcile
from tests.scenario import InterceptedAdapter, InterceptedBus, InterceptedStore, Scenario

TURNS, BATCHES = 40, 5
LOOKS = ("get", "list", "aggregatedList", "wait")


def changes(calls: list[LoggedCall]) -> list[LoggedCall]:
    """The calls that change something, or would if Compute Engine had taken them."""
    return [call for call in calls if not call.method.rpartition(".")[2].startswith(LOOKS)]


def swap() -> Row:
    """Mutating calls from the publishing of the second release until nothing is under way, without
    its template's insert."""
    scenario = _serving()
    scenario.cloud.calls.clear()
    began = scenario.clock.now()
    scenario.when_published(release_message("2"))
    scenario.when_settled()
    made = changes(list(scenario.cloud.calls.log))
    counted = [call for call in made if call.method != "compute.instanceTemplates.insert"]
    entered = [
        (entry["at"].timestamp(), entry["to"]) for entry in scenario.log() if entry["at"] >= began
    ]
    steps = [phase for _, phase in entered if phase.startswith("step_")]
    if scenario.serving_version() != "2" or len(made) - len(counted) != 1:
        raise RuntimeError("the swap did not go as expected:\n" + scenario.history())
    by_phase = Counter([phase for at, phase in entered if at <= call.at][-1] for call in counted)
    how = (
        f"stand-in's log of a whole swap in {len(steps)} steps: changes beside the template's"
        " insert, over steps; virtual time"
    )
    return row(
        "swap_mutations_per_step", len(counted) / len(steps), how, most_in_a_step=max(by_phase[step] for step in steps),
        by_phase=dict(by_phase), changes=[f"{call.http} {call.target}" for call in made],
        all_calls=scenario.cloud.calls.counts.total(),
    )  # fmt: skip


def settled() -> tuple[Row, Row]:
    """Turns over a model that is settled and due for nothing: what they write, and the CPU time of
    this process for each."""
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
    world = scenario.new_worker(store, bus, InterceptedAdapter(scenario.cloud, counting("compute")))
    reconcile(world, "tiny")  # makes its clients
    scenario.cloud.calls.clear()
    spent = []
    for _ in range(BATCHES):
        began = time.process_time()
        for _ in range(TURNS):
            reconcile(world, "tiny")
        spent.append((time.process_time() - began) / TURNS * 1000)
    calls = scenario.cloud.calls.counts.total() / (TURNS * BATCHES)
    is_still = not changes(list(scenario.cloud.calls.log)) and scenario.cloud.calls.mutations == 0
    if not is_still and "compute" not in written:
        raise RuntimeError("the stand-in saw changes that the transport did not")
    how = (
        f"{TURNS * BATCHES} turns over a settled model: commits to the store, messages to the bus,"
        " changes at Compute Engine"
    )
    cpu = (
        "CPU time of a turn over a settled model, with the stand-in's own, in process; median of"
        f" {BATCHES} batches of {TURNS}"
    )
    return (
        row("settled_turn_writes", len(written), how, **dict(Counter(written))),
        row(
            "settled_turn_cpu_ms",
            median(spent),
            cpu,
            batches=[round(each, 2) for each in spent],
            calls_a_turn=calls,
        ),
    )


def _serving() -> Scenario:
    scenario = Scenario()
    scenario.when_published(release_message("1"))
    scenario.when_settled()
    if scenario.serving_version() != "1":
        raise RuntimeError("release 1 does not serve:\n" + scenario.history())
    return scenario
