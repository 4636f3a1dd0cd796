"""Managed instance groups through Google's client: creation, rolling update, canary, rollback,
healing, deletion.
"""

from __future__ import annotations

from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import compute_v1

from compute_emulator import Cloud, VirtualClock
from compute_emulator.control.instances import apply_effect
from emulator.tests.clients import PROJECT, REGION, Clients
from emulator.tests.fleet import FIXED, Fleet, policy, version


@pytest.fixture
def settled(fleet: Fleet) -> Fleet:
    """Six VMs of v1, verified."""
    fleet.create()
    fleet.settle()
    fleet.floor_holds = True
    return fleet


def test_a_new_group_creates_boots_and_verifies_its_vms_and_is_stable(fleet: Fleet) -> None:
    fleet.create()
    assert fleet.current_actions() == {"creating": 6}
    assert not fleet.get().status.is_stable
    fleet.run(30)
    assert fleet.current_actions() == {"verifying": 6}
    assert fleet.settle() < 60
    assert fleet.current_actions() == {"none": 6}
    assert fleet.zones() == {"a": 2, "b": 2, "c": 2}
    assert fleet.get().status.version_target.is_reached
    assert {each.instance_health[0].detailed_health_state for each in fleet.instances()} == {
        "HEALTHY"
    }


def test_a_settled_group_has_no_pending_events(settled: Fleet) -> None:
    settled.run(10)
    assert settled.cloud.next_event_at() is None


def test_a_new_group_fills_in_the_defaults_of_the_api(fleet: Fleet) -> None:
    fleet.create(update_policy=None, healing=False)
    group = fleet.get()
    assert group.base_instance_name == "tiny"
    assert group.update_policy.type_ == "OPPORTUNISTIC"
    assert (group.update_policy.max_surge.fixed, group.update_policy.max_unavailable.fixed) == (
        3,
        3,
    )
    assert group.distribution_policy.target_shape == "EVEN"
    assert [each.zone[-1] for each in group.distribution_policy.zones] == ["a", "b", "c"]
    assert group.versions[0].instance_template.endswith("/global/instanceTemplates/v1")
    assert group.instance_group.endswith(f"/regions/{REGION}/instanceGroups/tiny")


def test_a_rolling_update_replaces_every_vm_within_the_budgets(settled: Fleet) -> None:
    settled.versions(version("v2"))
    assert not settled.get().status.version_target.is_reached
    settled.settle()
    assert settled.by_version() == {"v2": 6}
    assert settled.get().status.version_target.is_reached
    assert settled.zones() == {"a": 2, "b": 2, "c": 2}


def test_two_versions_split_the_group_and_are_widened_step_by_step(settled: Fleet) -> None:
    for size in (1, 3, 5):
        settled.versions(
            version("v1", label="stable"), version("v2", fixed=size, label="candidate")
        )
        settled.settle()
        assert settled.by_version() == {"v1": 6 - size, "v2": size}
    settled.versions(version("v2", label="candidate"))
    settled.settle()
    assert settled.by_version() == {"v2": 6}


@pytest.mark.parametrize(
    ("then", "expected"),
    [
        ([version("v1")], {"v1": 6}),
        ([version("v2")], {"v2": 6}),
        ([version("v1"), version("v3", fixed=2)], {"v1": 4, "v3": 2}),
    ],
)
def test_every_change_from_two_versions_completes(
    settled: Fleet, then: list[Any], expected: dict[str, int]
) -> None:
    settled.versions(version("v1"), version("v2", fixed=2))
    settled.settle()
    settled.versions(*then)
    settled.settle()
    assert settled.by_version() == expected


def test_a_percentage_of_a_version_rounds_half_up_and_is_returned_calculated(fleet: Fleet) -> None:
    fleet.create(size=5, versions=[version("v1"), version("v2", percent=50)])
    assert [each.target_size.calculated for each in fleet.get().versions] == [2, 3]
    fleet.settle()
    assert fleet.by_version() == {"v1": 2, "v2": 3}


