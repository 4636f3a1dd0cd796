"""Faults on demand: which call meets what.

A fault matches calls by a glob on the method id and, if wished, a glob on the resource's name; it strikes from its nth
match on, as often as `times` says. `wire` asks before every call; the first fault that strikes wins.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from typing import Any

from local.compute.errors import ApiError

KINDS = {
    "error": "the call is refused with status, reason and message; nothing happens",
    "drop_before": "the connection ends without an answer; nothing happened",
    "drop_after": "the connection ends without an answer, but the call has had its effect",
    "latency": "the answer comes `seconds` later",
    "operation_error": "the call is accepted, its operation ends with code, status and message; nothing happens",
    "operation_latency": "the operation takes `seconds` instead of its usual time",
    "operation_never_ends": "the call has its effect, but its operation stays RUNNING",
    "stale_read": "get and list answer as things were `versions` writes or `seconds` ago",
}
STALE = "stale_read"
WORLD = {
    "zone_down": ('POST /control/zones {"us-central1-a": "DOWN"}', "every VM of a zone is lost, none can be made until it is up"),
    "zone_unreachable": ('POST /control/zones {"us-central1-a": "UNREACHABLE"}', "calls about a zone fail, its VMs go on"),
    "stock_out": ('POST /control/stock-outs {"us-central1-a": {}}', "no VM can be made in a zone, a region or anywhere"),
    "quota": ('POST /control/quotas {"CPUS": 24}', "no VM can be made beyond a limit"),
    "preemption": ('POST /control/instances {"effect": "preempt"}', "Spot VMs are taken away"),
    "host_error": ('POST /control/instances {"effect": "stop"}', "VMs are gone, whatever they are"),
    "illness": ('POST /control/instances {"effect": "kill"}', "apps die (kill) or cease to be ready (unready) in VMs that run"),
    "behaviour": ('POST /control/behaviours {"template": "v2*", "never_ready": true}', "what instances of a release are like"),
    "bad_answers": ('POST /control/traffic {"template": "v2*", "error_rate": 0.1}', "wrong or slow answers to real requests"),
}
"""Faults of the world rather than of calls: how to cause one, and what it does."""


@dataclass(slots=True)
class Fault:
    """`nth` counts from 1; `times` None means for ever; `chance` is the probability that a match in range strikes."""

    kind: str
    method: str = "*"
    name: str = "*"
    nth: int = 1
    times: int | None = None
    chance: float = 1.0
    status: int = 503
    reason: str = "backendError"
    code: str = "INTERNAL_ERROR"
    message: str = "The service is currently unavailable."
    seconds: float = 0.0
    versions: int = 0
    details: list[dict[str, Any]] = field(default_factory=list)
    matched: int = field(default=0, init=False)
    struck: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind: {self.kind!r} is none of {', '.join(KINDS)}")
        if self.kind == STALE and not (self.versions > 0) != (self.seconds > 0):
            raise ValueError("stale_read takes either versions or seconds, above 0")

    @classmethod
    def read(cls, given: dict[str, Any]) -> Fault:
        """A fault from JSON. Raises ValueError naming what is wrong."""
        known = {each.name for each in fields(cls) if each.init}
        unknown = sorted(set(given) - known)
        if unknown:
            raise ValueError(f"unknown member {unknown[0]!r}; known are {', '.join(sorted(known))}")
        if "kind" not in given:
            raise ValueError(f"kind is missing; it is one of {', '.join(KINDS)}")
        return cls(**given)

    def as_dict(self) -> dict[str, Any]:
        return {each.name: getattr(self, each.name) for each in fields(self)}

    def error(self) -> ApiError:
        return ApiError(self.message, status=self.status, reason=self.reason, code=self.code, details=self.details)

    def strikes(self, method_id: str, name: str, chance: random.Random) -> bool:
        """Count a call if it matches, and say whether the fault strikes it."""
        if not (fnmatchcase(method_id, self.method) and fnmatchcase(name, self.name)):
            return False
        self.matched += 1
        if self.matched < self.nth or (self.times is not None and self.struck >= self.times):
            return False
        if self.chance < 1.0 and chance.random() >= self.chance:
            return False
        self.struck += 1
        return True


class Faults:
    """The faults in force, in the order they were added."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self.active: list[Fault] = []

    def add(self, kind: str, method: str = "*", **members: Any) -> Fault:
        """Put a fault in force, for example `add("error", "compute.urlMaps.*", status=503, times=2)`."""
        fault = Fault(kind, method, **members)
        self.active.append(fault)
        return fault

    def clear(self) -> None:
        self.active.clear()

    def strike(self, method_id: str, name: str) -> Fault | None:
        for fault in self.active:
            if fault.strikes(method_id, name, self._chance):
                return fault
        return None
