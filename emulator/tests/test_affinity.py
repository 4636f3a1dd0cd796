"""Session affinity with real requests."""

from __future__ import annotations

import http.client
from collections import Counter
from collections.abc import Iterator
from http.cookies import SimpleCookie
from random import Random
from typing import Any

import pytest
import requests
from google.cloud import compute_v1

from compute_emulator import VirtualClock
from compute_emulator.keys import Key
from compute_emulator.traffic.affinity import backend_of, session_of
from compute_emulator.traffic.http import Request
from emulator.tests.clients import Clients
from emulator.tests.fleet import Fleet
from emulator.tests.load_balancer import SERVICES, LoadBalancer, load_balancer

COOKIE = {"name": "mine", "path": "/api"}


@pytest.fixture
def balancer(clients: Clients, clock: VirtualClock) -> Iterator[LoadBalancer]:
    with load_balancer(Fleet(clients, clock), size=5) as made:
        yield made


def answering_instance(balancer: LoadBalancer, **members: Any) -> str:
    """The instance that answers."""
    return balancer.get("/", **members).headers["x-instance"]


def cookie_of(answer: requests.Response) -> str:
    """Name and value of the cookie that a response sets."""
    (each,) = SimpleCookie(answer.headers["set-cookie"]).values()
    return f"{each.key}={each.value}"


# Session affinity


def test_requests_of_a_client_address_go_to_one_instance(balancer: LoadBalancer) -> None:
    balancer.change_service(session_affinity="CLIENT_IP")
    port = int(balancer.url.rpartition(":")[2])

    def requests_from(address: str) -> str:
        connection = http.client.HTTPConnection(
            "127.0.0.1", port, timeout=60, source_address=(address, 0)
        )
        connection.request("GET", "/")
        answer = connection.getresponse()
        answer.read()
        connection.close()
        return str(answer.headers["x-instance"])

    seen = {
        address: {requests_from(address) for _ in range(3)}
        for address in (f"127.0.0.{number}" for number in range(2, 22))
    }
    assert all(len(instances) == 1 for instances in seen.values())
    assert len(set.union(*seen.values())) > 2


def test_the_balancer_sets_a_cookie_and_follows_it(balancer: LoadBalancer) -> None:
    balancer.change_service(session_affinity="GENERATED_COOKIE", affinity_cookie_ttl_sec=120)
    first = balancer.get()
    cookie = cookie_of(first)
    assert cookie.startswith("GCLB=")
    assert "Max-Age=120" in first.headers["set-cookie"]
    followed = [balancer.get(headers={"cookie": cookie}) for _ in range(5)]
    assert {each.headers["x-instance"] for each in followed} == {first.headers["x-instance"]}
    assert all("set-cookie" not in each.headers for each in followed)
    assert (
        len({answering_instance(balancer) for _ in range(40)}) == 5
    )  # without a cookie, each is a new session


def test_the_services_cookie_is_hashed_and_created_if_missing(balancer: LoadBalancer) -> None:
    balancer.change_service(
        session_affinity="HTTP_COOKIE",
        locality_lb_policy="RING_HASH",
        consistent_hash=compute_v1.ConsistentHashLoadBalancerSettings(
            http_cookie=compute_v1.ConsistentHashLoadBalancerSettingsHttpCookie(
                {**COOKIE, "ttl": compute_v1.Duration(seconds=60)}
            )
        ),
    )
    brought = {
        answering_instance(balancer, headers={"cookie": "other=1; mine=abc"}) for _ in range(5)
    }
    assert len(brought) == 1
    first = balancer.get()
    assert first.headers["set-cookie"].endswith("Max-Age=60; Path=/api; HttpOnly")
    assert (
        answering_instance(balancer, headers={"cookie": cookie_of(first)})
        == first.headers["x-instance"]
    )


