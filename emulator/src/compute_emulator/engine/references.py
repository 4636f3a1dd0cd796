"""Which other resources a resource uses, by collection. Pure.

`Cloud.users_of` reads `REFERENCES`: a resource in use cannot be deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from compute_emulator.errors import JsonObject, Required

CARRIED = "_carried"
"""Hidden member of a stored group: the templates of its existing VMs, which keeps those templates
in use."""
ROUTE_ACTIONS = ("defaultRouteAction", "routeAction")
Place = tuple[JsonObject, str, str]
"""An object, the name of its member with the URL of a backend service, and the member's path."""


def _group_references(manager: JsonObject) -> Iterable[str]:
    for version in manager["versions"]:
        yield version["instanceTemplate"]
    yield from manager.get(CARRIED, ())
    for policy in manager.get("autoHealingPolicies") or []:
        if policy.get("healthCheck"):
            yield policy["healthCheck"]


def _service_references(service: JsonObject) -> Iterable[str]:
    yield from service.get("healthChecks") or []
    for backend in service.get("backends") or []:
        yield backend["group"]


def url_map_nodes(node: Any, where: str) -> Iterator[tuple[JsonObject, str]]:
    """Every object of a map that can decide where a request goes."""
    yield node, where
    for name in ("pathMatchers", "pathRules", "routeRules"):
        for index, inner in enumerate(node.get(name) or []):
            yield from url_map_nodes(inner, f"{where}.{name}[{index}]")


def url_map_services(resource: JsonObject, where: str) -> Iterator[Place]:
    """Every member that names a backend service."""
    for node, at in url_map_nodes(resource, where):
        for member in ("defaultService", "service"):
            if node.get(member):
                yield node, member, f"{at}.{member}"
        for action in ROUTE_ACTIONS:
            inner = node.get(action) or {}
            for index, each in enumerate(inner.get("weightedBackendServices") or []):
                if not each.get("backendService"):
                    raise Required(f"{at}.{action}.weightedBackendServices[{index}].backendService")
                yield (
                    each,
                    "backendService",
                    f"{at}.{action}.weightedBackendServices[{index}].backendService",
                )
            mirror = inner.get("requestMirrorPolicy") or {}
            if mirror.get("backendService"):
                yield mirror, "backendService", f"{at}.{action}.requestMirrorPolicy.backendService"


def services_of_url_map(url_map: JsonObject) -> list[str]:
    """The URLs of the backend services that a URL map names."""
    return [holder[member] for holder, member, _ in url_map_services(url_map, "resource")]


REFERENCES: dict[str, Callable[[JsonObject], Iterable[str]]] = {
    "autoscalers": lambda autoscaler: [autoscaler["target"]],
    "backendServices": _service_references,
    "forwardingRules": lambda rule: [
        rule[name] for name in ("target", "backendService") if rule.get(name)
    ],
    "instanceGroupManagers": _group_references,
    "targetHttpProxies": lambda proxy: [proxy["urlMap"]],
    "targetHttpsProxies": lambda proxy: [
        proxy["urlMap"],
        *(proxy.get("sslCertificates") or []),
    ],
    "urlMaps": services_of_url_map,
}
"""The URLs that a resource of each collection refers to."""
