"""Facts about the status that a group reports: stability, version target, counters, managed
instances, errors.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from google.cloud import compute_v1

from compute_emulator.control.instances import apply_effect
from emulator.tests.clients import PROJECT, REGION, send
from emulator.tests.facts.helpers import TINY, on_instances, urls
from emulator.tests.facts.source import fact
from emulator.tests.fleet import FIXED, Fleet, policy, version

COUNTERS = {
    *(
        "none",
        "creating",
        "creatingWithoutRetries",
        "recreating",
        "deleting",
        "abandoning",
        "restarting",
        "refreshing",
    ),
    *("verifying", "starting", "stopping", "suspending", "resuming"),
}


def status(fleet: Fleet) -> Any:
    return send(fleet.cloud, "GET", TINY)[1]["status"]


@fact(
    "API reference, status.isStable: no instance is changing, no change is scheduled, the group"
    " is not being modified"
)
def test_a_group_is_stable_if_nothing_changes_or_is_going_to(fleet: Fleet) -> None:
    fleet.create()
    seen = []
    for _ in range(8):
        seen.append((fleet.get().status.is_stable, set(fleet.current_actions()) == {"none"}))
        fleet.run(10)
    assert seen[0] == (False, False)
    assert seen[-1] == (True, True)
    assert all(stable == calm for stable, calm in seen)


@fact(
    "API reference, status.isStable",
    assumed="a group is unstable in the first response after a patch; a report of 2019 saw it"
    " stable",
)
def test_a_group_is_unstable_immediately_after_a_patch(six: Fleet) -> None:
    answered = send(
        six.cloud,
        "PATCH",
        TINY,
        {"versions": [{"instanceTemplate": "global/instanceTemplates/v2"}]},
    )
    assert answered[0] == 200
    assert status(six)["isStable"] is False


@fact(
    "API reference, status.isStable; observed in hashicorp/nomad-autoscaler#839: never stable"
    " while a creation keeps failing"
)
def test_a_group_whose_creations_fail_is_not_stable(fleet: Fleet) -> None:
    fleet.cloud.quotas["CPUS"] = 4
    fleet.create()
    for _ in range(10):
        fleet.run(600)
        assert not fleet.get().status.is_stable


@fact(
    "GoogleCloudPlatform/k8s-config-connector@1e63b160c8, zonalcomputeinstancegroupmanager"
    " (creating 3 of 3, then 4 of 4); hashicorp/terraform-provider-google#6126 (verifying);"
    " GoogleCloudPlatform/magic-modules#10188: isReached is true and isStable false"
)
def test_the_version_target_is_reached_while_vms_are_being_created(fleet: Fleet) -> None:
    fleet.create(3)
    for size in (3, 4):
        fleet.resize(size)
        found = fleet.get()
        assert found.current_actions.creating == size
        assert (found.status.is_stable, found.status.version_target.is_reached) == (False, True)
    while fleet.get().current_actions.verifying < 4:
        fleet.run(1)
    found = fleet.get()
    assert (found.status.is_stable, found.status.version_target.is_reached) == (False, True)


@fact(
    "API reference, status.versionTarget.isReached: all instances are in their target version",
    assumed="VMs that are being deleted do not count",
)
def test_the_version_target_is_not_reached_while_a_vm_is_to_keep_its_version(six: Fleet) -> None:
    assert six.get().status.version_target.is_reached
    six.versions(version("v2"))
    while not six.get().status.version_target.is_reached:
        six.run(1)
    staying = [each for each in six.instances() if each.current_action != "DELETING"]
    assert {each.version.instance_template.rpartition("/")[2] for each in staying} == {"v2"}
    assert not six.get().status.is_stable


@fact("API reference, status.versionTarget: it follows the split of the versions")
def test_the_version_target_of_a_canary_is_the_split(six: Fleet) -> None:
    six.versions(version("v1"), version("v2", fixed=2))
    assert not six.get().status.version_target.is_reached
    six.settle()
    assert six.get().status.version_target.is_reached
    assert six.by_version() == {"v1": 4, "v2": 2}


@fact(
    "Observed with gcloud 528 and terraform-provider-google: OPPORTUNISTIC groups are stable"
    " with outdated VMs"
)
def test_an_opportunistic_group_is_stable_without_its_version_target(six: Fleet) -> None:
    six.versions(version("v2"), update_policy=policy(type_="OPPORTUNISTIC"))
    six.run(60)
    found = six.get().status
    assert (found.is_stable, found.version_target.is_reached) == (True, False)


@fact(
    "API reference, currentActions: a counter for each action; their sum is the number of managed"
    " instances"
)
def test_the_counters_of_actions_add_up_to_the_managed_instances(six: Fleet) -> None:
    six.versions(version("v2"))
    for _ in range(20):
        counters = send(six.cloud, "GET", TINY)[1]["currentActions"]
        assert set(counters) == COUNTERS
        assert sum(counters.values()) == len(six.instances())
        six.run(7)


@fact(
    "Observed with gcloud 528, `wait-until`: it reads isStable and isReached, and crashes"
    " without status"
)
def test_every_response_has_the_members_that_waiting_clients_read(fleet: Fleet) -> None:
    fleet.create()
    answer = send(fleet.cloud, "GET", TINY)[1]
    assert answer["status"]["isStable"] is False
    assert answer["status"]["versionTarget"]["isReached"] is True
    assert {"currentActions", "fingerprint", "instanceGroup", "targetSize", "versions"} <= set(
        answer
    )


@fact(
    "Observed with terraform-provider-google, wait_for_instances_status UPDATED: the other"
    " members it reads"
)
def test_a_stateless_group_has_all_its_configs_in_effect(six: Fleet) -> None:
    found = status(six)
    assert found["stateful"] == {
        "hasStatefulConfig": False,
        "perInstanceConfigs": {"allEffective": True},
    }
    assert found["allInstancesConfig"]["effective"] is True


@fact("API reference, status.autoscaler: the autoscaler that targets the group")
def test_a_group_names_its_autoscaler(six: Fleet) -> None:
    assert "autoscaler" not in status(six)
    six.autoscale()
    assert status(six)["autoscaler"].endswith(f"/regions/{REGION}/autoscalers/auto")


@fact(
    "API reference, managedInstances[]: instance and name exist before the VM does; id and"
    " instanceStatus are empty until then"
)
def test_a_managed_instance_has_a_url_before_it_exists(fleet: Fleet) -> None:
    fleet.cloud.stock_outs["*"] = {}
    fleet.create(size=1)
    [one] = send(fleet.cloud, "POST", f"{TINY}/listManagedInstances")[1]["managedInstances"]
    assert one["instance"].endswith(f"/instances/{one['name']}")
    assert (one["currentAction"], one["targetStatus"]) == ("CREATING", "RUNNING")
    assert not {"id", "instanceStatus"} & set(one)


@fact(
    "API reference, managedInstances[].instanceStatus: the VM's life from PROVISIONING to RUNNING"
)
def test_a_vm_goes_from_provisioning_through_staging_to_running(fleet: Fleet) -> None:
    fleet.create(size=1)
    seen = []
    for _ in range(60):
        seen += [
            each.instance_status for each in fleet.instances() if each.instance_status not in seen
        ]
        fleet.run(1)
    assert seen == ["PROVISIONING", "STAGING", "RUNNING"]


@fact("API reference, managedInstances[].version: the intended version")
def test_the_version_of_a_managed_instance_is_its_intended_version(six: Fleet) -> None:
    six.versions(
        version("v2", label="next"), update_policy=policy(0, 3, replacement_method="RECREATE")
    )
    six.run(1)
    changing = [each for each in six.instances() if each.current_action == "RECREATING"]
    assert {each.version.instance_template.rpartition("/")[2] for each in changing} == {"v2"}
    assert {each.version.name for each in changing} == {"next"}


@fact(
    "API reference, managedInstances[].version: empty for an instance being deleted or"
    " abandoned; targetStatus shows it"
)
@pytest.mark.parametrize(("verb", "target"), [("delete", "DELETED"), ("abandon", "ABANDONED")])
def test_an_instance_that_leaves_has_no_version(six: Fleet, verb: str, target: str) -> None:
    six.cloud.operations.seconds = 0.0
    on_instances(six, verb, urls(six, 1))
    [leaving] = [each for each in six.instances() if each.target_status != "RUNNING"]
    assert (leaving.target_status, leaving.version.instance_template) == (target, "")


@fact("API reference, managedInstances[].instanceHealth: from the group's own check")
def test_the_health_of_an_instance_comes_from_the_groups_check(fleet: Fleet) -> None:
    fleet.cloud.set_behaviours([{"alive_after_seconds": 20}])
    fleet.create(size=1)
    fleet.run(31)
    seen = []
    for _ in range(60):
        health = fleet.instances()[0].instance_health[0].detailed_health_state
        seen += [health] if health not in seen else []
        fleet.run(1)
    assert seen == ["UNKNOWN", "TIMEOUT", "UNHEALTHY", "HEALTHY"]


@fact(
    "API reference, detailedHealthState: UNHEALTHY is reachable but fails the check, TIMEOUT is"
    " not reachable",
    assumed="an app that is starting or has died does not listen; one that is not ready returns"
    " an error",
)
def test_an_app_with_an_error_is_distinguished_from_one_that_does_not_answer(six: Fleet) -> None:
    six.serve(check="alive")  # the balancer uses the group's path, so both see readiness
    six.patch(instance_lifecycle_policy={"default_action_on_failure": "DO_NOTHING"})
    apply_effect(six.cloud, "unready", most=2)
    apply_effect(six.cloud, "kill", most=1)
    six.run(60)
    states = Counter(each.instance_health[0].detailed_health_state for each in six.instances())
    assert states == {"HEALTHY": 4, "UNHEALTHY": 1, "TIMEOUT": 1}


@fact(
    "API reference, currentAction VERIFYING: after every creation, until the group's check is"
    " HEALTHY"
)
def test_a_new_vm_is_verified_until_its_check_is_healthy(fleet: Fleet) -> None:
    fleet.cloud.set_behaviours([{"alive_after_seconds": 100}])
    fleet.create(size=3)
    fleet.run(120)
    assert fleet.current_actions() == {"verifying": 3}
    fleet.run(30)
    assert fleet.current_actions() == {"none": 3}


@fact("API reference, currentAction VERIFYING: not used without a health check")
def test_without_a_check_a_vm_is_done_once_it_runs(fleet: Fleet) -> None:
    fleet.cloud.set_behaviours([{"never_alive": True}])
    fleet.create(size=3, healing=False)
    fleet.run(30)
    assert fleet.current_actions() == {"none": 3}
    assert fleet.get().status.is_stable


@fact(
    "API reference, lastAttempt: the errors of the latest attempt; listErrors: timestamp, error,"
    " action, instance, version"
)
def test_a_failed_creation_is_reported_on_the_instance_and_in_the_list_of_errors(
    fleet: Fleet,
) -> None:
    fleet.cloud.set_behaviours(
        [{"creation_error": {"kind": "config", "times": 1, "message": "no such image"}}]
    )
    fleet.create(size=1, versions=[version("v1", label="first")])
    fleet.run(5)
    [attempted] = fleet.instances()
    assert [each.message for each in attempted.last_attempt.errors.errors] == ["no such image"]
    [error] = fleet.errors()
    assert error.timestamp
    assert error.error.message == f"Instance '{attempted.name}' creation failed: no such image"
    assert (error.instance_action_details.action, error.instance_action_details.instance) == (
        "CREATING",
        attempted.instance,
    )
    assert error.instance_action_details.version.name == "first"
    fleet.settle()
    assert not fleet.instances()[0].last_attempt.errors.errors
    assert len(fleet.errors()) == 1


@fact("API reference, listErrors: filter and orderBy are not supported", assumed="they are ignored")
def test_errors_cannot_be_filtered_or_ordered(fleet: Fleet) -> None:
    fleet.cloud.stock_outs["*"] = {}
    fleet.create(size=3)
    fleet.run(30)
    path = f"{TINY}/listErrors"
    plain, filtered = (
        send(fleet.cloud, "GET", path + query)[1]
        for query in ("", "?filter=error.code%3DNONE&orderBy=nothing")
    )
    assert len(plain["items"]) >= 3
    assert filtered == plain


@fact(
    "API reference, regionInstanceGroups.listInstances: members with their status and named ports"
)
def test_the_instance_group_lists_the_vms_that_exist(six: Fleet) -> None:
    six.cloud.stock_outs["*"] = {}
    six.resize(8)
    six.run(10)
    request = compute_v1.RegionInstanceGroupsListInstancesRequest(instance_state="ALL")
    listed = six.clients.of(compute_v1.RegionInstanceGroupsClient).list_instances(
        project=PROJECT,
        region=REGION,
        instance_group="tiny",
        region_instance_groups_list_instances_request_resource=request,
    )
    assert [each.status for each in listed] == ["RUNNING"] * 6


@fact(
    "API reference, updatePolicy.maxSurge.calculated and versions[].targetSize.calculated: output"
    " only"
)
def test_calculated_numbers_follow_the_size_of_the_group(fleet: Fleet) -> None:
    fleet.create(
        size=10,
        versions=[version("v1"), version("v2", percent=50)],
        update_policy=policy(max_surge=FIXED(percent=30)),
    )
    fleet.resize(20)
    found = fleet.get()
    assert found.update_policy.max_surge.calculated == 6
    assert [each.target_size.calculated for each in found.versions] == [10, 10]
