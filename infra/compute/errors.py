"""Classifies Compute Engine's errors: HTTP errors, failed operations, and errors of managed
instances. Pure.

    Retry           outcome unknown, or nothing was done: try again later
    Busy            the resource is being changed, or still in use: resolves itself
    NotFound, AlreadyExists
    Conflict        the resource changed since it was read
    Refused         permanent, for a reason: quota, stock-out, config, policy
                    (a `rollout.model.Problem`)

What matters is what waiting solves. A resource that Slipway makes itself appears by waiting; one
that a release names, like a certificate, does not. The table in docs/operations.md lists the codes,
and its test reads them from there.

Codes take precedence over HTTP statuses. Operations and instances carry codes (`QUOTA_EXCEEDED`),
HTTP answers carry reasons (`quotaExceeded`); both are normalized to the same form. The HTTP status
of an operation may be missing, or be 503 for a stock-out. Unknown errors are retried. Sources:
Compute API reference (Operation.error), the "resource availability" and "API rate quota" pages of
the Compute docs, and the codes that cluster autoscalers and Terraform's Google provider handle.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, get_args

from infra.errors import Unavailable
from infra.fleet import naming
from infra.fleet.model import Collection
from rollout.deferred import dataclass
from rollout.model import Problem, Reason

BACK_OFF_SECONDS = 5.0
CONCURRENCY_SECONDS = 15.0
"""The delay after too many concurrent operations. Some of them end within seconds, whereas a rate
quota is refilled every minute."""


class Retry(Unavailable):
    """The outcome is unknown, or nothing was done. Repeat the request after `after_seconds`; never
    assume that it succeeded.
    """

    def __init__(self, after_seconds: float, why: str) -> None:
        super().__init__(why)
        self.after_seconds = after_seconds


class RateLimited(Retry):
    """Too many calls in this minute, or too many operations at once."""


class _ApiException(Exception):
    """Compute Engine answered with an error."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class NotFound(_ApiException):
    """The resource, or one that it refers to, does not exist."""


class AlreadyExists(_ApiException):
    """The name is taken, by an earlier insert of ours or by another owner's resource."""


class Busy(_ApiException):
    """The resource is not ready, another operation is changing it, or another resource uses it.
    Resolves itself.
    """


class Conflict(_ApiException):
    """The resource changed since it was read (412, a stale fingerprint). Read it again and decide
    again.
    """


