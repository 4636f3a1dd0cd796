"""Facts about URL maps, proxies and forwarding rules, and how they fit together."""

from __future__ import annotations

from typing import Any

import pytest

from emulator.tests.clients import rejection, send
from emulator.tests.facts.helpers import BASE
from emulator.tests.facts.source import fact
from emulator.tests.facts.test_balancing import GROUP, MAPS, SERVICES, service, settle
from emulator.tests.fleet import Fleet

GLOBAL = f"{BASE}/global"
IN_REGION, NEAR = f"{BASE}/regions/us-central1", "regions/us-central1/healthChecks/near"
A, B = "global/backendServices/a", "global/backendServices/b"


@pytest.fixture
def two(fleet: Fleet) -> Fleet:
    """Two backend services, `a` and `b`."""
    for name in ("a", "b"):
        assert service(fleet, name) == 200
    settle(fleet)
    return fleet


def map_with_matcher(**members: Any) -> dict[str, Any]:
    """A URL map with one path matcher that has these members."""
    matcher = {"name": "pm", "defaultService": A} | members
    return {
        "name": "um",
        "defaultService": A,
        "hostRules": [{"hosts": ["*"], "pathMatcher": "pm"}],
        "pathMatchers": [matcher],
    }


def route_rules(*priorities: int) -> list[dict[str, Any]]:
    return [
        {"priority": each, "matchRules": [{"prefixMatch": f"/{each}"}], "service": B}
        for each in priorities
    ]


@fact(
    "API reference, urlMaps: exactly one of a default service, a redirect or a weighted action",
    assumed="the wording",
)
@pytest.mark.parametrize(
    ("default", "status"),
    [
        ({"defaultService": A}, 200),
        ({"defaultUrlRedirect": {"httpsRedirect": True}}, 200),
        (
            {
                "defaultRouteAction": {
                    "weightedBackendServices": [{"backendService": A, "weight": 1}]
                }
            },
            200,
        ),
        ({}, 400),
        ({"defaultService": A, "defaultUrlRedirect": {"httpsRedirect": True}}, 400),
    ],
)
def test_a_url_map_has_exactly_one_default(
    two: Fleet, default: dict[str, Any], status: int
) -> None:
    assert send(two.cloud, "POST", MAPS, {"name": "um"} | default)[0] == status


@fact("API reference, pathMatchers: path rules or route rules, not both", assumed="the wording")
def test_a_matcher_has_either_path_rules_or_route_rules(two: Fleet) -> None:
    both = map_with_matcher(pathRules=[{"paths": ["/x"], "service": B}], routeRules=route_rules(1))
    assert rejection(two.cloud, "POST", MAPS, both)[0] == 400


@fact(
    "API reference, routeRules[].priority: 0 to 2147483647, unique, in ascending order",
    assumed="the wording",
)
@pytest.mark.parametrize(
    ("priorities", "status"), [((1, 2), 200), ((1, 1), 400), ((2, 1), 400), ((-1,), 400)]
)
def test_priorities_of_route_rules_ascend(
    two: Fleet, priorities: tuple[int, ...], status: int
) -> None:
    assert (
        send(two.cloud, "POST", MAPS, map_with_matcher(routeRules=route_rules(*priorities)))[0]
        == status
    )


@fact(
    "API reference, pathRules[].paths: an asterisk only at the end and after a slash",
    assumed="the wording",
)
@pytest.mark.parametrize(
    ("path", "status"), [("/x/*", 200), ("/x", 200), ("/x*", 400), ("/*/x", 400), ("x", 400)]
)
def test_an_asterisk_is_allowed_only_at_the_end_of_a_path(
    two: Fleet, path: str, status: int
) -> None:
    assert (
        send(
            two.cloud, "POST", MAPS, map_with_matcher(pathRules=[{"paths": [path], "service": B}])
        )[0]
        == status
    )


