"""A model's route in the shared gateway's URL map. Pure.

The map is shared, so it is always written as read, with the model's rules corrected, under the
fingerprint that was read: hosts, matchers and rules of others survive unchanged, and a concurrent
change is a conflict and not a loss. A rule belongs to a model if it sends requests to one of the
model's backend services, or if the model had it and somebody has pointed it elsewhere. Waits for
the backend services. Source: Compute API reference, urlMaps.

    route.py          a route and its rules, in both forms that a map has for them
    path_matcher.py   a model's rules in one path matcher
    map_draft.py      routes of models, merged into a map
    map_limits.py     how full a map is
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from infra.fleet import naming
from infra.fleet.model import Action, Body
from infra.fleet.resources import map_limits, path_matcher
from infra.fleet.resources.map_draft import MapDraft, hosts_by_matcher
from infra.fleet.resources.map_limits import Meter
from infra.fleet.resources.route import (
    Backend,
    CohortRoute,
    Route,
    desired,
    models_of,
    owns,
    paths_of,
    routes_of,
    services_of,
)
from rollout.deferred import dataclass
from rollout.model import FULL_WEIGHT, Problem, TrafficWeight

__all__ = [
    "Backend",
    "CohortRoute",
    "Route",
    "Routes",
    "desired",
    "draft_of",
    "drift",
    "index",
    "merge_route",
    "meter_of",
    "owns",
    "route_drift",
    "routes_of",
    "update",
    "weights",
]


@dataclass(frozen=True)
class Routes:
    """An index of a URL map: the rules of each model, each with its matcher's name, the matcher of
    each host, and the matchers in which Slipway orders the rules. Made once for all models.
    """

    rules: Mapping[str, tuple[tuple[str, Body], ...]]
    matchers: Mapping[str, str]
    ordered: frozenset[str] = frozenset()


class _View:
    """What is worked out of a map once, however often passes look at it. What was read is never
    changed.
    """

    def __init__(self, observed: Body) -> None:
        self.observed = observed

    @cached_property
    def routes(self) -> Routes:
        return _make_index(self.observed)

    @cached_property
    def draft(self) -> MapDraft:
        return MapDraft(self.observed)

    @cached_property
    def meter(self) -> Meter:
        meter = Meter()
        meter.amounts(self.observed)
        return meter


_views: dict[int, _View] = {}
"""Of the maps that passes of this process have read last, by identity, the oldest first."""
MAX_VIEWS = 4


def _view_of(observed: Body) -> _View:
    view = _views.get(id(observed))
    if view is None:
        view = _views[id(observed)] = _View(observed)
        for oldest in tuple(_views)[:-MAX_VIEWS]:
            _views.pop(oldest, None)
    return view


def index(observed: Body) -> Routes:
    """The index of a map."""
    return _view_of(observed).routes


def draft_of(observed: Body) -> MapDraft:
    """A draft to merge routes into."""
    return _view_of(observed).draft.copy()


def meter_of(observed: Body) -> Meter:
    """A meter that has measured the map."""
    return _view_of(observed).meter.copy()


def _make_index(observed: Body) -> Routes:
    rules: dict[str, list[tuple[str, Body]]] = {}
    matchers: dict[str, str] = {}
    for each in observed.get("hostRules", []):
        for host in each.get("hosts", []):
            matchers.setdefault(host, str(each.get("pathMatcher")))
    hosts = hosts_by_matcher(observed)
    ordered = set()
    for matcher in observed.get("pathMatchers", []):
        for rule in path_matcher.rules_of(matcher):
            for model in models_of(rule):
                rules.setdefault(model, []).append((matcher["name"], rule))
        if path_matcher.is_ours(matcher, hosts.get(matcher["name"], frozenset())):
            ordered.add(matcher["name"])
    found = {model: tuple(each) for model, each in rules.items()}
    return Routes(found, matchers, frozenset(ordered))


# ---- Drift


def drift(route: Route | None, model: str, observed: Body) -> str | None:
    """`route_drift` for a single model."""
    return route_drift(route, model, index(observed))


def route_drift(route: Route | None, model: str, observed: Routes) -> str | None:
    """Why the map must be written for this model; None if it has exactly the route's rules, in
    whichever form, or rightly has none.
    """
    left = list(observed.rules.get(model, ()))
    if route is None:
        if not left:
            return None
        return f"the model has a route ({', '.join(paths_of(left[0][1]))}) and should not"
    for rule in route.rules:
        matcher = observed.matchers.get(rule.host)
        found = next((each for each in left if each[0] == matcher and rule.is_at(each[1])), None)
        if found is None:
            return f"there is no route for {rule} yet"
        left.remove(found)
        if not rule.leads_like(found[1]):
            return (
                f"requests for {rule} go to {_destination(found[1])} and should go to"
                f" {_destination(rule.destination)}"
            )
        priority = found[1].get("priority", rule.priorities.start)
        if matcher in observed.ordered and priority not in rule.priorities:
            return f"the rule for {rule} has priority {priority}, which is not one for its path"
    if left:
        return f"requests for {_place(left[0][1])} go to the model and should not"
    return None


def _destination(rule: Body) -> str:
    """`slipway-tiny-blue 950, slipway-tiny-green 50, without a rewrite`."""
    action = rule.get("routeAction") or {}
    weighted = action.get("weightedBackendServices") or []
    parts = [f"{naming.last(each['backendService'])} {each.get('weight', 0)}" for each in weighted]
    parts = parts or [naming.last(next(iter(services_of(rule)), None)) or "nothing"]
    if mirror := action.get("requestMirrorPolicy"):
        percent = mirror.get("mirrorPercent", 100)
        parts.append(f"{percent:g} % mirrored to {naming.last(mirror.get('backendService'))}")
    if rewrite := action.get("urlRewrite"):
        parts.append("as " + ", ".join(f"{name} {value}" for name, value in rewrite.items()))
    return ", ".join(parts)


def _place(rule: Body) -> str:
    return ", ".join(paths_of(rule)) or f"the matches of priority {rule.get('priority')}"


# ---- What the map shows


def weights(model: str, observed: Body) -> tuple[TrafficWeight, ...]:
    """How the map splits the model's requests among its groups, cohorts aside; empty without a
    route. A preview has a single group, so a rule that splits requests is the model's own.
    """
    rules = [rule for _, rule in index(observed).rules.get(model, ())]
    rule = max(rules, key=lambda each: len(services_of(each)), default={})
    if rule.get("service"):
        return _weight(model, rule["service"], FULL_WEIGHT)
    backends = (rule.get("routeAction") or {}).get("weightedBackendServices") or []
    found = (_weight(model, each["backendService"], each.get("weight", 0)) for each in backends)
    return tuple(weight for weights in found for weight in weights)


def _weight(model: str, service: str, weight: int) -> tuple[TrafficWeight, ...]:
    colour = naming.colour_of(model, naming.last(service) or "")
    return (TrafficWeight(colour, weight),) if colour else ()


# ---- The desired map


def merge_route(observed: Body, model: str, route: Route | None) -> Body | Problem:
    """The desired map: the observed one with exactly the route's rules of the model, or none of the
    model without a route. It may be merged with another model's route in turn.
    """
    draft = draft_of(observed)
    return draft.merge(model, route) or draft.body


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
    if route and (amount := map_limits.overflow(observed, body, meter_of(observed))):
        return (map_limits.problem(str(observed.get("name")), amount),)
    fingerprint = observed.get("fingerprint", "")
    return (Action(naming.url_map(observed), "update", body, why, based_on=fingerprint),)
