"""URL maps, global and regional, and their `validate`.

A PATCH may come without a fingerprint (`gcloud compute url-maps import` sends none), a PUT may
not. A map is accepted only if its tests pass. Source: Compute API reference, urlMaps;
load-balancing/docs/url-map-concepts.
"""

from __future__ import annotations

import re

from compute_emulator.api import url_map_features, url_map_tests
from compute_emulator.api.call import Call, Handlers
from compute_emulator.api.collections.global_forwarding_rules import PROXIES
from compute_emulator.api.collections.standard import Kind, add_standard_handlers
from compute_emulator.engine.cloud import Cloud
from compute_emulator.engine.references import ROUTE_ACTIONS, url_map_nodes, url_map_services
from compute_emulator.errors import ApiError, Invalid, JsonObject, Required
from compute_emulator.rules import url_map_limits

HANDLERS = Handlers()

ERROR_POLICIES = ("defaultCustomErrorResponsePolicy", "customErrorResponsePolicy")
UNITS = {"default": 10, "host": 1, "pathRule": 3, "errorPolicy": 19, "errorResponseRule": 1}
"""Quota units of a URL map's parts. Google publishes no formula: these reproduce the recorded maps,
and the units of other maps may differ."""
HOST_PATTERN = re.compile(r"\*(?:[-.][^*]*)?|[^*]+")


def complete(call: Call, resource: JsonObject) -> None:
    _validate_map(call, resource)
    failed = url_map_tests.failures(resource)
    if failed:
        raise Invalid("resource.tests", "", url_map_tests.as_text(failed[0]))


def _validate_map(call: Call, resource: JsonObject) -> None:
    """Fill in defaults, or refuse a map that is invalid."""
    _check_default(resource, "resource", must=True)
    for holder, member, where in url_map_services(resource, "resource"):
        key = call.cloud.resolve(where, holder[member], "backendServices", "backendBuckets")
        if key.scope != call.scope:
            raise Invalid(
                where,
                holder[member],
                "The URL map and its backend services must be in the same scope.",
            )
        holder[member] = call.cloud.link(*key)
    _check_features(call, resource)
    _check_path_matchers(resource)
    _check_host_rules(resource)
    for node, where in url_map_nodes(resource, "resource"):
        _check_weights(node, where)
    url_map_tests.check(resource)
    _fill_in(resource)
    for test in resource.get("tests") or []:
        test.setdefault("description", "")


def _fill_in(node: object) -> None:
    """Default values below the top level."""
    if isinstance(node, list):
        for each in node:
            _fill_in(each)
    elif isinstance(node, dict):
        for name, value in node.items():
            if name == "perTryTimeout" and isinstance(value, dict):
                value.setdefault("nanos", 0)
            _fill_in(value)


def view(cloud: Cloud, resource: JsonObject) -> JsonObject:
    """With the quota that it uses."""
    usage = {
        "forwardingRules": _forwarding_rules(cloud, resource["selfLink"]),
        "units": str(_units(resource)),
    }
    return resource | {"status": {"quotaUsage": usage}}


def _units(resource: JsonObject) -> int:
    nodes = [node for node, _ in url_map_nodes(resource, "")]
    policies = [node[name] for node in nodes for name in ERROR_POLICIES if node.get(name)]
    matchers = resource.get("pathMatchers") or []
    counts = {
        "default": 1 + len(matchers),
        "host": sum(len(rule.get("hosts") or []) for rule in resource.get("hostRules") or []),
        "pathRule": len(nodes) - 1 - len(matchers),
        "errorPolicy": len(policies),
        "errorResponseRule": sum(len(each.get("errorResponseRules") or []) for each in policies),
    }
    return sum(UNITS[part] * count for part, count in counts.items())


def _forwarding_rules(cloud: Cloud, url_map: str) -> int:
    """How many forwarding rules lead to the map through a proxy."""
    proxies = {
        proxy["selfLink"]
        for (_, collection), table in cloud.tables.items()
        if collection in PROXIES
        for proxy in table.values()
        if proxy["urlMap"] == url_map
    }
    return sum(
        rule.get("target") in proxies
        for (_, collection), table in cloud.tables.items()
        if collection == "forwardingRules"
        for rule in table.values()
    )


def _check_features(call: Call, resource: JsonObject) -> None:
    """What a map may have depends on the schemes of its backend services."""
    schemes = set()
    for holder, member, where in url_map_services(resource, "resource"):
        service = call.cloud.get(call.cloud.key_of(holder[member]))
        schemes.add(service.get("loadBalancingScheme"))
        if service.get("loadBalancingScheme") == "EXTERNAL":
            url_map_features.check_classic(resource, holder[member], where)
    url_map_features.check(resource, is_mesh=schemes == {"INTERNAL_SELF_MANAGED"})
    url_map_limits.check(resource, {scheme for scheme in schemes if scheme})