@fact(
    "API reference, weightedBackendServices[].weight: 0 to 1000; the share is the weight over"
    " their sum",
    assumed="the wording",
)
@pytest.mark.parametrize(
    ("weights", "status"),
    [((1, 0), 200), ((1000, 1), 200), ((0, 0), 400), ((1001, 1), 400), ((-1, 1), 400)],
)
def test_the_sum_of_weights_must_be_positive(
    two: Fleet, weights: tuple[int, int], status: int
) -> None:
    split = [
        {"backendService": name, "weight": weight}
        for name, weight in zip((A, B), weights, strict=True)
    ]
    body = {"name": "um", "defaultRouteAction": {"weightedBackendServices": split}}
    assert send(two.cloud, "POST", MAPS, body)[0] == status


@fact("API reference, hostRules[].hosts: each host is named once", assumed="the wording")
def test_a_host_is_in_only_one_rule(two: Fleet) -> None:
    rule = {"hosts": ["one.example"], "pathMatcher": "pm"}
    assert (
        send(
            two.cloud,
            "POST",
            MAPS,
            map_with_matcher()
            | {"hostRules": [rule, {"hosts": ["two.example"], "pathMatcher": "pm"}]},
        )[0]
        == 200
    )
    twice = map_with_matcher() | {"name": "twice", "hostRules": [rule, rule]}
    assert "hostRules[1].hosts" in rejection(two.cloud, "POST", MAPS, twice)[2]


@fact("API reference, backendServices.delete: rejected while a URL map refers to it, in any way")
@pytest.mark.parametrize(
    "body",
    [
        {"name": "um", "defaultService": B},
        {
            "name": "um",
            "defaultRouteAction": {"weightedBackendServices": [{"backendService": B, "weight": 1}]},
        },
        map_with_matcher(defaultService=B),
        map_with_matcher(pathRules=[{"paths": ["/x"], "service": B}]),
        map_with_matcher(routeRules=route_rules(1)),
    ],
)
def test_a_service_named_by_a_url_map_cannot_be_deleted(two: Fleet, body: dict[str, Any]) -> None:
    assert send(two.cloud, "POST", MAPS, body)[0] == 200
    settle(two)
    assert rejection(two.cloud, "DELETE", f"{SERVICES}/b")[:2] == (
        400,
        "resourceInUseByAnotherResource",
    )


@fact(
    "API reference, backends[].capacityScaler: 0 only if there is more than one backend",
    assumed="the wording",
)
def test_the_only_backend_cannot_be_scaled_to_zero(six: Fleet) -> None:
    assert service(six, backends=[{"group": GROUP, "capacityScaler": 0.0}]) == 400


@fact("API reference, targetHttpProxies.setUrlMap: the map is changed by its own method")
def test_the_url_map_of_a_proxy_can_be_changed(two: Fleet) -> None:
    for name in ("one", "two"):
        assert send(two.cloud, "POST", MAPS, {"name": name, "defaultService": A})[0] == 200
    settle(two)
    assert (
        send(
            two.cloud,
            "POST",
            f"{GLOBAL}/targetHttpProxies",
            {"name": "tp", "urlMap": "global/urlMaps/one"},
        )[0]
        == 200
    )
    settle(two)
    path = GLOBAL.replace("/global", "/targetHttpProxies/tp/setUrlMap")
    assert send(two.cloud, "POST", path, {"urlMap": "global/urlMaps/two"})[0] == 200
    assert send(two.cloud, "GET", f"{GLOBAL}/targetHttpProxies/tp")[1]["urlMap"].endswith(
        "urlMaps/two"
    )


