"""How large a URL map may be: its elements, its match conditions and its bytes. Pure.

The documented limits cannot be raised. The answer is the one that is recorded for too many host
rules, a 413 with `fieldSizeTooLarge`; of match conditions, backend services and bytes the wording
is not recorded. Source: load-balancing/docs/quotas, "URL maps"; load-balancing/docs/
routing-config-size-quota.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from compute_emulator.engine.references import url_map_services
from compute_emulator.errors import JsonObject, TooLarge

HOST_RULES, INTERNAL_HOST_RULES = 1000, 2000
"""Of host rules, and of path matchers."""
HOSTS = 1000  # of one host rule
RULES = 1000  # of one path matcher
PREDICATES = 1000  # of one path matcher
SERVICES = 2500  # different ones, backend buckets included
MAP_BYTES, CLASSIC_BYTES = 1_000_000, 64_000


def url_map_excess(url_map: JsonObject, scheme: str = "EXTERNAL_MANAGED") -> str:
    """Why a map is too large; empty if it is not."""
    try:
        check(url_map, {scheme})
    except TooLarge as error:
        return error.message
    return ""


def check(url_map: JsonObject, schemes: set[str]) -> None:
    """Raises `TooLarge`. `schemes`: of the map's backend services. A mesh has other limits."""
    if schemes == {"INTERNAL_SELF_MANAGED"}:
        return
    is_internal = bool(schemes) and all(scheme.startswith("INTERNAL") for scheme in schemes)
    most = INTERNAL_HOST_RULES if is_internal else HOST_RULES
    for field in ("hostRules", "pathMatchers"):
        _check_count(f"resource.{field}", len(url_map.get(field) or []), most)
    for index, rule in enumerate(url_map.get("hostRules") or []):
        _check_count(f"resource.hostRules[{index}].hosts", len(rule.get("hosts") or []), HOSTS)
    for index, matcher in enumerate(url_map.get("pathMatchers") or []):
        where = f"resource.pathMatchers[{index}]"
        for field in ("pathRules", "routeRules"):
            _check_count(f"{where}.{field}", len(matcher.get(field) or []), RULES)
        _check_count(where, sum(_predicates(matcher)), PREDICATES, "predicate")
    services = {holder[member] for holder, member, _ in url_map_services(url_map, "resource")}
    _check_count("resource", len(services), SERVICES, "backend service")
    is_classic = "EXTERNAL" in schemes
    _check_count("resource", _bytes(url_map), CLASSIC_BYTES if is_classic else MAP_BYTES, "byte")


def _check_count(where: str, actual: int, most: int, what: str = "element") -> None:
    if actual > most:
        raise TooLarge(where, most, actual, what)


def _predicates(matcher: JsonObject) -> Iterator[int]:
    """The paths of path rules; of route rules one for each path, header and query parameter."""
    for rule in matcher.get("pathRules") or []:
        yield len(rule.get("paths") or [])
    for rule in matcher.get("routeRules") or []:
        for match in rule.get("matchRules") or []:
            yield 1
            yield len(match.get("headerMatches") or [])
            yield len(match.get("queryParameterMatches") or [])


def _bytes(url_map: JsonObject) -> int:
    return len(json.dumps(url_map, separators=(",", ":")).encode())