@pytest.mark.parametrize(("policy", "stays"), [("MAGLEV", True), ("ROUND_ROBIN", False)])
def test_a_header_keeps_requests_together_if_the_policy_hashes(
    balancer: LoadBalancer, policy: str, stays: bool
) -> None:
    balancer.change_service(
        session_affinity="HEADER_FIELD",
        locality_lb_policy=policy,
        consistent_hash=compute_v1.ConsistentHashLoadBalancerSettings(http_header_name="X-User"),
    )
    assert (
        len({answering_instance(balancer, headers={"x-user": "ada"}) for _ in range(10)}) == 1
    ) is stays
    assert len({answering_instance(balancer) for _ in range(10)}) == 5


def test_a_strong_cookie_names_the_instance_and_is_replaced_once_that_is_gone(
    balancer: LoadBalancer,
) -> None:
    balancer.change_service(
        session_affinity="STRONG_COOKIE_AFFINITY",
        strong_session_affinity_cookie=compute_v1.BackendServiceHttpCookie(COOKIE),
    )
    first = balancer.get()
    cookie, instance = cookie_of(first), first.headers["x-instance"]
    assert {answering_instance(balancer, headers={"cookie": cookie}) for _ in range(7)} == {
        instance
    }
    operation = balancer.fleet.call(
        "delete_instances_unary",
        region_instance_group_managers_delete_instances_request_resource=compute_v1.RegionInstanceGroupManagersDeleteInstancesRequest(
            instances=[
                each.instance for each in balancer.fleet.instances() if each.name == instance
            ]
        ),
    )
    balancer.fleet.done(operation)
    balancer.settle()
    moved = balancer.get(headers={"cookie": cookie})
    assert moved.headers["x-instance"] != instance
    assert (
        answering_instance(balancer, headers={"cookie": cookie_of(moved)})
        == moved.headers["x-instance"]
    )


def test_a_leaving_instance_moves_only_its_own_sessions(balancer: LoadBalancer) -> None:
    balancer.change_service(session_affinity="GENERATED_COOKIE")
    users = [f"GCLB={number}" for number in range(40)]
    before = {user: answering_instance(balancer, headers={"cookie": user}) for user in users}
    balancer.fleet.resize(4)
    balancer.plane.refresh()
    after = {user: answering_instance(balancer, headers={"cookie": user}) for user in users}
    (gone,) = set(before.values()) - set(after.values())
    assert all(after[user] == before[user] for user in users if before[user] != gone)


def test_a_split_by_weights_takes_precedence_over_affinity(balancer: LoadBalancer) -> None:
    balancer.second()
    for service in ("bs", "bs2"):
        balancer.change_service(service, session_affinity="CLIENT_IP")
    weighted = [
        compute_v1.WeightedBackendService(backend_service=SERVICES + name, weight=50)
        for name in ("bs", "bs2")
    ]
    balancer.route(
        default_route_action=compute_v1.HttpRouteAction(weighted_backend_services=weighted)
    )
    assert (
        len({answering_instance(balancer) for _ in range(80)}) == 8
    )  # all instances of both releases


def test_sessions_are_distributed_by_weight(balancer: LoadBalancer) -> None:
    balancer.change_service(session_affinity="GENERATED_COOKIE")
    service = balancer.plane._balancer.topology.services[Key("global", "backendServices", "bs")]
    from dataclasses import replace

    heavy = [
        replace(each, weight=6.0 if index == 0 else 1.0)
        for index, each in enumerate(service.backends)
    ]
    found: Counter[str] = Counter()
    for number in range(2000):
        session = session_of(
            service, Request("GET", "/", {"cookie": f"GCLB={number}"}), "", Random(1)
        )
        assert session is not None
        backend = backend_of(session, heavy)
        assert backend is not None
        found[backend.vm.names["name"]] += 1
    assert (
        1080 <= found[heavy[0].vm.names["name"]] <= 1320
    )  # 1200, five standard deviations around it