@fact(
    "API reference, globalForwardingRules: an address is assigned if none is given; setTarget"
    " changes the target"
)
def test_a_forwarding_rule_has_an_address_and_its_target_can_be_changed(two: Fleet) -> None:
    assert send(two.cloud, "POST", MAPS, {"name": "um", "defaultService": A})[0] == 200
    settle(two)
    for name in ("one", "two"):
        assert (
            send(
                two.cloud,
                "POST",
                f"{GLOBAL}/targetHttpProxies",
                {"name": name, "urlMap": "global/urlMaps/um"},
            )[0]
            == 200
        )
    settle(two)
    rule = {
        "name": "fr",
        "target": "global/targetHttpProxies/one",
        "portRange": "80",
        "loadBalancingScheme": "EXTERNAL_MANAGED",
    }
    assert send(two.cloud, "POST", f"{GLOBAL}/forwardingRules", rule)[0] == 200
    settle(two)
    made = send(two.cloud, "GET", f"{GLOBAL}/forwardingRules/fr")[1]
    assert (bool(made["IPAddress"]), made["IPProtocol"], made["networkTier"]) == (
        True,
        "TCP",
        "PREMIUM",
    )
    path = f"{GLOBAL}/forwardingRules/fr/setTarget"
    assert send(two.cloud, "POST", path, {"target": "global/targetHttpProxies/two"})[0] == 200
    assert send(two.cloud, "GET", f"{GLOBAL}/forwardingRules/fr")[1]["target"].endswith("two")


@fact(
    "API reference, globalForwardingRules.patch: only the network tier",
    assumed="and switches such as allowGlobalAccess",
)
@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"allowGlobalAccess": True}, 200),
        ({"portRange": "80"}, 200),  # unchanged
        ({"portRange": "81"}, 400),
        ({"IPAddress": "203.0.113.9"}, 400),
        ({"IPProtocol": "UDP"}, 400),
        ({"loadBalancingScheme": "EXTERNAL"}, 400),
        ({"target": "global/targetHttpProxies/two"}, 400),
        ({"networkTier": "STANDARD"}, 400),  # a global rule is PREMIUM
    ],
)
def test_most_members_of_a_forwarding_rule_cannot_be_patched(
    two: Fleet, change: dict[str, Any], status: int
) -> None:
    assert send(two.cloud, "POST", MAPS, {"name": "um", "defaultService": A})[0] == 200
    settle(two)
    for name in ("one", "two"):
        assert (
            send(
                two.cloud,
                "POST",
                f"{GLOBAL}/targetHttpProxies",
                {"name": name, "urlMap": "global/urlMaps/um"},
            )[0]
            == 200
        )
    settle(two)
    rule = {
        "name": "fr",
        "target": "global/targetHttpProxies/one",
        "portRange": "80",
        "loadBalancingScheme": "EXTERNAL_MANAGED",
    }
    assert send(two.cloud, "POST", f"{GLOBAL}/forwardingRules", rule)[0] == 200
    settle(two)
    before = send(two.cloud, "GET", f"{GLOBAL}/forwardingRules/fr")[1]
    assert send(two.cloud, "PATCH", f"{GLOBAL}/forwardingRules/fr", change)[0] == status
    after = send(two.cloud, "GET", f"{GLOBAL}/forwardingRules/fr")[1]
    assert {name for name in change if before.get(name) != after.get(name)} == {
        "allowGlobalAccess"
    } & change.keys()


@fact("API reference, ForwardingRule.networkTier: PREMIUM for a global rule", assumed="the wording")
def test_a_global_rule_uses_the_premium_tier(two: Fleet) -> None:
    rule = {
        "name": "fr",
        "target": "global/targetHttpProxies/one",
        "portRange": "80",
        "networkTier": "STANDARD",
    }
    assert "networkTier" in rejection(two.cloud, "POST", f"{GLOBAL}/forwardingRules", rule)[2]


@fact(
    "Documentation, health checks: the check of a global service is global",
    assumed="the wording",
)
def test_a_global_service_needs_a_global_check(fleet: Fleet) -> None:
    regional_check(fleet)
    assert service(fleet, healthChecks=[NEAR]) == 400


@fact(
    "Documentation, health checks: the check of a regional Application Load Balancer is regional",
    assumed="the wording",
)
@pytest.mark.parametrize(
    ("scheme", "check", "status"),
    [
        ("EXTERNAL_MANAGED", "near", 200),
        ("EXTERNAL_MANAGED", "far", 400),
        ("INTERNAL_MANAGED", "far", 400),
        ("INTERNAL", "far", 200),  # passthrough balancers accept either
    ],
)
def test_a_regional_service_needs_a_regional_check(
    fleet: Fleet, scheme: str, check: str, status: int
) -> None:
    regional_check(fleet)
    url = {"near": NEAR, "far": "global/healthChecks/ready"}[check]
    body = {"name": "bs", "protocol": "HTTP", "loadBalancingScheme": scheme, "healthChecks": [url]}
    if scheme == "INTERNAL":
        body["protocol"] = "TCP"
    assert send(fleet.cloud, "POST", f"{IN_REGION}/backendServices", body)[0] == status


