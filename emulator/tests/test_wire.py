"""The wire protocol as Google's client sees it: addresses, validation, errors, lists, and faults on
demand.
"""

from __future__ import annotations

from typing import Any

import pytest
import requests
from google.api_core import exceptions
from google.cloud import compute_v1

from compute_emulator import Cloud, VirtualClock, serve
from compute_emulator.api import batch, wire
from compute_emulator.engine.clock import ScaledClock
from compute_emulator.errors import ConnectionDropped
from emulator.tests.clients import (
    PROJECT,
    Clients,
    backend_service,
    health_check,
    rejection,
    send,
    template,
)

PREFIX = f"/compute/v1/projects/{PROJECT}"


def test_the_unmodified_client_creates_reads_lists_and_deletes(either: Clients) -> None:
    templates = either.of(compute_v1.InstanceTemplatesClient)
    accepted = templates.insert_unary(project=PROJECT, instance_template_resource=template())
    assert accepted.status == compute_v1.Operation.Status.RUNNING
    assert accepted.target_link.endswith("/global/instanceTemplates/it-v1")
    assert either.done(accepted).progress == 100

    kept = templates.get(project=PROJECT, instance_template="it-v1")
    assert kept.self_link == f"https://www.googleapis.com{PREFIX}/global/instanceTemplates/it-v1"
    assert kept.id
    assert kept.creation_timestamp
    assert [each.name for each in templates.list(project=PROJECT)] == ["it-v1"]

    either.done(templates.delete_unary(project=PROJECT, instance_template="it-v1"))
    with pytest.raises(exceptions.NotFound, match="was not found"):
        templates.get(project=PROJECT, instance_template="it-v1")


def test_an_error_has_the_legacy_reason(either: Clients) -> None:
    templates = either.of(compute_v1.InstanceTemplatesClient)
    either.done(templates.insert_unary(project=PROJECT, instance_template_resource=template()))
    with pytest.raises(exceptions.Conflict) as caught:
        templates.insert_unary(project=PROJECT, instance_template_resource=template())
    assert caught.value.errors[0]["reason"] == "alreadyExists"
    assert "The resource 'projects/demo/global/instanceTemplates/it-v1' already exists" in str(
        caught.value
    )


def test_an_unimplemented_method_is_named(clients: Clients) -> None:
    with pytest.raises(exceptions.MethodNotImplemented, match="compute\\.instances\\.reset"):
        clients.of(compute_v1.InstancesClient).reset_unary(
            project=PROJECT, zone="us-central1-a", instance="vm"
        )


@pytest.mark.parametrize("host", ["", "https://compute.googleapis.com", "http://127.0.0.1:9"])
def test_only_the_part_of_a_url_after_the_version_counts(cloud: Cloud, host: str) -> None:
    status, answer = send(cloud, "GET", f"{host}{PREFIX}/regions/us-central1?alt=json&unknown=1")
    assert (status, answer["name"]) == (200, "us-central1")


def test_an_unknown_path_and_an_unknown_verb_get_different_errors(cloud: Cloud) -> None:
    assert rejection(cloud, "GET", f"{PREFIX}/global/nonsense")[:2] == (404, "notFound")
    assert rejection(cloud, "PUT", f"{PREFIX}/global/instanceTemplates")[:2] == (
        405,
        "httpMethodNotAllowed",
    )


def test_another_project_and_an_unknown_region_do_not_exist(cloud: Cloud) -> None:
    assert rejection(cloud, "GET", "/compute/v1/projects/other/global/urlMaps")[0] == 404
    status, _, message = rejection(cloud, "GET", f"{PREFIX}/regions/moon-1/backendServices")
    assert (status, message) == (
        400,
        "Invalid value for field 'region': 'moon-1'. Unknown region.",
    )


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"name": "hc", "type": "HTTP", "colour": "red"}, "Unknown name \"colour\" at 'resource'"),
        (
            {"name": "hc", "type": "HTTP", "httpHealthCheck": {"path": "/"}},
            'Unknown name "path" at \'resource.httpH',
        ),
        (
            {"name": "hc", "type": "HTTP", "timeoutSec": "soon"},
            "Invalid value at 'resource.timeoutSec' (TYPE_INT32)",
        ),
        (
            {"name": "hc", "type": "HTTP", "timeoutSec": 2**40},
            "Invalid value at 'resource.timeoutSec' (TYPE_INT32)",
        ),
        (
            {"name": "hc", "type": "CARRIER_PIGEON"},
            "Invalid value for field 'resource.type': 'CARRIER_PIGEON'.",
        ),
        (
            {"name": "Hc_1", "type": "HTTP"},
            "Invalid value for field 'resource.name': 'Hc_1'. Must be a match of regex",
        ),
        ({"type": "HTTP"}, "Required field 'resource.name' not specified"),
        ([], "The root element must be an object"),
    ],
)
def test_a_body_is_validated_against_the_schema(cloud: Cloud, body: Any, words: str) -> None:
    status, _, message = rejection(cloud, "POST", f"{PREFIX}/global/healthChecks", body)
    assert status == 400
    assert words in message


