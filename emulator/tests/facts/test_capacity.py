"""Facts about capacity: stock-outs, quotas and other reasons why VMs cannot be created."""

from __future__ import annotations

from typing import Any

import pytest
from google.cloud import compute_v1

from compute_emulator.control.instances import apply_effect
from compute_emulator.engine.capacity import Need, exceeded_quota, stock_out_failure
from emulator.tests.clients import PROJECT, send
from emulator.tests.facts.helpers import TINY, on_instances, urls
from emulator.tests.facts.source import fact
from emulator.tests.fleet import Fleet, version


def gpu(fleet: Fleet) -> None:
    """A template `gpu` of n1-standard-4 with a T4."""
    t4 = compute_v1.AcceleratorConfig(accelerator_type="nvidia-tesla-t4", accelerator_count=1)
    stops = compute_v1.Scheduling(on_host_maintenance="TERMINATE")
    fleet.template("gpu", machine_type="n1-standard-4", guest_accelerators=[t4], scheduling=stops)


def attempt(fleet: Fleet) -> Any:
    """The error of the latest attempt of one VM that cannot be created, as JSON."""
    listed = send(fleet.cloud, "POST", f"{TINY}/listManagedInstances")[1]["managedInstances"]
    return next(
        each["lastAttempt"]["errors"]["errors"][0] for each in listed if each["lastAttempt"]
    )


@fact(
    "Observed in kubernetes/k8s.io#9834 and GoogleCloudPlatform/ai-on-gke#849: code, message"
    " and details of a stock-out"
)
def test_a_stock_out_names_zone_machine_type_accelerator_and_other_zones(fleet: Fleet) -> None:
    gpu(fleet)
    fleet.cloud.stock_outs["us-central1-b"] = {"accelerator": "nvidia-tesla-t4"}
    fleet.create(size=3, versions=[version("gpu")])
    fleet.run(10)
    error = attempt(fleet)
    assert error["code"] == "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS"
    assert (
        error["message"]
        == "The zone 'projects/demo/zones/us-central1-b' does not have enough resources available"
        " to fulfill the request.  Try a different zone, or try again later."
    )
    link, localized, info = error["errorDetails"]
    assert link["help"]["links"][0]["url"] == "https://cloud.google.com/compute/docs/resource-error"
    text = (
        "A n1-standard-4 VM instance with 1 nvidia-tesla-t4 accelerator(s) is currently unavailable"
        " in the us-central1-b zone."
    )
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
    "Observed in CCExtractor/sample-platform#901: no zone is named if none has capacity",
    assumed="zonesAvailable is then empty",
)
def test_a_stock_out_everywhere_names_no_other_zone() -> None:
    failure = stock_out_failure(PROJECT, "us-central1-a", Need("n1-standard-1"))
    info = failure.details[2]["errorInfo"]["metadatas"]
    assert (info["zonesAvailable"], info["attachment"]) == ("", "")


@fact("Observed in hashicorp/nomad-autoscaler#839; API reference, QuotaExceededInfo")
@pytest.mark.parametrize(
    ("quota", "limit", "where", "dimensions"),
    [
        ("CPUS", 8, "in region us-central1", {"region": "us-central1"}),
        ("GPUS_ALL_REGIONS", 2, "globally", {}),
    ],
)
def test_a_quota_error_names_metric_limit_and_location(
    fleet: Fleet, quota: str, limit: int, where: str, dimensions: Any
) -> None:
    gpu(fleet)
    fleet.cloud.quotas[quota] = limit
    fleet.create(size=3, versions=[version("gpu")])
    fleet.run(10)
    error = attempt(fleet)
    assert (error["code"], error["message"]) == (
        "QUOTA_EXCEEDED",
        f"Quota '{quota}' exceeded.  Limit: {float(limit)} {where}.",
    )
    info = error["errorDetails"][0]["quotaInfo"]
    assert (info["limit"], info["dimensions"]) == (limit, dimensions)
    assert fleet.errors()[0].error.message.startswith("Instance 'tiny-")


@fact(
    "Documentation, allocation quotas: CPUs and GPUs per region, GPUS_ALL_REGIONS for the project",
    assumed="CPUs are derived from the type's name",
)
def test_a_quota_counts_within_its_scope() -> None:
    t4 = Need("n1-standard-4", (("nvidia-tesla-t4", 1),))
    assert exceeded_quota({"CPUS": 8}, "here", t4, [t4], [t4]) is None
    assert exceeded_quota({"CPUS": 7}, "here", t4, [t4], [t4]) == ("CPUS", 7)
    assert exceeded_quota({"CPUS": 8, "here/CPUS": 4}, "here", t4, [t4], [t4]) == ("CPUS", 4)
    assert exceeded_quota({"CPUS": 8, "there/CPUS": 4}, "here", t4, [t4], [t4]) is None
    assert exceeded_quota({"NVIDIA_T4_GPUS": 1}, "here", t4, [], [t4]) is None
    assert exceeded_quota({"GPUS_ALL_REGIONS": 1}, "here", t4, [], [t4]) == ("GPUS_ALL_REGIONS", 1)
    assert exceeded_quota({"GPUS_ALL_REGIONS": 0}, "here", Need("n1-standard-4"), [], []) is None


