"""How full a URL map is, and whether it may have another route. Pure.

Compute Engine limits the bytes of a map, its host rules, path matchers and backend services, and in
each path matcher the rules and the match conditions: a path, or the path and each header of a
match. All models without a host of their own share one path matcher, so its match conditions end
first: two for each model.

    0 ─────────────────────── 80 % ────────── 90 % ──────────── 100 %
    routes of new models       and a warning   │ those that have a route already:
                                               │ swaps, cohorts, ways back

A model gets its first route up to `NEW_SHARE` of each limit only. The rest is for changes of
routes, and for the few models that were let in at the same moment. What makes nothing larger is
always possible. Source: load-balancing/docs/quotas, "URL maps", and load-balancing/docs/
routing-config-size-quota (global external Application Load Balancer).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import field
from fractions import Fraction

from infra.fleet import naming
from infra.fleet.model import Body
from infra.fleet.resources import path_matcher
from infra.fleet.resources.map_draft import hosts_by_matcher
from infra.fleet.resources.route import services_of
from rollout.deferred import dataclass
from rollout.model import Problem

MAX_BYTES = 1_000_000
MAX_HOST_RULES = 1000
MAX_PATH_MATCHERS = 1000
MAX_SERVICES = 2500
MAX_RULES = 1000
MAX_CONDITIONS = 1000
NEW_SHARE = Fraction(9, 10)
WARN_SHARE = Fraction(8, 10)
LONGEST_BASE = len("https://www.googleapis.com/compute/v1/projects//") + 30
"""What a server adds to a partial reference, with the longest id of a project."""


@dataclass(frozen=True)
class Amount:
    """How much of one limit a map uses. `host`: of which matcher; empty for the whole map."""

    what: str
    used: int
    limit: int
    host: str = ""

    def exceeds(self, share: Fraction) -> bool:
        return self.used > self.limit * share

    def __str__(self) -> str:
        of = f" of host {self.host}" if self.host else ""
        return f"{self.used:,} of {self.limit:,} {self.what}{of}"


Amounts = Mapping[tuple[str, str], Amount]
"""By what and by matcher, so that two maps can be compared."""


@dataclass(frozen=True)
class _Part:
    """What one matcher adds to its map, or one rule to its matcher."""

    services: frozenset[str]
    conditions: int
    rules: int = 1
    bytes: int = 0
    """Of a rule it is part of its matcher's, which is measured as a whole."""


@dataclass
class Meter:
    """Measures maps that share most of their matchers and rules: each is measured once. Bytes are
    an upper bound.
    """

    _measured: dict[int, tuple[Body, _Part]] = field(default_factory=dict)

    def copy(self) -> Meter:
        """Another one that has measured the same, and that what it measures is forgotten with."""
        return Meter({**self._measured})

    def amounts(self, body: Body) -> Amounts:
        hosts = hosts_by_matcher(body)
        matchers, host_rules = body.get("pathMatchers", []), body.get("hostRules", [])
        parts = {matcher["name"]: self._part(matcher, self._matcher) for matcher in matchers}
        services = _defaults(body).union(*(part.services for part in parts.values()))
        rest = {name: value for name, value in body.items() if name != "pathMatchers"}
        size = _bytes(rest) + sum(part.bytes for part in parts.values())
        found = {
            ("bytes", ""): Amount("bytes", size, MAX_BYTES),
            ("host rules", ""): Amount("host rules", len(host_rules), MAX_HOST_RULES),
            ("path matchers", ""): Amount("path matchers", len(matchers), MAX_PATH_MATCHERS),
            ("services", ""): Amount("backend services", len(services), MAX_SERVICES),
        }
        for name, part in parts.items():
            host = min(hosts.get(name, {name}))
            conditions = Amount("match conditions", part.conditions, MAX_CONDITIONS, host)
            found["rules", name] = Amount("rules", part.rules, MAX_RULES, host)
            found["conditions", name] = conditions
        return found

    def _part(self, body: Body, measure: Callable[[Body], _Part]) -> _Part:
        found = self._measured.get(id(body))
        if found is None:
            found = self._measured[id(body)] = (body, measure(body))
        return found[1]

    def _matcher(self, matcher: Body) -> _Part:
        rules = [self._part(rule, _rule) for rule in path_matcher.rules_of(matcher)]
        services = _defaults(matcher).union(*(rule.services for rule in rules))
        conditions = sum(rule.conditions for rule in rules)
        return _Part(frozenset(services), conditions, len(rules), _bytes(matcher))


def too_full(
    before: Amounts,
    after: Amounts,
    share: Fraction = Fraction(1),
) -> Amount | None:
    """What would grow beyond a share of its limit; None if the change is possible."""
    for place, amount in after.items():
        has_grown = place not in before or amount.used > before[place].used
        if has_grown and amount.exceeds(share):
            return amount
    return None


def overflow(before: Body, after: Body, meter: Meter) -> Amount | None:
    """What a write would make too large for Compute Engine."""
    amounts = meter.amounts(after)
    return too_full(meter.amounts(before), amounts) if too_full({}, amounts) else None


def problem(url_map: str, amount: Amount, share: Fraction = Fraction(1)) -> Problem:
    """Why a map cannot have a route, and the way out."""
    reserve = ""
    if share < 1:
        reserve = f"; a model without a route there gets one up to {int(amount.limit * share):,}"
    return Problem(
        "quota",
        "GATEWAY_FULL",
        f"gateway {url_map} is full: its URL map would have {amount}{reserve}; set traffic.gateway"
        f" to another gateway{', or traffic.host to another host,' if amount.host else ''} or"
        " retire models",
    )


def fullest(amounts: Iterable[Amount]) -> Amount:
    return max(amounts, key=lambda each: Fraction(each.used, each.limit))


# ---- Parts


def _rule(rule: Body) -> _Part:
    return _Part(frozenset(_services_of(rule)), _conditions_of(rule))


def _services_of(rule: Body) -> Iterator[str]:
    mirror = (rule.get("routeAction") or {}).get("requestMirrorPolicy") or {}
    for each in (*services_of(rule), mirror.get("backendService")):
        if each:
            yield naming.canonical(each)


def _conditions_of(rule: Body) -> int:
    matches = (
        1 + len(match.get("headerMatches", ())) + len(match.get("queryParameterMatches", ()))
        for match in rule.get("matchRules", ())
    )
    return len(rule.get("paths", ())) + sum(matches)


def _defaults(node: Body) -> set[str]:
    """The backend services that a map or a matcher names as its default."""
    weighted = (node.get("defaultRouteAction") or {}).get("weightedBackendServices") or []
    named = [node.get("defaultService"), *(each.get("backendService") for each in weighted)]
    return {naming.canonical(each) for each in named if each}


def _bytes(body: Body) -> int:
    text = json.dumps(body)
    return len(text) + 2 + text.count('"global/') * LONGEST_BASE
