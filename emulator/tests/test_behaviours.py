"""Configured instance behaviour, and how the group reacts: images, deaths, failing creations."""

from __future__ import annotations

from typing import Any

import pytest
from google.cloud import compute_v1

from compute_emulator import Cloud, VirtualClock
from compute_emulator.control.behaviours import Behaviour, behaviour_for
from compute_emulator.control.instances import apply_effect
from emulator.tests.clients import Clients
from emulator.tests.fleet import Fleet, policy, version


def template_named(name: str, text: str = "") -> dict[str, Any]:
    return {
        "name": name,
        "properties": {"metadata": {"items": [{"key": "user-data", "value": text}]}},
    }


def test_the_first_matching_behaviour_applies() -> None:
    entries: list[dict[str, Any]] = [
        {"template": "tiny-2*", "boot_seconds": 60},
        {"group": "tiny", "zone": "*-a", "boot_seconds": 5},
        {"jitter": 0.1},
    ]
    assert behaviour_for(entries, "tiny", "r-a", template_named("tiny-2")).boot_seconds == 60
    assert behaviour_for(entries, "tiny", "r-a", template_named("tiny-1")).boot_seconds == 5
    assert behaviour_for(entries, "tiny", "r-b", template_named("tiny-1")) == Behaviour(jitter=0.1)
    assert behaviour_for([], "tiny", "r-b", template_named("tiny-1")) == Behaviour()


