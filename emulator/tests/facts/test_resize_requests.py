"""Facts about VMs that wait for capacity, are created together, and end after a time: resize
requests and flex-start.
"""

from __future__ import annotations

from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import compute_v1

from emulator.tests.clients import PROJECT, REGION, rejection, send
from emulator.tests.facts.helpers import TINY, statuses
from emulator.tests.facts.source import fact
from emulator.tests.fleet import Fleet, policy, version

REQUESTS = f"{TINY}/resizeRequests"
KIND = compute_v1.RegionInstanceGroupManagerResizeRequestsClient
REQUEST = compute_v1.InstanceGroupManagerResizeRequest


def request(fleet: Fleet, name: str = "more", **members: Any) -> None:
    client = fleet.clients.of(KIND)
    given = REQUEST({"name": name} | members)
    path = {"project": PROJECT, "region": REGION, "instance_group_manager": "tiny"}
    fleet.done(client.insert_unary(**path, instance_group_manager_resize_request_resource=given))


def get_request(fleet: Fleet, name: str = "more") -> Any:
    path = {"project": PROJECT, "region": REGION, "instance_group_manager": "tiny"}
    return fleet.clients.of(KIND).get(**path, resize_request=name)


def call(fleet: Fleet, verb: str, name: str = "more") -> None:
    path = {"project": PROJECT, "region": REGION, "instance_group_manager": "tiny"}
    fleet.done(getattr(fleet.clients.of(KIND), f"{verb}_unary")(**path, resize_request=name))


@fact(
    "Documentation, resize requests: CREATING, ACCEPTED, SUCCEEDED; the target size grows by"
    " the requested number"
)
def test_a_resize_request_creates_its_vms(six: Fleet) -> None:
    request(six, resize_by=3)
    assert six.get().target_size == 9
    six.settle()
    assert get_request(six).state == "SUCCEEDED"
    assert six.by_version() == {"v1": 9}


@fact(
    "Documentation, resize requests: they add VMs to the group",
    assumed="its VMs keep the split of the versions",
)
def test_vms_of_a_resize_request_keep_the_split_of_the_versions(six: Fleet) -> None:
    six.versions(version("v1"), version("v2", percent=50))
    six.settle()
    made = {each.name for each in six.instances()}
    request(six, resize_by=4)
    six.settle()
    assert six.by_version() == {"v1": 5, "v2": 5}
    assert made < {each.name for each in six.instances()}  # no VM was replaced for it


@fact(
    "Documentation, resize requests: managed instances are CREATING while the request waits,"
    " and are then created all at once"
)
def test_vms_of_a_resize_request_are_created_all_at_once(six: Fleet) -> None:
    six.cloud.quotas["CPUS"] = 8
    request(six, resize_by=3)
    six.run(1000)
    assert get_request(six).state == "ACCEPTED"
    assert six.current_actions() == {"none": 6, "creating": 3}
    assert sum(bool(each.instance_status) for each in six.instances()) == 6
    six.cloud.quotas["CPUS"] = 9
    six.settle()
    assert get_request(six).state == "SUCCEEDED"
    assert six.by_version() == {"v1": 9}


@fact(
    "API reference, resize request status.lastAttempt: why it is not fulfilled yet; it keeps trying"
)
def test_a_waiting_resize_request_reports_what_it_waits_for(six: Fleet) -> None:
    six.cloud.stock_outs["us-central1"] = {}
    request(six, resize_by=3)
    six.run(100)
    [error] = get_request(six).status.last_attempt.error.errors
    assert error.code == "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS"
    del six.cloud.stock_outs["us-central1"]
    six.settle()
    assert not get_request(six).status.last_attempt.error.errors


@fact(
    "API reference, resize request FAILED: created VMs are rolled back; status.error is final",
    assumed="a configuration error fails it",
)
def test_a_resize_request_that_cannot_be_fulfilled_fails_and_leaves_the_group_unchanged(
    six: Fleet,
) -> None:
    six.cloud.set_behaviours([{"creation_error": {"kind": "config", "message": "no such image"}}])
    request(six, resize_by=3)
    six.run(60)
    assert (
        get_request(six).state,
        [each.message for each in get_request(six).status.error.errors],
    ) == (
        "FAILED",
        ["no such image"],
    )
    assert (six.get().target_size, six.current_actions()) == (6, {"none": 6})


@fact(
    "API reference, requestedRunDuration: at its end the VMs are deleted",
    assumed="it counts from SUCCEEDED; the target size shrinks with them",
)
def test_vms_of_a_resize_request_end_after_their_run_duration(six: Fleet) -> None:
    request(six, resize_by=2, requested_run_duration=compute_v1.Duration(seconds=3600))
    six.settle()
    listed = send(six.cloud, "POST", f"{TINY}/listManagedInstances")[1]["managedInstances"]
    assert sum("terminationTimestamp" in each.get("scheduling", {}) for each in listed) == 2
    six.run(3500)
    assert six.by_version() == {"v1": 8}
    six.run(200)
    assert (six.get().target_size, six.by_version()) == (6, {"v1": 6})


@fact(
    "Documentation, resize requests: a run duration of 10 minutes to 7 days",
    assumed="the wording",
)
@pytest.mark.parametrize("seconds", [599, 604_801])
def test_a_run_duration_has_limits(six: Fleet, seconds: int) -> None:
    with pytest.raises(exceptions.BadRequest, match="requestedRunDuration"):
        request(six, resize_by=1, requested_run_duration=compute_v1.Duration(seconds=seconds))
    assert six.get().target_size == 6


