"""The default network and its subnetwork in each region, and those that the catalogue control
names. Read-only; they route and block nothing.
"""

from __future__ import annotations

from compute_emulator.api.call import Call, Handlers
from compute_emulator.api.collections.catalogue import catalogue_resource
from compute_emulator.errors import JsonObject, NotFound
from compute_emulator.keys import HOST, parse

HANDLERS = Handlers()


def _names(call: Call, collection: str, scope: str) -> list[str]:
    """`default`, and those that the catalogue control names."""
    given = [parse(each) for each in call.cloud.catalogue.get(collection, ())]
    return ["default", *(key.name for key in given if key is not None and key.scope == scope)]


def _network(call: Call, name: str) -> JsonObject:
    path = f"projects/{call.project}/global/networks/{name}"
    if name not in _names(call, "networks", "global"):
        raise NotFound(path)
    return catalogue_resource(
        "network", path, autoCreateSubnetworks=True, routingConfig={"routingMode": "REGIONAL"}
    )


@HANDLERS.handles("compute.networks.get")
def get_network(call: Call) -> JsonObject:
    return _network(call, call.name)


@HANDLERS.handles("compute.networks.list")
def list_networks(call: Call) -> JsonObject:
    return call.page([_network(call, name) for name in _names(call, "networks", "global")])


def _subnetwork(call: Call, scope: str, name: str) -> JsonObject:
    path = f"projects/{call.project}/{scope}/subnetworks/{name}"
    region = scope.removeprefix("regions/")
    if name not in _names(call, "subnetworks", scope):
        raise NotFound(path)
    number = sorted(call.cloud.regions).index(region)
    return catalogue_resource(
        "subnetwork",
        path,
        network=f"{HOST}projects/{call.project}/global/networks/default",
        region=f"{HOST}projects/{call.project}/{scope}",
        ipCidrRange=f"10.{128 + number}.0.0/20",
        gatewayAddress=f"10.{128 + number}.0.1",
        purpose="PRIVATE",
        stackType="IPV4_ONLY",
        privateIpGoogleAccess=False,
    )


def _subnetworks(call: Call, scope: str) -> list[JsonObject]:
    return [_subnetwork(call, scope, name) for name in _names(call, "subnetworks", scope)]


@HANDLERS.handles("compute.subnetworks.get")
def get_subnetwork(call: Call) -> JsonObject:
    return _subnetwork(call, call.scope, call.name)


@HANDLERS.handles("compute.subnetworks.list")
def list_subnetworks(call: Call) -> JsonObject:
    return call.page(_subnetworks(call, call.scope))


@HANDLERS.handles("compute.subnetworks.aggregatedList")
def aggregated_subnetworks(call: Call) -> JsonObject:
    return call.aggregate(
        {
            f"regions/{name}": _subnetworks(call, f"regions/{name}")
            for name in sorted(call.cloud.regions)
        }
    )
