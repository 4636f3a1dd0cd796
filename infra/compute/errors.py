"""What Compute Engine's errors mean for us. Pure: one classification for HTTP errors, failed
operations and managed instances' errors.

    Retry          nothing is known, or nothing was done: later again      NotFound, AlreadyExists   as they say
    Busy           another change on the resource, or a user of it          Conflict                  it changed since it was read
    Refused        no, and why: quota, stock-out, config, policy            (as `rollout.model.Problem`)

Codes decide before numbers: operations and instances carry codes (`QUOTA_EXCEEDED`), answers carry
reasons (`quotaExceeded`), which are read as the same word, and the HTTP status of an operation may
be missing or say 503 for a stock-out. What nobody has heard of is `Retry`. Sources: Compute API
reference (Operation.error), the "resource availability" and "API rate quota" pages of the Compute
docs, and what cluster autoscalers and Terraform's Google provider look for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from infra.errors import Unavailable
from rollout.model import Problem, Reason

BACK_OFF_SECONDS = 5.0
CONCURRENCY_SECONDS = 15.0
"""Too many operations at once: some of them end within seconds, unlike a rate quota, which is
refilled with the minute."""


class Retry(Unavailable):
    """Nothing is known of the outcome, or nothing was done for now. Never assume done: the same
    again after `after_seconds`."""

    def __init__(self, after_seconds: float, why: str) -> None:
        super().__init__(why)
        self.after_seconds = after_seconds


class _Answered(Exception):
    """Compute Engine's own answer, in its words."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class NotFound(_Answered):
    """The resource, or one that it refers to, is not there."""


class AlreadyExists(_Answered):
    """The name is taken: by our own earlier insert, or by somebody else's resource."""


class Busy(_Answered):
    """Another operation is at work on the resource, it is not ready yet, or something still uses
    it. Passes by itself."""


class Conflict(_Answered):
    """The resource changed since it was read (412, a stale fingerprint). Read it again and decide
    anew."""


class Refused(_Answered):
    """No, for good or until somebody changes something; `classify_instance_error` has the class of it."""

    def __init__(self, classify_instance_error: Problem) -> None:
        super().__init__(f"{classify_instance_error.code}: {classify_instance_error.message}")
        self.problem = classify_instance_error


ComputeError = Retry | NotFound | AlreadyExists | Busy | Conflict | Refused


@dataclass(frozen=True)
class ApiError:
    """An error as Compute Engine put it: HTTP status (0: none given), codes and reasons from the
    most to the least telling one."""

    status: int
    codes: tuple[str, ...]
    message: str

    @property
    def code(self) -> str:
        return self.codes[0] if self.codes else f"HTTP_{self.status}"


# ---- The classification


def classify_error(said: ApiError, now: datetime) -> ComputeError:
    """What an error means. The only place that decides it."""
    why = f"{said.code}: {said.message}" if said.message else said.code
    codes = " ".join(said.codes)
    if _is_rate(said, codes):
        return Retry(CONCURRENCY_SECONDS if "CONCURRENT" in codes else _to_next_minute(now), why)
    for pattern, kind in _BY_CODE:
        if pattern.search(codes):
            return kind(why)
    reason = _reason(said, codes)
    if reason:
        return Refused(Problem(reason, said.code, said.message))
    if said.status == 412 or _PRECONDITION.search(codes):
        return Conflict(why)
    if said.status == 409:
        return Busy(why)
    if _is_config(said, codes):
        return Refused(Problem("config", said.code, said.message))
    return Retry(BACK_OFF_SECONDS, why)


def classify_instance_error(code: str, message: str) -> Problem:
    """Why a managed instance could not be made, from its `lastAttempt`.
    `timeout` for what may well pass by itself: the group tries for ever, so only our own deadline
    ends that."""
    said = ApiError(0, (_word(code),), message)
    words = " ".join(said.codes)
    if _is_rate(said, words):
        return Problem("timeout", code, message)
    reason: Reason = _reason(said, words) or (
        "config" if _is_config(said, words) or _MISSING.search(words) else "timeout"
    )
    return Problem(reason, code, message)


def _any(*codes: str) -> re.Pattern[str]:
    """Whole codes only, each in a list joined by spaces."""
    return re.compile(rf"(?<!\S)(?:{'|'.join(codes)})(?!\S)")


