"""Facts about per-instance configs: what a VM keeps of its own."""

from __future__ import annotations

from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import compute_v1

from compute_emulator.control.instances import apply_effect
from emulator.tests.clients import PROJECT
from emulator.tests.facts.asking import on_instances, urls
from emulator.tests.facts.source import fact
from emulator.tests.fleet import Fleet, policy, version

STATE = compute_v1.PreservedState
CONFIG = compute_v1.PerInstanceConfig
PREFIX = "region_instance_group_manager"


@pytest.fixture
def calm(six: Fleet) -> Fleet:
    """Six VMs that are updated only when asked."""
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


def drop(fleet: Fleet, *names: str) -> None:
    request = compute_v1.RegionInstanceGroupManagerDeleteInstanceConfigReq(names=names)
    member = {f"{PREFIX}_delete_instance_config_req_resource": request}
    fleet.done(fleet.call("delete_per_instance_configs_unary", **member))


def config(name: str, **metadata: str) -> Any:
    return CONFIG(name=name, preserved_state=STATE(metadata=metadata))


def listed(fleet: Fleet) -> dict[str, str]:
    """The configs by name, with how far they have come."""
    return {each.name: each.status for each in fleet.call("list_per_instance_configs")}


def metadata(fleet: Fleet, url: str) -> dict[str, str]:
    zone, name = url.split("/zones/")[1].split("/instances/")
    vm = fleet.clients.of(compute_v1.InstancesClient).get(project=PROJECT, zone=zone, instance=name)
    return {item.key: item.value for item in vm.metadata.items}


def name_of(url: str) -> str:
    return url.rpartition("/")[2]


@fact(
    "API reference, PerInstanceConfig.status: UNAPPLIED until the instance has it; status.stateful"
    " tells of the group"
)
def test_a_config_is_unapplied_until_its_instance_is_updated(calm: Fleet) -> None:
    one = urls(calm)[0]
    write(calm, "update", config(name_of(one), role="first"))
    assert listed(calm) == {name_of(one): "UNAPPLIED"}
    stateful = calm.get().status.stateful
    assert (stateful.has_stateful_config, stateful.per_instance_configs.all_effective) == (
        True,
        False,
    )
    assert "role" not in metadata(calm, one)
    on_instances(calm, "apply_updates_to", [one])
    calm.settle()
    assert (listed(calm), metadata(calm, one)["role"]) == ({name_of(one): "EFFECTIVE"}, "first")
    assert calm.get().status.stateful.per_instance_configs.all_effective


@fact(
    "API reference, applyUpdatesToInstances: the mildest action",
    assumed="metadata needs a REFRESH, disks and addresses a RESTART",
)
def test_metadata_of_a_config_reaches_a_running_vm(calm: Fleet) -> None:
    before = {each.id for each in calm.instances()}
    one, two = urls(calm)[:2]
    disk = compute_v1.PreservedStatePreservedDisk(source="zones/us-central1-a/disks/data")
    write(
        calm,
        "update",
        config(name_of(one), role="first"),
        CONFIG(name=name_of(two), preserved_state=STATE(disks={"data": disk})),
    )
    calm.cloud.operations.seconds = 0.0
    on_instances(calm, "apply_updates_to", [one, two])
    assert calm.doing() == {"none": 4, "refreshing": 1, "restarting": 1}
    calm.settle()
    assert before == {each.id for each in calm.instances()}
    [kept] = [each for each in calm.instances() if each.instance == two]
    assert set(kept.preserved_state_from_config.disks) == {"data"}


@fact(
    "API reference, updatePerInstanceConfigs replaces, patchPerInstanceConfigs merges; the name is"
    " the key"
)
def test_an_update_replaces_and_a_patch_merges(calm: Fleet) -> None:
    one = urls(calm)[0]
    write(calm, "update", config(name_of(one), role="first", shard="1"))
    write(calm, "patch", config(name_of(one), shard="2"))
    [kept] = calm.call("list_per_instance_configs")
    assert dict(kept.preserved_state.metadata) == {"role": "first", "shard": "2"}
    write(calm, "update", config(name_of(one), shard="3"))
    [kept] = calm.call("list_per_instance_configs")
    assert dict(kept.preserved_state.metadata) == {"shard": "3"}


@fact("API reference, PerInstanceConfig.fingerprint: up to date when given")
def test_a_stale_fingerprint_of_a_config_is_refused(calm: Fleet) -> None:
    one = name_of(urls(calm)[0])
    write(calm, "update", config(one, role="first"))
    [kept] = calm.call("list_per_instance_configs")
    write(
        calm,
        "update",
        CONFIG(
            name=one,
            fingerprint=kept.fingerprint,
            preserved_state=STATE(metadata={"role": "second"}),
        ),
    )
    with pytest.raises(exceptions.PreconditionFailed, match="Invalid fingerprint"):
        write(calm, "update", CONFIG(name=one, fingerprint=kept.fingerprint))


