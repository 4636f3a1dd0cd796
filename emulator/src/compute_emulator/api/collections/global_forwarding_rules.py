"""Forwarding rules, global and regional: from an address and port to a target proxy, or to the
backend service of a passthrough load balancer. Only target, labels and switches can change.

The data plane serves HTTP, so rules of passthrough load balancers are only stored.

Source: Compute API reference, globalForwardingRules and forwardingRules.
"""

from __future__ import annotations

import ipaddress

from compute_emulator import keys
from compute_emulator.api.call import Call, Handlers
from compute_emulator.api.collections.global_addresses import allocate
from compute_emulator.api.collections.standard import Kind, add_standard_handlers, set_members
from compute_emulator.engine.cloud import Cloud
from compute_emulator.engine.references import services_of_url_map
from compute_emulator.errors import ApiError, Invalid, JsonObject, Required
from compute_emulator.keys import Key

HANDLERS = Handlers()

PROXIES = ("targetHttpProxies", "targetHttpsProxies")
TARGETS = (*PROXIES, "targetTcpProxies", "targetSslProxies", "targetGrpcProxies")
FIXED = (
    "IPAddress",
    "IPProtocol",
    "portRange",
    "ports",
    "allPorts",
    "target",
    "backendService",
    "loadBalancingScheme",
    "network",
    "subnetwork",
)
"""Members that a PATCH may repeat but not change; setTarget changes the target."""


def complete(call: Call, resource: JsonObject) -> None:
    tier = resource.setdefault("networkTier", "PREMIUM")
    if call.scope == keys.GLOBAL and tier != "PREMIUM":
        raise Invalid("resource.networkTier", tier, "Must be PREMIUM for a global forwarding rule.")
    call.cloud.full_links(resource, "network", "subnetwork")
    if "selfLink" in resource:
        _refuse_changes(call, resource)
        return
    resource.setdefault("description", "")
    resource.setdefault("IPProtocol", "TCP")
    resource.setdefault("loadBalancingScheme", "EXTERNAL")
    if resource.get("backendService") and not resource.get("target"):
        _complete_passthrough(call, resource)
    else:
        _check_proxied(resource)
        resource["portRange"] = _ports(resource)
        resource["target"] = _target(call, resource.get("target"), resource["loadBalancingScheme"])
    _fill_in_network(call, resource)
    resource["IPAddress"] = _address(call, resource)
    _refuse_other_tier(call, resource)
    _refuse_address_in_use(call, resource)


def _check_proxied(resource: JsonObject) -> None:
    """What only passthrough load balancers have. Source: forwarding-rule-concepts, port
    specifications.
    """
    if resource.get("backendService"):
        raise Invalid(
            "resource.backendService",
            resource["backendService"],
            "Must not be set together with target.",
        )
    if not any(f"/{proxies}/" in str(resource.get("target")) for proxies in PROXIES):
        return
    if resource["IPProtocol"] != "TCP":
        raise Invalid(
            "resource.IPProtocol", resource["IPProtocol"], "Must be TCP for this kind of target."
        )
    first, _, last = str(resource.get("portRange") or "").partition("-")
    if last not in ("", first):
        raise Invalid(
            "resource.portRange", resource["portRange"], "Must be one port for this kind of target."
        )


def _refuse_changes(call: Call, resource: JsonObject) -> None:
    """Refuses a PATCH that changes the address, port or target: that would be another rule."""
    kept = call.resource()
    if resource.get("portRange"):
        resource["portRange"] = _ports(resource)
    call.cloud.full_links(resource, "target", "backendService")
    for name in FIXED:
        if resource.get(name) != kept.get(name):
            raise Invalid(
                f"resource.{name}",
                resource.get(name),
                "Cannot be changed; insert another forwarding rule.",
            )


def _complete_passthrough(call: Call, resource: JsonObject) -> None:
    scheme, where = resource["loadBalancingScheme"], "resource.backendService"
    key = call.cloud.resolve(where, resource["backendService"], "backendServices")
    if call.scope == keys.GLOBAL or key.scope != call.scope:
        raise Invalid(
            where,
            resource["backendService"],
            "The forwarding rule and its backend service must be in the same region.",
        )
    service = call.cloud.get(key)
    if service["loadBalancingScheme"] != scheme:
        raise Invalid(
            "resource.loadBalancingScheme",
            scheme,
            f"Backend service '{key.name}' has {service['loadBalancingScheme']}.",
        )
    given = [name for name in ("ports", "portRange", "allPorts") if resource.get(name)]
    if len(given) != 1:
        why = "Exactly one of ports, portRange and allPorts must be set."
        raise Invalid("resource.ports", ", ".join(given), why)
    if given == ["portRange"]:
        resource["portRange"] = _ports(resource)
    resource["backendService"] = call.cloud.link(*key)
    resource["attachedExtensions"] = []


