"""Converts a group's resource to the values that the updater decides on; compares two templates.

Used by `group_state.py` and by the validation of groups. Resources are complete here: every default
is filled in.
"""

from __future__ import annotations

from compute_emulator.engine.cloud import Cloud
from compute_emulator.errors import JsonObject
from compute_emulator.keys import Key, parse
from compute_emulator.rules.flexibility import Selection, preferred
from compute_emulator.rules.group import Disruption, Healing, Intent, Overrides, Revision, Version
from compute_emulator.rules.health import Check
from compute_emulator.rules.sizes import Size

REFRESHABLE = frozenset({"metadata", "labels", "tags", "description"})
RESTARTABLE = frozenset(
    {
        "machineType",
        "minCpuPlatform",
        "guestAccelerators",
        "serviceAccounts",
        "scheduling",
        "shieldedInstanceConfig",
        "advancedMachineFeatures",
    }
)
RESERVES = {"targetStoppedSize": "STOPPED", "targetSuspendedSize": "SUSPENDED"}
"""The members that count standby VMs, and the state of those VMs."""


def size_of(given: JsonObject | None) -> Size | None:
    """A FixedOrPercent, or None if it is not set."""
    if not given or ("fixed" not in given and "percent" not in given):
        return None
    return (
        Size(percent=given["percent"])
        if given.get("percent") is not None
        else Size(fixed=given.get("fixed", 0))
    )


def intent_of(resource: JsonObject, zones: tuple[str, ...]) -> Intent:
    """What a group's resource asks for."""
    policy = resource["updatePolicy"]
    distribution = resource["distributionPolicy"]
    overrides = overrides_of(resource)
    return Intent(
        target_size=resource["targetSize"],
        versions=tuple(
            Version(
                Revision(version["instanceTemplate"], version.get("name"), overrides),
                size_of(version.get("targetSize")),
            )
            for version in resource["versions"]
        ),
        zones=zones,
        is_proactive=policy["type"] == "PROACTIVE",
        surge=size_of(policy["maxSurge"]) or Size(fixed=0),
        unavailable=size_of(policy["maxUnavailable"]) or Size(fixed=0),
        minimal=Disruption[policy["minimalAction"]],
        most_disruptive=Disruption[policy.get("mostDisruptiveAllowedAction", "REPLACE")],
        substitutes=policy["replacementMethod"] == "SUBSTITUTE",
        shape=distribution["targetShape"],
        redistributes=policy["instanceRedistributionType"] == "PROACTIVE",
        healing=_healing(resource),
    )


def overrides_of(resource: JsonObject) -> Overrides | None:
    """The all-instances configuration, which overrides the templates; None if it sets nothing."""
    properties = (resource.get("allInstancesConfig") or {}).get("properties") or {}
    metadata, labels = (
        tuple(sorted((properties.get(name) or {}).items())) for name in ("metadata", "labels")
    )
    return Overrides(metadata, labels) if metadata or labels else None


def flexible_types(resource: JsonObject) -> tuple[str, ...]:
    """The machine types that the group's VMs may have, preferred ones first; empty: the template's
    type.
    """
    policy = resource.get("instanceFlexibilityPolicy")
    if not policy:
        return ()
    given = (policy.get("instanceSelections") or {}).values()
    return preferred(
        Selection(tuple(each.get("machineTypes") or ()), each.get("rank", 0)) for each in given
    )


def healing_policy(resource: JsonObject) -> JsonObject:
    """The only auto-healing policy; `[{}]` and an absent list both mean none."""
    policies = resource.get("autoHealingPolicies") or [{}]
    found: JsonObject = policies[0]
    return found


def check_key(resource: JsonObject) -> Key | None:
    url = healing_policy(resource).get("healthCheck")
    return parse(url) if url else None


def check_of(cloud: Cloud, key: Key | None, *, probes_readiness: bool = False) -> Check | None:
    """The thresholds of a health check; None if there is no such check."""
    found = cloud.find(key) if key is not None else None
    if found is None:
        return None
    interval, healthy, unhealthy = (
        found.get("checkIntervalSec", 5),
        found.get("healthyThreshold", 2),
        found.get("unhealthyThreshold", 2),
    )
    return Check(float(interval), healthy, unhealthy, probes_readiness)


def disruption(cloud: Cloud, old: Revision, new: Revision) -> Disruption:
    """What it takes to turn a VM of the old revision into one of the new, by the template
    properties that differ.
    """
    if old.template == new.template:
        return Disruption.NONE if old.overrides == new.overrides else Disruption.REFRESH
    before, after = (_properties(cloud, revision) for revision in (old, new))
    differing = {
        name for name in before.keys() | after.keys() if before.get(name) != after.get(name)
    }
    if not differing and old.overrides == new.overrides:
        return Disruption.NONE
    if differing <= REFRESHABLE:
        return Disruption.REFRESH
    return Disruption.RESTART if differing <= REFRESHABLE | RESTARTABLE else Disruption.REPLACE


def _properties(cloud: Cloud, revision: Revision) -> JsonObject:
    key = parse(revision.template)
    found = cloud.find(key) if key is not None else None
    properties: JsonObject = (found or {}).get("properties", {})
    return properties


def _healing(resource: JsonObject) -> Healing:
    lifecycle = resource["instanceLifecyclePolicy"]
    repairs = lifecycle["defaultActionOnFailure"] == "REPAIR"
    on_unhealthy = lifecycle["onFailedHealthCheck"]
    policy = healing_policy(resource)
    return Healing(
        has_check=bool(policy.get("healthCheck")),
        initial_delay_seconds=float(policy.get("initialDelaySec", 0)),
        repairs_failed=repairs,
        repairs_unhealthy=on_unhealthy == "REPAIR"
        or (on_unhealthy == "DEFAULT_ACTION" and repairs),
        takes_newest=lifecycle["forceUpdateOnRepair"] == "YES",
        changes_zone=(lifecycle.get("onRepair") or {}).get("allowChangingZone") == "YES",
    )
