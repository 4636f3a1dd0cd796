"""Which settings the data plane does not support. Pure.

Compute Engine accepts these settings, so the API of the emulator accepts them too. The data plane
ignores none of them: a request that one would affect gets 501 with a sentence that names it, and
`/control/data-plane` lists the backend services that have one. Settings that have no effect on
requests (logging, names of owners) are not listed here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from compute_emulator.errors import JsonObject

NOTHING: frozenset[str] = frozenset()
BACKEND_SERVICE = {
    "backends.balancingMode": frozenset(("UTILIZATION", "RATE")),
    "backends.customMetrics": NOTHING,
    "backends.failover": NOTHING,
    "backends.maxInFlightRequests": NOTHING,
    "backends.maxInFlightRequestsPerEndpoint": NOTHING,
    "backends.maxInFlightRequestsPerInstance": NOTHING,
    "backends.trafficDuration": frozenset(("TRAFFIC_DURATION_UNSPECIFIED",)),
    "circuitBreakers.maxConnections": NOTHING,
    "circuitBreakers.maxPendingRequests": NOTHING,
    "circuitBreakers.maxRequestsPerConnection": NOTHING,
    "compressionMode": frozenset(("DISABLED",)),
    "connectionTrackingPolicy": NOTHING,
    "customMetrics": NOTHING,
    "dynamicForwarding": NOTHING,
    "edgeSecurityPolicy": NOTHING,
    "enableCDN": NOTHING,
    "failoverPolicy": NOTHING,
    "haPolicy": NOTHING,
    "iap.enabled": NOTHING,
    "ipAddressSelectionPolicy": frozenset(
        ("IP_ADDRESS_SELECTION_POLICY_UNSPECIFIED", "IPV4_ONLY", "PREFER_IPV6")
    ),
    "localityLbPolicies": NOTHING,
    "localityLbPolicy": frozenset(
        ("LEAST_REQUEST", "MAGLEV", "RANDOM", "RING_HASH", "ROUND_ROBIN")
    ),
    "maxStreamDuration": NOTHING,
    "networkPassThroughLbTrafficPolicy": NOTHING,
    "outlierDetection": NOTHING,
    "securityPolicy": NOTHING,
    "securitySettings": NOTHING,
    "serviceBindings": NOTHING,
    "serviceLbPolicy": NOTHING,
    "subsetting.policy": frozenset(("NONE",)),
    "tlsSettings": NOTHING,
}
"""The members of a backend service that are not supported, and the values of each that are. No
value, an empty one, 0 and false always are. VMs have IPv4 addresses only."""
ROUTE_ACTION = ("cachePolicy", "dynamicCompressionPolicy", "imageOptimizationPolicy")


def in_service(service: JsonObject) -> str:
    """What the data plane does not support of a backend service, as a sentence, or nothing."""
    found = [
        member
        for member, supported in BACKEND_SERVICE.items()
        if any(value and value not in supported for value in _values(service, member.split(".")))
    ]
    name = service.get("name", "")
    return _sentence(f"{', '.join(found)} of the backend service {name}") if found else ""


def in_action(action: JsonObject) -> str:
    """The same for a route action."""
    found = [member for member in ROUTE_ACTION if action.get(member)]
    return _sentence(f"{', '.join(found)} of the URL map") if found else ""


def in_error(policies: tuple[JsonObject, ...], status: int) -> str:
    """The same for the custom error response policies of a route and the status of a backend."""
    codes = {
        code
        for policy in policies
        for rule in policy.get("errorResponseRules") or []
        for code in rule.get("matchResponseCodes") or []
    }
    if {str(status), f"{status // 100}xx"} & codes:
        return _sentence(f"the custom error response for status {status} of the URL map")
    return ""


def _sentence(what: str) -> str:
    return f"the emulator's data plane does not support {what}"


def _values(node: Any, path: list[str]) -> Iterator[Any]:
    """The values of a member; lists on the way are entered."""
    if isinstance(node, list):
        for each in node:
            yield from _values(each, path)
    elif not path:
        yield str(node) if node else None
    elif isinstance(node, dict) and path[0] in node:
        value = node[path[0]]
        if len(path) == 1 and isinstance(value, list | dict):
            yield "set" if value else None
        else:
            yield from _values(value, path[1:])