def _check_default(node: JsonObject, where: str, *, must: bool) -> None:
    """At most one of default service, redirect and weights; at the top level exactly one."""
    weighted = (node.get("defaultRouteAction") or {}).get("weightedBackendServices")
    given = [name for name in ("defaultService", "defaultUrlRedirect") if node.get(name)]
    given += ["defaultRouteAction.weightedBackendServices"] if weighted else []
    if len(given) > 1:
        raise Invalid(f"{where}.{given[1]}", "", f"Only one of {' and '.join(given)} may be set.")
    if must and not given:
        raise Required(f"{where}.defaultService")


def _check_path_matchers(resource: JsonObject) -> None:
    names: set[str] = set()
    for index, matcher in enumerate(resource.get("pathMatchers") or []):
        where = f"resource.pathMatchers[{index}]"
        name = matcher.get("name")
        if not name:
            raise Required(f"{where}.name")
        if name in names:
            raise Invalid(f"{where}.name", name, "Path matcher names must be unique.")
        names.add(name)
        _check_default(matcher, where, must=False)
        if matcher.get("pathRules") and matcher.get("routeRules"):
            raise Invalid(
                f"{where}.routeRules", "", "Only one of pathRules and routeRules may be set."
            )
        _check_paths(matcher, where)
        _check_priorities(matcher, where)


def _check_paths(matcher: JsonObject, where: str) -> None:
    seen: set[str] = set()
    for at, rule in enumerate(matcher.get("pathRules") or []):
        for path in rule.get("paths") or []:
            field = f"{where}.pathRules[{at}].paths"
            if not path.startswith("/") or "*" in path.removesuffix("/*"):
                raise Invalid(
                    field,
                    path,
                    "A path must start with / and may contain * only at its end, after a /.",
                )
            if path in seen:
                raise Invalid(field, path, "A path must not appear twice.")
            seen.add(path)


def _check_priorities(matcher: JsonObject, where: str) -> None:
    rules = matcher.get("routeRules") or []
    for index, rule in enumerate(rules):
        if "priority" not in rule:
            raise Invalid(
                f"{where}.routeRules[{index}].priority", 0, "A route rule must have a priority"
            )
    given = [rule["priority"] for rule in rules]
    if any(not 0 <= priority < 2**31 for priority in given):
        raise Invalid(f"{where}.routeRules", given, "Priorities must be between 0 and 2147483647.")
    if given != sorted(set(given)):
        raise Invalid(
            f"{where}.routeRules", given, "Priorities must be unique and in ascending order."
        )


def _check_host_rules(resource: JsonObject) -> None:
    matchers = {each.get("name") for each in resource.get("pathMatchers") or []}
    hosts: set[str] = set()
    for index, rule in enumerate(resource.get("hostRules") or []):
        where = f"resource.hostRules[{index}]"
        if rule.get("pathMatcher") not in matchers:
            raise Invalid(
                f"{where}.pathMatcher", rule.get("pathMatcher"), "No path matcher has this name."
            )
        for host in rule.get("hosts") or []:
            if not HOST_PATTERN.fullmatch(host):
                raise Invalid(
                    f"{where}.hosts",
                    host,
                    "* must be the first character, and be followed by - or . or nothing.",
                )
            if host in hosts:
                raise Invalid(f"{where}.hosts", host, "A host must not appear twice.")
            hosts.add(host)
    used = {rule.get("pathMatcher") for rule in resource.get("hostRules") or []}
    for index, matcher in enumerate(resource.get("pathMatchers") or []):
        if matcher["name"] not in used:
            raise Invalid(
                f"resource.pathMatchers[{index}].name",
                matcher["name"],
                "No host rule uses this path matcher.",
            )


def _check_weights(node: JsonObject, where: str) -> None:
    """Weights are 0 to 1000, not all 0."""
    for action in ROUTE_ACTIONS:
        weighted = (node.get(action) or {}).get("weightedBackendServices")
        if not weighted:
            continue
        weights = [each.get("weight", 0) for each in weighted]
        field = f"{where}.{action}.weightedBackendServices"
        if any(not 0 <= weight <= 1000 for weight in weights) or not any(weights):
            raise Invalid(field, weights, "Weights must be between 0 and 1000 and not all 0.")


add_standard_handlers(
    HANDLERS,
    Kind(
        collection="urlMaps",
        word="url_map",
        schema="UrlMap",
        discovery=("urlMaps", "regionUrlMaps"),
        complete=complete,
        fingerprint="required",
        patch_fingerprint="if_given",
        view=view,
    ),
)


@HANDLERS.handles("compute.urlMaps.validate", "compute.regionUrlMaps.validate")
def validate(call: Call) -> JsonObject:
    """Whether a map would load, and whether its tests pass."""
    given = call.body.get("resource") or {}
    try:
        _validate_map(call, given)
    except ApiError as error:
        return {
            "result": {"loadSucceeded": False, "loadErrors": [error.message], "testPassed": False}
        }
    failures = url_map_tests.failures(given)
    result: JsonObject = {"loadSucceeded": True, "testPassed": not failures}
    return {"result": result | ({"testFailures": failures} if failures else {})}


@HANDLERS.handles("compute.urlMaps.invalidateCache")
def invalidate_cache(call: Call) -> JsonObject:
    """Nothing is cached, so this has no effect."""
    call.resource_to_change()
    return call.operation()
