"""Which schedules there are: deaths at every write, two deaths, frozen workers, the matrix of errors, and those drawn from seeds.

`test_*.py` run a part of them with every commit, `python -m tests.simulation` as many as one likes.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

from tests.simulation import schedule as schedules
from tests.simulation.run import Result, reference
from tests.simulation.schedule import ERRORS, OPERATION_ERRORS, Fault, Schedule
from tests.simulation.workloads import WORKLOADS

DEATHS = ("crash_before", "crash_after", "lost_reply")
FROZEN_SECONDS = 200.0
ZOMBIE_SECONDS = (70.0, 130.0, 400.0)
FOR_EVER = 1_000_000

MAIN = "swap"
MATRIX = Path(__file__).with_name("matrix.json")
CHAOS_SECONDS = 300.0  # after the release has come; what is still refused then is mended
MOMENTS = ("first", "midway", "persistent")
AT_READS = (*ERRORS, "garbled", "no_effect")
AT_WRITES = (*AT_READS, "lost_reply", *OPERATION_ERRORS, "operation_never")


def workload_of(seed: int) -> str:
    return tuple(WORKLOADS)[seed % len(WORKLOADS)]


def of_seed(seed: int) -> Schedule:
    workload = workload_of(seed)
    return schedules.drawn(seed, workload, len(reference(workload).calls))


def deaths(workload: str, kinds: tuple[str, ...] = DEATHS) -> Iterator[Schedule]:
    """Every kind of death at every external write."""
    for (at, _), kind in itertools.product(writes(workload), kinds):
        yield Schedule(workload, (Fault(kind, at),))


def freezes(workload: str) -> Iterator[Schedule]:
    """A worker that stands still at any write, before or after it, until its claim has expired and others have worked on."""
    for (at, _), kind in itertools.product(writes(workload), ("pause_before", "pause_after")):
        yield Schedule(workload, (Fault(kind, at, seconds=FROZEN_SECONDS),))


def double_deaths(workload: str) -> Iterator[Schedule]:
    for (first, _), (second, _) in itertools.combinations(writes(workload), 2):
        yield Schedule(workload, (Fault("crash_after", first), Fault("crash_before", second)))


def zombies(workload: str) -> Iterator[Schedule]:
    """A worker that stands still at any call, a read too, for shorter and longer than its claim lasts."""
    for at, seconds in itertools.product(range(1, len(reference(workload).calls) + 1), ZOMBIE_SECONDS):
        yield Schedule(workload, (Fault("pause_before", at, "*.*", seconds=seconds),))


def writes(workload: str) -> list[tuple[int, str]]:
    """The external writes of the run without faults: number of the call, and its name."""
    found = reference(workload)
    return [(at, name) for at, name in enumerate(found.calls, 1) if name in found.write_names]


# ---- The matrix: every kind of call of the main workload x every class of error x once at first, once midway, for ever


def sites() -> dict[str, tuple[str, ...]]:
    """The calls to Compute Engine in a swap, each with the classes of errors that may strike it."""
    found = reference(MAIN)
    names = sorted({name for name in found.calls if name.startswith("compute.")})
    return {name: AT_WRITES if name in found.write_names else AT_READS for name in names}


def matrix(site: str) -> dict[str, Schedule]:
    """The cells of one kind of call, by `class moment`."""
    return {f"{code} {moment}": _cell(site, code, moment) for code in sites()[site] for moment in MOMENTS}


def _cell(site: str, code: str, moment: str) -> Schedule:
    kind = next((kind for kind, codes in (("error", ERRORS), ("operation_error", OPERATION_ERRORS)) if code in codes), code)
    at = 1 if moment == "first" else _midway(site)
    times = FOR_EVER if moment == "persistent" else 1
    return Schedule(MAIN, (Fault(kind, at, site, times, code=code if kind != code else ""),), CHAOS_SECONDS)


def _midway(site: str) -> int:
    """The first call of its kind that the swap makes after the first release has settled, else its last one."""
    found = reference(MAIN)
    made = [at for at, name in enumerate(found.calls, 1) if name == site]
    return next((at for at in made if at > found.steps[-1]), made[-1])


def outcome(result: Result) -> str:
    """How the releases of a run ended, as `1 succeeded, 2 rolled_back`."""
    return ", ".join(f"{version} {ended}" for version, ended in sorted(result.end["tiny"]["outcomes"].items()))


def expected() -> dict[str, dict[str, str]]:
    """What each cell of the matrix must end in, by call and by `class moment`."""
    found: dict[str, dict[str, str]] = json.loads(MATRIX.read_text())
    return found
