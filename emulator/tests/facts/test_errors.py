"""Facts about errors: status, reason, wording, and the structure that Google's clients read."""

from __future__ import annotations

from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import compute_v1

from emulator.tests.clients import PROJECT, REGION, rejection, send
from emulator.tests.facts.helpers import BASE, GROUPS, TINY
from emulator.tests.facts.source import fact
from emulator.tests.fleet import TEMPLATES, Fleet

BODY = {"name": "tiny", "targetSize": 1, "instanceTemplate": TEMPLATES + "v1"}


@fact("Observed in apache/libcloud's fixtures: code, message and the legacy list of errors")
def test_an_error_has_googles_structure(fleet: Fleet) -> None:
    message = (
        "The resource 'projects/demo/regions/us-central1/instanceGroupManagers/tiny' was not found"
    )
    entry = {"message": message, "domain": "global", "reason": "notFound"}
    assert send(fleet.cloud, "GET", TINY) == (
        404,
        {"error": {"code": 404, "message": message, "errors": [entry]}},
    )


@fact("Observed in scylladb/scylla-cluster-tests#7940, with its wording")
def test_an_existing_resource_cannot_be_created_again(six: Fleet) -> None:
    message = (
        "The resource 'projects/demo/regions/us-central1/instanceGroupManagers/tiny' already exists"
    )
    assert rejection(six.cloud, "POST", GROUPS, BODY) == (409, "alreadyExists", message)


@fact("API reference, references: the resources they name must exist")
def test_a_reference_to_a_missing_resource_is_not_found(six: Fleet) -> None:
    body = {"versions": [{"instanceTemplate": TEMPLATES + "none"}]}
    message = "The resource 'projects/demo/global/instanceTemplates/none' was not found"
    assert rejection(six.cloud, "PATCH", TINY, body) == (404, "notFound", message)


@fact(
    "API reference: unknown members, wrong types and invalid enum values get 400",
    assumed="wording as of Google's JSON front end",
)
@pytest.mark.parametrize(
    "wrong",
    [
        {"nonsense": 1},
        {"targetSize": "many"},
        {"updatePolicy": {"type": "SOMETIMES"}},
        {"versions": {}},
        {"autoHealingPolicies": [{"initialDelaySec": True}]},
    ],
)
def test_a_body_is_validated_against_the_schema(six: Fleet, wrong: dict[str, Any]) -> None:
    assert rejection(six.cloud, "PATCH", TINY, wrong)[0] == 400
    assert six.get().status.is_stable


@fact(
    "Documentation, operations quota: 403 with domain usageLimits and an ErrorInfo that names"
    " the quota; caused by a fault"
)
def test_a_rate_quota_error_has_its_details(six: Fleet) -> None:
    info = {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "CONCURRENT_OPERATIONS_QUOTA_EXCEEDED",
        "domain": "compute.googleapis.com",
        "metadata": {
            "quotaMetric": "compute.googleapis.com/regional_concurrent_operations",
            "location": REGION,
        },
    }
    members = {
        "status": 403,
        "reason": "rateLimitExceeded",
        "message": "Rate Limit Exceeded",
        "details": [info],
    }
    six.cloud.faults.add("error", "*.patch", times=1, **members)
    with pytest.raises(exceptions.Forbidden) as caught:
        six.patch(description="x")
    assert caught.value.errors[0]["reason"] == "rateLimitExceeded"
    assert (caught.value.reason, caught.value.domain) == (
        "CONCURRENT_OPERATIONS_QUOTA_EXCEEDED",
        "compute.googleapis.com",
    )


@fact("Observed with google-cloud-compute 1.57: the exception for each status")
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (403, exceptions.Forbidden),
        (409, exceptions.Conflict),
        (412, exceptions.PreconditionFailed),
        (429, exceptions.TooManyRequests),
        (500, exceptions.InternalServerError),
        (503, exceptions.ServiceUnavailable),
    ],
)
def test_the_client_raises_an_exception_for_each_status(six: Fleet, status: int, kind: Any) -> None:
    six.cloud.faults.add("error", "*.patch", status=status, reason="some", times=1)
    with pytest.raises(kind):
        six.patch(description="x")
    six.patch(description="x")


@fact(
    "Observed with google-cloud-compute 1.57: reads are retried after a 503, mutations and"
    " listManagedInstances are not"
)
def test_the_client_retries_only_reads(six: Fleet) -> None:
    six.cloud.faults.add("error", "*.get", status=503, times=1)
    assert six.get().name == "tiny"
    six.cloud.faults.add("error", "*.listManagedInstances", status=503, times=1)
    with pytest.raises(exceptions.ServiceUnavailable):
        six.instances()


@fact(
    "API reference, resourceInUseByAnotherResource; observed in TF#10365 and pulumi-gcp#680",
    assumed="at once, not in the operation",
)
def test_deleting_a_resource_in_use_is_rejected_at_once_and_names_its_user(six: Fleet) -> None:
    status, reason, message = rejection(six.cloud, "DELETE", f"{BASE}/global/healthChecks/alive")
    assert (status, reason) == (400, "resourceInUseByAnotherResource")
    user = "projects/demo/regions/us-central1/instanceGroupManagers/tiny"
    assert (
        message
        == "The health_check resource 'projects/demo/global/healthChecks/alive' is already being"
        f" used by '{user}'"
    )


@fact(
    "Documentation, error 409 operationInProgress: another change of the same resource is running",
    assumed="changes of a group do not conflict",
)
def test_a_group_can_be_patched_while_another_operation_on_it_runs(six: Fleet) -> None:
    six.cloud.operations.seconds = 60.0
    for description in ("first", "second"):
        assert send(six.cloud, "PATCH", TINY, {"description": description})[0] == 200
    assert six.get().description == "second"


@fact(
    "API reference, delete: a resource exists until its delete operation ends and is not found"
    " afterwards"
)
def test_a_group_is_gone_once_its_delete_has_ended(six: Fleet) -> None:
    operation = six.call("delete_unary")
    assert six.get().name == "tiny"
    assert rejection(six.cloud, "PATCH", TINY, {"description": "x"})[1] == "resourceNotReady"
    six.done(operation)
    managers = six.clients.of(compute_v1.RegionInstanceGroupManagersClient)
    with pytest.raises(exceptions.NotFound):
        managers.get(project=PROJECT, region=REGION, instance_group_manager="tiny")


@fact(
    "API reference, compute.v1: startWithEncryptionKey is part of it",
    assumed="not modelled: 501 names the method",
)
def test_an_unimplemented_method_is_named(six: Fleet) -> None:
    status, reason, message = rejection(
        six.cloud, "POST", f"{BASE}/zones/us-central1-a/instances/x/startWithEncryptionKey", {}
    )
    assert (status, reason) == (501, "notImplemented")
    assert "compute.instances.startWithEncryptionKey" in message
