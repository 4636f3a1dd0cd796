"""Where a URL map sends a request, and what it changes on the way. Pure.

    host -> host rule -> path matcher -> path rule (longest path) or route rule (by priority)
        -> service or weights, with rewrites, header changes, a mirror, a timeout, retries,
           injected faults

Used by `urlMaps.validate` and by the balancer. Source: load-balancing/docs/url-map-concepts;
Compute API reference, urlMaps.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from functools import lru_cache
from urllib.parse import parse_qs

from compute_emulator.errors import JsonObject


@dataclass(frozen=True, slots=True)
class Destination:
    """`weights` are (backend service URL, weight); a plain service has one entry. Or a
    `redirect`, as the map states it.

    `action` is the route action that applies; `matched` is the part of the path that a rewrite
    replaces; `header_actions` are in the order in which they apply, those of the chosen weight's
    entry last (`service_headers`). `error_policies` are the custom error response policies that
    apply.
    """

    weights: tuple[tuple[str, int], ...] = ()
    redirect: JsonObject | None = None
    action: JsonObject = field(default_factory=dict)
    matched: str = "/"
    template: str | None = None
    header_actions: tuple[JsonObject, ...] = ()
    service_headers: tuple[JsonObject, ...] = ()
    error_policies: tuple[JsonObject, ...] = ()

    @property
    def service(self) -> str:
        """The heaviest service, empty for a redirect."""
        return max(self.weights, key=lambda entry: entry[1])[0] if self.weights else ""


def route(
    url_map: JsonObject,
    host: str,
    path: str,
    headers: dict[str, str] | None = None,
    method: str = "GET",
) -> Destination:
    """`host` with or without port, `path` with or without query; header names in lower case."""
    path, _, query = path.partition("?")
    path = path or "/"
    top = _header_actions(url_map)
    name = _host(url_map, host.partition(":")[0])
    matcher = (
        next((each for each in url_map.get("pathMatchers") or [] if each["name"] == name), None)
        if name
        else None
    )
    if matcher is None:
        return replace(
            _default(url_map), header_actions=top, error_policies=_error_policies(url_map)
        )
    headers = headers or {}
    if matcher.get("routeRules"):
        headers = headers | _pseudo_headers(host, method)
    found, own = _within(matcher, path, query, headers)
    return replace(
        found,
        header_actions=(*own, *_header_actions(matcher), *top),
        error_policies=(
            *found.error_policies,
            *_error_policies(matcher),
            *_error_policies(url_map),
        ),
    )


def _pseudo_headers(host: str, method: str) -> dict[str, str]:
    """What header matches can also name. Source: Compute API reference, HttpHeaderMatch.headerName
    and regexMatch.
    """
    return {":authority": host, ":method": method, "port": host.partition(":")[2]}


def _within(
    matcher: JsonObject, path: str, query: str, headers: dict[str, str]
) -> tuple[Destination, tuple[JsonObject, ...]]:
    """Where a path matcher leads, and the header actions of the matching rule."""
    for rule in matcher.get("routeRules") or []:  # sorted by ascending priority when written
        for match in rule.get("matchRules") or []:
            if _route_matches(match, path, headers, query):
                found = _destination(rule, "service", "routeAction", "urlRedirect")
                found = (
                    found
                    if found.weights or found.redirect
                    else replace(_default(matcher), action=found.action)
                )
                return replace(
                    found,
                    matched=_matched(match, path),
                    template=match.get("pathTemplateMatch"),
                    error_policies=_error_policies(rule),
                ), _header_actions(rule)
    matching = [
        (pattern, rule)
        for rule in matcher.get("pathRules") or []
        for pattern in rule.get("paths") or []
        if _path_matches(pattern, path)
    ]
    if not matching:
        return _default(matcher), ()
    pattern, rule = max(matching, key=lambda each: _length(each[0]))
    return (
        replace(
            _destination(rule, "service", "routeAction", "urlRedirect"),
            matched=pattern.removesuffix("*"),
            error_policies=_error_policies(rule),
        ),
        (),
    )


def apply_rewrite(destination: Destination, path: str, host: str) -> tuple[str, str]:
    """The path (with its query) and the host that the backend sees."""
    rewrite = destination.action.get("urlRewrite") or {}
    plain, mark, query = path.partition("?")
    if rewrite.get("pathTemplateRewrite") and destination.template:
        plain = _fill(destination.template, rewrite["pathTemplateRewrite"], plain)
    elif rewrite.get("regexRewrite"):
        given = rewrite["regexRewrite"]
        plain = re.sub(given["pathPattern"], given.get("pathSubstitution", ""), plain)
    elif rewrite.get("pathPrefixRewrite"):
        plain = rewrite["pathPrefixRewrite"] + plain.removeprefix(destination.matched)
        plain = plain if plain.startswith("/") else f"/{plain}"
    return plain + mark + query, rewrite.get("hostRewrite") or host


def _matched(match: JsonObject, path: str) -> str:
    prefix = match.get("prefixMatch")
    return path[: len(prefix)] if prefix else path


def _header_actions(node: JsonObject) -> tuple[JsonObject, ...]:
    return (node["headerAction"],) if node.get("headerAction") else ()


def _error_policies(node: JsonObject) -> tuple[JsonObject, ...]:
    names = ("customErrorResponsePolicy", "defaultCustomErrorResponsePolicy")
    return tuple(node[name] for name in names if node.get(name))


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
    """`/v1/*` does not match `/v1`. Source: kubernetes/ingress-gce issue 76."""
    return path.startswith(pattern[:-1]) if pattern.endswith("/*") else path == pattern


def _length(pattern: str) -> tuple[int, bool]:
    """Without the asterisk: `/v1/x` is longer than `/v1/*`, and `/v1/` goes before `/v1/*`."""
    return len(pattern.removesuffix("*")), not pattern.endswith("*")


def _route_matches(match: JsonObject, path: str, headers: dict[str, str], query: str) -> bool:
    given = path.lower() if match.get("ignoreCase") else path
    for name, test in (("prefixMatch", given.startswith), ("fullPathMatch", given.__eq__)):
        expected = match.get(name)
        if expected is not None and not test(
            expected.lower() if match.get("ignoreCase") else expected
        ):
            return False
    if match.get("regexMatch") is not None and not re.fullmatch(match["regexMatch"], given):
        return False
    if match.get("pathTemplateMatch") is not None and not _template(
        match["pathTemplateMatch"]
    ).fullmatch(path):
        return False
    if not all(_query_matches(each, query) for each in match.get("queryParameterMatches") or []):
        return False
    return all(_header_matches(each, headers) for each in match.get("headerMatches") or [])


def _query_matches(match: JsonObject, query: str) -> bool:
    values = parse_qs(query, keep_blank_values=True).get(match.get("name", ""))
    if values is None:
        return False
    if "exactMatch" in match:
        return bool(values[0] == match["exactMatch"])
    if "regexMatch" in match:
        return re.fullmatch(match["regexMatch"], values[0]) is not None
    return bool(match.get("presentMatch", True))


@lru_cache(maxsize=256)
def _template(pattern: str) -> re.Pattern[str]:
    """`/models/{name=*}/**` as a regular expression with a group for each variable."""
    built = ""
    for part in re.split(r"(\{\w+(?:=[^}]*)?\}|\*\*|\*)", pattern):
        named = re.fullmatch(r"\{(\w+)(?:=([^}]*))?\}", part)
        if named is not None:
            built += f"(?P<{named[1]}>{_wild(named[2] or '*')})"
        else:
            built += _wild(part)
    return re.compile(built)


def _wild(pattern: str) -> str:
    return {"*": "[^/]+", "**": ".*"}.get(pattern) or "".join(
        {"*": "[^/]+", "**": ".*"}.get(each, re.escape(each))
        for each in re.split(r"(\*\*|\*)", pattern)
    )


def _fill(template: str, rewrite: str, path: str) -> str:
    found = _template(template).fullmatch(path)
    values = found.groupdict() if found is not None else {}
    return re.sub(r"\{(\w+)\}", lambda each: values.get(each[1], ""), rewrite)


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
    if "rangeMatch" in match:
        return _in_range(match["rangeMatch"], value)
    return bool(match.get("presentMatch", True))


def _in_range(given: JsonObject, value: str) -> bool:
    """Only whole numbers are in a range; its end is not."""
    if re.fullmatch(r"[+-]?\d+", value) is None:
        return False
    return int(given.get("rangeStart", 0)) <= int(value) < int(given.get("rangeEnd", 0))


def _default(node: JsonObject) -> Destination:
    return _destination(node, "defaultService", "defaultRouteAction", "defaultUrlRedirect")


def _destination(node: JsonObject, service: str, action: str, redirect: str) -> Destination:
    given = node.get(action) or {}
    weighted = given.get("weightedBackendServices")
    if weighted:
        weights = tuple((each["backendService"], int(each.get("weight", 0))) for each in weighted)
        return Destination(
            weights,
            action=given,
            service_headers=tuple(each.get("headerAction") or {} for each in weighted),
        )
    if node.get(redirect):
        return Destination(redirect=node[redirect])
    return Destination(((node[service], 1),) if node.get(service) else (), action=given)