def test_an_image_is_found_anywhere_in_the_template() -> None:
    cloud_init = (
        "#cloud-config\nruncmd:\n - docker run -p 8080:8080"
        " europe-docker.pkg.dev/p/r/tiny@sha256:bad00 --flag\n"
    )
    for pattern, matches in [
        ("tiny@sha256:bad*", True),
        ("*/r/tiny@*", True),
        ("tiny:*", False),
        ("*/other@*", False),
    ]:
        found = behaviour_for(
            [{"image": pattern, "never_ready": True}], "g", "z", template_named("t", cloud_init)
        )
        assert found.never_ready is matches, pattern


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"boot_secs": 3}, r"behaviours\[1\]: unknown member 'boot_secs'"),
        ({"boot_seconds": "soon"}, r"behaviours\[1\].boot_seconds must be seconds"),
        ({"never_ready": "yes"}, r"behaviours\[1\].never_ready must be true or false"),
        (
            {"creation_error": "bad luck"},
            r"behaviours\[1\].creation_error must be one of stock_out, quota, config",
        ),
    ],
)
def test_an_invalid_behaviour_is_rejected_with_its_location(
    cloud: Cloud, entry: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        cloud.set_behaviours([{}, entry])
    assert cloud.behaviours == []


def test_boot_and_readiness_take_the_time_of_the_image(fleet: Fleet) -> None:
    image = compute_v1.Items(key="user-data", value="docker run eu.gcr.io/p/slow@sha256:1")
    fleet.template("slow", metadata=compute_v1.Metadata(items=[image]))
    fleet.cloud.set_behaviours([{"image": "*/slow@*", "boot_seconds": 100}])
    fleet.create(size=3, versions=[version("v1"), version("slow", fixed=1)])
    fleet.run(60)
    assert fleet.current_actions() == {"none": 2, "creating": 1}
    fleet.run(40)
    assert fleet.current_actions() == {"none": 2, "verifying": 1}


def test_jitter_spreads_boot_times_and_is_reproducible_by_seed() -> None:
    runs = []
    for _ in range(2):
        hand = VirtualClock()
        fleet = Fleet(Clients(Cloud(clock=hand, seed=7)), hand)
        fleet.cloud.set_behaviours([{"jitter": 0.5}])
        fleet.create(size=6)
        fleet.run(100)
        runs.append(
            sorted(instance.running_since for instance in fleet.controller.instances.values())
        )
    assert runs[0] == runs[1]
    assert len(set(runs[0])) == 6


@pytest.mark.parametrize(
    ("seconds", "timeout", "lasts"), [(20, 600, 20), (600, 40, 40), (0, 600, 0)]
)
def test_connections_last_for_the_configured_time_within_the_draining_timeout(
    fleet: Fleet, seconds: int, timeout: int, lasts: int
) -> None:
    fleet.cloud.set_behaviours([{"drain_seconds": seconds}])
    fleet.create(size=1)
    fleet.serve(drain=timeout)
    fleet.settle()
    fleet.resize(0)
    began = fleet.clock.now()
    while fleet.instances()[0].instance_status == "RUNNING":
        fleet.run(1)
    assert fleet.clock.now() - began == pytest.approx(
        lasts, abs=3
    )  # the operation of the resize takes two seconds


def test_a_vm_that_dies_after_a_while_is_repaired_every_time(fleet: Fleet) -> None:
    fleet.cloud.set_behaviours([{"dies_after_seconds": 200}])
    fleet.create(size=3)
    fleet.settle()
    recreated = 0
    for _ in range(60):
        fleet.run(10)
        recreated += fleet.current_actions().get("recreating", 0) > 0
    assert recreated
    assert len(fleet.instances()) == 3


def test_a_stock_out_in_a_zone_is_reported_and_retried_until_it_ends(fleet: Fleet) -> None:
    fleet.cloud.stock_outs["us-central1-b"] = {}
    fleet.create(size=6)
    fleet.run(100)
    assert fleet.current_actions() == {"none": 4, "creating": 2}
    stuck = [each for each in fleet.instances() if each.current_action == "CREATING"]
    assert {each.instance.split("/zones/")[1][:13] for each in stuck} == {"us-central1-b"}
    assert not stuck[0].instance_status
    [error] = stuck[0].last_attempt.errors.errors
    assert error.code == "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS"
    assert "does not have enough resources available to fulfill the request" in error.message
    metadatas = next(
        each.error_info.metadatas for each in error.error_details if each.error_info.metadatas
    )
    assert (metadatas["zone"], metadatas["zonesAvailable"]) == (
        "us-central1-b",
        "us-central1-a,us-central1-c",
    )
    listed = fleet.errors()
    assert len(listed) > 2
    assert listed[0].instance_action_details.action == "CREATING"
    assert {each.error.message.partition(" creation failed: ")[0] for each in listed} == {
        f"Instance '{s.name}'" for s in stuck
    }
    assert not fleet.get().status.is_stable
    del fleet.cloud.stock_outs["us-central1-b"]
    fleet.settle()
    assert fleet.by_version() == {"v1": 6}
    assert not any(each.last_attempt.errors.errors for each in fleet.instances())


def test_a_stock_out_of_an_accelerator_affects_only_vms_that_need_it(fleet: Fleet) -> None:
    gpu = compute_v1.AcceleratorConfig(accelerator_type="nvidia-tesla-t4", accelerator_count=1)
    stay = compute_v1.Scheduling(on_host_maintenance="TERMINATE")
    fleet.template("gpu", guest_accelerators=[gpu], scheduling=stay)
    fleet.cloud.stock_outs["us-central1"] = {"accelerator": "nvidia-tesla-*"}
    fleet.create(size=3)
    fleet.settle()
    fleet.floor_holds = True
    fleet.versions(version("gpu"))
    fleet.run(300)
    assert fleet.by_version() == {"v1": 3}
    assert fleet.current_actions() == {"none": 3, "creating": 3}
    fleet.versions(version("v1"))
    fleet.settle()
    assert fleet.current_actions() == {"none": 3}


def test_a_stock_out_can_be_set_for_a_future_period(fleet: Fleet, clock: VirtualClock) -> None:
    fleet.cloud.stock_outs["us-central1"] = {"from": clock.now() + 200, "until": clock.now() + 500}
    fleet.create(size=3)
    fleet.settle()
    fleet.run(200)
    fleet.versions(version("v2"))
    fleet.run(100)
    assert fleet.by_version() == {"v1": 3}
    fleet.settle()
    assert fleet.by_version() == {"v2": 3}


def test_a_balanced_group_uses_zones_with_capacity(fleet: Fleet) -> None:
    fleet.cloud.stock_outs["us-central1-a"] = {}
    fleet.create(
        size=6,
        distribution_policy=compute_v1.DistributionPolicy(target_shape="BALANCED"),
        update_policy=policy(instance_redistribution_type="NONE"),
    )
    fleet.settle()
    assert fleet.zones() == {"b": 3, "c": 3}


def test_a_quota_stops_creation_and_is_reported(fleet: Fleet) -> None:
    fleet.cloud.quotas["CPUS"] = 4
    fleet.create(size=6)
    fleet.run(60)
    assert fleet.by_version() == {"v1": 4}
    [error] = next(
        each for each in fleet.instances() if each.current_action == "CREATING"
    ).last_attempt.errors.errors
    assert (error.code, error.message) == (
        "QUOTA_EXCEEDED",
        "Quota 'CPUS' exceeded.  Limit: 4.0 in region us-central1.",
    )
    assert error.error_details[0].quota_info.limit == 4


def test_a_configuration_error_fails_only_the_set_number_of_creations(fleet: Fleet) -> None:
    fleet.cloud.set_behaviours(
        [
            {
                "template": "v2",
                "creation_error": {"kind": "config", "times": 4, "message": "no such image"},
            }
        ]
    )
    fleet.create(size=3)
    fleet.settle()
    fleet.versions(version("v2"))
    fleet.run(5)
    assert {each.error.message.partition("failed: ")[2] for each in fleet.errors()} == {
        "no such image"
    }
    assert len(fleet.errors()) == 3
    fleet.settle()
    assert fleet.by_version() == {"v2": 3}
    assert len(fleet.errors()) == 4


def test_a_zone_that_goes_down_loses_its_vms_and_gets_them_back_afterwards(fleet: Fleet) -> None:
    fleet.create(size=6)
    fleet.settle()
    fleet.cloud.stock_outs["us-central1-c"] = {}
    assert len(apply_effect(fleet.cloud, "stop", zone="us-central1-c")) == 2
    fleet.run(120)
    assert fleet.current_actions() == {"none": 4, "recreating": 2}
    fleet.cloud.stock_outs.clear()
    fleet.settle()
    assert fleet.current_actions() == {"none": 6}


def test_a_snapshot_lists_the_instances(fleet: Fleet) -> None:
    fleet.create(size=3)
    fleet.serve()
    fleet.settle()
    fleet.run(30)
    record = fleet.cloud.snapshot()[0]
    assert record == {
        "name": record["name"],
        "group": "tiny",
        "zone": record["zone"],
        "region": "us-central1",
        "template": "v1",
        "version": None,
        "status": "RUNNING",
        "action": "NONE",
        "alive": "HEALTHY",
        "ready": True,
        "error": None,
    }
