"""Facts about what does not exist or does not fit together, and where Compute Engine refuses it: at
the request, or for each VM of a group.
"""

from __future__ import annotations

from typing import Any

import pytest
from google.cloud import compute_v1

from emulator.tests.clients import PROJECT, REGION, send
from emulator.tests.facts.helpers import BASE, GROUPS, TINY
from emulator.tests.facts.source import fact
from emulator.tests.fleet import Fleet, policy, version

STOPS = compute_v1.Scheduling(on_host_maintenance="TERMINATE")
COS = "projects/cos-cloud/global/images/family/cos-stable"
NOWHERE = "Machine type with name '{}' does not exist in zone '{}'."


def disk(image: str = COS, disk_type: str = "") -> Any:
    params = {"source_image": image} | ({"disk_type": disk_type} if disk_type else {})
    return compute_v1.AttachedDisk(
        boot=True, initialize_params=compute_v1.AttachedDiskInitializeParams(params)
    )


def accelerator(kind: str, count: int = 1) -> Any:
    return [compute_v1.AcceleratorConfig(accelerator_type=kind, accelerator_count=count)]


def errors(fleet: Fleet, **properties: Any) -> dict[str, tuple[str, str]]:
    """Code and message of each VM that a group of three cannot create, by zone."""
    fleet.template("strict", **properties)
    fleet.create(size=3, versions=[version("strict")])
    return attempts(fleet)


def attempts(fleet: Fleet) -> dict[str, tuple[str, str]]:
    fleet.run(10)
    listed = send(fleet.cloud, "POST", f"{TINY}/listManagedInstances")[1]["managedInstances"]
    return {
        each["instance"].split("/zones/")[1].split("/")[0]: (error["code"], error["message"])
        for each in listed
        for error in each.get("lastAttempt", {}).get("errors", {}).get("errors", [])[:1]
    }


def only(found: dict[str, tuple[str, str]]) -> tuple[str, str]:
    """The one error that VMs in all three zones have."""
    assert len(found) == 3
    assert len(set(found.values())) == 1
    return next(iter(found.values()))


# At the request


def insert(fleet: Fleet, **properties: Any) -> tuple[int, str, str]:
    given = {
        "machineType": "e2-small",
        "disks": [{"boot": True, "initializeParams": {"sourceImage": COS}}],
        "networkInterfaces": [{"network": "global/networks/default"}],
    }
    body = {"name": "t", "properties": given | properties}
    return refusal(fleet, "POST", f"{BASE}/global/instanceTemplates", body)


def refusal(fleet: Fleet, method: str, path: str, body: Any = None) -> tuple[int, str, str]:
    status, answer = send(fleet.cloud, method, path, body)
    error = answer["error"]
    return status, error["errors"][0]["reason"], error["message"]


@fact("Observed in GoogleCloudPlatform/magic-modules#15255")
@pytest.mark.parametrize("name", ["c2-standard-2", "abacus-1", "n1-standard-3"])
def test_a_template_must_name_an_existing_machine_type(fleet: Fleet, name: str) -> None:
    assert insert(fleet, machineType=name) == (
        400,
        "invalid",
        f"Invalid value for field 'resource.properties.machineType': '{name}'. Instance properties"
        " must provide existing machine type.",
    )


@fact("Documentation: at most 64 labels of a resource, and 64 network tags of a VM")
def test_a_template_has_at_most_64_labels_and_tags(fleet: Fleet) -> None:
    names = [f"n{number}" for number in range(65)]
    for member, value in (
        ("labels", dict.fromkeys(names, "x")),
        ("tags", {"items": names}),
    ):
        status, reason, message = insert(fleet, **{member: value})
        assert (status, reason) == (400, "invalid")
        assert f"'resource.properties.{member}" in message


@fact("Documentation, custom machine types: [SERIES-]custom-CPUS-MEMORY[-ext]")
def test_a_custom_machine_type_exists(fleet: Fleet) -> None:
    fleet.template("custom", machine_type="n2-custom-8-16384")
    found = send(fleet.cloud, "GET", f"{BASE}/zones/us-central1-a/machineTypes/custom-2-4096")[1]
    assert (found["guestCpus"], found["memoryMb"]) == (2, 4096)


