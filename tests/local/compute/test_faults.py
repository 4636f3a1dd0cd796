"""Faults of the world and of reads: zones that are down, Spot VMs taken away, answers that are old."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import compute_v1

from local.compute import Cloud, VirtualClock, control, stale, wire
from local.compute.__main__ import configure
from local.compute.faults import KINDS, WORLD
from local.compute.instance_controls import affect
from tests.local.compute.clients import PROJECT, REGION, Clients, health_check
from tests.local.compute.fleet import Fleet, policy, version

ZONE = f"{REGION}-a"


@pytest.fixture
def fleet(clients: Clients, clock: VirtualClock) -> Fleet:
    return Fleet(clients, clock)


def ask(cloud: Cloud, http: str, path: str, body: Any = None) -> Any:
    sent = b"" if body is None else json.dumps(body).encode()
    return json.loads(control.answer(cloud, wire.Request(http, f"/control{path}", sent)).body)


def running(fleet: Fleet) -> Counter[str]:
    """Running VMs by zone."""
    return Counter(
        each.instance.split("/zones/")[1].split("/")[0] for each in fleet.instances() if each.instance_status == "RUNNING"
    )


# --- what is listed ------------------------------------------------------------------------------------------------------


def test_every_fault_is_listed_at_the_control_and_in_the_readme(cloud: Cloud) -> None:
    listed = ask(cloud, "GET", "")["faults"]
    assert {each["fault"] for each in listed} == set(KINDS) | set(WORLD)
    assert all(each["about"] and each["how"].startswith("POST /control/") for each in listed)
    readme = (Path(__file__).parents[3] / "local" / "compute" / "README.md").read_text()
    assert [kind for kind in KINDS if f"`{kind}`" not in readme] == []
    assert [kind for kind in WORLD if kind.replace("_", " ") not in readme] == []


# --- zones that are down -------------------------------------------------------------------------------------------------


def test_a_zone_that_goes_down_takes_its_vms_and_makes_none_until_it_is_up(fleet: Fleet) -> None:
    fleet.create(6)
    fleet.settle()
    before = {each.name for each in fleet.instances() if f"/{ZONE}/" in each.instance}
    ask(fleet.cloud, "POST", "/zones", {ZONE: "DOWN"})
    zones = fleet.clients.of(compute_v1.ZonesClient)
    assert zones.get(project=PROJECT, zone=ZONE).status == "DOWN"
    fleet.run(1800)
    assert running(fleet)[ZONE] == 0
    assert sum(running(fleet).values()) == 4
    assert any("unavailable" in each.error.message for each in fleet.errors())
    ask(fleet.cloud, "POST", "/zones", {ZONE: "UP"})
    assert zones.get(project=PROJECT, zone=ZONE).status == "UP"
    fleet.settle()
    assert running(fleet)[ZONE] == len(before) == 2


def test_vms_that_are_being_made_go_down_with_their_zone_too(fleet: Fleet) -> None:
    fleet.create(6)
    fleet.run(5)
    ask(fleet.cloud, "POST", "/zones", {ZONE: "DOWN"})
    fleet.run(600)
    assert running(fleet)[ZONE] == 0
    ask(fleet.cloud, "DELETE", "/zones")
    fleet.settle()
    assert sum(running(fleet).values()) == 6


def test_a_zone_that_is_none_is_refused(cloud: Cloud) -> None:
    assert ask(cloud, "POST", "/zones", {"mars-1": "DOWN"})["error"]["code"] == 400
    assert ask(cloud, "POST", "/zones", {ZONE: "SIDEWAYS"})["error"]["code"] == 400
    assert set(ask(cloud, "GET", "/zones").values()) == {"UP"}


def test_a_file_may_begin_with_a_zone_down() -> None:
    cloud = Cloud(clock=VirtualClock())
    configure(cloud, {"zones_down": [ZONE], "traffic": [{"error_rate": 0.5}]})
    assert ask(cloud, "GET", "/zones")[ZONE] == "DOWN"
    assert cloud.traffic == [{"error_rate": 0.5}]


# --- preemption ----------------------------------------------------------------------------------------------------------


def test_only_spot_vms_are_preempted_and_the_group_makes_them_anew(fleet: Fleet) -> None:
    fleet.template("spot", scheduling=compute_v1.Scheduling(provisioning_model="SPOT", instance_termination_action="DELETE"))
    fleet.create(6, versions=[version("v1"), version("spot", fixed=3)], update_policy=policy())
    fleet.settle()
    spot = {each.name for each in fleet.instances() if each.version.instance_template.endswith("/spot")}
    taken = affect(fleet.cloud, "preempt", most=2)
    assert set(taken) < spot
    operations = fleet.clients.of(compute_v1.ZoneOperationsClient)
    told = [
        each.target_link.rpartition("/")[2]
        for zone in fleet.cloud.zones_of(REGION)
        for each in operations.list(project=PROJECT, zone=zone)
        if each.operation_type == "compute.instances.preempted"
    ]
    assert sorted(told) == sorted(taken)
    fleet.settle()
    assert fleet.by_version() == {"v1": 3, "spot": 3}


# --- stale reads ---------------------------------------------------------------------------------------------------------


def intervals(clients: Clients) -> int:
    return int(clients.of(compute_v1.HealthChecksClient).get(project=PROJECT, health_check="hc").check_interval_sec)


def write(clients: Clients, *seconds: int) -> None:
    checks = clients.of(compute_v1.HealthChecksClient)
    for each in seconds:
        change = compute_v1.HealthCheck(check_interval_sec=each)
        clients.done(checks.patch_unary(project=PROJECT, health_check="hc", health_check_resource=change))


def make(clients: Clients, name: str = "hc") -> None:
    checks = clients.of(compute_v1.HealthChecksClient)
    clients.done(checks.insert_unary(project=PROJECT, health_check_resource=health_check(name)))


@pytest.mark.parametrize(("versions", "seen"), [(1, 20), (2, 10), (3, 5)])
def test_a_read_may_be_so_many_writes_old(clients: Clients, versions: int, seen: int) -> None:
    make(clients)
    clients.cloud.faults.add("stale_read", "compute.healthChecks.get", versions=versions)
    write(clients, 10, 20, 30)
    assert intervals(clients) == seen
    clients.cloud.faults.clear()
    assert intervals(clients) == 30


def test_a_read_may_be_so_many_seconds_old(clients: Clients, clock: VirtualClock) -> None:
    make(clients)
    clock.advance(60)
    clients.cloud.faults.add("stale_read", "compute.healthChecks.*", seconds=60)
    write(clients, 10)
    clock.advance(40)
    write(clients, 20)
    assert intervals(clients) == 5
    clock.advance(30)
    assert intervals(clients) == 10
    clock.advance(60)
    assert intervals(clients) == 20


def test_a_stale_read_knows_writes_from_before_it_was_asked_for(clients: Clients, clock: VirtualClock) -> None:
    make(clients)
    write(clients, 10, 20)
    clock.advance(30)
    clients.cloud.faults.add("stale_read", "compute.healthChecks.get", versions=2, times=1)
    assert intervals(clients) == 5
    clients.cloud.faults.add("stale_read", "compute.healthChecks.get", seconds=20)
    assert intervals(clients) == 20


def test_a_refused_write_is_no_version_of_its_own(clients: Clients) -> None:
    make(clients)
    write(clients, 10)
    with pytest.raises(exceptions.BadRequest):
        write(clients, 301)
    clients.cloud.faults.add("stale_read", "compute.healthChecks.get", versions=2)
    write(clients, 20)
    assert intervals(clients) == 5


def test_what_is_kept_for_stale_reads_is_bounded(clients: Clients) -> None:
    make(clients)
    write(clients, *range(10, 10 + 2 * stale.VERSIONS))
    for number in range(stale.RESOURCES):
        make(clients, f"hc-{number}")
    assert len(clients.cloud.history) == stale.RESOURCES
    clients.cloud.faults.add("stale_read", "compute.healthChecks.get", versions=1)
    assert intervals(clients) == 9 + 2 * stale.VERSIONS  # how it was before is forgotten
    write(clients, *range(10, 10 + 2 * stale.VERSIONS))
    assert max(len(versions) for versions in clients.cloud.history.values()) == stale.VERSIONS


def test_what_was_just_made_is_not_there_yet_and_what_was_just_deleted_is_there_still(
    clients: Clients, clock: VirtualClock
) -> None:
    make(clients)
    clock.advance(60)
    clients.cloud.faults.add("stale_read", "compute.healthChecks.*", seconds=60)
    checks = clients.of(compute_v1.HealthChecksClient)
    make(clients, "new")
    clients.done(checks.delete_unary(project=PROJECT, health_check="hc"))
    with pytest.raises(exceptions.NotFound):
        checks.get(project=PROJECT, health_check="new")
    assert intervals(clients) == 5
    assert [each.name for each in checks.list(project=PROJECT)] == ["hc"]


def test_a_write_upon_a_stale_read_is_refused_by_its_fingerprint(fleet: Fleet) -> None:
    fleet.create(3)
    fleet.serve()
    services = fleet.clients.of(compute_v1.BackendServicesClient)

    def change(seconds: int) -> Any:
        kept = services.get(project=PROJECT, backend_service="bs")
        body = compute_v1.BackendService(timeout_sec=seconds, fingerprint=kept.fingerprint)
        return services.patch_unary(project=PROJECT, backend_service="bs", backend_service_resource=body)

    fleet.done(change(40))
    fleet.cloud.faults.add("stale_read", "compute.backendServices.get", versions=1)
    with pytest.raises(exceptions.PreconditionFailed):
        change(50)


def test_a_group_is_read_as_it_was_before_the_last_patch(fleet: Fleet) -> None:
    fleet.create(3)
    fleet.settle()
    fleet.cloud.faults.add("stale_read", "compute.regionInstanceGroupManagers.get", versions=1, times=1)
    fleet.versions(version("v2"))
    assert fleet.get().versions[0].instance_template.endswith("/v1")
    assert fleet.get().versions[0].instance_template.endswith("/v2")


@pytest.mark.parametrize("members", [{}, {"versions": 1, "seconds": 1}])
def test_a_stale_read_says_either_writes_or_seconds(cloud: Cloud, members: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="either versions or seconds"):
        cloud.faults.add("stale_read", **members)