def test_vms_that_never_become_healthy_stall_the_update_and_a_patch_back_reverts_it(
    settled: Fleet,
) -> None:
    settled.cloud.set_behaviours([{"template": "v2", "never_alive": True}])
    settled.versions(version("v2"))
    settled.run(250)
    assert settled.by_version() == {"v1": 6, "v2": 3}
    assert settled.current_actions() == {"none": 6, "verifying": 3}
    assert not settled.get().status.is_stable
    settled.versions(version("v1"))
    settled.settle()
    assert settled.by_version() == {"v1": 6}


def test_vms_that_never_become_healthy_are_recreated_after_the_initial_delay(
    fleet: Fleet,
) -> None:
    fleet.cloud.set_behaviours([{"never_alive": True}])
    fleet.create(size=3, delay=120)
    fleet.run(30 + 120 - 1 - 2)  # creating took two seconds
    assert fleet.current_actions() == {"verifying": 3}
    names = {each.name for each in fleet.instances()}
    fleet.run(5)
    assert fleet.current_actions() == {"recreating": 3}
    fleet.run(160)
    assert fleet.current_actions() == {"recreating": 3}
    assert {each.name for each in fleet.instances()} == names


def test_a_vm_that_dies_is_recreated_under_its_name_from_its_own_version(settled: Fleet) -> None:
    settled.versions(version("v1"), version("v2", fixed=1))
    settled.settle()
    settled.floor_holds = False
    [name] = apply_effect(settled.cloud, "kill", template="v2")
    settled.run(15)
    assert settled.current_actions() == {"none": 5, "recreating": 1}
    settled.settle()
    assert settled.by_version() == {"v1": 5, "v2": 1}
    assert name in {each.name for each in settled.instances()}


def test_a_preempted_vm_is_recreated_unless_the_policy_is_do_nothing(
    clients: Clients, clock: VirtualClock
) -> None:
    fleet = Fleet(clients, clock)
    fleet.create(size=3)
    fleet.settle()
    apply_effect(clients.cloud, "stop", most=1)
    fleet.run(1)
    assert fleet.current_actions() == {"none": 2, "recreating": 1}
    fleet.settle()
    nothing = compute_v1.InstanceGroupManagerInstanceLifecyclePolicy(
        default_action_on_failure="DO_NOTHING"
    )
    fleet.patch(instance_lifecycle_policy=nothing)
    apply_effect(clients.cloud, "stop", most=1)
    fleet.run(100)
    assert sorted(each.instance_status for each in fleet.instances()) == [
        "RUNNING",
        "RUNNING",
        "TERMINATED",
    ]


def test_recreate_keeps_the_names(settled: Fleet) -> None:
    names = {each.name for each in settled.instances()}
    settled.versions(version("v2"), update_policy=policy(0, 3, replacement_method="RECREATE"))
    settled.run(1)
    assert settled.current_actions() == {"none": 3, "recreating": 3}
    settled.settle()
    assert settled.by_version() == {"v2": 6}
    assert {each.name for each in settled.instances()} == names


def test_without_surge_the_old_vm_is_deleted_before_the_new_one_is_created(settled: Fleet) -> None:
    settled.versions(version("v2"), update_policy=policy(0, 3))
    settled.run(1)
    assert settled.current_actions() == {"none": 3, "deleting": 3}
    settled.settle()
    assert settled.by_version() == {"v2": 6}


def test_an_opportunistic_patch_touches_no_vm_until_requested(settled: Fleet) -> None:
    settled.versions(version("v2"), update_policy=policy(type_="OPPORTUNISTIC"))
    settled.run(100)
    group = settled.get()
    assert group.status.is_stable
    assert not group.status.version_target.is_reached
    chosen = [each.instance for each in settled.instances()][:2]
    settled.floor_holds = False
    request = compute_v1.RegionInstanceGroupManagersApplyUpdatesRequest(instances=chosen)
    settled.done(settled.call("apply_updates_to_instances_unary", **{APPLY: request}))
    settled.settle()
    assert settled.by_version() == {"v1": 4, "v2": 2}


APPLY = "region_instance_group_managers_apply_updates_request_resource"


def test_a_new_version_name_with_restart_restarts_every_vm_in_place(settled: Fleet) -> None:
    ids = {each.id for each in settled.instances()}
    settled.floor_holds = False
    settled.versions(
        version("v1", label="again"), update_policy=policy(3, 3, minimal_action="RESTART")
    )
    settled.run(1)
    assert settled.current_actions() == {"none": 3, "restarting": 3}
    settled.settle()
    assert {each.id for each in settled.instances()} == ids
    assert {each.version.name for each in settled.instances()} == {"again"}


