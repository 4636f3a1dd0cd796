"""A model's route in a shared URL map: inserted, repaired and removed, and nothing else changes."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.fleet import naming
from infra.fleet.model import Action, Body
from infra.fleet.resources import url_map
from infra.fleet.resources.url_map import (
    Backend,
    Route,
    drift,
    matcher_name,
    merge_route,
    update,
)
from rollout.model import Problem

SERVER = "https://www.googleapis.com/compute/v1/projects/p/"
DEFAULT = f"{SERVER}global/backendServices/slipway-gateway-default"


def route(
    host: str = "*", path: str = "/tiny", model: str = "tiny", *, green: int | None = None
) -> Route:
    """A route to the blue group, or to both with `green` of 1000 parts to the green one."""
    blue = Backend(naming.backend_service(model, "blue"), 1000 - (green or 0))
    if green is None:
        return Route(model, host, path, (blue,))
    return Route(model, host, path, (blue, Backend(naming.backend_service(model, "green"), green)))


TINY = route()
FOREIGN: Body = {
    "name": "slipway-gateway",
    "description": "slipway gateway",
    "fingerprint": "abc",
    "defaultService": DEFAULT,
    "hostRules": [{"hosts": ["shop.example.com"], "pathMatcher": "shop"}],
    "pathMatchers": [
        {
            "name": "shop",
            "defaultService": DEFAULT,
            "pathRules": [{"paths": ["/pay/*"], "service": f"{SERVER}global/backendServices/pay"}],
        }
    ],
    "tests": [
        {
            "host": "shop.example.com",
            "path": "/pay/x",
            "service": f"{SERVER}global/backendServices/pay",
        }
    ],
}


def with_(body: Body, of: Route) -> Body:
    result = merge_route(body, of.model, of)
    assert not isinstance(result, Problem)
    return result


def without(body: Body, model: str) -> Body:
    result = merge_route(body, model, None)
    assert not isinstance(result, Problem)
    return result


HOSTS = st.sampled_from(["*", "shop.example.com", "a.example.com", "a-example-com"])
PATHS = st.sampled_from(["/", "/tiny", "/v1/tiny", "/pay2"])


@given(HOSTS, PATHS)
def test_adding_and_removing_a_route_leaves_the_map_unchanged(host: str, path: str) -> None:
    routed = with_(FOREIGN, route(host, path))
    assert without(routed, "tiny") == FOREIGN


@given(HOSTS, PATHS, HOSTS, PATHS)
def test_a_moved_route_exists_exactly_once(
    host: str, path: str, to_host: str, to_path: str
) -> None:
    moved = with_(with_(FOREIGN, route(host, path)), route(to_host, to_path))
    assert drift(route(to_host, to_path), "tiny", moved) is None
    assert without(moved, "tiny") == FOREIGN


@given(
    st.permutations(
        [route("*", "/a", "a"), route("*", "/b", "b"), route("h.example.com", "/", "c")]
    )
)
def test_models_share_a_map_in_any_order(routes: list[Route]) -> None:
    body = FOREIGN
    for each in routes:
        body = with_(body, each)
    assert all(drift(each, each.model, body) is None for each in routes)
    gone = without(body, routes[0].model)
    assert all(drift(each, each.model, gone) is None for each in routes[1:])


def test_the_path_prefix_is_removed_from_requests() -> None:
    rules = with_(FOREIGN, TINY)["pathMatchers"][1]["pathRules"]
    assert rules == [
        {
            "paths": ["/tiny", "/tiny/*"],
            "service": "global/backendServices/slipway-tiny-blue",
            "routeAction": {"urlRewrite": {"pathPrefixRewrite": "/"}},
        }
    ]


def test_a_changed_rule_is_repaired() -> None:
    routed = with_(FOREIGN, TINY)
    changed = copy.deepcopy(routed)
    changed["pathMatchers"][1]["pathRules"][0]["routeAction"] = {
        "urlRewrite": {"pathPrefixRewrite": "/v2"}
    }
    assert drift(TINY, "tiny", changed)
    assert with_(changed, TINY) == routed


def test_an_undesired_rewrite_is_drift() -> None:
    whole = route("tiny.example.com", "/")
    changed = copy.deepcopy(with_(FOREIGN, whole))
    changed["pathMatchers"][1]["pathRules"][0]["routeAction"] = {
        "urlRewrite": {"pathPrefixRewrite": "/x"}
    }
    assert drift(whole, "tiny", changed)


@pytest.mark.parametrize(
    ("of", "message"),
    [
        (route("shop.example.com", "/pay"), "goes to pay already"),
        (route("shared.example.com"), "together with other.example.com"),
        (route("rules.example.com"), "route rules"),
    ],
)
def test_a_conflict_with_a_foreign_rule_is_reported_and_not_overwritten(
    of: Route, message: str
) -> None:
    body = copy.deepcopy(FOREIGN)
    body["hostRules"] += [
        {"hosts": ["shared.example.com", "other.example.com"], "pathMatcher": "both"},
        {"hosts": ["rules.example.com"], "pathMatcher": "rules"},
    ]
    body["pathMatchers"] += [
        {"name": "both", "defaultService": DEFAULT},
        {
            "name": "rules",
            "defaultService": DEFAULT,
            "routeRules": [{"priority": 1, "service": DEFAULT}],
        },
    ]
    problem = merge_route(body, "tiny", of)
    assert isinstance(problem, Problem)
    assert problem.reason == "config"
    assert message in problem.message


def test_two_models_cannot_have_the_same_path() -> None:
    problem = merge_route(with_(FOREIGN, TINY), "other", route("*", "/tiny", "other"))
    assert isinstance(problem, Problem)
    assert "goes to slipway-tiny-blue already" in problem.message


def test_a_weighted_rule_is_owned_too() -> None:
    weighted: dict[str, Any] = {
        "paths": ["/tiny"],
        "routeAction": {
            "weightedBackendServices": [
                {
                    "backendService": f"{SERVER}global/backendServices/slipway-tiny-green",
                    "weight": 1,
                }
            ]
        },
    }
    assert url_map.owns("tiny", weighted)
    assert not url_map.owns("tin", weighted)


def test_weights_are_a_route_action_without_a_service() -> None:
    rule = with_(FOREIGN, route(green=250))["pathMatchers"][1]["pathRules"][0]
    services = "global/backendServices/slipway-tiny"
    assert rule == {
        "paths": ["/tiny", "/tiny/*"],
        "routeAction": {
            "urlRewrite": {"pathPrefixRewrite": "/"},
            "weightedBackendServices": [
                {"backendService": f"{services}-blue", "weight": 750},
                {"backendService": f"{services}-green", "weight": 250},
            ],
        },
    }


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (route(), route(green=10)),
        (route(green=10), route(green=20)),
        (route(green=10), route()),
        (route(path="/", green=10), route(path="/")),
    ],
)
def test_a_change_of_weights_is_drift_and_is_written(before: Route, after: Route) -> None:
    routed = with_(FOREIGN, before)
    assert drift(before, "tiny", routed) is None
    assert drift(after, "tiny", routed)
    assert drift(after, "tiny", with_(routed, after)) is None


def test_an_update_carries_the_fingerprint_it_is_based_on() -> None:
    theirs = with_(FOREIGN, route("*", "/other", "other")) | {"fingerprint": "new"}
    (action,) = update(theirs, "tiny", TINY)
    assert isinstance(action, Action)
    assert action.body["fingerprint"] == action.based_on == "new"
    assert drift(TINY, "tiny", action.body) is None
    assert drift(route("*", "/other", "other"), "other", action.body) is None
    assert update(action.body, "tiny", TINY) == ()


def test_a_matcher_with_a_foreign_host_is_kept() -> None:
    body = copy.deepcopy(with_(FOREIGN, TINY))
    body["hostRules"].append({"hosts": ["theirs.example.com"], "pathMatcher": matcher_name("*")})
    left = without(body, "tiny")
    assert body["hostRules"] == left["hostRules"]
    assert all(
        "pathRules" not in matcher
        for matcher in left["pathMatchers"]
        if matcher["name"] == matcher_name("*")
    )


def test_a_foreign_matcher_without_rules_is_not_removed() -> None:
    """It may serve its host by its default service alone, and `all()` of no rules is true."""
    body = copy.deepcopy(with_(FOREIGN, route("a.example.com", "/", "large")))
    emptied = next(
        matcher
        for matcher in body["pathMatchers"]
        if matcher["name"] == matcher_name("a.example.com")
    )
    del emptied["pathRules"]
    emptied["defaultService"] = f"{SERVER}global/backendServices/theirs"
    assert without(with_(body, TINY), "tiny") == body


@given(st.text("ab.-*", min_size=1, max_size=80), st.text("ab.-*", min_size=1, max_size=80))
def test_each_host_has_a_legal_and_unique_matcher_name(one: str, other: str) -> None:
    assert 1 <= len(matcher_name(one)) <= 63
    assert not matcher_name(one).endswith("-")
    assert (matcher_name(one) == matcher_name(other)) == (one == other)
