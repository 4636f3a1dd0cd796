"""A model's route in a shared URL map: inserted, repaired and removed, and nothing else changes."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.fleet import naming
from infra.fleet.model import Action, Body
from infra.fleet.resources import path_matcher, url_map
from infra.fleet.resources.path_matcher import name_for
from infra.fleet.resources.url_map import (
    Backend,
    CohortRoute,
    Route,
    drift,
    merge_route,
    update,
    weights,
)
from rollout.model import Problem, TrafficTarget, TrafficWeight
from tests.rollout.build import release

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
    body["hostRules"].append({"hosts": ["theirs.example.com"], "pathMatcher": name_for("*")})
    left = without(body, "tiny")
    assert body["hostRules"] == left["hostRules"]
    assert all(
        "pathRules" not in matcher
        for matcher in left["pathMatchers"]
        if matcher["name"] == name_for("*")
    )


def test_a_foreign_matcher_without_rules_is_not_removed() -> None:
    """It may serve its host by its default service alone, and `all()` of no rules is true."""
    body = copy.deepcopy(with_(FOREIGN, route("a.example.com", "/", "large")))
    emptied = next(
        matcher for matcher in body["pathMatchers"] if matcher["name"] == name_for("a.example.com")
    )
    del emptied["pathRules"]
    emptied["defaultService"] = f"{SERVER}global/backendServices/theirs"
    assert without(with_(body, TINY), "tiny") == body


@given(st.text("ab.-*", min_size=1, max_size=80), st.text("ab.-*", min_size=1, max_size=80))
def test_each_host_has_a_legal_and_unique_name_for(one: str, other: str) -> None:
    assert 1 <= len(name_for(one)) <= 63
    assert not name_for(one).endswith("-")
    assert (name_for(one) == name_for(other)) == (one == other)


# ---- Cohorts and mirrors

GREEN = naming.backend_service("tiny", "green")
HEADER = ("x-canary", "1")
COHORT = CohortRoute(GREEN, HEADER)
PREVIEW = CohortRoute(GREEN, HEADER, "preview.example.com")


def matcher(body: Body, host: str) -> Body:
    return next(each for each in body["pathMatchers"] if each["name"] == name_for(host))


def foreign_rule(**fields: Any) -> Body:
    return {"service": f"{SERVER}global/backendServices/pay", **fields}


def test_a_cohort_is_a_route_rule_before_that_of_all_other_requests() -> None:
    rewrite = {"urlRewrite": {"pathPrefixRewrite": "/"}}
    headers = [{"headerName": "x-canary", "exactMatch": "1"}]
    cohort, others = matcher(with_(FOREIGN, replace(TINY, cohorts=(COHORT,))), "*")["routeRules"]
    assert cohort["priority"] < others["priority"]
    assert cohort == {
        "priority": cohort["priority"],
        "matchRules": [
            {"fullPathMatch": "/tiny", "headerMatches": headers},
            {"prefixMatch": "/tiny/", "headerMatches": headers},
        ],
        "service": "global/backendServices/slipway-tiny-green",
        "routeAction": rewrite,
    }
    assert others == {
        "priority": others["priority"],
        "matchRules": [{"fullPathMatch": "/tiny"}, {"prefixMatch": "/tiny/"}],
        "service": "global/backendServices/slipway-tiny-blue",
        "routeAction": rewrite,
    }


def test_a_mirror_is_part_of_the_route_action() -> None:
    mirrored = replace(TINY, mirror=Backend(GREEN, 25))
    (rule,) = matcher(with_(FOREIGN, mirrored), "*")["pathRules"]
    assert rule["service"] == "global/backendServices/slipway-tiny-blue"
    assert rule["routeAction"]["requestMirrorPolicy"] == {
        "backendService": "global/backendServices/slipway-tiny-green",
        "mirrorPercent": 2.5,
    }


@pytest.mark.parametrize("mirror", [None, Backend(GREEN, 20)])
def test_an_undesired_mirror_is_drift(mirror: Backend | None) -> None:
    body = with_(FOREIGN, replace(TINY, mirror=Backend(GREEN, 10)))
    assert drift(replace(TINY, mirror=mirror), "tiny", body)


def test_the_form_of_a_matcher_and_its_priorities_are_no_drift_of_its_other_models() -> None:
    others = [route("*", "/tiny/sub", "sub"), route("*", "/tin2", "same-length")]
    body = with_(with_(FOREIGN, others[0]), others[1])
    for target in (
        TINY,
        replace(TINY, cohorts=(COHORT,)),
        replace(TINY, cohorts=(PREVIEW,)),
        route(green=20),
    ):
        body = with_(body, target)
        assert drift(target, "tiny", body) is None
        assert [drift(each, each.model, body) for each in others] == [None, None]
    assert "routeRules" not in str(body)


def test_a_rule_with_a_priority_of_another_path_is_repaired() -> None:
    sub = route("*", "/tiny/sub", "sub")
    body = with_(with_(FOREIGN, sub), replace(TINY, cohorts=(COHORT,)))
    rules = matcher(body, "*")["routeRules"]
    rules[0]["priority"] = rules[-1]["priority"] + 1
    rules.append(rules.pop(0))
    assert drift(sub, "sub", body)
    assert drift(replace(TINY, cohorts=(COHORT,)), "tiny", body) is None
    assert with_(body, sub) == with_(with_(FOREIGN, replace(TINY, cohorts=(COHORT,))), sub)


@pytest.mark.parametrize(
    ("of", "path_rules", "message"),
    [
        (
            replace(TINY, cohorts=(COHORT,)),
            [foreign_rule(paths=["/pay"])],
            "the path rules of path matcher slipway-any (like /pay to pay)",
        ),
        (
            replace(TINY, cohorts=(replace(PREVIEW, host="shop.example.com"),)),
            [],
            "path matcher shop serves host shop.example.com already",
        ),
        (
            replace(
                TINY, host="api.example.com", cohorts=(replace(PREVIEW, host="api.example.com"),)
            ),
            [],
            "api.example.com is the model's host",
        ),
    ],
)
def test_a_cohort_beside_rules_of_others_is_refused_and_nothing_is_written(
    of: Route, path_rules: list[Body], message: str
) -> None:
    body = copy.deepcopy(with_(FOREIGN, TINY))
    matcher(body, "*")["pathRules"] += path_rules
    problem = merge_route(body, "tiny", of)
    assert isinstance(problem, Problem)
    assert message in problem.message


def test_a_preview_host_of_somebodys_wildcard_is_refused() -> None:
    body = copy.deepcopy(FOREIGN)
    body["hostRules"][0]["hosts"].append("*.example.com")
    assert not isinstance(merge_route(body, "tiny", replace(TINY, cohorts=(COHORT,))), Problem)
    problem = merge_route(body, "tiny", replace(TINY, cohorts=(PREVIEW,)))
    assert isinstance(problem, Problem)
    assert "host rule *.example.com serves host preview.example.com already" in problem.message


def test_two_models_cannot_have_the_same_preview_host() -> None:
    other = route("*", "/other", "other")
    preview = replace(PREVIEW, service=naming.backend_service("other", "green"))
    body = with_(FOREIGN, replace(TINY, cohorts=(PREVIEW,)))
    problem = merge_route(body, "other", replace(other, cohorts=(preview,)))
    assert isinstance(problem, Problem)
    assert "preview.example.com already" in problem.message


def test_a_model_goes_back_whatever_others_added_beside_its_cohort() -> None:
    """Weights change and cohorts end where they are; only new rules are refused."""
    routed = replace(route(green=100), cohorts=(COHORT,))
    body = copy.deepcopy(with_(FOREIGN, routed))
    theirs = foreign_rule(priority=7, matchRules=[{"prefixMatch": "/tiny/pay"}])
    matcher(body, "*")["routeRules"].insert(0, theirs)
    body["hostRules"].append({"hosts": ["theirs.example.com"], "pathMatcher": name_for("*")})
    assert drift(routed, "tiny", body) is None
    back = with_(body, route(green=0))
    assert drift(route(green=0), "tiny", back) is None
    rules = matcher(back, "*")["routeRules"]
    assert rules[0] == theirs
    assert [rule["priority"] for rule in rules[1:]] == [
        rule["priority"] for rule in matcher(body, "*")["routeRules"][2:]
    ]
    problem = merge_route(back, "tiny", routed)
    assert isinstance(problem, Problem)
    assert "serves host * together with theirs.example.com" in problem.message


def test_a_matcher_that_others_have_changed_stays_when_its_last_rule_goes() -> None:
    preview = replace(TINY, cohorts=(PREVIEW,))
    body = copy.deepcopy(with_(FOREIGN, preview))
    theirs = {"requestHeadersToRemove": ["x-secret"]}
    matcher(body, "preview.example.com")["headerAction"] = theirs
    left = without(body, "tiny")
    assert matcher(left, "preview.example.com")["headerAction"] == theirs
    assert {"hosts": ["preview.example.com"], "pathMatcher": name_for(PREVIEW.host)} in left[
        "hostRules"
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"matchRules": [{"prefixMatch": "/tiny/sub"}]},
        {"priority": 1},
        {"headerAction": {"requestHeadersToRemove": ["x-secret"]}},
        {"service": f"{SERVER}global/backendServices/pay"},
    ],
)
def test_route_rules_that_no_path_rule_equals_stay_route_rules(change: Body) -> None:
    """The last cohort ends, and another's rule has been changed."""
    body = copy.deepcopy(with_(FOREIGN, route("*", "/tiny/sub", "sub")))
    body = copy.deepcopy(with_(body, replace(TINY, cohorts=(COHORT,))))
    changed = matcher(body, "*")["routeRules"][0]
    changed |= change
    left = with_(body, TINY)
    assert drift(TINY, "tiny", left) is None
    assert matcher(left, "*")["routeRules"][0] == changed


