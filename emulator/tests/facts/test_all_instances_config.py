"""Facts about the all-instances configuration: metadata and labels that a group puts before its
templates."""

from __future__ import annotations

from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import compute_v1

from compute_emulator.control.instances import apply_effect
from emulator.tests.clients import PROJECT
from emulator.tests.facts.asking import on_instances, urls
from emulator.tests.facts.source import fact
from emulator.tests.facts.test_configs import config, metadata, write
from emulator.tests.fleet import Fleet, policy, version

GENTLE: dict[str, Any] = {"minimal_action": "NONE"}


def properties(**members: Any) -> Any:
    return compute_v1.InstanceGroupManagerAllInstancesConfig(
        properties=compute_v1.InstancePropertiesPatch(**members)
    )


def having(fleet: Fleet, key: str) -> list[str]:
    """What the VMs have for a metadata key."""
    return sorted(metadata(fleet, url).get(key, "") for url in urls(fleet))


def instance(fleet: Fleet, url: str) -> Any:
    zone, name = url.split("/zones/")[1].split("/instances/")
    return fleet.clients.of(compute_v1.InstancesClient).get(
        project=PROJECT, zone=zone, instance=name
    )


@pytest.fixture
def calm(six: Fleet) -> Fleet:
    """Six VMs that are updated only when asked."""
    six.patch(update_policy=policy(type_="OPPORTUNISTIC", **GENTLE))
    return six


@fact(
    "API reference, allInstancesConfig: to apply it the group's VMs are updated, proactively or by"
    " applyUpdatesToInstances"
)
def test_the_configuration_reaches_the_vms_by_an_update(calm: Fleet) -> None:
    calm.patch(all_instances_config=properties(metadata={"color": "red"}))
    calm.settle()
    assert having(calm, "color") == [""] * 6
    on_instances(calm, "apply_updates_to", urls(calm, 2))
    calm.settle()
    assert having(calm, "color") == [""] * 4 + ["red"] * 2
    calm.patch(update_policy=policy(**GENTLE))
    calm.settle()
    assert having(calm, "color") == ["red"] * 6


@fact("Documentation, all-instances configuration: metadata and labels are changed in VMs that run")
def test_the_configuration_restarts_nobody(calm: Fleet) -> None:
    before, ids = urls(calm), {each.id for each in calm.instances()}
    calm.patch(
        all_instances_config=properties(metadata={"color": "red"}, labels={"tier": "x"}),
        update_policy=policy(**GENTLE),
    )
    calm.run(1)
    assert {each.instance_status for each in calm.instances()} == {"RUNNING"}
    calm.settle()
    assert {each.id for each in calm.instances()} == ids
    assert {instance(calm, url).labels["tier"] for url in before} == {"x"}


@fact(
    "API reference, minimalAction: the update does at least this",
    assumed="for the all-instances configuration too",
)
def test_a_minimal_action_holds_for_the_configuration_too(six: Fleet) -> None:
    before = urls(six)
    six.patch(all_instances_config=properties(metadata={"color": "red"}))
    six.settle()
    assert not set(before) & set(urls(six))
    assert having(six, "color") == ["red"] * 6


@fact(
    "API reference, status.allInstancesConfig.effective: whether all VMs have it; currentRevision:"
    " RFC 3339 text"
)
def test_the_group_tells_whether_the_configuration_is_in_effect(calm: Fleet) -> None:
    status = calm.get().status.all_instances_config
    assert (status.effective, status.current_revision) == (True, "")
    calm.patch(all_instances_config=properties(metadata={"color": "red"}))
    calm.settle()
    status = calm.get().status.all_instances_config
    assert (status.effective, status.current_revision[:2]) == (False, "20")
    assert calm.get().status.version_target.is_reached
    on_instances(calm, "apply_updates_to", [], all_instances=True)
    calm.settle()
    assert (
        calm.get().status.all_instances_config
        == compute_v1.InstanceGroupManagerStatusAllInstancesConfig(
            effective=True, current_revision=status.current_revision
        )
    )


@fact(
    "Documentation, all-instances configuration: it goes before the template's values of the same"
    " names"
)
def test_the_configuration_goes_before_the_template(fleet: Fleet) -> None:
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
    assert (having(fleet, "color"), having(fleet, "size")) == (["red"] * 3, ["small"] * 3)
    assert dict(instance(fleet, urls(fleet)[0]).labels) == {"tier": "x", "app": "z"}


@fact(
    "Documentation, updating groups: new VMs take the group's latest configuration, repaired ones"
    " keep theirs"
)
def test_new_vms_have_the_configuration_and_repaired_ones_do_not(calm: Fleet) -> None:
    calm.patch(all_instances_config=properties(metadata={"color": "red"}))
    calm.resize(7)
    calm.settle()
    assert having(calm, "color") == [""] * 6 + ["red"]
    apply_effect(calm.cloud, "stop", most=7)
    calm.settle()
    assert having(calm, "color") == [""] * 6 + ["red"]


@fact(
    "Documentation, stateful groups: no property may be set for all VMs and for one VM both",
    assumed="the wording",
)
def test_the_same_property_is_not_set_for_all_and_for_one(calm: Fleet) -> None:
    calm.patch(all_instances_config=properties(metadata={"color": "red"}))
    one, other = (each.name for each in calm.instances()[:2])
    with pytest.raises(exceptions.BadRequest, match="both"):
        write(calm, "update", config(one, color="blue"))
    write(calm, "update", config(other, size="small"))
    with pytest.raises(exceptions.BadRequest, match="both"):
        calm.patch(all_instances_config=properties(metadata={"size": "large"}))
