"""Static addresses, global and regional, from ranges that belong to no real host."""

from __future__ import annotations

import ipaddress

from compute_emulator import keys
from compute_emulator.api.call import Call, Handlers
from compute_emulator.api.collections.standard import Kind, add_standard_handlers
from compute_emulator.engine.cloud import Cloud
from compute_emulator.errors import AlreadyExists, InUse, Invalid, JsonObject, Required
from compute_emulator.keys import Key

HANDLERS = Handlers()

FIRST = int(ipaddress.IPv4Address("198.18.0.2"))
"""Start of 198.18.0.0/15, which RFC 2544 reserves for tests."""


def allocate(cloud: Cloud) -> str:
    """An unused address."""
    taken = {
        each.get("address")
        for (_, collection), table in cloud.tables.items()
        if collection == "addresses"
        for each in table.values()
    }
    taken |= {
        each["IPAddress"]
        for (_, collection), table in cloud.tables.items()
        if collection == "forwardingRules"
        for each in table.values()
    }
    number = FIRST
    while str(ipaddress.IPv4Address(number)) in taken:
        number += 1
    return str(ipaddress.IPv4Address(number))


def complete(call: Call, resource: JsonObject) -> None:
    resource.setdefault("description", "")
    resource.setdefault("addressType", "EXTERNAL")
    if resource["addressType"] == "INTERNAL" and call.scope != keys.GLOBAL:
        resource.setdefault("purpose", "GCE_ENDPOINT")
    call.cloud.full_links(resource, "network", "subnetwork")
    resource.setdefault("networkTier", "PREMIUM")
    given = resource.get("address")
    if given is None:
        resource["address"] = allocate(call.cloud)
    else:
        try:
            resource["address"] = str(ipaddress.ip_address(given))
        except ValueError as error:
            raise Invalid("resource.address", given, "Must be an IP address.") from error
        for other in call.cloud.list_in(call.scope, call.collection):
            if other["address"] == resource["address"]:
                raise AlreadyExists(
                    call.cloud.path(Key(call.scope, call.collection, other["name"]))
                )
    resource.pop("ipVersion", None)


def view(cloud: Cloud, resource: JsonObject) -> JsonObject:
    users = _users(cloud, resource)
    return resource | ({"status": "IN_USE", "users": users} if users else {"status": "RESERVED"})


def _users(cloud: Cloud, resource: JsonObject) -> list[str]:
    scope = cloud.key_of(resource["selfLink"]).scope
    return [
        rule["selfLink"]
        for rule in cloud.list_in(scope, "forwardingRules")
        if rule["IPAddress"] == resource["address"]
    ]


def check_delete(call: Call, resource: JsonObject) -> None:
    """Rules refer to an address by its IP, so `users_of` does not find them."""
    users = _users(call.cloud, resource)
    if users:
        raise InUse(
            "address", call.cloud.path(call.key), call.cloud.path(call.cloud.key_of(users[0]))
        )


add_standard_handlers(
    HANDLERS,
    Kind(
        collection="addresses",
        word="address",
        schema="Address",
        discovery=("globalAddresses", "addresses"),
        complete=complete,
        view=view,
        check_delete=check_delete,
        has_labels=True,
    ),
)


@HANDLERS.handles("compute.addresses.move", "compute.globalAddresses.move")
def move(call: Call) -> JsonObject:
    """Move to another name or region; there is only one project. The address keeps its IP."""
    kept = call.resource_to_change()
    check_delete(call, kept)
    given = call.body.get("destinationAddress")
    if not given:
        raise Required("resource.destinationAddress")
    target = call.cloud.key_of(given)
    if target.collection != "addresses" or (target.scope == "global") != (call.scope == "global"):
        raise Invalid("resource.destinationAddress", given, "Must be an address of the same kind.")
    if call.cloud.find(target) is not None:
        raise AlreadyExists(call.cloud.path(target))
    dropped = ("kind", "id", "creationTimestamp", "selfLink", "name", "region")
    body = {name: value for name, value in kept.items() if name not in dropped}
    if call.body.get("description"):
        body["description"] = call.body["description"]

    def end() -> None:
        call.cloud.remove(call.key)
        call.cloud.new("compute#address", target, body)

    return call.operation(at_end=end)
