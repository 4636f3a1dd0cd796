"""Facts about groups with several machine types, and about groups that create all their VMs at
once.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import compute_v1

from emulator.tests.clients import PROJECT, send
from emulator.tests.facts.helpers import GROUPS
from emulator.tests.facts.source import fact
from emulator.tests.fleet import Fleet, policy, version

SOLD_OUT = "us-central1"
BULK = {"target_size_policy": compute_v1.InstanceGroupManagerTargetSizePolicy(mode="BULK")}


def flexible(*selections: tuple[int, list[str]]) -> Any:
    given = {
        f"choice-{index}": (
            compute_v1.InstanceGroupManagerInstanceFlexibilityPolicyInstanceSelection(
                machine_types=types, rank=rank
            )
        )
        for index, (rank, types) in enumerate(selections)
    }
    return compute_v1.InstanceGroupManagerInstanceFlexibilityPolicy(instance_selections=given)


def types(fleet: Fleet) -> dict[str, int]:
    """The number of VMs of each machine type."""
    vms = fleet.clients.of(compute_v1.InstancesClient)
    listed = [vm for _, scoped in vms.aggregated_list(project=PROJECT) for vm in scoped.instances]
    return dict(Counter(vm.machine_type.rpartition("/")[2] for vm in listed))


@fact(
    "API reference, instanceSelections[].rank: the lowest rank first, the next if that is"
    " unavailable"
)
def test_the_machine_type_of_the_lowest_rank_is_used_while_available(fleet: Fleet) -> None:
    fleet.create(
        3, instance_flexibility_policy=flexible((2, ["n2-standard-4"]), (1, ["g2-standard-4"]))
    )
    fleet.settle()
    assert types(fleet) == {"g2-standard-4": 3}
    fleet.cloud.stock_outs[SOLD_OUT] = {"machine_type": "g2-*"}
    fleet.resize(5)
    fleet.settle()
    assert types(fleet) == {"g2-standard-4": 3, "n2-standard-4": 2}


@fact(
    "API reference, targetShape BALANCED with instanceSelections",
    assumed="a zone has capacity if it has any of the types",
)
@pytest.mark.parametrize(
    ("sold_out", "zones"), [("n2-*", {"a": 2, "b": 2, "c": 2}), ("*", {"b": 3, "c": 3})]
)
def test_a_zone_has_no_capacity_if_it_has_none_of_the_types(
    fleet: Fleet, sold_out: str, zones: dict[str, int]
) -> None:
    fleet.cloud.stock_outs["us-central1-a"] = {"machine_type": sold_out}
    balanced = {
        "distribution_policy": compute_v1.DistributionPolicy(target_shape="BALANCED"),
        "update_policy": policy(instance_redistribution_type="NONE"),
    }
    fleet.create(
        6,
        instance_flexibility_policy=flexible((1, ["n2-standard-4"]), (2, ["g2-standard-4"])),
        **balanced,
    )
    fleet.settle()
    assert fleet.zones() == zones


@fact(
    "API reference, managedInstances[].propertiesFromFlexibilityPolicy.machineType: the chosen type"
)
def test_a_managed_instance_reports_its_chosen_machine_type(fleet: Fleet) -> None:
    fleet.create(3, instance_flexibility_policy=flexible((0, ["n2-standard-4", "n2-standard-8"])))
    fleet.settle()
    assert {each.properties_from_flexibility_policy.machine_type for each in fleet.instances()} == {
        "n2-standard-4"
    }


@fact("Documentation, instance flexibility: the policy's machine types replace the template's")
def test_the_templates_machine_type_is_used_only_if_it_is_listed(fleet: Fleet) -> None:
    fleet.cloud.stock_outs[SOLD_OUT] = {"machine_type": "n2-*"}
    fleet.create(3, instance_flexibility_policy=flexible((0, ["n2-standard-4"])))
    fleet.run(300)
    assert fleet.current_actions() == {"creating": 3}
    fleet.patch(instance_flexibility_policy=flexible((0, ["n2-standard-4", "n1-standard-1"])))
    fleet.settle()
    assert types(fleet) == {"n1-standard-1": 3}


@fact(
    "API reference, instanceSelections",
    assumed="an exhausted quota counts as unavailable, like a stock-out",
)
def test_another_machine_type_is_used_if_a_quota_is_exhausted(fleet: Fleet) -> None:
    fleet.cloud.quotas["N2_CPUS"] = 8
    fleet.create(
        3, instance_flexibility_policy=flexible((1, ["n2-standard-4"]), (2, ["n1-standard-4"]))
    )
    fleet.settle()
    assert types(fleet) == {"n2-standard-4": 2, "n1-standard-4": 1}


@fact(
    "API reference, instanceSelections[].machineTypes: names of machine types",
    assumed="the wording",
)
@pytest.mark.parametrize("given", [[], ["zones/us-central1-a/machineTypes/n2-standard-4"]])
def test_a_selection_names_machine_types(fleet: Fleet, given: list[str]) -> None:
    with pytest.raises(exceptions.BadRequest, match="machineTypes"):
        fleet.create(instance_flexibility_policy=flexible((0, given)))


@fact(
    "API reference, targetSizePolicy.mode BULK: no VM is created until all can be created at"
    " the same time"
)
def test_a_bulk_group_creates_all_its_vms_at_once_or_none(fleet: Fleet) -> None:
    fleet.cloud.stock_outs["us-central1-a"] = {}
    fleet.create(6, **BULK)
    fleet.run(600)
    assert types(fleet) == {}
    assert fleet.current_actions() == {"creating": 6}
    assert not fleet.get().status.is_stable
    assert "does not have enough resources" in fleet.errors()[0].error.message
    del fleet.cloud.stock_outs["us-central1-a"]
    fleet.run(31)
    assert types(fleet) == {"n1-standard-1": 6}
    fleet.settle()
    fleet.resize(9)
    fleet.settle()
    assert types(fleet) == {"n1-standard-1": 9}


@fact(
    "API reference, targetSizePolicy.mode BULK: this includes quota",
    assumed="retried every 30 s",
)
def test_a_bulk_group_waits_for_enough_quota_for_all(fleet: Fleet) -> None:
    fleet.cloud.quotas["CPUS"] = 5
    fleet.create(6, **BULK)
    fleet.run(300)
    assert types(fleet) == {}
    fleet.resize(5)
    fleet.settle()
    assert types(fleet) == {"n1-standard-1": 5}


@fact(
    "API reference, targetSizePolicy.mode INDIVIDUAL: the default; the group creates the VMs"
    " that it can"
)
def test_a_group_creates_what_it_can_by_default(fleet: Fleet) -> None:
    fleet.cloud.stock_outs["us-central1-a"] = {}
    fleet.create(6)
    fleet.run(60)
    assert types(fleet) == {"n1-standard-1": 4}


@fact(
    "API reference, targetSizePolicy.mode",
    assumed="VMs stop waiting for each other once the group is INDIVIDUAL",
)
def test_a_bulk_group_can_become_individual(fleet: Fleet) -> None:
    fleet.cloud.stock_outs["us-central1-a"] = {}
    fleet.create(6, **BULK)
    fleet.run(60)
    fleet.patch(
        target_size_policy=compute_v1.InstanceGroupManagerTargetSizePolicy(mode="INDIVIDUAL")
    )
    fleet.run(60)
    assert types(fleet) == {"n1-standard-1": 4}


@fact(
    "API reference, targetSizePolicy.mode BULK",
    assumed="an update's new VMs are created all at once too",
)
def test_a_bulk_group_is_updated_within_its_budgets(fleet: Fleet) -> None:
    fleet.create(6, **BULK)
    fleet.settle()
    fleet.floor_holds = True
    fleet.versions(version("v2"), update_policy=policy(3, 0))
    fleet.settle()
    assert fleet.by_version() == {"v2": 6}


@fact(
    "API reference, resourcePolicies.workloadPolicy: a URL",
    assumed="stored and returned, without effect",
)
def test_a_workload_policy_is_stored(fleet: Fleet) -> None:
    given = compute_v1.InstanceGroupManagerResourcePolicies(
        workload_policy="regions/us-central1/resourcePolicies/wp"
    )
    fleet.create(3, resource_policies=given)
    assert send(fleet.cloud, "GET", f"{GROUPS}/tiny")[1]["resourcePolicies"][
        "workloadPolicy"
    ].endswith("wp")