@fact("Observed in ansible-collections/google.cloud#516")
def test_a_template_names_a_disk_type_without_its_url(fleet: Fleet) -> None:
    url = "zones/us-central1-a/diskTypes/pd-ssd"
    params = {"sourceImage": COS, "diskType": url}
    assert insert(fleet, disks=[{"boot": True, "initializeParams": params}]) == (
        400,
        "invalid",
        "Invalid value for field 'resource.properties.disks[0].initializeParams.diskType':"
        f" '{url}'. DiskType '{url}' must be a valid resource name (not an url).",
    )


@fact(
    "Documentation, Shielded VM: integrity monitoring needs the vTPM",
    assumed="refused at the insert of the template, in these words",
)
def test_integrity_monitoring_needs_the_vtpm(fleet: Fleet) -> None:
    shielded = {"enableVtpm": False, "enableIntegrityMonitoring": True}
    assert insert(fleet, shieldedInstanceConfig=shielded) == (
        400,
        "invalid",
        "Invalid value for field"
        " 'resource.properties.shieldedInstanceConfig.enableIntegrityMonitoring': 'true'."
        " Integrity monitoring requires vTPM to be enabled.",
    )


@fact("API reference, distributionPolicy.zones: a set of zones", assumed="in these words")
def test_a_group_names_each_of_its_zones_once(fleet: Fleet) -> None:
    zones = [{"zone": "zones/us-central1-a"}, {"zone": "zones/us-central1-a"}]
    body = {
        "name": "g",
        "targetSize": 1,
        "instanceTemplate": "global/instanceTemplates/v1",
        "distributionPolicy": {"zones": zones},
    }
    status, reason, message = refusal(fleet, "POST", GROUPS, body)
    assert (status, reason) == (400, "invalid")
    assert message.endswith("'us-central1-a'. Zones must be unique.")


@fact("Observed with gcloud: set-named-ports with a zone as --region; inspec/inspec-gcp#301")
@pytest.mark.parametrize(
    ("place", "name", "collection"),
    [("region", "us-west3-b", "instanceGroupManagers"), ("zone", "us-east1", "machineTypes")],
)
def test_an_unknown_region_or_zone_is_invalid(
    fleet: Fleet, place: str, name: str, collection: str
) -> None:
    assert refusal(fleet, "GET", f"{BASE}/{place}s/{name}/{collection}") == (
        400,
        "invalid",
        f"Invalid value for field '{place}': '{name}'. Unknown {place}.",
    )


@fact("Recorded by Config Connector: 404 for what a path names")
@pytest.mark.parametrize(
    "path",
    [
        f"projects/{PROJECT}/regions/moon-1",
        f"projects/{PROJECT}/zones/moon-1a",
        f"projects/{PROJECT}/global/networks/none",
        "projects/debian-cloud/global/images/debian-11",
        "projects/cos-cloud/global/images/family/cos-unstable",
        f"projects/{PROJECT}/global/images/none",
        f"projects/{PROJECT}/zones/us-central1-f/acceleratorTypes/nvidia-l4",
        f"projects/{PROJECT}/zones/us-central1-f/machineTypes/g2-standard-4",
    ],
)
def test_what_does_not_exist_is_not_found(fleet: Fleet, path: str) -> None:
    message = f"The resource '{path}' was not found"
    assert refusal(fleet, "GET", f"/compute/v1/{path}") == (404, "notFound", message)


@pytest.fixture
def map_fleet(fleet: Fleet) -> Fleet:
    """With the URL map `map`."""
    fleet.create()
    fleet.serve()
    url_map = {"name": "map", "defaultService": "global/backendServices/bs"}
    send(fleet.cloud, "POST", f"{BASE}/global/urlMaps", url_map)
    fleet.run(60)
    return fleet


RULE = {"target": "global/targetHttpProxies/p", "portRange": "80"}


def proxy(**members: Any) -> dict[str, Any]:
    return {"name": "p", "urlMap": "global/urlMaps/map"} | members


@fact("API reference, sslCertificates; recorded by Config Connector: 404 notFound")
def test_a_proxy_needs_certificates_that_exist(map_fleet: Fleet) -> None:
    body = proxy(sslCertificates=["global/sslCertificates/none"])
    assert refusal(map_fleet, "POST", f"{BASE}/global/targetHttpsProxies", body) == (
        404,
        "notFound",
        f"The resource 'projects/{PROJECT}/global/sslCertificates/none' was not found",
    )


