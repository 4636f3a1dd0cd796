"""A schedule: a workload's name and the faults injected into one run, as plain values.

A schedule saved as a file replays its run. A fault's `at` counts from 1 in the unit of its family:
external calls, published messages, workers, or seconds since the start. A fault on a call applies
to the first matching call from `at` on (`on` is a glob over the call's name) and repeats `times`
times. A fault on a message applies once, to the first message from `at` on whose topic matches
`on`; `times` is then the number of extra copies or, for `drop`, of lost messages. Ticks are never
dropped.
"""

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

WRITE_FAULTS = (
    "crash_before",
    "crash_after",
    "lost_reply",
    "no_effect",
    "stall_before",
    "stall_after",
)
READ_FAULTS = ("no_effect", "crash_before", "stall_before", "stale")
COMPUTE_FAULTS = ("error", "garbled")
COMPUTE_WRITE_FAULTS = ("operation_error", "operation_never")
METRICS_FAULTS = ("metrics",)  # the source lies, as `code` says
CALL_FAULTS = (
    *dict.fromkeys(
        (*WRITE_FAULTS, *READ_FAULTS, *COMPUTE_FAULTS, *COMPUTE_WRITE_FAULTS, *METRICS_FAULTS)
    ),
)
MESSAGE_FAULTS = ("drop", "duplicate", "delay")
WORKER_FAULTS = ("skew",)
WORLD_FAULTS = (
    "zone_loss",
    "zone_restored",
    "capacity",
    "load",
    "preempt",
    "unhealthy",
    "operator",
    "slow_operations",
    "stable_breaks",
    "intent",
)
# What Slipway has to bear: losses of single instances to the environment condemn no release.
BEARABLE = ("slow_operations", "preempt", "intent")

TRANSIENT_ERRORS = {
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
MAX_TRANSIENT_TIMES = 20


@dataclass(frozen=True)
class Fault:
    kind: str
    at: float
    on: str = "*"
    times: int = 1
    seconds: float = 0.0
    code: str = ""

    @property
    def may_change_outcome(self) -> bool:
        """Whether a correct Slipway may end in another state because of it: it rolls back after a
        refusal, and after anything that outlasts a release's deadline.
        """
        if self.times > MAX_TRANSIENT_TIMES:
            return True
        if self.kind in ("error", "operation_error"):
            return self.code not in TRANSIENT_ERRORS
        return self.kind == "operation_never" or (
            self.kind in WORLD_FAULTS and self.kind not in BEARABLE
        )


@dataclass(frozen=True)
class Schedule:
    """All faults end at the latest `chaos_seconds` after the workload's last step."""

    workload: str
    faults: tuple[Fault, ...] = ()
    chaos_seconds: float = 1800.0
    note: str = ""

    @property
    def is_single_crash(self) -> bool:
        """Whether the only fault is one crash or lost reply. Then even the number of updates has to
        match: a repeated request carries the same request id.
        """
        return [fault.kind for fault in self.faults] in (
            ["crash_before"],
            ["crash_after"],
            ["lost_reply"],
        )

    @property
    def may_change_outcome(self) -> bool:
        return any(fault.may_change_outcome for fault in self.faults)


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


def shrink(schedule: Schedule, fails: Callable[[Schedule], bool]) -> Schedule:
    """Removes every fault that the failure does not need, last ones first, until none can go."""
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


def draw(seed: int, workload: str, calls: int) -> Schedule:
    """Draws the schedule of a seed. `calls`: how many external calls the workload makes without
    faults.
    """
    chance = random.Random(seed)
    faults = tuple(
        _draw_fault(chance, calls) for _ in range(chance.choice((1, 2, 3, 4, 6, 8, 12, 20)))
    )
    return Schedule(workload, faults, chance.choice((300.0, 900.0, 1800.0)), note=f"seed {seed}")


def _draw_fault(chance: random.Random, calls: int) -> Fault:
    family = chance.choices(
        ("writes", "reads", "compute", "operations", "messages", "workers", "world", "intents"),
        (8, 3, 5, 3, 5, 1, 4, 2),
    )[0]
    at = chance.randint(1, calls)
    match family:
        case "writes":
            kind = chance.choice(WRITE_FAULTS)
            seconds = (
                chance.choice((20.0, 130.0, 200.0, 700.0)) if kind.startswith("stall") else 0.0
            )
            return Fault(kind, at, "*", chance.choice((1, 1, 1, 2, 3)), seconds)
        case "reads":
            kind = chance.choice(READ_FAULTS)
            seconds = (
                chance.choice((130.0, 200.0))
                if kind == "stall_before"
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
            kind = chance.choice(MESSAGE_FAULTS)
            seconds = (
                chance.choice((0.0, 3.0, 45.0, 300.0, 600.0, 86_400.0)) if kind != "drop" else 0.0
            )
            on = chance.choice(("*", "*", "model-releases"))
            return Fault(kind, chance.randint(1, 20), on, chance.choice((1, 1, 4)), seconds)
        case "workers":
            return Fault(
                "skew",
                chance.randint(1, 15),
                "*",
                chance.choice((1, 5)),
                chance.choice((-300.0, -60.0, 60.0, 300.0)),
            )
    kind = "intent" if family == "intents" else chance.choice(WORLD_FAULTS)
    return Fault(
        kind,
        float(chance.randint(1, 400)),
        chance.choice(("a", "b", "c")),
        chance.choice((1, 2)),
        chance.choice((5.0, 30.0)),
        str(chance.randint(0, 7)),
    )
