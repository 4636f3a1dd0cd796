"""Faults of the infrastructure and of reads: zones that are down, preempted Spot VMs, stale
reads.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import compute_v1

from compute_emulator import Cloud, VirtualClock
from compute_emulator.api import stale_reads
from compute_emulator.control.config_file import configure
from compute_emulator.control.fault_catalogue import ENVIRONMENT, listing
from compute_emulator.control.faults import CLASSES, KINDS
from compute_emulator.control.instances import apply_effect
from emulator.tests.clients import PROJECT, REGION, Clients, control, health_check
from emulator.tests.fleet import Fleet, policy, version
from emulator.tests.readme import README, table

ZONE = f"{REGION}-a"


def running_by_zone(fleet: Fleet) -> Counter[str]:
    """Running VMs by zone."""
    return Counter(
        each.instance.split("/zones/")[1].split("/")[0]
        for each in fleet.instances()
        if each.instance_status == "RUNNING"
    )


# The list of faults


LISTED = listing()


def test_implemented_faults_the_control_and_the_readme_list_the_same(
    cloud: Cloud,
) -> None:
    listed = {each["fault"]: each for each in control(cloud, "GET", "")["faults"]}
    assert list(listed) == [*KINDS, *ENVIRONMENT]
    assert all(each["about"] for each in listed.values())
    assert [row[0].strip("`") for row in table("| kind | effect |")] == list(KINDS)
    of_the_world = table("| fault | effect |")
    assert [row[0].replace(" ", "_") for row in of_the_world] == list(ENVIRONMENT)
    for name, _, how, member in of_the_world:
        fault = listed[name.replace(" ", "_")]
        assert (how.strip("`"), [member.strip("`")]) == (fault["how"], list(fault["file"]))


def test_the_error_classes_are_listed_in_the_readme_and_at_the_control(cloud: Cloud) -> None:
    assert control(cloud, "GET", "")["error_classes"] == CLASSES
    assert ", ".join(f"`{name}`" for name in CLASSES) in " ".join(README.split())


def stage() -> Fleet:
    """A new cloud with a template for Spot VMs."""
    clock = VirtualClock()
    fleet = Fleet(Clients(Cloud(clock=clock, wait_advances_clock=True)), clock)
    scheduling = compute_v1.Scheduling(
        provisioning_model="SPOT", instance_termination_action="DELETE"
    )
    fleet.template("spot", scheduling=scheduling)
    return fleet


def state(fleet: Fleet) -> Any:
    """Everything that a fault can change."""
    cloud = fleet.cloud
    settings = (
        cloud.behaviours,
        cloud.traffic,
        dict(cloud.load),
        dict(cloud.stock_outs),
        dict(cloud.quotas),
    )
    faults = [each.as_dict() | {"matched": 0} for each in cloud.faults.active]
    instances = [
        (each["zone"], each["status"], each["alive"], each["ready"]) for each in cloud.snapshot()
    ]
    operations = sorted(each["operationType"] for each in cloud.operations.table.values())
    return settings, faults, cloud.zones_down, cloud.zones_unreachable, instances, operations


@pytest.mark.parametrize("fault", LISTED, ids=lambda fault: fault["fault"])
def test_a_fault_has_the_same_effect_by_url_and_by_file(fault: dict[str, Any]) -> None:
    def run(settings: dict[str, Any], by_url: str) -> Any:
        fleet = stage()
        until = fleet.clock.now() + 600
        later = {name: each for name, each in settings.items() if name == "later"}
        configure(fleet.cloud, later)  # their time counts from here
        fleet.create(6, versions=[version("spot")])
        fleet.clock.advance(until - fleet.clock.now())
        fleet.cloud.advance()
        configure(fleet.cloud, {name: each for name, each in settings.items() if name != "later"})
        if by_url:
            http, path, body = by_url.split(" ", 2)
            assert "error" not in control(
                fleet.cloud, http, path.removeprefix("/control"), json.loads(body)
            )
        fleet.clock.advance(30)  # checks need a while to notice
        fleet.cloud.advance()
        return state(fleet)

    by_url, by_file = run({}, fault["how"]), run(fault["file"], "")
    assert by_file == by_url
    assert by_url != run({}, "")


@pytest.mark.parametrize("name", CLASSES)
def test_an_error_of_every_class_hits_the_nth_call_of_a_method(clients: Clients, name: str) -> None:
    fault = {
        "kind": "error",
        "error_class": name,
        "method": "compute.zones.get",
        "nth": 2,
        "times": 1,
    }
    configure(clients.cloud, {"faults": [fault]})
    zones = clients.of(compute_v1.ZonesClient)
    zones.get(project=PROJECT, zone=ZONE)
    with pytest.raises(exceptions.GoogleAPICallError) as refused:
        zones.get(project=PROJECT, zone=ZONE, retry=None)
    assert (refused.value.code, refused.value.errors[0]["reason"]) == (
        CLASSES[name]["status"],
        CLASSES[name]["reason"],
    )
    zones.get(project=PROJECT, zone=ZONE)
    with pytest.raises(ValueError, match="error_class"):
        clients.cloud.faults.add("error", error_class="cosmic_ray")


def test_an_operation_fails_with_the_code_of_a_class(clients: Clients) -> None:
    clients.cloud.faults.add(
        "operation_error",
        "compute.healthChecks.insert",
        error_class="stock_out",
        message="Sold out.",
    )
    checks = clients.of(compute_v1.HealthChecksClient)
    failed = clients.done(
        checks.insert_unary(project=PROJECT, health_check_resource=health_check("hc"))
    )
    assert [(each.code, each.message) for each in failed.error.errors] == [
        ("ZONE_RESOURCE_POOL_EXHAUSTED", "Sold out.")
    ]


# Scheduled controls


def test_a_scheduled_control_runs_at_its_time_and_not_before(
    cloud: Cloud, clock: VirtualClock
) -> None:
    planned = [
        {"after_seconds": 100, "post": "/zones", "body": {ZONE: "DOWN"}},
        {"after_seconds": 200, "delete": "/zones"},
    ]
    assert [each["state"] for each in control(cloud, "POST", "/later", planned)] == [
        "WAITING",
        "WAITING",
    ]
    for seconds, state in ((99, "UP"), (1, "DOWN"), (99, "DOWN"), (1, "UP")):
        clock.advance(seconds)
        assert control(cloud, "GET", "/zones")[ZONE] == state
    assert [each["state"] for each in control(cloud, "GET", "/later")] == ["DONE", "DONE"]


def test_a_cancelled_control_does_not_run(cloud: Cloud, clock: VirtualClock) -> None:
    control(
        cloud, "POST", "/later", {"after_seconds": 100, "post": "/zones", "body": {ZONE: "DOWN"}}
    )
    assert control(cloud, "DELETE", "/later") == []
    clock.advance(200)
    assert control(cloud, "GET", "/zones")[ZONE] == "UP"


def test_the_rejection_of_a_scheduled_control_is_reported(
    cloud: Cloud, clock: VirtualClock
) -> None:
    control(
        cloud, "POST", "/later", {"after_seconds": 1, "post": "/zones", "body": {"mars-1": "DOWN"}}
    )
    clock.advance(2)
    (reported,) = control(cloud, "GET", "/later")
    assert (reported["state"], reported["why"]) == (
        "REFUSED",
        "zones: 'mars-1' is not a zone; GET /control/zones lists the zones",
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"after_seconds": 1},
        {"post": "/zones", "body": {}},
        {"after_seconds": -1, "post": "/zones"},
        {"after_seconds": 1, "post": "/weather"},
        {"after_seconds": 1, "post": "/later", "body": {}},
        {"after_seconds": 1, "post": "/zones", "delete": "/zones"},
        {"after_seconds": 1, "post": "/zones", "colour": "red"},
        7,
    ],
)
def test_an_unknown_control_cannot_be_scheduled(cloud: Cloud, wrong: Any) -> None:
    assert (
        control(cloud, "POST", "/later", [{"after_seconds": 1, "delete": "/zones"}, wrong])[
            "error"
        ]["code"]
        == 400
    )
    assert control(cloud, "GET", "/later") == []


# Zones that are down


def test_a_zone_that_goes_down_loses_its_vms_and_gets_none_until_it_is_up(fleet: Fleet) -> None:
    fleet.create(6)
    fleet.settle()
    before = {each.name for each in fleet.instances() if f"/{ZONE}/" in each.instance}
    control(fleet.cloud, "POST", "/zones", {ZONE: "DOWN"})
    zones = fleet.clients.of(compute_v1.ZonesClient)
    assert zones.get(project=PROJECT, zone=ZONE).status == "DOWN"
    fleet.run(1800)
    assert running_by_zone(fleet)[ZONE] == 0
    assert sum(running_by_zone(fleet).values()) == 4
    assert any("unavailable" in each.error.message for each in fleet.errors())
    control(fleet.cloud, "POST", "/zones", {ZONE: "UP"})
    assert zones.get(project=PROJECT, zone=ZONE).status == "UP"
    fleet.settle()
    assert running_by_zone(fleet)[ZONE] == len(before) == 2


def test_vms_being_created_go_down_with_their_zone_too(fleet: Fleet) -> None:
    fleet.create(6)
    fleet.run(5)
    control(fleet.cloud, "POST", "/zones", {ZONE: "DOWN"})
    fleet.run(600)
    assert running_by_zone(fleet)[ZONE] == 0
    control(fleet.cloud, "DELETE", "/zones")
    fleet.settle()
    assert sum(running_by_zone(fleet).values()) == 6


def test_zone_outages_and_stock_outs_are_independent(
    fleet: Fleet,
) -> None:
    control(fleet.cloud, "POST", "/zones", {ZONE: "DOWN"})
    assert control(fleet.cloud, "DELETE", "/stock-outs") == {}
    fleet.create(6)
    fleet.run(600)
    assert running_by_zone(fleet)[ZONE] == 0
    control(fleet.cloud, "POST", "/stock-outs", {ZONE: {}})
    control(fleet.cloud, "POST", "/zones", {ZONE: "UP"})
    fleet.run(1800)
    assert running_by_zone(fleet)[ZONE] == 0
    control(fleet.cloud, "DELETE", "/stock-outs")
    fleet.settle()
    assert running_by_zone(fleet)[ZONE] == 2


def test_an_unknown_zone_is_rejected(cloud: Cloud) -> None:
    assert control(cloud, "POST", "/zones", {"mars-1": "DOWN"})["error"]["code"] == 400
    assert control(cloud, "POST", "/zones", {ZONE: "SIDEWAYS"})["error"]["code"] == 400
    assert set(control(cloud, "GET", "/zones").values()) == {"UP"}


def test_a_file_can_start_with_a_zone_down() -> None:
    cloud = Cloud(clock=VirtualClock())
    configure(cloud, {"zones": {ZONE: "DOWN"}, "traffic": [{"error_rate": 0.5}]})
    assert control(cloud, "GET", "/zones")[ZONE] == "DOWN"
    assert cloud.traffic == [{"error_rate": 0.5}]


# Preemption


def test_only_spot_vms_are_preempted_and_the_group_recreates_them(fleet: Fleet) -> None:
    fleet.template(
        "spot",
        scheduling=compute_v1.Scheduling(
            provisioning_model="SPOT", instance_termination_action="DELETE"
        ),
    )
    fleet.create(6, versions=[version("v1"), version("spot", fixed=3)], update_policy=policy())
    fleet.settle()
    spot = {
        each.name for each in fleet.instances() if each.version.instance_template.endswith("/spot")
    }
    taken = apply_effect(fleet.cloud, "preempt", most=2)
    assert set(taken) < spot
    operations = fleet.clients.of(compute_v1.ZoneOperationsClient)
    reported = [
        each.target_link.rpartition("/")[2]
        for zone in fleet.cloud.zones_of(REGION)
        for each in operations.list(project=PROJECT, zone=zone)
        if each.operation_type == "compute.instances.preempted"
    ]
    assert sorted(reported) == sorted(taken)
    fleet.settle()
    assert fleet.by_version() == {"v1": 3, "spot": 3}


# Stale reads


def intervals(clients: Clients) -> int:
    return int(
        clients.of(compute_v1.HealthChecksClient)
        .get(project=PROJECT, health_check="hc")
        .check_interval_sec
    )


def write(clients: Clients, *seconds: int) -> None:
    checks = clients.of(compute_v1.HealthChecksClient)
    for each in seconds:
        change = compute_v1.HealthCheck(check_interval_sec=each)
        clients.done(
            checks.patch_unary(project=PROJECT, health_check="hc", health_check_resource=change)
        )


def make(clients: Clients, name: str = "hc") -> None:
    checks = clients.of(compute_v1.HealthChecksClient)
    clients.done(checks.insert_unary(project=PROJECT, health_check_resource=health_check(name)))


@pytest.mark.parametrize(("versions", "seen"), [(1, 20), (2, 10), (3, 5)])
def test_a_read_can_be_several_writes_old(clients: Clients, versions: int, seen: int) -> None:
    make(clients)
    clients.cloud.faults.add("stale_read", "compute.healthChecks.get", versions=versions)
    write(clients, 10, 20, 30)
    assert intervals(clients) == seen
    clients.cloud.faults.clear()
    assert intervals(clients) == 30


def test_a_read_can_be_several_seconds_old(clients: Clients, clock: VirtualClock) -> None:
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


def test_a_stale_read_includes_writes_made_before_the_fault_was_set(
    clients: Clients, clock: VirtualClock
) -> None:
    make(clients)
    write(clients, 10, 20)
    clock.advance(30)
    clients.cloud.faults.add("stale_read", "compute.healthChecks.get", versions=2, times=1)
    assert intervals(clients) == 5
    clients.cloud.faults.add("stale_read", "compute.healthChecks.get", seconds=20)
    assert intervals(clients) == 20


def test_a_rejected_write_is_not_a_version(clients: Clients) -> None:
    make(clients)
    write(clients, 10)
    with pytest.raises(exceptions.BadRequest):
        write(clients, 301)
    clients.cloud.faults.add("stale_read", "compute.healthChecks.get", versions=2)
    write(clients, 20)
    assert intervals(clients) == 5


def test_the_history_for_stale_reads_is_bounded(
    clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (stale_reads.VERSIONS, stale_reads.RESOURCES) == (20, 500)  # as the README says
    monkeypatch.setattr(stale_reads, "RESOURCES", 50)  # twice 500 resources would take ten seconds
    make(clients)
    write(clients, *range(10, 10 + 2 * stale_reads.VERSIONS))
    for number in range(stale_reads.RESOURCES):
        make(clients, f"hc-{number}")
    assert len(clients.cloud.history) == stale_reads.RESOURCES
    clients.cloud.faults.add("stale_read", "compute.healthChecks.get", versions=1)
    assert intervals(clients) == 9 + 2 * stale_reads.VERSIONS  # its history was evicted
    write(clients, *range(10, 10 + 2 * stale_reads.VERSIONS))
    assert max(len(versions) for versions in clients.cloud.history.values()) == stale_reads.VERSIONS


def test_a_stale_read_misses_a_new_resource_and_shows_a_deleted_one(
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


def test_a_write_based_on_a_stale_read_is_rejected_by_its_fingerprint(fleet: Fleet) -> None:
    fleet.create(3)
    fleet.serve()
    services = fleet.clients.of(compute_v1.BackendServicesClient)

    def change(seconds: int) -> Any:
        kept = services.get(project=PROJECT, backend_service="bs")
        body = compute_v1.BackendService(timeout_sec=seconds, fingerprint=kept.fingerprint)
        return services.patch_unary(
            project=PROJECT, backend_service="bs", backend_service_resource=body
        )

    fleet.done(change(40))
    fleet.cloud.faults.add("stale_read", "compute.backendServices.get", versions=1)
    with pytest.raises(exceptions.PreconditionFailed):
        change(50)


def test_a_group_is_read_as_it_was_before_the_last_patch(fleet: Fleet) -> None:
    fleet.create(3)
    fleet.settle()
    fleet.cloud.faults.add(
        "stale_read", "compute.regionInstanceGroupManagers.get", versions=1, times=1
    )
    fleet.versions(version("v2"))
    assert fleet.get().versions[0].instance_template.endswith("/v1")
    assert fleet.get().versions[0].instance_template.endswith("/v2")


@pytest.mark.parametrize("members", [{}, {"versions": 1, "seconds": 1}])
def test_a_stale_read_takes_either_versions_or_seconds(
    cloud: Cloud, members: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match="either versions or seconds"):
        cloud.faults.add("stale_read", **members)
