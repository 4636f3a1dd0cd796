"""Which backend services a URL map sends a request to. Pure.

    host -> host rule -> path matcher -> path rule (longest path) or route rule (first by priority) -> service or
    weights

Used by `urlMaps.validate` and by whatever serves traffic. Source: load-balancing/docs/url-map-concepts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from local.compute.errors import JsonObject


@dataclass(frozen=True, slots=True)
class Destination:
    """`weights` are (backend service URL, weight); a plain service has one entry. Or a `redirect`, as the map writes
    it.
    """

    weights: tuple[tuple[str, int], ...] = ()
    redirect: JsonObject | None = None

    @property
    def service(self) -> str:
        """The heaviest service, empty for a redirect."""
        return max(self.weights, key=lambda entry: entry[1])[0] if self.weights else ""


def route(url_map: JsonObject, host: str, path: str, headers: dict[str, str] | None = None) -> Destination:
    """`host` without port; header names in lower case."""
    path = path.partition("?")[0] or "/"
    name = _host(url_map, host.partition(":")[0])
    matchers = {each["name"]: each for each in url_map.get("pathMatchers") or []}
    matcher = matchers.get(name or "")
    if matcher is None:
        return _default(url_map)
    for rule in sorted(matcher.get("routeRules") or [], key=lambda each: int(each.get("priority", 0))):
        if any(_route_matches(match, path, headers or {}) for match in rule.get("matchRules") or []):
            return _destination(rule, "service", "routeAction", "urlRedirect")
    best = max(
        (
            (len(pattern), index)
            for index, rule in enumerate(matcher.get("pathRules") or [])
            for pattern in rule.get("paths") or []
            if _path_matches(pattern, path)
        ),
        default=None,
    )
    if best is not None:
        return _destination(matcher["pathRules"][best[1]], "service", "routeAction", "urlRedirect")
    return _default(matcher)


def _host(url_map: JsonObject, host: str) -> str | None:
    """The path matcher for a host: an exact name, then the longest wildcard, then `*`."""
    best: tuple[int, str] | None = None
    for rule in url_map.get("hostRules") or []:
        for pattern in rule.get("hosts") or []:
            score = _host_score(pattern.partition(":")[0].lower(), host.lower())
            if score and (best is None or score > best[0]):
                best = (score, rule.get("pathMatcher", ""))
    return best[1] if best else None


def _host_score(pattern: str, host: str) -> int:
    if pattern == host:
        return 10_000
    if pattern == "*":
        return 1
    return 1 + len(pattern) if pattern.startswith("*") and host.endswith(pattern[1:]) else 0


def _path_matches(pattern: str, path: str) -> bool:
    if pattern.endswith("/*"):
        return path == pattern[:-2] or path.startswith(pattern[:-1])
    return path == pattern


def _route_matches(match: JsonObject, path: str, headers: dict[str, str]) -> bool:
    given = path.lower() if match.get("ignoreCase") else path
    for name, test in (("prefixMatch", given.startswith), ("fullPathMatch", given.__eq__)):
        wanted = match.get(name)
        if wanted is not None and not test(wanted.lower() if match.get("ignoreCase") else wanted):
            return False
    if match.get("regexMatch") is not None and not re.fullmatch(match["regexMatch"], given):
        return False
    return all(_header_matches(each, headers) for each in match.get("headerMatches") or [])


def _header_matches(match: JsonObject, headers: dict[str, str]) -> bool:
    value = headers.get(match.get("headerName", "").lower())
    found = value is not None and _value_matches(match, value)
    return found != bool(match.get("invertMatch"))


def _value_matches(match: JsonObject, value: str) -> bool:
    if "exactMatch" in match:
        return bool(value == match["exactMatch"])
    if "prefixMatch" in match:
        return value.startswith(match["prefixMatch"])
    if "suffixMatch" in match:
        return value.endswith(match["suffixMatch"])
    if "regexMatch" in match:
        return re.fullmatch(match["regexMatch"], value) is not None
    return bool(match.get("presentMatch", True))


def _default(node: JsonObject) -> Destination:
    return _destination(node, "defaultService", "defaultRouteAction", "defaultUrlRedirect")


def _destination(node: JsonObject, service: str, action: str, redirect: str) -> Destination:
    weighted = (node.get(action) or {}).get("weightedBackendServices")
    if weighted:
        return Destination(tuple((each["backendService"], int(each.get("weight", 0))) for each in weighted))
    if node.get(redirect):
        return Destination(redirect=node[redirect])
    return Destination(((node[service], 1),)) if node.get(service) else Destination()