@fact("Documentation, machine types: the number of virtual CPUs")
@pytest.mark.parametrize(
    ("machine_type", "cpus"),
    [
        ("e2-medium", 2),
        ("n1-standard-4", 4),
        ("g2-standard-96", 96),
        ("a2-highgpu-2g", 24),
        ("a2-megagpu-16g", 96),
        ("a2-ultragpu-1g", 12),
        ("a3-highgpu-8g", 208),
    ],
)
def test_a_machine_type_has_its_number_of_cpus(machine_type: str, cpus: int) -> None:
    assert Need(machine_type).vcpus == cpus


@fact("Documentation, stopped VMs: they use no CPU quota", assumed="suspended ones use none either")
def test_standby_vms_use_no_quota(six: Fleet) -> None:
    on_instances(six, "stop", urls(six, 2))
    six.settle()
    six.cloud.quotas["CPUS"] = 6
    six.resize(6)
    six.settle()
    assert six.by_version() == {"v1": 6}


@fact(
    "Observed in kubernetes/k8s.io#9834: zonesAvailable",
    assumed="other zones of the group that have capacity are named too",
)
def test_a_stock_out_names_only_zones_with_capacity(fleet: Fleet) -> None:
    for zone in "ab":
        fleet.cloud.stock_outs[f"us-central1-{zone}"] = {}
    fleet.create(size=1)
    fleet.run(10)
    [info] = [each["errorInfo"] for each in attempt(fleet)["errorDetails"] if "errorInfo" in each]
    assert (info["metadatas"]["zone"], info["metadatas"]["zonesAvailable"]) == (
        "us-central1-a",
        "us-central1-c",
    )


@fact("Observed in kubernetes/autoscaler: stock-outs have several codes, all *POOL_EXHAUSTED*")
@pytest.mark.parametrize("code", ["ZONE_RESOURCE_POOL_EXHAUSTED", "RESOURCE_POOL_EXHAUSTED"])
def test_a_stock_out_can_have_another_code(fleet: Fleet, code: str) -> None:
    fleet.cloud.stock_outs["us-central1"] = {"code": code}
    fleet.create(size=3)
    fleet.run(10)
    assert attempt(fleet)["code"] == code
    fleet.cloud.stock_outs.clear()
    fleet.settle()


@fact(
    "Observed in kubernetes/autoscaler: addresses, permissions and organization policies fail"
    " creations too",
    assumed="the wording",
)
@pytest.mark.parametrize(
    ("kind", "code", "says"),
    [
        ("addresses", "IP_SPACE_EXHAUSTED", "exhausted"),
        ("permissions", "PERMISSIONS_ERROR", "permission"),
        ("org_policy", "CONDITION_NOT_MET", "vmExternalIpAccess"),
    ],
)
def test_creation_can_fail_for_reasons_other_than_capacity(
    fleet: Fleet, kind: str, code: str, says: str
) -> None:
    fleet.cloud.set_behaviours([{"creation_error": {"kind": kind, "times": 3}}])
    fleet.create(size=3)
    fleet.run(5)
    assert attempt(fleet)["code"] == code
    assert says in fleet.errors()[0].error.message
    fleet.settle()


@fact(
    "API reference, resize: its operation never fails for lack of capacity; the group retries"
    " for ever and is not stable"
)
@pytest.mark.parametrize("cause", ["stock-out", "quota"])
def test_missing_capacity_fails_no_operation_and_is_retried_for_ever(
    six: Fleet, cause: str
) -> None:
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


@fact(
    "API reference, currentAction CREATING: the group retries",
    assumed="pauses of 10 s, doubling up to 5 min",
)
def test_creation_is_retried_with_growing_pauses(fleet: Fleet) -> None:
    fleet.cloud.stock_outs["*"] = {}
    fleet.create(size=1)
    counts = []
    for _ in range(4):
        fleet.run(600)
        counts.append(len(fleet.errors()))
    tries = [later - earlier for earlier, later in zip([0, *counts], counts, strict=False)]
    assert tries[0] > tries[1] >= tries[2] >= tries[3] >= 1


@fact(
    "API reference, currentAction RECREATING: the group retries",
    assumed="the pauses start at 10 s for each recreation",
)
def test_a_recreation_starts_with_the_shortest_pause(fleet: Fleet) -> None:
    fleet.cloud.stock_outs["*"] = {}
    fleet.create(size=1)
    fleet.run(600)
    fleet.cloud.stock_outs.clear()
    fleet.settle()
    before = len(fleet.errors())
    fleet.cloud.stock_outs["*"] = {}
    apply_effect(fleet.cloud, "stop")
    fleet.run(30)
    assert len(fleet.errors()) - before == 2  # after 3 s and 13 s later


# Resize requests
