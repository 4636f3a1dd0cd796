"""A model's route: which requests go to which of its backend services, and how the rules of a URL
map say so. Pure.

A rule is written in one of two forms, since a path matcher has either path rules or route rules:

    path rule     paths /tiny and /tiny/*                       the longest path wins
    route rule    full path /tiny, or prefix /tiny/, and a      the lowest priority wins
                  header if the rule names one

A prefix never lacks the / at its end: `/tiny` alone would also match `/tiny2`. Only a route rule
can match a header. Source: Compute API reference, urlMaps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property, lru_cache
from typing import Any

from infra.fleet import naming
from infra.fleet.model import Body, Key
from infra.fleet.resources.drift import differences, with_absent
from rollout.deferred import dataclass
from rollout.model import Colour, TrafficTarget

MAX_PATH = 1024  # the longest path that a match can have
SLOTS = 10_000
"""Priorities per length of a path. A map has at most 1 MB, so it holds far fewer rules than that
for paths of one length."""
_ACTIONS = ("urlRewrite", "weightedBackendServices", "requestMirrorPolicy")
_IN_BOTH_FORMS = frozenset({"service", "routeAction", "urlRedirect", "customErrorResponsePolicy"})


@dataclass(frozen=True)
class Backend:
    """A backend service and its weight, from 0 to 1000."""

    service: Key
    weight: int


@dataclass(frozen=True)
class Rule:
    """Requests for `host` and `path` (and below), and with exactly this `header` (name, value) if
    there is one, go to `backends`; `mirror` gets copies of `weight` of 1000. `path` is removed:
    `/tiny/v1/x` arrives as `/v1/x`. `is_claimed`: see `TrafficTarget`.
    """

    host: str
    path: str
    backends: tuple[Backend, ...]
    header: tuple[str, str] | None = None
    mirror: Backend | None = None
    is_claimed: bool = False

    @property
    def paths(self) -> list[str]:
        return ["/*"] if self.path == "/" else [self.path, f"{self.path}/*"]

    @cached_property
    def matches(self) -> list[Body]:
        found = _matches_of(self.paths)
        if self.header is None:
            return found
        name, value = self.header
        headers = [{"headerName": name.lower(), "exactMatch": value}]
        return [match | {"headerMatches": headers} for match in found]

    @property
    def priorities(self) -> range:
        return priorities(_base_of(self.paths[-1]), has_header=self.header is not None)

    @cached_property
    def destination(self) -> Body:
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
        if self.mirror:
            action["requestMirrorPolicy"] = {
                "backendService": naming.reference(self.mirror.service),
                "mirrorPercent": self.mirror.weight / 10,
            }
        found: Body = {"routeAction": action} if action else {}
        if len(self.backends) == 1:
            found["service"] = naming.reference(self.backends[0].service)
        return found

    @property
    def path_rule(self) -> Body:
        return {"paths": self.paths} | self.destination

    def route_rule(self, priority: int) -> Body:
        return {"priority": priority, "matchRules": self.matches} | self.destination

    def is_at(self, rule: Body) -> bool:
        """Whether a rule of a map, in either form, matches the same requests."""
        if "matchRules" in rule:
            return [_plain(match) for match in rule["matchRules"]] == self.matches
        return self.header is None and rule.get("paths") == self.paths

    def is_edited_to(self, rule: Body) -> bool:
        """Whether a rule of a map that serves others must have been this one. Nobody else can have
        had its paths while this rule had them: a matcher has each path in one path rule.
        """
        if not self.is_claimed or models_of(rule):
            return False
        paths: list[str] = rule.get("paths", [])
        return self.is_at(rule) or (bool(paths) and set(paths) <= set(self.paths))

    def leads_like(self, rule: Body) -> bool:
        """Whether a rule of a map does the same with them. What the route does not have must be
        missing there too.
        """
        desired = {"service": None, "routeAction": None} | self.destination
        if desired["routeAction"]:
            desired["routeAction"] = with_absent(desired["routeAction"], _ACTIONS)
        return not differences(desired, rule)

    def __str__(self) -> str:
        header = f" with {self.header[0]}: {self.header[1]}" if self.header else ""
        return f"{self.host}{self.path}{header}"


@dataclass(frozen=True)
class CohortRoute:
    """Requests with the `header` go to `service`, and, if `host` is given, all for that host."""

    service: Key
    header: tuple[str, str]
    host: str = ""


@dataclass(frozen=True)
class Route:
    """Requests for `host` and `path` (and below) go to `backends`, except for those of `cohorts`;
    `mirror` gets copies. `is_claimed`: see `TrafficTarget`.
    """

    model: str
    host: str
    path: str
    backends: tuple[Backend, ...]
    cohorts: tuple[CohortRoute, ...] = ()
    mirror: Backend | None = None
    is_claimed: bool = False

    @property
    def services(self) -> tuple[Key, ...]:
        found = [backend.service for backend in self.backends]
        found += [cohort.service for cohort in self.cohorts]
        found += [self.mirror.service] if self.mirror else []
        return tuple(dict.fromkeys(found))

    @property
    def is_split(self) -> bool:
        """Whether more than one backend gets requests by weight."""
        return sum(each.weight > 0 for each in self.backends) > 1

    @cached_property
    def rules(self) -> tuple[Rule, ...]:
        """On a preview host the model's path is removed too, so that a client only changes the
        host; any other path arrives as it is.
        """
        found = []
        for cohort in self.cohorts:
            backends = (Backend(cohort.service, 1),)
            found.append(Rule(self.host, self.path, backends, header=cohort.header))
            if cohort.host:
                found += [Rule(cohort.host, path, backends) for path in (self.path, "/")]
        found.append(
            Rule(
                self.host,
                self.path,
                self.backends,
                mirror=self.mirror,
                is_claimed=self.is_claimed,
            )
        )
        return tuple({(each.host, each.path, each.header): each for each in found[::-1]}.values())[
            ::-1
        ]

    @cached_property
    def by_host(self) -> Mapping[str, tuple[Rule, ...]]:
        hosts = dict.fromkeys(rule.host for rule in self.rules)
        return {host: tuple(rule for rule in self.rules if rule.host == host) for host in hosts}


def routes_of(model: str, target: TrafficTarget | None) -> dict[Key, Route]:
    """The model's route in each URL map that has it."""
    if target is None:
        return {}
    others = (replace(target, settings=each, is_claimed=False) for each in target.also)
    return {
        naming.gateway_named(each.settings.spec.traffic.gateway).url_map: desired(model, each)
        for each in (*others, target)
    }


