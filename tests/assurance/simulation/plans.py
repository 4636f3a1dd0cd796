"""Which schedules there are: deaths at every write, two deaths, frozen workers, the matrix of
errors, and those drawn from seeds.

`test_*.py` run a part of them with every commit, `python -m tests.assurance.simulation` as many as
one likes."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

from tests.assurance.simulation import schedule as schedules
from tests.assurance.simulation.run import Result, reference
from tests.assurance.simulation.schedule import ERRORS, OPERATION_ERRORS, Fault, Schedule
from tests.assurance.simulation.workloads import WORKLOADS

DEATHS = ("crash_before", "crash_after", "lost_reply")
AT_ONCE = 1.0  # seconds in which no operation ends
FROZEN_SECONDS = 200.0
ZOMBIE_SECONDS = (70.0, 130.0, 400.0)
FOR_EVER = 1_000_000

MAIN, BEGINNING = "swap", "create"
LONG = ("roll", "scale", "nonsense", "bad", "supersede", "two-models", "again")
SHORT = tuple(name for name in WORKLOADS if name not in LONG)
DRAWN = (*WORKLOADS, *SHORT, *SHORT)  # a long one a third as often: in its time two others run
MATRIX = Path(__file__).with_name("matrix.json")
CHAOS_SECONDS = 300.0  # after the release has come; what is still refused then is mended
MOMENTS = ("first", "midway", "persistent")
AT_READS = (*ERRORS, "garbled", "no_effect")
AT_WRITES = (*AT_READS, "lost_reply", *OPERATION_ERRORS, "operation_never")


def workload_of(seed: int) -> str:
    return DRAWN[seed % len(DRAWN)]


def of_seed(seed: int) -> Schedule:
    workload = workload_of(seed)
    return schedules.drawn(seed, workload, until_rest(workload))


def until_rest(workload: str) -> int:
    """How many calls the run without faults makes until all is settled and a survey has been there.
    The same ticks follow."""
    found = reference(workload)
    return sum(at <= found.seconds for at, _ in found.made)


def deaths(workload: str, kinds: tuple[str, ...] = DEATHS) -> Iterator[Schedule]:
    """Every kind of death at every external write."""
    for (at, _), kind in itertools.product(writes(workload), kinds):
        yield Schedule(workload, (Fault(kind, at),))


def distinct_deaths(workload: str, kinds: tuple[str, ...] = DEATHS) -> Iterator[Schedule]:
    """Those of them that leave a world which no other one leaves.

    Left out are those in a beginning that is, to the last call, the story of `BEGINNING`, which has
    them; and a death before a write at once after another write of the same worker, which is the
    death after that one."""
    begun, made = _begun_alike(workload), reference(workload).made
    found = writes(workload)
    before = {at: earlier for (earlier, _), (at, _) in itertools.pairwise(found)}
    for (at, _), kind in itertools.product(found, kinds):
        earlier = before.get(at)
        is_same = (
            kind == "crash_before" and earlier is not None and _is_at_once(made[earlier - 1 : at])
        )
        if at > begun and not is_same:
            yield Schedule(workload, (Fault(kind, at),))


def _is_at_once(made: tuple[tuple[float, int], ...]) -> bool:
    """Whether one worker made all these calls, and no operation can have ended meanwhile."""
    return len({worker for _, worker in made}) == 1 and made[-1][0] - made[0][0] < AT_ONCE


def _begun_alike(workload: str) -> int:
    """How many calls a workload makes as `BEGINNING` makes them, before anything else is asked
    for."""
    mine, theirs = reference(workload), reference(BEGINNING)
    until = mine.steps[1] if workload != BEGINNING and len(mine.steps) > 1 else 0
    is_alike = (
        WORKLOADS[workload].steps[:1] == WORKLOADS[BEGINNING].steps
        and mine.calls[:until] == theirs.calls[:until]
    )
    return until if is_alike and mine.made[:until] == theirs.made[:until] else 0


def freezes(workload: str) -> Iterator[Schedule]:
    """A worker that stands still at any write, before or after it, until its claim has expired and
    others have worked on."""
    for (at, _), kind in itertools.product(writes(workload), ("pause_before", "pause_after")):
        yield Schedule(workload, (Fault(kind, at, seconds=FROZEN_SECONDS),))


def double_deaths(workload: str) -> Iterator[Schedule]:
    for (first, _), (second, _) in itertools.combinations(writes(workload), 2):
        yield Schedule(workload, (Fault("crash_after", first), Fault("crash_before", second)))


def zombies(workload: str) -> Iterator[Schedule]:
    """A worker that stands still at any call, a read too, for shorter and longer than its claim
    lasts. Calls of a beginning that is the story of `BEGINNING` are left to that one."""
    points = range(_begun_alike(workload) + 1, until_rest(workload) + 1)
    for at, seconds in itertools.product(points, ZOMBIE_SECONDS):
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
    times = FOR_EVER if moment == "persistent" else 1
    return Schedule(
        MAIN, (Fault(kind, at, site, times, code=code if kind != code else ""),), CHAOS_SECONDS
    )


def _midway(site: str) -> int:
    """The first call of its kind that the swap makes after the first release has settled, else its
    last one."""
    found = reference(MAIN)
    made = [at for at, name in enumerate(found.calls, 1) if name == site]
    return next((at for at in made if at > found.steps[-1]), made[-1])


def outcome(result: Result) -> str:
    """How the releases of a run ended, as `1 succeeded, 2 rolled_back`."""
    return ", ".join(
        f"{version} {ended}" for version, ended in sorted(result.end["tiny"]["outcomes"].items())
    )


def expected() -> dict[str, dict[str, str]]:
    """What each cell of the matrix must end in, by call and by `class moment`."""
    found: dict[str, dict[str, str]] = json.loads(MATRIX.read_text())
    return found
