"""Facts about repair: failed VMs, VMs whose check fails, preempted Spot VMs."""

from __future__ import annotations

from typing import Any

import pytest
from google.cloud import compute_v1

from compute_emulator.control.instances import apply_effect
from compute_emulator.control.outages import bring_up, take_down
from emulator.tests.clients import PROJECT, REGION
from emulator.tests.facts.helpers import on_instances, statuses, urls
from emulator.tests.facts.source import fact
from emulator.tests.fleet import Fleet, policy, version

LIFECYCLE = compute_v1.InstanceGroupManagerInstanceLifecyclePolicy


def lifecycle(**members: str) -> Any:
    return LIFECYCLE(members)


@fact(
    "API reference, defaultActionOnFailure REPAIR: a VM that stopped for a reason other than"
    " the group is recreated, by default"
)
def test_a_vm_that_stops_by_itself_is_recreated_under_its_name(six: Fleet) -> None:
    before = {each.name: each.id for each in six.instances()}
    [name] = apply_effect(six.cloud, "stop", most=1)
    six.run(1)
    assert six.current_actions() == {"none": 5, "recreating": 1}
    six.settle()
    after = {each.name: each.id for each in six.instances()}
    assert set(after) == set(before)
    assert {each for each in after if after[each] != before[each]} == {name}


@fact(
    "recorded audit logs of groups: each repair is an operation"
    " compute.instances.repair.recreateInstance of the VM, and its message says whether the VM's"
    " health or its status was the reason"
)
def test_a_repair_is_an_operation_that_says_why(six: Fleet) -> None:
    [stopped] = apply_effect(six.cloud, "stop", most=1)
    killed = six.instances()[-1].name
    apply_effect(six.cloud, "kill", name=killed)
    six.settle()
    operations = six.clients.of(compute_v1.ZoneOperationsClient)
    reasons = {
        each.target_link.rpartition("/")[2]: each.status_message.partition("Reason: ")[2]
        for zone in six.cloud.zones_of(REGION)
        for each in operations.list(project=PROJECT, zone=zone)
        if each.operation_type == "compute.instances.repair.recreateInstance"
    }
    assert reasons == {
        stopped: "instance should be RUNNING, but is TERMINATED",
        killed: "instance's current action is NONE, but health status is TIMEOUT.",
    }


@fact(
    "API reference, defaultActionOnFailure DO_NOTHING: no repair, not of unhealthy VMs either"
    " (onFailedHealthCheck DEFAULT_ACTION)"
)
@pytest.mark.parametrize("effect", ["stop", "kill"])
def test_with_do_nothing_no_vm_is_repaired(six: Fleet, effect: str) -> None:
    six.patch(instance_lifecycle_policy=lifecycle(default_action_on_failure="DO_NOTHING"))
    apply_effect(six.cloud, effect, most=1)
    six.run(1000)
    assert six.current_actions() == {"none": 6}


@fact("API reference, onFailedHealthCheck: chosen independently of defaultActionOnFailure")
@pytest.mark.parametrize(
    ("default", "unhealthy", "repaired"),
    [("REPAIR", "DO_NOTHING", False), ("DO_NOTHING", "REPAIR", True)],
)
def test_failing_checks_can_be_treated_differently_from_failing_vms(
    six: Fleet, default: str, unhealthy: str, repaired: bool
) -> None:
    given = lifecycle(default_action_on_failure=default, on_failed_health_check=unhealthy)
    six.patch(instance_lifecycle_policy=given)
    before = {each.id for each in six.instances()}
    apply_effect(six.cloud, "kill", most=1)
    six.run(200)
    assert (before != {each.id for each in six.instances()}) is repaired


@fact("API reference, initialDelaySec: failing checks are ignored during it")
def test_a_vm_that_never_becomes_healthy_is_not_repaired_during_its_initial_delay(
    fleet: Fleet,
) -> None:
    fleet.cloud.set_behaviours([{"never_alive": True}])
    fleet.create(size=1, delay=120)
    fleet.run(28)  # booting takes 30 s, of which two have passed
    assert fleet.current_actions() == {"verifying": 1}
    fleet.run(119)
    assert fleet.current_actions() == {"verifying": 1}
    fleet.run(2)
    assert fleet.current_actions() == {"recreating": 1}