def test_the_weights_of_a_model_are_read_from_its_own_rule() -> None:
    blue, green = (naming.backend_service("tiny", colour) for colour in naming.COLOURS)
    cohort = CohortRoute(green, ("x-canary", "1"), "next.example.com")
    split = Route("tiny", "*", "/tiny", (Backend(blue, 950), Backend(green, 50)), (cohort,))
    other = route(path="/other", model="other")
    both = with_(with_(FOREIGN, split), other)
    assert weights("tiny", both) == (TrafficWeight("blue", 950), TrafficWeight("green", 50))
    assert weights("other", both) == (TrafficWeight("blue", 1000),)
    assert weights("none", both) == ()


def test_a_candidate_that_becomes_stable_leaves_the_map_as_it_is() -> None:
    old, new = TrafficWeight("blue", 0), TrafficWeight("green", 1000)
    baking, steady = (
        url_map.desired("tiny", TrafficTarget(release("2"), weights))
        for weights in ((old, new), (new, old))
    )
    assert drift(steady, "tiny", with_(FOREIGN, baking)) is None


# ---- A rule of the model that somebody has pointed at a service of others


def repointed(of: Route, *, redirect: bool = False) -> Body:
    body = copy.deepcopy(with_(FOREIGN, of))
    matcher = next(each for each in body["pathMatchers"] if each["name"] == name_for(of.host))
    for rule in path_matcher.rules_of(matcher):
        rule.pop("routeAction", None)
        rule.pop("service", None)
        rule |= {"urlRedirect": {"hostRedirect": "x"}} if redirect else {"service": PAY}
    return body


