"""Regional managed instance groups: the resource, its defaults, and what a group may not ask for.

What a group then does is in `groups.py`; acting on single instances is in `managed_instances.py`.
Source: Compute API reference, regionInstanceGroupManagers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from local.compute import group_view
from local.compute.call import Call, handles
from local.compute.cloud import REFERENCES, Cloud
from local.compute.collections import standard
from local.compute.errors import ApiError, ConditionNotMet, Invalid, JsonObject, Required
from local.compute.errors import BadRequest as Refused
from local.compute.groups import CARRIED, Group, group_at
from local.compute.intents import RESERVES, check_key, size_of
from local.compute.keys import HOST, Key, parse
from local.compute.rules.sizes import Size, budgets_problem, versions_problem

MOST_VMS, MOST_VMS_IN_A_ZONE = 2000, 1000
MOST_GROUPS_OF_A_CHECK = 50
AUTOSCALED_SHAPES = ("EVEN", "BALANCED")
BASE_NAME = 58
BASE_PATTERN = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?-?#*")
DEFAULT_ZONES = 3
LIFECYCLE = {"defaultActionOnFailure": "REPAIR", "onFailedHealthCheck": "DEFAULT_ACTION", "forceUpdateOnRepair": "NO"}
POLICY = {
    "type": "OPPORTUNISTIC",
    "minimalAction": "REPLACE",
    "mostDisruptiveAllowedAction": "REPLACE",
    "replacementMethod": "SUBSTITUTE",
    "instanceRedistributionType": "PROACTIVE",
}


def complete(call: Call, resource: JsonObject) -> None:
    kept = call.cloud.find(Key(call.scope, "instanceGroupManagers", resource.get("name", "")))
    _base_name(resource)
    zones = _zones(call, resource, kept)
    _size(resource, zones)
    _versions(call, resource)
    _network(call, resource)
    _healing(call, resource, kept)
    _reserve(call, resource, kept)
    resource["instanceLifecyclePolicy"] = LIFECYCLE | resource.get("instanceLifecyclePolicy", {})
    resource.setdefault("listManagedInstancesResults", "PAGELESS")
    _policy(resource, zones, checked=kept is None or "updatePolicy" in call.body)
    _shape(call, resource)


def _size(resource: JsonObject, zones: int) -> None:
    size, most = resource.get("targetSize"), min(MOST_VMS, MOST_VMS_IN_A_ZONE * zones)
    if size is None:
        raise Required("resource.targetSize")
    if not 0 <= size <= most:
        raise Invalid("resource.targetSize", size, f"Must be between 0 and {most}.")


def _base_name(resource: JsonObject) -> None:
    base = resource.setdefault("baseInstanceName", resource["name"][:BASE_NAME].rstrip("-"))
    if len(base) > BASE_NAME or not BASE_PATTERN.fullmatch(base):
        raise Invalid("resource.baseInstanceName", base, f"Must be a name of at most {BASE_NAME} characters.")


def _zones(call: Call, resource: JsonObject, kept: JsonObject | None) -> int:
    """Where the VMs go: three zones of the region unless asked otherwise; fixed for the life of the group."""
    cloud, region = call.cloud, call.scope.removeprefix("regions/")
    policy = resource.setdefault("distributionPolicy", {})
    policy.setdefault("targetShape", "EVEN")
    known = cloud.zones_of(region)
    asked = [zone.get("zone", "").rpartition("/")[2] for zone in policy.get("zones") or []] or list(known[:DEFAULT_ZONES])
    for zone in asked:
        if zone not in known:
            raise Invalid("resource.distributionPolicy.zones", zone, f"Must be a zone of region {region}.")
    policy["zones"] = [{"zone": f"{HOST}projects/{cloud.project}/zones/{zone}"} for zone in asked]
    if kept is not None and kept["distributionPolicy"]["zones"] != policy["zones"]:
        raise Invalid("resource.distributionPolicy.zones", asked, "The zones of a group cannot be changed.")
    return len(asked)


def _versions(call: Call, resource: JsonObject) -> None:
    """`versions` wins over `instanceTemplate`; what is kept is always `versions`."""
    given = resource.get("versions") or ([{"instanceTemplate": t}] if (t := resource.get("instanceTemplate")) else [])
    if not given:
        raise Required("resource.instanceTemplate")
    problem = versions_problem([v.get("name") for v in given], [size_of(v.get("targetSize")) for v in given])
    if problem:
        raise Refused(problem)
    kept = []
    for index, version in enumerate(given):
        where = f"resource.versions[{index}].instanceTemplate"
        if not version.get("instanceTemplate"):
            raise Required(where)
        key = call.cloud.refer(where, version["instanceTemplate"], "instanceTemplates")
        if key.scope not in ("global", call.scope):
            raise Invalid(where, version["instanceTemplate"], "A regional template is used in its own region only.")
        size = {name: n for name, n in version.get("targetSize", {}).items() if name != "calculated" and n is not None}
        kept.append(version | {"instanceTemplate": call.cloud.link(*key)} | ({"targetSize": size} if size else {}))
        if not size:
            kept[-1].pop("targetSize", None)
    resource["versions"] = kept
    resource.pop("instanceTemplate", None)


def _network(call: Call, resource: JsonObject) -> None:
    """All versions use one network and subnetwork, for a group's life: that of its instance group, else of the first version."""
    kept = call.cloud.find(Key(call.scope, "instanceGroups", resource["name"]))
    first = kept if kept is not None else _interface(call.cloud, resource["versions"][0])
    for index, version in enumerate(resource["versions"]):
        mine = _interface(call.cloud, version)
        for name in ("network", "subnetwork"):
            if parse(mine.get(name, "")) != parse(first.get(name, "")):
                where = f"resource.versions[{index}].instanceTemplate"
                raise Invalid(where, version["instanceTemplate"], f"The template must use the same {name} as the group.")


