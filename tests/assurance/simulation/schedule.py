"""What goes wrong in one run, as plain values: a workload's name and a list of faults. A file of it
replays the run for ever.

A fault's `at` counts what its family counts, from 1: external calls, published messages, workers,
or seconds since the start. A fault on a call strikes the first call from `at` on that it fits (`on`
is a glob over its name), as often as `times` says; a fault on a message likewise the first one from
`at` on whose topic `on` fits, once (`times` is then how many copies come, or of a `drop` how many
are lost; ticks are not)."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

ERRORS: dict[str, tuple[int, str]] = {
    "rate": (403, "rateLimitExceeded"),
    "denied": (403, "forbidden"),
    "not_found": (404, "notFound"),
    "conflict": (409, "conflict"),
    "precondition": (412, "conditionNotMet"),
    "throttled": (429, "rateLimitExceeded"),
    "internal": (500, "backendError"),
    "unavailable": (503, "backendError"),
    "quota": (403, "quotaExceeded"),
}
OPERATION_ERRORS: dict[str, int] = {
    "INTERNAL_ERROR": 500,
    "RESOURCE_NOT_READY": 400,
    "QUOTA_EXCEEDED": 403,
    "ZONE_RESOURCE_POOL_EXHAUSTED": 503,
    "INVALID_USAGE": 400,
}

ON_WRITES = (
    "crash_before",
    "crash_after",
    "lost_reply",
    "no_effect",
    "pause_before",
    "pause_after",
)
ON_READS = ("no_effect", "crash_before", "pause_before", "stale")
ON_COMPUTE = ("error", "garbled")
ON_COMPUTE_WRITES = ("operation_error", "operation_never")
ON_CALLS = (*dict.fromkeys((*ON_WRITES, *ON_READS, *ON_COMPUTE, *ON_COMPUTE_WRITES)),)
ON_MESSAGES = ("drop", "duplicate", "delay")
ON_WORKERS = ("skew",)
ON_THE_WORLD = (
    "zone_loss",
    "zone_back",
    "capacity",
    "load",
    "preempt",
    "sicken",
    "operator",
    "slow_operations",
)

SAME_IN_THE_END = {
    "rate",
    "not_found",
    "conflict",
    "precondition",
    "throttled",
    "internal",
    "unavailable",
    "INTERNAL_ERROR",
    "RESOURCE_NOT_READY",
}
MOST_AT_ONCE = 20


@dataclass(frozen=True)
class Fault:
    kind: str
    at: float
    on: str = "*"
    times: int = 1
    seconds: float = 0.0
    code: str = ""

    @property
    def may_show(self) -> bool:
        """Whether an honest Slipway may end elsewhere because of it: it goes back for a refusal,
        and for anything that lasts for longer than a release may take."""
        if self.times > MOST_AT_ONCE:
            return True
        if self.kind in ("error", "operation_error"):
            return self.code not in SAME_IN_THE_END
        return self.kind == "operation_never" or (
            self.kind in ON_THE_WORLD and self.kind != "slow_operations"
        )


@dataclass(frozen=True)
class Schedule:
    """`chaos_seconds` after the workload's last step everything that still goes wrong is mended."""

    workload: str
    faults: tuple[Fault, ...] = ()
    chaos_seconds: float = 1800.0
    note: str = ""

    @property
    def is_one_death(self) -> bool:
        """Then not even an update may be made more or less often: what is asked again is asked by
        the same request id."""
        return [fault.kind for fault in self.faults] in (
            ["crash_before"],
            ["crash_after"],
            ["lost_reply"],
        )

    @property
    def may_show(self) -> bool:
        return any(fault.may_show for fault in self.faults)


def dump(schedule: Schedule) -> str:
    plain = asdict(schedule)
    usual = asdict(Fault("", 0))
    plain["faults"] = [
        {k: v for k, v in fault.items() if k in ("kind", "at") or v != usual[k]}
        for fault in plain["faults"]
    ]
    return json.dumps(plain, indent=1) + "\n"