@fact(
    "API reference, PerInstanceConfig.name: an error for an instance that does not exist or is not"
    " part of the group"
)
def test_a_config_is_for_a_member_of_the_group(calm: Fleet) -> None:
    with pytest.raises(exceptions.BadRequest, match="not a member"):
        write(calm, "update", config("stranger", role="none"))
    with pytest.raises(exceptions.BadRequest, match="no per-instance config"):
        drop(calm, "stranger")


@fact(
    "API reference, PerInstanceConfig.status UNAPPLIED_DELETION: deleted, but the instance has it"
    " still"
)
def test_a_deleted_config_goes_when_its_instance_has_lost_it(calm: Fleet) -> None:
    one = urls(calm)[0]
    write(calm, "update", config(name_of(one), role="first"))
    on_instances(calm, "apply_updates_to", [one])
    calm.settle()
    drop(calm, name_of(one))
    assert listed(calm) == {name_of(one): "UNAPPLIED_DELETION"}
    on_instances(calm, "apply_updates_to", [one])
    calm.settle()
    assert (listed(calm), "role" in metadata(calm, one)) == ({}, False)


@fact("API reference, PreservedState: kept through repair, recreation and update")
@pytest.mark.parametrize("cause", ["repair", "recreate"])
def test_what_is_preserved_outlives_the_vm(calm: Fleet, cause: str) -> None:
    one = urls(calm)[0]
    write(calm, "update", config(name_of(one), role="first"))
    if cause == "repair":
        apply_effect(calm.cloud, "stop", name=name_of(one))
    else:
        on_instances(calm, "recreate", [one])
    calm.settle()
    assert (listed(calm), metadata(calm, one)["role"]) == ({name_of(one): "EFFECTIVE"}, "first")


@fact(
    "Documentation, applying configurations: a rolling update applies unapplied configs too;"
    " stateful groups RECREATE"
)
def test_a_proactive_group_applies_its_configs_by_itself_within_its_budget(six: Fleet) -> None:
    names = {each.name for each in six.instances()}
    given = policy(0, 3, replacement_method="RECREATE", minimal_action="RESTART")
    six.patch(update_policy=given)
    six.floor_holds = True
    write(six, "update", *(config(name, role=name) for name in sorted(names)))
    assert six.doing() == {"none": 3, "restarting": 3}
    six.settle()
    assert (set(listed(six)), set(listed(six).values())) == (names, {"EFFECTIVE"})


@fact(
    "Documentation, stateful groups need RECREATE",
    assumed="a group that substitutes leaves configs unapplied where a VM had to be replaced",
)
def test_a_group_that_substitutes_leaves_its_configs_unapplied(six: Fleet) -> None:
    one = urls(six)[0]
    write(six, "update", config(name_of(one), role="first"))
    six.settle()
    assert listed(six) == {name_of(one): "UNAPPLIED"}


@fact("API reference, createInstances: with the preserved state that is given")
def test_an_instance_is_made_with_its_config(calm: Fleet) -> None:
    on_instances(
        calm, "create", [{"name": "special", "preserved_state": {"metadata": {"role": "special"}}}]
    )
    calm.settle()
    assert listed(calm) == {"special": "EFFECTIVE"}
    [url] = [each for each in urls(calm) if each.endswith("/special")]
    assert metadata(calm, url)["role"] == "special"


@fact("API reference, deleteInstances", assumed="a config goes with its instance")
def test_a_config_goes_with_its_instance(calm: Fleet) -> None:
    one = urls(calm)[0]
    write(calm, "update", config(name_of(one), role="first"))
    on_instances(calm, "delete", [one])
    calm.settle()
    assert listed(calm) == {}
    assert not calm.get().status.stateful.has_stateful_config


@fact(
    "API reference, PreservedState.metadata",
    assumed="it goes before metadata of the same key in the template",
)
def test_metadata_of_a_config_goes_before_the_templates(calm: Fleet) -> None:
    item = compute_v1.Items(key="role", value="common")
    calm.template("worded", metadata=compute_v1.Metadata(items=[item]))
    one, two = urls(calm)[:2]
    write(calm, "update", config(name_of(one), role="own"))
    calm.versions(version("worded"))
    on_instances(calm, "apply_updates_to", [one, two])
    calm.settle()
    assert (metadata(calm, one)["role"], metadata(calm, two)["role"]) == ("own", "common")
