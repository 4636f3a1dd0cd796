"""Facts about instance templates: their contents, where they can be used, when they can be
deleted.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import compute_v1

from compute_emulator.api import discovery
from emulator.tests.clients import PROJECT, REGION, Clients, send, template
from emulator.tests.facts.source import fact
from emulator.tests.fleet import Fleet, policy, version

T4 = [compute_v1.AcceleratorConfig(accelerator_type="nvidia-tesla-t4", accelerator_count=1)]
STOPS = compute_v1.Scheduling(on_host_maintenance="TERMINATE")


def insert(clients: Clients, given: Any) -> Any:
    """The template's properties as they are stored."""
    templates = clients.of(compute_v1.InstanceTemplatesClient)
    clients.done(templates.insert_unary(project=PROJECT, instance_template_resource=given))
    return templates.get(project=PROJECT, instance_template=given.name).properties


def insert_regional(clients: Clients, name: str, region: str) -> str:
    templates = clients.of(compute_v1.RegionInstanceTemplatesClient)
    clients.done(
        templates.insert_unary(
            project=PROJECT, region=region, instance_template_resource=template(name)
        )
    )
    return f"regions/{region}/instanceTemplates/{name}"


@fact("API reference, instanceTemplates and regionInstanceTemplates: neither has patch or update")
def test_a_template_cannot_be_changed(fleet: Fleet) -> None:
    for collection in ("instanceTemplates", "regionInstanceTemplates"):
        assert not {f"compute.{collection}.{verb}" for verb in ("patch", "update")} & set(
            discovery.methods()
        )
    status, _ = send(
        fleet.cloud,
        "PATCH",
        f"/compute/v1/projects/{PROJECT}/global/instanceTemplates/v1",
        {"description": "x"},
    )
    assert status == 405


@fact("API reference, regionInstanceTemplates: regional templates can be used in their own region")
def test_a_regional_template_can_be_used_only_in_its_own_region(fleet: Fleet) -> None:
    here, there = (
        insert_regional(fleet.clients, "local", region) for region in (REGION, "europe-west1")
    )
    with pytest.raises(exceptions.BadRequest, match="its own region"):
        fleet.create(versions=[compute_v1.InstanceGroupManagerVersion(instance_template=there)])
    fleet.create(versions=[compute_v1.InstanceGroupManagerVersion(instance_template=here)])
    assert here in fleet.get().versions[0].instance_template


@fact("API reference, instanceTemplates: global templates can be used in any region")
def test_a_global_template_can_be_used_in_any_region(fleet: Fleet) -> None:
    for region in (REGION, "europe-west1"):
        resource = compute_v1.InstanceGroupManager(
            name="any", target_size=0, versions=[version("v1")]
        )
        fleet.done(
            fleet.managers.insert_unary(
                project=PROJECT, region=region, instance_group_manager_resource=resource
            )
        )


@fact(
    "API reference, instanceTemplates.delete; wording observed in"
    " terraform-google-modules/terraform-google-vm#45"
)
def test_a_template_named_by_a_version_of_a_group_cannot_be_deleted(six: Fleet) -> None:
    six.versions(version("v1"), version("v2", fixed=1))
    templates = six.clients.of(compute_v1.InstanceTemplatesClient)
    for name in ("v1", "v2"):
        message = (
            f"The instance_template resource 'projects/demo/global/instanceTemplates/{name}' is"
            " already being used by 'projects/demo/regions/us-central1/instanceGroupManagers/tiny'"
        )
        with pytest.raises(exceptions.BadRequest, match=message):
            templates.delete_unary(project=PROJECT, instance_template=name)


@fact(
    "API reference, instanceTemplates.delete",
    assumed="a template is in use while VMs that are not updated yet have it",
)
def test_a_template_that_vms_still_have_cannot_be_deleted(six: Fleet) -> None:
    six.versions(version("v2"), update_policy=policy(type_="OPPORTUNISTIC"))
    six.run(10)
    templates = six.clients.of(compute_v1.InstanceTemplatesClient)
    with pytest.raises(exceptions.BadRequest, match="is already being used by"):
        templates.delete_unary(project=PROJECT, instance_template="v1")
    six.patch(update_policy=policy())
    six.settle()
    six.done(templates.delete_unary(project=PROJECT, instance_template="v1"))


@fact(
    "Documentation, instance templates: a group's new template must use the group's network",
    assumed="the wording",
)
def test_a_new_template_of_a_group_must_use_its_network_and_subnetwork(six: Fleet) -> None:
    six.template(
        "elsewhere",
        network_interfaces=[compute_v1.NetworkInterface(network="global/networks/other")],
    )
    subnetwork = compute_v1.NetworkInterface(
        network="global/networks/default", subnetwork=f"regions/{REGION}/subnetworks/s"
    )
    six.template("below", network_interfaces=[subnetwork])
    with pytest.raises(exceptions.BadRequest, match="same network as the group"):
        six.versions(version("elsewhere"))
    with pytest.raises(exceptions.BadRequest, match="same subnetwork as the group"):
        six.versions(version("v1"), version("below", fixed=1))
    assert {each.instance_template.rpartition("/")[2] for each in six.get().versions} == {"v1"}


