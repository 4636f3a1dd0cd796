"""A model's route: its one path rule in the shared gateway's URL map. Pure.

The map is shared, so it is always written as read, with our rule corrected, under the fingerprint
that was read: hosts, matchers and rules of others survive unchanged, and a concurrent change is a
conflict and not a loss. A rule belongs to a model if it sends requests to one of the model's
backend services. Waits for the backend services. Source: Compute API reference, urlMaps.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from infra.fleet import naming
from infra.fleet.model import Action, Body, Key
from infra.fleet.resources.drift import differences
from rollout.model import Problem, TrafficTarget

ANY_HOST = "*"
_MATCHER_PREFIX = "slipway-"
_SERVER_SET = ("id", "kind", "creationTimestamp", "selfLink", "selfLinkWithId", "region", "status")


@dataclass(frozen=True)
class Backend:
    """A backend service and its weight, from 0 to 1000."""

    service: Key
    weight: int


@dataclass(frozen=True)
class Route:
    """Requests for `host` and `path` (and below) go to `backends`, with `path` removed:
    `/tiny/v1/x` arrives as `/v1/x`.
    """

    model: str
    host: str
    path: str
    backends: tuple[Backend, ...]

    @property
    def services(self) -> tuple[Key, ...]:
        return tuple(backend.service for backend in self.backends)

    @property
    def paths(self) -> list[str]:
        return ["/*"] if self.path == "/" else [self.path, f"{self.path}/*"]

    @property
    def rule(self) -> Body:
        """A single backend is the rule's service. Several are a route action with weights, beside
        which the API allows no service.
        """
        action: Body = {}
        if self.path != "/":
            action["urlRewrite"] = {"pathPrefixRewrite": "/"}
        if len(self.backends) > 1:
            action["weightedBackendServices"] = [
                {"backendService": naming.reference(each.service), "weight": each.weight}
                for each in self.backends
            ]
            return {"paths": self.paths, "routeAction": action}
        rule = {"paths": self.paths, "service": naming.reference(self.backends[0].service)}
        return rule | ({"routeAction": action} if action else {})


def desired(model: str, target: TrafficTarget) -> Route:
    """The model's route. Its path is `/<model>` unless the release names another one."""
    traffic = target.settings.spec.traffic
    backends = tuple(
        Backend(naming.backend_service(model, each.colour), each.weight) for each in target.weights
    )
    return Route(model, traffic.host, traffic.path or f"/{model}", backends)


@dataclass(frozen=True)
class Routes:
    """An index of a URL map: the path rules of each model, each with its matcher's name, and the
    matcher of each host. Made once for all models.
    """

    rules: Mapping[str, tuple[tuple[str, Body], ...]]
    matchers: Mapping[str, str]


def index(observed: Body) -> Routes:
    rules: dict[str, tuple[tuple[str, Body], ...]] = {}
    for matcher in observed.get("pathMatchers", []):
        for rule in matcher.get("pathRules", []):
            for model in models_of(rule):
                rules[model] = (*rules.get(model, ()), (matcher["name"], rule))
    matchers: dict[str, str] = {}
    for each in observed.get("hostRules", []):
        for host in each.get("hosts", []):
            matchers.setdefault(host, str(each.get("pathMatcher")))
    return Routes(rules, matchers)


def drift(route: Route | None, model: str, observed: Body) -> str | None:
    """`route_drift` for a single model."""
    return route_drift(route, model, index(observed))


def route_drift(route: Route | None, model: str, observed: Routes) -> str | None:
    """Why the map must be written for this model; None if it has exactly one route and that is
    right, or rightly has none.
    """
    found = observed.rules.get(model, ())
    if route is None:
        if not found:
            return None
        return f"the model has a route ({', '.join(found[0][1].get('paths', []))}) and should not"
    if not found:
        return f"there is no route for {route.host}{route.path} yet"
    matcher, rule = found[0]
    is_in_place = (
        matcher == observed.matchers.get(route.host)
        and rule.get("paths") == route.paths
        and len(found) == 1
    )
    # A service or an action that the route does not have must be missing from the rule too.
    if is_in_place and not differences({"service": None, "routeAction": None} | route.rule, rule):
        return None
    return (
        f"the model's route is {', '.join(rule.get('paths', []))} and should be"
        f" {', '.join(route.paths)} for host {route.host}"
    )


def owns(model: str, rule: Body) -> bool:
    """Whether a path rule sends any requests to the model."""
    return model in models_of(rule)


def models_of(rule: Body) -> set[str]:
    """The models that a path rule sends requests to."""
    found = (naming.model_of_service(naming.canonical(service)) for service in _services(rule))
    return {model for model in found if model}


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
    """A legal name that is unique to the host: `slipway-api-example-com-1f2e3d`."""
    if host == ANY_HOST:
        return f"{_MATCHER_PREFIX}any"
    readable = re.sub(r"[^a-z0-9]+", "-", host.lower()).strip("-")[:40].strip("-")
    return f"{_MATCHER_PREFIX}{readable}-{hashlib.sha256(host.encode()).hexdigest()[:6]}"


def merge_route(observed: Body, model: str, route: Route | None) -> Body | Problem:
    """The desired map: the observed one without any rule of the model, and with its route, if it
    has one.
    """
    body = {field: value for field, value in observed.items() if field not in _SERVER_SET}
    if route and (problem := obstacle(route, observed)):
        return problem
    emptied = [
        matcher["name"]
        for matcher in body.get("pathMatchers", [])
        if _is_exclusive(matcher, model, _hosts_of(matcher["name"], body))
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


def _is_exclusive(matcher: Body, model: str, hosts: set[str]) -> bool:
    """Whether Slipway inserted the matcher, it serves no other host, and all its rules are the
    model's.
    """
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
    """What in other owners' parts of the map conflicts with the route. It is reported and not
    overwritten.
    """
    name = matcher_of(route.host, observed)
    matcher: Body = next(
        (each for each in observed.get("pathMatchers", []) if each.get("name") == name), {}
    )
    if name and (sharing := _hosts_of(name, observed) - {route.host}):
        others = ", ".join(sorted(sharing))
        return _conflict(
            f"path matcher {name} serves host {route.host} together with {others}; give"
            f" {route.host} a separate host rule"
        )
    if matcher.get("routeRules"):
        return _conflict(
            f"path matcher {name} of host {route.host} has route rules, which exclude path rules"
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


def update(
    observed: Body, model: str, route: Route | None, routes: Routes | None = None
) -> tuple[Action | Problem, ...]:
    """One update of the whole map, or nothing. `routes` is the map's index, if it was made."""
    why = route_drift(route, model, routes or index(observed))
    if why is None:
        return ()
    body = merge_route(observed, model, route)
    if isinstance(body, Problem):
        return (body,)
    fingerprint = observed.get("fingerprint", "")
    return (Action(naming.GATEWAY, "update", body, why, based_on=fingerprint),)
