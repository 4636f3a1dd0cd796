"""One run from a schedule to its result: chaos, then everything is mended, then convergence and
quiet are demanded.

Rules are looked at all the way (`rules.py`), and two oracles look at the end (`oracles.py`).
"""

from __future__ import annotations

import gc
import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from compute_emulator.control.instances import apply_effect
from infra.store.sqlite import SqliteStore
from tests.assurance.simulation import oracles
from tests.assurance.simulation.engine import BEHAVIOUR, Simulation, quiet_logs
from tests.assurance.simulation.memory import MemoryStore
from tests.assurance.simulation.outside import Outside
from tests.assurance.simulation.rules import Rules
from tests.assurance.simulation.schedule import Fault, Schedule
from tests.assurance.simulation.workloads import IMAGE, WORKLOADS, Step

PATIENCE = 900.0  # for a step's moment to come: twice as long as a release may take
BOUND = 3 * 3600.0  # from mended to settled
SURVEY_SECONDS = 330.0
LESS_PATIENCE = 450.0  # when one never came
HELD_SECONDS = 690.0  # for so long an autoscaler may hold on to instances that it no longer needs
QUIET_TICKS, FEW_QUIET_TICKS = 50, 6  # the fewer have a survey among them
TOLD_LINES = 600  # the last ones


@dataclass
class Result:
    schedule: Schedule
    trace: str = ""
    broken: tuple[str, ...] = ()
    end: dict[str, Any] = field(default_factory=dict)
    effects: Counter[str] = field(default_factory=Counter)
    calls: tuple[str, ...] = ()  # the name of every external call, in order
    made: tuple[
        tuple[float, int], ...
    ] = ()  # when each of them was, in seconds, and by which worker; of a run without faults
    write_names: frozenset[str] = frozenset()
    steps: tuple[
        int, ...
    ] = ()  # how many calls had been made when each step of the workload was taken
    messages: int = 0  # until all was at rest
    said: tuple[int, ...] = ()  # which of them people sent
    rollouts: int = 0  # how often a release set out, the first of a model too
    seconds: float = 0.0
    struck: Counter[str] = field(default_factory=Counter)
    story: tuple[str, ...] = ()

    @property
    def why(self) -> str:
        return "; ".join(self.broken)


def run(
    schedule: Schedule,
    *,
    is_fast: bool = True,
    is_reference: bool = False,
    is_told: bool = False,
    quiet_ticks: int = QUIET_TICKS,
    store: MemoryStore | SqliteStore | None = None,
) -> Result:
    """`is_told`: with `trace` and `story` also where nothing is broken; to write them down takes
    time. `quiet_ticks`: for how long nothing may be written once all is settled."""
    with quietly():
        story = Story(schedule, is_fast, quiet_ticks, store or MemoryStore())
        try:
            story.tell()
            if not is_reference:
                story.compare()
            return story.result(is_told)
        finally:
            story.simulation.close()


@contextmanager
def quietly() -> Iterator[None]:
    """Nothing is logged, and no garbage collected: a run is short, and a third of its time would go
    into looking through the libraries' objects. Those that are there before the first run are not
    looked through between runs either."""
    unmute = quiet_logs()
    _spare_libraries()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        unmute()


@cache
def _spare_libraries() -> None:
    gc.freeze()


@cache
def reference(workload: str) -> Result:
    """The run without faults."""
    found = run(Schedule(workload), is_reference=True)
    if found.broken:
        raise AssertionError(f"{workload} fails without any fault: {found.why}")
    return found


