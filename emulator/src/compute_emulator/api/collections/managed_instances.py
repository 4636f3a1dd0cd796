"""Methods on single instances of a managed group.

Source: Compute API reference, regionInstanceGroupManagers: listManagedInstances, listErrors, and
the *Instances methods.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from compute_emulator.api import group_view, listing
from compute_emulator.api.call import Call, Handlers
from compute_emulator.api.collections.instance_group_managers import group_of, rewrite
from compute_emulator.engine.group_intent import RESERVES
from compute_emulator.engine.groups import Group
from compute_emulator.engine.managed_instance import ManagedInstance
from compute_emulator.engine.per_instance_configs import Config
from compute_emulator.errors import ConditionNotMet, Invalid, JsonObject, Required
from compute_emulator.rules.group import LEAVING, Delete, Disruption, Recreate
from compute_emulator.rules.updater import most_needed, updates_for

HANDLERS = Handlers()

METHOD = "compute.regionInstanceGroupManagers."
MAX_INSTANCES = 1000


@HANDLERS.handles(METHOD + "listManagedInstances")
def list_managed_instances(call: Call) -> JsonObject:
    """All of them in one response, unless the group asks for pages."""
    resource = call.resource()
    items = group_view.managed_instances(call.cloud.groups[call.key])
    params = call.params
    if resource["listManagedInstancesResults"] == "PAGELESS":
        params = {name: value for name, value in params.items() if name == "filter"} | {
            "maxResults": len(items) or 1
        }
    return listing.page(items, params, "managedInstances")


@HANDLERS.handles(METHOD + "listErrors")
def list_errors(call: Call) -> JsonObject:
    """The latest errors, newest first. `filter` and `orderBy` have no effect, as in the API."""
    call.resource()
    group = call.cloud.groups[call.key]
    params = {
        name: value for name, value in call.params.items() if name not in ("filter", "orderBy")
    }
    return listing.page(list(reversed(group.errors)), params, "items")


@HANDLERS.handles(METHOD + "deleteInstances")
def delete_instances(call: Call) -> JsonObject:
    """Deletes instances and lowers the target size by their number."""
    group = group_of(call)
    leaving = [m for m in named_instances(call, group) if m.action not in LEAVING]
    fewer = _sizes_without(group, leaving)
    group.apply(Delete(instance.name, "requested by name") for instance in leaving)
    rewrite(call, **fewer)
    return call.operation()


@HANDLERS.handles(METHOD + "abandonInstances")
def abandon_instances(call: Call) -> JsonObject:
    """Removes instances from the group, which shrinks by their number; they keep running."""
    group = group_of(call)
    leaving = [m for m in named_instances(call, group) if m.action not in LEAVING]
    fewer = _sizes_without(group, leaving)
    for instance in leaving:
        instance.abandon()
    rewrite(call, **fewer)
    return call.operation()


def _sizes_without(group: Group, leaving: list[ManagedInstance]) -> dict[str, int]:
    """The group's sizes without these VMs: running and standby VMs are counted separately."""
    sizes = {
        "targetSize": max(
            0, group.intent.target_size - sum(not instance.standby for instance in leaving)
        )
    }
    for name, standby in RESERVES.items():
        count = sum(instance.standby == standby for instance in leaving)
        if count:
            sizes[name] = max(0, group.resource.get(name, 0) - count)
    return sizes


@HANDLERS.handles(METHOD + "recreateInstances")
def recreate_instances(call: Call) -> JsonObject:
    """Deletes instances and creates them under their names, in their intended version."""
    group = group_of(call)
    again = [m for m in running_named_instances(call, group) if m.action not in LEAVING]
    missing = list(
        (group.intent.desired() - Counter(m.revision for m in group.instances.values())).elements()
    )
    steps = []
    for instance in again:
        outdated = instance.revision not in group.intent.desired()
        revision = (
            (missing.pop(0) if missing else group.intent.versions[0].revision)
            if outdated
            else instance.revision
        )
        steps.append(Recreate(instance.name, revision, "requested by name"))
    group.apply(steps)
    return call.operation()


@HANDLERS.handles(METHOD + "applyUpdatesToInstances")
def apply_updates(call: Call) -> JsonObject:
    """Updates the named VMs at once, outside of the budgets; the default is the mildest
    sufficient action.

    Refused if one of them needs more than is allowed.
    """
    group = group_of(call)
    if call.body.get("allInstances") and call.body.get("instances"):
        raise Invalid(
            "instances",
            len(call.body["instances"]),
            "Must not be set together with allInstances.",
        )
    names = (
        set(group.instances)
        if call.body.get("allInstances")
        else {m.name for m in running_named_instances(call, group)}
    )
    allowed = Disruption[call.body.get("mostDisruptiveAllowedAction", "REPLACE")]
    intent = replace(
        group.intent,
        minimal=Disruption[call.body.get("minimalAction", "NONE")],
        most_disruptive=Disruption.REPLACE,
    )
    members = group.members()
    needed = most_needed(intent, members, names, group.disruption)
    if needed > allowed:
        raise Invalid(
            "mostDisruptiveAllowedAction", allowed.name, f"The update requires {needed.name}."
        )
    group.apply(updates_for(intent, members, names, group.disruption))
    return call.operation()


@HANDLERS.handles(METHOD + "createInstances")
def create_instances(call: Call) -> JsonObject:
    """Creates VMs with given names and raises the target size by their number. Their preserved
    state becomes their config.
    """
    group = group_of(call)
    intent = group.intent
    if intent.is_proactive and intent.substitutes:
        raise ConditionNotMet(
            "CreateInstances cannot be used when UpdatePolicy type is set to PROACTIVE and"
            " replacementMethod to SUBSTITUTE. Set the type to OPPORTUNISTIC or the"
            " replacementMethod to RECREATE."
        )
    given = [
        (each.get("name") or group.new_name(), each) for each in call.body.get("instances") or []
    ]
    for name, _ in given:
        if name in group.instances:
            raise Invalid("instances.name", name, "The group already has an instance of this name.")
    for name, each in given:
        if any((each.get("preservedState") or {}).values()):
            group.configs[name] = Config(each["preservedState"], call.cloud.new_fingerprint())
        group.create_named(name, group.capacity.zone_for_new())
    rewrite(call, targetSize=intent.target_size + len(given))
    return call.operation()


def running_named_instances(call: Call, group: Group) -> list[ManagedInstance]:
    """Like `named_instances`, but none may be a standby VM: start or resume those first. Raises
    `Invalid`.
    """
    found = named_instances(call, group)
    for instance in found:
        if instance.standby:
            raise Invalid(
                "instances",
                call.cloud.path(instance.key),
                f"The instance is {instance.standby.lower()}.",
            )
    return found


def named_instances(call: Call, group: Group) -> list[ManagedInstance]:
    """The instances that the body names by URL. Raises `Invalid` for one outside of the group."""
    urls = call.body.get("instances") or []
    if not urls:
        raise Required("instances")
    if len(urls) > MAX_INSTANCES:
        raise Invalid("instances", len(urls), f"At most {MAX_INSTANCES} instances are allowed.")
    found = {}
    for index, url in enumerate(urls):
        instance = group.instances.get(url.rpartition("/")[2])
        if instance is not None:
            found[instance.name] = instance
        elif not call.body.get("skipInstancesOnValidationError"):
            raise Invalid(
                f"instances[{index}]", url, f"The instance is not a member of {group.key.name}."
            )
    return list(found.values())
