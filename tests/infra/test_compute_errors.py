"""Compute Engine's errors and what they mean, as tables. Sources are named with the rows; texts are
those seen in the field."""

from __future__ import annotations

from datetime import UTC, datetime
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


def error(reason: str, message: str = "", telling: str = "") -> dict[str, Any]:
    """An error body in the shape of the API; `telling` is the reason of its ErrorInfo, which newer
    errors have."""
    details = (
        [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": telling}]
        if telling
        else []
    )
    return {
        "error": {
            "message": message,
            "errors": [{"reason": reason, "message": message, "domain": "global"}],
            "details": details,
        }
    }


def meaning(said: ComputeError) -> str:
    return said.problem.reason if isinstance(said, Refused) else type(said).__name__


@pytest.mark.parametrize(
    ("status", "reason", "message", "means"),
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
        # API rate quotas: 403, not 429, and filled again with the minute
        (403, "rateLimitExceeded", PER_MINUTE, "Retry"),
        (403, "quotaExceeded", PER_MINUTE, "Retry"),
        (429, "rateLimitExceeded", "", "Retry"),
        # Organization policies: a condition that is not met, which no reading again will mend
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
        # No verdict: what Terraform's provider and Google's clients retry
        (500, "internalError", "", "Retry"),
        (502, "backendError", "", "Retry"),
        (503, "backendError", "", "Retry"),
        (504, "gatewayTimeout", "", "Retry"),
        (401, "authError", "Invalid Credentials", "Retry"),
        (503, "resourcePoolExhausted", STOCK_OUT, "stock-out"),
    ],
)
def test_an_http_error_means(status: int, reason: str, message: str, means: str) -> None:
    assert (
        meaning(classify_error(parse_response_error(status, error(reason, message)), NOW)) == means
    )


@pytest.mark.parametrize(
    "body", [None, "<html>502</html>", [], {}, {"error": "invalid_grant"}, {"error": {"code": 404}}]
)
@pytest.mark.parametrize("status", [400, 403, 404, 500, 502])
def test_an_answer_that_is_not_compute_engines_says_nothing(status: int, body: Any) -> None:
    assert meaning(classify_error(parse_response_error(status, body), NOW)) == "Retry"


def test_the_newer_shape_without_a_list_of_errors_is_read_by_its_status() -> None:
    newer = {"error": {"code": 404, "status": "NOT_FOUND", "message": "gone"}}
    assert meaning(classify_error(parse_response_error(404, newer), NOW)) == "NotFound"


def test_a_rate_quota_is_waited_for_until_the_minute_is_over() -> None:
    limited = classify_error(parse_response_error(403, error("rateLimitExceeded", PER_MINUTE)), NOW)
    assert isinstance(limited, Retry)
    assert limited.after_seconds == 21


def test_too_many_operations_at_once_are_waited_for_briefly() -> None:
    """Source: "Concurrent operations quota" in the Compute docs; the telling reason is in the
    ErrorInfo."""
    body = error(
        "rateLimitExceeded", "Rate Limit Exceeded", telling="CONCURRENT_OPERATIONS_QUOTA_EXCEEDED"
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
@pytest.mark.parametrize(("code", "status", "message", "means"), OPERATION_ERRORS)
def test_a_failed_operation_is_judged_by_its_code_with_or_without_an_http_status(
    code: str, status: int, message: str, means: str, with_status: bool
) -> None:
    operation: dict[str, Any] = {
        "status": "DONE",
        "error": {"errors": [{"code": code, "message": message}]},
    }
    if with_status:
        operation |= {"httpErrorStatusCode": status}
    said = parse_operation_error(operation)
    assert said
    assert meaning(classify_error(said, NOW)) == means


def test_an_operation_that_has_only_an_http_status_has_failed_too() -> None:
    said = parse_operation_error(
        {"status": "DONE", "httpErrorStatusCode": 400, "httpErrorMessage": "BAD REQUEST"}
    )
    assert said
    assert meaning(classify_error(said, NOW)) == "config"


def test_an_empty_error_in_an_operation_is_still_an_error_of_unknown_meaning() -> None:
    said = parse_operation_error({"status": "DONE", "error": {"errors": [{}]}})
    assert said
    assert meaning(classify_error(said, NOW)) == "Retry"


def test_an_operation_without_errors_went_well() -> None:
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
    ],
)
def test_why_an_instance_could_not_be_made(code: str, message: str, reason: str) -> None:
    found = classify_instance_error(code, message)
    assert (found.reason, found.code, found.message) == (reason, code, message)


def test_every_trouble_says_why_in_compute_engines_words() -> None:
    kinds = {NotFound: 404, AlreadyExists: 409, Busy: 409, Conflict: 412}
    reasons = {
        NotFound: "notFound",
        AlreadyExists: "alreadyExists",
        Busy: "operationInProgress",
        Conflict: "conditionNotMet",
    }
    for kind, status in kinds.items():
        said = classify_error(
            parse_response_error(status, error(reasons[kind], "the very words")), NOW
        )
        assert type(said) is kind
        assert "the very words" in str(said)
