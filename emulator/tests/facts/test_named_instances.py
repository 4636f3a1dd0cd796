"""Facts about manual requests: instances by name, sizes, and draining of VMs that leave."""

from __future__ import annotations

import pytest
from google.api_core import exceptions
from google.cloud import compute_v1

from emulator.tests.clients import PROJECT
from emulator.tests.facts.helpers import on_instances, urls
from emulator.tests.facts.source import fact
from emulator.tests.fleet import Fleet, policy, version


@fact("API reference, applyUpdatesToInstances: at once, not limited by maxSurge and maxUnavailable")
def test_updates_requested_by_name_ignore_the_budgets(six: Fleet) -> None:
    six.versions(version("v2"), update_policy=policy(type_="OPPORTUNISTIC"))
    on_instances(six, "apply_updates_to", urls(six), minimal_action="REPLACE")
    assert six.current_actions() == {"deleting": 6}
    six.settle()
    assert six.by_version() == {"v2": 6}


@fact("API reference, applyUpdatesToInstances.allInstances: all of them; then none may be named")
def test_updates_can_be_requested_for_all_instances(six: Fleet) -> None:
    six.versions(version("v2"), update_policy=policy(type_="OPPORTUNISTIC"))
    with pytest.raises(exceptions.BadRequest, match="allInstances"):
        on_instances(six, "apply_updates_to", urls(six, 1), all_instances=True)
    on_instances(six, "apply_updates_to", [], all_instances=True)
    six.settle()
    assert six.by_version() == {"v2": 6}


@fact(
    "API reference, applyUpdatesToInstances.mostDisruptiveAllowedAction: the request fails if"
    " more is needed",
    assumed="status 400, the wording",
)
def test_updates_that_need_more_than_is_allowed_are_rejected(six: Fleet) -> None:
    six.template("larger", machine_type="n1-standard-4")
    six.versions(version("larger"), update_policy=policy(type_="OPPORTUNISTIC"))
    with pytest.raises(exceptions.BadRequest, match="requires RESTART"):
        on_instances(
            six, "apply_updates_to", urls(six, 1), most_disruptive_allowed_action="REFRESH"
        )
    on_instances(six, "apply_updates_to", urls(six, 1), most_disruptive_allowed_action="RESTART")
    assert six.current_actions() == {"none": 5, "restarting": 1}


@fact(
    "API reference, recreateInstances: deleted and created under the same name, with the"
    " group's current configuration"
)
def test_a_recreated_instance_keeps_its_name_and_gets_the_current_version(six: Fleet) -> None:
    six.versions(version("v2"), update_policy=policy(type_="OPPORTUNISTIC"))
    [one, *_] = six.instances()
    on_instances(six, "recreate", [one.instance])
    assert six.current_actions() == {"none": 5, "recreating": 1}
    six.settle()
    [again] = [each for each in six.instances() if each.name == one.name]
    assert again.id != one.id
    assert again.version.instance_template.endswith("v2")


@fact(
    "API reference, deleteInstances: lowers targetSize by the number of deleted instances;"
    " others stay"
)
def test_deleting_instances_lowers_the_target_size(six: Fleet) -> None:
    chosen = urls(six, 2)
    on_instances(six, "delete", chosen)
    assert six.get().target_size == 4
    six.settle()
    assert not set(chosen) & set(urls(six))
    assert len(urls(six)) == 4


@fact(
    "API reference, abandonInstances: lowers targetSize; the VMs leave the group and keep running"
)
def test_abandoned_instances_keep_running_outside_the_group(six: Fleet) -> None:
    [one, *_] = six.instances()
    on_instances(six, "abandon", [one.instance])
    six.settle()
    assert (six.get().target_size, len(six.instances())) == (5, 5)
    zone = one.instance.split("/zones/")[1].partition("/")[0]
    assert (
        six.clients.of(compute_v1.InstancesClient)
        .get(project=PROJECT, zone=zone, instance=one.name)
        .status
        == "RUNNING"
    )


