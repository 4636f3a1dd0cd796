"""Session affinity: which requests belong to one session, and which VM serves it. Pure.

    CLIENT_IP               the client's address
    HEADER_FIELD            a header's value; a request without it goes anywhere
    HTTP_COOKIE             the value of a cookie that the service names; set if the client has none
    GENERATED_COOKIE        the same with the balancer's cookie: GCLB if global, GCILB if regional
    STRONG_COOKIE_AFFINITY  the cookie names the VM itself

All but the last hash the value, so that a VM that is added or removed moves only the sessions
that it gains or loses. A URL map that splits by weights takes precedence. Source: Compute API
reference, backendServices.sessionAffinity, consistentHash and strongSessionAffinityCookie,
urlMaps.weightedBackendServices; load-balancing/docs/backend-service, session affinity.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from http.cookies import CookieError, SimpleCookie
from random import Random

from compute_emulator.errors import JsonObject
from compute_emulator.traffic.http import Request
from compute_emulator.traffic.topology import Backend, Service

CLIENT = ("CLIENT_IP", "CLIENT_IP_NO_DESTINATION")
HASHING = ("MAGLEV", "RING_HASH")
STRONG = "STRONG_COOKIE_AFFINITY"


@dataclass(frozen=True)
class Session:
    """What the requests of a session have in common: `value` is hashed, or with `is_strong`
    names a VM.

    `cookie` is the cookie to set with the response, as far as it is known in advance (`{}`
    stands for the value of a strong one).
    """

    value: str
    is_strong: bool = False
    cookie: str = ""


def session_of(service: Service, request: Request, client: str, chance: Random) -> Session | None:
    """None if any VM will do."""
    kind, resource = service.resource.get("sessionAffinity", "NONE"), service.resource
    hashing: JsonObject = resource.get("consistentHash") or {}
    has_hash = resource.get("localityLbPolicy", HASHING[0]) in HASHING
    if kind in CLIENT:
        return Session(client)
    if kind == "HEADER_FIELD" and has_hash:
        value = request.headers.get(str(hashing.get("httpHeaderName", "")).lower())
        return Session(value) if value is not None else None
    if kind == "HTTP_COOKIE" and has_hash:
        return _by_cookie(hashing.get("httpCookie") or {}, request, chance)
    if kind == "GENERATED_COOKIE":
        name = "GCLB" if service.key.scope == "global" else "GCILB"
        return _by_cookie(
            {"name": name, "ttl": {"seconds": resource.get("affinityCookieTtlSec") or 0}},
            request,
            chance,
        )
    if kind == STRONG:
        given = resource.get("strongSessionAffinityCookie") or {}
        return Session(
            _request_cookie(request, given.get("name", "")), True, _set_cookie(given, "{}")
        )
    return None


def response_cookie(session: Session, backend: Backend) -> str:
    """The `Set-Cookie` header for a VM's response; empty for none."""
    if not session.is_strong:
        return session.cookie
    return (
        "" if session.value == backend_tag(backend) else session.cookie.format(backend_tag(backend))
    )


def backend_of(session: Session, able: Sequence[Backend]) -> Backend | None:
    """The VM of a session among the eligible ones. None for a strong session that has no VM yet,
    or has lost it.

    Rendezvous hashing: each VM gets a score from session and VM, in proportion to its weight;
    the highest score wins.
    """
    if session.is_strong:
        return next((each for each in able if backend_tag(each) == session.value), None)
    return max(able, key=lambda each: _score(session.value, each), default=None)


def backend_tag(backend: Backend) -> str:
    """A VM's name in a cookie."""
    return _hash(f"{backend.vm.names['zone']}/{backend.vm.names['name']}").hex()


def _score(value: str, backend: Backend) -> float:
    """Weight w over an exponentially distributed number: the probability of the highest score is
    w over the sum of weights.
    """
    point = (
        int.from_bytes(_hash(f"{value}\n{backend.vm.names['zone']}/{backend.vm.names['name']}")) + 1
    ) / 2**64
    return backend.weight / -math.log(point) if point < 1 else math.inf


def _hash(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "replace"), digest_size=8).digest()


def _by_cookie(cookie: JsonObject, request: Request, chance: Random) -> Session | None:
    name = str(cookie.get("name", ""))
    if not name:
        return None
    value = _request_cookie(request, name)
    if value:
        return Session(value)
    new_value = f"{chance.getrandbits(64):016x}"
    return Session(new_value, cookie=_set_cookie(cookie, new_value))


def _set_cookie(cookie: JsonObject, value: str) -> str:
    """Without a lifetime, or with lifetime 0, a cookie ends with the browser session."""
    seconds = int((cookie.get("ttl") or {}).get("seconds") or 0)
    life = f"; Max-Age={seconds}" if seconds else ""
    return f"{cookie.get('name', '')}={value}{life}; Path={cookie.get('path') or '/'}; HttpOnly"


def _request_cookie(request: Request, name: str) -> str:
    try:
        value = SimpleCookie(request.headers.get("cookie", "")).get(name)
    except CookieError:
        return ""
    return value.value if value is not None else ""
