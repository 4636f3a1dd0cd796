"""Facts about standby VMs: stopping and suspending, starting and resuming."""

from __future__ import annotations

import pytest
from google.api_core import exceptions
from google.cloud import compute_v1

from emulator.tests.facts.helpers import on_instances, statuses, urls
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
def test_standby_vms_are_counted_separately(
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
    assert six.current_actions() == {"none": 6}


@fact(
    "API reference, startInstances and resumeInstances: the same VM, verified again; the sizes"
    " change back"
)
@RESERVE
def test_a_standby_vm_comes_back_under_its_name_and_is_verified(
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
    assert six.current_actions() == {"none": 4, doing: 2}
    six.run(29)
    assert six.current_actions() == {"none": 4, "verifying": 2}
    six.settle()
    assert {each.name: each.id for each in six.instances()} == before
    assert six.by_version() == {"v1": 6}


@fact(
    "API reference: only running VMs can be stopped or suspended, only stopped ones started,"
    " only suspended ones resumed",
    assumed="the wording",
)
def test_each_method_accepts_only_vms_in_the_right_state(six: Fleet) -> None:
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
    "API reference, standbyPolicy.initialDelaySec: counted from the VM's creation; forceStop"
    " ignores it"
)
def test_a_new_vm_gets_its_initial_delay_before_it_is_stopped(fleet: Fleet) -> None:
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


@fact("API reference, stopInstances: the VM drains first")
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
    assumed="an update skips them until they are back",
)
def test_a_standby_vm_is_updated_once_it_is_back(six: Fleet) -> None:
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
    assumed="deleting a standby VM lowers the size of the pool, not the target size",
)
def test_deleting_a_standby_vm_shrinks_the_pool(six: Fleet) -> None:
    one = urls(six, 1)
    on_instances(six, "stop", one)
    six.settle()
    on_instances(six, "delete", one)
    six.settle()
    assert sizes(six) == (5, 0, 0)
    assert len(six.instances()) == 5


@fact(
    "API reference, recreateInstances and applyUpdatesToInstances",
    assumed="standby VMs are rejected",
)
@pytest.mark.parametrize("verb", ["recreate", "apply_updates_to"])
def test_standby_vms_must_be_started_first(six: Fleet, verb: str) -> None:
    one = urls(six, 1)
    on_instances(six, "stop", one)
    six.settle()
    with pytest.raises(exceptions.BadRequest, match="The instance is stopped"):
        on_instances(six, verb, one)


@fact("Documentation, autoscaler: it counts VMs that serve", assumed="standby VMs do not")
def test_an_autoscaler_does_not_count_standby_vms(six: Fleet) -> None:
    six.run(120)
    on_instances(six, "stop", urls(six, 3))
    six.settle()
    six.cloud.load["tiny"] = {"cpu": 0.6}
    six.autoscale()
    six.run(1)
    assert sizes(six) == (3, 3, 0)


@fact(
    "Documentation, autoscaler: it counts VMs that serve",
    assumed="a VM that is being stopped for standby does not",
)
@pytest.mark.parametrize(("never_alive", "doing"), [(False, "stopping"), (True, "verifying")])
def test_an_autoscaler_does_not_count_vms_being_put_on_standby(
    six: Fleet, never_alive: bool, doing: str
) -> None:
    six.cloud.set_behaviours([{"never_alive": never_alive}])
    with_delay = compute_v1.InstanceGroupManagerStandbyPolicy(initial_delay_sec=3600)
    six.patch(target_stopped_size=2, standby_policy=with_delay)
    six.run(200)
    assert six.current_actions() == {"none": 6, doing: 2}
    assert {each.instance_status for each in six.instances()} == {"RUNNING"}
    six.cloud.load["tiny"] = {"cpu": 0.6}
    six.autoscale()
    six.run(1)
    assert sizes(six) == (6, 2, 0)


@fact("API reference, backendServices.getHealth: VMs that serve")
def test_a_standby_vm_is_behind_no_backend_service(six: Fleet) -> None:
    six.serve()
    six.run(30)
    on_instances(six, "stop", urls(six, 2))
    six.settle()
    assert six.health() == {"HEALTHY": 4}


@fact("API reference, delete: all VMs of the group")
def test_deleting_a_group_deletes_its_standby_vms(six: Fleet) -> None:
    six.patch(update_policy=policy(type_="OPPORTUNISTIC"))
    on_instances(six, "stop", urls(six, 2))
    six.settle()
    six.done(six.call("delete_unary"))
    assert six.cloud.snapshot() == []
