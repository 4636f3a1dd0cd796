"""Runs one schedule: first with faults, then healed until everything has settled, then idle.

The invariants (`invariants.py`) are checked during the whole run, and two oracles (`oracles.py`)
check its final state.
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
from functools import cache, partial
from typing import Any

from handlers import wakeup
from handlers.reconcile.route_writer import WRITER
from infra.store.sqlite import SqliteStore
from tests.assurance.simulation import oracles
from tests.assurance.simulation.engine import BEHAVIOUR, Simulation, mute_logs
from tests.assurance.simulation.environment import Environment
from tests.assurance.simulation.invariants import Invariants
from tests.assurance.simulation.requests_counted import RequestsCounted
from tests.assurance.simulation.schedule import Fault, Schedule
from tests.assurance.simulation.workloads import IMAGE, WORKLOADS, Step
from tests.memory_store import MemoryStore
from tests.run_folder import shared

STEP_TIMEOUT = 900.0  # of a step's condition: twice as long as a release may take
SETTLE_TIMEOUT = 3 * 3600.0  # from healed to settled
DRIFT_SCAN_SECONDS = 330.0
DIVERGED_STEP_TIMEOUT = 450.0  # once the run has diverged
SCALE_IN_SECONDS = 690.0  # how long an autoscaler may keep instances that it no longer needs
IDLE_TICKS, FEW_IDLE_TICKS = 50, 6  # the fewer include a drift scan
ZONES = tuple(f"us-central1-{letter}" for letter in "abc")
TRACE_LINES = 600  # how many of a trace are kept, the last ones


@dataclass
class Result:
    schedule: Schedule
    trace_digest: str = ""
    violations: tuple[str, ...] = ()
    end: dict[str, Any] = field(default_factory=dict)
    effects: Counter[str] = field(default_factory=Counter)
    calls: tuple[str, ...] = ()  # the name of every external call, in order
    # When each call was made, in seconds, and by which worker; only of a run without faults.
    call_log: tuple[tuple[float, int], ...] = ()
    write_names: frozenset[str] = frozenset()
    # How many calls had been made when each step of the workload was taken.
    calls_before_steps: tuple[int, ...] = ()
    messages: int = 0  # until the run was at rest
    user_messages: tuple[int, ...] = ()  # which of the messages users sent
    rollouts: int = 0  # how many rollouts began, including a model's first one
    seconds: float = 0.0
    injected: Counter[str] = field(default_factory=Counter)
    trace: tuple[str, ...] = ()

    @property
    def why(self) -> str:
        return "; ".join(self.violations)


def run(
    schedule: Schedule,
    *,
    is_fast: bool = True,
    is_reference: bool = False,
    with_trace: bool = False,
    idle_ticks: int = IDLE_TICKS,
    store: MemoryStore | SqliteStore | None = None,
) -> Result:
    """`with_trace`: whether a result without violations has a trace too; formatting it takes time.
    `idle_ticks`: how many ticks have to pass without a write once everything has settled.
    """
    with without_overhead(), one_model_per_page():
        this = Run(schedule, is_fast, idle_ticks, store or MemoryStore())
        try:
            this.execute()
            if not is_reference:
                this.compare()
            return this.result(with_trace)
        finally:
            this.simulation.close()


@contextmanager
def one_model_per_page() -> Iterator[None]:
    """Lets a tick read the due models one by one, so that two models are a queue of pages."""
    usual, wakeup.PAGE = wakeup.PAGE, 1
    try:
        yield
    finally:
        wakeup.PAGE = usual


@contextmanager
def without_overhead() -> Iterator[None]:
    """Disables logging and garbage collection during a run: a run is short, and the collector would
    spend a third of its time on the libraries' objects. Objects that exist before the first run are
    frozen, so that collections between runs skip them as well.
    """
    unmute = mute_logs()
    _freeze_existing_objects()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        unmute()


@cache
def _freeze_existing_objects() -> None:
    gc.freeze()


@cache
def reference(workload: str) -> Result:
    """The result of the workload without faults."""
    return shared(f"reference-{workload}", partial(_run_without_faults, workload))


def _run_without_faults(workload: str) -> Result:
    found = run(Schedule(workload), is_reference=True)
    if found.violations:
        raise AssertionError(f"{workload} fails without faults: {found.why}")
    return found


class Run:
    def __init__(
        self, schedule: Schedule, is_fast: bool, idle_ticks: int, store: MemoryStore | SqliteStore
    ) -> None:
        self.idle_ticks = idle_ticks
        self.schedule, self.workload = schedule, WORKLOADS[schedule.workload]
        self.simulation = Simulation(schedule, store, self._inject, is_fast=is_fast)
        self.invariants = Invariants(self.simulation, self.workload.models)
        self.environment = Environment(self.simulation, self.invariants)
        self.emulator = self.simulation.emulator
        bad = [
            {"image": f"*{IMAGE}:{version}*", **BEHAVIOUR, **how}
            for version, how in self.workload.bad.items()
        ]
        if self.workload.errors is not None:
            self.simulation.counted = RequestsCounted(self.emulator, self.workload.errors)
        self.behaviours = [*bad, BEHAVIOUR]
        self.emulator.set_behaviours(self.behaviours)
        self.invariants.crash_loops = {
            version for version, how in self.workload.bad.items() if "dies_after_seconds" in how
        }
        self.pending = list(self.workload.steps)
        self.step_taken_at = 0.0  # the last step, in elapsed seconds
        self.phases_before = 0  # how many phases that step's model had entered before it
        self.calls_before_steps: list[int] = []
        self.steps_done_at = 0.0  # when all steps had been taken
        self.settled_at, self.messages = 0.0, 0
        self.last_active, self.writes_before = 0.0, 0  # the last activity, and the writes until it
        self.has_diverged = False  # a step was taken in another state than it was meant for

    def _inject(self, fault: Fault) -> None:
        self.environment.inject(fault)
        self.has_diverged = self.has_diverged or fault.kind == "intent"

    # ---- faults, healing, idling

    def execute(self) -> None:
        simulation = self.simulation
        simulation.tick()
        self._run_until(
            lambda: not self.pending,
            STEP_TIMEOUT * (len(self.workload.steps) + 1),
            "the workload's last step",
        )
        self.steps_done_at = simulation.elapsed()
        self._run_until(self._should_heal, math.inf, "the end of the faults")
        self.heal()
        self._note_activity()
        self._run_until(self._is_at_rest, SETTLE_TIMEOUT, "a settled state")
        self.settled_at, self.messages = simulation.now() - simulation.began, simulation.messages
        self._expect_no_writes()

    def _run_until(self, reached: Callable[[], bool], seconds: float, what: str) -> None:
        simulation = self.simulation
        began = simulation.elapsed()
        while not reached():
            if simulation.elapsed() > began + seconds:
                simulation.fail(f"{what} not reached after {seconds:.0f} s: {self._state()}")
                return
            self._take_due_step()
            if not simulation.step():
                return
            self.invariants.check()

    def _should_heal(self) -> bool:
        """Whether everything has settled and no world fault is to come, or `chaos_seconds` are
        over.
        """
        simulation, is_settled = self.simulation, self._is_settled()
        now = simulation.now() - simulation.began
        is_over = is_settled and not any(
            fault.at >= now for fault in simulation.faults.world_faults
        )
        return is_over or simulation.elapsed() - self.steps_done_at > self.schedule.chaos_seconds

    def _state(self) -> str:
        models = {
            model: (
                doc["rollout"]["phase"],
                doc["requeue_at"] and str(doc["requeue_at"]),
                doc["conditions"],
            )
            for model, doc in self.invariants.documents.items()
        }
        return f"{models} in flight {self.simulation.in_flight}, alive {len(self.simulation.alive)}"

    def _take_due_step(self) -> None:
        if self.pending and self._is_due(self.pending[0]):
            step = self.pending.pop(0)
            self.calls_before_steps.append(len(self.simulation.call_names))
            self.step_taken_at = self.simulation.elapsed()
            self.phases_before = len(self.invariants.phases_entered[step.model])
            self.simulation.note(f"step: {step.do or json.dumps(step.body)[:80]}")
            if step.do:
                self.environment.take_step(step.do)
                self.has_diverged = self.has_diverged or self.environment.was_refused
            else:
                self.simulation.publish("model-releases", json.dumps(step.body).encode())

    def _is_due(self, step: Step) -> bool:
        waited = self.simulation.elapsed() - self.step_taken_at
        if not isinstance(step.when, str):
            return waited >= step.when
        if waited > (DIVERGED_STEP_TIMEOUT if self.has_diverged else STEP_TIMEOUT):
            self.has_diverged = True
            return True
        if step.when == "settled":
            return self._is_settled() and self._is_idle()
        return step.when in self.invariants.phases_entered[step.model][self.phases_before :]

    def _is_settled(self) -> bool:
        store = self.simulation.store
        models = {step.model for step in self._taken_steps()}
        documents = [store.get(f"models/{model}") for model in models]
        return all(
            document is not None and document.data["requeue_at"] is None for document in documents
        )

    def _is_at_rest(self) -> bool:
        """Whether everything has been settled and idle for the time of a drift scan: what a stalled
        worker writes late is drift, which the scan repairs.
        """
        if self.simulation.writes.total() != self.writes_before or not (
            self._is_idle() and self._is_settled()
        ):
            self._note_activity()
        return self.simulation.now() - self.last_active > DRIFT_SCAN_SECONDS

    def _note_activity(self) -> None:
        self.last_active = self.simulation.now()
        self.writes_before = self.simulation.writes.total()

    def _taken_steps(self) -> tuple[Step, ...]:
        return self.workload.steps[: len(self.workload.steps) - len(self.pending)]

    def _is_idle(self) -> bool:
        simulation = self.simulation
        store = simulation.store
        left = store.list("outbox", 1) or store.list("routes", 1) or store.get(WRITER)
        if simulation.alive or left:
            return False
        if simulation.in_flight:
            simulation.skip_to_late_message()
        return not simulation.in_flight

    def heal(self) -> None:
        simulation = self.simulation
        simulation.note("healed")
        simulation.is_healed, simulation.ticks_since = True, simulation.now()
        if simulation.injected["intent"]:
            self._resume_models()
        self.emulator.stock_outs.clear()
        for zone in ZONES:
            self.emulator.set_zone_state(zone, "UP")
        self.emulator.quotas.clear()
        self.emulator.load.clear()
        self.emulator.set_behaviours(self.behaviours)
        self.emulator.operation_seconds = 1
        self.emulator.finish_operations()
        self._revive_instances()

    def _revive_instances(self) -> None:
        """Revives all instances except those of bad releases, which stay as bad as they are."""
        releases = self.simulation.store.list("models/tiny/releases", 100, None)
        bad = [
            each.data["template"] for each in releases if each.data["version"] in self.workload.bad
        ]
        for instance in self.emulator.instances():
            if instance["template"] not in bad:
                self.emulator.affect_instances("revive", name=instance["name"])

    def _resume_models(self) -> None:
        """Resumes whatever somebody paused; it would stay so, and what waits behind it."""
        for model, document in self.invariants.documents.items():
            resume = {"model": model, "command": "resume"}
            releases = (document["candidate"], document["desired"]["release"])
            named = [{"version": release["version"]} for release in releases if release]
            for version in ({}, *named):  # the newest, which may not have arrived, and these
                self.simulation.publish("model-releases", json.dumps(resume | version).encode())

    def _expect_no_writes(self) -> None:
        simulation = self.simulation
        if simulation.violations:
            return
        before, end = simulation.writes.copy(), self.last_active + self.idle_ticks * 60.0
        while simulation.now() < end and simulation.step():
            pass
        made = simulation.writes - before
        if made:
            simulation.fail(
                f"writes in {self.idle_ticks} ticks after everything had settled: {dict(made)}"
            )
        simulation.advance(max(0.0, self.last_active + SCALE_IN_SECONDS - simulation.now()))

    # ---- the result

    def compare(self) -> None:
        if not self.simulation.violations:
            without_faults = reference(self.schedule.workload)
            expected = (without_faults.end, without_faults.effects)
            oracles.compare(
                self.simulation,
                self.workload,
                self.schedule,
                expected,
                has_diverged=self.has_diverged,
            )

    def result(self, with_trace: bool) -> Result:
        simulation = self.simulation
        trace = simulation.format_trace() if with_trace or simulation.violations else []
        return Result(
            schedule=self.schedule,
            trace_digest=(
                hashlib.blake2b("\n".join(trace).encode(), digest_size=8).hexdigest()
                if trace
                else ""
            ),
            violations=tuple(simulation.violations),
            end={}
            if simulation.violations
            else oracles.final_state(simulation, self.workload.models),
            effects=oracles.effects_of(self.emulator),
            calls=tuple(simulation.call_names),
            call_log=() if self.schedule.faults else simulation.call_log(),
            write_names=frozenset(simulation.writes),
            calls_before_steps=tuple(self.calls_before_steps),
            messages=self.messages,
            user_messages=tuple(simulation.user_messages),
            rollouts=sum(
                entered.count("step_1") for entered in self.invariants.phases_entered.values()
            ),
            seconds=self.settled_at,
            injected=simulation.injected,
            trace=tuple(trace[-TRACE_LINES:]),
        )
