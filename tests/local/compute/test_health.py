"""Health: the backend service's own view of readiness, apart from the group's view of liveness."""

from __future__ import annotations

import pytest

from local.compute import VirtualClock
from local.compute.instance_controls import affect
from tests.local.compute.clients import Clients
from tests.local.compute.fleet import Fleet, version


@pytest.fixture
def fleet(clients: Clients, clock: VirtualClock) -> Fleet:
    return Fleet(clients, clock)


def test_nothing_is_known_before_the_first_probes_and_then_readiness_decides(fleet: Fleet) -> None:
    fleet.cloud.set_behaviours([{"boot_seconds": 30, "ready_after_seconds": 60, "alive_after_seconds": 0}])
    fleet.create(size=3)
    fleet.serve()
    assert fleet.health() == {}
    fleet.settle()
    fleet.run(5)
    assert fleet.health() == {"UNHEALTHY": 3}
    fleet.run(60)
    assert fleet.health() == {"HEALTHY": 3}


def test_a_vm_may_be_alive_and_never_ready(fleet: Fleet) -> None:
    fleet.cloud.set_behaviours([{"template": "v2", "never_ready": True}])
    fleet.create(size=3)
    fleet.serve()
    fleet.settle()
    fleet.versions(version("v1"), version("v2", fixed=1))
    fleet.settle()
    fleet.run(60)
    assert fleet.health() == {"HEALTHY": 2, "UNHEALTHY": 1}
    assert fleet.doing() == {"none": 3}


def test_a_group_without_the_named_port_is_unhealthy(fleet: Fleet) -> None:
    fleet.create(size=3, named_ports=[])
    fleet.serve()
    fleet.settle()
    fleet.run(60)
    assert fleet.health() == {"HEALTHY": 3}
    fleet.acting.instance_group["namedPorts"] = [{"name": "other", "port": 9000}]
    assert fleet.health() == {"UNHEALTHY": 3}


def test_readiness_lost_and_found_changes_after_the_thresholds(fleet: Fleet) -> None:
    fleet.create(size=3)
    fleet.serve()
    fleet.settle()
    fleet.run(60)
    affect(fleet.cloud, "unready", most=1)
    assert fleet.health() == {"HEALTHY": 3}
    fleet.run(11)
    assert fleet.health() == {"HEALTHY": 2, "UNHEALTHY": 1}
    assert fleet.doing() == {"none": 3}
    affect(fleet.cloud, "ready")
    fleet.run(11)
    assert fleet.health() == {"HEALTHY": 3}


def test_a_vm_that_is_leaving_is_no_longer_counted(fleet: Fleet) -> None:
    fleet.create(size=4)
    fleet.serve(drain=300)
    fleet.settle()
    fleet.run(60)
    fleet.resize(3)
    fleet.run(10)
    assert fleet.doing() == {"none": 3, "deleting": 1}
    assert fleet.health() == {"HEALTHY": 3}


def test_flapping_vms_flap_in_the_eyes_of_the_balancer_only(fleet: Fleet) -> None:
    fleet.cloud.set_behaviours([{"flaps_every_seconds": 30}])
    fleet.create(size=3)
    fleet.serve()
    fleet.settle()
    seen = []
    for _ in range(8):
        fleet.run(15)
        seen.append(fleet.health().get("HEALTHY", 0))
    assert {0, 3} <= set(seen)
    assert fleet.doing() == {"none": 3}
