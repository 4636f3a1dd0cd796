"""The classification of Compute Engine's errors, as tables. Comments name the sources; the messages
are real ones.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from infra.compute.errors import (
    AlreadyExists,
    Busy,
    ComputeError,
    Conflict,
    NotFound,
    Refused,
    Retry,
    classify_error,
    classify_instance_error,
    missing_reference,
    parse_operation_error,
    parse_response_error,
)

NOW = datetime(2026, 1, 1, 12, 0, 40, tzinfo=UTC)
STOCK_OUT = (
    "The zone 'projects/p/zones/z' does not have enough resources available to fulfill the request."
)
PER_MINUTE = (
    "Quota exceeded for quota metric 'Read requests' and limit 'Read requests per minute' of"
    " service 'compute.googleapis.com'"
)


def error(reason: str, message: str = "", info_reason: str = "") -> dict[str, Any]:
    """An error body in the API's format. `info_reason` is the reason in its ErrorInfo, which newer
    errors have.
    """
    details = (
        [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": info_reason}]
        if info_reason
        else []
    )
    return {
        "error": {
            "message": message,
            "errors": [{"reason": reason, "message": message, "domain": "global"}],
            "details": details,
        }
    }


def kind_of(found: ComputeError) -> str:
    return found.problem.reason if isinstance(found, Refused) else type(found).__name__


@pytest.mark.parametrize(
    ("status", "reason", "message", "expected"),
    [
        # Compute API: common answers
        (
            404,
            "notFound",
            "The resource 'projects/p/global/healthChecks/h' was not found",
            "NotFound",
        ),
        (
            409,
            "alreadyExists",
            "The resource 'projects/p/global/instanceTemplates/t' already exists",
            "AlreadyExists",
        ),
        (409, "operationInProgress", "", "Busy"),
        (
            400,
            "resourceNotReady",
            "The resource 'projects/p/global/healthChecks/h' is not ready",
            "Busy",
        ),
        (
            400,
            "resourceInUseByAnotherResource",
            "The instance_template resource 'a' is already being used by 'b'",
            "Busy",
        ),
        (412, "conditionNotMet", "Invalid fingerprint.", "Conflict"),
        (400, "required", "Required field 'resource.fingerprint' not specified", "config"),
        (400, "invalid", "Invalid value for field 'resource.distributionPolicy': ''.", "config"),
        (
            403,
            "forbidden",
            "Required 'compute.instanceTemplates.create' permission for 'projects/p'",
            "config",
        ),
        (403, "quotaExceeded", "Quota 'HEALTH_CHECKS' exceeded. Limit: 75.0 globally.", "quota"),
        # API rate quotas: 403, not 429, and refilled every minute
        (403, "rateLimitExceeded", PER_MINUTE, "RateLimited"),
        (403, "quotaExceeded", PER_MINUTE, "RateLimited"),
        (429, "rateLimitExceeded", "", "RateLimited"),
        # Organization policies: a condition that is not met, which reading again does not change
        (
            412,
            "conditionNotMet",
            "Constraint constraints/compute.vmExternalIpAccess violated for project p",
            "policy",
        ),
        (
            403,
            "forbidden",
            "Request is prohibited by organization's policy. vpcServiceControlsUniqueIdentifier: x",
            "policy",
        ),
        # Errors that Terraform's provider and Google's clients retry
        (500, "internalError", "", "Retry"),
        (502, "backendError", "", "Retry"),
        (503, "backendError", "", "Retry"),
        (504, "gatewayTimeout", "", "Retry"),
        (401, "authError", "Invalid Credentials", "Retry"),
        (503, "resourcePoolExhausted", STOCK_OUT, "stock-out"),
    ],
)
def test_http_errors_are_classified(status: int, reason: str, message: str, expected: str) -> None:
    assert (
        kind_of(classify_error(parse_response_error(status, error(reason, message)), NOW))
        == expected
    )


@pytest.mark.parametrize(
    "body", [None, "<html>502</html>", [], {}, {"error": "invalid_grant"}, {"error": {"code": 404}}]
)
@pytest.mark.parametrize("status", [400, 403, 404, 500, 502])
def test_an_error_that_is_not_from_compute_engine_is_retried(status: int, body: Any) -> None:
    assert kind_of(classify_error(parse_response_error(status, body), NOW)) == "Retry"


def test_an_error_without_a_list_is_classified_by_its_status() -> None:
    newer = {"error": {"code": 404, "status": "NOT_FOUND", "message": "gone"}}
    assert kind_of(classify_error(parse_response_error(404, newer), NOW)) == "NotFound"


def test_a_rate_quota_is_retried_in_the_next_minute() -> None:
    limited = classify_error(parse_response_error(403, error("rateLimitExceeded", PER_MINUTE)), NOW)
    assert isinstance(limited, Retry)
    assert limited.after_seconds == 21


def test_too_many_concurrent_operations_are_retried_soon() -> None:
    """Source: "Concurrent operations quota" in the Compute docs; the specific reason is in the
    ErrorInfo.
    """
    body = error(
        "rateLimitExceeded",
        "Rate Limit Exceeded",
        info_reason="CONCURRENT_OPERATIONS_QUOTA_EXCEEDED",
    )
    limited = classify_error(parse_response_error(403, body), NOW)
    assert isinstance(limited, Retry)
    assert limited.after_seconds == 15


OPERATION_ERRORS = [
    # Compute docs, "Resource availability"; kubernetes/k8s.io#9834
    ("ZONE_RESOURCE_POOL_EXHAUSTED", 503, STOCK_OUT, "stock-out"),
    ("ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS", 503, STOCK_OUT, "stock-out"),
    ("RESOURCE_POOL_EXHAUSTED", 0, STOCK_OUT, "stock-out"),
    # hashicorp/nomad-autoscaler#839
    ("QUOTA_EXCEEDED", 403, "Quota 'GPUS_ALL_REGIONS' exceeded.  Limit: 0.0 globally.", "quota"),
    # Cluster Autoscaler's GCE provider
    (
        "IP_SPACE_EXHAUSTED",
        0,
        "IP space of 'projects/p/regions/r/subnetworks/s' is exhausted.",
        "quota",
    ),
    ("PERMISSIONS_ERROR", 403, "Required 'compute.images.useReadOnly' permission", "config"),
    (
        "CONDITION_NOT_MET",
        412,
        "Constraint constraints/compute.vmExternalIpAccess violated",
        "policy",
    ),
    # Terraform's Google provider
    ("RESOURCE_NOT_READY", 400, "", "Busy"),
    ("RESOURCE_IN_USE_BY_ANOTHER_RESOURCE", 400, "", "Busy"),
    ("RESOURCE_OPERATION_IN_PROGRESS", 409, "", "Busy"),
    ("RESOURCE_ALREADY_EXISTS", 409, "", "AlreadyExists"),
    ("RESOURCE_NOT_FOUND", 404, "", "NotFound"),
    ("CONDITION_NOT_MET", 412, "Invalid fingerprint.", "Conflict"),
    ("INVALID_FIELD_VALUE", 400, "", "config"),
    ("INTERNAL_ERROR", 500, "", "Retry"),
    ("SOMETHING_NEW", 0, "", "Retry"),
]


@pytest.mark.parametrize("with_status", [True, False])
@pytest.mark.parametrize(("code", "status", "message", "expected"), OPERATION_ERRORS)
def test_failed_operations_are_classified_by_their_code(
    code: str, status: int, message: str, expected: str, with_status: bool
) -> None:
    operation: dict[str, Any] = {
        "status": "DONE",
        "error": {"errors": [{"code": code, "message": message}]},
    }
    if with_status:
        operation |= {"httpErrorStatusCode": status}
    failure = parse_operation_error(operation)
    assert failure
    assert kind_of(classify_error(failure, NOW)) == expected


def test_an_operation_with_only_an_http_error_status_failed() -> None:
    failure = parse_operation_error(
        {"status": "DONE", "httpErrorStatusCode": 400, "httpErrorMessage": "BAD REQUEST"}
    )
    assert failure
    assert kind_of(classify_error(failure, NOW)) == "config"


def test_an_operation_with_an_empty_error_failed() -> None:
    failure = parse_operation_error({"status": "DONE", "error": {"errors": [{}]}})
    assert failure
    assert kind_of(classify_error(failure, NOW)) == "Retry"


def test_an_operation_without_errors_succeeded() -> None:
    assert (
        parse_operation_error({"status": "DONE", "warnings": [{"code": "NEXT_HOP_NOT_RUNNING"}]})
        is None
    )


@pytest.mark.parametrize(
    ("code", "message", "reason"),
    [
        ("ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS", STOCK_OUT, "stock-out"),
        (
            "QUOTA_EXCEEDED",
            (
                "Instance 'i' creation failed: Quota 'CPUS' exceeded.  Limit: 24.0 in region"
                " us-central1."
            ),
            "quota",
        ),
        ("PERMISSIONS_ERROR", "The user does not have access to service account 'x'", "config"),
        (
            "RESOURCE_NOT_FOUND",
            "The resource 'projects/p/global/images/gone' was not found",
            "config",
        ),
        ("INVALID_USAGE", "Machine type with name 'n9' does not exist in zone 'z'", "config"),
        (
            "CONDITION_NOT_MET",
            "Constraint constraints/compute.requireShieldedVm violated",
            "policy",
        ),
        ("RATE_LIMIT_EXCEEDED", "", "timeout"),
        (
            "INTERNAL_ERROR",
            "Internal error. Please try again or contact Google Support.",
            "timeout",
        ),
        ("SOMETHING_NEW", "", "timeout"),
        ("SERVICE_ACCOUNT_ACCESS_DENIED", "The user does not have access to ...", "config"),
        ("EXTERNAL_RESOURCE_NOT_FOUND", "The resource 'a@b' ... was not found.", "config"),
    ],
)
def test_instance_errors_are_classified(code: str, message: str, reason: str) -> None:
    found = classify_instance_error(code, message)
    assert (found.reason, found.code, found.message) == (reason, code, message)


def documented_errors() -> list[tuple[str, str, str, str]]:
    """Code, message, and what the table in the documentation says of requests and instances."""
    text = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    section = text.partition("### Errors of Compute Engine")[2].partition("\n## ")[0]
    rows = [line.strip("| ").split("|") for line in section.splitlines() if line.startswith("| `")]
    cells = [[cell.strip().strip("`") for cell in row] for row in rows]
    return [(code, message, request, instance) for code, message, _, request, instance in cells]


def outcome_of(found: ComputeError) -> str:
    match found:
        case Refused(problem=problem):
            return problem.reason
        case NotFound() if missing := missing_reference(found):
            return missing.reason
        case NotFound() | AlreadyExists() | Conflict():
            return "read again"
        case _:
            return "retried"


@pytest.mark.parametrize(("code", "message", "request_", "instance"), documented_errors())
def test_documented_errors_are_classified_by_what_waiting_solves(
    code: str, message: str, request_: str, instance: str
) -> None:
    answered = re.sub("_([a-z])", lambda found: found[1].upper(), code.lower())
    answer = {"error": {"message": message, "errors": [{"reason": answered, "message": message}]}}
    operation = {"status": "DONE", "error": {"errors": [{"code": code, "message": message}]}}
    failure = parse_operation_error(operation)
    assert failure
    assert outcome_of(classify_error(failure, NOW)) == request_
    of_answer = classify_error(parse_response_error(400, answer), NOW)
    if code not in ("INTERNAL_ERROR", "BACKEND_ERROR", "SERVICE_UNAVAILABLE", "SOMETHING_NEW"):
        assert outcome_of(of_answer) == request_  # with these, the status is 5xx
    assert classify_instance_error(code, message).reason == instance


def test_every_error_quotes_compute_engines_message() -> None:
    kinds = {NotFound: 404, AlreadyExists: 409, Busy: 409, Conflict: 412}
    reasons = {
        NotFound: "notFound",
        AlreadyExists: "alreadyExists",
        Busy: "operationInProgress",
        Conflict: "conditionNotMet",
    }
    for kind, status in kinds.items():
        found = classify_error(
            parse_response_error(status, error(reasons[kind], "the message")), NOW
        )
        assert type(found) is kind
        assert "the message" in str(found)