@fact("Observed in GoogleCloudPlatform/k8s-config-connector#6788 and #4602")
def test_a_proxy_needs_a_certificate(map_fleet: Fleet) -> None:
    proxies = f"{BASE}/global/targetHttpsProxies"
    assert refusal(map_fleet, "POST", proxies, proxy()) == (
        400,
        "invalid",
        "Invalid value for field 'resource.sslCertificates': ''. At least 1 SSL certificate must be"
        " specified for TargetHttpsProxy creation.",
    )
    certificate = f"//certificatemanager.googleapis.com/projects/{PROJECT}/locations/global"
    body = proxy(sslCertificates=[f"{certificate}/certificates/c"])
    assert send(map_fleet.cloud, "POST", proxies, body)[0] == 200
    map_fleet.run(60)
    assert refusal(map_fleet, "POST", f"{BASE}/targetHttpsProxies/p/setSslCertificates", {}) == (
        412,
        "conditionNotMet",
        "Certificate Map or at least 1 SSL certificate must be specified for setting SSL"
        " certificates in TargetHttpsProxy.",
    )


@fact(
    "API reference; documentation, custom headers and forwarding rule concepts: forms, ranges and"
    " combinations of the members",
    assumed="the wording",
)
@pytest.mark.parametrize(
    ("collection", "body", "where"),
    [
        ("addresses", {"networkTier": "STANDARD"}, "networkTier"),
        ("targetHttpProxies", proxy(httpKeepAliveTimeoutSec=4), "httpKeepAliveTimeoutSec"),
        (
            "targetHttpsProxies",
            proxy(
                sslCertificates=[
                    "global/sslCertificates/c",
                    f"//certificatemanager.googleapis.com/projects/{PROJECT}/locations/global"
                    "/certificates/c",
                ]
            ),
            "sslCertificates",
        ),
        (
            "backendServices",
            {"loadBalancingScheme": "EXTERNAL_MANAGED", "network": "global/networks/default"},
            "network",
        ),
        (
            "backendServices",
            {"logConfig": {"enable": True, "optionalFields": ["serverInstance"]}},
            "logConfig.optionalFields",
        ),
        ("backendServices", {"customRequestHeaders": ["X-No-Colon"]}, "customRequestHeaders[0]"),
        ("backendServices", {"customResponseHeaders": ["X-GFE-A:b"]}, "customResponseHeaders[0]"),
        ("backendServices", {"customRequestHeaders": ["a:1", "A:2"]}, "customRequestHeaders[1]"),
        (
            "healthChecks",
            {"type": "HTTP", "httpHealthCheck": {"requestPath": "/a b"}},
            "httpHealthCheck.requestPath",
        ),
        (
            "healthChecks",
            {"type": "TCP", "tcpHealthCheck": {"response": "a" * 1025}},
            "tcpHealthCheck.response",
        ),
        (
            "forwardingRules",
            RULE | {"backendService": "regions/r/backendServices/b"},
            "backendService",
        ),
        ("forwardingRules", RULE | {"portRange": "80-81"}, "portRange"),
        ("forwardingRules", RULE | {"IPProtocol": "UDP"}, "IPProtocol"),
    ],
)
def test_members_that_do_not_fit_together_are_refused(
    map_fleet: Fleet, collection: str, body: dict[str, Any], where: str
) -> None:
    path = f"{BASE}/global/{collection}"
    status, reason, message = refusal(map_fleet, "POST", path, {"name": "p"} | body)
    assert (status, reason) == (400, "invalid")
    assert message.startswith(f"Invalid value for field 'resource.{where}'")


@fact("API reference, forwardingRules.networkTier: that of the address", assumed="the wording")
def test_a_rule_has_the_network_tier_of_its_address(fleet: Fleet) -> None:
    here = f"{BASE}/regions/{REGION}"
    address = {"name": "a", "networkTier": "STANDARD"}
    service = {"name": "bs", "loadBalancingScheme": "EXTERNAL", "protocol": "TCP"}
    send(fleet.cloud, "POST", f"{here}/addresses", address)
    send(fleet.cloud, "POST", f"{here}/backendServices", service)
    fleet.clock.advance(60)
    rule = {"name": "fr", "IPAddress": "a", "ports": ["80"]}
    rule |= {"backendService": f"regions/{REGION}/backendServices/bs"}
    status, _, message = refusal(fleet, "POST", f"{here}/forwardingRules", rule)
    assert status == 400
    assert message.startswith("Invalid value for field 'resource.networkTier': 'PREMIUM'.")
    matching = rule | {"networkTier": "STANDARD"}
    assert send(fleet.cloud, "POST", f"{here}/forwardingRules", matching)[0] == 200


