"""Facts about capacity: stock-outs and quotas in a group, and requests for VMs that come all at once."""

from __future__ import annotations

from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import compute_v1

from local.compute.capacity import Need, stock_out
from tests.local.compute.clients import PROJECT, REGION
from tests.local.compute.facts.asking import TINY, ask, refusal
from tests.local.compute.facts.source import fact
from tests.local.compute.fleet import Fleet, policy, version

REQUESTS = f"{TINY}/resizeRequests"
KIND = compute_v1.RegionInstanceGroupManagerResizeRequestsClient
REQUEST = compute_v1.InstanceGroupManagerResizeRequest


def gpu(fleet: Fleet) -> None:
    """A template `gpu` of n1-standard-4 with a T4."""
    t4 = compute_v1.AcceleratorConfig(accelerator_type="nvidia-tesla-t4", accelerator_count=1)
    stops = compute_v1.Scheduling(on_host_maintenance="TERMINATE")
    fleet.template("gpu", machine_type="n1-standard-4", guest_accelerators=[t4], scheduling=stops)


def attempt(fleet: Fleet) -> Any:
    """The error of the latest attempt of one VM that cannot be made, as JSON."""
    listed = ask(fleet.cloud, "POST", f"{TINY}/listManagedInstances")[1]["managedInstances"]
    return next(each["lastAttempt"]["errors"]["errors"][0] for each in listed if each["lastAttempt"])


@fact("Observed in kubernetes/k8s.io#9834 and GoogleCloudPlatform/ai-on-gke#849: code, message, details of a stock-out")
def test_a_stock_out_tells_zone_machine_accelerator_and_where_there_is_more(fleet: Fleet) -> None:
    gpu(fleet)
    fleet.cloud.stock_outs["us-central1-b"] = {"accelerator": "nvidia-tesla-t4"}
    fleet.create(size=3, versions=[version("gpu")])
    fleet.run(10)
    error = attempt(fleet)
    assert error["code"] == "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS"
    assert error["message"] == (
        "The zone 'projects/demo/zones/us-central1-b' does not have enough resources available to fulfill the request. "
        " Try a different zone, or try again later."
    )
    link, localized, info = error["errorDetails"]
    assert link["help"]["links"][0]["url"] == "https://cloud.google.com/compute/docs/resource-error"
    text = "A n1-standard-4 VM instance with 1 nvidia-tesla-t4 accelerator(s) is currently unavailable in the us-central1-b zone."
    assert localized["localizedMessage"]["message"].startswith(text)
    assert info["errorInfo"] == {
        "domain": "compute.googleapis.com",
        "reason": "resource_availability",
        "metadatas": {
            "attachment": "nvidia-tesla-t4:1",
            "vmType": "n1-standard-4",
            "zone": "us-central1-b",
            "zonesAvailable": "us-central1-a,us-central1-c",
        },
    }


@fact(
    "Observed in CCExtractor/sample-platform#901: no zone is named where none has capacity",
    assumed="zonesAvailable is then empty",
)
def test_a_stock_out_everywhere_names_no_other_zone() -> None:
    failure = stock_out(PROJECT, "us-central1-a", Need("n1-standard-1"))
    info = failure.details[2]["errorInfo"]["metadatas"]
    assert (info["zonesAvailable"], info["attachment"]) == ("", "")


@fact("Observed in hashicorp/nomad-autoscaler#839; API reference, QuotaExceededInfo")
@pytest.mark.parametrize(
    ("quota", "limit", "where", "dimensions"),
    [("CPUS", 8, "in region us-central1", {"region": "us-central1"}), ("GPUS_ALL_REGIONS", 2, "globally", {})],
)
def test_a_quota_tells_metric_limit_and_place(fleet: Fleet, quota: str, limit: int, where: str, dimensions: Any) -> None:
    gpu(fleet)
    fleet.cloud.quotas[quota] = limit
    fleet.create(size=3, versions=[version("gpu")])
    fleet.run(10)
    error = attempt(fleet)
    assert (error["code"], error["message"]) == ("QUOTA_EXCEEDED", f"Quota '{quota}' exceeded.  Limit: {float(limit)} {where}.")
    info = error["errorDetails"][0]["quotaInfo"]
    assert (info["limit"], info["dimensions"]) == (limit, dimensions)
    assert fleet.errors()[0].error.message.startswith("Instance 'tiny-")


@fact("Observed in kubernetes/autoscaler: stock-outs come with several codes, all of them *POOL_EXHAUSTED*")
@pytest.mark.parametrize("code", ["ZONE_RESOURCE_POOL_EXHAUSTED", "RESOURCE_POOL_EXHAUSTED"])
def test_a_stock_out_may_have_another_code(fleet: Fleet, code: str) -> None:
    fleet.cloud.stock_outs["us-central1"] = {"code": code}
    fleet.create(size=3)
    fleet.run(10)
    assert attempt(fleet)["code"] == code
    fleet.cloud.stock_outs.clear()
    fleet.settle()


