"""Facts about the all-instances configuration: metadata and labels that override the template's."""

from __future__ import annotations

from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import compute_v1

from compute_emulator.control.instances import apply_effect
from emulator.tests.clients import PROJECT
from emulator.tests.facts.helpers import on_instances, urls
from emulator.tests.facts.source import fact
from emulator.tests.facts.test_configs import config, metadata, write
from emulator.tests.fleet import Fleet, policy, version

GENTLE: dict[str, Any] = {"minimal_action": "NONE"}


def properties(**members: Any) -> Any:
    return compute_v1.InstanceGroupManagerAllInstancesConfig(
        properties=compute_v1.InstancePropertiesPatch(**members)
    )


def metadata_values(fleet: Fleet, key: str) -> list[str]:
    """The values that the VMs have for a metadata key."""
    return sorted(metadata(fleet, url).get(key, "") for url in urls(fleet))


def instance(fleet: Fleet, url: str) -> Any:
    zone, name = url.split("/zones/")[1].split("/instances/")
    return fleet.clients.of(compute_v1.InstancesClient).get(
        project=PROJECT, zone=zone, instance=name
    )


@pytest.fixture
def manual(six: Fleet) -> Fleet:
    """Six VMs that are updated only on request."""
    six.patch(update_policy=policy(type_="OPPORTUNISTIC", **GENTLE))
    return six


@fact(
    "API reference, allInstancesConfig: it is applied by updating the group's VMs, proactively"
    " or by applyUpdatesToInstances"
)
def test_the_configuration_reaches_vms_through_an_update(manual: Fleet) -> None:
    manual.patch(all_instances_config=properties(metadata={"color": "red"}))
    manual.settle()
    assert metadata_values(manual, "color") == [""] * 6
    on_instances(manual, "apply_updates_to", urls(manual, 2))
    manual.settle()
    assert metadata_values(manual, "color") == [""] * 4 + ["red"] * 2
    manual.patch(update_policy=policy(**GENTLE))
    manual.settle()
    assert metadata_values(manual, "color") == ["red"] * 6


@fact("Documentation, all-instances configuration: metadata and labels change without a restart")
def test_the_configuration_restarts_no_vm(manual: Fleet) -> None:
    before, ids = urls(manual), {each.id for each in manual.instances()}
    manual.patch(
        all_instances_config=properties(metadata={"color": "red"}, labels={"tier": "x"}),
        update_policy=policy(**GENTLE),
    )
    manual.run(1)
    assert {each.instance_status for each in manual.instances()} == {"RUNNING"}
    manual.settle()
    assert {each.id for each in manual.instances()} == ids
    assert {instance(manual, url).labels["tier"] for url in before} == {"x"}


@fact(
    "API reference, minimalAction: the update does at least this",
    assumed="also for the all-instances configuration",
)
def test_the_minimal_action_applies_to_the_configuration_too(six: Fleet) -> None:
    before = urls(six)
    six.patch(all_instances_config=properties(metadata={"color": "red"}))
    six.settle()
    assert not set(before) & set(urls(six))
    assert metadata_values(six, "color") == ["red"] * 6


@fact(
    "API reference, status.allInstancesConfig.effective: whether all VMs have it; currentRevision:"
    " RFC 3339 text"
)
def test_the_group_reports_whether_the_configuration_is_in_effect(manual: Fleet) -> None:
    status = manual.get().status.all_instances_config
    assert (status.effective, status.current_revision) == (True, "")
    manual.patch(all_instances_config=properties(metadata={"color": "red"}))
    manual.settle()
    status = manual.get().status.all_instances_config
    assert (status.effective, status.current_revision[:2]) == (False, "20")
    assert manual.get().status.version_target.is_reached
    on_instances(manual, "apply_updates_to", [], all_instances=True)
    manual.settle()
    assert (
        manual.get().status.all_instances_config
        == compute_v1.InstanceGroupManagerStatusAllInstancesConfig(
            effective=True, current_revision=status.current_revision
        )
    )


@fact(
    "Documentation, all-instances configuration: it overrides the template's values of the same"
    " names"
)
def test_the_configuration_overrides_the_template(fleet: Fleet) -> None:
    items = [
        compute_v1.Items(key="color", value="blue"),
        compute_v1.Items(key="size", value="small"),
    ]
    fleet.template(
        "own", metadata=compute_v1.Metadata(items=items), labels={"tier": "y", "app": "z"}
    )
    both = properties(metadata={"color": "red"}, labels={"tier": "x"})
    fleet.create(3, versions=[version("own")], all_instances_config=both)
    fleet.settle()
    assert (metadata_values(fleet, "color"), metadata_values(fleet, "size")) == (
        ["red"] * 3,
        ["small"] * 3,
    )
    assert dict(instance(fleet, urls(fleet)[0]).labels) == {"tier": "x", "app": "z"}


@fact(
    "Documentation, updating groups: new VMs get the group's latest configuration, repaired"
    " ones keep theirs"
)
def test_new_vms_get_the_configuration_and_repaired_ones_do_not(manual: Fleet) -> None:
    manual.patch(all_instances_config=properties(metadata={"color": "red"}))
    manual.resize(7)
    manual.settle()
    assert metadata_values(manual, "color") == [""] * 6 + ["red"]
    apply_effect(manual.cloud, "stop", most=7)
    manual.settle()
    assert metadata_values(manual, "color") == [""] * 6 + ["red"]


@fact(
    "Documentation, stateful groups: a property may not be set for all VMs and for a single VM",
    assumed="the wording",
)
def test_a_property_cannot_be_set_for_all_vms_and_for_one(manual: Fleet) -> None:
    manual.patch(all_instances_config=properties(metadata={"color": "red"}))
    one, other = (each.name for each in manual.instances()[:2])
    with pytest.raises(exceptions.BadRequest, match="both"):
        write(manual, "update", config(one, color="blue"))
    write(manual, "update", config(other, size="small"))
    with pytest.raises(exceptions.BadRequest, match="both"):
        manual.patch(all_instances_config=properties(metadata={"size": "large"}))
