"""Regional managed instance groups: insert, get, list, patch, resize, delete.

`api/group_fields.py` validates a group and `engine/groups.py` holds its controller; methods on
single instances are in `managed_instances.py`. Source: Compute API reference,
regionInstanceGroupManagers.
"""

from __future__ import annotations

from typing import Any

from compute_emulator.api import group_fields, group_view
from compute_emulator.api.call import Call, Handlers
from compute_emulator.api.collections import standard
from compute_emulator.api.collections.instance_groups import check_named_ports
from compute_emulator.api.group_fields import interface_of
from compute_emulator.engine.cloud import Cloud
from compute_emulator.engine.groups import Group, group_at
from compute_emulator.errors import ConditionNotMet, JsonObject
from compute_emulator.keys import Key

HANDLERS = Handlers()


def on_write(cloud: Cloud, resource: JsonObject) -> None:
    """Create a new group's instance group and controller, or notify an existing controller of
    its new intent.
    """
    key = cloud.key_of(resource["selfLink"])
    group = group_at(cloud, key)
    if group is not None:
        group.on_write()
        return
    named = resource.pop("namedPorts", [])
    network = interface_of(cloud, resource["versions"][0])
    body: JsonObject = {
        "name": key.name,
        "namedPorts": named,
        "fingerprint": cloud.new_fingerprint(),
    }
    body |= {name: network[name] for name in ("network", "subnetwork") if name in network}
    cloud.new("compute#instanceGroup", Key(key.scope, "instanceGroups", key.name), body)
    cloud.groups[key] = Group(cloud, key)


KIND = standard.Kind(
    collection="instanceGroupManagers",
    word="instance_group_manager",
    schema="InstanceGroupManager",
    discovery=("regionInstanceGroupManagers",),
    complete=group_fields.complete,
    fingerprint="if_given",
    view=group_view.manager,
    on_write=on_write,
)


def group_of(call: Call) -> Group:
    """The group named in the path, ready to be changed."""
    call.resource_to_change()
    return call.cloud.groups[call.key]


def rewrite(call: Call, **members: Any) -> None:
    """Change members of the stored group other than by PATCH, with the same validation."""
    changed = call.resource() | members
    group_fields.complete(call, changed)
    changed["fingerprint"] = call.cloud.new_fingerprint()
    on_write(call.cloud, call.cloud.put(call.key, changed))


@HANDLERS.handles("compute.regionInstanceGroupManagers.insert")
def insert(call: Call) -> JsonObject:
    check_named_ports(call.body.get("namedPorts") or [], "resource.namedPorts")
    return standard.insert(KIND, call)


@HANDLERS.handles("compute.regionInstanceGroupManagers.get")
def get(call: Call) -> JsonObject:
    return group_view.manager(call.cloud, call.resource())


@HANDLERS.handles("compute.regionInstanceGroupManagers.list")
def list_groups(call: Call) -> JsonObject:
    return standard.list_(KIND, call)


@HANDLERS.handles("compute.instanceGroupManagers.aggregatedList")
def aggregated_list(call: Call) -> JsonObject:
    return standard.aggregated_list(KIND, call)


@HANDLERS.handles("compute.regionInstanceGroupManagers.patch")
def patch(call: Call) -> JsonObject:
    """A template alone replaces all versions. If a fixed and a percent size conflict, the one
    that was sent applies.
    """
    call.resource_to_change()
    if call.body.get("instanceTemplate") and not call.body.get("versions"):
        call.body["versions"] = [{"instanceTemplate": call.body["instanceTemplate"]}]
    policy = call.body.get("updatePolicy") or {}
    for name in ("maxSurge", "maxUnavailable"):
        sent = {member for member, value in (policy.get(name) or {}).items() if value is not None}
        if len(sent & {"fixed", "percent"}) == 1:
            policy[name] |= {"fixed": None, "percent": None} | {
                member: policy[name][member] for member in sent
            }
    call.body.pop("namedPorts", None)
    return standard.patch(KIND, call)


@HANDLERS.handles("compute.regionInstanceGroupManagers.setInstanceTemplate")
def set_instance_template(call: Call) -> JsonObject:
    group_of(call)
    rewrite(call, versions=[{"instanceTemplate": call.body.get("instanceTemplate")}])
    return call.operation()


@HANDLERS.handles("compute.regionInstanceGroupManagers.setTargetPools")
def set_target_pools(call: Call) -> JsonObject:
    """Stored with the group. There are no target pools that its VMs could join."""
    group_of(call)
    standard.check_fingerprint("if_given", call, call.resource())
    rewrite(call, targetPools=call.body.get("targetPools") or [])
    return call.operation()


@HANDLERS.handles("compute.regionInstanceGroupManagers.resize")
def resize(call: Call) -> JsonObject:
    group = group_of(call)
    autoscaler = call.cloud.find(group.autoscaler) if group.autoscaler is not None else None
    if autoscaler is not None and autoscaler["autoscalingPolicy"]["mode"] != "OFF":
        raise ConditionNotMet(
            "Resizing of autoscaled regional managed instance groups is not allowed. If you want to"
            " manually adjust target size remove the autoscaler or set autoscaling policy mode to"
            " OFF."
        )
    rewrite(call, targetSize=call.params["size"])
    return call.operation()


@HANDLERS.handles("compute.regionInstanceGroupManagers.delete")
def delete(call: Call) -> JsonObject:
    """Refused while an autoscaler or a backend service uses the group; done when the last VM has
    drained and is deleted.
    """
    cloud, key, group = call.cloud, call.key, group_of(call)
    standard.refuse_in_use(cloud, key, KIND.word)
    standard.refuse_in_use(cloud, group.group_key, "instance_group")

    def remove() -> None:
        cloud.groups.pop(key, None)
        cloud.remove(group.group_key)
        cloud.remove(key)

    if not group.instances:
        group.delete_all(lambda: None)
        return call.operation(at_end=remove)
    operation = call.operation(at_end=remove, held=True)
    group.delete_all(lambda: cloud.operations.finish((key.scope, operation["name"])))
    return operation