def test_resizing_creates_and_deletes_vms_evenly(settled: Fleet) -> None:
    settled.floor_holds = False
    settled.resize(8)
    settled.settle()
    assert sorted(settled.zones().values()) == [2, 3, 3]
    settled.resize(3)
    settled.settle()
    assert settled.zones() == {"a": 1, "b": 1, "c": 1}


def test_deleting_instances_by_name_lowers_the_target_size(settled: Fleet) -> None:
    settled.floor_holds = False
    gone = [each.instance for each in settled.instances()][:2]
    request = compute_v1.RegionInstanceGroupManagersDeleteInstancesRequest(instances=gone)
    settled.done(
        settled.call(
            "delete_instances_unary",
            region_instance_group_managers_delete_instances_request_resource=request,
        )
    )
    assert settled.get().target_size == 4
    settled.settle()
    left = {each.instance for each in settled.instances()}
    assert len(left) == 4
    assert not left & set(gone)


def test_recreating_an_instance_by_name_gives_it_the_intended_version(settled: Fleet) -> None:
    settled.floor_holds = False
    settled.versions(version("v2"), update_policy=policy(type_="OPPORTUNISTIC"))
    one = settled.instances()[0]
    request = compute_v1.RegionInstanceGroupManagersRecreateRequest(instances=[one.instance])
    settled.done(
        settled.call(
            "recreate_instances_unary",
            region_instance_group_managers_recreate_request_resource=request,
        )
    )
    settled.settle()
    again = next(each for each in settled.instances() if each.name == one.name)
    assert again.version.instance_template.endswith("v2")
    assert again.id != one.id


def test_an_abandoned_vm_leaves_the_group_and_keeps_running(settled: Fleet) -> None:
    settled.floor_holds = False
    one = settled.instances()[0]
    request = compute_v1.RegionInstanceGroupManagersAbandonInstancesRequest(
        instances=[one.instance]
    )
    settled.done(
        settled.call(
            "abandon_instances_unary",
            region_instance_group_managers_abandon_instances_request_resource=request,
        )
    )
    settled.settle()
    assert settled.get().target_size == 5
    assert one.name not in {each.name for each in settled.instances()}
    zone = one.instance.split("/zones/")[1].split("/")[0]
    vm = settled.clients.of(compute_v1.InstancesClient).get(
        project=PROJECT, zone=zone, instance=one.name
    )
    assert vm.status == "RUNNING"


def test_vms_drain_until_the_timeout_of_the_backend_service(settled: Fleet) -> None:
    settled.serve(drain=120)
    settled.resize(5)
    settled.run(100)
    assert settled.current_actions() == {"none": 5, "deleting": 1}
    leaving = next(each for each in settled.instances() if each.current_action == "DELETING")
    assert (leaving.instance_status, leaving.instance_health[0].detailed_health_state) == (
        "RUNNING",
        "DRAINING",
    )
    settled.run(25)
    leaving = next(each for each in settled.instances() if each.current_action == "DELETING")
    assert leaving.instance_status == "STOPPING"
    settled.run(10)
    assert settled.current_actions() == {"none": 5}


def test_a_group_is_gone_with_its_last_vm_and_cannot_be_deleted_while_in_use(
    settled: Fleet, cloud: Cloud
) -> None:
    settled.serve(drain=60)
    with pytest.raises(exceptions.BadRequest, match="is already being used by"):
        settled.call("delete_unary")
    services = settled.clients.of(compute_v1.BackendServicesClient)
    settled.done(services.delete_unary(project=PROJECT, backend_service="bs"))
    operation = settled.call("delete_unary")
    assert operation.status != compute_v1.Operation.Status.DONE
    assert settled.current_actions() == {"deleting": 6}
    settled.done(operation)
    with pytest.raises(exceptions.NotFound):
        settled.get()
    assert cloud.snapshot() == []


