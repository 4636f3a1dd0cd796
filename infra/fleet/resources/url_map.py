"""A model's route: its one path rule in the shared gateway's URL map, merged in beside everybody
else's.

The map is shared, so it is always written as read, with our rule put right, under the fingerprint
that was read: hosts, matchers and rules that are not ours survive as they are, and a change by
somebody else in between is a conflict, not a loss. A rule is a model's when it sends to one of that
model's backend services. Waits for the map and the backend service. Source: Compute API reference,
urlMaps."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from infra.fleet import naming
from infra.fleet.model import Action, Body
from infra.fleet.resources.drift import differences
from rollout.model import GroupTarget, Problem

ANY_HOST = "*"
_MATCHER_PREFIX = "slipway-"
_SERVER_SET = ("id", "kind", "creationTimestamp", "selfLink", "selfLinkWithId", "region", "status")


@dataclass(frozen=True)
class Route:
    """Requests for `host` and `path` (and below) go to `service`, with `path` taken away:
    `/tiny/v1/x` arrives as `/v1/x`."""

    model: str
    host: str
    path: str
    service: str

    @property
    def paths(self) -> list[str]:
        return ["/*"] if self.path == "/" else [self.path, f"{self.path}/*"]

    @property
    def rule(self) -> Body:
        rewrite: Body = (
            {} if self.path == "/" else {"routeAction": {"urlRewrite": {"pathPrefixRewrite": "/"}}}
        )
        return {"paths": self.paths, "service": self.service} | rewrite


def desired(model: str, target: GroupTarget) -> Route:
    """The model's route under its path, `/<model>` unless it names one."""
    traffic = target.settings.spec.traffic
    return Route(
        model,
        traffic.host,
        traffic.path or f"/{model}",
        naming.reference(naming.backend_service(model, target.colour)),
    )


def drift(route: Route | None, model: str, observed: Body) -> str | None:
    """Why the map must be written for this model; None when its route is there exactly once and
    right, or rightly absent."""
    found = [
        (matcher, rule)
        for matcher in observed.get("pathMatchers", [])
        for rule in matcher.get("pathRules", [])
        if owns(model, rule)
    ]
    if route is None:
        return (
            f"the model has a route ({', '.join(found[0][1].get('paths', []))}) and should have"
            " none"
            if found
            else None
        )
    if not found:
        return f"there is no route for {route.host}{route.path} yet"
    matcher, rule = found[0]
    right = (
        matcher["name"] == matcher_of(route.host, observed)
        and rule.get("paths") == route.paths
        and len(found) == 1
    )
    # An absent rewrite must be noticed too, so what is not asked for is compared as nothing.
    if right and not differences({"routeAction": None} | route.rule, rule):
        return None
    return (
        f"the model's route is {', '.join(rule.get('paths', []))} and should be"
        f" {', '.join(route.paths)} for host {route.host}"
    )


def owns(model: str, rule: Body) -> bool:
    """Whether a path rule sends anything to the model."""
    ours = {naming.reference(naming.backend_service(model, colour)) for colour in naming.COLOURS}
    return any(naming.canonical(service) in ours for service in _services(rule))


def _services(rule: Body) -> Iterator[str]:
    weighted: list[dict[str, Any]] = rule.get("routeAction", {}).get("weightedBackendServices", [])
    yield from (
        service
        for service in [rule.get("service"), *(each.get("backendService") for each in weighted)]
        if service
    )


def matcher_of(host: str, observed: Body) -> str | None:
    """The path matcher that serves a host, if any host rule names it."""
    return next(
        (
            str(rule.get("pathMatcher"))
            for rule in observed.get("hostRules", [])
            if host in rule.get("hosts", [])
        ),
        None,
    )


def matcher_name(host: str) -> str:
    """A legal name that says the host and is its alone: `slipway-api-example-com-1f2e3d`."""
    if host == ANY_HOST:
        return f"{_MATCHER_PREFIX}any"
    said = re.sub(r"[^a-z0-9]+", "-", host.lower()).strip("-")[:40].strip("-")
    return f"{_MATCHER_PREFIX}{said}-{hashlib.sha256(host.encode()).hexdigest()[:6]}"


def merged(observed: Body, model: str, route: Route | None) -> Body | Problem:
    """The map as it should be: the model's rules taken out everywhere, and its route, if it has
    one, put where it belongs."""
    body = {field: value for field, value in observed.items() if field not in _SERVER_SET}
    if route and (problem := obstacle(route, observed)):
        return problem
    emptied = [
        matcher["name"]
        for matcher in body.get("pathMatchers", [])
        if _is_ours_alone(matcher, model, _hosts_of(matcher["name"], body))
    ]
    body["pathMatchers"] = [
        _without(matcher, model)
        for matcher in body.get("pathMatchers", [])
        if matcher["name"] not in emptied
    ]
    body["hostRules"] = [
        rule for rule in body.get("hostRules", []) if rule.get("pathMatcher") not in emptied
    ]
    if route:
        _insert(body, route)
    return {field: value for field, value in body.items() if value != []}