def test_output_only_members_are_ignored_and_numbers_are_canonical(cloud: Cloud) -> None:
    sent = {
        "name": "hc",
        "type": "HTTP",
        "id": "1",
        "selfLink": "x",
        "region": "y",
        "timeoutSec": "3",
    }
    assert send(cloud, "POST", f"{PREFIX}/global/healthChecks", sent)[0] == 200
    kept = send(cloud, "GET", f"{PREFIX}/global/healthChecks/hc")[1]
    assert kept["id"] != "1"
    assert "region" not in kept
    assert kept["timeoutSec"] == 3


def test_query_parameters_are_validated_by_type(cloud: Cloud) -> None:
    assert rejection(cloud, "GET", f"{PREFIX}/zones?maxResults=501")[1] == "invalid"
    assert rejection(cloud, "GET", f"{PREFIX}/zones?maxResults=many")[1] == "invalid"
    assert rejection(cloud, "GET", f"{PREFIX}/global/instanceTemplates/NOT_a_name")[1] == "invalid"


def test_pages_can_be_followed_to_the_end(clients: Clients) -> None:
    zones = clients.of(compute_v1.ZonesClient)
    request = compute_v1.ListZonesRequest(project=PROJECT, max_results=7)
    names = [zone.name for zone in zones.list(request=request)]
    assert len(names) == len(set(names)) == sum(map(len, clients.cloud.regions.values()))
    assert len(next(iter(zones.list(request=request).pages)).items) == 7


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ('name = "us-central1-a"', ["us-central1-a"]),
        (
            "name eq us-central1-.*",
            ["us-central1-a", "us-central1-b", "us-central1-c", "us-central1-f"],
        ),
        (
            '(name = "us-central1-*") AND NOT (name:f)',
            ["us-central1-a", "us-central1-b", "us-central1-c"],
        ),
        ("name = us-central1-a OR name = us-west1-b", ["us-central1-a", "us-west1-b"]),
        (
            '(name != us-central1-a) (region eq ".*\\bus\\-central1\\b.*")',
            [f"us-central1-{each}" for each in "bcf"],
        ),
    ],
)
def test_lists_can_be_filtered(clients: Clients, expression: str, found: list[str]) -> None:
    request = compute_v1.ListZonesRequest(project=PROJECT, filter=expression)
    assert [zone.name for zone in clients.of(compute_v1.ZonesClient).list(request=request)] == found


def test_an_unreadable_filter_is_rejected(cloud: Cloud) -> None:
    for expression in ("name", "name =", "(name = a", "name eq '['"):
        assert rejection(cloud, "GET", f"{PREFIX}/zones?filter={expression}")[1] == "invalid"


def test_only_the_requested_fields_are_returned(cloud: Cloud) -> None:
    _, answer = send(cloud, "GET", f"{PREFIX}/zones?maxResults=1&fields=items(name,status),kind")
    assert answer == {
        "kind": "compute#zoneList",
        "items": [{"name": "africa-south1-a", "status": "UP"}],
    }
    _, answer = send(cloud, "GET", f"{PREFIX}/zones?maxResults=1&fields=items/name")
    assert answer == {"items": [{"name": "africa-south1-a"}]}


def test_an_aggregated_list_maps_scopes_and_warns_of_empty_ones(clients: Clients) -> None:
    templates = clients.of(compute_v1.InstanceTemplatesClient)
    clients.done(templates.insert_unary(project=PROJECT, instance_template_resource=template()))
    request = compute_v1.AggregatedListInstanceTemplatesRequest(
        project=PROJECT, include_all_scopes=True
    )
    scopes = dict(templates.aggregated_list(request=request))
    assert [each.name for each in scopes["global"].instance_templates] == ["it-v1"]
    assert scopes["regions/us-central1"].warning.code == "NO_RESULTS_ON_PAGE"


def test_an_error_fault_hits_the_nth_matching_call(clients: Clients) -> None:
    clients.cloud.faults.add(
        "error", "compute.zones.*", nth=2, times=1, status=403, reason="rateLimitExceeded"
    )
    zones = clients.of(compute_v1.ZonesClient)
    zones.get(project=PROJECT, zone="us-central1-a")
    with pytest.raises(exceptions.Forbidden):
        zones.get(project=PROJECT, zone="us-central1-a")
    zones.get(project=PROJECT, zone="us-central1-a")