@fact(
    "Documentation, set a target distribution shape, limitations: no canary updates with two"
    " versions for BALANCED, ANY and ANY_SINGLE_ZONE; observed in iree-org/iree#14361",
    assumed="the wording, and that the request is refused",
)
@pytest.mark.parametrize("shape", ["BALANCED", "ANY", "ANY_SINGLE_ZONE"])
def test_only_an_even_group_has_two_versions(fleet: Fleet, shape: str) -> None:
    fleet.create(
        size=6,
        distribution_policy=compute_v1.DistributionPolicy(target_shape=shape),
        update_policy=policy(instance_redistribution_type="NONE"),
    )
    versions = [
        {"instanceTemplate": "global/instanceTemplates/v1"},
        {"instanceTemplate": "global/instanceTemplates/v2", "targetSize": {"fixed": 1}},
    ]
    status, reason, message = refusal(fleet, "PATCH", TINY, {"versions": versions})
    assert (status, reason) == (400, "invalid")
    assert f"not supported for target shape {shape}" in message
    assert send(fleet.cloud, "PATCH", TINY, {"versions": versions[:1]})[0] == 200


# For each VM


@fact(
    "Observed in taskcluster/community-tc-config#75; documentation, GPU regions and zones",
    assumed="a group reports it for each VM, with the code INVALID_FIELD_VALUE",
)
def test_a_machine_type_exists_only_in_some_zones(fleet: Fleet) -> None:
    zones = [f"zones/us-central1-{letter}" for letter in "abf"]
    chosen = [compute_v1.DistributionPolicyZoneConfiguration(zone=zone) for zone in zones]
    fleet.template("strict", machine_type="g2-standard-4", scheduling=STOPS)
    fleet.create(
        size=3,
        versions=[version("strict")],
        distribution_policy=compute_v1.DistributionPolicy(zones=chosen),
    )
    url = "zones/us-central1-f/machineTypes/g2-standard-4"
    message = NOWHERE.format("g2-standard-4", "us-central1-f")
    assert attempts(fleet) == {
        "us-central1-f": (
            "INVALID_FIELD_VALUE",
            f"Invalid value for field 'resource.machineType': '{url}'. {message}",
        )
    }


@fact("Documentation, target distribution shape: BALANCED uses the zones that have the hardware")
def test_a_balanced_group_avoids_zones_without_the_machine_type(fleet: Fleet) -> None:
    zones = [f"zones/us-central1-{letter}" for letter in "abf"]
    chosen = [compute_v1.DistributionPolicyZoneConfiguration(zone=zone) for zone in zones]
    fleet.template("strict", machine_type="g2-standard-4", scheduling=STOPS)
    fleet.create(
        size=3,
        versions=[version("strict")],
        distribution_policy=compute_v1.DistributionPolicy(zones=chosen, target_shape="BALANCED"),
        update_policy=policy(instance_redistribution_type="NONE"),
    )
    assert attempts(fleet) == {}
    assert "us-central1-f" not in {
        each.instance.split("/zones/")[1].split("/")[0] for each in fleet.instances()
    }


@fact("Observed in hashicorp/terraform-provider-google#5860 and fastai/course-v3#430")
@pytest.mark.parametrize(("kind", "zones"), [("nvidia-tesla-p4", "b"), ("nvidia-tesla-x9", "abc")])
def test_an_accelerator_exists_only_in_some_zones(fleet: Fleet, kind: str, zones: str) -> None:
    found = errors(
        fleet,
        machine_type="n1-standard-4",
        guest_accelerators=accelerator(kind),
        scheduling=STOPS,
    )
    assert found == {
        f"us-central1-{letter}": (
            "RESOURCE_NOT_FOUND",
            f"The resource 'projects/{PROJECT}/zones/us-central1-{letter}/acceleratorTypes/{kind}'"
            " was not found",
        )
        for letter in zones
    }


@fact(
    "Observed in skypilot-org/skypilot#212 (A100 on N1) and by users of GKE (T4 on N2)",
    assumed="the code UNSUPPORTED_OPERATION, and that the machine type is named first",
)
@pytest.mark.parametrize(
    ("machine_type", "kind"),
    [("n1-highmem-8", "nvidia-tesla-a100"), ("n2-standard-32", "nvidia-tesla-t4")],
)
def test_an_accelerator_fits_only_some_machine_types(
    fleet: Fleet, machine_type: str, kind: str
) -> None:
    code, message = only(
        errors(
            fleet,
            machine_type=machine_type,
            guest_accelerators=accelerator(kind),
            scheduling=STOPS,
        )
    )
    assert (code, message) == (
        "UNSUPPORTED_OPERATION",
        f"[{machine_type}, {kind}] features are not compatible for creating instance.",
    )