_MISSING = _any("NOT_FOUND", "RESOURCE_NOT_FOUND")
_PRECONDITION = _any("CONDITION_NOT_MET", "FAILED_PRECONDITION", "INVALID_FINGERPRINT")
_BY_CODE: tuple[tuple[re.Pattern[str], type[NotFound | AlreadyExists | Busy]], ...] = (
    (_MISSING, NotFound),
    (_any("ALREADY_EXISTS", "RESOURCE_ALREADY_EXISTS"), AlreadyExists),
    (
        _any(
            "(?:RESOURCE_)?OPERATION_IN_PROGRESS",
            "RESOURCE_NOT_READY",
            "RESOURCE_IN_USE(?:_BY_ANOTHER_RESOURCE)?",
        ),
        Busy,
    ),
)
_STOCK_OUT = re.compile(r"POOL_EXHAUSTED|RESOURCE_AVAILABILITY|STOCKOUT")
_QUOTA = re.compile(r"QUOTA|IP_SPACE_EXHAUSTED|(?<!\S)LIMIT_EXCEEDED")
_POLICY = re.compile(
    r"ORG_POLICY|ORGANIZATION_POLICY|POLICY_VIOLATED|VPC_SERVICE_CONTROLS|SECURITY_POLICY_VIOLATED"
)
_POLICY_TEXT = re.compile(
    r"constraints?/|organization'?s policy|organization policy|vmExternalIpAccess", re.IGNORECASE
)
_RATE = re.compile(r"RATE_LIMIT|RATE_QUOTA|CONCURRENT_OPERATIONS|TOO_MANY_REQUESTS")
_RATE_TEXT = re.compile(r"per (?:minute|second|100 seconds)", re.IGNORECASE)
_CONFIG = re.compile(
    r"(?<!\S)(?:INVALID|REQUIRED|BAD_REQUEST|UNSUPPORTED|FORBIDDEN|PERMISSION|PARSE_ERROR|UNKNOWN_FIELD|IMAGE_NOT_FOUND|NOT_IMPLEMENTED)"
)
_UNSURE = (0, 401, 408, 425, 429)


def _is_rate(said: ApiError, codes: str) -> bool:
    return (
        said.status == 429
        or bool(_RATE.search(codes))
        or ("QUOTA" in codes and bool(_RATE_TEXT.search(said.message)))
    )


def _reason(said: ApiError, codes: str) -> Reason | None:
    if _STOCK_OUT.search(codes):
        return "stock-out"
    if _QUOTA.search(codes):
        return "quota"
    is_about_policy = said.status in (0, 400, 403, 412) and _POLICY_TEXT.search(said.message)
    return "policy" if _POLICY.search(codes) or is_about_policy else None


def _is_config(said: ApiError, codes: str) -> bool:
    """A request that will be refused however often it is sent. An answer without any code is not
    Compute Engine's (a proxy's, say)."""
    return (bool(codes) and 400 <= said.status < 500 and said.status not in _UNSURE) or bool(
        said.status in (0, 501) and _CONFIG.search(codes)
    )


def _to_next_minute(now: datetime) -> float:
    """Rate quotas are refilled at the next minute, the same one for everybody; one second more, for
    clocks that differ."""
    return 61.0 - now.second - now.microsecond / 1e6


# ---- Reading what was said


def parse_response_error(status: int, body: Any) -> ApiError:
    """An HTTP error's JSON body; anything else than Google's shape counts as no more than its
    status."""
    error = body.get("error") if isinstance(body, Mapping) else None
    if not isinstance(error, Mapping):
        return ApiError(status, (), str(error or ""))
    details = [
        each
        for each in _mappings(error.get("details"))
        if str(each.get("@type", "")).endswith("ErrorInfo")
    ]
    reasons = [
        *(each.get("reason") for each in details),
        *(each.get("reason") for each in _mappings(error.get("errors"))),
    ]
    codes = [reason for reason in reasons if reason] or [error.get("status")]
    return ApiError(
        status, tuple(_word(str(code)) for code in codes if code), str(error.get("message", ""))
    )


def parse_operation_error(operation: Mapping[str, Any]) -> ApiError | None:
    """A finished operation's error; None when it went well. An error list counts even where the
    HTTP fields are missing, and the HTTP fields where the list is."""
    error = operation.get("error")
    entries = _mappings(error.get("errors")) if isinstance(error, Mapping) else []
    status = operation.get("httpErrorStatusCode") or 0
    if not error and not status:
        return None
    spelled_out = str(operation.get("httpErrorMessage", ""))
    codes = [str(entry["code"]) for entry in entries if entry.get("code")] or [
        spelled_out.replace(" ", "_")
    ]
    message = (
        "; ".join(str(entry["message"]) for entry in entries if entry.get("message")) or spelled_out
    )
    return ApiError(int(status), tuple(_word(code) for code in codes if code), message)


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


@lru_cache(maxsize=256)
def _word(reason: str) -> str:
    """`quotaExceeded` as `QUOTA_EXCEEDED`; `resource_availability` in upper case."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", reason).upper()