def desired(model: str, target: TrafficTarget) -> Route:
    """The model's route in the gateway that its settings name. Its path is `/<model>` unless the
    release names another one. Its backends are in one order whichever serves, so that a candidate
    that becomes stable changes nothing.
    """

    def service(colour: Colour) -> Key:
        return naming.backend_service(model, colour)

    traffic, mirror = target.settings.spec.traffic, target.mirror
    weights = sorted(target.weights, key=lambda each: each.colour)
    return Route(
        model,
        traffic.host,
        traffic.path or f"/{model}",
        tuple(Backend(service(each.colour), each.weight) for each in weights),
        tuple(
            CohortRoute(service(each.colour), (each.header, each.value), each.host)
            for each in target.cohorts
        ),
        # The server may drop a percentage of 0, and without one all requests are copied.
        Backend(service(mirror.colour), mirror.weight) if mirror and mirror.weight else None,
        target.is_claimed,
    )


# ---- The rules of a map


def owns(model: str, rule: Body) -> bool:
    """Whether a rule of a map sends any requests to the model."""
    return model in models_of(rule)


def models_of(rule: Body) -> set[str]:
    """The models that a rule sends requests to. A mirror's copies do not count."""
    return {model for service in services_of(rule) if (model := _model_of(service))}


@lru_cache(maxsize=8192)  # the same references are in every map of every pass
def _model_of(service: str) -> str | None:
    return naming.model_of_service(naming.canonical(service))


def services_of(rule: Body) -> list[str]:
    if service := rule.get("service"):
        return [service]
    weighted: list[Body] = rule.get("routeAction", {}).get("weightedBackendServices", [])
    return [service for each in weighted if (service := each.get("backendService"))]


def priorities(base: str, *, has_header: bool) -> range:
    """The priorities of the route rules for a path, which is empty for the whole host: a longer
    path before a shorter one, and of one path those with a header first. Priorities of paths with
    equal length need no order, since no request matches two of them.
    """
    first = (MAX_PATH - len(base)) * SLOTS
    middle = first + SLOTS // 2
    return range(first, middle) if has_header else range(middle, first + SLOTS)


def as_route_rules(path_rule: Body) -> Iterator[tuple[range, Body]]:
    """The route rules that send the same requests the same way, each without a priority and with
    those that it may have. There are several if the paths are of different lengths.
    """
    rest = {field: value for field, value in path_rule.items() if field != "paths"}
    paths = path_rule.get("paths", [])
    for base in dict.fromkeys(_base_of(path) for path in paths):
        matches = _matches_of(path for path in paths if _base_of(path) == base)
        yield priorities(base, has_header=False), {"matchRules": matches} | rest


def as_path_rule(route_rule: Body) -> Body | None:
    """The path rule that sends the same requests the same way; None if there is none, or if the
    priority is not that of its paths.
    """
    given = {field: value for field, value in route_rule.items() if value}
    matches = [_plain(match) for match in given.pop("matchRules", [])]
    priority = given.pop("priority", 0)
    paths = [path for match in matches if (path := _path_of(match))]
    bases = {_base_of(path) for path in paths}
    if (
        len(paths) != len(matches)
        or len(bases) != 1
        or priority not in priorities(*bases, has_header=False)
        or not set(given) <= _IN_BOTH_FORMS
    ):
        return None
    return {"paths": paths} | given


def paths_of(rule: Body) -> list[str]:
    """The paths of a rule in either form, with those of its matches that a path rule can have."""
    matches = rule.get("matchRules", [])
    found = (_path_of(_plain(match)) for match in matches)
    return [*rule.get("paths", []), *(path for path in found if path)]


def _base_of(path: str) -> str:
    """`/tiny` for `/tiny` and `/tiny/*`, which need the same place in the order; empty for `/*`."""
    return path.removesuffix("/*")


def _matches_of(paths: Any) -> list[Body]:
    return [
        {"prefixMatch": path.removesuffix("*")} if path.endswith("/*") else {"fullPathMatch": path}
        for path in paths
    ]


def _path_of(match: Body) -> str | None:
    """A match as the path of a path rule, if it has nothing else."""
    match match:
        case {"fullPathMatch": str(path), **others} if not others and "*" not in path:
            return path
        case {"prefixMatch": str(path), **others} if not others and path.endswith("/"):
            return f"{path}*" if "*" not in path else None
    return None


def _plain(match: Body) -> Body:
    """A match without the members that a server may add: `ignoreCase: false`."""
    found = {field: value for field, value in match.items() if value}
    if "headerMatches" in found:
        found["headerMatches"] = [
            {field: value for field, value in header.items() if value or field == "exactMatch"}
            | {"headerName": str(header.get("headerName", "")).lower()}
            for header in found["headerMatches"]
        ]
    return found
