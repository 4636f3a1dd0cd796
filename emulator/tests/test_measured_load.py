"""Autoscalers follow the real requests through the data plane."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from google.cloud import compute_v1

from compute_emulator import VirtualClock
from emulator.tests.clients import Clients
from emulator.tests.fleet import Fleet
from emulator.tests.site import Site, site, until

GROUP = "us-central1/tiny"


@pytest.fixture
def fleet(clients: Clients, clock: VirtualClock) -> Fleet:
    return Fleet(clients, clock)


@pytest.fixture
def here(fleet: Fleet) -> Iterator[Site]:
    with site(fleet) as made:
        yield made


def under_load(here: Site, holds: Callable[[], bool], **load: Any) -> None:
    """Send load repeatedly until a condition holds, since the data plane also measures at any
    moment."""

    def once() -> bool:
        here.plane.measure()
        here.load(seconds=60, **load)
        here.plane.measure()
        here.run(1)
        return holds()

    until(once)


def answering(here: Site, **members: float) -> None:
    here.cloud.traffic = [members]
    here.plane.refresh()


def cpu_target(utilization: float) -> compute_v1.AutoscalingPolicyCpuUtilization:
    return compute_v1.AutoscalingPolicyCpuUtilization(utilization_target=utilization)


def test_the_autoscaler_follows_the_measured_requests(fleet: Fleet) -> None:
    with site(fleet, size=1, balancing_mode="RATE", max_rate_per_instance=10) as here:
        fleet.autoscale(
            load_balancing_utilization=compute_v1.AutoscalingPolicyLoadBalancingUtilization(
                utilization_target=1.0
            )
        )
        here.run(120)
        assert fleet.get().target_size == 1
        under_load(here, lambda: fleet.get().target_size > 1, rate=60, most=120)


def test_the_autoscaler_scales_in_once_the_requests_have_ended(fleet: Fleet) -> None:
    with site(fleet, size=1, balancing_mode="RATE", max_rate_per_instance=10) as here:
        fleet.autoscale(
            load_balancing_utilization=compute_v1.AutoscalingPolicyLoadBalancingUtilization(
                utilization_target=1.0
            )
        )
        here.run(120)
        under_load(here, lambda: fleet.get().target_size > 1, rate=60, most=120)
        here.plane.measure()  # include the last requests
        here.plane.measure()
        assert here.cloud.measured[GROUP]["rps"] == 0
        here.run(550)
        assert fleet.get().target_size > 1  # the peak counts for ten minutes
        here.run(200)
        assert fleet.get().target_size == 1


def test_the_autoscaler_follows_the_measured_share_of_busy_workers(here: Site) -> None:
    answering(here, latency_seconds=0.1, concurrency=1)
    here.fleet.autoscale(min_num_replicas=3, cpu_utilization=cpu_target(0.1))
    here.run(120)
    assert here.fleet.get().target_size == 3
    under_load(here, lambda: here.fleet.get().target_size > 3, most=60, connections=6)


def test_load_that_was_set_takes_precedence_over_measured_load(here: Site) -> None:
    answering(here, latency_seconds=0.1, concurrency=2)
    here.cloud.load["tiny"] = {"cpu": 0.01}
    here.fleet.autoscale(min_num_replicas=3, cpu_utilization=cpu_target(0.1))
    here.run(120)
    under_load(here, lambda: here.cloud.measured[GROUP]["cpu"] > 0.4, most=120, connections=12)
    here.run(60)
    assert here.fleet.get().target_size == 3
