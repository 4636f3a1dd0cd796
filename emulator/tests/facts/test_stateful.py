"""Facts about stateful groups: disks and addresses that outlive a VM."""

from __future__ import annotations

from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import compute_v1

from compute_emulator.control.instances import apply_effect
from emulator.tests.clients import PROJECT, rejection, send
from emulator.tests.facts.helpers import TINY, on_instances, urls
from emulator.tests.facts.source import fact
from emulator.tests.facts.test_configs import config, write
from emulator.tests.fleet import Fleet, policy, version

STILL = policy(
    0, 3, type_="OPPORTUNISTIC", replacement_method="RECREATE", instance_redistribution_type="NONE"
)
KEEPS = {
    "disks": {"persistent-disk-0": {"autoDelete": "NEVER"}},
    "internalIPs": {"nic0": {"autoDelete": "NEVER"}},
}


def keep(fleet: Fleet, preserved: Any = None) -> None:
    status, answer = send(
        fleet.cloud, "PATCH", TINY, {"statefulPolicy": {"preservedState": preserved or KEEPS}}
    )
    assert status == 200, answer


@pytest.fixture
def stateful(fleet: Fleet) -> Fleet:
    """Three VMs that keep their disk and their address."""
    fleet.create(3, update_policy=STILL)
    keep(fleet)
    fleet.settle()
    return fleet


def address(fleet: Fleet, url: str) -> str:
    zone, name = url.split("/zones/")[1].split("/instances/")
    vm = fleet.clients.of(compute_v1.InstancesClient).get(project=PROJECT, zone=zone, instance=name)
    return str(vm.network_interfaces[0].network_i_p)


@fact(
    "API reference, statefulPolicy.preservedState: disks and addresses are preserved on recreation,"
    " updates and repair"
)
@pytest.mark.parametrize("cause", ["recreate", "repair", "update"])
def test_disk_and_address_outlive_the_vm(stateful: Fleet, cause: str) -> None:
    [url, *_] = urls(stateful)
    ids = {each.name: each.id for each in stateful.instances()}
    before = address(stateful, url)
    if cause == "recreate":
        on_instances(stateful, "recreate", [url])
    elif cause == "repair":
        apply_effect(stateful.cloud, "stop", name=url.rpartition("/")[2])
    else:
        stateful.versions(version("v2"))
        on_instances(stateful, "apply_updates_to", [url], minimal_action="REPLACE")
    stateful.settle()
    [now] = [each for each in stateful.instances() if each.instance == url]
    assert now.id != ids[now.name]
    assert address(stateful, url) == before
    assert now.preserved_state_from_policy.internal_i_ps["nic0"].ip_address.literal == before
    assert now.preserved_state_from_policy.disks["persistent-disk-0"].source.endswith(
        f"{now.name}-persistent-disk-0"
    )


@fact(
    "API reference, status.stateful.hasStatefulConfig: through a stateful policy or"
    " per-instance configs"
)
def test_a_group_with_a_stateful_policy_reports_it(stateful: Fleet) -> None:
    assert stateful.get().status.stateful.has_stateful_config


@fact(
    "Documentation, stateful groups: redistribution is NONE, proactive updates are RECREATE",
    assumed="the wording",
)
@pytest.mark.parametrize(
    ("members", "wrong"),
    [
        ({"instance_redistribution_type": "PROACTIVE"}, "instanceRedistributionType"),
        ({"type_": "PROACTIVE", "replacement_method": "SUBSTITUTE"}, "replacementMethod"),
    ],
)
def test_a_stateful_group_cannot_redistribute_or_substitute(
    stateful: Fleet, members: dict[str, Any], wrong: str
) -> None:
    given = policy(
        0, 3, **{"replacement_method": "RECREATE", "instance_redistribution_type": "NONE"} | members
    )
    with pytest.raises(exceptions.BadRequest, match=wrong):
        stateful.patch(update_policy=given)


@fact("Documentation, stateful groups: they cannot be autoscaled", assumed="the wording")
def test_a_stateful_group_cannot_be_autoscaled(stateful: Fleet) -> None:
    with pytest.raises(exceptions.BadRequest, match="stateful"):
        stateful.autoscale()


@fact(
    "Documentation, stateful groups: they cannot be autoscaled",
    assumed="an autoscaled group cannot become stateful either",
)
def test_an_autoscaled_group_cannot_become_stateful(fleet: Fleet) -> None:
    fleet.create(3, update_policy=STILL)
    fleet.settle()
    fleet.autoscale()
    assert (
        rejection(fleet.cloud, "PATCH", TINY, {"statefulPolicy": {"preservedState": KEEPS}})[0]
        == 400
    )
    with pytest.raises(exceptions.BadRequest, match="stateful"):
        write(fleet, "update", config(fleet.instances()[0].name, color="red"))


@fact(
    "Documentation, preserved state: a template without a disk of the stateful policy is rejected",
    assumed="the wording",
)
def test_a_template_must_define_every_stateful_disk(stateful: Fleet) -> None:
    boot = compute_v1.AttachedDiskInitializeParams(
        source_image="projects/cos-cloud/global/images/family/cos-121-lts"
    )
    stateful.template(
        "bare",
        disks=[compute_v1.AttachedDisk(boot=True, device_name="other", initialize_params=boot)],
    )
    with pytest.raises(exceptions.BadRequest, match="persistent-disk-0"):
        stateful.versions(version("bare"))


@fact(
    "API reference, PreservedState.disks of a per-instance config: attached to the VM; a change"
    " needs a restart"
)
def test_a_disk_of_a_config_is_attached_to_its_vm(fleet: Fleet) -> None:
    fleet.create(3, update_policy=STILL)
    fleet.settle()
    one = fleet.instances()[0]
    source = f"projects/{PROJECT}/zones/us-central1-a/disks/data"
    disk = compute_v1.PreservedStatePreservedDisk(source=source, mode="READ_WRITE")
    state = compute_v1.PreservedState(disks={"data": disk})
    write(fleet, "update", compute_v1.PerInstanceConfig(name=one.name, preserved_state=state))
    on_instances(fleet, "apply_updates_to", [one.instance])
    assert fleet.current_actions()["restarting"] == 1
    fleet.settle()
    zone = one.instance.split("/zones/")[1].split("/")[0]
    vm = fleet.clients.of(compute_v1.InstancesClient).get(
        project=PROJECT, zone=zone, instance=one.name
    )
    assert [(each.device_name, each.source) for each in vm.disks] == [("data", source)]