@fact(
    "Documentation, GPU machine types, N1; observed in google/deepvariant#136 and #70 (messages of"
    " instances.insert)"
)
@pytest.mark.parametrize(
    ("kind", "count", "machine_type", "problem"),
    [
        (
            "nvidia-tesla-t4",
            3,
            "n1-standard-8",
            "Number of accelerator cards attached to an instance must be one of [1, 2, 4].",
        ),
        (
            "nvidia-tesla-v100",
            1,
            "n1-standard-16",
            "At most 12 vCPUs can be used along with 1 accelerator cards in an instance.",
        ),
    ],
)
def test_an_n1_vm_takes_only_some_numbers_of_accelerators(
    fleet: Fleet, kind: str, count: int, machine_type: str, problem: str
) -> None:
    found = errors(
        fleet,
        machine_type=machine_type,
        guest_accelerators=accelerator(kind, count),
        scheduling=STOPS,
    )
    field = "resource.guestAccelerators[0].acceleratorCount"
    assert only(found) == (
        "INVALID_FIELD_VALUE",
        f"Invalid value for field '{field}': '{count}'. {problem}",
    )


@fact("Observed in googleapis/nodejs-compute#518; hashicorp/terraform-provider-google#5428")
def test_only_the_first_disk_can_be_a_boot_disk(fleet: Fleet) -> None:
    code, message = only(errors(fleet, disks=[disk(), disk()]))
    assert code == "INVALID_FIELD_VALUE"
    assert message.startswith("Invalid value for field 'resource.disks[1]'")
    assert message.endswith("Boot disk must be the first disk attached to the instance.")


@fact(
    "Observed by users of GKE: UNSUPPORTED_OPERATION for pd-balanced on C4A; documentation,"
    " machine series support for Persistent Disk; hyperdisk-balanced on N1:"
    " cloudfoundry/bosh-google-cpi-release#388"
)
@pytest.mark.parametrize(
    ("machine_type", "disk_type"),
    [
        ("c4-standard-8", "pd-ssd"),
        ("c4a-standard-8", "pd-balanced"),
        ("c4d-standard-8", "pd-balanced"),
        ("n4-standard-2", "pd-standard"),
        ("m4-ultramem-56", "pd-ssd"),
        ("x4-960-12t-metal", "pd-balanced"),
        ("c3-standard-4", "pd-standard"),
        ("n1-standard-1", "hyperdisk-balanced"),
    ],
)
def test_a_machine_series_takes_only_some_disk_types(
    fleet: Fleet, machine_type: str, disk_type: str
) -> None:
    error = only(errors(fleet, machine_type=machine_type, disks=[disk(disk_type=disk_type)]))
    assert error == (
        "UNSUPPORTED_OPERATION",
        f"{disk_type} disk type cannot be used by {machine_type} machine type.",
    )


@fact("Documentation, machine series support for Persistent Disk: A4 and A3 Ultra")
@pytest.mark.parametrize("machine_type", ["a4-highgpu-8g", "a3-ultragpu-8g"])
def test_a4_and_a3_ultra_boot_from_hyperdisk_only(fleet: Fleet, machine_type: str) -> None:
    found = errors(
        fleet, machine_type=machine_type, disks=[disk(disk_type="pd-ssd")], scheduling=STOPS
    )
    assert found["us-central1-b"] == (
        "UNSUPPORTED_OPERATION",
        f"pd-ssd disk type cannot be used by {machine_type} machine type.",
    )


@fact("API reference, initializeParams.diskType", assumed="the error of a VM names the zone")
def test_an_unknown_disk_type_is_not_found(fleet: Fleet) -> None:
    found = errors(fleet, disks=[disk(disk_type="pd-floppy")])
    path = f"projects/{PROJECT}/zones/us-central1-a/diskTypes/pd-floppy"
    assert found["us-central1-a"] == (
        "RESOURCE_NOT_FOUND",
        f"The resource '{path}' was not found",
    )


