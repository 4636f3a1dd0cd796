"""Every supported client class of google-cloud-compute: each of its methods is implemented and
called by a walk.
"""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from google.cloud import compute_v1

from compute_emulator import VirtualClock
from compute_emulator.api import discovery
from compute_emulator.api.collections import HANDLERS
from compute_emulator.control.instances import apply_effect
from emulator.tests import test_every_group_method, test_every_method
from emulator.tests.clients import PROJECT, Clients
from emulator.tests.fleet import Fleet, version

SUPPORTED = (
    *("InstanceTemplates", "RegionInstanceTemplates"),
    *(
        "RegionInstanceGroupManagers",
        "RegionInstanceGroupManagerResizeRequests",
        "RegionInstanceGroups",
        "RegionAutoscalers",
    ),
    *("HealthChecks", "RegionHealthChecks", "BackendServices", "RegionBackendServices"),
    *("UrlMaps", "RegionUrlMaps", "TargetHttpProxies", "RegionTargetHttpProxies"),
    *("GlobalForwardingRules", "ForwardingRules", "GlobalAddresses", "Addresses"),
    *("GlobalOperations", "RegionOperations", "ZoneOperations", "Regions", "Zones", "MachineTypes"),
)
WALKED = {
    *test_every_method.GLOBAL,
    *test_every_method.REGIONAL,
    *test_every_method.CATALOGUE,
    *test_every_group_method.COLLECTIONS,
}
"""Of these collections the walks compare what they called with what the document has."""


def calls_of(client: Any) -> set[str]:
    """The methods of a client class, without their `_unary` twins."""
    return {
        name.removesuffix("_unary")
        for name, function in inspect.getmembers(client, inspect.isfunction)
        if not name.startswith("_") and "request" in inspect.signature(function).parameters
    }


@pytest.mark.parametrize("name", SUPPORTED)
def test_every_method_of_the_client_is_implemented_and_walked(name: str) -> None:
    collection = name[0].lower() + name[1:]
    called = calls_of(getattr(compute_v1, f"{name}Client"))
    known = {
        method.id.rpartition(".")[2].lower(): method.id
        for method in discovery.methods().values()
        if in_it(method, collection)
    }
    assert len(called) >= 2
    assert {each.replace("_", "") for each in called} == set(known)
    assert {each for each in known.values() if each not in HANDLERS} == set()
    assert collection in WALKED


def in_it(method: discovery.Method, collection: str) -> bool:
    return method.id.split(".")[1] == collection


def test_the_operation_of_a_preemption_can_be_listed_read_waited_for_and_deleted(
    clients: Clients, clock: VirtualClock
) -> None:
    fleet = Fleet(clients, clock)
    fleet.template(
        "spot",
        scheduling=compute_v1.Scheduling(
            provisioning_model="SPOT", instance_termination_action="DELETE"
        ),
    )
    fleet.create(3, versions=[version("spot")])
    fleet.settle()
    (taken,) = apply_effect(clients.cloud, "preempt", most=1)
    operations = clients.of(compute_v1.ZoneOperationsClient)
    found = [
        (zone, each)
        for zone in clients.cloud.zones_of("us-central1")
        for each in operations.list(project=PROJECT, zone=zone)
        if each.operation_type == "compute.instances.preempted"
    ]
    ((zone, operation),) = found
    place = {"project": PROJECT, "zone": zone, "operation": operation.name}
    assert operations.get(**place).target_link.endswith(f"/zones/{zone}/instances/{taken}")
    assert operations.wait(**place).status == compute_v1.Operation.Status.DONE
    operations.delete(**place)
    left = operations.list(project=PROJECT, zone=zone)
    assert operation.name not in [each.name for each in left]
