"""Facts about VMs in reserve: stopped and suspended, started and resumed."""

from __future__ import annotations

import pytest
from google.api_core import exceptions
from google.cloud import compute_v1

from emulator.tests.facts.asking import on_instances, statuses, urls
from emulator.tests.facts.source import fact
from emulator.tests.fleet import Fleet, policy, version

KINDS = [
    ("stop", "start", "TERMINATED", "STOPPED"),
    ("suspend", "resume", "SUSPENDED", "SUSPENDED"),
]
RESERVE = pytest.mark.parametrize(("away", "back", "status", "target"), KINDS)


def sizes(fleet: Fleet) -> tuple[int, int, int]:
    kept = fleet.get()
    return kept.target_size, kept.target_stopped_size, kept.target_suspended_size


@fact(
    "API reference, stopInstances and suspendInstances: targetSize falls, targetStoppedSize or"
    " targetSuspendedSize rises"
)
@RESERVE
def test_a_vm_in_reserve_is_counted_apart(
    six: Fleet, away: str, back: str, status: str, target: str
) -> None:
    chosen = urls(six, 2)
    on_instances(six, away, chosen)
    assert sizes(six) == ((4, 2, 0) if away == "stop" else (4, 0, 2))
    assert not six.get().status.is_stable
    six.settle()
    reserve = [each for each in six.instances() if each.instance in chosen]
    assert {
        (each.instance_status, each.current_action, each.target_status) for each in reserve
    } == {(status, "NONE", target)}
    assert six.doing() == {"none": 6}


@fact(
    "API reference, startInstances and resumeInstances: the same VM, verified again; the sizes turn"
    " back"
)
@RESERVE
def test_a_vm_comes_back_from_reserve_under_its_name_and_is_verified(
    six: Fleet, away: str, back: str, status: str, target: str
) -> None:
    six.patch(update_policy=policy(instance_redistribution_type="NONE"))
    before = {each.name: each.id for each in six.instances()}
    chosen = urls(six, 2)
    on_instances(six, away, chosen)
    six.settle()
    on_instances(six, back, chosen)
    assert sizes(six) == (6, 0, 0)
    doing = {"start": "starting", "resume": "resuming"}[back]
    assert six.doing() == {"none": 4, doing: 2}
    six.run(29)
    assert six.doing() == {"none": 4, "verifying": 2}
    six.settle()
    assert {each.name: each.id for each in six.instances()} == before
    assert six.by_version() == {"v1": 6}


@fact(
    "API reference: only running VMs are stopped or suspended, only stopped ones started, suspended"
    " ones resumed",
    assumed="the wording",
)
def test_each_verb_takes_vms_of_its_own_state_only(six: Fleet) -> None:
    one = urls(six, 1)
    for verb in ("start", "resume"):
        with pytest.raises(exceptions.BadRequest, match="The instance is not"):
            on_instances(six, verb, one)
    on_instances(six, "stop", one)
    six.settle()
    for verb in ("stop", "suspend", "resume"):
        with pytest.raises(exceptions.BadRequest, match="The instance is not"):
            on_instances(six, verb, one)
    assert sizes(six) == (5, 1, 0)


@fact(
    "API reference, standbyPolicy.initialDelaySec: counted from the VM's creation; forceStop goes"
    " without"
)
def test_a_young_vm_is_given_its_initial_delay_before_it_is_stopped(fleet: Fleet) -> None:
    fleet.create(
        size=2, standby_policy=compute_v1.InstanceGroupManagerStandbyPolicy(initial_delay_sec=600)
    )
    fleet.settle()
    first, second = urls(fleet)
    on_instances(fleet, "stop", [first])
    on_instances(fleet, "stop", [second], force_stop=True)
    fleet.run(30)
    assert sorted(statuses(fleet).values()) == [("RUNNING", "STOPPING"), ("TERMINATED", "NONE")]
    fleet.run(600)
    assert set(statuses(fleet).values()) == {("TERMINATED", "NONE")}


