"""Which backend services a URL map routes a request to."""

from __future__ import annotations

import pytest

from compute_emulator.traffic.routing import route

URL_MAP = {
    "defaultService": "default",
    "hostRules": [
        {"hosts": ["api.example"], "pathMatcher": "api"},
        {"hosts": ["*.example"], "pathMatcher": "any"},
    ],
    "pathMatchers": [
        {
            "name": "api",
            "defaultService": "api",
            "pathRules": [
                {"paths": ["/v1/*"], "service": "v1"},
                {"paths": ["/v1/chat/*", "/exact", "/v1/c"], "service": "chat"},
            ],
        },
        {
            "name": "any",
            "defaultService": "any",
            "routeRules": [
                {
                    "priority": 1,
                    "matchRules": [
                        {
                            "prefixMatch": "/",
                            "headerMatches": [{"headerName": "X-Canary", "exactMatch": "1"}],
                        }
                    ],
                    "service": "canary",
                },
                {
                    "priority": 2,
                    "matchRules": [{"prefixMatch": "/split"}],
                    "routeAction": {
                        "weightedBackendServices": [
                            {"backendService": "a", "weight": 90},
                            {"backendService": "b", "weight": 10},
                        ]
                    },
                },
            ],
        },
    ],
}


@pytest.mark.parametrize(
    ("host", "path", "service"),
    [
        ("other", "/", "default"),
        ("api.example:80", "/", "api"),
        ("API.example", "/v1/models", "v1"),
        ("api.example", "/v1/chat/completions?stream=1", "chat"),
        ("api.example", "/exact", "chat"),
        ("api.example", "/exact/not", "api"),
        ("api.example", "/v1", "api"),
        ("api.example", "/v1/", "v1"),
        ("api.example", "/v1/chat", "v1"),
        ("api.example", "/v1/c", "chat"),
        ("www.example", "/", "any"),
        ("www.example", "/split/it", "a"),
    ],
)
def test_the_longest_path_of_the_most_specific_host_wins(
    host: str, path: str, service: str
) -> None:
    assert route(URL_MAP, host, path).service == service


def test_headers_select_a_route() -> None:
    assert route(URL_MAP, "www.example", "/", {"x-canary": "1"}).service == "canary"
    assert route(URL_MAP, "www.example", "/", {"x-canary": "2"}).service == "any"


def test_weights_are_returned_unchanged() -> None:
    assert route(URL_MAP, "www.example", "/split").weights == (("a", 90), ("b", 10))


def test_a_redirect_has_no_service() -> None:
    found = route({"defaultUrlRedirect": {"httpsRedirect": True}}, "h", "/")
    assert (found.service, found.redirect) == ("", {"httpsRedirect": True})
