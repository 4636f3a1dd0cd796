"""Facts about the fields of a regional managed instance group: methods, defaults, limits,
rejections.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import compute_v1

from emulator.tests.clients import PROJECT, REGION, rejection, send
from emulator.tests.facts.helpers import GROUPS, TINY, on_instances, urls
from emulator.tests.facts.source import fact
from emulator.tests.fleet import SCOPE, TEMPLATES, Fleet, version

SHAPE = compute_v1.DistributionPolicy
HEALING = compute_v1.InstanceGroupManagerAutoHealingPolicy
V1 = TEMPLATES + "v1"


@fact("API reference, regionInstanceGroupManagers: it has patch and no update")
def test_a_group_has_no_put(six: Fleet) -> None:
    assert send(six.cloud, "PUT", TINY, {"targetSize": 3})[0] == 405


@fact("API reference, regionInstanceGroupManagers.instanceGroup: a group of the same name")
def test_a_manager_owns_an_instance_group_of_its_name(six: Fleet) -> None:
    assert six.get().instance_group.endswith(f"/projects/{PROJECT}/{SCOPE}/instanceGroups/tiny")
    groups = six.clients.of(compute_v1.RegionInstanceGroupsClient)
    assert groups.get(project=PROJECT, region=REGION, instance_group="tiny").size == 6


@fact(
    "API reference, insert: at most 2000 instances; documentation, creating groups: 1000 per zone",
    assumed="the wording",
)
def test_a_group_has_at_most_2000_vms_and_1000_per_zone(fleet: Fleet) -> None:
    def insert(size: int, zones: int) -> int:
        named = [{"zone": f"zones/us-central1-{letter}"} for letter in "abc"[:zones]]
        body = {
            "name": f"g-{size}-{zones}",
            "targetSize": size,
            "instanceTemplate": V1,
            "distributionPolicy": {"zones": named},
        }
        return send(fleet.cloud, "POST", f"{GROUPS}", body)[0]

    # The operation that creates the group ends once the intent is recorded, so the test does not
    # have to create two thousand VMs.
    assert [insert(2001, 3), insert(1001, 1), insert(2000, 3), insert(1000, 1)] == [
        400,
        400,
        200,
        200,
    ]


@fact(
    "API reference, deleteInstances, recreateInstances, abandonInstances: at most 1000"
    " instances per request"
)
@pytest.mark.parametrize("verb", ["deleteInstances", "recreateInstances", "abandonInstances"])
def test_a_request_names_at_most_1000_instances(six: Fleet, verb: str) -> None:
    named = [f"zones/us-central1-a/instances/vm-{n}" for n in range(1001)]
    assert rejection(six.cloud, "POST", f"{TINY}/{verb}", {"instances": named})[:2] == (
        400,
        "invalid",
    )


@fact("API reference, versions: up to two templates", assumed="the wording")
def test_a_group_has_at_most_two_versions(fleet: Fleet) -> None:
    with pytest.raises(exceptions.BadRequest, match="At most 2 versions"):
        fleet.create(versions=[version("v1"), version("v2", fixed=1), version("v3", fixed=1)])


@fact("API reference, InstanceGroupManager: name and targetSize are required on insert")
@pytest.mark.parametrize("missing", ["name", "targetSize", "instanceTemplate"])
def test_a_group_needs_a_name_a_size_and_a_template(fleet: Fleet, missing: str) -> None:
    body = {"name": "tiny", "targetSize": 1, "instanceTemplate": V1}
    del body[missing]
    status, reason, message = rejection(fleet.cloud, "POST", GROUPS, body)
    assert (status, reason, message) == (
        400,
        "required",
        f"Required field 'resource.{missing}' not specified",
    )


@fact("API reference, baseInstanceName: at most 58 characters")
def test_a_base_name_has_at_most_58_characters(fleet: Fleet) -> None:
    fleet.create(base_instance_name="x" * 58)
    with pytest.raises(exceptions.BadRequest, match="baseInstanceName"):
        fleet.create(name="other", base_instance_name="x" * 59)


@fact(
    "API reference, baseInstanceName: VM names are this name, a hyphen and four random characters"
)
def test_vm_names_are_the_base_name_and_four_characters(fleet: Fleet) -> None:
    fleet.create(base_instance_name="serve")
    assert all(re.fullmatch(r"serve-[a-z0-9]{4}", each.name) for each in fleet.instances())


@fact("API reference, baseInstanceName: trailing # signs become sequential numbers")
def test_vms_can_be_numbered(fleet: Fleet) -> None:
    fleet.create(size=3, base_instance_name="vm-###")
    assert [each.name for each in fleet.instances()] == ["vm-001", "vm-002", "vm-003"]


@fact(
    "API reference, baseInstanceName: derived from the name if omitted",
    assumed="the group's name, truncated to 58 characters",
)
def test_an_omitted_base_name_is_the_groups_name(fleet: Fleet) -> None:
    name = "long" * 15
    send(fleet.cloud, "POST", GROUPS, {"name": name, "targetSize": 0, "instanceTemplate": V1})
    assert send(fleet.cloud, "GET", f"{GROUPS}/{name}")[1]["baseInstanceName"] == name[:58]


@fact("Documentation, regional groups: three zones of the region unless others are chosen")
def test_a_group_uses_three_zones_of_its_region(fleet: Fleet) -> None:
    assert len(fleet.cloud.zones_of(REGION)) == 4
    fleet.create()
    assert len(fleet.get().distribution_policy.zones) == 3


@fact("Observed in spinnaker/clouddriver#4469, with its wording")
@pytest.mark.parametrize(
    ("policy", "refused"), [({}, True), ({"zones": []}, True), ({"targetShape": "EVEN"}, False)]
)
def test_a_distribution_policy_cannot_be_empty(
    fleet: Fleet, policy: dict[str, Any], refused: bool
) -> None:
    body = {
        "name": "spread",
        "targetSize": 1,
        "instanceTemplate": "global/instanceTemplates/v1",
        "distributionPolicy": policy,
    }
    if not refused:
        assert send(fleet.cloud, "POST", GROUPS, body)[0] == 200
        return
    message = (
        "Invalid value for field 'resource.distributionPolicy': ''. Distribution policy cannot be"
        " empty."
    )
    assert rejection(fleet.cloud, "POST", GROUPS, body) == (400, "invalid", message)


@fact(
    "Observed with terraform-provider-google: another set of zones needs a new group",
    assumed="the wording",
)
def test_the_zones_of_a_group_cannot_change(six: Fleet) -> None:
    fewer = SHAPE(
        zones=[compute_v1.DistributionPolicyZoneConfiguration(zone="zones/us-central1-a")]
    )
    with pytest.raises(exceptions.BadRequest, match="zones"):
        six.patch(distribution_policy=fewer)


@fact("API reference, insert: references are checked at once")
def test_an_insert_checks_template_and_health_check_at_once(fleet: Fleet) -> None:
    with pytest.raises(exceptions.NotFound, match="instanceTemplates/none' was not found"):
        fleet.create(versions=[version("none")])
    with pytest.raises(exceptions.NotFound, match="healthChecks/none' was not found"):
        fleet.create(auto_healing_policies=[HEALING(health_check="global/healthChecks/none")])


@fact("Observed by hashicorp/terraform-provider-google#5252, with its wording")
def test_a_reference_to_another_collection_is_rejected(fleet: Fleet) -> None:
    wrong = compute_v1.InstanceGroupManagerVersion(
        instance_template="zones/us-central1-a/instances/x"
    )
    with pytest.raises(
        exceptions.BadRequest,
        match=r"versions\[0\].instanceTemplate.*Unexpected resource collection 'instances'",
    ):
        fleet.create(versions=[wrong])


@fact("API reference, insert: the operation does not depend on capacity")
def test_an_insert_succeeds_without_capacity(fleet: Fleet) -> None:
    fleet.cloud.stock_outs["*"] = {}
    fleet.create()  # asserts that its operation ended without an error
    assert fleet.current_actions() == {"creating": 6}


@fact(
    "API reference, delete: rejected while a backend service uses the group"
    " (resourceInUseByAnotherResource)"
)
def test_a_group_behind_a_backend_service_cannot_be_deleted(six: Fleet) -> None:
    six.serve()
    assert rejection(six.cloud, "DELETE", TINY)[:2] == (400, "resourceInUseByAnotherResource")


@fact(
    "API reference, delete: all VMs are deleted with the group",
    assumed="the operation ends once the last VM is gone",
)
def test_the_delete_of_a_group_ends_with_its_last_vm(six: Fleet) -> None:
    operations = six.clients.of(compute_v1.RegionOperationsClient)
    name = six.call("delete_unary").name
    for seconds, status, left in [
        (5, "RUNNING", 6),
        (10, "DONE", 0),
    ]:  # deleting a VM takes ten seconds
        six.clock.advance(seconds)
        six.cloud.advance()
        operation = operations.get(project=PROJECT, region=REGION, operation=name)
        vms = six.clients.of(compute_v1.InstancesClient).aggregated_list(project=PROJECT)
        assert (operation.status.name, sum(len(scoped.instances) for _, scoped in vms)) == (
            status,
            left,
        )
    with pytest.raises(exceptions.NotFound):
        six.get()


@fact(
    "gcloud, Terraform and Spinnaker delete the autoscaler first",
    assumed="the API rejects the deletion of an autoscaled group",
)
def test_a_group_with_an_autoscaler_cannot_be_deleted(six: Fleet) -> None:
    six.autoscale()
    assert rejection(six.cloud, "DELETE", TINY)[:2] == (400, "resourceInUseByAnotherResource")


@fact("API reference, versions: override the top-level instanceTemplate")
def test_versions_override_the_instance_template(fleet: Fleet) -> None:
    fleet.create(instance_template=V1, versions=[version("v2")])
    assert [each.instance_template.rpartition("/")[2] for each in fleet.get().versions] == ["v2"]


@fact("API reference, versions[].name: unique among the versions", assumed="the wording")
def test_version_names_are_unique(fleet: Fleet) -> None:
    with pytest.raises(exceptions.BadRequest, match="unique"):
        fleet.create(versions=[version("v1", label="a"), version("v2", fixed=1, label="a")])


@fact("API reference, versions[].targetSize: exactly one version has none", assumed="the wording")
@pytest.mark.parametrize(
    "versions",
    [
        [version("v1", fixed=6)],
        [version("v1", fixed=3), version("v2", fixed=3)],
        [version("v1"), version("v2")],
    ],
)
def test_exactly_one_version_gets_the_rest(fleet: Fleet, versions: list[Any]) -> None:
    with pytest.raises(exceptions.BadRequest, match="Exactly one version"):
        fleet.create(versions=versions)


@fact("API reference, versions[].targetSize.fixed: limited by the group's target size")
def test_a_fixed_version_is_never_larger_than_the_group(fleet: Fleet) -> None:
    fleet.create(size=3, versions=[version("v1"), version("v2", fixed=9)])
    assert [each.target_size.calculated for each in fleet.get().versions] == [0, 3]


@fact(
    "API reference, versions[].targetSize.percent: 'rounded if necessary'",
    assumed="percentages of versions round half up",
)
@pytest.mark.parametrize(
    ("size", "percent", "expected"),
    [(10, 15, 2), (10, 14, 1), (4, 10, 0), (5, 10, 1), (1, 10, 0), (1, 50, 1)],
)
def test_a_percentage_of_a_version_rounds_half_up(
    fleet: Fleet, size: int, percent: int, expected: int
) -> None:
    fleet.create(size=size, versions=[version("v1"), version("v2", percent=percent)])
    assert fleet.get().versions[1].target_size.calculated == expected


@fact("API reference, setInstanceTemplate, and patch of instanceTemplate: one version remains")
def test_setting_a_template_leaves_one_version(six: Fleet) -> None:
    for write in ("setInstanceTemplate", "patch"):
        six.versions(version("v1"), version("v2", fixed=1))
        if write == "patch":
            six.patch(instance_template=TEMPLATES + "v3")
        else:
            request = compute_v1.RegionInstanceGroupManagersSetTemplateRequest(
                instance_template=TEMPLATES + "v3"
            )
            six.done(
                six.call(
                    "set_instance_template_unary",
                    region_instance_group_managers_set_template_request_resource=request,
                )
            )
        assert [each.instance_template.rpartition("/")[2] for each in six.get().versions] == [
            "v3"
        ], write


@fact(
    "Observed with terraform-provider-google: named ports are accepted on insert; API"
    " reference: read-only on the manager afterwards"
)
def test_named_ports_are_set_on_insert_and_later_on_the_instance_group(fleet: Fleet) -> None:
    fleet.create(named_ports=[compute_v1.NamedPort(name="http", port=8000)])
    fleet.patch(named_ports=[compute_v1.NamedPort(name="http", port=9000)])
    assert [each.port for each in fleet.get().named_ports] == [8000]
    path = f"{GROUPS.replace('instanceGroupManagers', 'instanceGroups')}/tiny"
    fingerprint = send(fleet.cloud, "GET", path)[1]["fingerprint"]
    body = {"fingerprint": fingerprint, "namedPorts": [{"name": "http", "port": 9000}]}
    assert send(fleet.cloud, "POST", f"{path}/setNamedPorts", body)[0] == 200
    assert [each.port for each in fleet.get().named_ports] == [9000]
    assert rejection(fleet.cloud, "POST", f"{path}/setNamedPorts", body) == (
        412,
        "conditionNotMet",
        "Invalid fingerprint.",
    )


@fact(
    "The API reference says required, gcloud patches without one",
    assumed="a group's fingerprint is checked only if it is sent",
)
def test_a_fingerprint_of_a_group_must_match_if_it_is_sent(six: Fleet) -> None:
    stale = six.get().fingerprint
    six.patch(description="other")
    assert rejection(six.cloud, "PATCH", TINY, {"fingerprint": stale}) == (
        412,
        "conditionNotMet",
        "Invalid fingerprint.",
    )
    assert send(six.cloud, "PATCH", TINY, {"description": "without"})[0] == 200
    assert six.get().fingerprint != stale


@fact("API reference, listManagedInstancesResults: PAGELESS by default, PAGINATED turns paging on")
def test_managed_instances_are_one_page_by_default(six: Fleet) -> None:
    path = f"{TINY}/listManagedInstances?maxResults=2"
    assert len(send(six.cloud, "POST", path)[1]["managedInstances"]) == 6
    six.patch(list_managed_instances_results="PAGINATED")
    first = send(six.cloud, "POST", path)[1]
    assert len(first["managedInstances"]) == 2
    rest = send(six.cloud, "POST", f"{path}&pageToken={first['nextPageToken']}")[1][
        "managedInstances"
    ]
    assert not {each["name"] for each in rest} & {
        each["name"] for each in first["managedInstances"]
    }


@fact(
    "Observed on the service: CreateInstances with PROACTIVE and SUBSTITUTE is rejected"
    " (CONDITION_NOT_MET)"
)
def test_instances_cannot_be_created_by_name_in_a_group_that_substitutes(six: Fleet) -> None:
    body = {"instances": [{"name": "special"}]}
    status, reason, message = rejection(six.cloud, "POST", f"{TINY}/createInstances", body)
    assert (status, reason) == (412, "conditionNotMet")
    assert message.startswith(
        "CreateInstances cannot be used when UpdatePolicy type is set to PROACTIVE"
    )


@fact(
    "API reference, *Instances: URLs of members of the group",
    assumed="one other instance rejects the whole request",
)
def test_an_instance_of_another_group_is_rejected(six: Fleet) -> None:
    stranger = "zones/us-central1-a/instances/stranger"
    assert rejection(
        six.cloud, "POST", f"{TINY}/deleteInstances", {"instances": [*urls(six, 1), stranger]}
    )[:2] == (400, "invalid")
    assert six.get().target_size == 6
    on_instances(six, "delete", [*urls(six, 1), stranger], skip_instances_on_validation_error=True)
    assert six.get().target_size == 5