def load(text: str) -> Schedule:
    plain: dict[str, Any] = json.loads(text)
    return Schedule(**plain | {"faults": tuple(Fault(**fault) for fault in plain["faults"])})


def read(path: Path) -> Schedule:
    return load(path.read_text())


def without(schedule: Schedule, number: int) -> Schedule:
    return replace(schedule, faults=schedule.faults[:number] + schedule.faults[number + 1 :])


def shrunk(schedule: Schedule, fails: Callable[[Schedule], bool]) -> Schedule:
    """The schedule with every fault gone that the failure does not need, last ones first, until
    none can go."""
    smaller = True
    while smaller:
        smaller = False
        for number in reversed(range(len(schedule.faults))):
            candidate = without(schedule, number)
            if fails(candidate):
                schedule, smaller = candidate, True
    for number, fault in enumerate(schedule.faults):
        if fault.times > 1:
            once = replace(
                schedule,
                faults=(
                    *schedule.faults[:number],
                    replace(fault, times=1),
                    *schedule.faults[number + 1 :],
                ),
            )
            schedule = once if fails(once) else schedule
    return schedule


def drawn(seed: int, workload: str, calls: int) -> Schedule:
    """The schedule of a seed. `calls` says how many external calls the workload makes
    undisturbed."""
    chance = random.Random(seed)
    faults = tuple(
        _drawn_fault(chance, calls) for _ in range(chance.choice((1, 2, 3, 4, 6, 8, 12, 20)))
    )
    return Schedule(workload, faults, chance.choice((300.0, 900.0, 1800.0)), note=f"seed {seed}")


def _drawn_fault(chance: random.Random, calls: int) -> Fault:
    family = chance.choices(
        ("writes", "reads", "compute", "operations", "messages", "workers", "world"),
        (8, 3, 5, 3, 5, 1, 4),
    )[0]
    at = chance.randint(1, calls)
    match family:
        case "writes":
            kind = chance.choice(ON_WRITES)
            seconds = (
                chance.choice((20.0, 130.0, 200.0, 700.0)) if kind.startswith("pause") else 0.0
            )
            return Fault(kind, at, "*", chance.choice((1, 1, 1, 2, 3)), seconds)
        case "reads":
            kind = chance.choice(ON_READS)
            seconds = (
                chance.choice((130.0, 200.0))
                if kind == "pause_before"
                else chance.choice((5.0, 20.0, 60.0))
            )
            return Fault(kind, at, "compute.*", chance.choice((1, 1, 3, 10)), seconds)
        case "compute":
            if chance.random() < 0.2:
                return Fault("garbled", at, "compute.*", chance.choice((1, 2)))
            return Fault(
                "error",
                at,
                "compute.*",
                chance.choice((1, 1, 2, 5, 20)),
                code=chance.choice(list(ERRORS)),
            )
        case "operations":
            if chance.random() < 0.3:
                return Fault("operation_never", at, "compute.*")
            return Fault(
                "operation_error",
                at,
                "compute.*",
                chance.choice((1, 1, 2)),
                code=chance.choice(list(OPERATION_ERRORS)),
            )
        case "messages":
            kind = chance.choice(ON_MESSAGES)
            seconds = (
                chance.choice((0.0, 3.0, 45.0, 300.0, 600.0, 86_400.0)) if kind != "drop" else 0.0
            )
            return Fault(kind, chance.randint(1, 20), "*", chance.choice((1, 1, 4)), seconds)
        case "workers":
            return Fault(
                "skew",
                chance.randint(1, 15),
                "*",
                chance.choice((1, 5)),
                chance.choice((-300.0, -60.0, 60.0, 300.0)),
            )
    kind = chance.choice(ON_THE_WORLD)
    return Fault(
        kind,
        float(chance.randint(1, 400)),
        chance.choice(("a", "b", "c")),
        chance.choice((1, 2)),
        chance.choice((5.0, 30.0)),
        str(chance.randint(0, 7)),
    )