@fact("API reference, instances: names instead of a number; not together with resizeBy")
def test_a_resize_request_can_name_its_vms(six: Fleet) -> None:
    request(six, instances=[{"name": "one"}, {"name": "two"}])
    six.settle()
    assert {"one", "two"} <= {each.name for each in six.instances()}
    with pytest.raises(exceptions.BadRequest, match="resizeBy"):
        request(six, "both", instances=[{"name": "three"}], resize_by=1)
    with pytest.raises(exceptions.BadRequest, match="resizeBy"):
        request(six, "neither")


@fact(
    "API reference, cancel: only in state ACCEPTED; it stops waiting",
    assumed="the target size is restored",
)
def test_only_a_waiting_resize_request_can_be_cancelled(six: Fleet) -> None:
    six.cloud.stock_outs["*"] = {}
    request(six, resize_by=3)
    call(six, "cancel")
    six.settle()
    assert (get_request(six).state, six.get().target_size, six.current_actions()) == (
        "CANCELLED",
        6,
        {"none": 6},
    )
    with pytest.raises(exceptions.BadRequest, match="CANCELLED"):
        call(six, "cancel")


@fact("API reference, delete: only an inactive request; its VMs stay")
def test_only_a_finished_resize_request_can_be_deleted(six: Fleet) -> None:
    six.cloud.stock_outs["*"] = {}
    request(six, resize_by=3)
    with pytest.raises(exceptions.BadRequest, match="ACCEPTED"):
        call(six, "delete")
    six.cloud.stock_outs.clear()
    six.settle()
    listing = six.clients.of(KIND).list(
        project=PROJECT, region=REGION, instance_group_manager="tiny"
    )
    assert [(each.name, each.state, each.resize_by) for each in listing] == [
        ("more", "SUCCEEDED", 3)
    ]
    call(six, "delete")
    assert send(six.cloud, "GET", f"{REQUESTS}/more")[0] == 404
    assert six.by_version() == {"v1": 9}


@fact(
    "Undocumented: whether the API allows both",
    assumed="412 for a resize request of a group whose autoscaler is on",
)
def test_a_resize_request_conflicts_with_an_autoscaler(six: Fleet) -> None:
    six.autoscale()
    assert rejection(six.cloud, "POST", REQUESTS, {"name": "more", "resizeBy": 1})[:2] == (
        412,
        "conditionNotMet",
    )


@fact(
    "Observed in kubernetes/autoscaler: operationType of an insert; requests are children of the"
    " group in every URL"
)
def test_a_resize_request_is_a_child_of_its_group(six: Fleet) -> None:
    status, operation = send(six.cloud, "POST", REQUESTS, {"name": "more", "resizeBy": 1})
    assert (status, operation["operationType"]) == (
        200,
        "compute.instanceGroupManagers.createResizeRequest",
    )
    assert operation["targetLink"].endswith("/instanceGroupManagers/tiny/resizeRequests/more")
    assert rejection(six.cloud, "POST", REQUESTS, {"name": "more", "resizeBy": 1})[:2] == (
        409,
        "alreadyExists",
    )
    assert get_request(six).self_link == operation["targetLink"]


@fact(
    "API reference, resize request",
    assumed="shapes that avoid a zone without capacity do so for requests too",
)
def test_a_resize_request_of_a_flexible_group_uses_zones_with_capacity(fleet: Fleet) -> None:
    shape = compute_v1.DistributionPolicy(target_shape="ANY_SINGLE_ZONE")
    fleet.create(
        size=0, distribution_policy=shape, update_policy=policy(instance_redistribution_type="NONE")
    )
    fleet.cloud.stock_outs["us-central1-a"] = {}
    request(fleet, resize_by=4)
    fleet.settle()
    assert fleet.zones() == {"b": 4}


FLEX = compute_v1.Scheduling(
    provisioning_model="FLEX_START",
    automatic_restart=False,
    on_host_maintenance="TERMINATE",
    instance_termination_action="DELETE",
    max_run_duration=compute_v1.Duration(seconds=3600),
)


@fact(
    "API reference, instanceStatus PENDING: a flex-start VM that waits for capacity",
    assumed="retried every 30 s",
)
def test_a_flex_start_vm_is_pending_until_there_is_capacity(fleet: Fleet) -> None:
    fleet.template("flex", scheduling=FLEX)
    fleet.cloud.stock_outs["us-central1"] = {}
    fleet.create(size=3, versions=[version("flex")])
    fleet.run(600)
    assert set(statuses(fleet).values()) == {("PENDING", "CREATING")}
    assert fleet.errors() == []
    assert not fleet.get().status.is_stable
    fleet.cloud.stock_outs.clear()
    fleet.run(31)
    assert set(statuses(fleet).values()) <= {("PROVISIONING", "CREATING"), ("STAGING", "CREATING")}
    fleet.settle()


@fact(
    "API reference, scheduling.maxRunDuration: the termination action at its end; the group"
    " recreates the VM"
)
def test_a_vm_ends_after_its_run_duration_and_is_recreated(fleet: Fleet) -> None:
    fleet.template("flex", scheduling=FLEX)
    fleet.create(size=3, versions=[version("flex")])
    fleet.settle()
    before = {each.id for each in fleet.instances()}
    fleet.run(3500)
    assert {each.id for each in fleet.instances()} == before
    fleet.run(200)
    fleet.settle()
    assert not {each.id for each in fleet.instances()} & before
    assert fleet.by_version() == {"flex": 3}