def _interface(cloud: Cloud, version: JsonObject) -> JsonObject:
    """The first network interface of a version's template."""
    properties = cloud.get(cloud.key_of(version["instanceTemplate"]))["properties"]
    found: JsonObject = (properties.get("networkInterfaces") or [{}])[0]
    return found


def _reserve(call: Call, resource: JsonObject, kept: JsonObject | None) -> None:
    """The sizes of the reserve follow from stopping and suspending VMs; asking for them outright is not built."""
    for name in RESERVES:
        if name in call.body and call.body[name] != (kept or {}).get(name, 0):
            raise ApiError(
                f"Setting {name} is not part of this stand-in; stop or suspend instances.", status=501, reason="notImplemented"
            )
    delay = (resource.get("standbyPolicy") or {}).get("initialDelaySec", 0)
    if not 0 <= delay <= 3600:
        raise Invalid("resource.standbyPolicy.initialDelaySec", delay, "Must be between 0 and 3600.")


def _healing(call: Call, resource: JsonObject, kept: JsonObject | None) -> None:
    policies = [policy for policy in resource.get("autoHealingPolicies") or [] if policy]
    if len(policies) > 1:
        raise Invalid("resource.autoHealingPolicies", len(policies), "At most one policy is allowed.")
    for policy in policies:
        delay = policy.setdefault("initialDelaySec", 0)
        if not 0 <= delay <= 3600:
            raise Invalid("resource.autoHealingPolicies[0].initialDelaySec", delay, "Must be between 0 and 3600.")
        if policy.get("healthCheck"):
            where = "resource.autoHealingPolicies[0].healthCheck"
            key = call.cloud.refer(where, policy["healthCheck"], "healthChecks")
            policy["healthCheck"] = call.cloud.link(*key)
            if kept is None or key != check_key(kept):
                _share(call.cloud, key, where)
    resource.pop("autoHealingPolicies", None)
    if policies:
        resource["autoHealingPolicies"] = policies


def _share(cloud: Cloud, check: Key, where: str) -> None:
    users = sum(key.collection == KIND.collection for key in cloud.users_of(check))
    if users >= MOST_GROUPS_OF_A_CHECK:
        most = f"A health check can be used by at most {MOST_GROUPS_OF_A_CHECK} managed instance groups."
        raise Invalid(where, cloud.link(*check), most)


def _policy(resource: JsonObject, zones: int, checked: bool) -> None:
    policy = resource["updatePolicy"] = POLICY | resource.get("updatePolicy", {})
    recreate = policy["replacementMethod"] == "RECREATE"
    surge = _budget(policy, "maxSurge", 0 if recreate else zones)
    unavailable = _budget(policy, "maxUnavailable", zones)
    if not checked:
        return
    problem = budgets_problem(surge, unavailable, resource["targetSize"], zones, recreate)
    if problem:
        raise Refused(problem)
    shape = resource["distributionPolicy"]["targetShape"]
    redistribution = policy["instanceRedistributionType"]
    if shape in ("BALANCED", "ANY_SINGLE_ZONE") and redistribution != "NONE":
        where = "resource.updatePolicy.instanceRedistributionType"
        raise Invalid(where, redistribution, f"Must be NONE when the target shape is {shape}.")


def _shape(call: Call, resource: JsonObject) -> None:
    shape = resource["distributionPolicy"]["targetShape"]
    group = group_at(call.cloud, Key(call.scope, KIND.collection, resource["name"]))
    if group is not None and group.autoscaler is not None and shape not in AUTOSCALED_SHAPES:
        raise Invalid("resource.distributionPolicy.targetShape", shape, "An autoscaled group is EVEN or BALANCED.")


def _budget(policy: JsonObject, name: str, default: int) -> Size:
    size = size_of(policy.get(name)) or Size(fixed=default)
    policy[name] = {"fixed": size.fixed} if size.fixed is not None else {"percent": size.percent}
    return size


