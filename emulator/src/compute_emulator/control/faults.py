"""Faults on demand: which call fails, and how.

A fault matches calls by a glob on the method id and, optionally, a glob on the resource's name.
It strikes from its nth match on, up to `times` times. `wire` checks before every call; the first
fault that strikes applies.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from typing import Any

from compute_emulator.api import discovery
from compute_emulator.control.validation import number, pattern
from compute_emulator.errors import ApiError

KINDS = {
    "error": "the call is refused with status, reason and message, without effect",
    "drop_before": "the connection ends without a response; the call has no effect",
    "drop_after": "the connection ends without a response, but the call takes effect",
    "latency": "the response is delayed by `seconds`",
    "operation_error": (
        "the call is accepted, but its operation fails with code, status and message; no effect"
    ),
    "operation_latency": "the operation takes `seconds` instead of the usual time",
    "operation_never_ends": "the call takes effect, but its operation stays RUNNING",
    "stale_read": "get and list return the state of `versions` writes or `seconds` ago",
}
STALE = "stale_read"
CLASSES = {
    name: {"status": status, "reason": reason, "code": code, "message": message}
    for name, status, reason, code, message in (
        ("rate_limited", 403, "rateLimitExceeded", "RATE_LIMIT_EXCEEDED", "Rate Limit Exceeded"),
        ("throttled", 429, "rateLimitExceeded", "RATE_LIMIT_EXCEEDED", "Rate Limit Exceeded"),
        ("quota", 403, "quotaExceeded", "QUOTA_EXCEEDED", "Quota 'CPUS' exceeded. Limit: 0.0"),
        ("denied", 403, "forbidden", "PERMISSIONS_ERROR", "The permission is missing."),
        ("not_found", 404, "notFound", "RESOURCE_NOT_FOUND", "The resource was not found"),
        (
            "already_exists",
            409,
            "alreadyExists",
            "RESOURCE_ALREADY_EXISTS",
            "The resource already exists",
        ),
        (
            "in_progress",
            409,
            "operationInProgress",
            "RESOURCE_OPERATION_IN_PROGRESS",
            "Another operation is in progress.",
        ),
        ("stale_fingerprint", 412, "conditionNotMet", "CONDITION_NOT_MET", "Invalid fingerprint."),
        ("not_ready", 400, "resourceNotReady", "RESOURCE_NOT_READY", "The resource is not ready"),
        (
            "in_use",
            400,
            "resourceInUseByAnotherResource",
            "RESOURCE_IN_USE_BY_ANOTHER_RESOURCE",
            "It is already being used",
        ),
        ("internal", 500, "internalError", "INTERNAL_ERROR", "Internal error."),
        ("bad_gateway", 502, "backendError", "SERVICE_UNAVAILABLE", "Bad gateway"),
        (
            "unavailable",
            503,
            "backendError",
            "SERVICE_UNAVAILABLE",
            "The service is currently unavailable.",
        ),
        ("gateway_timeout", 504, "backendError", "SERVICE_UNAVAILABLE", "Gateway timeout"),
        (
            "stock_out",
            503,
            "backendError",
            "ZONE_RESOURCE_POOL_EXHAUSTED",
            "The zone does not have enough resources available.",
        ),
    )
}
"""What `error_class` stands for: status and reason of a refused call, code of a failed
operation."""


@dataclass(slots=True)
class Fault:
    """`nth` counts from 1; `times` None means forever; `chance` is the probability that a match
    in range strikes.

    `error_class` (one of `CLASSES`) sets status, reason, code and message together; members that
    are set explicitly override it.
    """

    kind: str
    method: str = "*"
    name: str = "*"
    error_class: str = ""
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
            raise ValueError(f"kind: {self.kind!r} is not one of {', '.join(KINDS)}")
        self._check_numbers()
        if self.kind == STALE and not (self.versions > 0) != (self.seconds > 0):
            raise ValueError("stale_read takes either versions or seconds, above 0")
        if self.kind == "latency" and not self.seconds:
            raise ValueError("latency takes seconds, above 0")
        if self.error_class:
            self._apply_error_class()

    def _check_numbers(self) -> None:
        for name in ("method", "name", "error_class", "reason", "code", "message"):
            if not isinstance(getattr(self, name), str):
                raise ValueError(f"{name} must be a string, not {getattr(self, name)!r}")
        for name, low in (("nth", 1), ("times", 0), ("versions", 0)):
            value = getattr(self, name)
            if (value is not None or name != "times") and (type(value) is not int or value < low):
                raise ValueError(f"{name} must be a whole number, {low} or more, not {value!r}")
        number("chance", self.chance, high=1)
        number("seconds", self.seconds)
        if type(self.status) is not int or not 400 <= self.status <= 599:
            raise ValueError(f"status must be an HTTP status from 400 to 599, not {self.status!r}")
        if not isinstance(self.details, list) or not all(
            isinstance(each, dict) for each in self.details
        ):
            raise ValueError(f"details must be a list of objects, not {self.details!r}")

    def _apply_error_class(self) -> None:
        if self.error_class not in CLASSES:
            raise ValueError(
                f"error_class: {self.error_class!r} is not one of {', '.join(CLASSES)}"
            )
        for each in fields(self):
            if each.name in CLASSES[self.error_class] and getattr(self, each.name) == each.default:
                setattr(self, each.name, CLASSES[self.error_class][each.name])

    @classmethod
    def read(cls, given: Any) -> Fault:
        """Parse a fault from JSON. Raises ValueError naming what is invalid, including an
        unknown method.
        """
        if not isinstance(given, dict):
            raise ValueError(f"a fault must be an object, not {given!r}")
        known = {each.name for each in fields(cls) if each.init}
        unknown = sorted(set(given) - known)
        if unknown:
            raise ValueError(
                f"unknown member {unknown[0]!r}; use one of {', '.join(sorted(known))}"
            )
        if "kind" not in given:
            raise ValueError(f"kind is missing; it is one of {', '.join(KINDS)}")
        fault = cls(**given)
        pattern("method", fault.method, discovery.methods())
        return fault

    def as_dict(self) -> dict[str, Any]:
        return {each.name: getattr(self, each.name) for each in fields(self)}

    def error(self) -> ApiError:
        return ApiError(
            self.message,
            status=self.status,
            reason=self.reason,
            code=self.code,
            details=self.details,
        )

    def applies_to(self, method_id: str, name: str, chance: random.Random) -> bool:
        """Count a call if it matches, and return whether the fault strikes it."""
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
    """The active faults, in the order in which they were added."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self.active: list[Fault] = []

    def add(self, kind: str, method: str = "*", **members: Any) -> Fault:
        """Add a fault, for example `add("error", "compute.urlMaps.*", status=503, times=2)`."""
        fault = Fault(kind, method, **members)
        self.active.append(fault)
        return fault

    def clear(self) -> None:
        self.active.clear()

    def first_match(self, method_id: str, name: str) -> Fault | None:
        for fault in self.active:
            if fault.applies_to(method_id, name, self._chance):
                return fault
        return None
