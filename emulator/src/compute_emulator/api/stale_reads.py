"""Stale reads: responses as of some writes, or some seconds, ago. The fault kind `stale_read`
asks for them.

    {"kind": "stale_read", "method": "compute.urlMaps.get", "versions": 1}   before the last write
    {"kind": "stale_read", "method": "compute.*.list", "seconds": 30}        30 seconds ago

`wire` records each resource before every write of the API, including computed members: the last
20 versions of each of the 500 most recently written resources. Changes without a write
(instances being created and deleted) are always shown as they are.
"""

from __future__ import annotations

import json

from compute_emulator.api.call import Call
from compute_emulator.api.collections import HANDLERS
from compute_emulator.api.discovery import methods
from compute_emulator.control.faults import Fault
from compute_emulator.engine.cloud import Version
from compute_emulator.errors import ApiError, JsonObject, NotFound
from compute_emulator.keys import Key, parse

VERSIONS, RESOURCES = 20, 500
PLACES = ("project", "region", "zone")
NAME_PARAMETERS = ("autoscaler",)
"""Query parameters that name the resource of a PATCH or PUT without a name in its path."""


def remember(call: Call) -> None:
    """Record the resource that a call is about to change."""
    key = _target(call) if call.method.mutates else None
    read = _get_call(call, key) if key is not None else None
    if key is None or read is None:
        return
    kept: dict[Key, list[Version]] = call.cloud.history
    versions = kept.pop(key, [])  # put back at the end: the least recently written comes first
    items_then = _encode_resource(read) if call.cloud.find(key) is not None else None
    if versions and versions[-1][1] == items_then:
        versions.pop()  # the previous write was refused, or changed nothing
    versions.append((call.cloud.now(), items_then))
    kept[key] = versions[-VERSIONS:]
    if len(kept) > RESOURCES:
        del kept[next(iter(kept))]


def as_before(call: Call, fault: Fault, body: JsonObject) -> JsonObject:
    """The response to a read under a stale-read fault. Raises `NotFound` if the resource did not
    exist then.
    """
    if call.method.verb == "get":
        known, before = _before(call, fault, call.key)
        if known and before is None:
            raise NotFound(call.cloud.path(call.key))
        return before if before is not None else body
    items = body.get("items")
    if call.method.verb != "list" or (items is not None and not isinstance(items, list)):
        return body
    return (
        body | {"items": aged_items}
        if (aged_items := _items_as_before(call, fault, items or []))
        else _without_items(body)
    )


def deleted_as_before(call: Call, fault: Fault, error: ApiError) -> JsonObject:
    """The earlier version of a deleted resource. Raises `error` if it is not known."""
    known, before = _before(call, fault, call.key)
    if call.method.verb != "get" or not known or before is None:
        raise error
    return before


def _items_as_before(call: Call, fault: Fault, items: list[JsonObject]) -> list[JsonObject]:
    """Each item as it was. Items that did not exist yet are left out; items deleted since are
    added at the end.
    """
    items_then, seen = [], set()
    for item in items:
        key = parse(str(item.get("selfLink", "")))
        if key is None:
            items_then.append(item)
            continue
        seen.add(key)
        known, before = _before(call, fault, key)
        if not known:
            items_then.append(item)
        elif before is not None:
            items_then.append(before)
    for key in call.cloud.history:
        if (key.scope, key.collection) == (call.scope, call.collection) and key not in seen:
            before = _before(call, fault, key)[1]
            items_then += [before] if before is not None and call.cloud.find(key) is None else []
    return items_then


def _before(call: Call, fault: Fault, key: Key) -> tuple[bool, JsonObject | None]:
    """Whether an older version applies, and that version."""
    history: list[Version] = call.cloud.history.get(key, [])
    if not history:
        return False, None
    if fault.versions:
        return True, _decode_version(history[-min(fault.versions, len(history))])
    moment = call.cloud.now() - fault.seconds
    later = [each for each in history if each[0] > moment]
    return (True, _decode_version(later[0])) if later else (False, None)


def _decode_version(before: Version) -> JsonObject | None:
    text = before[1]
    found: JsonObject | None = json.loads(text) if text is not None else None
    return found


def _target(call: Call) -> Key | None:
    """The resource that a mutation changes."""
    if call.name:
        return call.key
    named = call.body.get("name") or next(
        (call.params[each] for each in NAME_PARAMETERS if call.params.get(each)), None
    )
    return Key(call.scope, call.collection, str(named)) if named else None


def _get_call(call: Call, key: Key) -> Call | None:
    """The `get` of the resource that a call changes; None if there is none, as for parts of a
    resource.
    """
    method = methods().get(call.method.id.rpartition(".")[0] + ".get")
    if method is None or method.id not in HANDLERS or method.name_parameter is None:
        return None
    params = {name: call.params[name] for name in PLACES if name in call.params} | {
        method.name_parameter: key.name
    }
    if any(parameter.name not in params for parameter in method.path_parameters):
        return None
    return Call(call.cloud, method, call.project, call.scope, params)


def _encode_resource(read: Call) -> bytes | None:
    try:
        return json.dumps(HANDLERS[read.method.id](read), separators=(",", ":")).encode()
    except ApiError:
        return None


def _without_items(body: JsonObject) -> JsonObject:
    return {name: value for name, value in body.items() if name != "items"}