def references(resource: JsonObject) -> Iterable[str]:
    for version in resource["versions"]:
        yield version["instanceTemplate"]
    yield from resource.get(CARRIED, ())
    for policy in resource.get("autoHealingPolicies") or []:
        if policy.get("healthCheck"):
            yield policy["healthCheck"]


def written(cloud: Cloud, resource: JsonObject) -> None:
    """Give a new group its instance group and its life; tell an old one of its new intent."""
    key = cloud.key_of(resource["selfLink"])
    group = group_at(cloud, key)
    if group is not None:
        group.written()
        return
    named = resource.pop("namedPorts", [])
    network = _interface(cloud, resource["versions"][0])
    body: JsonObject = {"name": key.name, "namedPorts": named, "fingerprint": cloud.new_fingerprint()}
    body |= {name: network[name] for name in ("network", "subnetwork") if name in network}
    cloud.new("compute#instanceGroup", Key(key.scope, "instanceGroups", key.name), body)
    cloud.acting[key] = Group(cloud, key)


KIND = standard.Kind(
    collection="instanceGroupManagers",
    word="instance_group_manager",
    schema="InstanceGroupManager",
    discovery=("regionInstanceGroupManagers",),
    complete=complete,
    references=references,
    fingerprint="if_given",
    view=group_view.manager,
    written=written,
)
REFERENCES[KIND.collection] = references


def acting(call: Call) -> Group:
    """The group named in the path, fit to be changed."""
    call.resource_to_change()
    return call.cloud.acting[call.key]  # type: ignore[no-any-return]


def rewrite(call: Call, **members: Any) -> None:
    """Change members of the kept group by another way than PATCH, under the same rules."""
    changed = call.resource() | members
    complete(call, changed)
    changed["fingerprint"] = call.cloud.new_fingerprint()
    written(call.cloud, call.cloud.put(call.key, changed))


@handles("compute.regionInstanceGroupManagers.insert")
def insert(call: Call) -> JsonObject:
    return standard.insert(KIND, call)


@handles("compute.regionInstanceGroupManagers.get")
def get(call: Call) -> JsonObject:
    return group_view.manager(call.cloud, call.resource())


@handles("compute.regionInstanceGroupManagers.list")
def list_groups(call: Call) -> JsonObject:
    return standard.list_(KIND, call)


@handles("compute.instanceGroupManagers.aggregatedList")
def aggregated_list(call: Call) -> JsonObject:
    return standard.aggregated_list(KIND, call)


@handles("compute.regionInstanceGroupManagers.patch")
def patch(call: Call) -> JsonObject:
    """A template alone replaces all versions; of a fixed and a percent size the one that was sent wins."""
    call.resource_to_change()
    if call.body.get("instanceTemplate") and not call.body.get("versions"):
        call.body["versions"] = [{"instanceTemplate": call.body["instanceTemplate"]}]
    policy = call.body.get("updatePolicy") or {}
    for name in ("maxSurge", "maxUnavailable"):
        sent = {member for member, value in (policy.get(name) or {}).items() if value is not None}
        if len(sent & {"fixed", "percent"}) == 1:
            policy[name] |= {"fixed": None, "percent": None} | {member: policy[name][member] for member in sent}
    call.body.pop("namedPorts", None)
    return standard.patch(KIND, call)


@handles("compute.regionInstanceGroupManagers.setInstanceTemplate")
def set_instance_template(call: Call) -> JsonObject:
    acting(call)
    rewrite(call, versions=[{"instanceTemplate": call.body.get("instanceTemplate")}])
    return call.operation()


@handles("compute.regionInstanceGroupManagers.resize")
def resize(call: Call) -> JsonObject:
    group = acting(call)
    autoscaler = call.cloud.find(group.autoscaler) if group.autoscaler is not None else None
    if autoscaler is not None and autoscaler["autoscalingPolicy"]["mode"] != "OFF":
        raise ConditionNotMet(
            "Resizing of autoscaled regional managed instance groups is not allowed. If you want to manually adjust target "
            "size remove the autoscaler or set autoscaling policy mode to OFF."
        )
    rewrite(call, targetSize=call.params["size"])
    return call.operation()


@handles("compute.regionInstanceGroupManagers.delete")
def delete(call: Call) -> JsonObject:
    """Refused while an autoscaler or a backend service uses the group; done when the last VM has drained and gone."""
    cloud, key, group = call.cloud, call.key, acting(call)
    standard.refuse_in_use(cloud, key, KIND.word)
    standard.refuse_in_use(cloud, group.group_key, "instance_group")

    def remove() -> None:
        cloud.acting.pop(key, None)
        cloud.remove(group.group_key)
        cloud.remove(key)

    if not group.machines:
        group.end(lambda: None)
        return call.operation(at_end=remove)
    operation = call.operation(at_end=remove, held=True)
    group.end(lambda: cloud.operations.finish((key.scope, operation["name"])))
    return operation