def test_a_template_is_in_use_until_its_last_vm_is_gone(settled: Fleet) -> None:
    templates = settled.clients.of(compute_v1.InstanceTemplatesClient)
    settled.versions(version("v2"))
    settled.run(1)
    with pytest.raises(
        exceptions.BadRequest,
        match="instance_template resource 'projects/demo/global/instanceTemplates/v1'",
    ):
        templates.delete_unary(project=PROJECT, instance_template="v1")
    settled.settle()
    settled.done(templates.delete_unary(project=PROJECT, instance_template="v1"))


@pytest.mark.parametrize(
    ("members", "message"),
    [
        (
            {"update_policy": policy(2, 0)},
            "has to be either 0 or at least equal to the number of zones",
        ),
        ({"update_policy": policy(0, 0)}, "Either maxSurge or maxUnavailable"),
        (
            {"update_policy": policy(3, 3, replacement_method="RECREATE")},
            "maxSurge must be equal to 0",
        ),
        ({"update_policy": policy(3, 0, max_surge=FIXED(percent=20))}, "at least 10"),
        ({"versions": [version("v1"), version("v2")]}, "Exactly one version"),
        ({"versions": [version("v1", fixed=1)]}, "Exactly one version"),
        (
            {"versions": [version("v1", label="x"), version("v2", fixed=1, label="x")]},
            "must be unique",
        ),
        (
            {"distribution_policy": compute_v1.DistributionPolicy(target_shape="BALANCED")},
            "Must be NONE",
        ),
    ],
)
def test_invalid_group_fields_are_rejected_at_once(
    fleet: Fleet, members: dict[str, Any], message: str
) -> None:
    with pytest.raises(exceptions.BadRequest, match=message):
        fleet.create(**members)


def test_a_missing_template_is_not_found(fleet: Fleet) -> None:
    with pytest.raises(exceptions.NotFound, match="instanceTemplates/nope' was not found"):
        fleet.create(versions=[version("nope")])


def test_a_stale_fingerprint_is_rejected_and_none_is_accepted(settled: Fleet) -> None:
    old = settled.get().fingerprint
    settled.versions(version("v2"), fingerprint=old)
    with pytest.raises(exceptions.PreconditionFailed, match="Invalid fingerprint"):
        settled.versions(version("v1"), fingerprint=old)
    settled.versions(version("v1"))


def test_a_patch_of_a_percentage_replaces_the_fixed_number(fleet: Fleet) -> None:
    fleet.create(size=12)
    fleet.patch(
        update_policy=compute_v1.InstanceGroupManagerUpdatePolicy(max_surge=FIXED(percent=30))
    )
    surge = fleet.get().update_policy.max_surge
    assert (surge.percent, surge.calculated) == (30, 4)
    assert not surge.fixed


def test_instances_can_be_created_by_name_unless_the_group_substitutes_proactively(
    settled: Fleet,
) -> None:
    settled.floor_holds = False
    request = compute_v1.RegionInstanceGroupManagersCreateInstancesRequest(
        instances=[compute_v1.PerInstanceConfig(name="tiny-special")]
    )
    member = {"region_instance_group_managers_create_instances_request_resource": request}
    with pytest.raises(exceptions.PreconditionFailed, match="CreateInstances cannot be used"):
        settled.call("create_instances_unary", **member)
    settled.patch(update_policy=policy(type_="OPPORTUNISTIC"))
    settled.done(settled.call("create_instances_unary", **member))
    settled.settle()
    assert settled.get().target_size == 7
    assert "tiny-special" in {each.name for each in settled.instances()}


def test_the_instance_group_lists_the_members_and_the_named_ports(settled: Fleet) -> None:
    settled.serve()
    groups = settled.clients.of(compute_v1.RegionInstanceGroupsClient)
    group = groups.get(project=PROJECT, region=REGION, instance_group="tiny")
    assert (group.size, [(port.name, port.port) for port in group.named_ports]) == (
        6,
        [("http", 8080)],
    )
    request = compute_v1.RegionInstanceGroupsListInstancesRequest(instance_state="RUNNING")
    listed = groups.list_instances(
        project=PROJECT,
        region=REGION,
        instance_group="tiny",
        region_instance_groups_list_instances_request_resource=request,
    )
    assert len(list(listed)) == 6
    assert [port.port for port in settled.get().named_ports] == [8080]
