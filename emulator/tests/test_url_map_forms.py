"""Every form of match and action that the discovery document describes for URL maps is applied, or
refused when it is written or by the data plane. Nothing is stored and then ignored.

`test_every_form_is_applied_or_refused` walks the document: a member that a new revision adds fails
it until it has an entry here.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.api_core.exceptions import BadRequest
from google.cloud import compute_v1

from compute_emulator.api import url_map_features
from compute_emulator.api.discovery import document
from compute_emulator.errors import Invalid
from compute_emulator.traffic import cors, unsupported
from compute_emulator.traffic.headers import REDIRECTS, redirect_response
from compute_emulator.traffic.http import Request
from compute_emulator.traffic.instance_choice import should_retry
from compute_emulator.traffic.routing import apply_rewrite, route
from emulator.tests.clients import PROJECT, control
from emulator.tests.load_balancer import SERVICES, LoadBalancer
from emulator.tests.test_data_plane import matcher
from emulator.tests.test_route_actions import act

DESCRIPTIVE = {
    "UrlMap": {
        *("creationTimestamp", "description", "fingerprint", "id", "kind", "name", "region"),
        *("selfLink", "status"),
    },
    "HostRule": {"description"},
    "PathMatcher": {"description"},
    "HttpRouteRule": {"description"},
    "UrlMapTest": {"description"},
}
"""Members without an effect on requests."""
APPLIED = {
    "Duration": {"nanos", "seconds"},
    "UrlMap": {
        *("defaultRouteAction", "defaultService", "defaultUrlRedirect", "headerAction"),
        *("hostRules", "pathMatchers", "tests"),
    },
    "HostRule": {"hosts", "pathMatcher"},
    "PathMatcher": {
        *("defaultRouteAction", "defaultService", "defaultUrlRedirect", "headerAction", "name"),
        *("pathRules", "routeRules"),
    },
    "PathRule": {"paths", "routeAction", "service", "urlRedirect"},
    "HttpRouteRule": {
        *("headerAction", "matchRules", "priority", "routeAction", "service", "urlRedirect")
    },
    "HttpRouteRuleMatch": {
        *("fullPathMatch", "headerMatches", "ignoreCase", "pathTemplateMatch", "prefixMatch"),
        *("queryParameterMatches", "regexMatch"),
    },
    "HttpHeaderMatch": {
        *("exactMatch", "headerName", "invertMatch", "prefixMatch", "presentMatch", "rangeMatch"),
        *("regexMatch", "suffixMatch"),
    },
    "Int64RangeMatch": {"rangeEnd", "rangeStart"},
    "HttpQueryParameterMatch": {"exactMatch", "name", "presentMatch", "regexMatch"},
    "HttpRouteAction": {
        *("corsPolicy", "faultInjectionPolicy", "requestMirrorPolicy", "retryPolicy", "timeout"),
        *("urlRewrite", "weightedBackendServices"),
    },
    "CorsPolicy": {
        *("allowCredentials", "allowHeaders", "allowMethods", "allowOriginRegexes"),
        *("allowOrigins", "disabled", "exposeHeaders", "maxAge"),
    },
    "HttpFaultInjection": {"abort", "delay"},
    "HttpFaultAbort": {"httpStatus", "percentage"},
    "HttpFaultDelay": {"fixedDelay", "percentage"},
    "RequestMirrorPolicy": {"backendService", "mirrorPercent"},
    "HttpRetryPolicy": {"numRetries", "perTryTimeout", "retryConditions"},
    "UrlRewrite": {"hostRewrite", "pathPrefixRewrite", "pathTemplateRewrite", "regexRewrite"},
    "RegexRewrite": {"pathPattern", "pathSubstitution"},
    "WeightedBackendService": {"backendService", "headerAction", "weight"},
    "HttpHeaderAction": {
        *("requestHeadersToAdd", "requestHeadersToRemove"),
        *("responseHeadersToAdd", "responseHeadersToRemove"),
    },
    "HttpHeaderOption": {"headerName", "headerValue", "replace"},
    "HttpRedirectAction": {
        *("hostRedirect", "httpsRedirect", "pathRedirect", "prefixRedirect"),
        *("redirectResponseCode", "stripQuery"),
    },
    "UrlMapTest": {
        *("expectedOutputUrl", "expectedRedirectResponseCode", "headers", "host", "path"),
        "service",
    },
    "UrlMapTestHeader": {"name", "value"},
}
REFUSED = {"HttpRouteRuleMatch": {"metadataFilters"}, "HttpRouteAction": {"maxStreamDuration"}}
"""When they are written."""
UNSUPPORTED = {
    "UrlMap": {"defaultCustomErrorResponsePolicy"},
    "PathMatcher": {"defaultCustomErrorResponsePolicy"},
    "PathRule": {"customErrorResponsePolicy"},
    "HttpRouteRule": {"customErrorResponsePolicy"},
    "HttpRouteAction": set(unsupported.ROUTE_ACTION),
}
"""By the data plane."""
SOURCES = {"traffic", "api"}


def members(schema: str = "UrlMap", seen: set[str] | None = None) -> Iterator[tuple[str, str]]:
    """Each (schema, member) below a URL map, without what is below refused members."""
    seen = {schema} if seen is None else seen
    for name, each in document()["schemas"][schema]["properties"].items():
        yield schema, name
        inner = each.get("$ref") or each.get("items", {}).get("$ref")
        is_open = not any(
            name in table.get(schema, ()) for table in (REFUSED, UNSUPPORTED, DESCRIPTIVE)
        )
        if inner and is_open and inner not in seen:
            seen.add(inner)
            yield from members(inner, seen)


def test_every_form_is_applied_or_refused() -> None:
    found: dict[str, set[str]] = {}
    for schema, name in members():
        found.setdefault(schema, set()).add(name)
    listed = {
        schema: set().union(
            *(table.get(schema, set()) for table in (APPLIED, REFUSED, UNSUPPORTED, DESCRIPTIVE))
        )
        for schema in APPLIED
    }
    assert found == listed


def test_the_code_of_the_data_plane_names_every_applied_member() -> None:
    root = Path(url_map_features.__file__).parents[1]
    words = {
        node.value
        for folder in SOURCES
        for file in (root / folder).rglob("*.py")
        if file.name != "url_map_features.py"
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert {name for names in APPLIED.values() for name in names} <= words


@pytest.mark.parametrize(
    ("member", "value"), [("maxStreamDuration", {"seconds": "1"}), ("metadataFilters", [{"x": 1}])]
)
def test_a_form_of_the_mesh_is_refused(member: str, value: Any) -> None:
    rule = {"matchRules": [{member: value}], "routeAction": {member: value}}
    url_map = {"pathMatchers": [{"routeRules": [rule]}]}
    with pytest.raises(Invalid, match=rf"resource\..*{member}"):
        url_map_features.check(url_map, is_mesh=False)
    url_map_features.check(url_map, is_mesh=True)


@pytest.mark.parametrize("member", unsupported.ROUTE_ACTION)
def test_the_data_plane_refuses_an_action_that_it_does_not_support(member: str) -> None:
    assert member in unsupported.in_action({member: {"x": 1}})
    assert not unsupported.in_action({"timeout": {"seconds": "1"}})


@pytest.mark.parametrize(
    "action",
    [
        {"retryPolicy": {"retryConditions": ["5xx", "sometimes"]}},
        {"faultInjectionPolicy": {"abort": {"httpStatus": 99, "percentage": 1}}},
        {"faultInjectionPolicy": {"delay": {"percentage": 101}}},
        {"requestMirrorPolicy": {"mirrorPercent": -1}},
        {"corsPolicy": {"allowOriginRegexes": ["("]}},
        {"urlRewrite": {"regexRewrite": {"pathPattern": "[", "pathSubstitution": ""}}},
        {"urlRewrite": {"pathPrefixRewrite": "/a", "pathTemplateRewrite": "/b"}},
    ],
)
def test_an_invalid_action_is_refused(action: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        url_map_features.check({"defaultRouteAction": action}, is_mesh=False)


@pytest.mark.parametrize(
    "match",
    [
        {"regexMatch": "("},
        {"prefixMatch": "/", "fullPathMatch": "/a"},
        {"headerMatches": [{"headerName": "a", "exactMatch": "1", "prefixMatch": "1"}]},
        {"queryParameterMatches": [{"name": "a", "exactMatch": "1", "regexMatch": "1"}]},
    ],
)
def test_an_invalid_match_is_refused(match: dict[str, Any]) -> None:
    rules = [{"priority": 1, "matchRules": [match]}]
    with pytest.raises(Invalid):
        url_map_features.check({"pathMatchers": [{"routeRules": rules}]}, is_mesh=False)


def test_the_api_refuses_such_a_map_on_insert_and_patch(balancer: LoadBalancer) -> None:
    maps = balancer.clients.of(compute_v1.UrlMapsClient)
    action = compute_v1.HttpRouteAction(max_stream_duration=compute_v1.Duration(seconds=60))
    patch = compute_v1.UrlMap(default_route_action=action)
    with pytest.raises(BadRequest, match="INTERNAL_SELF_MANAGED"):
        maps.patch_unary(project=PROJECT, url_map="um", url_map_resource=patch)
    new = compute_v1.UrlMap(
        name="new", default_service=SERVICES + "bs", default_route_action=action
    )
    with pytest.raises(BadRequest, match="INTERNAL_SELF_MANAGED"):
        maps.insert_unary(project=PROJECT, url_map_resource=new)


# Matches


def matches(match: dict[str, Any], path: str = "/", host: str = "h", **members: Any) -> bool:
    """Whether a request goes where a match rule leads."""
    rules = [{"priority": 1, "matchRules": [match], "service": "found"}]
    url_map = {
        "defaultService": "default",
        "hostRules": [{"hosts": ["*"], "pathMatcher": "pm"}],
        "pathMatchers": [{"name": "pm", "defaultService": "default", "routeRules": rules}],
    }
    return route(url_map, host, path, **members).service == "found"


@pytest.mark.parametrize(
    ("match", "good", "bad"),
    [
        ({"prefixMatch": "/a"}, "/ab?x", "/b"),
        ({"fullPathMatch": "/a"}, "/a?x", "/ab"),
        ({"regexMatch": "/a+"}, "/aa?x", "/ab"),
        ({"pathTemplateMatch": "/{x}/b"}, "/a/b", "/a/c"),
        ({"prefixMatch": "/a", "ignoreCase": True}, "/A", "/B"),
        ({"queryParameterMatches": [{"name": "q", "exactMatch": "1"}]}, "/?q=1", "/?q=2"),
        ({"queryParameterMatches": [{"name": "q", "regexMatch": "1+"}]}, "/?q=11", "/?q=2"),
        ({"queryParameterMatches": [{"name": "q", "presentMatch": True}]}, "/?q=", "/?p=1"),
    ],
)
def test_a_match_of_path_and_query_is_applied(match: dict[str, Any], good: str, bad: str) -> None:
    assert matches(match, good)
    assert not matches(match, bad)


@pytest.mark.parametrize(
    ("match", "good", "bad"),
    [
        ({"exactMatch": "1"}, "1", "2"),
        ({"prefixMatch": "ab"}, "abc", "cab"),
        ({"suffixMatch": "bc"}, "abc", "bca"),
        ({"regexMatch": "[ab]+"}, "ab", "abc"),
        ({"rangeMatch": {"rangeStart": "-5", "rangeEnd": "0"}}, "-3", "0"),
        ({"rangeMatch": {"rangeStart": "-5", "rangeEnd": "0"}}, "-5", "-3someString"),
        ({"rangeMatch": {"rangeStart": "-5", "rangeEnd": "1"}}, "0", "0.25"),
        ({"presentMatch": True}, "", None),
        ({"exactMatch": "1", "invertMatch": True}, "2", "1"),
    ],
)
def test_a_match_of_a_header_is_applied(match: dict[str, Any], good: str, bad: str | None) -> None:
    """Source: Compute API reference, HttpHeaderMatch; the range and its examples are from there."""
    rule = {"headerMatches": [{"headerName": "X-Key"} | match]}
    assert matches(rule, headers={"x-key": good})
    assert not matches(rule, headers={} if bad is None else {"x-key": bad})


def test_a_header_match_can_name_method_authority_and_port() -> None:
    """Source: Compute API reference, HttpHeaderMatch.headerName and regexMatch."""
    post = {"headerMatches": [{"headerName": ":method", "exactMatch": "POST"}]}
    assert matches(post, method="POST")
    assert not matches(post, method="GET")
    host = {"headerMatches": [{"headerName": ":authority", "exactMatch": "h:81"}]}
    assert matches(host, host="h:81")
    port = {"headerMatches": [{"headerName": "PORT", "regexMatch": "8.*"}]}
    assert matches(port, host="h:81")
    assert not matches(port, host="h")


# Actions


@pytest.mark.parametrize(
    ("rewrite", "path", "host"),
    [
        ({"hostRewrite": "inner"}, "/v1/a?q", "inner"),
        ({"pathPrefixRewrite": "/x/"}, "/x/v1/a?q", "h"),
        (
            {"regexRewrite": {"pathPattern": "/v(\\d)/", "pathSubstitution": "/\\1/"}},
            "/1/a?q",
            "h",
        ),
    ],
)
def test_a_rewrite_is_applied(rewrite: dict[str, Any], path: str, host: str) -> None:
    found = route({"defaultService": "s", "defaultRouteAction": {"urlRewrite": rewrite}}, "h", "/")
    assert apply_rewrite(found, "/v1/a?q", "h") == (path, host)


def test_every_code_of_a_redirect_is_applied() -> None:
    properties = document()["schemas"]["HttpRedirectAction"]["properties"]
    assert set(properties["redirectResponseCode"]["enum"]) == set(REDIRECTS)
    for name, status in REDIRECTS.items():
        assert redirect_response({"redirectResponseCode": name}, "/", "h", "/").status == status


def test_every_retry_condition_of_the_document_is_known() -> None:
    text = document()["schemas"]["HttpRetryPolicy"]["properties"]["retryConditions"]["description"]
    assert all(each in text for each in url_map_features.RETRY_CONDITIONS)
    assert should_retry({"retryConditions": ["5xx"]}, 500, "")


POLICY = {
    "allowOrigins": ["https://a.example"],
    "allowOriginRegexes": ["https://.*\\.b\\.example"],
    "allowMethods": ["GET", "POST"],
    "allowHeaders": ["x-key"],
    "exposeHeaders": ["x-release"],
    "maxAge": 600,
    "allowCredentials": True,
}


def ask(origin: str, method: str = "GET", **headers: str) -> Request:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return Request(method, "/", {"origin": origin} | given)


def test_a_preflight_request_of_an_allowed_origin_is_answered() -> None:
    preflight = ask("https://a.example", "OPTIONS", access_control_request_method="POST")
    answer = cors.preflight_response(POLICY, preflight)
    assert answer is not None
    assert answer.headers == {
        "access-control-allow-origin": "https://a.example",
        "access-control-allow-credentials": "true",
        "access-control-allow-methods": "GET,POST",
        "access-control-allow-headers": "x-key",
        "access-control-max-age": "600",
    }
    for other in (
        ask("https://a.example", "OPTIONS"),
        ask("https://c.example", "OPTIONS", access_control_request_method="POST"),
    ):
        assert cors.preflight_response(POLICY, other) is None
    assert cors.preflight_response(POLICY | {"disabled": True}, preflight) is None


def test_the_response_to_an_allowed_origin_says_so() -> None:
    assert cors.response_headers(POLICY, ask("https://x.b.example")) == {
        "access-control-allow-origin": "https://x.b.example",
        "access-control-allow-credentials": "true",
        "access-control-expose-headers": "x-release",
    }
    assert cors.response_headers(POLICY, ask("https://c.example")) == {}
    assert cors.response_headers({"allowOrigins": ["*"]}, ask("any")) == {
        "access-control-allow-origin": "any"
    }


def test_cross_origin_requests_pass_the_balancer(balancer: LoadBalancer) -> None:
    act(balancer, cors_policy={"allow_origins": ["https://a.example"], "allow_methods": ["PUT"]})
    origin = {"origin": "https://a.example"}
    assert balancer.get(headers=origin).headers["access-control-allow-origin"] == origin["origin"]
    assert "access-control-allow-origin" not in balancer.get().headers
    assert balancer.get(headers={"origin": "https://b"}).json()["release"] == "v1"


def test_a_route_can_depend_on_the_method(balancer: LoadBalancer) -> None:
    balancer.second()
    only_post = compute_v1.HttpHeaderMatch(header_name=":method", exact_match="POST")
    rule = compute_v1.HttpRouteRule(
        priority=1,
        match_rules=[compute_v1.HttpRouteRuleMatch(prefix_match="/", header_matches=[only_post])],
        service=SERVICES + "bs2",
    )
    balancer.route(**matcher(route_rules=[rule]))
    assert balancer.get().json()["release"] == "v1"
    assert control(balancer.cloud, "GET", "/data-plane")["on"]