@pytest.mark.parametrize(("kind", "is_there"), [("drop_before", False), ("drop_after", True)])
def test_a_dropped_connection_hides_whether_the_call_took_effect(
    either: Clients, kind: str, is_there: bool
) -> None:
    either.cloud.faults.add(kind, "compute.healthChecks.insert", times=1)
    with pytest.raises(requests.ConnectionError):
        either.of(compute_v1.HealthChecksClient).insert_unary(
            project=PROJECT, health_check_resource=health_check()
        )
    found = [each.name for each in either.of(compute_v1.HealthChecksClient).list(project=PROJECT)]
    assert found == (["ready"] if is_there else [])


def test_a_response_later_than_the_callers_timeout_is_a_timeout(clients: Clients) -> None:
    clients.cloud.faults.add("latency", "compute.zones.get", seconds=30)
    with pytest.raises(requests.ReadTimeout):
        clients.of(compute_v1.ZonesClient).get(
            project=PROJECT, zone="us-central1-a", timeout=5, retry=None
        )


def test_every_call_is_counted_and_reads_are_separated_from_writes(clients: Clients) -> None:
    checks = clients.of(compute_v1.HealthChecksClient)
    clients.done(checks.insert_unary(project=PROJECT, health_check_resource=health_check()))
    checks.get(project=PROJECT, health_check="ready")
    assert clients.cloud.calls.counts["compute.healthChecks.insert"] == 1
    assert clients.cloud.calls.counts["compute.healthChecks.get"] == 1
    assert clients.cloud.calls.mutations == 1


def test_a_batch_answers_each_of_its_parts(cloud: Cloud) -> None:
    parts = [
        f"Content-Type: application/http\r\nContent-ID: <b+{index}>\r\n\r\n"
        f"GET http://localhost{PREFIX}/zones/{zone}?alt=json HTTP/1.1\r\nHost: x\r\n\r\n"
        for index, zone in enumerate(["us-central1-a", "nowhere-a"])
    ]
    body = "".join(f"--cut\r\n{part}\r\n" for part in parts) + "--cut--"
    headers = {"Content-Type": 'multipart/mixed; boundary="cut"'}
    answered = batch.handle(
        cloud, wire.Request("POST", "/batch/compute/v1", body.encode(), headers)
    )
    text = answered.body.decode()
    assert answered.status == 200
    assert (
        text.index("Content-ID: <response-b+0>")
        < text.index("HTTP/1.1 200 OK")
        < text.index("HTTP/1.1 404")
    )


def test_time_advances_over_http_without_requests() -> None:
    cloud = Cloud(clock=ScaledClock(1000))
    happened: list[float] = []
    with serve(cloud):
        cloud.after(10, lambda: happened.append(cloud.now()))
        with cloud.lock:
            assert cloud.changed.wait_for(lambda: happened, timeout=30)


def test_one_jump_of_an_hour_runs_every_event_at_its_own_time() -> None:
    clock = VirtualClock(start=0)
    cloud = Cloud(clock=clock)
    seen: list[float] = []

    def tick() -> None:
        seen.append(cloud.now())
        if cloud.now() < 3600:
            cloud.after(600, tick)

    cloud.at(600, tick)
    clock.advance(3600)
    cloud.advance()
    assert seen == [600, 1200, 1800, 2400, 3000, 3600]


def test_the_same_seed_gives_the_same_results() -> None:
    def names(seed: int) -> list[str]:
        clients = Clients(Cloud(clock=VirtualClock(), seed=seed))
        insert = clients.of(compute_v1.HealthChecksClient).insert_unary
        return [
            insert(project=PROJECT, health_check_resource=health_check(name)).target_id
            for name in ("a", "b")
        ]

    assert names(1) == names(1)
    assert names(1) != names(2)


def test_a_dropped_connection_reaches_direct_callers_of_the_wire(cloud: Cloud) -> None:
    cloud.faults.add("drop_before")
    with pytest.raises(ConnectionDropped):
        wire.handle(cloud, wire.Request("GET", f"{PREFIX}/zones"))


def test_a_resource_in_use_is_recognized_by_reference_not_by_spelling(
    cloud: Cloud, clients: Clients
) -> None:
    checks = clients.of(compute_v1.HealthChecksClient)
    clients.done(checks.insert_unary(project=PROJECT, health_check_resource=health_check()))
    services = clients.of(compute_v1.BackendServicesClient)
    clients.done(services.insert_unary(project=PROJECT, backend_service_resource=backend_service()))
    assert services.get(project=PROJECT, backend_service="bs").health_checks == [
        cloud.link("global", "healthChecks", "ready")
    ]
    with pytest.raises(
        exceptions.BadRequest, match=r"health_check resource .* is already being used by"
    ):
        checks.delete_unary(project=PROJECT, health_check="ready")
