"""Generates schedules: crashes at every write, double crashes, stalled workers, the matrix of
errors, and random ones from seeds.

`test_*.py` run some of them with every commit; `python -m tests.assurance.simulation` runs any
number.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from tests.assurance.simulation import schedule as schedules
from tests.assurance.simulation.run import Result, reference
from tests.assurance.simulation.schedule import ERRORS, OPERATION_ERRORS, Fault, Schedule
from tests.assurance.simulation.workloads import WORKLOADS

T = TypeVar("T")
Schedules = Callable[[str], Iterator[Schedule]]
SAMPLE = int(os.environ.get("SLIPWAY_SAMPLE", "16"))

CRASHES = ("crash_before", "crash_after", "lost_reply")
NO_PROGRESS_SECONDS = 1.0  # no operation ends within this time
WRITE_STALL_SECONDS = 200.0
STALL_SECONDS = (70.0, 130.0, 400.0)
FOREVER = 1_000_000

MAIN, PREFIX = "swap", "create"
DOUBLE = (MAIN, "canary")
COVERED_BY = {"canary-abort": "canary", "rollback": "swap"}
LONG = (
    *("roll", "scale", "invalid-messages", "bad", "supersede", "two-models", "again"),
    *("stalled-rollback", "crash-loop", "quota", "losses", "queue"),
    *("canary", "canary-abort", "blue-green"),
)
GATED = ("gated", "gated-bad")  # their faults are those of the source: see `lies`
SHORT = tuple(name for name in WORKLOADS if name not in (*LONG, *GATED))
# A long workload is drawn a third as often, since two others run in its time.
RANDOM_POOL = (*(name for name in WORKLOADS if name not in GATED), *SHORT, *SHORT)
QUESTION = "metrics.read_windows"
LIES = (
    *(
        Fault("metrics", 0, code=code)
        for code in (
            *("timeout", "http", "partial", "unreadable", "not-finite", "no-series", "labels"),
            *("reset", "stale"),
        )
    ),
    Fault("no_effect", 0, QUESTION, times=3),
    Fault("stall_before", 0, QUESTION, seconds=5.0),
)
MATRIX = Path(__file__).with_name("matrix.json")
CHAOS_SECONDS = 300.0  # after the release has been published
MOMENTS = ("first", "midway", "persistent")
READ_ERRORS = (*ERRORS, "garbled", "no_effect")
WRITE_ERRORS = (*READ_ERRORS, "lost_reply", *OPERATION_ERRORS, "operation_never")


def sample(items: Iterable[T]) -> Iterator[T]:
    """One in `SAMPLE` of them, for `make test`; the wide tier runs them all."""
    return itertools.islice(items, SAMPLE // 4, None, SAMPLE)


def workload_of(seed: int) -> str:
    return RANDOM_POOL[seed % len(RANDOM_POOL)]


def from_seed(seed: int) -> Schedule:
    workload = workload_of(seed)
    return schedules.draw(seed, workload, calls_until_idle(workload))


def calls_until_idle(workload: str) -> int:
    """How many calls the run without faults makes until everything has settled and a drift scan is
    over. Only identical ticks follow.
    """
    found = reference(workload)
    return sum(at <= found.seconds for at, _ in found.call_log)


def crashes(workload: str, kinds: tuple[str, ...] = CRASHES) -> Iterator[Schedule]:
    """Every kind of crash at every external write."""
    for (at, _), kind in itertools.product(writes(workload), kinds):
        yield Schedule(workload, (Fault(kind, at),))


def distinct_crashes(workload: str, kinds: tuple[str, ...] = CRASHES) -> Iterator[Schedule]:
    """The crashes that leave a state which no other crash leaves.

    Left out are those within a prefix that is identical, call for call, to the run of `PREFIX` or
    the one in `COVERED_BY`, which covers them; and a crash before a write that directly follows
    another write of the same worker, which equals the crash after that one.
    """
    begun, made = _shared_prefix(workload), reference(workload).call_log
    found = writes(workload)
    before = {at: earlier for (earlier, _), (at, _) in itertools.pairwise(found)}
    for (at, _), kind in itertools.product(found, kinds):
        earlier = before.get(at)
        is_same = (
            kind == "crash_before" and earlier is not None and _is_immediate(made[earlier - 1 : at])
        )
        if at > begun and not is_same:
            yield Schedule(workload, (Fault(kind, at),))


def _is_immediate(made: tuple[tuple[float, int], ...]) -> bool:
    """Whether one worker made all these calls and no operation can have ended in between."""
    return (
        len({worker for _, worker in made}) == 1 and made[-1][0] - made[0][0] < NO_PROGRESS_SECONDS
    )


def _shared_prefix(workload: str) -> int:
    """How many calls a workload shares with the one that covers its beginning: those before the
    first step in which they differ, if all of them are identical.
    """
    other = COVERED_BY.get(workload, PREFIX)
    mine, theirs = reference(workload), reference(other)
    steps = zip(WORKLOADS[workload].steps, WORKLOADS[other].steps, strict=False)
    alike = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], steps))
    if workload == other or not 0 < alike < len(mine.calls_before_steps):
        return 0
    until = mine.calls_before_steps[alike]
    is_alike = mine.calls[:until] == theirs.calls[:until]
    return until if is_alike and mine.call_log[:until] == theirs.call_log[:until] else 0


def write_stalls(workload: str) -> Iterator[Schedule]:
    """A worker that stalls before or after any write until its lease has expired and other workers
    have continued.
    """
    for (at, _), kind in itertools.product(writes(workload), ("stall_before", "stall_after")):
        yield Schedule(workload, (Fault(kind, at, seconds=WRITE_STALL_SECONDS),))


def double_crashes(workload: str) -> Iterator[Schedule]:
    """All pairs of a crash after and a crash before a write, behind the prefix shared with
    `PREFIX` unless it is the main workload.
    """
    begun = 0 if workload == MAIN else _shared_prefix(workload)
    found = [(at, name) for at, name in writes(workload) if at > begun]
    for (first, _), (second, _) in itertools.combinations(found, 2):
        yield Schedule(workload, (Fault("crash_after", first), Fault("crash_before", second)))


def call_stalls(workload: str) -> Iterator[Schedule]:
    """A worker that stalls at any call, including reads, for a shorter and a longer time than its
    lease lasts. Calls of a prefix shared with `PREFIX` are left to that workload.
    """
    points = range(_shared_prefix(workload) + 1, calls_until_idle(workload) + 1)
    for at, seconds in itertools.product(points, STALL_SECONDS):
        yield Schedule(workload, (Fault("stall_before", at, "*.*", seconds=seconds),))


def lies(workload: str) -> Iterator[Schedule]:
    """Each way in which a source of metrics lies or fails, at each question of a gate."""
    for at, fault in itertools.product(_questions(workload), LIES):
        yield Schedule(workload, (replace(fault, at=at),))


def alternating_lies(workload: str) -> Iterator[Schedule]:
    """One of them at each question, so that all occur."""
    for at, fault in zip(_questions(workload), itertools.cycle(LIES), strict=False):
        yield Schedule(workload, (replace(fault, at=at),))


def _questions(workload: str) -> list[int]:
    return [at for at, name in enumerate(reference(workload).calls, 1) if name == QUESTION]


def writes(workload: str) -> list[tuple[int, str]]:
    """The external writes of the run without faults: number of the call, and its name."""
    found = reference(workload)
    return [(at, name) for at, name in enumerate(found.calls, 1) if name in found.write_names]


# ---- The matrix: each call of the main workload x each error x first, midway and persistent


def sites() -> dict[str, tuple[str, ...]]:
    """The calls to Compute Engine in `MAIN`, each with the errors that it can get."""
    found = reference(MAIN)
    names = sorted({name for name in found.calls if name.startswith("compute.")})
    return {name: WRITE_ERRORS if name in found.write_names else READ_ERRORS for name in names}


def matrix(site: str) -> dict[str, Schedule]:
    """The schedules of one call's cells, by `error moment`."""
    return {
        f"{code} {moment}": _cell(site, code, moment)
        for code in sites()[site]
        for moment in MOMENTS
    }


def _cell(site: str, code: str, moment: str) -> Schedule:
    kind = next(
        (
            kind
            for kind, codes in (("error", ERRORS), ("operation_error", OPERATION_ERRORS))
            if code in codes
        ),
        code,
    )
    at = 1 if moment == "first" else _midway(site)
    times = FOREVER if moment == "persistent" else 1
    return Schedule(
        MAIN, (Fault(kind, at, site, times, code=code if kind != code else ""),), CHAOS_SECONDS
    )


def _midway(site: str) -> int:
    """The number of the site's first call after the first release has settled, else of its last
    call.
    """
    found = reference(MAIN)
    made = [at for at, name in enumerate(found.calls, 1) if name == site]
    return next((at for at in made if at > found.calls_before_steps[-1]), made[-1])


def outcome(result: Result) -> str:
    """How the releases of a run ended, as `1 succeeded, 2 rolled_back`."""
    return ", ".join(
        f"{version} {ended}" for version, ended in sorted(result.end["tiny"]["outcomes"].items())
    )


def expected() -> dict[str, dict[str, str]]:
    """The expected outcome of each cell of the matrix, by call and by `error moment`."""
    found: dict[str, dict[str, str]] = json.loads(MATRIX.read_text())
    return found
