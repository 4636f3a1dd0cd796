"""A URL map that routes are merged into, one after the other. Pure.

Called by `url_map.py` for one route, and by `infra/fleet/pending_routes.py` for many. What a route
does not touch stays the same object: merging costs as much as the matchers of its hosts, however
many models the map serves.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy

from infra.fleet.model import Body
from infra.fleet.resources import path_matcher
from infra.fleet.resources.route import Route, Rule, models_of
from rollout.model import Problem

_SERVER_SET = ("id", "kind", "creationTimestamp", "selfLink", "selfLinkWithId", "region", "status")


def hosts_by_matcher(observed: Body) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for rule in observed.get("hostRules", []):
        found.setdefault(str(rule.get("pathMatcher")), set()).update(rule.get("hosts", []))
    return found


class MapDraft:
    """The map as read, with the routes that were merged so far."""

    def __init__(self, observed: Body) -> None:
        self._rest = {
            field: value
            for field, value in observed.items()
            if field not in (*_SERVER_SET, "hostRules", "pathMatchers")
        }
        self._host_rules: list[Body] = [*observed.get("hostRules", [])]
        self._matchers: dict[str, Body] = {
            matcher["name"]: matcher for matcher in observed.get("pathMatchers", [])
        }
        self._hosts = hosts_by_matcher(observed)
        self._matcher_of: dict[str, str] = {}
        for rule in self._host_rules:
            for host in rule.get("hosts", []):
                self._matcher_of.setdefault(host, str(rule.get("pathMatcher")))
        self._of_model: dict[str, set[str]] = {}
        for name, matcher in self._matchers.items():
            for rule in path_matcher.rules_of(matcher):
                for model in models_of(rule):
                    self._of_model.setdefault(model, set()).add(name)

    def copy(self) -> MapDraft:
        """Another draft of the same routes, which is merged into by itself."""
        found = copy(self)
        found._host_rules = [*self._host_rules]
        found._matchers, found._matcher_of = {**self._matchers}, {**self._matcher_of}
        found._hosts = {name: {*hosts} for name, hosts in self._hosts.items()}
        found._of_model = {**self._of_model}
        return found

    @property
    def name(self) -> str:
        return str(self._rest.get("name"))

    @property
    def body(self) -> Body:
        parts = {"hostRules": [*self._host_rules], "pathMatchers": [*self._matchers.values()]}
        return {field: value for field, value in (self._rest | parts).items() if value != []}

    def has(self, model: str) -> bool:
        """Whether any requests go to the model."""
        return bool(self._of_model.get(model))

    def merge(self, model: str, route: Route | None) -> Problem | None:
        """Give the map exactly the route's rules of the model, or none of the model without a
        route. With a problem, the map stays as it is.
        """
        if route and (problem := self.obstacle(route)):
            return problem
        rules_in = {self._insert_host(host): rules for host, rules in _by_host(route)}
        for name in dict.fromkeys((*sorted(self._of_model.get(model, ())), *rules_in)):
            self._write(name, model, rules_in.get(name, ()))
        self._of_model[model] = {name for name, rules in rules_in.items() if rules}
        return None

    def _write(self, name: str, model: str, rules: tuple[Rule, ...]) -> None:
        """A matcher goes with its last rule, if others have not made it theirs."""
        matcher, hosts = self._matchers[name], self._hosts.get(name, set())
        merged = path_matcher.with_rules(matcher, hosts, model, rules)
        if (
            any(path_matcher.rules_of(merged))
            or not path_matcher.is_inserted(matcher, hosts)
            or not path_matcher.is_as_inserted(merged, self._rest)
        ):
            self._matchers[name] = merged
            return
        del self._matchers[name]
        for host in self._hosts.pop(name, ()):
            self._matcher_of.pop(host, None)
        self._host_rules = [rule for rule in self._host_rules if rule.get("pathMatcher") != name]

    def _insert_host(self, host: str) -> str:
        """The name of the host's matcher, which is inserted if there is none."""
        name = self._matcher_of.get(host)
        if name is None:
            name = path_matcher.name_for(host)
            self._host_rules.append({"hosts": [host], "pathMatcher": name})
            self._matcher_of[host] = name
            self._hosts.setdefault(name, set()).add(host)
        if name not in self._matchers:
            self._matchers[name] = path_matcher.inserted(name, self._rest)
        return name

    def obstacle(self, route: Route) -> Problem | None:
        """What in other owners' parts of the map conflicts with the route."""
        for cohort in route.cohorts:
            if cohort.host == route.host:
                return _conflict(f"{cohort.host} is the model's host; a preview needs another one")
        for host, rules in route.by_host.items():
            name, is_preview = self._matcher_of.get(host), host != route.host
            if name is None:
                if is_preview and (wildcard := self._wildcard_of(host)):
                    return _conflict(
                        f"host rule {wildcard} serves host {host} already; a preview needs a host"
                        " that nothing else uses"
                    )
                continue
            matcher = self._matchers.get(name, {})
            why = path_matcher.obstacle(
                matcher, self._hosts[name], route.model, rules, is_preview=is_preview
            )
            if why:
                return _conflict(why)
        return None

    def _wildcard_of(self, host: str) -> str:
        """The host like `*.example.com`, which no model has, that the host is below."""
        wildcards = (each for each in self._matcher_of if each.startswith("*") and each != "*")
        return next((each for each in wildcards if host.endswith(each[1:])), "")


def _by_host(route: Route | None) -> Iterator[tuple[str, tuple[Rule, ...]]]:
    yield from route.by_host.items() if route else ()


def _conflict(message: str) -> Problem:
    return Problem("config", "ROUTE_TAKEN", message)
