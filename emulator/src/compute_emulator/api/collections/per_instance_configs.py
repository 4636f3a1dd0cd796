"""Per-instance configs of managed groups: list, update, patch, delete.
`engine/per_instance_configs.py` applies them to VMs.

Source: Compute API reference, regionInstanceGroupManagers: *PerInstanceConfigs.
"""

from __future__ import annotations

import copy
from dataclasses import replace

from compute_emulator.api import listing
from compute_emulator.api.call import Call, Handlers
from compute_emulator.api.collections.instance_group_managers import group_of
from compute_emulator.api.collections.managed_instances import METHOD
from compute_emulator.api.collections.standard import merge
from compute_emulator.api.group_policies import check_metadata_conflict
from compute_emulator.engine import per_instance_configs
from compute_emulator.engine.groups import Group
from compute_emulator.engine.per_instance_configs import Config
from compute_emulator.errors import Invalid, JsonObject, Required, StaleFingerprint
from compute_emulator.rules.group import LEAVING

HANDLERS = Handlers()


@HANDLERS.handles(METHOD + "listPerInstanceConfigs")
def list_per_instance_configs(call: Call) -> JsonObject:
    call.resource()
    group = call.cloud.groups[call.key]
    items = [
        per_instance_configs.as_resource(name, group.configs[name], group.instances.get(name))
        for name in sorted(group.configs)
    ]
    return listing.page(items, call.params, "items")


@HANDLERS.handles(METHOD + "updatePerInstanceConfigs", METHOD + "patchPerInstanceConfigs")
def write_per_instance_configs(call: Call) -> JsonObject:
    """Creates missing configs. Existing ones are replaced (update) or merged (patch)."""
    group = group_of(call)
    given = call.body.get("perInstanceConfigs") or []
    if not given:
        raise Required("perInstanceConfigs")
    for index, each in enumerate(given):
        _check(group, each, f"perInstanceConfigs[{index}]")
    for each in given:
        kept = group.configs.get(each["name"])
        state = each.get("preservedState") or {}
        if kept is not None and call.method.verb.startswith("patch"):
            state = merge(copy.deepcopy(kept.preserved_state), state)
        group.configs[each["name"]] = Config(state, call.cloud.new_fingerprint())
    group.reconcile_soon()
    return call.operation()


def _check(group: Group, given: JsonObject, where: str) -> None:
    """Only for VMs of the group, and only with a current fingerprint."""
    if not given.get("name"):
        raise Required(f"{where}.name")
    instance = group.instances.get(given["name"])
    if instance is None or instance.action in LEAVING:
        raise Invalid(
            f"{where}.name", given["name"], f"The instance is not a member of {group.key.name}."
        )
    kept = group.configs.get(given["name"])
    if group.autoscaler is not None:
        raise Invalid(where, given["name"], "An autoscaled group cannot be stateful.")
    overrides = dict(group.overrides.metadata) if group.overrides is not None else {}
    check_metadata_conflict(
        overrides, given.get("preservedState") or {}, f"{where}.preservedState.metadata"
    )
    if kept is not None and given.get("fingerprint") not in (None, kept.fingerprint):
        raise StaleFingerprint


@HANDLERS.handles(METHOD + "deletePerInstanceConfigs")
def delete_per_instance_configs(call: Call) -> JsonObject:
    """Marks configs as deleted; each is removed once its VM no longer has what it set."""
    group = group_of(call)
    names = call.body.get("names") or []
    if not names:
        raise Required("names")
    for index, name in enumerate(names):
        if name not in group.configs:
            raise Invalid(f"names[{index}]", name, "No per-instance config has this name.")
    for name in names:
        instance = group.instances.get(name)
        if instance is None or not instance.applied_config:
            del group.configs[name]
        else:
            group.configs[name] = replace(
                group.configs[name], is_deleted=True, fingerprint=call.cloud.new_fingerprint()
            )
    group.reconcile_soon()
    return call.operation()
