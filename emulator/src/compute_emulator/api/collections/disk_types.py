"""Disk types. Read-only; disks themselves are not modelled."""

from __future__ import annotations

from compute_emulator.api.call import Call, Handlers
from compute_emulator.api.collections.catalogue import catalogue_resource, zone_names
from compute_emulator.errors import JsonObject, NotFound
from compute_emulator.keys import HOST
from compute_emulator.rules.disk_types import DISK_TYPES

HANDLERS = Handlers()


def _disk_type(call: Call, scope: str, name: str) -> JsonObject:
    path = f"projects/{call.project}/{scope}/diskTypes/{name}"
    if name not in DISK_TYPES:
        raise NotFound(path)
    about, default, sizes = DISK_TYPES[name]
    zone = f"{HOST}projects/{call.project}/{scope}"
    return catalogue_resource(
        "diskType",
        path,
        description=about,
        defaultDiskSizeGb=default,
        validDiskSize=sizes,
        zone=zone,
    )


@HANDLERS.handles("compute.diskTypes.get")
def get(call: Call) -> JsonObject:
    return _disk_type(call, call.scope, call.name)


@HANDLERS.handles("compute.diskTypes.list")
def list_(call: Call) -> JsonObject:
    return call.page([_disk_type(call, call.scope, name) for name in DISK_TYPES])


@HANDLERS.handles("compute.diskTypes.aggregatedList")
def aggregated_list(call: Call) -> JsonObject:
    scopes = [f"zones/{name}" for name in zone_names(call.cloud)]
    return call.aggregate(
        {scope: [_disk_type(call, scope, name) for name in DISK_TYPES] for scope in scopes}
    )
