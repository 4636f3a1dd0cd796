"""Validates the policies of a group's resource and fills in defaults: updates, shape, standby
pool, machine types, and preserved state.

Called by `group_fields.py`. Source: Compute API reference, regionInstanceGroupManagers;
documentation, configuring stateful groups.
"""

from __future__ import annotations

from compute_emulator.api.call import Call
from compute_emulator.engine.cloud import Cloud
from compute_emulator.engine.group_intent import RESERVES, overrides_of, size_of
from compute_emulator.engine.groups import Group, group_at
from compute_emulator.errors import BadRequest, Invalid, JsonObject, Required
from compute_emulator.keys import Key
from compute_emulator.rules.sizes import Size, budgets_problem

AUTOSCALED_SHAPES = ("EVEN", "BALANCED")
UPDATES = {
    "type": "OPPORTUNISTIC",
    "minimalAction": "REPLACE",
    "replacementMethod": "SUBSTITUTE",
    "instanceRedistributionType": "PROACTIVE",
}


def complete(call: Call, resource: JsonObject, zones: int, is_update_checked: bool) -> None:
    group = group_at(call.cloud, Key(call.scope, "instanceGroupManagers", resource["name"]))
    _check_update_policy(resource, zones, is_update_checked)
    _check_shape(resource, group)
    _check_standby_policy(resource)
    _check_flexibility(resource)
    _check_stateful_policy(call.cloud, resource, group)
    _check_all_instances_config(resource, group)


def _check_update_policy(resource: JsonObject, zones: int, is_checked: bool) -> None:
    policy = resource["updatePolicy"] = UPDATES | resource.get("updatePolicy", {})
    recreate = policy["replacementMethod"] == "RECREATE"
    surge = _budget_of(policy, "maxSurge", 0 if recreate else zones)
    unavailable = _budget_of(policy, "maxUnavailable", zones)
    if not is_checked:
        return
    problem = budgets_problem(surge, unavailable, resource["targetSize"], zones, recreate)
    if problem:
        raise BadRequest(problem)
    shape = resource["distributionPolicy"]["targetShape"]
    redistribution = policy["instanceRedistributionType"]
    if shape in ("BALANCED", "ANY_SINGLE_ZONE") and redistribution != "NONE":
        where = "resource.updatePolicy.instanceRedistributionType"
        raise Invalid(where, redistribution, f"Must be NONE when the target shape is {shape}.")


def _budget_of(policy: JsonObject, name: str, default: int) -> Size:
    size = size_of(policy.get(name)) or Size(fixed=default)
    policy[name] = {"fixed": size.fixed} if size.fixed is not None else {"percent": size.percent}
    return size


def _check_shape(resource: JsonObject, group: Group | None) -> None:
    shape = resource["distributionPolicy"]["targetShape"]
    if shape != "EVEN" and len(resource["versions"]) > 1:
        raise Invalid(
            "resource.versions",
            len(resource["versions"]),
            f"Canary updates with two versions are not supported for target shape {shape}.",
        )
    if group is not None and group.autoscaler is not None and shape not in AUTOSCALED_SHAPES:
        raise Invalid(
            "resource.distributionPolicy.targetShape",
            shape,
            "An autoscaled group must be EVEN or BALANCED.",
        )


def _check_standby_policy(resource: JsonObject) -> None:
    for name, mode in (("standbyPolicy", "MANUAL"), ("targetSizePolicy", "INDIVIDUAL")):
        resource[name] = {"mode": mode} | resource.get(name, {})
    for name in RESERVES:
        size = resource.get(name, 0)
        if size < 0:
            raise Invalid(f"resource.{name}", size, "Must not be negative.")
    delay = resource["standbyPolicy"].get("initialDelaySec", 0)
    if not 0 <= delay <= 3600:
        raise Invalid(
            "resource.standbyPolicy.initialDelaySec", delay, "Must be between 0 and 3600."
        )


def _check_flexibility(resource: JsonObject) -> None:
    selections = (resource.get("instanceFlexibilityPolicy") or {}).get("instanceSelections") or {}
    for name, selection in selections.items():
        where = f"resource.instanceFlexibilityPolicy.instanceSelections[{name}]"
        if not selection.get("machineTypes"):
            raise Required(f"{where}.machineTypes")
        for machine_type in selection["machineTypes"]:
            if "/" in machine_type:
                raise Invalid(
                    f"{where}.machineTypes", machine_type, "Must be the name of a machine type."
                )


def _check_stateful_policy(cloud: Cloud, resource: JsonObject, group: Group | None) -> None:
    """A group that preserves disks or addresses keeps its VMs in their zones, under their names,
    and cannot be autoscaled.
    """
    policy = (resource.get("statefulPolicy") or {}).get("preservedState") or {}
    if not any(policy.values()):
        return
    updates = resource["updatePolicy"]
    if updates["instanceRedistributionType"] != "NONE":
        where = "resource.updatePolicy.instanceRedistributionType"
        raise Invalid(
            where, updates["instanceRedistributionType"], "Must be NONE for a stateful group."
        )
    if updates["type"] == "PROACTIVE" and updates["replacementMethod"] != "RECREATE":
        where = "resource.updatePolicy.replacementMethod"
        raise Invalid(
            where,
            updates["replacementMethod"],
            "Must be RECREATE for proactive updates of a stateful group.",
        )
    if group is not None and group.autoscaler is not None:
        raise Invalid("resource.statefulPolicy", "", "An autoscaled group cannot be stateful.")
    for index, version in enumerate(resource["versions"]):
        template = cloud.get(cloud.key_of(version["instanceTemplate"]))
        disks = template["properties"].get("disks", [])
        defined = {disk["deviceName"] for disk in disks}
        for device in policy.get("disks", {}):
            if device not in defined:
                where = f"resource.versions[{index}].instanceTemplate"
                raise Invalid(
                    where,
                    version["instanceTemplate"],
                    f"The template must define the stateful disk {device}.",
                )


def is_stateful(group: Group) -> bool:
    """Whether a group preserves any state of its VMs."""
    return any(group.stateful_policy().values()) or bool(group.configs)


def _check_all_instances_config(resource: JsonObject, group: Group | None) -> None:
    """The all-instances configuration and a per-instance config must not set the same metadata."""
    overrides = overrides_of(resource)
    if overrides is None or group is None:
        return
    for config in group.configs.values():
        check_metadata_conflict(
            dict(overrides.metadata),
            config.preserved_state,
            "resource.allInstancesConfig.properties.metadata",
        )


def check_metadata_conflict(overrides: JsonObject, preserved: JsonObject, where: str) -> None:
    """Raises `Invalid` for metadata that both set."""
    both = sorted(set(overrides) & set(preserved.get("metadata") or {}))
    if both:
        raise Invalid(
            where,
            both[0],
            "Must not be set by both the all-instances configuration and a per-instance config.",
        )
