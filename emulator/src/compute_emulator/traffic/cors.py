"""Cross-origin requests, as a route's `corsPolicy` allows them. Pure.

The balancer answers a preflight request of an allowed origin itself, and adds its headers to the
response of any other request of one. Requests of other origins are passed on unchanged: the browser
refuses their responses. Source: Compute API reference, CorsPolicy; Fetch Standard, CORS.
"""

from __future__ import annotations

import re

from compute_emulator.errors import JsonObject
from compute_emulator.traffic.http import Request, Response

LISTS = {
    "access-control-allow-methods": "allowMethods",
    "access-control-allow-headers": "allowHeaders",
}


def response_headers(policy: JsonObject, request: Request) -> dict[str, str]:
    """What the response to a request of an allowed origin says; empty for any other."""
    origin = request.headers.get("origin")
    if origin is None or policy.get("disabled") or not _is_allowed(policy, origin):
        return {}
    headers = {"access-control-allow-origin": origin}
    if policy.get("allowCredentials"):
        headers["access-control-allow-credentials"] = "true"
    if policy.get("exposeHeaders"):
        headers["access-control-expose-headers"] = ",".join(policy["exposeHeaders"])
    return headers


def preflight_response(policy: JsonObject, request: Request) -> Response | None:
    """None if the request is no preflight request, or of an origin that is not allowed."""
    if request.method != "OPTIONS" or "access-control-request-method" not in request.headers:
        return None
    headers = response_headers(policy, request)
    if not headers:
        return None
    headers.pop("access-control-expose-headers", None)
    headers |= {name: ",".join(policy[each]) for name, each in LISTS.items() if policy.get(each)}
    if policy.get("maxAge") is not None:
        headers["access-control-max-age"] = str(policy["maxAge"])
    return Response(200, headers)


def _is_allowed(policy: JsonObject, origin: str) -> bool:
    allowed = policy.get("allowOrigins") or []
    return (
        origin in allowed
        or "*" in allowed
        or any(re.fullmatch(each, origin) for each in policy.get("allowOriginRegexes") or [])
    )
