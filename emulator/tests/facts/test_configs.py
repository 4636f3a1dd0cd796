"""Facts about per-instance configs: settings that belong to a single VM."""

from __future__ import annotations

from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import compute_v1

from compute_emulator.control.instances import apply_effect
from emulator.tests.clients import PROJECT
from emulator.tests.facts.helpers import on_instances, urls
from emulator.tests.facts.source import fact
from emulator.tests.fleet import Fleet, policy, version

STATE = compute_v1.PreservedState
CONFIG = compute_v1.PerInstanceConfig
PREFIX = "region_instance_group_manager"


@pytest.fixture
def manual(six: Fleet) -> Fleet:
    """Six VMs that are updated only on request."""
    six.patch(update_policy=policy(type_="OPPORTUNISTIC"))
    return six


def write(fleet: Fleet, how: str, *configs: Any) -> None:
    request = getattr(compute_v1, f"RegionInstanceGroupManager{how.title()}InstanceConfigReq")(
        per_instance_configs=configs
    )
    fleet.done(
        fleet.call(
            f"{how}_per_instance_configs_unary",
            **{f"{PREFIX}_{how}_instance_config_req_resource": request},
        )
    )


def delete_configs(fleet: Fleet, *names: str) -> None:
    request = compute_v1.RegionInstanceGroupManagerDeleteInstanceConfigReq(names=names)
    member = {f"{PREFIX}_delete_instance_config_req_resource": request}
    fleet.done(fleet.call("delete_per_instance_configs_unary", **member))


def config(name: str, **metadata: str) -> Any:
    return CONFIG(name=name, preserved_state=STATE(metadata=metadata))


def config_statuses(fleet: Fleet) -> dict[str, str]:
    """The status of each config, by name."""
    return {each.name: each.status for each in fleet.call("list_per_instance_configs")}


def metadata(fleet: Fleet, url: str) -> dict[str, str]:
    zone, name = url.split("/zones/")[1].split("/instances/")
    vm = fleet.clients.of(compute_v1.InstancesClient).get(project=PROJECT, zone=zone, instance=name)
    return {item.key: item.value for item in vm.metadata.items}


def name_of(url: str) -> str:
    return url.rpartition("/")[2]


@fact(
    "API reference, PerInstanceConfig.status: UNAPPLIED until the instance has it;"
    " status.stateful reports it for the group"
)
def test_a_config_is_unapplied_until_its_instance_is_updated(manual: Fleet) -> None:
    one = urls(manual)[0]
    write(manual, "update", config(name_of(one), role="first"))
    assert config_statuses(manual) == {name_of(one): "UNAPPLIED"}
    stateful = manual.get().status.stateful
    assert (stateful.has_stateful_config, stateful.per_instance_configs.all_effective) == (
        True,
        False,
    )
    assert "role" not in metadata(manual, one)
    on_instances(manual, "apply_updates_to", [one])
    manual.settle()
    assert (config_statuses(manual), metadata(manual, one)["role"]) == (
        {name_of(one): "EFFECTIVE"},
        "first",
    )
    assert manual.get().status.stateful.per_instance_configs.all_effective


@fact(
    "API reference, applyUpdatesToInstances: the least disruptive action",
    assumed="metadata needs a REFRESH, disks and addresses a RESTART",
)
def test_metadata_of_a_config_reaches_a_running_vm(manual: Fleet) -> None:
    before = {each.id for each in manual.instances()}
    one, two = urls(manual)[:2]
    disk = compute_v1.PreservedStatePreservedDisk(source="zones/us-central1-a/disks/data")
    write(
        manual,
        "update",
        config(name_of(one), role="first"),
        CONFIG(name=name_of(two), preserved_state=STATE(disks={"data": disk})),
    )
    manual.cloud.operations.seconds = 0.0
    on_instances(manual, "apply_updates_to", [one, two])
    assert manual.current_actions() == {"none": 4, "refreshing": 1, "restarting": 1}
    manual.settle()
    assert before == {each.id for each in manual.instances()}
    [kept] = [each for each in manual.instances() if each.instance == two]
    assert set(kept.preserved_state_from_config.disks) == {"data"}


@fact(
    "API reference, updatePerInstanceConfigs replaces, patchPerInstanceConfigs merges; the name is"
    " the key"
)
def test_an_update_replaces_and_a_patch_merges(manual: Fleet) -> None:
    one = urls(manual)[0]
    write(manual, "update", config(name_of(one), role="first", shard="1"))
    write(manual, "patch", config(name_of(one), shard="2"))
    [kept] = manual.call("list_per_instance_configs")
    assert dict(kept.preserved_state.metadata) == {"role": "first", "shard": "2"}
    write(manual, "update", config(name_of(one), shard="3"))
    [kept] = manual.call("list_per_instance_configs")
    assert dict(kept.preserved_state.metadata) == {"shard": "3"}


