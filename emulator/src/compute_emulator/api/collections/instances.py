"""Instances as the API shows them: get, list, aggregatedList. Read-only: the groups manage them."""

from __future__ import annotations

from typing import Any

from compute_emulator.api.call import Call, Handlers
from compute_emulator.errors import JsonObject

HANDLERS = Handlers()


def view(resource: JsonObject) -> JsonObject:
    """Adds the members that every instance has, whatever its template; clients such as Libcloud
    rely on them.
    """
    fingerprint = resource.get("fingerprint", "")
    added: dict[str, Any] = {
        "tags": {"fingerprint": fingerprint} | resource.get("tags", {}),
        "labelFingerprint": fingerprint,
        "metadata": (
            {"kind": "compute#metadata", "fingerprint": fingerprint} | resource.get("metadata", {})
        ),
        "scheduling": resource.get("scheduling", {}),
        "disks": resource.get("disks", []),
        "canIpForward": resource.get("canIpForward", False),
        "cpuPlatform": "Unknown CPU Platform",
        "startRestricted": False,
        "deletionProtection": False,
    }
    return resource | added


@HANDLERS.handles("compute.instances.get")
def get(call: Call) -> JsonObject:
    return view(call.resource())


@HANDLERS.handles("compute.instances.list")
def list_(call: Call) -> JsonObject:
    return call.page([view(each) for each in call.cloud.list_in(call.scope, call.collection)])


@HANDLERS.handles("compute.instances.aggregatedList")
def aggregated_list(call: Call) -> JsonObject:
    cloud, scopes = call.cloud, call.cloud.scopes_with(call.collection)
    return call.aggregate(
        {scope: [view(each) for each in cloud.list_in(scope, call.collection)] for scope in scopes}
    )
