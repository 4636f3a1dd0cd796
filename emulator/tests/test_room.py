"""How full backends are, and where the requests beyond their capacity go."""

from __future__ import annotations

import json
from collections import Counter
from random import Random
from typing import Any

import pytest
from google.cloud import compute_v1

from compute_emulator.api import wire
from compute_emulator.keys import Key
from compute_emulator.rules.health import ProbeHistory
from compute_emulator.traffic.backend_rates import weight_of
from compute_emulator.traffic.instance_choice import InstanceChooser
from compute_emulator.traffic.response_profile import ResponseProfile
from compute_emulator.traffic.topology import Backend, Service, Vm
from emulator.tests.clients import PROJECT
from emulator.tests.load_balancer import LoadBalancer

GROUPS = f"projects/{PROJECT}/regions/us-central1/instanceGroups/"


def available_vm(name: str) -> Vm:
    """A VM that always accepts requests, eight at once."""
    always = ProbeHistory(0.0, (0.0,))
    return Vm(
        (hash(name), 0.0),
        {"name": name, "zone": "z"},
        ResponseProfile(concurrency=8),
        True,
        always,
        always,
    )


def backends(group: str, count: int, **settings: Any) -> tuple[Backend, ...]:
    weight = weight_of(settings, count)
    vms = [available_vm(f"{group}-{number}") for number in range(count)]
    return tuple(Backend(vm, group, weight, True, True, settings) for vm in vms)


def by_rate(group: str, count: int, **settings: Any) -> tuple[Backend, ...]:
    return backends(group, count, balancingMode="RATE", **settings)


def service(*tiers: tuple[Backend, ...]) -> Service:
    everyone = tuple(backend for tier in tiers for backend in tier)
    return Service(
        Key("global", "backendServices", "bs"), 30.0, "ROUND_ROBIN", False, everyone, tiers, {}
    )


def requests_by_group(
    served: Service, rate: float, seconds: float = 20.0, load: int = 0
) -> Counter[str]:
    """Requests per second to each group at a steady rate, after the first burst."""
    chooser, found = InstanceChooser(Random(1)), Counter[str]()
    for number in range(int(rate * (seconds + 5))):
        backend = chooser.choose(served, lambda _: load, number / rate)
        assert backend is not None
        if number / rate >= 5:
            found[backend.group] += 1
    return Counter({group: round(count / seconds) for group, count in found.items()})


def test_requests_beyond_the_first_regions_rate_go_to_the_next() -> None:
    near, far = (
        by_rate("near", 3, maxRatePerInstance=10),
        by_rate("far", 2, maxRate=50),
    )
    assert requests_by_group(service(near, far), 20) == {"near": 20}
    assert requests_by_group(service(near, far), 60) == {"near": 30, "far": 30}


def test_if_all_are_full_all_get_more_in_proportion() -> None:
    near, far = by_rate("near", 2, maxRate=20), by_rate("far", 2, maxRate=60)
    found = requests_by_group(service(near, far), 400)
    assert found["near"] > 80
    assert found["far"] > 2 * found["near"]


def test_the_capacity_scaler_shrinks_a_backend() -> None:
    near = by_rate("near", 2, maxRate=40, capacityScaler=0.5)
    assert requests_by_group(service(near, by_rate("far", 2, maxRate=100)), 50) == {
        "near": 20,
        "far": 30,
    }


def test_backends_of_one_tier_share_by_their_rates() -> None:
    first = (
        by_rate("first", 2, maxRate=90),
        by_rate("second", 3, maxRatePerInstance=10),
    )
    assert requests_by_group(service(first[0] + first[1]), 80) == {"first": 60, "second": 20}


@pytest.mark.parametrize(("busy", "group"), [(0, "near"), (6, "near"), (7, "far")])
def test_a_utilization_backend_is_full_when_its_workers_are_busy(busy: int, group: str) -> None:
    near = backends("near", 2, balancingMode="UTILIZATION", maxUtilization=0.8)
    far = by_rate("far", 2, maxRate=1000)
    assert requests_by_group(service(near, far), 10, load=busy) == {group: 10}


def test_a_tier_without_a_healthy_vm_is_skipped() -> None:
    (ill,) = by_rate("near", 1, maxRate=100)
    near = (Backend(ill.vm, "near", ill.weight, False, False, ill.settings),)
    assert requests_by_group(service(near, by_rate("far", 1, maxRate=1)), 10) == {"far": 10}


# With real requests


def test_a_preferred_backend_is_filled_before_the_other_one(balancer: LoadBalancer) -> None:
    other = balancer.second()
    rate = {"balancing_mode": "RATE", "max_rate": 40}
    balancer.change_service(
        backends=[
            compute_v1.Backend(group=GROUPS + other.name, **rate),
            compute_v1.Backend(group=GROUPS + balancer.fleet.name, preference="PREFERRED", **rate),
        ]
    )
    assert balancer.load(rate=20, most=40, seconds=60).releases == {"v1": 40}
    found = balancer.load(most=400, seconds=60).releases
    assert found["v1"] > 0
    assert found["v2"] > 0
    assert found.total() == 400


def call(balancer: LoadBalancer, http: str, path: str, body: Any) -> None:
    target = f"/compute/v1/projects/{PROJECT}/{path}"
    answered = wire.handle(balancer.cloud, wire.Request(http, target, json.dumps(body).encode()))
    assert answered.status == 200, answered.body


def test_the_first_region_of_the_service_is_filled_before_the_next(balancer: LoadBalancer) -> None:
    far = {"name": "far", "targetSize": 2, "instanceTemplate": "global/instanceTemplates/v2"}
    far |= {"namedPorts": [{"name": "http", "port": 8080}]}
    call(balancer, "POST", "regions/europe-west1/instanceGroupManagers", far)
    balancer.change_service(
        backends=[
            compute_v1.Backend(
                group=GROUPS + balancer.fleet.name, balancing_mode="RATE", max_rate_per_instance=10
            ),
            compute_v1.Backend(
                group=f"projects/{PROJECT}/regions/europe-west1/instanceGroups/far",
                balancing_mode="RATE",
                max_rate=1000,
            ),
        ]
    )
    balancer.run(120)
    assert {
        each["name"].partition("-")[0]: each["healthy"] for each in balancer.service_instances()
    } == {
        "tiny": True,
        "far": True,
    }
    assert balancer.load(rate=15, most=30, seconds=60).releases == {"v1": 30}
    found = balancer.load(most=300, seconds=60).releases
    assert found["v2"] > found["v1"] > 0