def _fill_in_network(call: Call, resource: JsonObject) -> None:
    """An internal rule is in the default network, unless it names another one. Those of proxies in
    a mesh have no subnetwork, and global ones must name it.
    """
    scheme = resource["loadBalancingScheme"]
    if not scheme.startswith("INTERNAL"):
        return
    resource.setdefault("network", call.cloud.link(keys.GLOBAL, "networks", "default"))
    if call.scope != keys.GLOBAL and scheme != "INTERNAL_SELF_MANAGED":
        resource.setdefault("subnetwork", call.cloud.link(call.scope, "subnetworks", "default"))


def _ports(resource: JsonObject) -> str:
    """`80` is returned as `80-80`."""
    given = str(resource.get("portRange") or "")
    if not given:
        raise Required("resource.portRange")
    first, _, last = given.partition("-")
    last = last or first
    if not (first.isdigit() and last.isdigit() and 1 <= int(first) <= int(last) <= 65535):
        raise Invalid("resource.portRange", given, "Must be a port or a range of ports.")
    return f"{int(first)}-{int(last)}"


def _target(call: Call, given: object, scheme: str) -> str:
    if not given:
        raise Required("resource.target")
    key = call.cloud.resolve("resource.target", given, *TARGETS)
    if key.scope != call.scope:
        raise Invalid(
            "resource.target",
            given,
            "The forwarding rule and its target must be in the same scope.",
        )
    for service in _services_behind(call.cloud, key):
        if service.get("loadBalancingScheme") != scheme:
            raise Invalid(
                "resource.loadBalancingScheme",
                scheme,
                f"Backend service '{service['name']}' behind the target has"
                f" {service.get('loadBalancingScheme')}.",
            )
    return call.cloud.link(*key)


def _services_behind(cloud: Cloud, proxy: Key) -> list[JsonObject]:
    url_map = cloud.find(cloud.key_of(cloud.get(proxy).get("urlMap", "")))
    found = (
        cloud.find(cloud.key_of(url)) for url in (services_of_url_map(url_map) if url_map else ())
    )
    return [service for service in found if service is not None]


def _address(call: Call, resource: JsonObject) -> str:
    """An IP: as given, of the named address resource, or a new one."""
    given = resource.get("IPAddress")
    if not given:
        return allocate(call.cloud, resource.get("ipVersion"))
    try:
        return str(ipaddress.ip_network(given) if ":" in given else ipaddress.ip_address(given))
    except ValueError:
        pass
    url = given if "/" in given else call.cloud.link(call.scope, "addresses", given)
    return str(
        call.cloud.get(call.cloud.resolve("resource.IPAddress", url, "addresses"))["address"]
    )


def _refuse_other_tier(call: Call, resource: JsonObject) -> None:
    """A rule has the network tier of its reserved address."""
    for address in call.cloud.list_in(call.scope, "addresses"):
        tier, expected = resource["networkTier"], address["networkTier"]
        if address["address"] == resource["IPAddress"] and tier != expected:
            why = f"The address '{address['name']}' has the network tier {expected}."
            raise Invalid("resource.networkTier", tier, why)


def _refuse_address_in_use(call: Call, resource: JsonObject) -> None:
    """Only one rule per address and port."""
    for other in call.cloud.list_in(call.scope, call.collection):
        overlaps = any(
            low <= last and first <= high
            for low, high in _port_ranges(other)
            for first, last in _port_ranges(resource)
        )
        if other["IPAddress"] == resource["IPAddress"] and overlaps:
            raise ApiError(
                f"Invalid value for field 'resource.IPAddress': '{resource['IPAddress']}'. "
                "Specified IP address is in-use and would result in a conflict.",
                code="IP_IN_USE_BY_ANOTHER_RESOURCE",
            )


def _port_ranges(rule: JsonObject) -> list[tuple[int, int]]:
    if rule.get("allPorts"):
        return [(1, 65535)]
    texts = [rule["portRange"]] if rule.get("portRange") else rule["ports"]
    bounds = [str(text).split("-") for text in texts]
    return [(int(each[0]), int(each[-1])) for each in bounds]


def view(cloud: Cloud, resource: JsonObject) -> JsonObject:
    """A rule without a description shows where the data plane serves it: its address is not
    reachable. Regional rules also have a link with their id.
    """
    key = cloud.key_of(resource["selfLink"])
    if key.scope != keys.GLOBAL:
        link = cloud.link(key.scope, key.collection, resource["id"])
        resource = resource | {"selfLinkWithId": link}
    if cloud.data_plane is None or resource.get("description"):
        return resource
    url = cloud.data_plane.url_of(key)
    return resource | {"description": f"served on {url}"} if url else resource


add_standard_handlers(
    HANDLERS,
    Kind(
        collection="forwardingRules",
        word="forwarding_rule",
        schema="ForwardingRule",
        discovery=("globalForwardingRules", "forwardingRules"),
        complete=complete,
        fingerprint="if_given",
        view=view,
        has_labels=True,
    ),
)


@HANDLERS.handles("compute.globalForwardingRules.setTarget", "compute.forwardingRules.setTarget")
def set_target(call: Call) -> JsonObject:
    rule, given = call.resource(), call.body.get("target")
    if rule.get("backendService"):
        raise Invalid("resource.target", given, "The forwarding rule leads to a backend service.")
    return set_members(call, target=_target(call, given, rule["loadBalancingScheme"]))
