"""Acting on single instances of a managed group, and looking at them one by one.

Source: Compute API reference, regionInstanceGroupManagers: listManagedInstances, listErrors, and the *Instances methods.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from local.compute import group_view, listing
from local.compute.call import Call, handles
from local.compute.collections.instance_group_managers import acting, rewrite
from local.compute.errors import ConditionNotMet, Invalid, JsonObject, Required
from local.compute.groups import Group
from local.compute.machine import Machine
from local.compute.rules.group import LEAVING, Delete, Disruption, Recreate
from local.compute.rules.placement import zone_for_new
from local.compute.rules.updater import updates_for

METHOD = "compute.regionInstanceGroupManagers."
MOST_INSTANCES = 1000


@handles(METHOD + "listManagedInstances")
def list_managed_instances(call: Call) -> JsonObject:
    """All of them in one answer, unless the group asks for pages."""
    resource = call.resource()
    items = group_view.managed_instances(call.cloud.acting[call.key])
    params = call.params
    if resource["listManagedInstancesResults"] == "PAGELESS":
        params = {name: value for name, value in params.items() if name == "filter"} | {"maxResults": len(items) or 1}
    return listing.page(items, params, "managedInstances")


@handles(METHOD + "listErrors")
def list_errors(call: Call) -> JsonObject:
    """The latest errors, newest first. `filter` and `orderBy` have no effect, as in the API."""
    call.resource()
    group: Group = call.cloud.acting[call.key]
    params = {name: value for name, value in call.params.items() if name not in ("filter", "orderBy")}
    return listing.page(list(reversed(group.errors)), params, "items")


@handles(METHOD + "listPerInstanceConfigs")
def list_per_instance_configs(call: Call) -> JsonObject:
    """Groups are stateless here: there are none."""
    call.resource()
    return {}


@handles(METHOD + "deleteInstances")
def delete_instances(call: Call) -> JsonObject:
    """Deletes them and lowers the target size by as many."""
    group = acting(call)
    chosen = [m for m in _chosen(call, group) if m.action not in LEAVING]
    group.apply(Delete(machine.name, "asked for by name") for machine in chosen)
    rewrite(call, targetSize=max(0, group.intent.target_size - len(chosen)))
    return call.operation()


@handles(METHOD + "abandonInstances")
def abandon_instances(call: Call) -> JsonObject:
    """They leave the group, which shrinks by as many, and go on running."""
    group = acting(call)
    chosen = [m for m in _chosen(call, group) if m.action not in LEAVING]
    for machine in chosen:
        machine.abandon()
    rewrite(call, targetSize=max(0, group.intent.target_size - len(chosen)))
    return call.operation()


@handles(METHOD + "recreateInstances")
def recreate_instances(call: Call) -> JsonObject:
    """Deletes and creates them under their names, from the version they are meant to have now."""
    group = acting(call)
    chosen = [m for m in _chosen(call, group) if m.action not in LEAVING]
    missing = list((group.intent.wanted() - Counter(m.revision for m in group.machines.values())).elements())
    steps = []
    for machine in chosen:
        outdated = machine.revision not in group.intent.wanted()
        revision = (missing.pop(0) if missing else group.intent.versions[0].revision) if outdated else machine.revision
        steps.append(Recreate(machine.name, revision, "asked for by name"))
    group.apply(steps)
    return call.operation()


@handles(METHOD + "applyUpdatesToInstances")
def apply_updates(call: Call) -> JsonObject:
    """Updates the named VMs at once, outside of the budgets; the default is the mildest action that does it."""
    group = acting(call)
    names = set(group.machines) if call.body.get("allInstances") else {m.name for m in _chosen(call, group)}
    intent = replace(
        group.intent,
        minimal=Disruption[call.body.get("minimalAction", "NONE")],
        most_disruptive=Disruption[call.body.get("mostDisruptiveAllowedAction", "REPLACE")],
    )
    group.apply(updates_for(intent, group.members(), names, group.disruption))
    return call.operation()


@handles(METHOD + "createInstances")
def create_instances(call: Call) -> JsonObject:
    """Creates VMs of given names and raises the target size by as many."""
    group = acting(call)
    intent = group.intent
    if intent.is_proactive and intent.substitutes:
        raise ConditionNotMet(
            "CreateInstances cannot be used when UpdatePolicy type is set to PROACTIVE and replacementMethod to SUBSTITUTE. "
            "Set the type to OPPORTUNISTIC or the replacementMethod to RECREATE."
        )
    names = [each.get("name") or group.new_name() for each in call.body.get("instances") or []]
    for name in names:
        if name in group.machines:
            raise Invalid("instances.name", name, "The group has an instance of this name.")
    for name in names:
        zones = Counter(machine.zone for machine in group.machines.values() if machine.action not in LEAVING)
        group.create_named(name, zone_for_new(intent.shape, intent.zones, zones, {}, group.full_zones()))
    rewrite(call, targetSize=intent.target_size + len(names))
    return call.operation()


def _chosen(call: Call, group: Group) -> list[Machine]:
    """The machines that the body names by URL. Raises `Invalid` for one that is not of the group."""
    urls = call.body.get("instances") or []
    if not urls:
        raise Required("instances")
    if len(urls) > MOST_INSTANCES:
        raise Invalid("instances", len(urls), f"At most {MOST_INSTANCES} instances are allowed.")
    chosen = {}
    for index, url in enumerate(urls):
        machine = group.machines.get(url.rpartition("/")[2])
        if machine is not None:
            chosen[machine.name] = machine
        elif not call.body.get("skipInstancesOnValidationError"):
            raise Invalid(f"instances[{index}]", url, f"The instance is not a member of {group.key.name}.")
    return list(chosen.values())
