"""Facts about zones: target shapes, stock-outs, redistribution."""

from __future__ import annotations

from typing import Any

import pytest
from google.cloud import compute_v1

from compute_emulator.control.instances import apply_effect
from emulator.tests.facts.helpers import on_instances
from emulator.tests.facts.source import fact
from emulator.tests.fleet import Fleet, policy, version

FIXED_PLACES = policy(instance_redistribution_type="NONE")


def shape(name: str) -> Any:
    return compute_v1.DistributionPolicy(target_shape=name)


def delete_in(fleet: Fleet, zone: str, count: int) -> None:
    found = [
        each.instance
        for each in fleet.instances()
        if f"/zones/us-central1-{zone}/" in each.instance
    ]
    on_instances(fleet, "delete", found[:count])


@fact("API reference, targetShape EVEN: zones differ by at most one")
@pytest.mark.parametrize("size", [1, 4, 5, 9])
def test_an_even_group_differs_by_at_most_one_between_zones(fleet: Fleet, size: int) -> None:
    fleet.create(size=size)
    fleet.settle()
    counts = [fleet.zones().get(zone, 0) for zone in "abc"]
    assert max(counts) - min(counts) <= 1
    assert sum(counts) == size


@fact("Documentation, target distribution shape: EVEN does not avoid a zone without capacity")
def test_an_even_group_waits_for_a_zone_without_capacity(fleet: Fleet) -> None:
    fleet.cloud.stock_outs["us-central1-b"] = {}
    fleet.create()
    fleet.run(1000)
    assert fleet.by_version() == {"v1": 4}
    assert fleet.zones() == {"a": 2, "b": 2, "c": 2}
    assert fleet.current_actions() == {"none": 4, "creating": 2}


@fact("API reference, targetShape BALANCED and ANY: VMs are created where resources are available")
@pytest.mark.parametrize("name", ["BALANCED", "ANY"])
def test_flexible_shapes_use_zones_with_capacity(fleet: Fleet, name: str) -> None:
    fleet.cloud.stock_outs["us-central1-a"] = {}
    fleet.create(distribution_policy=shape(name), update_policy=FIXED_PLACES)
    fleet.settle()
    assert fleet.zones() == {"b": 3, "c": 3}


@fact("API reference, targetShape BALANCED: as evenly as possible over zones with capacity")
def test_a_balanced_group_is_even_while_all_zones_have_capacity(fleet: Fleet) -> None:
    fleet.create(distribution_policy=shape("BALANCED"), update_policy=FIXED_PLACES)
    fleet.settle()
    assert fleet.zones() == {"a": 2, "b": 2, "c": 2}


@fact("API reference, targetShape ANY_SINGLE_ZONE: all VMs in one zone, chosen by capacity")
def test_a_single_zone_group_uses_one_zone_with_capacity(fleet: Fleet) -> None:
    fleet.cloud.stock_outs["us-central1-a"] = {}
    fleet.create(distribution_policy=shape("ANY_SINGLE_ZONE"), update_policy=FIXED_PLACES)
    fleet.settle()
    assert fleet.zones() == {"b": 6}


@fact(
    "API reference, targetShape BALANCED",
    assumed="a VM without capacity in its zone is replaced by one in another zone",
)
def test_a_balanced_group_leaves_a_zone_that_runs_out_of_capacity(fleet: Fleet) -> None:
    fleet.create(distribution_policy=shape("BALANCED"), update_policy=FIXED_PLACES)
    fleet.settle()
    fleet.cloud.stock_outs["us-central1-a"] = {}
    fleet.versions(version("v2"))
    fleet.settle()
    assert fleet.by_version() == {"v2": 6}
    assert set(fleet.zones()) == {"b", "c"}


@fact(
    "API reference, instanceRedistributionType PROACTIVE: the group keeps its zones even by"
    " deleting and creating VMs"
)
def test_an_uneven_group_is_rebalanced_once_it_is_stable(fleet: Fleet) -> None:
    fleet.create(size=9)
    fleet.settle()
    delete_in(fleet, "a", 3)
    fleet.settle()
    assert sorted(fleet.zones().values()) == [2, 2, 2]


@fact("API reference, instanceRedistributionType NONE: the group stays uneven")
def test_without_redistribution_an_uneven_group_stays_uneven(fleet: Fleet) -> None:
    fleet.create(size=9, update_policy=FIXED_PLACES)
    fleet.settle()
    delete_in(fleet, "a", 3)
    fleet.run(2000)
    assert fleet.zones() == {"b": 3, "c": 3}
    assert fleet.get().status.is_stable


@fact(
    "Documentation, manual rebalancing: without redistribution a resize still grows the"
    " smallest and shrinks the largest zone"
)
def test_a_resize_rebalances_even_without_redistribution(fleet: Fleet) -> None:
    fleet.create(size=9, update_policy=FIXED_PLACES)
    fleet.settle()
    delete_in(fleet, "a", 3)
    fleet.settle()
    fleet.resize(8)
    fleet.settle()
    assert fleet.zones() == {"a": 2, "b": 3, "c": 3}
    fleet.resize(6)
    fleet.settle()
    assert fleet.zones() == {"a": 2, "b": 2, "c": 2}


@fact(
    "API reference, instanceRedistributionType",
    assumed="a move respects the update budgets: with surge the new VM is created first",
)
def test_redistribution_removes_no_vm_before_its_replacement_serves(fleet: Fleet) -> None:
    fleet.create(size=9)
    fleet.settle()
    delete_in(fleet, "a", 3)
    for _ in range(300):
        assert fleet.by_version()["v1"] >= 6
        fleet.run(1)
    assert sorted(fleet.zones().values()) == [2, 2, 2]


@fact(
    "Documentation, regional groups: a failed zone loses its VMs; EVEN groups recreate them"
    " there once it is back"
)
def test_the_vms_of_a_failed_zone_come_back_with_it(six: Fleet) -> None:
    six.cloud.stock_outs["us-central1-c"] = {}
    assert len(apply_effect(six.cloud, "stop", zone="us-central1-c")) == 2
    six.run(600)
    assert six.by_version() == {"v1": 4}
    six.cloud.stock_outs.clear()
    six.settle()
    assert six.zones() == {"a": 2, "b": 2, "c": 2}
