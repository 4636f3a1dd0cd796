"""Facts about operations, request ids, ids and lists."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from compute_emulator import VirtualClock
from emulator.tests.clients import REGION, rejection, send
from emulator.tests.facts.helpers import BASE, GROUPS, TINY
from emulator.tests.facts.source import fact
from emulator.tests.fleet import TEMPLATES, Fleet

V1 = TEMPLATES + "v1"
BODY = {"name": "tiny", "targetSize": 1, "instanceTemplate": V1}


@fact(
    "API reference, Operation: members of every operation; documentation: 200 means accepted,"
    " DONE means finished"
)
def test_a_mutation_returns_an_operation_that_ends(fleet: Fleet, clock: VirtualClock) -> None:
    status, operation = send(fleet.cloud, "POST", GROUPS, BODY)
    assert (status, operation["kind"], operation["status"]) == (200, "compute#operation", "RUNNING")
    assert {
        "id",
        "name",
        "targetLink",
        "targetId",
        "insertTime",
        "startTime",
        "user",
        "selfLink",
        "region",
    } <= set(operation)
    assert operation["id"].isdigit()
    assert not {"endTime", "error"} & set(operation)
    clock.advance(2)
    done = send(fleet.cloud, "GET", operation["selfLink"])[1]
    assert (done["status"], done["progress"], "endTime" in done) == ("DONE", 100, True)


@fact(
    "Observed in apache/libcloud's fixtures, with gcloud 528, which reads the end of the type, and"
    " in GoogleCloudPlatform/k8s-config-connector@1e63b160c8, zonalcomputeinstancegroupmanager"
    " and globalcomputeforwardingrule",
    assumed="regional groups are like zonal ones",
)
@pytest.mark.parametrize(
    ("http", "path", "body", "kind"),
    [
        (
            "POST",
            f"{BASE}/global/instanceTemplates",
            {"name": "t"},
            "compute.instanceTemplates.insert",
        ),
        ("POST", GROUPS, BODY | {"name": "other"}, "compute.instanceGroupManagers.insert"),
        ("PATCH", TINY, {"description": "x"}, "patch"),
        ("POST", f"{TINY}/resize?size=7", None, "compute.instanceGroupManagers.resize"),
        ("DELETE", TINY, None, "compute.instanceGroupManagers.delete"),
        ("DELETE", f"{BASE}/{TEMPLATES}v3", None, "delete"),
        ("POST", f"{BASE}/global/healthChecks", {"name": "h", "type": "HTTP"}, "insert"),
        ("DELETE", f"{BASE}/global/healthChecks/ready", None, "delete"),
    ],
)
def test_an_operation_has_a_type(six: Fleet, http: str, path: str, body: Any, kind: str) -> None:
    if path.endswith("instanceTemplates"):
        body["properties"] = send(six.cloud, "GET", f"{BASE}/{TEMPLATES}v1")[1]["properties"]
    assert send(six.cloud, http, path, body)[1]["operationType"] == kind


@fact("API reference, operations: in the scope of the changed resource")
def test_an_operation_is_in_the_scope_of_its_target(six: Fleet) -> None:
    regional = send(six.cloud, "PATCH", TINY, {"description": "x"})[1]
    everywhere = send(
        six.cloud, "PATCH", f"{BASE}/global/healthChecks/ready", {"description": "x"}
    )[1]
    assert f"/regions/{REGION}/operations/" in regional["selfLink"]
    assert "/global/operations/" in everywhere["selfLink"]
    assert "region" not in everywhere


@fact(
    "API reference, operations.wait: at most two minutes, may return earlier; get never blocks",
    assumed="if time stands still it returns at once",
)
def test_waiting_ends_with_the_operation_or_after_two_minutes(
    six: Fleet, clock: VirtualClock
) -> None:
    six.cloud.operations.seconds = 300.0
    began = clock.now()
    operation = send(six.cloud, "PATCH", TINY, {"description": "x"})[1]
    answers = []
    for _ in range(3):
        answers.append(send(six.cloud, "POST", f"{operation['selfLink']}/wait")[1]["status"])
    assert (answers, clock.now() - began) == (["RUNNING", "RUNNING", "DONE"], 300.0)


@fact(
    "Documentation, viewing operations: kept at least an hour, at most 14 days", assumed="14 days"
)
def test_a_finished_operation_is_forgotten_after_fourteen_days(
    six: Fleet, clock: VirtualClock
) -> None:
    operation = send(six.cloud, "PATCH", TINY, {"description": "x"})[1]
    clock.advance(13 * 86_400)
    send(six.cloud, "PATCH", TINY, {"description": "y"})
    assert send(six.cloud, "GET", operation["selfLink"])[0] == 200
    clock.advance(2 * 86_400)
    send(six.cloud, "PATCH", TINY, {"description": "z"})
    assert send(six.cloud, "GET", operation["selfLink"])[0] == 404


@fact(
    "Observed with google-cloud-compute 1.57: a failed operation needs both httpErrorStatusCode"
    " and httpErrorMessage"
)
def test_a_failed_operation_has_the_members_that_clients_read(six: Fleet) -> None:
    six.cloud.faults.add(
        "operation_error",
        "*.patch",
        code="RESOURCE_NOT_READY",
        status=400,
        message="not yet",
        times=1,
    )
    operation = send(six.cloud, "PATCH", TINY, {"description": "x"})[1]
    six.clock.advance(2)
    done = send(six.cloud, "GET", operation["selfLink"])[1]
    assert (done["httpErrorStatusCode"], done["httpErrorMessage"]) == (400, "BAD REQUEST")
    assert done["error"]["errors"] == [{"code": "RESOURCE_NOT_READY", "message": "not yet"}]
    assert six.get().description == ""


@fact("API reference, resourceNotReady: a resource cannot be used while it is being created")
def test_a_resource_being_created_is_not_ready(fleet: Fleet) -> None:
    assert send(fleet.cloud, "POST", GROUPS, BODY)[0] == 200
    status, reason, message = rejection(fleet.cloud, "PATCH", TINY, {"description": "x"})
    assert (status, reason) == (400, "resourceNotReady")
    assert (
        message
        == "The resource 'projects/demo/regions/us-central1/instanceGroupManagers/tiny' is not"
        " ready"
    )


@fact(
    "API reference, requestId: a UUID, not zero; a retry does nothing",
    assumed="the retry returns the first operation",
)
def test_a_request_id_makes_a_retry_harmless(fleet: Fleet) -> None:
    request_id = str(uuid.uuid4())
    path = f"{GROUPS}?requestId={request_id}"
    first, again = (send(fleet.cloud, "POST", path, BODY) for _ in range(2))
    assert (first[0], again[0], first[1]["name"]) == (200, 200, again[1]["name"])
    assert first[1]["clientOperationId"] == request_id
    for wrong in ("not-a-uuid", "00000000-0000-0000-0000-000000000000"):
        assert rejection(fleet.cloud, "POST", f"{GROUPS}?requestId={wrong}", BODY)[:2] == (
            400,
            "invalid",
        )


@fact("API reference, requestId", assumed="it is valid for 60 minutes and for its method only")
def test_a_request_id_is_valid_for_an_hour(fleet: Fleet, clock: VirtualClock) -> None:
    request_id = f"?requestId={uuid.uuid4()}"
    send(fleet.cloud, "POST", GROUPS + request_id, BODY)
    clock.advance(3600)
    assert send(fleet.cloud, "POST", GROUPS + request_id, BODY)[0] == 200
    assert send(fleet.cloud, "PATCH", TINY + request_id, {"description": "x"})[0] == 200
    clock.advance(1)
    assert rejection(fleet.cloud, "POST", GROUPS + request_id, BODY)[:2] == (409, "alreadyExists")


@fact("API reference, resource names", assumed="the wording")
@pytest.mark.parametrize("name", ["Upper", "1st", "ends-", "x" * 64, "under_score"])
def test_a_name_is_lower_case_and_short(fleet: Fleet, name: str) -> None:
    assert rejection(fleet.cloud, "POST", GROUPS, BODY | {"name": name})[:2] == (400, "invalid")


@fact("API reference: JSON merge patch; null clears, objects are merged, lists are replaced")
def test_a_patch_is_merged(six: Fleet) -> None:
    send(six.cloud, "PATCH", TINY, {"description": "x", "updatePolicy": {"maxSurge": {"fixed": 5}}})
    assert six.get().update_policy.type_ == "PROACTIVE"
    send(
        six.cloud,
        "PATCH",
        TINY,
        {"description": None, "versions": [{"instanceTemplate": TEMPLATES + "v2"}]},
    )
    kept = send(six.cloud, "GET", TINY)[1]
    assert "description" not in kept
    assert len(kept["versions"]) == 1


@fact("API reference, list methods: at most 500 per page; items is absent if there are none")
def test_a_list_has_pages_of_at_most_500(fleet: Fleet) -> None:
    assert "items" not in send(fleet.cloud, "GET", GROUPS)[1]
    for number in range(3):
        send(fleet.cloud, "POST", GROUPS, BODY | {"name": f"g-{number}", "targetSize": 0})
    first = send(fleet.cloud, "GET", f"{GROUPS}?maxResults=2")[1]
    rest = send(fleet.cloud, "GET", f"{GROUPS}?maxResults=2&pageToken={first['nextPageToken']}")[1]
    assert [each["name"] for page in (first, rest) for each in page["items"]] == [
        "g-0",
        "g-1",
        "g-2",
    ]
    assert "nextPageToken" not in rest
    assert send(fleet.cloud, "GET", f"{GROUPS}?maxResults=501")[0] == 400


@fact("API reference, filter: applies to what is returned, including computed members")
def test_a_list_can_be_filtered_by_computed_members(six: Fleet) -> None:
    send(six.cloud, "POST", GROUPS, BODY | {"name": "young"})
    found = send(six.cloud, "GET", f"{GROUPS}?filter=status.isStable%3Dtrue")[1]["items"]
    assert [each["name"] for each in found] == ["tiny"]


@fact("API reference, aggregated lists: empty scopes have a NO_RESULTS_ON_PAGE warning")
def test_an_aggregated_list_contains_every_scope(six: Fleet) -> None:
    items = send(
        six.cloud, "GET", f"{BASE}/aggregated/instanceGroupManagers?includeAllScopes=true"
    )[1]["items"]
    assert [each["name"] for each in items[f"regions/{REGION}"]["instanceGroupManagers"]] == [
        "tiny"
    ]
    assert items["regions/europe-west1"]["warning"]["code"] == "NO_RESULTS_ON_PAGE"


@fact(
    "Observed with gcloud 528: references use the overriding host; responses contain links on"
    " Google's host"
)
def test_references_are_recognized_in_every_spelling(fleet: Fleet) -> None:
    for number, spelling in enumerate(
        ["http://127.0.0.1:9/compute/v1/projects/demo/", "projects/demo/", ""]
    ):
        body = BODY | {"name": f"g-{number}", "instanceTemplate": spelling + V1}
        assert send(fleet.cloud, "POST", GROUPS, body)[0] == 200
        kept = send(fleet.cloud, "GET", f"{GROUPS}/g-{number}")[1]
        assert kept["versions"][0]["instanceTemplate"] == f"https://www.googleapis.com{BASE}/{V1}"


@fact(
    "Observed with google-cloud-compute 1.57: x-goog headers and parameters; with gcloud 528: alt,"
    " returnPartialSuccess"
)
def test_unknown_parameters_are_tolerated(six: Fleet) -> None:
    assert send(six.cloud, "GET", f"{TINY}?alt=json&returnPartialSuccess=True&anything=1")[0] == 200