def regional_check(fleet: Fleet) -> None:
    check = {"name": "near", "type": "HTTP", "httpHealthCheck": {"port": 80}}
    assert send(fleet.cloud, "POST", f"{IN_REGION}/healthChecks", check)[0] == 200
    settle(fleet)


@fact(
    "API reference, urlMaps.validate: what would be rejected, and whether the map's own tests pass"
)
def test_a_url_map_can_be_validated_without_being_created(two: Fleet) -> None:
    given = {"name": "um", "defaultService": A, "tests": [{"host": "h", "path": "/", "service": B}]}
    status, answer = send(two.cloud, "POST", f"{MAPS}/um/validate", {"resource": given})
    assert (status, answer["result"]["loadSucceeded"], answer["result"]["testPassed"]) == (
        200,
        True,
        False,
    )
    assert rejection(two.cloud, "GET", f"{MAPS}/um")[0] == 404


@fact("GoogleCloudPlatform/k8s-config-connector issue 5713, where the client sent no priority")
def test_a_route_rule_must_have_a_priority(two: Fleet) -> None:
    (rule,) = route_rules(0)
    url_map = map_with_matcher(routeRules=[rule])
    assert send(two.cloud, "POST", MAPS, url_map)[0] == 200
    del rule["priority"]
    assert rejection(two.cloud, "POST", MAPS, url_map | {"name": "other"}) == (
        400,
        "invalid",
        "Invalid value for field 'resource.pathMatchers[0].routeRules[0].priority': '0'."
        " A route rule must have a priority",
    )


ADVANCED = "Advanced routing rules are not supported for scheme EXTERNAL"
HEADER = {"requestHeadersToAdd": [{"headerName": "x", "headerValue": "1"}]}


@fact(
    "load-balancing/docs/https/traffic-management: the classic load balancer has host, path, header"
    " and parameter rules, redirects and rewrites; API reference, UrlMap: no header actions and no"
    " other route actions; the message: hashicorp/terraform-provider-google issue 8307",
    assumed="the message for every one of them",
)
@pytest.mark.parametrize(
    ("members", "is_classic"),
    [
        ({"routeRules": [{"matchRules": [{"prefixMatch": "/a", "headerMatches": []}]}]}, True),
        ({"defaultRouteAction": {"urlRewrite": {"pathPrefixRewrite": "/a"}}}, True),
        ({"pathRules": [{"paths": ["/a"], "urlRedirect": {"httpsRedirect": True}}]}, True),
        ({"headerAction": HEADER}, False),
        ({"defaultRouteAction": {"timeout": {"seconds": "9"}}}, False),
        ({"defaultRouteAction": {"retryPolicy": {"numRetries": 1}}}, False),
        ({"routeRules": [{"matchRules": [{"regexMatch": "/a.*"}]}]}, False),
        ({"routeRules": [{"matchRules": [{"pathTemplateMatch": "/{a}"}]}]}, False),
    ],
)
def test_the_classic_load_balancer_has_fewer_forms(
    fleet: Fleet, members: dict[str, Any], is_classic: bool
) -> None:
    assert service(fleet, "a", loadBalancingScheme="EXTERNAL") == 200
    settle(fleet)
    for rule in members.get("routeRules", ()):
        rule |= {"priority": 1, "service": A}
    answer = send(fleet.cloud, "POST", MAPS, map_with_matcher(**members))
    if is_classic:
        assert answer[0] == 200
    else:
        assert answer[0] == 400
        assert answer[1]["error"]["message"].endswith(f"backendServices/a'. {ADVANCED}")
