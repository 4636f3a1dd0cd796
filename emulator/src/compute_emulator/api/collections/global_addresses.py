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

FIRST = ipaddress.IPv4Address("198.18.0.2")
"""Start of 198.18.0.0/15, which RFC 2544 reserves for tests."""
FIRST_IPV6 = ipaddress.IPv6Address("2001:db8:0:1::")
"""Start of the networks in 2001:db8::/32, which RFC 3849 reserves for documentation."""


def allocate(cloud: Cloud, ip_version: str | None = None) -> str:
    """An unused address; of IPv6 the first of an unused network."""
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
    found: ipaddress.IPv4Address | ipaddress.IPv6Address = FIRST
    step = 1
    if ip_version == "IPV6":
        found, step = FIRST_IPV6, 1 << 64
    while str(found) in taken:
        found += step
    return str(found)


def complete(call: Call, resource: JsonObject) -> None:
    resource.setdefault("description", "")
    resource.setdefault("addressType", "EXTERNAL")
    if resource["addressType"] == "INTERNAL" and call.scope != keys.GLOBAL:
        resource.setdefault("purpose", "GCE_ENDPOINT")
    call.cloud.full_links(resource, "network", "subnetwork")
    tier = resource.setdefault("networkTier", "PREMIUM")
    if tier != "PREMIUM" and (call.scope == keys.GLOBAL or resource["addressType"] == "INTERNAL"):
        kind = "an internal" if resource["addressType"] == "INTERNAL" else "a global"
        raise Invalid("resource.networkTier", tier, f"Must be PREMIUM for {kind} address.")
    given = resource.get("address")
    if given is None:
        resource["address"] = allocate(call.cloud, resource.get("ipVersion"))
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
    if ":" in resource["address"]:
        resource["ipVersion"] = "IPV6"


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
