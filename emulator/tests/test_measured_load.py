"""Autoscalers follow the real requests through the data plane."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.cloud import compute_v1

from emulator.tests.fleet import Fleet
from emulator.tests.load_balancer import LoadBalancer, load_balancer, until

GROUP = "us-central1/tiny"


def under_load(balancer: LoadBalancer, holds: Callable[[], bool], **load: Any) -> None:
    """Send load repeatedly until a condition holds, since the data plane also measures at any
    moment.
    """

    def once() -> bool:
        balancer.plane.measure()
        balancer.load(seconds=60, **load)
        balancer.plane.measure()
        balancer.run(1)
        return holds()

    until(once)


def set_traffic(balancer: LoadBalancer, **members: float) -> None:
    balancer.cloud.traffic = [members]
    balancer.plane.refresh()


def cpu_target(utilization: float) -> compute_v1.AutoscalingPolicyCpuUtilization:
    return compute_v1.AutoscalingPolicyCpuUtilization(utilization_target=utilization)


def test_the_autoscaler_follows_the_measured_requests(fleet: Fleet) -> None:
    with load_balancer(fleet, size=1, balancing_mode="RATE", max_rate_per_instance=10) as balancer:
        fleet.autoscale(
            load_balancing_utilization=compute_v1.AutoscalingPolicyLoadBalancingUtilization(
                utilization_target=1.0
            )
        )
        balancer.run(120)
        assert fleet.get().target_size == 1
        under_load(balancer, lambda: fleet.get().target_size > 1, rate=60, most=120)


def test_the_autoscaler_scales_in_once_the_requests_have_ended(fleet: Fleet) -> None:
    with load_balancer(fleet, size=1, balancing_mode="RATE", max_rate_per_instance=10) as balancer:
        fleet.autoscale(
            load_balancing_utilization=compute_v1.AutoscalingPolicyLoadBalancingUtilization(
                utilization_target=1.0
            )
        )
        balancer.run(120)
        under_load(balancer, lambda: fleet.get().target_size > 1, rate=60, most=120)
        balancer.plane.measure()  # include the last requests
        balancer.plane.measure()
        assert balancer.cloud.measured[GROUP]["rps"] == 0
        balancer.run(550)
        assert fleet.get().target_size > 1  # the peak counts for ten minutes
        balancer.run(200)
        assert fleet.get().target_size == 1


def test_the_autoscaler_follows_the_measured_share_of_busy_workers(balancer: LoadBalancer) -> None:
    set_traffic(balancer, latency_seconds=0.1, concurrency=1)
    balancer.fleet.autoscale(min_num_replicas=3, cpu_utilization=cpu_target(0.1))
    balancer.run(120)
    assert balancer.fleet.get().target_size == 3
    under_load(balancer, lambda: balancer.fleet.get().target_size > 3, most=60, connections=6)


def test_load_that_was_set_takes_precedence_over_measured_load(balancer: LoadBalancer) -> None:
    set_traffic(balancer, latency_seconds=0.1, concurrency=2)
    balancer.cloud.load["tiny"] = {"cpu": 0.01}
    balancer.fleet.autoscale(min_num_replicas=3, cpu_utilization=cpu_target(0.1))
    balancer.run(120)
    under_load(
        balancer, lambda: balancer.cloud.measured[GROUP]["cpu"] > 0.4, most=120, connections=12
    )
    balancer.run(60)
    assert balancer.fleet.get().target_size == 3
