"""Calls every method of groups, instances, per-instance configs and resize requests.

A walk through google-cloud-compute that misses a method fails: the calls are compared with the
methods of the API and of the client.
"""

from __future__ import annotations

from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import compute_v1

from compute_emulator import VirtualClock
from compute_emulator.api import discovery
from emulator.tests.clients import PROJECT, REGION, Clients
from emulator.tests.fleet import Fleet, policy, version

COLLECTIONS = ("regionInstanceGroupManagers", "regionInstanceGroupManagerResizeRequests")
PREFIX = "region_instance_group_managers"
CONFIG = "region_instance_group_manager"


def call_on_instances(fleet: Fleet, verb: str, request: str, **members: Any) -> None:
    """Call a method on single instances: `recreate_instances` takes a `...RecreateRequest`."""
    words = "".join(word.title() for word in request.split("_"))
    kind = getattr(compute_v1, f"RegionInstanceGroupManagers{words}Request")
    fleet.done(
        fleet.call(f"{verb}_unary", **{f"{PREFIX}_{request}_request_resource": kind(members)})
    )
    fleet.settle()


def configure(fleet: Fleet, verb: str, **members: Any) -> None:
    kind = getattr(compute_v1, f"RegionInstanceGroupManager{verb.title()}InstanceConfigReq")
    fleet.done(
        fleet.call(
            f"{verb}_per_instance_configs_unary",
            **{f"{CONFIG}_{verb}_instance_config_req_resource": kind(members)},
        )
    )


def statuses(fleet: Fleet) -> dict[str, str]:
    return {each.name: each.instance_status for each in fleet.instances()}


def walk_acts(fleet: Fleet) -> None:
    one, two, *_ = (each.instance for each in fleet.instances())
    for verb, end in (
        ("suspend", "SUSPENDED"),
        ("resume", "RUNNING"),
        ("stop", "TERMINATED"),
        ("start", "RUNNING"),
    ):
        call_on_instances(fleet, f"{verb}_instances", f"{verb}_instances", instances=[one])
        assert statuses(fleet)[one.rpartition("/")[2]] == end, verb
    call_on_instances(fleet, "recreate_instances", "recreate", instances=[one])
    call_on_instances(
        fleet,
        "apply_updates_to_instances",
        "apply_updates",
        instances=[one],
        minimal_action="REPLACE",
    )
    call_on_instances(
        fleet,
        "create_instances",
        "create_instances",
        instances=[compute_v1.PerInstanceConfig(name="named")],
    )
    assert statuses(fleet)["named"] == "RUNNING"
    call_on_instances(fleet, "abandon_instances", "abandon_instances", instances=[two])
    assert two.rpartition("/")[2] not in statuses(fleet)
    named = next(each.instance for each in fleet.instances() if each.name == "named")
    call_on_instances(fleet, "delete_instances", "delete_instances", instances=[named])
    assert "named" not in statuses(fleet)
    assert list(fleet.call("list_errors")) == []


def walk_configs(fleet: Fleet) -> None:
    name = fleet.instances()[0].name
    state = compute_v1.PreservedState(metadata={"shard": "1"})
    given = compute_v1.PerInstanceConfig(name=name, preserved_state=state)
    configure(fleet, "update", per_instance_configs=[given])
    given.preserved_state.metadata["shard"] = "2"
    configure(fleet, "patch", per_instance_configs=[given])
    (kept,) = fleet.call("list_per_instance_configs")
    assert (kept.name, dict(kept.preserved_state.metadata)) == (name, {"shard": "2"})
    configure(fleet, "delete", names=[name])
    fleet.settle()
    assert list(fleet.call("list_per_instance_configs")) == []


def walk_templates_and_pools(fleet: Fleet) -> None:
    template = compute_v1.RegionInstanceGroupManagersSetTemplateRequest(
        instance_template="global/instanceTemplates/v2"
    )
    fleet.done(
        fleet.call(
            "set_instance_template_unary", **{f"{PREFIX}_set_template_request_resource": template}
        )
    )
    fleet.versions(version("v3"), update_policy=policy())
    fleet.settle()
    assert set(fleet.by_version()) == {"v3"}
    pool = (
        f"https://www.googleapis.com/compute/v1/projects/{PROJECT}/regions/{REGION}/targetPools/old"
    )
    member = f"{PREFIX}_set_target_pools_request_resource"
    request = compute_v1.RegionInstanceGroupManagersSetTargetPoolsRequest(
        target_pools=[pool], fingerprint=fleet.get().fingerprint
    )
    before = fleet.by_version()
    fleet.done(fleet.call("set_target_pools_unary", **{member: request}))
    with pytest.raises(exceptions.PreconditionFailed):
        fleet.call("set_target_pools_unary", **{member: request})
    assert list(fleet.get().target_pools) == [pool]
    assert fleet.by_version() == before


def walk_resize_requests(fleet: Fleet) -> None:
    client = fleet.clients.of(compute_v1.RegionInstanceGroupManagerResizeRequestsClient)
    place = {"project": PROJECT, "region": REGION, "instance_group_manager": "tiny"}
    fleet.cloud.quotas["CPUS"] = len(fleet.instances())
    request = compute_v1.InstanceGroupManagerResizeRequest(name="more", resize_by=2)
    fleet.done(client.insert_unary(**place, instance_group_manager_resize_request_resource=request))
    assert [each.name for each in client.list(**place)] == ["more"]
    assert client.get(**place, resize_request="more").resize_by == 2
    fleet.done(client.cancel_unary(**place, resize_request="more"))
    fleet.done(client.delete_unary(**place, resize_request="more"))
    assert list(client.list(**place)) == []


def test_every_method_of_a_group(clients: Clients, clock: VirtualClock) -> None:
    fleet = Fleet(clients, clock)
    fleet.create(update_policy=policy(instance_redistribution_type="NONE", type_="OPPORTUNISTIC"))
    fleet.settle()
    walk_acts(fleet)
    walk_configs(fleet)
    walk_templates_and_pools(fleet)
    walk_resize_requests(fleet)
    fleet.resize(3)
    fleet.settle()
    assert [each.name for each in fleet.managers.list(project=PROJECT, region=REGION)] == ["tiny"]
    fleet.done(fleet.call("delete_unary"))
    with pytest.raises(exceptions.NotFound):
        fleet.get()
    known = {method for method in discovery.methods() if method.split(".")[1] in COLLECTIONS}
    assert known <= set(clients.cloud.calls.counts)


@pytest.mark.parametrize("collection", COLLECTIONS)
def test_the_walk_covers_every_method_of_the_client(collection: str) -> None:
    client = getattr(compute_v1, f"{collection[0].upper()}{collection[1:]}Client")
    has = {
        name.removesuffix("_unary").replace("_", "")
        for name in dir(client)
        if name.endswith("_unary")
    }
    knows = {
        method.verb.lower()
        for method in discovery.methods().values()
        if method.id.split(".")[1] == collection
    }
    assert has <= knows
