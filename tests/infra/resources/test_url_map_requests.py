"""No request of another model, and none of others, changes its way when a model's route is written,
whatever is in the map. The emulator's data plane decides where a request goes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import requests
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from compute_emulator import Emulator, apply_rewrite
from compute_emulator import route as resolve
from infra.fleet import naming
from infra.fleet.model import Body
from infra.fleet.resources import path_matcher
from infra.fleet.resources.route import Backend, CohortRoute, Route, models_of
from infra.fleet.resources.url_map import drift, merge_route
from rollout.model import Colour, Problem

MODELS = ("one", "two", "three")
HOSTS = ("*", "*", "b.example.com")
PREVIEWS = ("preview.example.com", "b.example.com")
PATHS = ("/", "/a", "/a/b", "/a-b", "/b")
CANARY, VIP = ("X-Canary", "1"), ("x-user", "vip")
THEIRS = "global/backendServices/theirs"
DEFAULT = naming.reference(naming.GATEWAY_DEFAULT)
EMPTY: Body = {
    "name": naming.GATEWAY.name,
    "description": naming.GATEWAY_DESCRIPTION,
    "defaultService": DEFAULT,
}
REQUESTS = [
    (host, path, headers)
    for host in (*HOSTS[2:], "preview.example.com", "shop.example.com", "any.example.com")
    for path in ("/", "/a", "/a/", "/a/x", "/ab", "/a/b", "/a/b/x", "/a/bx", "/a-b", "/a-b/x", "/b")
    for headers in ({}, {"x-canary": "1"}, {"x-canary": "11"}, {"x-user": "vip"})
]


# ---- What happens to a map


def service(model: str, colour: Colour) -> Backend:
    return Backend(naming.backend_service(model, colour), 1000)


@st.composite
def routes(draw: st.DrawFn, model: str) -> Route:
    weight = draw(st.sampled_from([0, 1, 500, 1000]))
    blue, green = (naming.backend_service(model, each) for each in naming.COLOURS)
    split = (Backend(blue, 1000 - weight), Backend(green, weight))
    cohort = st.builds(
        CohortRoute,
        st.just(green),
        st.sampled_from([CANARY, VIP]),
        st.sampled_from(["", "", *PREVIEWS]),
    )
    return Route(
        model,
        draw(st.sampled_from(HOSTS)),
        draw(st.sampled_from(PATHS)),
        draw(st.sampled_from([split[:1], split])),
        tuple(draw(st.lists(cohort, max_size=2))),
        draw(st.none() | st.just(Backend(green, 25))),
    )


@dataclass(frozen=True)
class Write:
    """The model's route, or none, is written."""

    model: str
    route: Route | None


@dataclass(frozen=True)
class Edit:
    """Somebody else edits the map; `where` picks what."""

    edit: Callable[[Body, int], None]
    where: int


def add_host(body: Body, where: int) -> None:
    """Beside the host of any rule."""
    rules = body.get("hostRules", [])
    if rules and "shop.example.com" not in str(rules):
        rules[where % len(rules)]["hosts"].append("shop.example.com")


def add_matcher(body: Body, where: int) -> None:
    """For a host that has none, with rules of either form."""
    host = ("shop.example.com", "b.example.com")[where % 2]
    if host in str(body.get("hostRules")):
        return
    rules = (
        {"pathRules": [{"paths": ["/a/*"], "service": THEIRS}]},
        {"routeRules": [{"priority": 5, "matchRules": [{"prefixMatch": "/a"}], "service": THEIRS}]},
    )
    matcher = {"name": f"for-{host[:4].strip('.')}", "defaultService": THEIRS} | rules[
        where // 2 % 2
    ]
    body.setdefault("hostRules", []).append({"hosts": [host], "pathMatcher": matcher["name"]})
    body.setdefault("pathMatchers", []).append(matcher)


def add_rule(body: Body, where: int) -> None:
    """To any matcher, in its form."""
    for matcher in body.get("pathMatchers", [])[where % 2 :][:1]:
        if present := matcher.get("routeRules"):
            priority, match = ROUTE_RULES[where % len(ROUTE_RULES)]
            if priority not in [rule["priority"] for rule in present]:
                present.append({"priority": priority, "matchRules": [match], "service": THEIRS})
                present.sort(key=lambda rule: rule["priority"])
        else:
            present = matcher.setdefault("pathRules", [])
            path = PATH_RULES[where % len(PATH_RULES)]
            if path not in [each for rule in present for each in rule["paths"]]:
                present.append({"paths": [path], "service": THEIRS})