def _hosts_of(matcher: str | None, observed: Body) -> set[str]:
    return {
        host
        for rule in observed.get("hostRules", [])
        if rule.get("pathMatcher") == matcher
        for host in rule.get("hosts", [])
    }


def _is_ours_alone(matcher: Body, model: str, hosts: set[str]) -> bool:
    """A matcher that a model's route made for its host, that serves no other host, and holds
    nothing but this model's."""
    rules = matcher.get("pathRules", [])
    made = naming.is_gateway(matcher) and all(
        matcher_name(host) == matcher["name"] for host in hosts
    )
    return (
        made
        and bool(rules)
        and not matcher.get("routeRules")
        and all(owns(model, rule) for rule in rules)
    )


def _without(matcher: Body, model: str) -> Body:
    rules = matcher.get("pathRules", [])
    kept = [rule for rule in rules if not owns(model, rule)]
    if len(kept) == len(rules):
        return matcher
    rest = {field: value for field, value in matcher.items() if field != "pathRules"}
    return rest | {"pathRules": kept} if kept else rest


def _insert(body: Body, route: Route) -> None:
    name = matcher_of(route.host, body)
    if name is None:
        name = matcher_name(route.host)
        body["hostRules"] = [*body["hostRules"], {"hosts": [route.host], "pathMatcher": name}]
    if all(matcher["name"] != name for matcher in body["pathMatchers"]):
        made = {
            "name": name,
            "description": f"{naming.GATEWAY_DESCRIPTION} routes",
            "defaultService": body.get("defaultService"),
        }
        body["pathMatchers"] = [
            *body["pathMatchers"],
            {field: value for field, value in made.items() if value},
        ]
    body["pathMatchers"] = [
        (
            matcher | {"pathRules": [*matcher.get("pathRules", []), route.rule]}
            if matcher["name"] == name
            else matcher
        )
        for matcher in body["pathMatchers"]
    ]


def obstacle(route: Route, observed: Body) -> Problem | None:
    """What stands in a route's way in other people's part of the map. It is theirs, so it is said
    and not overwritten."""
    name = matcher_of(route.host, observed)
    matcher: Body = next(
        (each for each in observed.get("pathMatchers", []) if each.get("name") == name), {}
    )
    if name and (sharing := _hosts_of(name, observed) - {route.host}):
        others = ", ".join(sorted(sharing))
        return _conflict(
            f"path matcher {name} serves host {route.host} together with {others}; give"
            f" {route.host} a host rule of its own"
        )
    if matcher.get("routeRules"):
        return _conflict(
            f"path matcher {name} of host {route.host} has route rules, which cannot stand beside a"
            " path rule"
        )
    for rule in matcher.get("pathRules", []):
        taken = [path for path in rule.get("paths", []) if path in route.paths]
        if taken and not owns(route.model, rule):
            owner = naming.last(next(_services(rule), None)) or "something else"
            return _conflict(
                f"path {taken[0]} of host {route.host} goes to {owner} already; choose another path"
                " or remove that rule"
            )
    return None


def _conflict(message: str) -> Problem:
    return Problem("config", "ROUTE_TAKEN", message)


def update(observed: Body, model: str, route: Route | None) -> tuple[Action | Problem, ...]:
    """One update of the whole map, or nothing."""
    why = drift(route, model, observed)
    if why is None:
        return ()
    body = merged(observed, model, route)
    if isinstance(body, Problem):
        return (body,)
    return (Action(naming.GATEWAY, "update", body, why, seen=observed.get("fingerprint", "")),)


def first(route: Route) -> Action:
    """The route of a map that the same plan inserts; `completed` turns it into an update once the
    map can be read."""
    body: Body = {"hostRules": [], "pathMatchers": []}
    _insert(body, route)
    why = f"there is no route for {route.host}{route.path} yet"
    return Action(naming.GATEWAY, "update", body, why, reads_first=True)


def completed(action: Action, observed: Body) -> Action | Problem | None:
    """`first`'s action against the map as it was read after its insert: by then another model may
    have its route in it."""
    rule = action.body["pathMatchers"][0]["pathRules"][0]
    model = str(naming.last(rule["service"])).rsplit("-", 1)[0]
    path = rule["paths"][0].removesuffix("*")
    route = Route(model, action.body["hostRules"][0]["hosts"][0], path, rule["service"])
    return next(iter(update(observed, model, route)), None)
