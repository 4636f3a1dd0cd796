"""Health: the backend service's view of readiness, independent of the group's view of liveness."""

from __future__ import annotations

from google.cloud import compute_v1

from compute_emulator.control.instances import apply_effect
from emulator.tests.clients import PROJECT
from emulator.tests.fleet import Fleet, version


def test_health_is_unknown_before_the_first_probes_and_then_follows_readiness(fleet: Fleet) -> None:
    fleet.cloud.set_behaviours(
        [{"boot_seconds": 30, "ready_after_seconds": 60, "alive_after_seconds": 0}]
    )
    fleet.create(size=3)
    fleet.serve()
    assert fleet.health() == {}
    fleet.settle()
    fleet.run(5)
    assert fleet.health() == {"UNHEALTHY": 3}
    fleet.run(60)
    assert fleet.health() == {"HEALTHY": 3}


def test_a_vm_can_be_alive_and_never_ready(fleet: Fleet) -> None:
    fleet.cloud.set_behaviours([{"template": "v2", "never_ready": True}])
    fleet.create(size=3)
    fleet.serve()
    fleet.settle()
    fleet.versions(version("v1"), version("v2", fixed=1))
    fleet.settle()
    fleet.run(60)
    assert fleet.health() == {"HEALTHY": 2, "UNHEALTHY": 1}
    assert fleet.current_actions() == {"none": 3}


def test_a_group_without_the_named_port_is_unhealthy(fleet: Fleet) -> None:
    fleet.create(size=3, named_ports=[])
    fleet.serve()
    fleet.settle()
    fleet.run(60)
    assert fleet.health() == {"HEALTHY": 3}
    fleet.controller.instance_group["namedPorts"] = [{"name": "other", "port": 9000}]
    assert fleet.health() == {"UNHEALTHY": 3}


def test_readiness_changes_count_after_the_thresholds(fleet: Fleet) -> None:
    fleet.create(size=3)
    fleet.serve()
    fleet.settle()
    fleet.run(60)
    apply_effect(fleet.cloud, "unready", most=1)
    assert fleet.health() == {"HEALTHY": 3}
    fleet.run(11)
    assert fleet.health() == {"HEALTHY": 2, "UNHEALTHY": 1}
    assert fleet.current_actions() == {"none": 3}
    apply_effect(fleet.cloud, "ready")
    fleet.run(11)
    assert fleet.health() == {"HEALTHY": 3}


def test_a_leaving_vm_no_longer_counts(fleet: Fleet) -> None:
    fleet.create(size=4)
    fleet.serve(drain=300)
    fleet.settle()
    fleet.run(60)
    fleet.resize(3)
    fleet.run(10)
    assert fleet.current_actions() == {"none": 3, "deleting": 1}
    assert fleet.health() == {"HEALTHY": 3}


def test_only_the_balancer_sees_vms_flap(fleet: Fleet) -> None:
    fleet.cloud.set_behaviours([{"flaps_every_seconds": 30}])
    fleet.create(size=3)
    fleet.serve()
    fleet.settle()
    seen = []
    for _ in range(8):
        fleet.run(15)
        seen.append(fleet.health().get("HEALTHY", 0))
    assert {0, 3} <= set(seen)
    assert fleet.current_actions() == {"none": 3}


def test_a_group_whose_check_uses_the_balancers_path_waits_for_readiness(fleet: Fleet) -> None:
    fleet.cloud.set_behaviours([{"template": "v2", "never_ready": True, "alive_after_seconds": 0}])
    heal = {"health_check": "global/healthChecks/ready", "initial_delay_sec": 3600}
    fleet.create(
        size=3, auto_healing_policies=[compute_v1.InstanceGroupManagerAutoHealingPolicy(heal)]
    )
    fleet.serve()
    fleet.settle()
    fleet.versions(version("v2"))
    fleet.run(300)
    assert fleet.current_actions() == {"none": 3, "verifying": 3}
    assert fleet.by_version() == {"v1": 3, "v2": 3}


def test_a_corrected_health_check_lets_waiting_vms_pass(fleet: Fleet) -> None:
    fleet.cloud.set_behaviours([{"never_ready": True, "alive_after_seconds": 0}])
    heal = {"health_check": "global/healthChecks/ready", "initial_delay_sec": 3600}
    fleet.create(
        size=3, auto_healing_policies=[compute_v1.InstanceGroupManagerAutoHealingPolicy(heal)]
    )
    fleet.serve()
    fleet.run(300)
    assert fleet.current_actions() == {"verifying": 3}
    path = compute_v1.HealthCheck(
        http_health_check=compute_v1.HTTPHealthCheck(port=8080, request_path="/live")
    )
    checks = fleet.clients.of(compute_v1.HealthChecksClient)
    fleet.serve(name="other", check="alive")
    services = fleet.clients.of(compute_v1.BackendServicesClient)
    fleet.done(services.delete_unary(project=PROJECT, backend_service="bs"))
    fleet.done(
        checks.patch_unary(project=PROJECT, health_check="ready", health_check_resource=path)
    )
    fleet.settle(60)
    assert fleet.current_actions() == {"none": 3}
