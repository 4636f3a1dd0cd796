"""Measures a first provision, relative to the shortest time that its operations allow.

The emulator runs in its own process, over HTTP, in real time, and each operation takes exactly
`LATENCY_SECONDS`. The plan of a first release is a graph of operations. No order can be faster than
its longest chain:

    template ─> group ─> backend service ─> route            4 operations, one after the other
    default backend service ─> URL map ─> proxy ─> rule      4 operations, in parallel

The time includes loading the model, reading its resources, planning and saving, and ends when the
last of the plan's actions is logged as applied.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from statistics import median

from bench.results import Row, row
from bench.setting import (
    MODEL,
    PROJECT,
    ROOT,
    Setting,
    clean_environment,
    no_compute,
    release_message,
)
from handlers.reconcile.loop import reconcile
from infra.compute.client import Compute
from infra.fleet.model import Plan
from infra.fleet.observe import observe
from infra.fleet.plan import plan
from infra.fleet.reads import Scope, full_reads
from infra.store import repository
from infra.wiring import RealClock, World
from rollout.advance import advance
from rollout.model import Evidence

LATENCY_SECONDS = 1.0


class Enough(Exception):
    """Ends the pass after the measured part."""


class Watch(logging.Handler):
    """The World's clock and a reader of its log. Ends the pass at its first sleep after all `count`
    actions were applied, instead of letting it wait for instances.
    """

    def __init__(self, count: int) -> None:
        super().__init__()
        self._clock, self._left = RealClock(), count
        self.finished_at = 0.0

    @property
    def is_done(self) -> bool:
        return self._left == 0

    def now(self) -> datetime:
        return self._clock.now()

    def sleep(self, seconds: float) -> None:
        if self.is_done:
            raise Enough
        self._clock.sleep(seconds)

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage() == "action applied":
            self._left -= 1
            self.finished_at = time.monotonic()


def measure(setting: Setting, rounds: int) -> Row:
    taken = [_provision(setting, f"{MODEL}-provision-{number}") for number in range(rounds)]
    seconds = [each for each, _ in taken]
    length, count = critical_length(taken[0][1]), len(taken[0][1].actions)
    ratios = [each / (length * LATENCY_SECONDS) for each in seconds]
    how = (
        f"from a pass's start until the last of {count} actions is applied, over {length}"
        f" dependent operations of {LATENCY_SECONDS:g} s; warm clients, {setting.kind}, emulator"
        f" over HTTP in real time; median of {rounds}"
    )
    return row(
        "provision_over_critical_path",
        median(ratios),
        how,
        ratios=[round(each, 3) for each in ratios],
        actions=count,
        critical_path_operations=length,
        operation_seconds=LATENCY_SECONDS,
        seconds=round(median(seconds), 3),
    )


def critical_length(planned: Plan) -> int:
    """The number of operations in the plan's longest chain. An action waits for earlier ones on its
    own resource and on the resources in `after`.
    """
    lengths: list[int] = []
    for action in planned.actions:
        before = [
            length
            for length, each in zip(lengths, planned.actions, strict=False)
            if each.key in (action.key, *action.after)
        ]
        lengths.append(1 + max(before, default=0))
    return max(lengths, default=0)


def _provision(setting: Setting, model: str) -> tuple[float, Plan]:
    """The seconds it took, and the plan. Uses a new, empty Compute Engine emulator."""
    setting.accept(setting.world(RealClock(), no_compute), release_message("1", model))
    with running_emulator(LATENCY_SECONDS) as url:
        planned = _planned(
            setting.world(RealClock(), lambda: Compute(PROJECT, RealClock(), url)), model
        )
        watch = Watch(len(planned.actions))
        compute = Compute(PROJECT, watch, url)
        world = setting.world(watch, lambda: compute)
        world.connect("store", "bus", "compute")
        log = logging.getLogger("slipway")
        log.addHandler(watch)
        log.setLevel(logging.INFO)
        log.propagate = False
        began = time.monotonic()
        try:
            with suppress(Enough):
                reconcile(world, model)
        finally:
            log.removeHandler(watch)
    if not watch.is_done:
        raise RuntimeError(f"the pass ended before all {len(planned.actions)} actions were applied")
    return watch.finished_at - began, planned


def _planned(world: World, model: str) -> Plan:
    """What the pass will plan, computed by the same pure functions."""
    stored = repository.load_state(world.store, model)
    if stored is None or stored.state.desired.release is None:
        raise RuntimeError(f"release 1 of {model} was not accepted")
    state, releases = stored.state, (stored.state.desired.release,)
    snapshot = world.compute.observe(full_reads(Scope(model, releases, ("blue",)), sweep=True))
    answer = advance(
        state.rollout, state.desired, observe(snapshot, model), Evidence(), world.clock.now()
    )
    return plan(answer.target, snapshot)


@contextmanager
def running_emulator(operation_seconds: float) -> Iterator[str]:
    """The URL of a Compute Engine emulator in its own process, in real time."""
    command = (sys.executable, "-m", "compute_emulator", "--port", "0", "--project", PROJECT)
    with subprocess.Popen(
        (*command, "--operation-seconds", str(operation_seconds)),
        cwd=ROOT,
        env=clean_environment() | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            first_line = process.stdout.readline() if process.stdout else ""
            yield next(word for word in first_line.split() if word.startswith("http://"))
        finally:
            process.terminate()