@fact(
    "Documentation, instance templates: machineType is a bare name",
    assumed="a URL is rejected on insert, not with an INTERNAL_ERROR later",
)
def test_a_machine_type_is_a_name_and_not_a_url(clients: Clients) -> None:
    with pytest.raises(exceptions.BadRequest, match="machineType"):
        insert(clients, template(machine_type="zones/us-central1-a/machineTypes/n1-standard-1"))


@fact("API reference, AcceleratorConfig in templates: acceleratorType is a bare name")
def test_an_accelerator_type_is_a_name_and_not_a_url(clients: Clients) -> None:
    url = [
        compute_v1.AcceleratorConfig(
            accelerator_type="zones/us-central1-a/acceleratorTypes/nvidia-l4", accelerator_count=1
        )
    ]
    with pytest.raises(exceptions.BadRequest, match="acceleratorType"):
        insert(
            clients,
            template(machine_type="g2-standard-4", guest_accelerators=url, scheduling=STOPS),
        )


@fact("API reference, InstanceProperties.resourcePolicies: names, not URLs", assumed="the wording")
def test_a_resource_policy_is_a_name_and_not_a_url(clients: Clients) -> None:
    assert insert(clients, template("named", resource_policies=["nightly"])).resource_policies == [
        "nightly"
    ]
    with pytest.raises(exceptions.BadRequest, match="resourcePolicies"):
        insert(clients, template(resource_policies=[f"regions/{REGION}/resourcePolicies/nightly"]))


@fact(
    "API reference, ReservationAffinity: ANY_RESERVATION by default; a SPECIFIC_RESERVATION is"
    " named by key and values",
    assumed="the other kinds name none; the wording",
)
@pytest.mark.parametrize(
    ("given", "refused"),
    [
        ({}, ""),
        ({"consume_reservation_type": "NO_RESERVATION"}, ""),
        ({"consume_reservation_type": "SPECIFIC_RESERVATION", "key": "k", "values": ["mine"]}, ""),
        ({"consume_reservation_type": "SPECIFIC_RESERVATION", "values": ["mine"]}, "key"),
        ({"consume_reservation_type": "SPECIFIC_RESERVATION", "key": "k"}, "values"),
        ({"key": "k", "values": ["mine"]}, "key"),
    ],
)
def test_only_a_specific_reservation_is_named(
    clients: Clients, given: dict[str, Any], refused: str
) -> None:
    made = template(reservation_affinity=compute_v1.ReservationAffinity(given))
    if refused:
        with pytest.raises(exceptions.BadRequest, match=f"reservationAffinity.{refused}"):
            insert(clients, made)
        return
    expected = given.get("consume_reservation_type", "ANY_RESERVATION")
    assert insert(clients, made).reservation_affinity.consume_reservation_type == expected


@fact(
    "API reference, initializeParams.sourceImage; observed with gcloud 528: it sends the"
    " family's URL, not the image's"
)
def test_a_disk_can_name_an_image_family(clients: Clients) -> None:
    kept = insert(clients, template()).disks[0].initialize_params.source_image
    assert kept.endswith("projects/cos-cloud/global/images/family/cos-121-lts")


@fact("API reference, Metadata.items[].key: 1 to 128 characters of [a-zA-Z0-9-_]")
@pytest.mark.parametrize("key", ["", "a b", "ä", "x" * 129])
def test_a_metadata_key_has_a_restricted_alphabet(clients: Clients, key: str) -> None:
    with pytest.raises(exceptions.BadRequest):
        insert(clients, template(metadata=compute_v1.Metadata(items=[{"key": key, "value": "v"}])))


@fact("API reference, Metadata.items[].value: at most 262144 bytes; less than 512 KB in total")
def test_metadata_has_a_maximum_size_per_value_and_in_total(clients: Clients) -> None:
    def items(*sizes: int) -> Any:
        return compute_v1.Metadata(
            items=[{"key": f"k{n}", "value": "x" * size} for n, size in enumerate(sizes)]
        )

    insert(clients, template(metadata=items(262_144)))
    for sizes in [(262_145,), (262_144, 262_144)]:
        with pytest.raises(exceptions.BadRequest, match="too large"):
            insert(clients, template("big", metadata=items(*sizes)))


@fact("API reference, Tags.items: RFC 1035", assumed="the wording")
@pytest.mark.parametrize("tag", ["Upper", "1st", "under_score", "x" * 64])
def test_a_tag_is_a_name(clients: Clients, tag: str) -> None:
    with pytest.raises(exceptions.BadRequest, match="tags"):
        insert(clients, template(tags=compute_v1.Tags(items=["fine", tag])))


@fact("Documentation, labels: lower case, digits, - and _, at most 63", assumed="the wording")
@pytest.mark.parametrize("labels", [{"App": "x"}, {"app": "X"}, {"1": "x"}, {"app": "x" * 64}])
def test_labels_are_lower_case(clients: Clients, labels: dict[str, str]) -> None:
    with pytest.raises(exceptions.BadRequest, match="labels"):
        insert(clients, template(labels=labels))


