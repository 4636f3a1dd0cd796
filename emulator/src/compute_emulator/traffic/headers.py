"""The headers that a load balancer adds and removes, and the responses it makes itself. Pure."""

from __future__ import annotations

from collections.abc import Iterable

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
    request: Request, actions: Iterable[JsonObject], client: str, is_https: bool
) -> Request:
    """The request as it is forwarded, with the balancer's own headers, then those of the URL
    map.
    """
    headers = dict(request.headers)
    before = headers.get("x-forwarded-for")
    headers["x-forwarded-for"] = f"{before}, {client}" if before else client
    headers["x-forwarded-proto"] = "https" if is_https else "http"
    headers["via"] = VIA
    for action in actions:
        _apply(headers, action.get("requestHeadersToAdd"), action.get("requestHeadersToRemove"))
    return Request(request.method, request.target, headers, request.body)


def with_response_headers(response: Response, actions: Iterable[JsonObject]) -> Response:
    headers = response.headers | {"via": VIA}
    for action in actions:
        _apply(headers, action.get("responseHeadersToAdd"), action.get("responseHeadersToRemove"))
    return Response(response.status, headers, response.body, response.stream)


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
