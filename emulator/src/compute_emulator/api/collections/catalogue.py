"""What Google provides: regions, zones, machine types, accelerator types, the project itself.
Read-only.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import cache

from compute_emulator.api.call import Call, Handlers
from compute_emulator.api.discovery import document
from compute_emulator.engine.capacity import ALL_REGIONS, limit_of, usage
from compute_emulator.engine.cloud import Cloud
from compute_emulator.engine.creation_checks import accelerator_is_in_zone, machine_type_is_in_zone
from compute_emulator.engine.group_capacity import needs_of
from compute_emulator.errors import JsonObject, NotFound
from compute_emulator.keys import HOST
from compute_emulator.rules.accelerators import ACCELERATOR_TYPES
from compute_emulator.rules.machine_types import (
    MACHINE_TYPES,
    SHARED_CORE,
    architecture_of,
    size_of,
)

HANDLERS = Handlers()

ONE_NAME = re.compile(r"""\s*name\s*=\s*(["']?)(?P<name>[\w-]+)\1\s*""")
CREATED = "2020-01-01T00:00:00.000-07:00"


@cache  # the catalogue is small
def _id(path: str) -> str:
    """A stable id for something that was never inserted."""
    number = 5381
    for sign in path:
        number = (number * 33 + ord(sign)) % 2**61
    return str(number)


def catalogue_resource(kind: str, path: str, **members: object) -> JsonObject:
    """A resource that has always existed."""
    name = path.rpartition("/")[2]
    return {
        "kind": f"compute#{kind}",
        "id": _id(path),
        "creationTimestamp": CREATED,
        "name": name,
        "selfLink": HOST + path,
        **members,
    }


def _quotas(cloud: Cloud, region: str = "") -> list[JsonObject]:
    """The configured limits and the usage of VMs, for a region or for the project. Metrics that
    the discovery document does not know, such as `G2_CPUS`, are enforced but not reported.
    """
    documented = document()["schemas"]["Quota"]["properties"]["metric"]["enum"]
    limits = {each.rpartition("/")[2] for each in cloud.quotas}
    metrics = sorted(
        each for each in limits if each in documented and (each == ALL_REGIONS) is not bool(region)
    )
    taken = usage(needs_of(cloud, f"regions/{region}" if region else None)) if metrics else {}
    return [
        {"metric": metric, "limit": float(limit), "usage": float(taken.get(metric, 0))}
        for metric in metrics
        if (limit := limit_of(cloud.quotas, region, metric)) is not None
    ]


def region(cloud: Cloud, name: str) -> JsonObject:
    path = f"projects/{cloud.project}"
    zones = [f"{HOST}{path}/zones/{zone}" for zone in cloud.zones_of(name)]
    quotas = _quotas(cloud, name)
    return catalogue_resource(
        "region",
        f"{path}/regions/{name}",
        status="UP",
        description=name,
        zones=zones,
        quotas=quotas,
    )


def zone(cloud: Cloud, name: str) -> JsonObject:
    owner = next((region for region, zones in cloud.regions.items() if name in zones), None)
    path = f"projects/{cloud.project}"
    if owner is None:
        raise NotFound(f"{path}/zones/{name}")
    return catalogue_resource(
        "zone",
        f"{path}/zones/{name}",
        status="DOWN" if name in cloud.zones_down else "UP",
        description=name,
        region=f"{HOST}{path}/regions/{owner}",
    )


def zone_names(cloud: Cloud) -> list[str]:
    return sorted(zone for zones in cloud.regions.values() for zone in zones)


@HANDLERS.handles("compute.regions.get")
def get_region(call: Call) -> JsonObject:
    return region(call.cloud, call.name)


@HANDLERS.handles("compute.regions.list")
def list_regions(call: Call) -> JsonObject:
    return call.page([region(call.cloud, name) for name in sorted(call.cloud.regions)])


@HANDLERS.handles("compute.zones.get")
def get_zone(call: Call) -> JsonObject:
    return zone(call.cloud, call.name)


@HANDLERS.handles("compute.zones.list")
def list_zones(call: Call) -> JsonObject:
    return call.page([zone(call.cloud, name) for name in zone_names(call.cloud)])


def _machine_type(call: Call, scope: str, name: str) -> JsonObject:
    path = f"projects/{call.project}/{scope}/machineTypes/{name}"
    size = size_of(name)
    if size is None or not machine_type_is_in_zone(name, scope.removeprefix("zones/")):
        raise NotFound(path)
    cpus, memory = size
    return catalogue_resource(
        "machineType",
        path,
        description=f"{cpus} vCPUs, {memory / 1024:g} GB RAM",
        guestCpus=cpus,
        memoryMb=memory,
        zone=scope.removeprefix("zones/"),
        isSharedCpu=name in SHARED_CORE,
        architecture=architecture_of(name),
        maximumPersistentDisks=128,
        maximumPersistentDisksSizeGb="263168",
    )


def _accelerator_type(call: Call, scope: str, name: str) -> JsonObject:
    path = f"projects/{call.project}/{scope}/acceleratorTypes/{name}"
    if name not in ACCELERATOR_TYPES or not accelerator_is_in_zone(
        name, scope.removeprefix("zones/")
    ):
        raise NotFound(path)
    place = f"{HOST}projects/{call.project}/{scope}"
    return catalogue_resource(
        "acceleratorType",
        path,
        description=ACCELERATOR_TYPES[name],
        zone=place,
        maximumCardsPerInstance=8,
    )


def _names(call: Call, known: Collection[str]) -> list[str]:
    """The names to make resources of: all, or the only one that the request's filter can pass."""
    only = ONE_NAME.fullmatch(call.params.get("filter") or "")
    return sorted(known) if only is None else [only["name"]] if only["name"] in known else []


def _machine_types(call: Call, scope: str) -> list[JsonObject]:
    zone = scope.removeprefix("zones/")
    return [
        _machine_type(call, scope, name)
        for name in _names(call, MACHINE_TYPES)
        if machine_type_is_in_zone(name, zone)
    ]


def _accelerator_types(call: Call, scope: str) -> list[JsonObject]:
    zone = scope.removeprefix("zones/")
    return [
        _accelerator_type(call, scope, name)
        for name in _names(call, ACCELERATOR_TYPES)
        if accelerator_is_in_zone(name, zone)
    ]


@HANDLERS.handles("compute.machineTypes.get")
def get_machine_type(call: Call) -> JsonObject:
    return _machine_type(call, call.scope, call.name)


@HANDLERS.handles("compute.machineTypes.list")
def list_machine_types(call: Call) -> JsonObject:
    return call.page(_machine_types(call, call.scope))


@HANDLERS.handles("compute.machineTypes.aggregatedList")
def aggregated_machine_types(call: Call) -> JsonObject:
    scopes = [f"zones/{name}" for name in zone_names(call.cloud)]
    return call.aggregate({scope: _machine_types(call, scope) for scope in scopes})


@HANDLERS.handles("compute.acceleratorTypes.get")
def get_accelerator_type(call: Call) -> JsonObject:
    return _accelerator_type(call, call.scope, call.name)


@HANDLERS.handles("compute.acceleratorTypes.list")
def list_accelerator_types(call: Call) -> JsonObject:
    return call.page(_accelerator_types(call, call.scope))


@HANDLERS.handles("compute.acceleratorTypes.aggregatedList")
def aggregated_accelerator_types(call: Call) -> JsonObject:
    scopes = [f"zones/{name}" for name in zone_names(call.cloud)]
    return call.aggregate({scope: _accelerator_types(call, scope) for scope in scopes})


@HANDLERS.handles("compute.projects.get")
def get_project(call: Call) -> JsonObject:
    path = f"projects/{call.cloud.project}"
    quotas = _quotas(call.cloud)
    return catalogue_resource(
        "project",
        path,
        defaultServiceAccount="emulator@localhost",
        defaultNetworkTier="PREMIUM",
        commonInstanceMetadata={"kind": "compute#metadata"},
        quotas=quotas,
    )
