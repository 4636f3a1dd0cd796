"""The API's view of a group: the manager with its counters and status, its managed instances,
its instance group.
"""

from __future__ import annotations

import re
from collections import Counter

from compute_emulator.engine import per_instance_configs
from compute_emulator.engine.cloud import Cloud
from compute_emulator.engine.group_intent import RESERVES, healing_policy, size_of
from compute_emulator.engine.groups import Group, group_at
from compute_emulator.engine.managed_instance import ManagedInstance
from compute_emulator.engine.references import CARRIED
from compute_emulator.errors import JsonObject
from compute_emulator.rules.health import Check
from compute_emulator.rules.sizes import rounded_up, split
from compute_emulator.rules.updater import is_version_target_reached

ACTIONS = (
    "none",
    "creating",
    "creatingWithoutRetries",
    "recreating",
    "deleting",
    "abandoning",
    "restarting",
    "refreshing",
    "verifying",
    "starting",
    "stopping",
    "suspending",
    "resuming",
)
ACTION_NAMES = tuple((name, re.sub("(?=[A-Z])", "_", name).upper()) for name in ACTIONS)
TARGET_STATUS = {"DELETING": "DELETED", "ABANDONING": "ABANDONED"}


def manager(cloud: Cloud, resource: JsonObject) -> JsonObject:
    """An instanceGroupManagers resource with all computed members."""
    result = {name: value for name, value in resource.items() if name != CARRIED}
    group = group_at(cloud, cloud.key_of(resource["selfLink"]))
    if group is None:
        return result
    target = resource["targetSize"]
    policy = resource["updatePolicy"]
    result["versions"] = _versions(resource, target)
    if len(result["versions"]) == 1:
        result["instanceTemplate"] = result["versions"][0]["instanceTemplate"]
    result["updatePolicy"] = policy | {
        name: _with_calculated(policy[name], target) for name in ("maxSurge", "maxUnavailable")
    }
    result["instanceGroup"] = cloud.link(*group.group_key)
    if group.instance_group.get("namedPorts"):
        result["namedPorts"] = group.instance_group["namedPorts"]
    members = group.members()
    doing = Counter(instance.action for instance in group.instances.values())
    result["currentActions"] = {name: doing.get(action, 0) for name, action in ACTION_NAMES}
    result |= {name: resource.get(name, 0) for name in RESERVES}
    result |= {"satisfiesPzi": False, "satisfiesPzs": True}
    result["status"] = {
        "isStable": group.is_stable(members),
        "versionTarget": {"isReached": is_version_target_reached(group.intent, members)},
        "stateful": _stateful_status(resource, group),
        "allInstancesConfig": _all_instances_config_status(group),
    }
    if group.autoscaler is not None:
        result["status"]["autoscaler"] = cloud.link(*group.autoscaler)
    return result


def _all_instances_config_status(group: Group) -> JsonObject:
    """Whether every VM has the all-instances configuration, and when that configuration last
    changed.
    """
    effective = all(
        instance.revision.overrides == group.overrides for instance in group.instances.values()
    )
    return {"effective": effective} | (
        {"currentRevision": group.configured_at} if group.configured_at else {}
    )


def _stateful_status(resource: JsonObject, group: Group) -> JsonObject:
    policy = (resource.get("statefulPolicy") or {}).get("preservedState") or {}
    effective = all(
        per_instance_configs.status(config, group.instances.get(name)) == "EFFECTIVE"
        for name, config in group.configs.items()
    )
    return {
        "hasStatefulConfig": any(policy.values()) or bool(group.configs),
        "perInstanceConfigs": {"allEffective": effective},
    }


def _versions(resource: JsonObject, target: int) -> list[JsonObject]:
    counts = split([size_of(version.get("targetSize")) for version in resource["versions"]], target)
    return [
        version | {"targetSize": version.get("targetSize", {}) | {"calculated": count}}
        for version, count in zip(resource["versions"], counts, strict=True)
    ]


def _with_calculated(size: JsonObject, target: int) -> JsonObject:
    given = size_of(size)
    return size | {"calculated": rounded_up(given, target) if given is not None else 0}


def managed_instances(group: Group) -> list[JsonObject]:
    """The managed instances by name, including those being created or deleted."""
    check, url = group.check(), healing_policy(group.resource).get("healthCheck")
    return [
        _managed_instance(group, group.instances[name], check, url)
        for name in sorted(group.instances)
    ]


def _managed_instance(
    group: Group, instance: ManagedInstance, check: Check | None, check_url: str | None
) -> JsonObject:
    cloud = group.cloud
    entry: JsonObject = {
        "name": instance.name,
        "instance": cloud.link(*instance.key),
        "currentAction": instance.action,
        "targetStatus": TARGET_STATUS.get(instance.action) or instance.standby or "RUNNING",
        "version": version(instance) if instance.action not in TARGET_STATUS else {},
        "lastAttempt": {},
    }
    if instance.resource is not None:
        entry |= {"id": instance.resource["id"], "instanceStatus": instance.status}
        if check_url:
            entry["instanceHealth"] = [
                {"healthCheck": check_url, "detailedHealthState": instance.detailed_health(check)}
            ]
    if instance.failure is not None:
        entry["lastAttempt"] = {"errors": {"errors": [instance.failure.as_error()]}}
    if instance.applied_config:
        entry["preservedStateFromConfig"] = instance.applied_config
    if instance.stateful_state:
        entry["preservedStateFromPolicy"] = instance.stateful_state
    if instance.machine_type:
        entry["propertiesFromFlexibilityPolicy"] = {"machineType": instance.machine_type}
    if instance.terminates_at is not None:
        entry["scheduling"] = {"terminationTimestamp": cloud.timestamp(instance.terminates_at)}
    return entry


def version(instance: ManagedInstance) -> JsonObject:
    """The version that a managed instance should have."""
    result: JsonObject = {"instanceTemplate": instance.revision.template}
    return result | ({"name": instance.revision.name} if instance.revision.name else {})


def instance_group(cloud: Cloud, resource: JsonObject) -> JsonObject:
    """An instanceGroups resource with its size."""
    group = group_at(cloud, cloud.key_of(resource["selfLink"]))
    return resource | {"size": len(group_members(group)) if group is not None else 0}


def group_members(group: Group) -> list[ManagedInstance]:
    """The members of the instance group: instances that exist and are not leaving."""
    return [
        m
        for m in group.instances.values()
        if m.resource is not None and m.action not in TARGET_STATUS
    ]