@fact("Observed in kubernetes/autoscaler: addresses, permissions and organisation policies fail creations too", assumed="wording")
@pytest.mark.parametrize(
    ("kind", "code", "says"),
    [
        ("addresses", "IP_SPACE_EXHAUSTED", "exhausted"),
        ("permissions", "PERMISSIONS_ERROR", "permission"),
        ("org_policy", "CONDITION_NOT_MET", "vmExternalIpAccess"),
    ],
)
def test_a_creation_fails_for_other_reasons_than_capacity(fleet: Fleet, kind: str, code: str, says: str) -> None:
    fleet.cloud.set_behaviours([{"creation_error": {"kind": kind, "times": 3}}])
    fleet.create(size=3)
    fleet.run(5)
    assert attempt(fleet)["code"] == code
    assert says in fleet.errors()[0].error.message
    fleet.settle()


@fact("API reference, resize: its operation never fails for want of capacity; the group tries for ever and is not stable")
@pytest.mark.parametrize("cause", ["stock-out", "quota"])
def test_want_of_capacity_fails_no_operation_and_ends_no_attempt(six: Fleet, cause: str) -> None:
    if cause == "quota":
        six.cloud.quotas["INSTANCES"] = 6
    else:
        six.cloud.stock_outs["*"] = {}
    six.resize(7)  # asserts that its operation ended without an error
    six.run(3600)
    first = len(six.errors())
    six.run(3600)
    assert len(six.errors()) > first > 3
    assert not six.get().status.is_stable
    six.cloud.quotas.clear()
    six.cloud.stock_outs.clear()
    six.settle()
    assert len(six.instances()) == 7


@fact("API reference, currentAction CREATING: the group tries again", assumed="pauses of 10 s, doubled up to 5 min")
def test_attempts_are_made_with_growing_pauses(fleet: Fleet) -> None:
    fleet.cloud.stock_outs["*"] = {}
    fleet.create(size=1)
    counts = []
    for _ in range(4):
        fleet.run(600)
        counts.append(len(fleet.errors()))
    tries = [later - earlier for earlier, later in zip([0, *counts], counts, strict=False)]
    assert tries[0] > tries[1] >= tries[2] >= tries[3] >= 1


# Resize requests


def request(fleet: Fleet, name: str = "more", **members: Any) -> None:
    client = fleet.clients.of(KIND)
    given = REQUEST({"name": name} | members)
    path = {"project": PROJECT, "region": REGION, "instance_group_manager": "tiny"}
    fleet.done(client.insert_unary(**path, instance_group_manager_resize_request_resource=given))


def kept(fleet: Fleet, name: str = "more") -> Any:
    path = {"project": PROJECT, "region": REGION, "instance_group_manager": "tiny"}
    return fleet.clients.of(KIND).get(**path, resize_request=name)


def do(fleet: Fleet, verb: str, name: str = "more") -> None:
    path = {"project": PROJECT, "region": REGION, "instance_group_manager": "tiny"}
    fleet.done(getattr(fleet.clients.of(KIND), f"{verb}_unary")(**path, resize_request=name))


@fact("Documentation, resize requests: CREATING, ACCEPTED, SUCCEEDED; the target grows by the number asked for")
def test_a_resize_request_makes_its_vms(six: Fleet) -> None:
    request(six, resize_by=3)
    assert six.get().target_size == 9
    six.settle()
    assert kept(six).state == "SUCCEEDED"
    assert six.by_version() == {"v1": 9}


@fact("Documentation, resize requests: managed instances are CREATING while the request waits, and are then made all at once")
def test_vms_of_a_resize_request_are_made_all_at_once(six: Fleet) -> None:
    six.cloud.quotas["CPUS"] = 8
    request(six, resize_by=3)
    six.run(1000)
    assert kept(six).state == "ACCEPTED"
    assert six.doing() == {"none": 6, "creating": 3}
    assert sum(bool(each.instance_status) for each in six.instances()) == 6
    six.cloud.quotas["CPUS"] = 9
    six.settle()
    assert kept(six).state == "SUCCEEDED"
    assert six.by_version() == {"v1": 9}


@fact("API reference, resize request status.lastAttempt: why it is not fulfilled yet; it goes on trying")
def test_a_waiting_resize_request_tells_what_it_waits_for(six: Fleet) -> None:
    six.cloud.stock_outs["us-central1"] = {}
    request(six, resize_by=3)
    six.run(100)
    [error] = kept(six).status.last_attempt.error.errors
    assert error.code == "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS"
    del six.cloud.stock_outs["us-central1"]
    six.settle()
    assert not kept(six).status.last_attempt.error.errors


@fact(
    "API reference, resize request FAILED: what was made is rolled back; status.error is final",
    assumed="a configuration error fails it",
)
def test_a_resize_request_that_cannot_be_fulfilled_fails_and_leaves_the_group_as_it_was(six: Fleet) -> None:
    six.cloud.set_behaviours([{"creation_error": {"kind": "config", "message": "no such image"}}])
    request(six, resize_by=3)
    six.run(60)
    assert (kept(six).state, [each.message for each in kept(six).status.error.errors]) == ("FAILED", ["no such image"])
    assert (six.get().target_size, six.doing()) == (6, {"none": 6})