@fact("API reference, stopInstances: draining comes first")
def test_a_vm_drains_before_it_is_stopped(six: Fleet) -> None:
    six.serve(drain=100)
    six.run(30)
    on_instances(six, "suspend", urls(six, 1))
    assert six.health() == {"HEALTHY": 5}
    six.run(90)
    assert ("RUNNING", "SUSPENDING") in statuses(six).values()
    six.run(30)
    assert ("SUSPENDED", "NONE") in statuses(six).values()


@fact(
    "Documentation, suspended and stopped VMs: the group neither repairs nor replaces them",
    assumed="an update leaves them until they are back",
)
def test_a_vm_in_reserve_is_updated_when_it_is_back(six: Fleet) -> None:
    one = urls(six, 1)
    on_instances(six, "stop", one)
    six.settle()
    six.versions(version("v2"))
    six.settle()
    assert six.by_version() == {"v2": 5}
    assert one[0] in urls(six)
    on_instances(six, "start", one)
    six.settle()
    assert six.by_version() == {"v2": 6}


@fact(
    "API reference, deleteInstances",
    assumed="a VM in reserve lowers the size of the reserve, not the target size",
)
def test_deleting_a_vm_in_reserve_makes_the_reserve_smaller(six: Fleet) -> None:
    one = urls(six, 1)
    on_instances(six, "stop", one)
    six.settle()
    on_instances(six, "delete", one)
    six.settle()
    assert sizes(six) == (5, 0, 0)
    assert len(six.instances()) == 5


@fact(
    "API reference, recreateInstances and applyUpdatesToInstances",
    assumed="VMs in reserve are refused",
)
@pytest.mark.parametrize("verb", ["recreate", "apply_updates_to"])
def test_vms_in_reserve_are_first_to_be_started(six: Fleet, verb: str) -> None:
    one = urls(six, 1)
    on_instances(six, "stop", one)
    six.settle()
    with pytest.raises(exceptions.BadRequest, match="The instance is stopped"):
        on_instances(six, verb, one)


@fact("Documentation, autoscaler: it counts VMs that serve", assumed="VMs in reserve do not")
def test_an_autoscaler_does_not_count_vms_in_reserve(six: Fleet) -> None:
    six.run(120)
    on_instances(six, "stop", urls(six, 3))
    six.settle()
    six.cloud.load["tiny"] = {"cpu": 0.6}
    six.autoscale()
    six.run(1)
    assert sizes(six) == (3, 3, 0)


@fact(
    "Documentation, autoscaler: it counts VMs that serve",
    assumed="a VM on its way into the reserve is none of them",
)
@pytest.mark.parametrize(("never_alive", "doing"), [(False, "stopping"), (True, "verifying")])
def test_an_autoscaler_does_not_count_vms_that_will_be_reserve(
    six: Fleet, never_alive: bool, doing: str
) -> None:
    six.cloud.set_behaviours([{"never_alive": never_alive}])
    waits = compute_v1.InstanceGroupManagerStandbyPolicy(initial_delay_sec=3600)
    six.patch(target_stopped_size=2, standby_policy=waits)
    six.run(200)
    assert six.doing() == {"none": 6, doing: 2}
    assert {each.instance_status for each in six.instances()} == {"RUNNING"}
    six.cloud.load["tiny"] = {"cpu": 0.6}
    six.autoscale()
    six.run(1)
    assert sizes(six) == (6, 2, 0)


@fact("API reference, backendServices.getHealth: VMs that serve")
def test_a_vm_in_reserve_is_behind_no_backend_service(six: Fleet) -> None:
    six.serve()
    six.run(30)
    on_instances(six, "stop", urls(six, 2))
    six.settle()
    assert six.health() == {"HEALTHY": 4}


@fact("API reference, delete: all VMs of the group")
def test_deleting_a_group_deletes_its_reserve(six: Fleet) -> None:
    six.patch(update_policy=policy(type_="OPPORTUNISTIC"))
    on_instances(six, "stop", urls(six, 2))
    six.settle()
    six.done(six.call("delete_unary"))
    assert six.cloud.snapshot() == []