@fact("API reference, createInstances: with the group's current configuration, raises targetSize")
def test_instances_created_by_name_raise_the_target_size(six: Fleet) -> None:
    six.patch(update_policy=policy(type_="OPPORTUNISTIC"))
    on_instances(six, "create", [{"name": "special"}])
    assert six.get().target_size == 7
    six.settle()
    assert "special" in {each.name for each in six.instances()}


@fact(
    "API reference, createInstances: with the group's current configuration",
    assumed="they keep the split of the versions",
)
def test_instances_created_by_name_keep_the_split_of_the_versions(fleet: Fleet) -> None:
    split = [version("v1"), version("v2", percent=50)]
    fleet.create(size=2, versions=split, update_policy=policy(type_="OPPORTUNISTIC"))
    fleet.settle()
    on_instances(fleet, "create", [{"name": f"special-{n}"} for n in range(4)])
    fleet.settle()
    assert (fleet.get().target_size, fleet.by_version()) == (6, {"v1": 3, "v2": 3})


@fact(
    "API reference, resize: the group creates VMs according to its versions and chooses which"
    " ones to delete"
)
def test_a_resize_keeps_the_split_of_the_versions(six: Fleet) -> None:
    six.versions(version("v1"), version("v2", fixed=2))
    six.settle()
    six.resize(9)
    six.settle()
    assert six.by_version() == {"v1": 7, "v2": 2}
    six.resize(3)
    six.settle()
    assert six.by_version() == {"v1": 1, "v2": 2}


@fact("Documentation, connection draining: it applies to every removal by the group")
@pytest.mark.parametrize("removal", ["resize", "delete", "recreate", "update", "autoscaler"])
def test_every_removal_by_the_group_drains(six: Fleet, removal: str) -> None:
    six.serve(drain=100)
    six.run(30)
    match removal:
        case "resize":
            six.resize(5)
        case "autoscaler":
            six.autoscale(max_num_replicas=5)
            six.run(1)
        case "update":
            six.versions(version("v2"), update_policy=policy(0, 3))
        case verb:
            on_instances(six, verb, urls(six, 1))
    leaving = [
        each for each in six.instances() if each.current_action in ("DELETING", "RECREATING")
    ]
    assert leaving
    six.run(90)
    assert {
        each.instance_status
        for each in six.instances()
        if each.name in {one.name for one in leaving}
    } == {"RUNNING"}
    assert {each.instance_health[0].detailed_health_state for each in leaving} == {"DRAINING"}
    six.run(15)
    assert "RUNNING" not in {
        each.instance_status
        for each in six.instances()
        if each.name in {one.name for one in leaving}
    }


@fact(
    "Documentation, connection draining: it is for requests in flight",
    assumed="a VM that has never served is deleted at once",
)
def test_a_vm_that_is_not_running_yet_does_not_drain(six: Fleet) -> None:
    six.serve(drain=600)
    six.resize(9)
    six.run(10)
    assert six.current_actions() == {"none": 6, "creating": 3}
    six.resize(6)
    six.run(30)
    assert six.current_actions() == {"none": 6}


@fact("API reference, abandonInstances: a VM that leaves is drained first and keeps running")
def test_an_abandoned_vm_is_drained(six: Fleet) -> None:
    six.serve(drain=100)
    six.run(30)
    [one] = urls(six, 1)
    on_instances(six, "abandon", [one])
    six.run(90)
    [leaving] = [each for each in six.instances() if each.instance == one]
    assert (leaving.current_action, leaving.instance_health[0].detailed_health_state) == (
        "ABANDONING",
        "DRAINING",
    )
    assert six.health() == {"HEALTHY": 5}
    six.run(15)
    assert one not in urls(six)


@fact("API reference, delete: up to 60 s may pass after the draining timeout", assumed="none pass")
def test_a_drained_vm_stops_on_time(six: Fleet) -> None:
    six.serve(drain=60)
    six.cloud.operations.seconds = 0.0
    six.resize(5)
    six.run(59)
    assert "STOPPING" not in {each.instance_status for each in six.instances()}
    six.run(2)
    assert "STOPPING" in {each.instance_status for each in six.instances()}