@fact("API reference, initialDelaySec: a healthy result ends it early")
def test_a_healthy_result_ends_the_initial_delay(fleet: Fleet) -> None:
    fleet.create(size=1, delay=3600)
    fleet.settle()
    apply_effect(fleet.cloud, "kill")
    fleet.run(15)
    assert fleet.current_actions() == {"recreating": 1}


@fact(
    "API reference, initialDelaySec",
    assumed="it counts from RUNNING, again after every creation and recreation",
)
def test_the_initial_delay_restarts_with_every_creation(fleet: Fleet) -> None:
    fleet.cloud.set_behaviours([{"never_alive": True}])
    fleet.create(size=1, delay=200)
    seen: list[dict[str, int]] = []
    for _ in range(800):
        doing = fleet.current_actions()
        seen += [doing] if not seen or seen[-1] != doing else []
        fleet.run(1)
    assert seen == [{"creating": 1}, *[{"verifying": 1}, {"recreating": 1}] * 3, {"verifying": 1}]


@fact(
    "Documentation, configuration updates during repairs: by default the VM's own version,"
    " whatever the group's current one is"
)
def test_a_repair_keeps_the_version_of_the_vm(six: Fleet) -> None:
    six.versions(version("v2"), update_policy=policy(type_="OPPORTUNISTIC"))
    apply_effect(six.cloud, "stop", most=1)
    six.settle()
    assert six.by_version() == {"v1": 6}


@fact("API reference, forceUpdateOnRepair YES: the repair uses the group's latest configuration")
def test_a_repair_can_use_the_newest_version(six: Fleet) -> None:
    given = lifecycle(force_update_on_repair="YES")
    six.versions(
        version("v2"), update_policy=policy(type_="OPPORTUNISTIC"), instance_lifecycle_policy=given
    )
    apply_effect(six.cloud, "stop", most=1)
    six.settle()
    assert six.by_version() == {"v1": 5, "v2": 1}


@fact(
    "Documentation, configuration updates during repairs: with PROACTIVE and YES a repair"
    " ignores maxUnavailable"
)
def test_repairs_do_not_count_against_the_budget(six: Fleet) -> None:
    given = lifecycle(force_update_on_repair="YES")
    six.cloud.set_behaviours([{"template": "v2", "boot_seconds": 300}])
    six.versions(version("v2"), update_policy=policy(3, 0), instance_lifecycle_policy=given)
    apply_effect(six.cloud, "stop", template="v1", most=3)
    six.run(1)
    assert six.current_actions()["recreating"] == 3
    again = [each for each in six.instances() if each.current_action == "RECREATING"]
    assert {each.version.instance_template.rpartition("/")[2] for each in again} == {"v2"}


@fact(
    "Documentation, autohealing: no safety limit is documented",
    assumed="a check that fails everywhere recreates every VM at once",
)
def test_a_check_that_fails_on_all_vms_recreates_them_all(six: Fleet) -> None:
    apply_effect(six.cloud, "kill")
    six.run(15)
    assert six.current_actions() == {"recreating": 6}


@fact("API reference, maxUnavailable: unhealthy VMs use up the budget of an update")
def test_an_update_waits_for_the_repair_of_other_vms(six: Fleet) -> None:
    six.cloud.set_behaviours([{"boot_seconds": 200}])
    apply_effect(six.cloud, "stop", most=3)
    six.run(1)
    six.versions(version("v2"), update_policy=policy(0, 3))
    six.run(60)
    assert six.by_version() == {"v1": 3}


