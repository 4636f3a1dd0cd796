"""Collections that are always empty: their lists have no items, and every name is unknown.

Groups are regional here, so the zonal collections of groups, managers and autoscalers are empty;
disks, snapshots and the like are not modelled. An insert is answered with 501. Tools such as
Libcloud list these collections before they act.
"""

from __future__ import annotations

from compute_emulator.api import discovery
from compute_emulator.api.call import Call, Handlers
from compute_emulator.errors import JsonObject

HANDLERS = Handlers()

EMPTY = (
    "instanceGroupManagers",
    "instanceGroups",
    "autoscalers",
    "disks",
    "snapshots",
    "routes",
    "targetPools",
    "targetInstances",
    "regionDisks",
    "networkEndpointGroups",
    "httpsHealthChecks",
    "backendBuckets",
    "sslPolicies",
)


def get(call: Call) -> JsonObject:
    return call.resource()


def list_(call: Call) -> JsonObject:
    return call.page([])


def aggregated_list(call: Call) -> JsonObject:
    return call.aggregate({})


for _resource in EMPTY:
    for _verb, _handler in (("get", get), ("list", list_), ("aggregatedList", aggregated_list)):
        _method = f"compute.{_resource}.{_verb}"
        if _method in discovery.methods() and not (
            _verb == "aggregatedList" and _resource in EMPTY[:3]
        ):
            HANDLERS.add(_method, _handler)