class Story:
    def __init__(
        self, schedule: Schedule, is_fast: bool, quiet_ticks: int, store: MemoryStore | SqliteStore
    ) -> None:
        self.quiet_ticks = quiet_ticks
        self.schedule, self.workload = schedule, WORKLOADS[schedule.workload]
        self.simulation = Simulation(schedule, store, self._disturb, is_fast=is_fast)
        self.rules = Rules(self.simulation, self.workload.models)
        self.outside = Outside(self.simulation, self.rules)
        self.cloud = self.simulation.cloud
        bad = [
            {"image": f"*{IMAGE}:{version}*", **BEHAVIOUR, **how}
            for version, how in self.workload.bad.items()
        ]
        self.cloud.set_behaviours([*bad, BEHAVIOUR])
        self.waiting = list(self.workload.steps)
        self.since = 0.0  # when the last step was taken, in seconds of life
        self.seen = 0
        self.steps: list[int] = []
        self.taken_after = 0.0  # when all steps had been taken
        self.settled_after, self.messages = 0.0, 0
        self.restless, self.written = (
            0.0,
            0,
        )  # when there was last anything to do, and how many writes there had been by then
        self.gave_up = False  # what was asked for next was asked of another world

    def _disturb(self, fault: Fault) -> None:
        self.outside.disturb(fault)

    # ---- chaos, mending, quiet

    def tell(self) -> None:
        simulation = self.simulation
        simulation.tick()
        self._until(
            lambda: not self.waiting,
            PATIENCE * (len(self.workload.steps) + 1),
            "the workload's steps",
        )
        self.taken_after = simulation.lived()
        self._until(self._is_to_be_mended, math.inf, "the end of chaos")
        self.mend()
        self._stir()
        self._until(self._is_at_rest, BOUND, "the end")
        self.settled_after, self.messages = simulation.now() - simulation.began, simulation.messages
        self._be_quiet()

    def _until(self, reached: Callable[[], bool], seconds: float, what: str) -> None:
        simulation = self.simulation
        began = simulation.lived()
        while not reached():
            if simulation.lived() > began + seconds:
                simulation.break_off(f"{what} not reached after {seconds:.0f} s: {self._state()}")
                return
            self._step_when_due()
            if not simulation.step():
                return
            self.rules.look()

    def _is_to_be_mended(self) -> bool:
        """Whether everything is settled and no disturbance to come, or there has been chaos for
        long enough."""
        simulation, is_settled = self.simulation, self._is_settled()
        now = simulation.now() - simulation.began
        is_calm = is_settled and not any(
            fault.at >= now for fault in simulation.faults.on_the_world
        )
        return is_calm or simulation.lived() - self.taken_after > self.schedule.chaos_seconds

    def _state(self) -> str:
        told = {
            model: (
                doc["rollout"]["phase"],
                doc["requeue_at"] and str(doc["requeue_at"]),
                doc["conditions"],
            )
            for model, doc in self.rules.documents.items()
        }
        return f"{told} in flight {self.simulation.in_flight}, alive {len(self.simulation.alive)}"

    def _step_when_due(self) -> None:
        if self.waiting and self._has_come(self.waiting[0]):
            step = self.waiting.pop(0)
            self.steps.append(len(self.simulation.names))
            self.since, self.seen = self.simulation.lived(), len(self.rules.entered[step.model])
            self.simulation.note(f"step: {step.do or json.dumps(step.body)[:80]}")
            if step.do:
                self.outside.do(step.do)
                self.gave_up = self.gave_up or self.outside.was_refused
            else:
                self.simulation.publish("model-releases", json.dumps(step.body).encode())

    def _has_come(self, step: Step) -> bool:
        waited = self.simulation.lived() - self.since
        if not isinstance(step.when, str):
            return waited >= step.when
        if waited > (LESS_PATIENCE if self.gave_up else PATIENCE):
            self.gave_up = True
            return True
        if step.when == "settled":
            return self._is_settled() and self._is_idle()
        return step.when in self.rules.entered[step.model][self.seen :]

    def _is_settled(self) -> bool:
        store = self.simulation.store
        held = [store.get(f"models/{model}") for model in {step.model for step in self._taken()}]
        return all(
            document is not None and document.data["requeue_at"] is None for document in held
        )

    def _is_at_rest(self) -> bool:
        """Settled and idle, and so for a survey's time without a write: what a frozen worker does
        late is drift, and a survey mends it."""
        if self.simulation.writes.total() != self.written or not (
            self._is_idle() and self._is_settled()
        ):
            self._stir()
        return self.simulation.now() - self.restless > SURVEY_SECONDS

    def _stir(self) -> None:
        self.restless, self.written = self.simulation.now(), self.simulation.writes.total()

    def _taken(self) -> tuple[Step, ...]:
        return self.workload.steps[: len(self.workload.steps) - len(self.waiting)]

    def _is_idle(self) -> bool:
        simulation = self.simulation
        if simulation.alive or simulation.store.list("outbox", 1, None):
            return False
        if simulation.in_flight:
            simulation.skip()
        return not simulation.in_flight

    def mend(self) -> None:
        simulation = self.simulation
        simulation.note("mended")
        simulation.is_healed = True
        self.cloud.stock_outs.clear()
        self.cloud.quotas.clear()
        self.cloud.load.clear()
        self.cloud.operations.seconds = 1
        for where, operation in list(self.cloud.operations.table.items()):
            if operation["status"] != "DONE":
                self.cloud.operations.finish(where)
        apply_effect(self.cloud, "revive")

    def _be_quiet(self) -> None:
        simulation = self.simulation
        if simulation.broken:
            return
        before, end = simulation.writes.copy(), self.restless + self.quiet_ticks * 60.0
        while simulation.now() < end and simulation.step():
            pass
        done = simulation.writes - before
        if done:
            simulation.break_off(
                f"writes in {self.quiet_ticks} ticks after everything had settled: {dict(done)}"
            )
        simulation.let_pass(max(0.0, self.restless + HELD_SECONDS - simulation.now()))

    # ---- the end

    def compare(self) -> None:
        if not self.simulation.broken:
            usual = reference(self.schedule.workload)
            undisturbed = (usual.end, usual.effects)
            oracles.compare(
                self.simulation, self.workload, self.schedule, undisturbed, gave_up=self.gave_up
            )

    def result(self, is_told: bool) -> Result:
        simulation = self.simulation
        story = simulation.story() if is_told or simulation.broken else []
        return Result(
            schedule=self.schedule,
            trace=(
                hashlib.blake2b("\n".join(story).encode(), digest_size=8).hexdigest()
                if story
                else ""
            ),
            broken=tuple(simulation.broken),
            end={} if simulation.broken else oracles.end_of(simulation, self.workload.models),
            effects=oracles.effects_on(self.cloud),
            calls=tuple(simulation.names),
            made=() if self.schedule.faults else simulation.made(),
            write_names=frozenset(simulation.writes),
            steps=tuple(self.steps),
            messages=self.messages,
            said=tuple(simulation.said),
            rollouts=sum(entered.count("step_1") for entered in self.rules.entered.values()),
            seconds=self.settled_after,
            struck=simulation.struck,
            story=tuple(story[-TOLD_LINES:]),
        )