class Refused(_ApiException):
    """Refused permanently, or until someone changes something. `problem` has the reason."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(f"{problem.code}: {problem.message}")
        self.problem = problem


ComputeError = Retry | NotFound | AlreadyExists | Busy | Conflict | Refused


@dataclass(frozen=True)
class ApiError:
    """An error as Compute Engine reports it: the HTTP status (0 if missing), and its codes, the
    most specific one first.
    """

    status: int
    codes: tuple[str, ...]
    message: str

    @property
    def code(self) -> str:
        return self.codes[0] if self.codes else f"HTTP_{self.status}"


# ---- The classification


def classify_error(error: ApiError, now: datetime) -> ComputeError:
    """The exception for an error. The only place that decides what an error means."""
    why = f"{error.code}: {error.message}" if error.message else error.code
    codes = " ".join(error.codes)
    if _is_rate(error, codes):
        return RateLimited(
            CONCURRENCY_SECONDS if "CONCURRENT" in codes else _seconds_to_next_minute(now), why
        )
    for pattern, kind in _BY_CODE:
        if pattern.search(codes):
            return kind(why)
    reason = _find_reason(error, codes)
    if reason:
        return Refused(Problem(reason, error.code, error.message))
    if error.status == 412 or _PRECONDITION.search(codes):
        return Conflict(why)
    if error.status == 409:
        return Busy(why)
    if _is_config(error, codes):
        return Refused(Problem("config", error.code, error.message))
    return Retry(BACK_OFF_SECONDS, why)


def classify_instance_error(code: str, message: str) -> Problem:
    """The problem of a managed instance that could not be created, from its `lastAttempt`. Errors
    that may resolve themselves get the reason `timeout`: the group retries forever, so only our own
    deadline ends that.
    """
    error = ApiError(0, (_normalize(code),), message)
    words = " ".join(error.codes)
    if _is_rate(error, words) or is_own(missing_resource(message)):
        return Problem("timeout", code, message)
    reason: Reason = _find_reason(error, words) or (
        "config" if _is_config(error, words) or _MISSING.search(words) else "timeout"
    )
    return Problem(reason, code, message)


def missing_resource(message: str) -> str:
    """The reference to the resource that does not exist, according to the message; empty if it
    names none.
    """
    found = _MISSING_TEXT.search(message)
    return naming.canonical(found[1]) if found else ""


def is_own(reference: str) -> bool:
    """Whether a reference is to a resource of a kind that Slipway makes. If it is missing, the next
    pass makes it.
    """
    return reference.rpartition("/")[0].rpartition("/")[2] in _OWN_COLLECTIONS


def missing_reference(error: NotFound) -> Problem | None:
    """The problem if the missing resource is one that a release names; None if it may be one of
    Slipway's.
    """
    code, _, message = error.why.partition(": ")
    reference = missing_resource(message)
    return Problem("config", code, message) if reference and not is_own(reference) else None


def _match_codes(*codes: str) -> re.Pattern[str]:
    """A pattern that finds one of the codes in a text of codes separated by spaces."""
    return re.compile(rf"(?<!\S)(?:{'|'.join(codes)})(?!\S)")


_MISSING = _match_codes("NOT_FOUND", "RESOURCE_NOT_FOUND")
_MISSING_TEXT = re.compile(
    r"'([^'/]+/[^']+)'[^']*(?:was not found|(?:cannot|could not) be found|does not exist)"
)
_OWN_COLLECTIONS = frozenset(map(naming.collection_in_urls, get_args(Collection)))
_PRECONDITION = _match_codes("CONDITION_NOT_MET", "FAILED_PRECONDITION", "INVALID_FINGERPRINT")
_BY_CODE: tuple[tuple[re.Pattern[str], type[NotFound | AlreadyExists | Busy]], ...] = (
    (_MISSING, NotFound),
    (_match_codes("ALREADY_EXISTS", "RESOURCE_ALREADY_EXISTS"), AlreadyExists),
    (
        _match_codes(
            "(?:RESOURCE_)?OPERATION_IN_PROGRESS",
            r"\S*_NOT_READY",
            "RESOURCE_IN_USE(?:_BY_ANOTHER_RESOURCE)?",
        ),
        Busy,
    ),
)
_STOCK_OUT = re.compile(r"POOL_EXHAUSTED|RESOURCE_AVAILABILITY|STOCKOUT|MIN_COUNT_NOT_REACHED")
_QUOTA = re.compile(r"QUOTA|IP_SPACE_EXHAUSTED|(?<!\S)LIMIT_EXCEEDED")
_POLICY = re.compile(
    r"ORG_POLICY|ORGANIZATION_POLICY|POLICY_VIOLATED|VPC_SERVICE_CONTROLS|SECURITY_POLICY_VIOLATED"
)
_POLICY_TEXT = re.compile(
    r"constraints?/|organization'?s policy|organization policy|vmExternalIpAccess", re.IGNORECASE
)
_RATE = re.compile(r"RATE_LIMIT|RATE_QUOTA|RATE_EXCEEDED|CONCURRENT_OPERATIONS|TOO_MANY_REQUESTS")
_RATE_TEXT = re.compile(r"per (?:minute|second|100 seconds)", re.IGNORECASE)
_CONFIG = re.compile(
    r"(?<!\S)(?:INVALID|REQUIRED|BAD_REQUEST|UNSUPPORTED|FORBIDDEN|PERMISSION|PARSE_ERROR"
    r"|UNKNOWN_FIELD|NOT_IMPLEMENTED|ACCESS_NOT_CONFIGURED"
    r"|\S+_(?:NOT_FOUND|DENIED|DISABLED|DELETED|NOT_SUPPORTED|NOT_ALLOWED)(?!\S))"
)
_UNCERTAIN_STATUSES = (0, 401, 408, 425, 429)


def _is_rate(error: ApiError, codes: str) -> bool:
    return (
        error.status == 429
        or bool(_RATE.search(codes))
        or ("QUOTA" in codes and bool(_RATE_TEXT.search(error.message)))
    )


def _find_reason(error: ApiError, codes: str) -> Reason | None:
    if _STOCK_OUT.search(codes):
        return "stock-out"
    if _QUOTA.search(codes):
        return "quota"
    is_about_policy = error.status in (0, 400, 403, 412) and _POLICY_TEXT.search(error.message)
    return "policy" if _POLICY.search(codes) or is_about_policy else None


def _is_config(error: ApiError, codes: str) -> bool:
    """Whether the request will be refused however often it is sent. An answer without a code does
    not come from Compute Engine, but from a proxy, for example.
    """
    return (
        bool(codes) and 400 <= error.status < 500 and error.status not in _UNCERTAIN_STATUSES
    ) or bool(error.status in (0, 501) and _CONFIG.search(codes))


def _seconds_to_next_minute(now: datetime) -> float:
    """Rate quotas are refilled at the start of each minute. One second more, for clock skew."""
    return 61.0 - now.second - now.microsecond / 1e6


# ---- Parsing errors


def parse_response_error(status: int, body: Any) -> ApiError:
    """The error in an HTTP answer. A body that is not in Google's format is ignored: then only the
    status counts.
    """
    error = body.get("error") if isinstance(body, Mapping) else None
    if not isinstance(error, Mapping):
        return ApiError(status, (), str(error or ""))
    details = [
        each
        for each in _mappings_in(error.get("details"))
        if str(each.get("@type", "")).endswith("ErrorInfo")
    ]
    reasons = [
        *(each.get("reason") for each in details),
        *(each.get("reason") for each in _mappings_in(error.get("errors"))),
    ]
    codes = [reason for reason in reasons if reason] or [error.get("status")]
    return ApiError(
        status,
        tuple(_normalize(str(code)) for code in codes if code),
        str(error.get("message", "")),
    )


def parse_operation_error(operation: Mapping[str, Any]) -> ApiError | None:
    """The error of a finished operation; None if it succeeded. Either the error list or the HTTP
    fields may be missing; each alone means failure.
    """
    error = operation.get("error")
    entries = _mappings_in(error.get("errors")) if isinstance(error, Mapping) else []
    status = operation.get("httpErrorStatusCode") or 0
    if not error and not status:
        return None
    status_text = str(operation.get("httpErrorMessage", ""))
    codes = [str(entry["code"]) for entry in entries if entry.get("code")] or [
        status_text.replace(" ", "_")
    ]
    message = (
        "; ".join(str(entry["message"]) for entry in entries if entry.get("message")) or status_text
    )
    return ApiError(int(status), tuple(_normalize(code) for code in codes if code), message)


def _mappings_in(value: Any) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


@lru_cache(maxsize=256)
def _normalize(reason: str) -> str:
    """`quotaExceeded` as `QUOTA_EXCEEDED`; `resource_availability` in upper case."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", reason).upper()