@fact(
    "API reference, requestedRunDuration: at its end the VMs are deleted",
    assumed="it counts from SUCCEEDED; the target shrinks with them",
)
def test_vms_of_a_resize_request_end_with_their_run_duration(six: Fleet) -> None:
    request(six, resize_by=2, requested_run_duration=compute_v1.Duration(seconds=3600))
    six.settle()
    listed = ask(six.cloud, "POST", f"{TINY}/listManagedInstances")[1]["managedInstances"]
    assert sum("terminationTimestamp" in each.get("scheduling", {}) for each in listed) == 2
    six.run(3500)
    assert six.by_version() == {"v1": 8}
    six.run(200)
    assert (six.get().target_size, six.by_version()) == (6, {"v1": 6})


@fact("Documentation, resize requests: a run duration of 10 minutes to 7 days", assumed="the wording")
@pytest.mark.parametrize("seconds", [599, 604_801])
def test_a_run_duration_has_limits(six: Fleet, seconds: int) -> None:
    with pytest.raises(exceptions.BadRequest, match="requestedRunDuration"):
        request(six, resize_by=1, requested_run_duration=compute_v1.Duration(seconds=seconds))
    assert six.get().target_size == 6


@fact("API reference, instances: names instead of a number; not together with resizeBy")
def test_a_resize_request_may_name_its_vms(six: Fleet) -> None:
    request(six, instances=[{"name": "one"}, {"name": "two"}])
    six.settle()
    assert {"one", "two"} <= {each.name for each in six.instances()}
    with pytest.raises(exceptions.BadRequest, match="resizeBy"):
        request(six, "both", instances=[{"name": "three"}], resize_by=1)
    with pytest.raises(exceptions.BadRequest, match="resizeBy"):
        request(six, "neither")


@fact("API reference, cancel: only in state ACCEPTED; it no longer waits", assumed="the target is as before")
def test_a_waiting_resize_request_is_cancelled_and_one_that_is_over_is_not(six: Fleet) -> None:
    six.cloud.stock_outs["*"] = {}
    request(six, resize_by=3)
    do(six, "cancel")
    six.settle()
    assert (kept(six).state, six.get().target_size, six.doing()) == ("CANCELLED", 6, {"none": 6})
    with pytest.raises(exceptions.BadRequest, match="CANCELLED"):
        do(six, "cancel")


@fact("API reference, delete: only an inactive request; VMs that were made stay")
def test_only_a_resize_request_that_is_over_is_deleted(six: Fleet) -> None:
    six.cloud.stock_outs["*"] = {}
    request(six, resize_by=3)
    with pytest.raises(exceptions.BadRequest, match="ACCEPTED"):
        do(six, "delete")
    six.cloud.stock_outs.clear()
    six.settle()
    listing = six.clients.of(KIND).list(project=PROJECT, region=REGION, instance_group_manager="tiny")
    assert [(each.name, each.state, each.resize_by) for each in listing] == [("more", "SUCCEEDED", 3)]
    do(six, "delete")
    assert ask(six.cloud, "GET", f"{REQUESTS}/more")[0] == 404
    assert six.by_version() == {"v1": 9}


@fact("Open whether the API allows both", assumed="412 for a resize request of a group whose autoscaler is on")
def test_a_resize_request_conflicts_with_an_autoscaler(six: Fleet) -> None:
    six.autoscale()
    assert refusal(six.cloud, "POST", REQUESTS, {"name": "more", "resizeBy": 1})[:2] == (412, "conditionNotMet")


@fact("Observed in kubernetes/autoscaler: operationType of an insert; requests are children of the group in every URL")
def test_a_resize_request_is_a_child_of_its_group(six: Fleet) -> None:
    status, operation = ask(six.cloud, "POST", REQUESTS, {"name": "more", "resizeBy": 1})
    assert (status, operation["operationType"]) == (200, "compute.instanceGroupManagers.createResizeRequest")
    assert operation["targetLink"].endswith("/instanceGroupManagers/tiny/resizeRequests/more")
    assert refusal(six.cloud, "POST", REQUESTS, {"name": "more", "resizeBy": 1})[:2] == (409, "alreadyExists")
    assert kept(six).self_link == operation["targetLink"]


@fact("API reference, resize request", assumed="shapes that go around a sold-out zone do so for requests too")
def test_a_resize_request_of_a_flexible_group_goes_where_there_is_capacity(fleet: Fleet) -> None:
    shape = compute_v1.DistributionPolicy(target_shape="ANY_SINGLE_ZONE")
    fleet.create(size=0, distribution_policy=shape, update_policy=policy(instance_redistribution_type="NONE"))
    fleet.cloud.stock_outs["us-central1-a"] = {}
    request(fleet, resize_by=4)
    fleet.settle()
    assert fleet.zones() == {"b": 4}