PAY = f"{SERVER}global/backendServices/pay"
CLAIMED = replace(route("h.example.com", green=50), is_claimed=True)
WITH_COHORT = replace(
    CLAIMED, cohorts=(CohortRoute(naming.backend_service("tiny", "green"), ("x-canary", "1")),)
)


@pytest.mark.parametrize("of", [CLAIMED, replace(TINY, is_claimed=True)])
@pytest.mark.parametrize("redirect", [False, True])
def test_a_rule_that_others_have_pointed_elsewhere_is_restored(of: Route, redirect: bool) -> None:
    body = repointed(of, redirect=redirect)
    assert drift(of, "tiny", body)
    assert with_(body, of) == with_(FOREIGN, of)


def test_a_part_of_a_rule_that_others_have_taken_is_restored() -> None:
    body = copy.deepcopy(with_(FOREIGN, CLAIMED))
    rules = body["pathMatchers"][1]["pathRules"]
    rules[0]["paths"] = ["/tiny"]
    rules.append({"paths": ["/tiny/*"], "service": PAY})
    assert with_(body, CLAIMED) == with_(FOREIGN, CLAIMED)


@pytest.mark.parametrize("of", [CLAIMED, WITH_COHORT], ids=["way back", "forward"])
def test_a_route_rule_that_others_have_pointed_elsewhere_is_restored(of: Route) -> None:
    body = copy.deepcopy(with_(FOREIGN, WITH_COHORT))
    rule = body["pathMatchers"][1]["routeRules"][-1]
    del rule["routeAction"]
    rule["service"] = PAY
    assert with_(body, of) == with_(FOREIGN, of)


def test_a_rule_that_was_there_before_the_model_is_not_overwritten() -> None:
    own = replace(CLAIMED, is_claimed=False)
    problem = merge_route(repointed(CLAIMED), "tiny", own)
    assert isinstance(problem, Problem)
    other = with_(FOREIGN, route("h.example.com", "/other", "other"))
    wider = copy.deepcopy(other)
    rule = {"paths": ["/tiny/*", "/pay/*"], "service": PAY}
    wider["pathMatchers"][1]["pathRules"].append(rule)
    assert isinstance(merge_route(wider, "tiny", CLAIMED), Problem)
    in_their_matcher = replace(CLAIMED, host="shop.example.com", path="/pay")
    theirs = copy.deepcopy(FOREIGN)
    theirs["pathMatchers"][0]["pathRules"][0]["paths"] = ["/pay", "/pay/*"]
    assert isinstance(merge_route(theirs, "tiny", in_their_matcher), Problem)
    taken = with_(FOREIGN, route("h.example.com", "/tiny", "other"))
    assert isinstance(merge_route(taken, "tiny", CLAIMED), Problem)
