"""Facts about the tests in a URL map."""

from __future__ import annotations

from typing import Any

import pytest

from emulator.tests.clients import rejection, send
from emulator.tests.facts.source import fact
from emulator.tests.facts.test_balancing import MAPS, service, settle
from emulator.tests.fleet import Fleet

A, B = "global/backendServices/a", "global/backendServices/b"
REDIRECT = {"hostRedirect": "new.example", "redirectResponseCode": "FOUND", "stripQuery": True}
RULES = [
    {"priority": 1, "matchRules": [{"prefixMatch": "/old"}], "urlRedirect": REDIRECT},
    {
        "priority": 2,
        "matchRules": [
            {"prefixMatch": "/", "headerMatches": [{"headerName": "x-b", "exactMatch": "1"}]}
        ],
        "service": B,
    },
    {
        "priority": 3,
        "matchRules": [{"prefixMatch": "/in/"}],
        "service": A,
        "routeAction": {"urlRewrite": {"pathPrefixRewrite": "/", "hostRewrite": "inner"}},
    },
]


@pytest.fixture
def two(fleet: Fleet) -> Fleet:
    """Two backend services, `a` and `b`."""
    for name in ("a", "b"):
        assert service(fleet, name) == 200
    settle(fleet)
    return fleet


def map_with(*tests: dict[str, Any]) -> dict[str, Any]:
    """A map with these tests that redirects old paths, sends a header to `b`, and the rest to
    `a`.
    """
    matcher = {"name": "pm", "defaultService": A, "routeRules": RULES}
    hosts = [{"hosts": ["*"], "pathMatcher": "pm"}]
    return {
        "name": "um",
        "defaultService": A,
        "hostRules": hosts,
        "pathMatchers": [matcher],
        "tests": list(tests),
    }


@fact(
    "API reference, UrlMapTest: service, headers, expectedRedirectResponseCode, expectedOutputUrl",
    assumed="the wording",
)
@pytest.mark.parametrize(
    ("test", "passes"),
    [
        ({"host": "h", "path": "/x", "service": A}, True),
        ({"host": "h", "path": "/x", "service": B}, False),
        (
            {"host": "h", "path": "/x", "service": B, "headers": [{"name": "X-B", "value": "1"}]},
            True,
        ),
        ({"host": "h", "path": "/old?q=1", "expectedRedirectResponseCode": 302}, True),
        ({"host": "h", "path": "/old?q=1", "expectedRedirectResponseCode": 301}, False),
        ({"host": "h", "path": "/x", "expectedRedirectResponseCode": 302}, False),
        ({"host": "h", "path": "/old?q=1", "expectedOutputUrl": "http://new.example/old"}, True),
        (
            {"host": "h", "path": "/old?q=1", "expectedOutputUrl": "http://new.example/old?q=1"},
            False,
        ),
        ({"host": "h", "path": "/old", "expectedOutputUrl": "https://new.example/old"}, False),
        (
            {"host": "h", "path": "/in/x", "service": A, "expectedOutputUrl": "https://inner/x"},
            True,
        ),  # the scheme is ignored
        ({"host": "h", "path": "/in/x", "service": A, "expectedOutputUrl": "http://h/in/x"}, False),
    ],
)
def test_a_map_is_created_only_if_its_tests_pass(
    two: Fleet, test: dict[str, Any], passes: bool
) -> None:
    if passes:
        assert send(two.cloud, "POST", MAPS, map_with(test))[0] == 200
        return
    status, reason, message = rejection(two.cloud, "POST", MAPS, map_with(test))
    assert (status, reason) == (400, "invalid")
    assert message.startswith(
        f"Invalid value for field 'resource.tests': ''. Test failure: Expect URL 'h{test['path']}'"
        " to map to"
    )


@fact("API reference, UrlMap.tests: an update of the map succeeds only if all of them pass")
@pytest.mark.parametrize("http", ["PATCH", "PUT"])
def test_a_map_is_changed_only_if_its_tests_pass(two: Fleet, http: str) -> None:
    test = {"host": "h", "path": "/", "service": A}
    assert (
        send(two.cloud, "POST", MAPS, {"name": "um", "defaultService": A, "tests": [test]})[0]
        == 200
    )
    settle(two)
    kept = send(two.cloud, "GET", f"{MAPS}/um")[1]
    change = {"defaultService": B, "fingerprint": kept["fingerprint"]} | (
        {"tests": [test]} if http == "PUT" else {}
    )
    assert rejection(two.cloud, http, f"{MAPS}/um", {"name": "um"} | change)[0] == 400
    assert send(two.cloud, "GET", f"{MAPS}/um")[1]["defaultService"] == kept["defaultService"]
    assert send(two.cloud, http, f"{MAPS}/um", {"name": "um"} | change | {"tests": []})[0] == 200


@fact(
    "API reference, UrlMap.tests: at most 100; UrlMapTest: service and expectedRedirectResponseCode"
    " exclude each other"
)
def test_a_map_has_at_most_a_hundred_tests(two: Fleet) -> None:
    test = {"host": "h", "path": "/", "service": A}
    assert send(two.cloud, "POST", MAPS, map_with(*[test] * 100))[0] == 200
    assert (
        "At most 100"
        in rejection(two.cloud, "POST", MAPS, map_with(*[test] * 101) | {"name": "more"})[2]
    )
    both = test | {"expectedRedirectResponseCode": 301}
    assert "tests[0]" in rejection(two.cloud, "POST", MAPS, map_with(both) | {"name": "both"})[2]


@fact("API reference, urlMaps.validate: TestFailure has the expected and the actual value")
def test_a_failure_reports_the_expected_and_the_actual_value(two: Fleet) -> None:
    given = map_with(
        {"host": "h", "path": "/x", "service": B},
        {
            "host": "h",
            "path": "/old",
            "expectedRedirectResponseCode": 301,
            "expectedOutputUrl": "http://other/old",
        },
    )
    result = send(two.cloud, "POST", f"{MAPS}/um/validate", {"resource": given})[1]["result"]
    assert (result["loadSucceeded"], result["testPassed"]) == (True, False)
    [by_service, by_redirect] = result["testFailures"]
    assert (by_service["path"], by_service["actualService"].rpartition("/")[2]) == ("/x", "a")
    assert (
        by_redirect["expectedRedirectResponseCode"],
        by_redirect["actualRedirectResponseCode"],
    ) == (301, 302)
    assert (by_redirect["expectedOutputUrl"], by_redirect["actualOutputUrl"]) == (
        "http://other/old",
        "http://new.example/old",
    )