def change_rule(body: Body, where: int) -> None:
    """Any rule, so that it is another's, or does or matches something else."""
    changes: list[Body] = [
        {"service": THEIRS, "routeAction": {}},
        {"routeAction": {"timeout": {"seconds": "5"}}},
        {"matchRules": [{"prefixMatch": "/a/b"}]},
        {"matchRules": [{"prefixMatch": "/a"}]},
    ]
    change = changes[where % len(changes)]
    for rule in rules_of(body)[where % 3 :][:1]:
        if set(change) <= {*rule, "routeAction"} and "weighted" not in str(rule):
            rule |= change


def delete_rule(body: Body, where: int) -> None:
    for matcher in body.get("pathMatchers", []):
        rules = matcher.get("routeRules") or matcher.get("pathRules") or []
        if len(rules) > 1:
            del rules[where % len(rules)]
            return


def change_matcher(body: Body, where: int) -> None:
    changes: list[Body] = [
        {"headerAction": {"requestHeadersToRemove": ["x-secret"]}},
        {"defaultService": THEIRS},
    ]
    for matcher in body.get("pathMatchers", [])[where % 2 :][:1]:
        matcher |= changes[where // 2 % 2]


def add_test(body: Body, where: int) -> None:
    host, path, _ = REQUESTS[where * 4]
    body["tests"] = [{"host": host, "path": path, "service": THEIRS}]


def rules_of(body: Body) -> list[Body]:
    matchers = body.get("pathMatchers", [])
    return [rule for each in matchers for rule in path_matcher.rules_of(each)]


PATH_RULES = ("/pay", "/a", "/a/x", "/a/b/*", "/a-b/*", "/*")
ROUTE_RULES: tuple[tuple[int, Body], ...] = (
    (0, {"prefixMatch": "/a"}),
    (10_205_000, {"fullPathMatch": "/a/x"}),
    (10_235_000, {"prefixMatch": "/a"}),
    (2**31 - 1, {"prefixMatch": "/", "headerMatches": [{"headerName": "b", "exactMatch": "c"}]}),
)

WRITES = st.sampled_from(MODELS).flatmap(
    lambda model: st.builds(
        Write,
        st.just(model),
        st.sampled_from([st.none(), *[routes(model)] * 4]).flatmap(lambda each: each),
    )
)
EDITS = st.builds(
    Edit,
    st.sampled_from(
        [
            add_host,
            add_matcher,
            add_rule,
            add_rule,
            change_rule,
            delete_rule,
            change_matcher,
            add_test,
        ]
    ),
    st.integers(0, 11),
)
STEPS = st.sampled_from([WRITES, WRITES, EDITS]).flatmap(lambda each: each)


# ---- Where requests go


@dataclass(frozen=True)
class Way:
    """Where a request goes, and as what it arrives: each service's part, and the mirror."""

    parts: dict[str, float]
    mirror: dict[str, Any] = field(default_factory=dict)
    arrives: str = ""
    headers: tuple[Body, ...] = ()
    specificity: int = field(default=0, compare=False)

    @property
    def models(self) -> set[str]:
        return {model for each in self.parts for model in models_of({"service": each})}


def ways(body: Body) -> list[Way]:
    return [way(body, *each) for each in REQUESTS]


def way(body: Body, host: str, path: str, headers: dict[str, str]) -> Way:
    found = resolve(body, host, path, headers)
    total = sum(weight for _, weight in found.weights)
    return Way(
        {service: weight / total for service, weight in found.weights},
        found.action.get("requestMirrorPolicy") or {},
        apply_rewrite(found, path, host)[0],
        found.header_actions,
        len(found.matched.rstrip("/")),
    )


def hosts_with(body: Body, host: str) -> tuple[str, ...]:
    """All hosts of the rule that serves this host."""
    rules = {
        each: tuple(rule["hosts"]) for rule in body.get("hostRules", []) for each in rule["hosts"]
    }
    return rules.get(host) or rules.get("*") or ()


def is_below(path: str, base: str) -> bool:
    return base == "/" or path == base or path.startswith(f"{base}/")


def desired_way(
    route: Route, hosts: tuple[str, ...], path: str, headers: dict[str, str]
) -> Way | None:
    """What the route says about a request for the hosts of a rule; None if nothing."""
    base = route.path if is_below(path, route.path) and route.path != "/" else ""
    arrives = path[len(base) :] or "/"
    for cohort in route.cohorts:
        name, value = cohort.header
        in_cohort = is_below(path, route.path) and headers.get(name.lower()) == value
        if cohort.host in hosts or (route.host in hosts and in_cohort):
            return Way({naming.reference(cohort.service): 1.0}, arrives=arrives)
    if route.host not in hosts or not is_below(path, route.path):
        return None
    total = sum(each.weight for each in route.backends) if len(route.backends) > 1 else 1000
    parts = {naming.reference(each.service): each.weight / total for each in route.backends}
    if len(parts) == 1:
        parts = dict.fromkeys(parts, 1.0)
    mirror: dict[str, Any] = {}
    if route.mirror:
        mirror = {"backendService": naming.reference(route.mirror.service), "mirrorPercent": 2.5}
    return Way(parts, mirror, arrives)


# ---- What must hold


def check_foreign(before: Body, after: Body) -> None:
    """Everything of others is as it was: members, hosts, matchers, rules and their order."""
    assert foreign(before) == foreign(after)


def foreign(body: Body) -> Body:
    """The map without what Slipway writes."""
    rest = {key: value for key, value in body.items() if key not in ("hostRules", "pathMatchers")}
    matchers = {}
    for matcher in body.get("pathMatchers", []):
        kept = {key: value for key, value in matcher.items() if not key.endswith("Rules")}
        rules = [
            rule
            for rule in (matcher.get("pathRules") or matcher.get("routeRules") or [])
            if not models_of(rule)
        ]
        is_plain = kept == {
            "name": matcher["name"],
            "description": "slipway gateway routes",
            "defaultService": body["defaultService"],
        }
        if rules or not is_plain:
            matchers[matcher["name"]] = (kept, rules)
    hosts = {
        rule["pathMatcher"]: rule["hosts"]
        for rule in body.get("hostRules", [])
        if rule["pathMatcher"] in matchers or len(rule["hosts"]) > 1
    }
    return {"rest": rest, "matchers": matchers, "hosts": hosts}


def check_requests(
    before: Body, after: Body, model: str, route: Route | None, drifted: set[str]
) -> None:
    """`drifted`: models whose rules others have changed, so that they may be out of order."""
    for request, was, now in zip(REQUESTS, ways(before), ways(after), strict=True):
        hosts = hosts_with(after, request[0])
        desired = desired_way(route, hosts, *request[1:]) if route else None
        is_same_host = hosts == hosts_with(before, request[0])
        if model in now.models:
            assert desired == Way(now.parts, now.mirror, now.arrives), request
            if model not in was.models and is_same_host:
                assert route, request
                assert len(hosts) == 1, request
                assert was.specificity < len(route.path) or was.models & drifted, request
        elif is_same_host:
            assert was.models == {model} or now == was, request
            # Only a longer path of others takes a request that was the model's, and should be.
            if route and desired and was.models == {model} and not now.models & drifted:
                assert now.specificity > len(route.path.rstrip("/")), request


@dataclass
class Map:
    """A map, and the routes that were written into it."""

    body: Body = field(default_factory=lambda: copy.deepcopy(EMPTY))
    written: dict[str, Route] = field(default_factory=dict)

    def do(self, step: Write | Edit) -> None:
        if isinstance(step, Edit):
            self.body = copy.deepcopy(self.body)
            step.edit(self.body, step.where)
        else:
            self._write(step.model, step.route)

    def _write(self, model: str, route: Route | None) -> None:
        before = self.body
        intact = [
            other
            for other in self.written.values()
            if other.model != model and drift(other, other.model, before) is None
        ]
        after = merge_route(before, model, route)
        if isinstance(after, Problem):
            assert route is not None
            assert drift(route, model, before) is not None
            return
        assert drift(route, model, after) is None
        assert merge_route(after, model, route) == after
        assert [drift(other, other.model, after) for other in intact] == [None] * len(intact)
        check_foreign(before, after)
        drifted = set(MODELS) - {model} - {other.model for other in intact}
        check_requests(before, after, model, route, drifted)
        assert faults(after) == []
        self.body = after
        self.written.pop(model, None)
        if route:
            self.written[model] = route


@cache
def _session() -> requests.Session:
    """The emulator, with all backend services that a map of these tests may name."""
    session = requests.Session()
    session.mount("https://", Emulator("p").adapter())
    names = [naming.backend_service(model, colour) for model in MODELS for colour in naming.COLOURS]
    for name in (*(key.name for key in names), naming.GATEWAY_DEFAULT.name, "theirs"):
        body = {"name": name, "loadBalancingScheme": "EXTERNAL_MANAGED", "protocol": "HTTP"}
        session.post(f"{URL}/backendServices", json=body).raise_for_status()
    return session


URL = "https://compute.googleapis.com/compute/v1/projects/p/global"


def faults(body: Body) -> list[str]:
    """What Compute Engine refuses about the map, besides tests that expect something else of the
    model's requests.
    """
    answer = _session().post(f"{URL}/urlMaps/{body['name']}/validate", json={"resource": body})
    return list(answer.json()["result"].get("loadErrors", []))


@settings(max_examples=80, deadline=None, phases=set(Phase) - {Phase.explain})
@given(st.tuples(*map(routes, MODELS)), st.lists(EDITS, max_size=3), st.lists(STEPS, max_size=5))
def test_no_other_request_changes_its_way(
    routed: tuple[Route, ...], edits: list[Edit], steps: list[Write | Edit]
) -> None:
    found = Map()
    for step in (*(Write(each.model, each) for each in routed), *edits, *steps):
        found.do(step)