@fact("API reference, serviceAccounts: only one per VM is supported", assumed="the wording")
def test_a_vm_has_at_most_one_service_account(clients: Clients) -> None:
    accounts = [compute_v1.ServiceAccount(email=f"{name}@demo.example") for name in "ab"]
    with pytest.raises(exceptions.BadRequest, match="serviceAccounts"):
        insert(clients, template(service_accounts=accounts))


@fact("API reference, Scheduling: onHostMaintenance MIGRATE and automaticRestart true by default")
def test_a_template_migrates_and_restarts_by_default(clients: Clients) -> None:
    kept = insert(clients, template()).scheduling
    assert (kept.on_host_maintenance, kept.automatic_restart, kept.preemptible) == (
        "MIGRATE",
        True,
        False,
    )


@fact(
    "API reference, Scheduling: Spot VMs do not restart by themselves and do not migrate; wording"
    " observed in percona/mongo_terraform_ansible#34 and lighttransport/francine#5"
)
@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"automatic_restart": True}, "AutomaticRestart is true"),
        ({"on_host_maintenance": "MIGRATE"}, "OnHostMaintenance isn't TERMINATE"),
    ],
)
def test_a_spot_template_does_not_restart_or_migrate(
    clients: Clients, wrong: dict[str, Any], why: str
) -> None:
    spot = {"provisioning_model": "SPOT"}
    kept = insert(clients, template("spot", scheduling=compute_v1.Scheduling(spot))).scheduling
    assert (kept.on_host_maintenance, kept.automatic_restart, kept.preemptible) == (
        "TERMINATE",
        False,
        True,
    )
    message = (
        "Invalid value for field 'resource.properties.scheduling.preemptible': 'true'. Scheduling"
        f" must have preemptible be false when {why}."
    )
    with pytest.raises(exceptions.BadRequest, match=re.escape(message)):
        insert(clients, template("wrong", scheduling=compute_v1.Scheduling(spot | wrong)))


@fact(
    "Observed in GoogleCloudPlatform/magic-modules#5705: STANDARD is the default of VMs that are"
    " not preemptible",
    assumed="preemptible VMs have no provisioning model",
)
def test_a_preemptible_template_has_no_provisioning_model(clients: Clients) -> None:
    old = {"preemptible": True, "automatic_restart": False, "on_host_maintenance": "TERMINATE"}
    kept = insert(clients, template("old", scheduling=compute_v1.Scheduling(old))).scheduling
    assert "provisioning_model" not in kept


@fact(
    "Documentation, setting VM host options; wording observed in"
    " jenkinsci/google-compute-engine-plugin#63"
)
@pytest.mark.parametrize("members", [{"guest_accelerators": T4}, {"machine_type": "g2-standard-4"}])
def test_a_vm_with_a_gpu_cannot_migrate(clients: Clients, members: dict[str, Any]) -> None:
    with pytest.raises(
        exceptions.BadRequest,
        match="Instances with guest accelerators do not support live migration",
    ):
        insert(clients, template(**members))
    insert(clients, template(scheduling=STOPS, **members))


@fact(
    "Documentation, GPU machine types",
    assumed="the built-in GPU may be named or omitted; another one is rejected",
)
@pytest.mark.parametrize(
    ("machine_type", "gpu"),
    [
        ("g2-standard-4", "nvidia-l4"),
        ("g4-standard-48", "nvidia-rtx-pro-6000"),
        ("a2-highgpu-1g", "nvidia-tesla-a100"),
        ("a2-megagpu-16g", "nvidia-tesla-a100"),
        ("a2-ultragpu-1g", "nvidia-a100-80gb"),
        ("a3-highgpu-8g", "nvidia-h100-80gb"),
        ("a3-ultragpu-8g", "nvidia-h200-141gb"),
        ("a4-highgpu-8g", "nvidia-b200"),
    ],
)
def test_an_accelerator_optimized_type_includes_its_gpu(
    clients: Clients, machine_type: str, gpu: str
) -> None:
    given: dict[str, Any] = {"machine_type": machine_type, "scheduling": STOPS}
    own = [compute_v1.AcceleratorConfig(accelerator_type=gpu, accelerator_count=1)]
    insert(clients, template("left-out", **given))
    insert(clients, template("named", guest_accelerators=own, **given))
    with pytest.raises(exceptions.BadRequest, match=f"comes with {gpu}"):
        insert(clients, template("other", guest_accelerators=T4, **given))


@fact(
    "Documentation, container start-up agent: deprecated",
    assumed="a template with its metadata is still accepted",
)
def test_a_template_can_still_have_a_container_declaration(clients: Clients) -> None:
    declaration = compute_v1.Metadata(
        items=[{"key": "gce-container-declaration", "value": "spec: {}"}]
    )
    assert (
        insert(clients, template(metadata=declaration)).metadata.items[0].key
        == "gce-container-declaration"
    )
