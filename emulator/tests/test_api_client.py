"""google-api-python-client, with its own copy of the discovery document, over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from googleapiclient.discovery import build
from googleapiclient.errors import HttpError
from googleapiclient.http import BatchHttpRequest

from compute_emulator import Cloud, ScaledClock, serve

HERE = {"project": "demo", "region": "us-central1"}
SCHEME = {"loadBalancingScheme": "EXTERNAL_MANAGED"}


@pytest.fixture
def compute() -> Iterator[Any]:
    with serve(Cloud(clock=ScaledClock(600), operation_seconds=5, check_responses=True)) as server:
        options = ClientOptions(api_endpoint=f"{server.url}/compute/v1/")
        client = build(
            "compute",
            "v1",
            credentials=AnonymousCredentials(),
            client_options=options,
            static_discovery=True,
        )
        with client:
            yield client


def done(compute: Any, operation: Any) -> Any:
    """Wait for an operation of any scope."""
    while operation["status"] != "DONE":
        if "region" in operation:
            operation = (
                compute.regionOperations().wait(**HERE, operation=operation["name"]).execute()
            )
        else:
            operation = (
                compute.globalOperations()
                .wait(project="demo", operation=operation["name"])
                .execute()
            )
    assert "error" not in operation
    return operation


def template(name: str) -> dict[str, Any]:
    disk = {
        "boot": True,
        "initializeParams": {"sourceImage": "projects/cos-cloud/global/images/family/cos-stable"},
    }
    network = [{"network": "global/networks/default"}]
    return {
        "name": name,
        "properties": {"machineType": "e2-small", "disks": [disk], "networkInterfaces": network},
    }


def test_a_group_is_created_rolled_and_deleted(compute: Any) -> None:
    templates, managers = compute.instanceTemplates(), compute.regionInstanceGroupManagers()
    for name in ("it-v1", "it-v2"):
        done(compute, templates.insert(project="demo", body=template(name)).execute())
    body = {
        "name": "g",
        "targetSize": 3,
        "versions": [{"instanceTemplate": "global/instanceTemplates/it-v1"}],
    }
    done(compute, managers.insert(**HERE, body=body).execute())
    policy = {"type": "PROACTIVE", "maxSurge": {"fixed": 4}, "maxUnavailable": {"fixed": 0}}
    patch = {
        "versions": [{"instanceTemplate": "global/instanceTemplates/it-v2"}],
        "updatePolicy": policy,
    }
    done(compute, managers.patch(**HERE, instanceGroupManager="g", body=patch).execute())
    for _ in range(2000):
        status = managers.get(**HERE, instanceGroupManager="g").execute()["status"]
        if status["versionTarget"]["isReached"] and status["isStable"]:
            break
    listed = managers.listManagedInstances(**HERE, instanceGroupManager="g").execute()[
        "managedInstances"
    ]
    assert {each["version"]["instanceTemplate"].rpartition("/")[2] for each in listed} == {"it-v2"}
    done(compute, managers.delete(**HERE, instanceGroupManager="g").execute())
    with pytest.raises(HttpError) as missing:
        managers.get(**HERE, instanceGroupManager="g").execute()
    assert missing.value.status_code == 404
    assert (
        missing.value.reason
        == "The resource 'projects/demo/regions/us-central1/instanceGroupManagers/g' was not found"
    )


def test_a_load_balancer_is_created_and_its_parts_are_listed(compute: Any) -> None:
    check = {"name": "hc", "type": "HTTP", "httpHealthCheck": {"port": 80}}
    done(compute, compute.healthChecks().insert(project="demo", body=check).execute())
    service = {"name": "bs", "healthChecks": ["global/healthChecks/hc"]} | SCHEME
    done(compute, compute.backendServices().insert(project="demo", body=service).execute())
    done(
        compute,
        compute.urlMaps()
        .insert(project="demo", body={"name": "um", "defaultService": "global/backendServices/bs"})
        .execute(),
    )
    proxy = {"name": "tp", "urlMap": "global/urlMaps/um"}
    done(compute, compute.targetHttpProxies().insert(project="demo", body=proxy).execute())
    rule = {"name": "fr", "target": "global/targetHttpProxies/tp", "portRange": "80"} | SCHEME
    done(compute, compute.globalForwardingRules().insert(project="demo", body=rule).execute())
    assert (
        compute.globalForwardingRules()
        .get(project="demo", forwardingRule="fr")
        .execute()["portRange"]
        == "80-80"
    )
    found = compute.backendServices().aggregatedList(project="demo").execute()["items"]
    assert [each["name"] for each in found["global"]["backendServices"]] == ["bs"]


def test_the_clients_list_next_follows_pages(compute: Any) -> None:
    zones, names = compute.zones(), []
    request = zones.list(project="demo", maxResults=4)
    while request is not None:
        answer = request.execute()
        names += [each["name"] for each in answer["items"]]
        request = zones.list_next(request, answer)
    assert len(names) == len(set(names)) > 8


def test_calls_can_be_sent_in_one_batch(compute: Any) -> None:
    answers: dict[str, Any] = {}

    def keep(name: str, answer: Any, refused: Any) -> None:
        answers[name] = refused.status_code if refused is not None else answer["name"]

    host = compute.zones().list(project="demo").uri.partition("/compute/v1/")[0]
    batch = BatchHttpRequest(callback=keep, batch_uri=f"{host}/batch/compute/v1")
    batch.add(compute.zones().get(project="demo", zone="us-central1-a"), request_id="there")
    batch.add(compute.zones().get(project="demo", zone="nowhere-a"), request_id="not")
    batch.execute()
    assert answers == {"there": "us-central1-a", "not": 404}


def test_a_body_that_violates_the_schema_is_rejected_with_its_location(compute: Any) -> None:
    with pytest.raises(HttpError) as refused:
        compute.healthChecks().insert(
            project="demo", body={"name": "hc", "type": "HTTP", "colour": "red"}
        ).execute()
    assert refused.value.status_code == 400
    assert "colour" in refused.value.reason
