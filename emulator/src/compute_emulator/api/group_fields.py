"""Validates a group's resource and fills in defaults: names, size, zones, versions, network,
auto-healing.

`group_policies.py` validates its policies. Called for every write of a group, with the resource
as it would be stored. Source: Compute API reference, regionInstanceGroupManagers.
"""

from __future__ import annotations

import re

from compute_emulator.api import group_policies
from compute_emulator.api.call import Call
from compute_emulator.engine.cloud import Cloud
from compute_emulator.engine.group_intent import check_key, size_of
from compute_emulator.engine.regions import default_zones
from compute_emulator.errors import BadRequest, Invalid, JsonObject, Required
from compute_emulator.keys import HOST, Key, parse
from compute_emulator.rules.sizes import versions_problem

MANAGERS = "instanceGroupManagers"
MAX_VMS, MAX_VMS_PER_ZONE = 2000, 1000
MAX_GROUPS_PER_CHECK = 50
BASE_NAME = 58
BASE_PATTERN = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?-?#*")
LIFECYCLE = {
    "defaultActionOnFailure": "REPAIR",
    "onFailedHealthCheck": "DEFAULT_ACTION",
    "forceUpdateOnRepair": "NO",
}


def complete(call: Call, resource: JsonObject) -> None:
    kept = call.cloud.find(Key(call.scope, MANAGERS, resource.get("name", "")))
    _check_base_name(resource)
    zones = _zones(call, resource, kept)
    _check_size(resource, zones)
    _check_versions(call, resource)
    _check_network(call, resource)
    _check_healing(call, resource, kept)
    resource["instanceLifecyclePolicy"] = LIFECYCLE | resource.get("instanceLifecyclePolicy", {})
    resource.setdefault("listManagedInstancesResults", "PAGELESS")
    group_policies.complete(
        call, resource, zones, is_update_checked=kept is None or "updatePolicy" in call.body
    )


def _check_size(resource: JsonObject, zones: int) -> None:
    size, maximum = resource.get("targetSize"), min(MAX_VMS, MAX_VMS_PER_ZONE * zones)
    if size is None:
        raise Required("resource.targetSize")
    if not 0 <= size <= maximum:
        raise Invalid("resource.targetSize", size, f"Must be between 0 and {maximum}.")


def _check_base_name(resource: JsonObject) -> None:
    base = resource.setdefault("baseInstanceName", resource["name"][:BASE_NAME].rstrip("-"))
    if len(base) > BASE_NAME or not BASE_PATTERN.fullmatch(base):
        raise Invalid(
            "resource.baseInstanceName", base, f"Must be a name of at most {BASE_NAME} characters."
        )


def _zones(call: Call, resource: JsonObject, kept: JsonObject | None) -> int:
    """The zones of the VMs: three zones of the region by default; fixed for the group's
    lifetime.
    """
    cloud, region = call.cloud, call.scope.removeprefix("regions/")
    policy = resource.setdefault("distributionPolicy", {"targetShape": "EVEN"})
    if not policy.get("zones") and not policy.get("targetShape"):
        raise Invalid("resource.distributionPolicy", "", "Distribution policy cannot be empty.")
    policy.setdefault("targetShape", "EVEN")
    known = cloud.zones_of(region)
    zones = [zone.get("zone", "").rpartition("/")[2] for zone in policy.get("zones") or []] or list(
        default_zones(region, known)
    )
    for index, zone in enumerate(zones):
        if zone not in known:
            raise Invalid(
                "resource.distributionPolicy.zones", zone, f"Must be a zone of region {region}."
            )
        if zone in zones[:index]:
            raise Invalid("resource.distributionPolicy.zones", zone, "Zones must be unique.")
    policy["zones"] = [{"zone": f"{HOST}projects/{cloud.project}/zones/{zone}"} for zone in zones]
    if kept is not None and kept["distributionPolicy"]["zones"] != policy["zones"]:
        raise Invalid(
            "resource.distributionPolicy.zones", zones, "The zones of a group cannot be changed."
        )
    return len(zones)


