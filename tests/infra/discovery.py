"""Validates actions against the discovery document in google-api-python-client: fields, types and
enums.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Any

from infra.fleet.model import Action, Key

_SCHEMAS = {
    "instanceTemplates": "InstanceTemplate",
    "healthChecks": "HealthCheck",
    "regionInstanceGroupManagers": "InstanceGroupManager",
    "regionInstanceGroups": "RegionInstanceGroupsSetNamedPortsRequest",
    "regionAutoscalers": "Autoscaler",
    "backendServices": "BackendService",
    "urlMaps": "UrlMap",
    "targetHttpProxies": "TargetHttpProxy",
    "targetHttpsProxies": "TargetHttpsProxy",
    "globalForwardingRules": "ForwardingRule",
    "globalAddresses": "Address",
}
# Described as output-only, yet accepted: named ports when a group is inserted.
_ACCEPTED = {"InstanceGroupManager.namedPorts"}


@cache
def document() -> dict[str, Any]:
    text = (files("googleapiclient.discovery_cache.documents") / "compute.v1.json").read_text(
        "utf-8"
    )
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def faults(action: Action) -> list[str]:
    """The errors in an action, according to the discovery document."""
    methods = document()["resources"][action.key.collection]["methods"]
    if action.verb not in methods:
        return [f"{action.key.collection} has no method {action.verb}"]
    if action.verb == "delete":
        return []
    schema = "TargetReference" if action.verb == "setTarget" else _SCHEMAS[action.key.collection]
    return list(_faults(schema, {"$ref": schema}, action.body))


def has_fingerprint(key: Key) -> bool:
    """Whether the API can detect a change that is based on an older state of the resource."""
    return "fingerprint" in document()["schemas"][_SCHEMAS[key.collection]]["properties"]


def _faults(where: str, schema: dict[str, Any], value: Any) -> Iterator[str]:
    if "$ref" in schema or "properties" in schema:
        yield from _object(where, schema.get("$ref", ""), schema.get("properties"), value)
        return
    match schema.get("type"):
        case "array":
            if not isinstance(value, list):
                yield f"{where} is not a list"
                return
            for index, item in enumerate(value):
                yield from _faults(f"{where}[{index}]", schema["items"], item)
        case "object":
            if not isinstance(value, dict):
                yield f"{where} is not an object"
                return
            for key, item in value.items():
                yield from _faults(f"{where}.{key}", schema["additionalProperties"], item)
        case kind:
            yield from _scalar(where, str(kind), schema, value)


def _object(where: str, name: str, inline: dict[str, Any] | None, value: Any) -> Iterator[str]:
    known = inline or document()["schemas"][name]["properties"]
    if not isinstance(value, dict):
        yield f"{where} is not an object"
        return
    for key, item in value.items():
        if key not in known:
            yield f"{where}.{key} is unknown"
        elif _is_output(known[key]) and f"{name}.{key}" not in _ACCEPTED:
            yield f"{where}.{key} is output-only"
        else:
            yield from _faults(f"{where}.{key}", known[key], item)


def _is_output(schema: dict[str, Any]) -> bool:
    return bool(schema.get("readOnly")) or schema.get("description", "").startswith("[Output Only]")


def _scalar(where: str, kind: str, schema: dict[str, Any], value: Any) -> Iterator[str]:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    fits = {
        "string": (
            isinstance(value, str) or (is_number and schema.get("format") in ("int64", "uint64"))
        ),
        "integer": isinstance(value, int) and not isinstance(value, bool),
        "number": is_number,
        "boolean": isinstance(value, bool),
    }
    if not fits.get(kind, True):
        yield f"{where} is {value!r} and should be a {kind}"
    elif "enum" in schema and value not in schema["enum"]:
        yield f"{where} is {value!r} and should be one of {', '.join(schema['enum'])}"
