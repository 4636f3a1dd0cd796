"""Route actions of a URL map with real requests: timeouts, retries, delays, mirrors."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace
from random import Random
from typing import Any

import pytest
import requests
from google.cloud import compute_v1

from compute_emulator.api import wire
from compute_emulator.control import dispatch
from compute_emulator.traffic.instance_choice import InstanceChooser
from compute_emulator.traffic.response_profile import ResponseProfile
from compute_emulator.traffic.topology import Backend
from emulator.tests.load_balancer import SERVICES, LoadBalancer, until
from emulator.tests.test_room import backends, service

NEVER = 3600
"""Seconds: no answer comes before the end of the test."""


def set_traffic(balancer: LoadBalancer, *entries: dict[str, Any]) -> None:
    request = wire.Request("PUT", "/control/traffic", json.dumps(entries).encode())
    assert dispatch.handle(balancer.cloud, request).status == 200


def act(balancer: LoadBalancer, **members: Any) -> None:
    balancer.route(
        default_service=SERVICES + "bs", default_route_action=compute_v1.HttpRouteAction(members)
    )


def tenths(count: int) -> compute_v1.Duration:
    return compute_v1.Duration(nanos=count * 100_000_000)


def test_a_route_can_have_its_own_timeout(balancer: LoadBalancer) -> None:
    set_traffic(balancer, {"latency_seconds": NEVER})
    act(balancer, timeout=tenths(3))
    began = time.monotonic()
    assert balancer.get().status_code == 504
    assert 0.3 <= time.monotonic() - began < 29  # the service's is 30 s


def test_each_try_can_have_its_own_timeout(balancer: LoadBalancer) -> None:
    set_traffic(
        balancer, {"name": balancer.service_instances()[0]["name"], "latency_seconds": NEVER}
    )
    retry = {"num_retries": 1, "per_try_timeout": tenths(3), "retry_conditions": ["gateway-error"]}
    act(balancer, retry_policy=compute_v1.HttpRetryPolicy(retry))
    assert balancer.load(most=6, seconds=60, connections=3).statuses == {200: 6}
    assert sum(balancer.plane.metrics.retries.values()) >= 1


def test_an_injected_delay_comes_before_the_response(balancer: LoadBalancer) -> None:
    delay = compute_v1.HttpFaultDelay(fixed_delay=tenths(3), percentage=100)
    act(balancer, fault_injection_policy=compute_v1.HttpFaultInjection(delay=delay))
    began = time.monotonic()
    assert balancer.get().status_code == 200
    assert time.monotonic() - began >= 0.3


@pytest.mark.parametrize(
    ("percent", "least", "most"), [(100.0, 100, 100), (40.0, 15, 65), (0.0, 0, 0)]
)
def test_a_mirror_gets_its_share(
    balancer: LoadBalancer, percent: float, least: int, most: int
) -> None:
    balancer.second()
    act(
        balancer,
        request_mirror_policy=compute_v1.RequestMirrorPolicy(
            backend_service=SERVICES + "bs2", mirror_percent=percent
        ),
    )
    assert balancer.load(most=100, seconds=60).statuses == {200: 100}
    until(lambda: sum(each["in_flight"] for each in balancer.service_instances("bs2")) == 0)
    assert (
        least <= sum(each["requests"] for each in balancer.service_instances("bs2")) <= most
    )  # of 40 %, five standard deviations


@pytest.mark.parametrize(("policy", "to_the_busy_one"), [("LEAST_REQUEST", 0), ("ROUND_ROBIN", 10)])
def test_the_less_busy_of_two_gets_the_next_request_under_least_request(
    policy: str, to_the_busy_one: int
) -> None:
    three = backends("g", 3)
    served = replace(service(three), policy=policy)

    def load(backend: Backend) -> int:
        return 5 if backend is three[0] else 0

    chooser = InstanceChooser(Random(1))
    found = [chooser.choose(served, load, float(number)) for number in range(30)]
    assert found.count(three[0]) == to_the_busy_one
    assert None not in found


def test_latencies_are_spread_around_their_mean() -> None:
    chance, spread = Random(1), ResponseProfile(latency_seconds=2.0, latency_spread=0.25)
    found = [spread.latency(chance) for _ in range(200)]
    assert (min(found) >= 1.5, max(found) <= 2.5, max(found) - min(found) > 0.5) == (
        True,
        True,
        True,
    )
    assert ResponseProfile(latency_seconds=2.0).latency(chance) == 2.0


def test_requests_in_flight_are_cut_off_when_their_backend_is_removed_from_the_service(
    balancer: LoadBalancer,
) -> None:
    """Draining is for VMs that leave their group. Source:
    load-balancing/docs/enabling-connection-draining, as of 2026.
    """
    act(balancer, retry_policy=compute_v1.HttpRetryPolicy(num_retries=0))
    set_traffic(balancer, {"latency_seconds": NEVER})
    balancer.change_service(timeout_sec=NEVER)
    answers: list[requests.Response] = []
    thread = threading.Thread(target=lambda: answers.append(balancer.get()))
    thread.start()
    until(lambda: sum(each["in_flight"] for each in balancer.service_instances()) == 1)
    put_without_backends(balancer)
    thread.join()
    assert answers[0].status_code == 502
    assert balancer.get().status_code == 503


def put_without_backends(balancer: LoadBalancer) -> None:
    services = balancer.clients.of(compute_v1.BackendServicesClient)
    kept = services.get(project="demo", backend_service="bs")
    kept.backends = []
    balancer.fleet.done(
        services.update_unary(project="demo", backend_service="bs", backend_service_resource=kept)
    )
    balancer.plane.refresh()
