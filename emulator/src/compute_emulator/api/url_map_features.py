"""Which forms of a URL map's matches and actions are refused: those that its load balancers do not
have, and those whose values are invalid. Pure.

What Compute Engine accepts is accepted; the data plane obeys it, or refuses the requests that it
would affect (`traffic/unsupported.py`). A map whose backend services are all INTERNAL_SELF_MANAGED
is for proxies that the emulator does not run, so their forms are stored as they are. Source:
Compute API reference, UrlMap and the schemas below it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from compute_emulator.errors import Invalid, JsonObject

MESH_ONLY = "Only allowed with load balancing scheme INTERNAL_SELF_MANAGED."
REFUSED = {"maxStreamDuration": MESH_ONLY, "metadataFilters": MESH_ONLY}
"""By member, wherever it is in a map."""
NOT_CLASSIC = "Advanced routing rules are not supported for scheme EXTERNAL"
NOT_CLASSIC_MEMBERS = ("headerAction", "pathTemplateMatch", "regexMatch")
ROUTE_ACTIONS = ("defaultRouteAction", "routeAction")
EXPRESSIONS = ("regexMatch", "pathPattern", "allowOriginRegexes")
PATHS = ("prefixMatch", "fullPathMatch", "regexMatch", "pathTemplateMatch")
VALUES = ("exactMatch", "prefixMatch", "suffixMatch", "regexMatch", "presentMatch", "rangeMatch")
ONE_OF = {
    "matchRules": PATHS,
    "headerMatches": VALUES,
    "queryParameterMatches": ("exactMatch", "regexMatch", "presentMatch"),
    "urlRewrite": ("pathPrefixRewrite", "pathTemplateRewrite", "regexRewrite"),
    "urlRedirect": ("pathRedirect", "prefixRedirect"),
    "defaultUrlRedirect": ("pathRedirect", "prefixRedirect"),
}
"""By the member that holds them: members of which at most one may be set."""
RETRY_CONDITIONS = frozenset(
    (
        "5xx",
        "gateway-error",
        "connect-failure",
        "retriable-4xx",
        "refused-stream",
        "cancelled",
        "deadline-exceeded",
        "internal",
        "resource-exhausted",
        "unavailable",
    )
)
RANGES = {"httpStatus": (200, 599), "percentage": (0, 100), "mirrorPercent": (0, 100)}


def check(url_map: JsonObject, *, is_mesh: bool) -> None:
    """Raises `Invalid`. `is_mesh`: all of the map's services are INTERNAL_SELF_MANAGED."""
    for name, value, where in _members(url_map, "resource"):
        if name in REFUSED and not is_mesh and value:
            raise Invalid(where, "", REFUSED[name])
        if name in EXPRESSIONS:
            _check_expressions(value, where)
        if name == "retryConditions":
            _check_conditions(value, where)
        if name in RANGES and not RANGES[name][0] <= value <= RANGES[name][1]:
            low, high = RANGES[name]
            raise Invalid(where, value, f"Must be between {low} and {high}.")
        if name in ONE_OF:
            _check_alone(ONE_OF[name], value, where)


def check_classic(url_map: JsonObject, service: str, where: str) -> None:
    """Raises `Invalid` if a map has what the classic load balancer (EXTERNAL) has not. It has host,
    path, header and parameter rules, redirects and rewrites. `service`, at `where`, is a backend
    service of that scheme. Source: load-balancing/docs/https/traffic-management; the message:
    hashicorp/terraform-provider-google issues 6634 and 8307.
    """
    for name, value, _ in _members(url_map, "resource"):
        is_advanced = bool(value) and name in NOT_CLASSIC_MEMBERS
        if name in ROUTE_ACTIONS:
            is_advanced = any(each for member, each in value.items() if member != "urlRewrite")
        if is_advanced:
            raise Invalid(where, service, NOT_CLASSIC)


def _members(node: Any, where: str) -> Iterator[tuple[str, Any, str]]:
    """Every member of a map, at any depth, as (its name, its value, its path)."""
    if isinstance(node, list):
        for index, each in enumerate(node):
            yield from _members(each, f"{where}[{index}]")
    elif isinstance(node, dict):
        for name, value in node.items():
            yield name, value, f"{where}.{name}"
            yield from _members(value, f"{where}.{name}")


def _check_alone(names: tuple[str, ...], value: Any, where: str) -> None:
    for index, each in enumerate(value if isinstance(value, list) else [value]):
        given = [name for name in names if each.get(name)]
        if len(given) > 1:
            at = f"{where}[{index}]" if isinstance(value, list) else where
            raise Invalid(f"{at}.{given[1]}", "", f"Only one of {' and '.join(given)} may be set.")


def _check_expressions(value: Any, where: str) -> None:
    for each in value if isinstance(value, list) else [value]:
        try:
            re.compile(each)
        except re.error as error:
            raise Invalid(where, each, f"Not a regular expression: {error}.") from error


def _check_conditions(given: list[str], where: str) -> None:
    for each in given:
        if each not in RETRY_CONDITIONS:
            raise Invalid(where, each, f"Must be one of {', '.join(sorted(RETRY_CONDITIONS))}.")
