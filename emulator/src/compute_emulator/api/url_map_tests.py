"""The tests in a URL map: whether requests go where its author expects. Pure.

Called by `collections/url_maps.py`, which refuses a map whose tests fail, and by its `validate`,
which reports them. Source: Compute API reference, UrlMap.tests, UrlMapTest and TestFailure.
"""

from __future__ import annotations

from collections.abc import Iterator

from compute_emulator import keys
from compute_emulator.errors import Invalid, JsonObject
from compute_emulator.traffic.headers import redirect_response
from compute_emulator.traffic.routing import Destination, apply_rewrite, route

MAX_TESTS = 100


def check(url_map: JsonObject) -> None:
    """Raises `Invalid` for malformed tests."""
    tests = url_map.get("tests") or []
    if len(tests) > MAX_TESTS:
        raise Invalid("resource.tests", len(tests), f"At most {MAX_TESTS} tests are allowed.")
    for index, test in enumerate(tests):
        if test.get("service") and test.get("expectedRedirectResponseCode"):
            where = f"resource.tests[{index}].expectedRedirectResponseCode"
            raise Invalid(
                where,
                test["expectedRedirectResponseCode"],
                "Must not be set together with service.",
            )


def failures(url_map: JsonObject) -> list[JsonObject]:
    """The API's report of each failed test: the expected and the actual result."""
    return [failure for test in url_map.get("tests") or [] if (failure := _failure(url_map, test))]


def as_text(failure: JsonObject) -> str:
    """A failure as the error of a refused map reports it."""
    expected = (
        failure.get("expectedService")
        or failure.get("expectedOutputUrl")
        or failure.get("expectedRedirectResponseCode")
    )
    actual = (
        failure.get("actualService")
        or failure.get("actualOutputUrl")
        or failure.get("actualRedirectResponseCode")
    )
    where = f"{failure['host']}{failure['path']}"
    return (
        f"Test failure: Expect URL '{where}' to map to '{expected}', but actually mapped to"
        f" '{actual}'."
    )


def _failure(url_map: JsonObject, test: JsonObject) -> JsonObject | None:
    host, path = test.get("host", ""), test.get("path", "/")
    found = route(
        url_map,
        host,
        path,
        {each["name"].lower(): each.get("value", "") for each in test.get("headers") or []},
    )
    differences = dict(_differences(test, found, host, path))
    if not differences:
        return None
    return (
        {"host": host, "path": path}
        | ({"headers": test["headers"]} if test.get("headers") else {})
        | differences
    )


def _differences(
    test: JsonObject, found: Destination, host: str, path: str
) -> Iterator[tuple[str, object]]:
    """Members of TestFailure for each unmet expectation."""
    expected = test.get("service")
    if expected and keys.parse(expected) != keys.parse(found.service):
        yield from (("expectedService", expected), ("actualService", found.service))
    redirect = (
        redirect_response(found.redirect, found.matched, host, path)
        if found.redirect is not None
        else None
    )
    code = redirect.status if redirect is not None else 0
    if test.get("expectedRedirectResponseCode", code) != code:
        yield from (
            ("expectedRedirectResponseCode", test["expectedRedirectResponseCode"]),
            ("actualRedirectResponseCode", code),
        )
    if redirect is not None:
        url = redirect.headers["location"]
    else:
        onward, name = apply_rewrite(found, path, host)
        url = f"http://{name}{onward}"
    expected_url = test.get("expectedOutputUrl")
    if expected_url and not _is_same(expected_url, url, heeds_scheme=redirect is not None):
        yield from (("expectedOutputUrl", expected_url), ("actualOutputUrl", url))


def _is_same(expected_url: str, url: str, *, heeds_scheme: bool) -> bool:
    """Only a redirect sets a scheme; a request to a backend keeps its own."""
    return (
        expected_url == url
        if heeds_scheme
        else expected_url.partition("://")[2] == url.partition("://")[2]
    )
