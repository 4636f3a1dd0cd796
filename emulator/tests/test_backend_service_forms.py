"""Every setting that the discovery document describes for backend services is applied by the data
plane, or refused by it with a sentence. Nothing is accepted and then ignored.

`test_every_setting_is_applied_or_refused` walks the document: a member that a new revision adds
fails it until it has an entry here.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from google.api_core.exceptions import BadRequest
from google.cloud import compute_v1

from compute_emulator.api.collections.backend_services import NOT_APPLICATION
from compute_emulator.api.discovery import document
from compute_emulator.traffic import unsupported
from compute_emulator.traffic.headers import expand_variables, with_request_headers
from compute_emulator.traffic.http import Request
from emulator.tests.clients import control
from emulator.tests.load_balancer import SERVICES, LoadBalancer
from emulator.tests.test_route_actions import act

APPLIED = {
    *("affinityCookieTtlSec", "backends.balancingMode", "backends.capacityScaler"),
    *("backends.group", "backends.maxRate", "backends.maxRatePerInstance"),
    *("backends.maxUtilization", "backends.preference", "circuitBreakers.maxRequests"),
    *("circuitBreakers.maxRetries", "connectionDraining", "consistentHash.httpCookie"),
    *("consistentHash.httpHeaderName", "customRequestHeaders", "customResponseHeaders"),
    *("healthChecks", "loadBalancingScheme", "portName", "sessionAffinity"),
    *("strongSessionAffinityCookie", "timeoutSec"),
}
NO_EFFECT = {
    *("backends.description", "backends.orchestrationInfo", "creationTimestamp", "description"),
    *("externalManagedMigrationState", "externalManagedMigrationTestingPercentage"),
    *("fingerprint", "id", "kind", "logConfig", "metadatas", "name", "network"),
    *("orchestrationInfo", "params", "region", "selfLink", "usedBy"),
    # Only together with something that is refused: a CDN, or a proxy's login.
    *("cdnPolicy", "iap.oauth2ClientId", "iap.oauth2ClientSecret", "iap.oauth2ClientSecretSha256"),
    # Of groups of endpoints or of connections, which the emulator does not have.
    *("backends.maxConnections", "backends.maxConnectionsPerEndpoint"),
    *("backends.maxConnectionsPerInstance", "backends.maxRatePerEndpoint"),
    # Not visible from outside: how evenly a hash spreads, and the way from the balancer to a VM.
    *("consistentHash.minimumRingSize", "port", "protocol"),
}
ENTERED = {"backends", "circuitBreakers", "consistentHash", "iap", "subsetting"}
"""Members whose members have entries of their own."""


def settings() -> Iterator[str]:
    schemas = document()["schemas"]
    for name, each in schemas["BackendService"]["properties"].items():
        if name in ENTERED:
            inner = each.get("$ref") or each["items"]["$ref"]
            yield from (f"{name}.{member}" for member in schemas[inner]["properties"])
        else:
            yield name


def test_every_setting_is_applied_or_refused() -> None:
    refused = set(unsupported.BACKEND_SERVICE)
    assert set(settings()) == APPLIED | NO_EFFECT | refused
    assert refused & (APPLIED | NO_EFFECT) == {"backends.balancingMode"}  # by its value


def test_every_value_of_a_setting_is_applied_or_refused() -> None:
    properties = document()["schemas"]["BackendService"]["properties"]
    for name, refused_on_write in NOT_APPLICATION.items():
        applied = {
            "localityLbPolicy": unsupported.BACKEND_SERVICE["localityLbPolicy"],
            "sessionAffinity": {
                *("CLIENT_IP", "CLIENT_IP_NO_DESTINATION", "GENERATED_COOKIE", "HEADER_FIELD"),
                *("HTTP_COOKIE", "NONE", "STRONG_COOKIE_AFFINITY"),
            },
        }[name]
        left = set(properties[name]["enum"]) - applied - set(refused_on_write)
        assert left == ({"WEIGHTED_ROUND_ROBIN"} if name == "localityLbPolicy" else set())
        assert all(unsupported.in_service({name: value}) for value in left)


@pytest.mark.parametrize(
    ("service", "named"),
    [
        ({"enableCDN": True}, "enableCDN"),
        ({"iap": {"enabled": True}}, "iap.enabled"),
        ({"outlierDetection": {"consecutiveErrors": 3}}, "outlierDetection"),
        ({"compressionMode": "AUTOMATIC"}, "compressionMode"),
        ({"backends": [{}, {"balancingMode": "IN_FLIGHT"}]}, "backends.balancingMode"),
        ({"securityPolicy": "global/securityPolicies/x"}, "securityPolicy"),
        ({"circuitBreakers": {"maxConnections": 5}}, "circuitBreakers.maxConnections"),
        ({"subsetting": {"policy": "CONSISTENT_HASH_SUBSETTING"}}, "subsetting.policy"),
    ],
)
def test_a_setting_that_is_not_supported_is_named(service: dict[str, Any], named: str) -> None:
    assert f" {named} of the backend service bs" in unsupported.in_service(service | {"name": "bs"})


@pytest.mark.parametrize(
    "service",
    [
        {"enableCDN": False, "iap": {"enabled": False}, "cdnPolicy": {"cacheMode": "X"}},
        {"backends": [{"balancingMode": "RATE", "failover": False}], "customMetrics": []},
        {"subsetting": {"policy": "NONE"}, "localityLbPolicy": "MAGLEV"},
    ],
)
def test_a_setting_without_an_effect_is_no_reason(service: dict[str, Any]) -> None:
    assert not unsupported.in_service(service)


def test_requests_to_such_a_service_are_refused_until_it_is_changed(balancer: LoadBalancer) -> None:
    balancer.change_service(enable_c_d_n=True)
    refused = balancer.get()
    assert refused.status_code == 501
    assert refused.text == (
        "the emulator's data plane does not support enableCDN of the backend service bs"
    )
    listed = control(balancer.cloud, "GET", "/data-plane")["unsupported"]
    assert listed == {"projects/demo/global/backendServices/bs": refused.text}
    balancer.change_service(enable_c_d_n=False)
    assert balancer.get().status_code == 200
    assert control(balancer.cloud, "GET", "/data-plane")["unsupported"] == {}


def test_a_mirror_that_is_not_supported_is_refused(balancer: LoadBalancer) -> None:
    balancer.second()
    balancer.change_service("bs2", compression_mode="AUTOMATIC")
    act(balancer, request_mirror_policy={"backend_service": SERVICES + "bs2"})
    assert "compressionMode of the backend service bs2" in balancer.get().text


def test_an_error_that_a_custom_response_would_replace_is_refused(balancer: LoadBalancer) -> None:
    rule = compute_v1.CustomErrorResponsePolicyCustomErrorResponseRule(
        match_response_codes=["5xx", "404"], path="/error.html"
    )
    policy = compute_v1.CustomErrorResponsePolicy(error_response_rules=[rule])
    balancer.route(default_service=SERVICES + "bs", default_custom_error_response_policy=policy)
    assert balancer.get().status_code == 200
    control(balancer.cloud, "PUT", "/traffic", [{"error_rate": 1.0, "error_status": 500}])
    assert "custom error response for status 500" in balancer.get().text


@pytest.mark.parametrize("member", ["session_affinity", "locality_lb_policy"])
def test_a_value_for_other_load_balancers_is_refused(balancer: LoadBalancer, member: str) -> None:
    value = {"session_affinity": "CLIENT_IP_PROTO", "locality_lb_policy": "WEIGHTED_MAGLEV"}[member]
    with pytest.raises(BadRequest, match=f"{value}'. Not supported"):
        balancer.change_service(**{member: value})


# Custom headers


def test_custom_headers_are_added_with_their_variables(balancer: LoadBalancer) -> None:
    """Source: load-balancing/docs/https/custom-headers; variables without a value are empty."""
    balancer.change_service(
        custom_request_headers=["X-Client: {client_ip_address};{client_region}", "X-Plain:1"],
        custom_response_headers=["X-Encrypted: {client_encrypted}"],
    )
    answer = balancer.get(headers={"x-echo": "1", "x-plain": "0"})
    seen = answer.json()["headers"]
    assert (seen["x-client"], seen["x-plain"]) == ("127.0.0.1;", "1")
    assert answer.headers["x-encrypted"] == "false"


def test_a_header_of_the_url_map_takes_precedence_over_a_custom_one() -> None:
    """Source: load-balancing/docs/https/custom-headers-global."""
    action = {"requestHeadersToAdd": [{"headerName": "X-A", "headerValue": "map"}]}
    custom = expand_variables(["X-A: service", "X-B: {origin_request_header}"], ORIGIN, "c", False)
    sent = with_request_headers(ORIGIN, [action], "c", is_https=False, custom=custom)
    assert (sent.headers["x-a"], sent.headers["x-b"]) == ("map", "https://o.example")


ORIGIN = Request("GET", "/", {"origin": "https://o.example"})


# Circuit breakers


def test_requests_above_the_limit_of_parallel_requests_get_503(balancer: LoadBalancer) -> None:
    balancer.change_service(circuit_breakers={"max_requests": 1})
    control(balancer.cloud, "PUT", "/traffic", [{"latency_seconds": 0.5}])
    answers: list[int] = []
    first = threading.Thread(target=lambda: answers.append(balancer.get().status_code))
    first.start()
    time.sleep(0.2)
    second = balancer.get()
    first.join()
    assert (answers, second.status_code) == ([200], 503)
    assert second.text.endswith("reset reason: overflow")
    assert balancer.get().status_code == 200


def test_a_stream_counts_as_a_request_until_it_ends(balancer: LoadBalancer) -> None:
    balancer.change_service(circuit_breakers={"max_requests": 1})
    with balancer.get(headers={"x-stream-seconds": "5"}, stream=True) as stream:
        assert stream.status_code == 200
        assert balancer.get().status_code == 503
    deadline = time.monotonic() + 10
    while balancer.get().status_code != 200:
        assert time.monotonic() < deadline
