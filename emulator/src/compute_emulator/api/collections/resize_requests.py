"""Resize requests of regional managed groups: insert, get, list, cancel, delete.

`engine/resize_requests.py` holds their controller. Source: Compute API reference,
regionInstanceGroupManagerResizeRequests.
"""

from __future__ import annotations

from compute_emulator.api.call import Call, Handlers
from compute_emulator.api.collections.instance_group_managers import group_of
from compute_emulator.engine.groups import Group
from compute_emulator.engine.per_instance_configs import Config
from compute_emulator.engine.resize_requests import ACTIVE, ResizeRequest
from compute_emulator.errors import (
    AlreadyExists,
    ConditionNotMet,
    Invalid,
    JsonObject,
    NotFound,
    Required,
)
from compute_emulator.keys import Key

HANDLERS = Handlers()

METHOD = "compute.regionInstanceGroupManagerResizeRequests."
TYPE = "compute.instanceGroupManagers."
SHORTEST_SECONDS, LONGEST_SECONDS = 600, 604_800


@HANDLERS.handles(METHOD + "insert")
def insert(call: Call) -> JsonObject:
    """The group's target grows at once; the VMs are created when there is capacity for all of
    them.
    """
    group, body = group_of(call), call.body
    if not body.get("name"):
        raise Required("resource.name")
    key = _key(call, body["name"])
    if body["name"] in group.resize_requests:
        raise AlreadyExists(call.cloud.path(key))
    names, seconds = _names(group, body), _run_seconds(body)
    autoscaler = call.cloud.find(group.autoscaler) if group.autoscaler is not None else None
    if autoscaler is not None and autoscaler["autoscalingPolicy"]["mode"] != "OFF":
        raise ConditionNotMet(
            "Resize requests are not allowed for autoscaled managed instance groups."
        )
    resource: JsonObject = {
        "kind": "compute#instanceGroupManagerResizeRequest",
        "id": call.cloud.new_id(),
        "creationTimestamp": call.cloud.timestamp(),
        **body,
        "region": group.resource["region"],
        "selfLink": call.cloud.link(*key),
    }
    resource["selfLinkWithId"] = f"{resource['selfLink'].rpartition('/')[0]}/{resource['id']}"
    for each in body.get("instances") or []:
        if any((each.get("preservedState") or {}).values()):
            group.configs[each["name"]] = Config(
                each["preservedState"], call.cloud.new_fingerprint()
            )
    group.resize_requests[body["name"]] = ResizeRequest(group, resource, names, seconds)
    return call.operation(TYPE + "createResizeRequest", key)


def _names(group: Group, body: JsonObject) -> list[str]:
    """The names of the VMs to create: given by `instances`, or generated for `resizeBy`."""
    given: list[str] = [each.get("name", "") for each in body.get("instances") or []]
    if not given and "resizeBy" not in body:
        raise Required("resource.resizeBy")
    count: int = body.get("resizeBy", len(given))
    if given and "resizeBy" in body:
        raise Invalid("resource.resizeBy", count, "Must not be set together with instances.")
    if count <= 0:
        raise Invalid("resource.resizeBy", count, "Must be greater than 0.")
    for index, name in enumerate(given):
        if not name:
            raise Required(f"resource.instances[{index}].name")
        if name in group.instances or name in given[:index]:
            raise Invalid(
                f"resource.instances[{index}].name",
                name,
                "The group already has an instance of this name.",
            )
    names = list(given)
    while len(names) < count:
        name = group.new_name()
        if name not in names:
            names.append(name)
    return names


def _run_seconds(body: JsonObject) -> float | None:
    duration = body.get("requestedRunDuration")
    if duration is None:
        return None
    seconds = float(duration.get("seconds", 0)) + float(duration.get("nanos", 0)) / 1e9
    if not SHORTEST_SECONDS <= seconds <= LONGEST_SECONDS:
        raise Invalid(
            "resource.requestedRunDuration",
            f"{seconds:g}s",
            "Must be between 10 minutes and 7 days.",
        )
    return seconds


@HANDLERS.handles(METHOD + "get")
def get(call: Call) -> JsonObject:
    return _request(call).resource


@HANDLERS.handles(METHOD + "list")
def list_(call: Call) -> JsonObject:
    call.resource()
    group = call.cloud.groups[call.key]
    page = call.page(
        [group.resize_requests[name].resource for name in sorted(group.resize_requests)]
    )
    path = f"{call.key.name}/resizeRequests"
    return page | {
        "id": call.cloud.path(_key(call, "")).rstrip("/"),
        "selfLink": call.cloud.link(call.scope, call.collection, path),
    }


@HANDLERS.handles(METHOD + "cancel")
def cancel(call: Call) -> JsonObject:
    """Only while the request waits for capacity; the group returns to its old size."""
    group_of(call)
    request = _request(call)
    if request.state != "ACCEPTED":
        raise Invalid(
            "resizeRequest",
            call.params["resizeRequest"],
            f"A request that is {request.state} cannot be cancelled.",
        )
    request.cancel()
    return call.operation(TYPE + "cancelResizeRequest", _key(call, call.params["resizeRequest"]))


@HANDLERS.handles(METHOD + "delete")
def delete(call: Call) -> JsonObject:
    """Only when the request has ended. The VMs that it created remain."""
    group = group_of(call)
    request = _request(call)
    if request.state in ACTIVE:
        raise Invalid(
            "resizeRequest",
            call.params["resizeRequest"],
            f"A request that is {request.state} cannot be deleted.",
        )
    name = call.params["resizeRequest"]

    def remove() -> None:
        group.resize_requests.pop(name, None)

    return call.operation(TYPE + "deleteResizeRequest", _key(call, name), at_end=remove)


def _request(call: Call) -> ResizeRequest:
    call.resource()
    group = call.cloud.groups[call.key]
    found = group.resize_requests.get(call.params["resizeRequest"])
    if found is None:
        raise NotFound(call.cloud.path(_key(call, call.params["resizeRequest"])))
    return found


def _key(call: Call, name: str) -> Key:
    return Key(call.scope, call.collection, f"{call.name}/resizeRequests/{name}")
