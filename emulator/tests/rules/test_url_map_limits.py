"""The documented limits of a URL map: a map at the limit is accepted, one more is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from compute_emulator.errors import TooLarge
from compute_emulator.rules.url_map_limits import check

MANAGED = {"EXTERNAL_MANAGED"}


def of_hosts(count: int) -> dict[str, Any]:
    return {"hostRules": [{"hosts": [f"h{n}"], "pathMatcher": "m"} for n in range(count)]}


def of_rules(count: int) -> dict[str, Any]:
    rules = [{"priority": n, "service": "s", "matchRules": [{}]} for n in range(count)]
    return {"pathMatchers": [{"name": "m", "routeRules": rules}]}


def of_paths(count: int) -> dict[str, Any]:
    paths = [f"/p{n}" for n in range(count - 1)]
    rules = [{"paths": paths, "service": "s"}, {"paths": ["/last"], "service": "s"}]
    return {"pathMatchers": [{"name": "m", "pathRules": rules}]}


def of_headers(count: int) -> dict[str, Any]:
    """Documented: a rule with one path and three headers has four match conditions."""
    match = {"prefixMatch": "/", "headerMatches": [{}] * 3}
    query = {"prefixMatch": "/", "queryParameterMatches": [{}] * (count - 401)}
    rule = {"priority": 0, "service": "s", "matchRules": [match] * 100 + [query]}
    return {"pathMatchers": [{"name": "m", "routeRules": [rule]}]}


def of_services(count: int) -> dict[str, Any]:
    matchers = [{"name": f"m{n}", "defaultService": f"s{n}"} for n in range(1000)]
    weighted = [{"backendService": f"w{n}", "weight": 1} for n in range(count - 1000)]
    return {
        "pathMatchers": matchers,
        "defaultRouteAction": {"weightedBackendServices": weighted},
    }


def of_bytes(count: int) -> dict[str, Any]:
    return {"description": "x" * (count - len('{"description":""}'))}


@pytest.mark.parametrize(
    ("make", "limit", "field", "what"),
    [
        (of_hosts, 1000, "resource.hostRules", "element"),
        (of_rules, 1000, "resource.pathMatchers[0].routeRules", "element"),
        (of_paths, 1000, "resource.pathMatchers[0]", "predicate"),
        (of_headers, 1000, "resource.pathMatchers[0]", "predicate"),
        (of_services, 2500, "resource", "backend service"),
        (of_bytes, 1_000_000, "resource", "byte"),
    ],
)
def test_a_map_at_a_limit_is_accepted_and_one_more_is_not(
    make: Callable[[int], dict[str, Any]], limit: int, field: str, what: str
) -> None:
    check(make(limit), MANAGED)
    with pytest.raises(TooLarge) as refused:
        check(make(limit + 1), MANAGED)
    # The wording is that of a real answer about host rules.
    message = (
        f"Value for field '{field}' is too large: maximum size {limit} {what}(s); actual size"
        f" {limit + 1}."
    )
    body = refused.value.body()["error"]
    assert (body["code"], body["message"]) == (413, message)
    assert body["errors"][0]["reason"] == "fieldSizeTooLarge"


def test_the_limits_depend_on_the_kind_of_load_balancer() -> None:
    check(of_hosts(2000), {"INTERNAL_MANAGED"})
    check(of_hosts(3000), {"INTERNAL_SELF_MANAGED"})  # a mesh has limits of its own
    with pytest.raises(TooLarge, match="maximum size 64000 byte"):
        check(of_bytes(64_001), {"EXTERNAL"})