def _check_versions(call: Call, resource: JsonObject) -> None:
    """`versions` takes precedence over `instanceTemplate`; the stored resource always has
    `versions`.
    """
    given = resource.get("versions") or (
        [{"instanceTemplate": t}] if (t := resource.get("instanceTemplate")) else []
    )
    if not given:
        raise Required("resource.instanceTemplate")
    problem = versions_problem(
        [v.get("name") for v in given], [size_of(v.get("targetSize")) for v in given]
    )
    if problem:
        raise BadRequest(problem)
    kept = []
    for index, version in enumerate(given):
        where = f"resource.versions[{index}].instanceTemplate"
        if not version.get("instanceTemplate"):
            raise Required(where)
        key = call.cloud.resolve(where, version["instanceTemplate"], "instanceTemplates")
        if key.scope not in ("global", call.scope):
            raise Invalid(
                where,
                version["instanceTemplate"],
                "A regional template can be used only in its own region.",
            )
        size = {
            name: n
            for name, n in version.get("targetSize", {}).items()
            if name != "calculated" and n is not None
        }
        kept.append(
            version
            | {"instanceTemplate": call.cloud.link(*key)}
            | ({"targetSize": size} if size else {})
        )
        if not size:
            kept[-1].pop("targetSize", None)
    resource["versions"] = kept
    resource.pop("instanceTemplate", None)


def _check_network(call: Call, resource: JsonObject) -> None:
    """All versions use one network and subnetwork for the group's lifetime: that of the instance
    group, else of the first version.
    """
    kept = call.cloud.find(Key(call.scope, "instanceGroups", resource["name"]))
    first = kept if kept is not None else interface_of(call.cloud, resource["versions"][0])
    for index, version in enumerate(resource["versions"]):
        mine = interface_of(call.cloud, version)
        for name in ("network", "subnetwork"):
            if parse(mine.get(name, "")) != parse(first.get(name, "")):
                where = f"resource.versions[{index}].instanceTemplate"
                raise Invalid(
                    where,
                    version["instanceTemplate"],
                    f"The template must use the same {name} as the group.",
                )


def interface_of(cloud: Cloud, version: JsonObject) -> JsonObject:
    """The first network interface of a version's template."""
    properties = cloud.get(cloud.key_of(version["instanceTemplate"]))["properties"]
    found: JsonObject = (properties.get("networkInterfaces") or [{}])[0]
    return found


def _check_healing(call: Call, resource: JsonObject, kept: JsonObject | None) -> None:
    policies = [policy for policy in resource.get("autoHealingPolicies") or [] if policy]
    if len(policies) > 1:
        raise Invalid(
            "resource.autoHealingPolicies", len(policies), "At most one policy is allowed."
        )
    for policy in policies:
        delay = policy.setdefault("initialDelaySec", 0)
        if not 0 <= delay <= 3600:
            raise Invalid(
                "resource.autoHealingPolicies[0].initialDelaySec",
                delay,
                "Must be between 0 and 3600.",
            )
        if policy.get("healthCheck"):
            where = "resource.autoHealingPolicies[0].healthCheck"
            key = call.cloud.resolve(where, policy["healthCheck"], "healthChecks")
            policy["healthCheck"] = call.cloud.link(*key)
            if kept is None or key != check_key(kept):
                _check_sharing(call.cloud, key, where)
    resource.pop("autoHealingPolicies", None)
    if policies:
        resource["autoHealingPolicies"] = policies


def _check_sharing(cloud: Cloud, check: Key, where: str) -> None:
    users = sum(key.collection == MANAGERS for key in cloud.users_of(check))
    if users >= MAX_GROUPS_PER_CHECK:
        maximum = (
            f"A health check can be used by at most {MAX_GROUPS_PER_CHECK} managed instance groups."
        )
        raise Invalid(where, cloud.link(*check), maximum)