@fact(
    "Observed by users of instances.insert: The referenced image resource cannot be found",
    assumed="a group reports it for each VM, with the code INVALID_FIELD_VALUE",
)
@pytest.mark.parametrize(
    "image",
    [
        "projects/cos-cloud/global/images/family/cos-unstable",
        "projects/debian-cloud/global/images/debian-11",
        f"projects/{PROJECT}/global/images/family/mine",
    ],
)
def test_an_image_must_exist(fleet: Fleet, image: str) -> None:
    assert only(errors(fleet, disks=[disk(image)])) == (
        "INVALID_FIELD_VALUE",
        "Invalid value for field 'resource.disks[0].initializeParams.sourceImage':"
        f" '{image}'. The referenced image resource cannot be found.",
    )
    fleet.cloud.catalogue["images"] = ["global/images/family/mine"]
    fleet.run(600)
    assert (attempts(fleet) == {}) == ("mine" in image)


@fact("Observed in related-sciences/gce-github-runner#46")
@pytest.mark.parametrize(
    ("machine_type", "image", "of_image", "of_machine"),
    [
        ("t2a-standard-1", COS, "X86_64", "ARM64"),
        ("c4a-standard-1", COS, "X86_64", "ARM64"),
        ("n4a-standard-1", COS, "X86_64", "ARM64"),
        (
            "e2-small",
            "projects/debian-cloud/global/images/family/debian-12-arm64",
            "ARM64",
            "X86_64",
        ),
    ],
)
def test_the_boot_image_has_the_architecture_of_the_machine_type(
    fleet: Fleet, machine_type: str, image: str, of_image: str, of_machine: str
) -> None:
    assert only(errors(fleet, machine_type=machine_type, disks=[disk(image)])) == (
        "INVALID_USAGE",
        f"Invalid resource usage: 'Requested boot disk architecture ({of_image}) is not compatible"
        f" with machine type architecture ({of_machine}).'.",
    )


@fact(
    "Observed by users of instances.insert: The referenced network/subnetwork resource cannot be"
    " found",
    assumed="a group reports it for each VM; other projects' networks exist",
)
@pytest.mark.parametrize(
    ("member", "path"),
    [("network", "global/networks/n"), ("subnetwork", "regions/us-central1/subnetworks/s")],
)
def test_networks_and_subnetworks_must_exist(fleet: Fleet, member: str, path: str) -> None:
    interfaces = [compute_v1.NetworkInterface({member: path})]
    assert only(errors(fleet, network_interfaces=interfaces)) == (
        "INVALID_FIELD_VALUE",
        f"Invalid value for field 'resource.networkInterfaces[0].{member}':"
        f" 'projects/{PROJECT}/{path}'. The referenced {member} resource cannot be found.",
    )
    fleet.cloud.catalogue[f"{member}s"] = [path]
    fleet.run(600)
    assert attempts(fleet) == {}


@fact(
    "Observed in kubicorn/kubicorn#475 (the code) and in"
    " GoogleCloudPlatform/pubsec-declarative-toolkit#607 (the message); documentation, Google APIs"
    " Service Agent: the account as which a group creates VMs",
    assumed="a group reports it for each VM",
)
def test_a_service_account_that_may_not_be_used(fleet: Fleet) -> None:
    fleet.cloud.service_accounts["llama@*"] = "denied"
    email = "llama@p.iam.gserviceaccount.com"
    accounts = [compute_v1.ServiceAccount(email=email, scopes=["cloud-platform"])]
    code, message = only(errors(fleet, service_accounts=accounts))
    assert code == "SERVICE_ACCOUNT_ACCESS_DENIED"
    assert message.startswith(f"The user does not have access to service account '{email}'.  User:")
    assert message.endswith(
        "Ask a project owner to grant you the iam.serviceAccountUser role on the service account"
    )
    fleet.cloud.service_accounts["llama@*"] = "missing"
    fleet.run(600)
    assert only(attempts(fleet)) == (
        "EXTERNAL_RESOURCE_NOT_FOUND",
        f"The resource '{email}' of type 'serviceAccount' was not found.",
    )
    fleet.cloud.service_accounts.clear()
    fleet.run(600)
    assert attempts(fleet) == {}


@fact("Documentation: configuration errors do not fail the group's operation; it retries for ever")
def test_a_group_that_cannot_create_vms_retries(fleet: Fleet) -> None:
    errors(fleet, machine_type="c4-standard-8", disks=[disk(disk_type="pd-ssd")])
    assert not fleet.get().status.is_stable
    listed = send(fleet.cloud, "GET", f"{GROUPS}/tiny/listErrors")[1]["items"]
    assert listed[0]["error"]["code"] == "UNSUPPORTED_OPERATION"
