"""Lists: consistent pages while resources come and go, order, filters, partial responses,
aggregated lists.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest
from google.api_core import exceptions
from google.cloud import compute_v1
from hypothesis import given, settings
from hypothesis import strategies as st

from compute_emulator import Cloud, VirtualClock
from compute_emulator.api import response_schema, wire
from compute_emulator.api.collections import HANDLERS
from compute_emulator.api.discovery import methods
from compute_emulator.api.listing import page
from compute_emulator.control import dispatch
from emulator.tests.clients import PROJECT, REGION, Clients, health_check, names
from emulator.tests.fleet import Fleet

PREFIX = f"/compute/v1/projects/{PROJECT}"
CHECKS = ["amber", "blue", "coral", "denim", "ebony"]


def get(cloud: Cloud, path: str) -> tuple[int, Any]:
    answered = wire.handle(cloud, wire.Request("GET", PREFIX + path))
    return answered.status, json.loads(answered.body)


def zones(cloud: Cloud, states: dict[str, str]) -> None:
    body = json.dumps(states).encode()
    assert dispatch.handle(cloud, wire.Request("POST", "/control/zones", body)).status == 200


@pytest.fixture
def checks(clients: Clients, clock: VirtualClock) -> Any:
    """Five health checks, created in an order other than that of their names."""
    client = clients.of(compute_v1.HealthChecksClient)
    for name in ("denim", "amber", "ebony", "blue", "coral"):
        clients.done(client.insert_unary(project=PROJECT, health_check_resource=health_check(name)))
        clock.advance(10)
    return client


# Pages and order


def test_lists_are_sorted_by_name_or_newest_first(checks: Any) -> None:
    assert names(checks.list(project=PROJECT)) == CHECKS
    for order, expected in (
        ("name", CHECKS),
        ("creationTimestamp desc", ["coral", "blue", "ebony", "amber", "denim"]),
    ):
        request = compute_v1.ListHealthChecksRequest(project=PROJECT, order_by=order, max_results=2)
        assert names(checks.list(request=request)) == expected
    with pytest.raises(exceptions.BadRequest, match="orderBy"):
        checks.list(request=compute_v1.ListHealthChecksRequest(project=PROJECT, order_by="size"))


@pytest.mark.parametrize("order", ["", "&orderBy=creationTimestamp%20desc"])
def test_changes_between_two_pages_neither_repeat_nor_hide_items(
    checks: Any, clients: Clients, order: str
) -> None:
    whole = [
        each["name"]
        for each in get(clients.cloud, f"/global/healthChecks?maxResults=500{order}")[1]["items"]
    ]
    first = get(clients.cloud, f"/global/healthChecks?maxResults=3{order}")[1]
    gone = whole[0]
    clients.done(checks.delete_unary(project=PROJECT, health_check=gone))
    rest = get(
        clients.cloud, f"/global/healthChecks?pageToken={quote(first['nextPageToken'])}{order}"
    )[1]
    assert [each["name"] for each in rest["items"]] == whole[3:]
    assert "nextPageToken" not in rest


def test_a_page_continues_after_an_item_that_is_gone(checks: Any, clients: Clients) -> None:
    first = get(clients.cloud, "/global/healthChecks?maxResults=2")[1]
    clients.done(checks.delete_unary(project=PROJECT, health_check="blue"))
    rest = get(clients.cloud, f"/global/healthChecks?pageToken={quote(first['nextPageToken'])}")[1]
    assert [each["name"] for each in rest["items"]] == ["coral", "denim", "ebony"]


@settings(max_examples=60, deadline=None)
@given(st.sets(st.text("abc", min_size=1, max_size=4), max_size=30), st.integers(1, 9))
def test_all_pages_together_are_the_whole_list(given_names: set[str], size: int) -> None:
    items = [{"name": name} for name in sorted(given_names)]
    seen, token = [], None
    for _ in range(len(items) + 1):
        answer = page(items, {"maxResults": size, "pageToken": token}, "items")
        seen += answer.get("items", [])
        token = answer.get("nextPageToken")
        if token is None:
            break
    assert seen == items


@pytest.mark.parametrize("token", ["x", "W10=", "e30=", "WyJhIl0="])
def test_a_foreign_page_token_is_rejected(cloud: Cloud, token: str) -> None:
    assert get(cloud, f"/zones?pageToken={token}")[0] == 400


@pytest.mark.parametrize("most", ["-1", "501", "many"])
def test_the_page_size_has_limits(cloud: Cloud, most: str) -> None:
    status, answer = get(cloud, f"/zones?maxResults={most}")
    assert (status, answer["error"]["errors"][0]["reason"]) == (400, "invalid")


# Filters


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ("name:e", ["amber", "blue", "denim", "ebony"]),
        ("name = (", None),
        ("checkIntervalSec > 5", []),
        ("checkIntervalSec = 5", CHECKS),
        ("httpHealthCheck.port = 8080", CHECKS),
        ("httpHealthCheck.requestPath:*", CHECKS),
        ("-name = amber", CHECKS[1:]),
        ("(name = amber) OR (name = blue)", CHECKS[:2]),
        ("(name = amber) AND (name = blue)", []),
        ("name ne a.*", CHECKS[1:]),
        ("name > coral", ["denim", "ebony"]),
        ('description = ""', CHECKS),
    ],
)
def test_a_filter_matches_members_at_any_depth(
    checks: Any, expression: str, found: list[str] | None
) -> None:
    request = compute_v1.ListHealthChecksRequest(project=PROJECT, filter=expression)
    if found is None:
        with pytest.raises(exceptions.BadRequest):
            checks.list(request=request)
        return
    assert names(checks.list(request=request)) == found


def test_a_filter_applies_across_pages(checks: Any) -> None:
    request = compute_v1.ListHealthChecksRequest(project=PROJECT, filter="name:e", max_results=1)
    assert names(checks.list(request=request)) == ["amber", "blue", "denim", "ebony"]


# Partial responses


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("kind", {"kind": "compute#zone"}),
        ("name,status", {"name": f"{REGION}-a", "status": "UP"}),
        ("name,name", {"name": f"{REGION}-a"}),
        ("deprecated/state", {}),
    ],
)
def test_a_resource_can_be_returned_in_part(
    cloud: Cloud, fields: str, expected: dict[str, str]
) -> None:
    assert get(cloud, f"/zones/{REGION}-a?fields={fields}") == (200, expected)


def test_a_star_selects_members_of_all_scopes(checks: Any, cloud: Cloud) -> None:
    answer = get(cloud, "/aggregated/healthChecks?fields=items/*/healthChecks/name&maxResults=2")[1]
    assert answer["items"]["global"] == {"healthChecks": [{"name": "amber"}, {"name": "blue"}]}
    assert set(answer) == {"items"}


@pytest.mark.parametrize(
    "fields", ["colour", "items(name,colour)", "items(", "items/colour", "name)"]
)
def test_invalid_fields_are_rejected(cloud: Cloud, fields: str) -> None:
    status, answer = get(cloud, f"/zones?fields={fields}")
    assert (status, answer["error"]["errors"][0]["reason"]) == (400, "invalid")


# Aggregated lists


def test_an_aggregated_list_has_the_scopes_of_its_kind_and_all_on_request(
    checks: Any, cloud: Cloud
) -> None:
    found = get(cloud, "/aggregated/healthChecks")[1]["items"]
    assert {scope.partition("/")[0] for scope in found} == {"global", "regions"}
    assert [each["name"] for each in found["global"]["healthChecks"]] == CHECKS
    assert found[f"regions/{REGION}"]["warning"]["code"] == "NO_RESULTS_ON_PAGE"
    every = get(cloud, "/aggregated/healthChecks?includeAllScopes=true")[1]["items"]
    assert {scope.partition("/")[0] for scope in every} == {"global", "regions", "zones"}
    zonal = get(cloud, "/aggregated/machineTypes?maxResults=1")[1]["items"]
    assert {scope.partition("/")[0] for scope in zonal} == {"zones"}


def test_an_aggregated_list_is_paged_filtered_and_sorted(checks: Any, clients: Clients) -> None:
    regional = clients.of(compute_v1.RegionHealthChecksClient)
    made = regional.insert_unary(
        project=PROJECT, region=REGION, health_check_resource=health_check("azure")
    )
    clients.done(made)
    request = compute_v1.AggregatedListHealthChecksRequest(
        project=PROJECT, max_results=2, filter="name:e"
    )
    seen = [
        each.name
        for _, scope in checks.aggregated_list(request=request)
        for each in scope.health_checks
    ]
    assert seen == ["amber", "blue", "denim", "ebony", "azure"]
    request = compute_v1.AggregatedListHealthChecksRequest(
        project=PROJECT, order_by="creationTimestamp desc"
    )
    first = dict(checks.aggregated_list(request=request))["global"].health_checks[0]
    assert first.name == "coral"


def test_an_unreachable_zone_fails_the_whole_list_unless_partial_success_is_allowed(
    clients: Clients, clock: VirtualClock
) -> None:
    fleet = Fleet(clients, clock)
    fleet.create(3)
    fleet.settle()
    zone = fleet.instances()[0].instance.split("/zones/")[1].partition("/")[0]
    zones(clients.cloud, {zone: "UNREACHABLE"})
    status, answer = get(clients.cloud, "/aggregated/instances")
    assert (status, answer["error"]["errors"][0]["reason"]) == (503, "backendError")
    status, answer = get(clients.cloud, "/aggregated/instances?returnPartialSuccess=true")
    assert status == 200
    assert answer["unreachables"] == [f"projects/{PROJECT}/zones/{zone}"]
    assert answer["items"][f"zones/{zone}"]["warning"]["code"] == "UNREACHABLE"
    assert sum(len(each.get("instances", ())) for each in answer["items"].values()) == 2
    assert get(clients.cloud, f"/zones/{zone}/instances")[0] == 503
    assert get(clients.cloud, "/aggregated/healthChecks")[0] == 200
    assert len(fleet.instances()) == 3
    zones(clients.cloud, {zone: "UP"})
    assert get(clients.cloud, f"/zones/{zone}/instances")[0] == 200


# Checks of responses


@pytest.mark.parametrize(
    ("schema", "body"),
    [
        (
            "Zone",
            {
                "kind": "compute#zone",
                "id": 7,
                "name": "z",
                "selfLink": "x",
                "creationTimestamp": "t",
            },
        ),
        ("Zone", {"kind": "compute#zone", "id": "7", "name": "z", "selfLink": "x"}),
        ("ZoneList", {"kind": "compute#zoneList", "items": [{"kind": "compute#zone"}]}),
        ("HealthChecksAggregatedList", {"items": {"global": {"healthChecks": [{}]}}}),
        ("Zone", {"kind": "compute#zone", "colour": "red"}),
        ("Operation", {"status": "FINE"}),
    ],
)
def test_a_response_that_violates_its_schema_is_noticed(schema: str, body: dict[str, Any]) -> None:
    assert response_schema.problems(schema, body)


def test_every_implemented_list_matches_its_schema_empty_and_filled(
    checks: Any, clients: Clients, clock: VirtualClock
) -> None:
    """Covers all list methods without names in their paths; the fixture's cloud checks each
    response against the document.
    """
    fleet = Fleet(clients, clock)
    fleet.create(3)
    requests_sent = 0
    for method in methods().values():
        if (
            method.id not in HANDLERS
            or method.http != "GET"
            or method.verb not in ("list", "aggregatedList")
        ):
            continue
        path = (
            method.path.replace("{project}", PROJECT)
            .replace("{region}", REGION)
            .replace("{zone}", f"{REGION}-a")
        )
        if "{" in path:
            continue
        for query in (
            "",
            "?maxResults=1",
            "?filter=name:zzz",
            "?orderBy=name&returnPartialSuccess=true",
        ):
            answered = wire.handle(clients.cloud, wire.Request("GET", f"/compute/v1/{path}{query}"))
            assert answered.status == 200, (method.id, query, answered.body)
            requests_sent += 1
    assert requests_sent > 200
