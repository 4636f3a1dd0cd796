"""Collections in which there is nothing: their lists are empty and any name is unknown, but they
can be asked.

Groups are regional here, so the zonal collections of groups, managers and autoscalers have none;
disks, snapshots and the like are not modelled at all. Making one is answered with 501. Tools that
look around before they act need the lists, such as Libcloud."""

from __future__ import annotations

from compute_emulator.api import discovery
from compute_emulator.api.call import Call, Handlers
from compute_emulator.errors import JsonObject

HANDLERS = Handlers()

EMPTY = (
    *(
        "instanceGroupManagers",
        "instanceGroups",
        "autoscalers",
        "disks",
        "snapshots",
        "routes",
        "targetPools",
    ),
    *(
        "targetInstances",
        "regionDisks",
        "networkEndpointGroups",
        "httpsHealthChecks",
        "backendBuckets",
        "sslPolicies",
    ),
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
