"""The instance groups of the managers: named ports, size, members. Source: Compute API
reference, regionInstanceGroups.
"""

from __future__ import annotations

import re
from functools import partial

from compute_emulator.api import group_view, listing
from compute_emulator.api.call import Call, Handlers
from compute_emulator.engine.groups import group_at
from compute_emulator.errors import Invalid, JsonObject, StaleFingerprint

HANDLERS = Handlers()

PORT_NAME = re.compile(r"[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?")

METHOD = "compute.regionInstanceGroups."


@HANDLERS.handles(METHOD + "get")
def get(call: Call) -> JsonObject:
    return group_view.instance_group(call.cloud, call.resource())


@HANDLERS.handles(METHOD + "list")
def list_groups(call: Call) -> JsonObject:
    cloud = call.cloud
    return call.page(
        cloud.list_in(call.scope, call.collection), view=partial(group_view.instance_group, cloud)
    )


@HANDLERS.handles("compute.instanceGroups.aggregatedList")
def aggregated_list(call: Call) -> JsonObject:
    cloud = call.cloud
    scopes = cloud.scopes_with("instanceGroups")
    kept = {scope: cloud.list_in(scope, "instanceGroups") for scope in scopes}
    return call.aggregate(kept, partial(group_view.instance_group, cloud))


def check_named_ports(ports: list[JsonObject], where: str) -> None:
    """Each has a name and a port from 1 to 65535."""
    for index, named in enumerate(ports):
        name, port = str(named.get("name", "")), named.get("port", 0)
        if not name or not 1 <= port <= 65535:
            raise Invalid(
                f"{where}[{index}]", named, "A named port has a name and a port from 1 to 65535."
            )
        if not PORT_NAME.fullmatch(name):
            regex = f"Must be a match of regex '{PORT_NAME.pattern}'"
            raise Invalid(f"{where}[{index}].name", name, regex)


@HANDLERS.handles(METHOD + "setNamedPorts")
def set_named_ports(call: Call) -> JsonObject:
    """Replaces all named ports. A fingerprint, if given, is the instance group's own."""
    resource = call.resource_to_change()
    given = call.body.get("fingerprint")
    if given and given != resource["fingerprint"]:
        raise StaleFingerprint
    ports = call.body.get("namedPorts") or []
    check_named_ports(ports, "namedPorts")
    resource["namedPorts"] = ports
    resource["fingerprint"] = call.cloud.new_fingerprint()
    return call.operation()


@HANDLERS.handles(METHOD + "listInstances")
def list_instances(call: Call) -> JsonObject:
    """Its members; with `instanceState` RUNNING only the running ones."""
    resource = call.resource()
    group = group_at(call.cloud, call.key)
    instances = group_view.group_members(group) if group is not None else []
    only_running = call.body.get("instanceState") == "RUNNING"
    items: list[JsonObject] = [
        {
            "instance": call.cloud.link(*instance.key),
            "status": instance.status,
            "namedPorts": resource.get("namedPorts", []),
        }
        for instance in sorted(instances, key=lambda each: each.name)
        if instance.is_running or not only_running
    ]
    response: JsonObject = {
        "kind": "compute#regionInstanceGroupsListInstances",
        "id": f"projects/{call.project}/{call.scope}/instanceGroups/{call.name}/listInstances",
        "selfLink": f"{resource['selfLink']}/listInstances",
    }
    return response | listing.page(items, call.params, "items")
