"""Facts about refusals: status, reason, wording, and the shape that Google's clients read."""

from __future__ import annotations

from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import compute_v1

from emulator.tests.clients import PROJECT, REGION
from emulator.tests.facts.asking import BASE, GROUPS, TINY, ask, refusal
from emulator.tests.facts.source import fact
from emulator.tests.fleet import TEMPLATES, Fleet

BODY = {"name": "tiny", "targetSize": 1, "instanceTemplate": TEMPLATES + "v1"}


@fact("Observed in apache/libcloud's fixtures: code, message and the legacy list of errors")
def test_a_refusal_has_googles_shape(fleet: Fleet) -> None:
    message = (
        "The resource 'projects/demo/regions/us-central1/instanceGroupManagers/tiny' was not found"
    )
    entry = {"message": message, "domain": "global", "reason": "notFound"}
    assert ask(fleet.cloud, "GET", TINY) == (
        404,
        {"error": {"code": 404, "message": message, "errors": [entry]}},
    )


@fact("Observed in scylladb/scylla-cluster-tests#7940, with its wording")
def test_what_exists_is_not_made_again(six: Fleet) -> None:
    message = (
        "The resource 'projects/demo/regions/us-central1/instanceGroupManagers/tiny' already exists"
    )
    assert refusal(six.cloud, "POST", GROUPS, BODY) == (409, "alreadyExists", message)


@fact("API reference, references: what they name must exist")
def test_a_reference_to_nothing_is_not_found(six: Fleet) -> None:
    body = {"versions": [{"instanceTemplate": TEMPLATES + "none"}]}
    message = "The resource 'projects/demo/global/instanceTemplates/none' was not found"
    assert refusal(six.cloud, "PATCH", TINY, body) == (404, "notFound", message)


@fact(
    "API reference: unknown members, wrong types and wrong words are 400",
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
def test_a_body_is_held_to_the_schema(six: Fleet, wrong: dict[str, Any]) -> None:
    assert refusal(six.cloud, "PATCH", TINY, wrong)[0] == 400
    assert six.get().status.is_stable


@fact(
    "Documentation, operations quota: 403 with domain usageLimits and an ErrorInfo that names the"
    " quota; made by a fault"
)
def test_a_rate_quota_is_told_with_its_details(six: Fleet) -> None:
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


@fact("Observed with google-cloud-compute 1.57: what each status becomes")
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
def test_the_client_makes_an_exception_of_each_status(six: Fleet, status: int, kind: Any) -> None:
    six.cloud.faults.add("error", "*.patch", status=status, reason="some", times=1)
    with pytest.raises(kind):
        six.patch(description="x")
    six.patch(description="x")


@fact(
    "Observed with google-cloud-compute 1.57: reads are retried after a 503, changes and"
    " listManagedInstances are not"
)
def test_the_client_retries_reads_only(six: Fleet) -> None:
    six.cloud.faults.add("error", "*.get", status=503, times=1)
    assert six.get().name == "tiny"
    six.cloud.faults.add("error", "*.listManagedInstances", status=503, times=1)
    with pytest.raises(exceptions.ServiceUnavailable):
        six.instances()


@fact(
    "API reference, resourceInUseByAnotherResource; observed in TF#10365 and pulumi-gcp#680",
    assumed="at once, not in the operation",
)
def test_what_is_in_use_is_refused_at_once_and_names_its_user(six: Fleet) -> None:
    status, reason, message = refusal(six.cloud, "DELETE", f"{BASE}/global/healthChecks/alive")
    assert (status, reason) == (400, "resourceInUseByAnotherResource")
    user = "projects/demo/regions/us-central1/instanceGroupManagers/tiny"
    assert (
        message
        == "The health_check resource 'projects/demo/global/healthChecks/alive' is already being"
        f" used by '{user}'"
    )


@fact(
    "Documentation, error 409 operationInProgress: another change of the same resource runs",
    assumed="changes of a group do not collide",
)
def test_a_group_takes_one_patch_while_another_ones_operation_runs(six: Fleet) -> None:
    six.cloud.operations.seconds = 60.0
    for description in ("first", "second"):
        assert ask(six.cloud, "PATCH", TINY, {"description": description})[0] == 200
    assert six.get().description == "second"


@fact(
    "API reference, delete: what is being deleted is there until its operation ends, and is not"
    " found after"
)
def test_a_group_is_gone_when_its_delete_has_ended(six: Fleet) -> None:
    operation = six.call("delete_unary")
    assert six.get().name == "tiny"
    assert refusal(six.cloud, "PATCH", TINY, {"description": "x"})[1] == "resourceNotReady"
    six.done(operation)
    managers = six.clients.of(compute_v1.RegionInstanceGroupManagersClient)
    with pytest.raises(exceptions.NotFound):
        managers.get(project=PROJECT, region=REGION, instance_group_manager="tiny")


@fact(
    "API reference, compute.v1: startWithEncryptionKey is part of it",
    assumed="not modelled: 501 names the method",
)
def test_a_method_that_is_not_built_says_so(six: Fleet) -> None:
    status, reason, message = refusal(
        six.cloud, "POST", f"{BASE}/zones/us-central1-a/instances/x/startWithEncryptionKey", {}
    )
    assert (status, reason) == (501, "notImplemented")
    assert "compute.instances.startWithEncryptionKey" in message
