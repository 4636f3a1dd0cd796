"""IAM methods of the implemented collections. Everything is permitted; policies are stored and
returned, not enforced.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from compute_emulator.api import discovery
from compute_emulator.api.call import Call, Handlers
from compute_emulator.errors import ApiError, JsonObject
from compute_emulator.keys import Key

HANDLERS = Handlers()

RESOURCES = (
    "addresses",
    "globalAddresses",
    "backendServices",
    "regionBackendServices",
    "firewalls",
    "healthChecks",
    "regionHealthChecks",
    "httpHealthChecks",
    "instanceTemplates",
    "regionAutoscalers",
    "regionInstanceGroups",
    "urlMaps",
    "instances",
)
COLLECTION = "iamPolicies"


def test_permissions(call: Call) -> JsonObject:
    """The caller has every permission it asks about."""
    call.resource()
    permissions: list[str] = call.body.get("permissions") or []
    return {"permissions": permissions} if permissions else {}


def get_policy(call: Call) -> JsonObject:
    return _with_etag(_stored_policy(call))


def set_policy(call: Call) -> JsonObject:
    """Takes a whole `policy`, or `bindings` and `etag` as older callers send them. A stale
    `etag` is refused.
    """
    kept = _with_etag(_stored_policy(call))
    given: dict[str, Any] = call.body.get("policy") or {
        name: call.body[name] for name in ("bindings", "etag") if name in call.body
    }
    if given.get("etag") and given["etag"] != kept["etag"]:
        raise ApiError(
            "There were concurrent policy changes. Please retry.",
            status=412,
            reason="conditionNotMet",
        )
    policy = {name: value for name, value in given.items() if name != "etag"}
    call.cloud.put(_place(call), {"resource": call.resource().get("id"), "policy": policy})
    return _with_etag(policy)


def _place(call: Call) -> Key:
    return Key(call.scope, COLLECTION, f"{call.collection}/{call.name}")


def _stored_policy(call: Call) -> JsonObject:
    """A policy belongs to one resource: a new resource of the same name starts without one."""
    resource, found = call.resource(), call.cloud.find(_place(call))
    policy: JsonObject = (
        found["policy"] if found is not None and found["resource"] == resource.get("id") else {}
    )
    return policy


def _with_etag(policy: JsonObject) -> JsonObject:
    versioned = {"version": 1} | policy
    text = json.dumps(versioned, sort_keys=True).encode()
    return versioned | {"etag": hashlib.sha256(text).hexdigest()[:12]}


for _resource in RESOURCES:
    for _verb, _handler in (
        ("testIamPermissions", test_permissions),
        ("getIamPolicy", get_policy),
        ("setIamPolicy", set_policy),
    ):
        if f"compute.{_resource}.{_verb}" in discovery.methods():
            HANDLERS.add(f"compute.{_resource}.{_verb}", _handler)
