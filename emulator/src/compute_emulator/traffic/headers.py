"""The headers that a load balancer adds and removes, and the responses it makes itself. Pure.

A backend service's custom headers come first; where the URL map adds a header of the same name,
that of the backend service is ignored. Source: load-balancing/docs/https/custom-headers-global.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from compute_emulator.errors import JsonObject
from compute_emulator.traffic.http import Request, Response

VIA = "1.1 google"
REDIRECTS = {
    "MOVED_PERMANENTLY_DEFAULT": 301,
    "FOUND": 302,
    "SEE_OTHER": 303,
    "TEMPORARY_REDIRECT": 307,
    "PERMANENT_REDIRECT": 308,
}


def with_request_headers(
    request: Request,
    actions: Sequence[JsonObject],
    client: str,
    is_https: bool,
    custom: Iterable[str] = (),
) -> Request:
    """The request as it is forwarded, with the balancer's own headers, then the backend service's
    (`custom`, as `name:value`), then those of the URL map.
    """
    headers = dict(request.headers)
    before = headers.get("x-forwarded-for")
    headers["x-forwarded-for"] = f"{before}, {client}" if before else client
    headers["x-forwarded-proto"] = "https" if is_https else "http"
    headers["via"] = VIA
    headers |= _custom_headers(custom, actions, "requestHeadersToAdd")
    for action in actions:
        _apply(headers, action.get("requestHeadersToAdd"), action.get("requestHeadersToRemove"))
    return Request(request.method, request.target, headers, request.body)


def with_response_headers(
    response: Response, actions: Sequence[JsonObject], custom: Iterable[str] = ()
) -> Response:
    headers = response.headers | {"via": VIA}
    headers |= _custom_headers(custom, actions, "responseHeadersToAdd")
    for action in actions:
        _apply(headers, action.get("responseHeadersToAdd"), action.get("responseHeadersToRemove"))
    return Response(response.status, headers, response.body, response.stream)


def expand_variables(
    custom: Iterable[str], request: Request, client: str, is_https: bool
) -> list[str]:
    """Custom headers with the values of their variables. Variables that the emulator has no value
    for, such as the client's region, are empty. Source: load-balancing/docs/https/custom-headers.
    """
    values = {
        "client_encrypted": "true" if is_https else "false",
        "client_ip_address": client,
        "client_protocol": "HTTP/1.1" if request.is_modern else "HTTP/1.0",
        "origin_request_header": request.headers.get("origin", ""),
    }
    return [re.sub(r"\{(\w+)\}", lambda found: values.get(found[1], ""), each) for each in custom]


def _custom_headers(
    custom: Iterable[str], actions: Sequence[JsonObject], member: str
) -> dict[str, str]:
    added = {
        each.get("headerName", "").lower()
        for action in actions
        for each in action.get(member) or ()
    }
    pairs = (each.partition(":") for each in custom)
    return {
        name.strip().lower(): value.strip()
        for name, _, value in pairs
        if name.strip().lower() not in added
    }


def _apply(
    headers: dict[str, str], added: list[JsonObject] | None, removed: list[str] | None
) -> None:
    for name in removed or ():
        headers.pop(name.lower(), None)
    for each in added or ():
        name, value = each.get("headerName", "").lower(), each.get("headerValue", "")
        headers[name] = (
            value if each.get("replace") or name not in headers else f"{headers[name]}, {value}"
        )


def redirect_response(
    redirect: JsonObject, matched: str, host: str, target: str, is_https: bool = False
) -> Response:
    """The response of a `urlRedirect`. The scheme stays unless the redirect sets one."""
    path, mark, query = target.partition("?")
    if redirect.get("pathRedirect"):
        path = redirect["pathRedirect"]
    elif redirect.get("prefixRedirect"):
        path = redirect["prefixRedirect"] + path.removeprefix(matched)
    scheme = "https" if redirect.get("httpsRedirect") or is_https else "http"
    rest = "" if redirect.get("stripQuery") else mark + query
    status = REDIRECTS.get(redirect.get("redirectResponseCode", ""), 301)
    return Response(
        status,
        {"location": f"{scheme}://{redirect.get('hostRedirect') or host}{path}{rest}", "via": VIA},
    )


def error_response(status: int, why: str, is_classic: bool) -> Response:
    """A response of the balancer itself; the classic one always answers 502."""
    if is_classic:
        page = (
            "<html><title>502 Server Error</title><h1>Error: Server"
            f" Error</h1><p>{why}</p></html>\n"
        )
        return Response(502, {"content-type": "text/html; charset=UTF-8"}, page.encode())
    return Response(status, {"content-type": "text/plain"}, why.encode())