@fact(
    "Documentation, Spot VMs: terminationAction STOP, the default, leaves a TERMINATED VM, which"
    " the group recreates"
)
@pytest.mark.parametrize(
    ("action", "left"), [(None, "TERMINATED"), ("STOP", "TERMINATED"), ("DELETE", "")]
)
def test_a_preempted_spot_vm_is_stopped_or_deleted_and_then_recreated(
    fleet: Fleet, action: str | None, left: str
) -> None:
    spot = compute_v1.Scheduling(provisioning_model="SPOT")
    if action is not None:
        spot.instance_termination_action = action
    fleet.template("spot", scheduling=spot)
    given = lifecycle(default_action_on_failure="DO_NOTHING")
    fleet.create(size=3, versions=[version("spot")], instance_lifecycle_policy=given)
    fleet.settle()
    [name] = apply_effect(fleet.cloud, "stop", most=1)
    assert statuses(fleet)[name] == (left, "NONE")
    fleet.patch(instance_lifecycle_policy=lifecycle(default_action_on_failure="REPAIR"))
    fleet.settle()
    assert statuses(fleet)[name] == ("RUNNING", "NONE")


@fact("Documentation, Spot VMs: without capacity there is no VM; the group keeps trying")
def test_a_preempted_vm_comes_back_once_there_is_capacity(six: Fleet) -> None:
    six.cloud.stock_outs["us-central1"] = {}
    apply_effect(six.cloud, "stop", most=2)
    six.run(600)
    assert six.current_actions() == {"none": 4, "recreating": 2}
    del six.cloud.stock_outs["us-central1"]
    six.settle()
    assert six.current_actions() == {"none": 6}


@fact(
    "Documentation, connection draining: for removals by the group",
    assumed="a repair does not drain, since the VM serves nobody",
)
def test_a_repair_does_not_drain(six: Fleet) -> None:
    six.serve(drain=300)
    six.run(30)
    apply_effect(six.cloud, "kill", most=1)
    six.run(30)
    assert [
        each.instance_status for each in six.instances() if each.current_action == "RECREATING"
    ] != ["RUNNING"]
    six.settle(120)


@fact("API reference, abandonInstances: the group no longer manages the VM")
def test_an_abandoned_vm_is_not_repaired(six: Fleet) -> None:
    one = urls(six, 1)
    on_instances(six, "abandon", one)
    six.settle()
    assert one[0] not in urls(six)
    apply_effect(six.cloud, "stop")
    six.settle()
    assert len(urls(six)) == 5


@fact(
    "API reference, onRepair.allowChangingZone: NO by default, the VM is repaired where it was;"
    " with YES in another zone"
)
@pytest.mark.parametrize(
    ("allowed", "zones"), [("NO", {"a": 2, "b": 2, "c": 2}), ("YES", {"a": 3, "b": 3})]
)
def test_a_repair_can_change_the_zone_if_allowed(
    six: Fleet, allowed: str, zones: dict[str, int]
) -> None:
    on_repair = compute_v1.InstanceGroupManagerInstanceLifecyclePolicyOnRepair(
        allow_changing_zone=allowed
    )
    six.patch(instance_lifecycle_policy=LIFECYCLE(on_repair=on_repair))
    before = {each.name for each in six.instances()}
    take_down(six.cloud, "us-central1-c")
    six.run(600)
    assert six.zones() == zones
    assert six.by_version() == {"v1": 4 if allowed == "NO" else 6}
    assert {each.name for each in six.instances()} == before


@fact(
    "API reference, onRepair.allowChangingZone",
    assumed="only if its own zone has no capacity; redistribution moves it back",
)
def test_a_repair_stays_in_its_zone_if_that_has_capacity(six: Fleet) -> None:
    on_repair = compute_v1.InstanceGroupManagerInstanceLifecyclePolicyOnRepair(
        allow_changing_zone="YES"
    )
    six.patch(instance_lifecycle_policy=LIFECYCLE(on_repair=on_repair))
    apply_effect(six.cloud, "stop", zone="us-central1-c")
    six.settle()
    assert six.zones() == {"a": 2, "b": 2, "c": 2}
    take_down(six.cloud, "us-central1-c")
    six.run(600)
    bring_up(six.cloud, "us-central1-c")
    six.settle()
    assert six.zones() == {"a": 2, "b": 2, "c": 2}