@fact("API reference, PerInstanceConfig.fingerprint: must be current if sent")
def test_a_stale_fingerprint_of_a_config_is_rejected(manual: Fleet) -> None:
    one = name_of(urls(manual)[0])
    write(manual, "update", config(one, role="first"))
    [kept] = manual.call("list_per_instance_configs")
    write(
        manual,
        "update",
        CONFIG(
            name=one,
            fingerprint=kept.fingerprint,
            preserved_state=STATE(metadata={"role": "second"}),
        ),
    )
    with pytest.raises(exceptions.PreconditionFailed, match="Invalid fingerprint"):
        write(manual, "update", CONFIG(name=one, fingerprint=kept.fingerprint))


@fact(
    "API reference, PerInstanceConfig.name: an error for an instance that does not exist or is not"
    " part of the group"
)
def test_a_config_needs_a_member_of_the_group(manual: Fleet) -> None:
    with pytest.raises(exceptions.BadRequest, match="not a member"):
        write(manual, "update", config("stranger", role="none"))
    with pytest.raises(exceptions.BadRequest, match="No per-instance config"):
        delete_configs(manual, "stranger")


@fact(
    "API reference, PerInstanceConfig.status UNAPPLIED_DELETION: deleted, but the instance"
    " still has it"
)
def test_a_deleted_config_disappears_once_its_instance_is_updated(manual: Fleet) -> None:
    one = urls(manual)[0]
    write(manual, "update", config(name_of(one), role="first"))
    on_instances(manual, "apply_updates_to", [one])
    manual.settle()
    delete_configs(manual, name_of(one))
    assert config_statuses(manual) == {name_of(one): "UNAPPLIED_DELETION"}
    on_instances(manual, "apply_updates_to", [one])
    manual.settle()
    assert (config_statuses(manual), "role" in metadata(manual, one)) == ({}, False)


@fact("API reference, PreservedState: kept through repair, recreation and update")
@pytest.mark.parametrize("cause", ["repair", "recreate"])
def test_preserved_state_outlives_the_vm(manual: Fleet, cause: str) -> None:
    one = urls(manual)[0]
    write(manual, "update", config(name_of(one), role="first"))
    if cause == "repair":
        apply_effect(manual.cloud, "stop", name=name_of(one))
    else:
        on_instances(manual, "recreate", [one])
    manual.settle()
    assert (config_statuses(manual), metadata(manual, one)["role"]) == (
        {name_of(one): "EFFECTIVE"},
        "first",
    )


@fact(
    "Documentation, applying configurations: a rolling update applies unapplied configs too;"
    " stateful groups RECREATE"
)
def test_a_proactive_group_applies_configs_by_itself_within_its_budget(six: Fleet) -> None:
    names = {each.name for each in six.instances()}
    given = policy(0, 3, replacement_method="RECREATE", minimal_action="RESTART")
    six.patch(update_policy=given)
    six.floor_holds = True
    write(six, "update", *(config(name, role=name) for name in sorted(names)))
    assert six.current_actions() == {"none": 3, "restarting": 3}
    six.settle()
    assert (set(config_statuses(six)), set(config_statuses(six).values())) == (names, {"EFFECTIVE"})


@fact(
    "Documentation, stateful groups need RECREATE",
    assumed="a group that substitutes does not apply configs that need a new VM",
)
def test_a_group_that_substitutes_leaves_its_configs_unapplied(six: Fleet) -> None:
    one = urls(six)[0]
    write(six, "update", config(name_of(one), role="first"))
    six.settle()
    assert config_statuses(six) == {name_of(one): "UNAPPLIED"}


@fact("API reference, createInstances: with the given preserved state")
def test_an_instance_is_created_with_its_config(manual: Fleet) -> None:
    on_instances(
        manual,
        "create",
        [{"name": "special", "preserved_state": {"metadata": {"role": "special"}}}],
    )
    manual.settle()
    assert config_statuses(manual) == {"special": "EFFECTIVE"}
    [url] = [each for each in urls(manual) if each.endswith("/special")]
    assert metadata(manual, url)["role"] == "special"


@fact("API reference, deleteInstances", assumed="an instance's config is deleted with it")
def test_a_config_is_deleted_with_its_instance(manual: Fleet) -> None:
    one = urls(manual)[0]
    write(manual, "update", config(name_of(one), role="first"))
    on_instances(manual, "delete", [one])
    manual.settle()
    assert config_statuses(manual) == {}
    assert not manual.get().status.stateful.has_stateful_config


@fact(
    "API reference, PreservedState.metadata",
    assumed="it overrides metadata of the same key in the template",
)
def test_metadata_of_a_config_overrides_the_templates(manual: Fleet) -> None:
    item = compute_v1.Items(key="role", value="common")
    manual.template("worded", metadata=compute_v1.Metadata(items=[item]))
    one, two = urls(manual)[:2]
    write(manual, "update", config(name_of(one), role="own"))
    manual.versions(version("worded"))
    on_instances(manual, "apply_updates_to", [one, two])
    manual.settle()
    assert (metadata(manual, one)["role"], metadata(manual, two)["role"]) == ("own", "common")
