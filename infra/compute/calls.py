"""Makes one call to Compute Engine through the official client, with the request body and the
answer as plain JSON.

Used by `infra/compute/client.py` alone. The client's own code forms the request (path, query,
headers), and its session sends it (credentials, connection pool). Between the two, each call has an
`_Exchange` of its own:

    fields ──> request message ──> the client's stub ──────┐ method, URL, query, headers
                                                           v
    body as given ───────────────────────────────────> _Exchange ──> session ──> Compute Engine
    status and content as they arrived <─────────────── _Exchange <── session <──
                                                           │ an empty answer
                                                           v
                                   the stub parses nothing and returns

The request message has an empty body. The stub's own JSON would not do. It cannot express `null` or
an empty list, the two ways in which a patch clears a field. And it drops the fields that the client
is too old to know, but a foreign rule in a shared URL map must survive being written back. All
clients share one transport adapter and one set of credentials, so there is one pool of connections
and one token.
"""

from __future__ import annotations

import json
import re
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from functools import cache, partialmethod
from types import SimpleNamespace
from typing import Any, get_type_hints

import requests
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import GoogleAuthError
from google.protobuf import json_format
from requests.adapters import BaseAdapter

from infra.clock import Clock
from infra.compute.endpoints import (
    AGGREGATED,
    CATALOGUES,
    ENDPOINTS,
    GLOBAL_OPERATIONS,
    REFERENCES,
    REGION_OPERATIONS,
    ZONE_OPERATIONS,
    Endpoint,
)
from infra.compute.errors import (
    BACK_OFF_SECONDS,
    Refused,
    Retry,
    classify_error,
    parse_response_error,
)
from infra.compute.loader import Library
from infra.fleet.model import Body
from rollout.model import Problem

HOST = "https://www.googleapis.com/compute/v1/"
_PARTIAL_URL = re.compile(r"(?:projects/[^/]+/)?(?:global/[a-zA-Z]+|regions/[^/]+|zones)/[^/]+")
_EMPTY_ANSWER = SimpleNamespace(status_code=200, content=b"{}", headers={})

# Services that few passes use are libraries of their own, imported at their first use.
_SERVICES = Library(
    endpoint.service for endpoint in (*ENDPOINTS.values(), GLOBAL_OPERATIONS, REGION_OPERATIONS)
)
_INVENTORY_SERVICES = Library(endpoint.service for endpoint, _ in AGGREGATED.values())
_LOSS_SERVICES = Library((ZONE_OPERATIONS.service,))
# So is what only a preflight reads.
_PREFLIGHT_SERVICES = Library({endpoint.service: None for endpoint in CATALOGUES.values()})
_LIBRARIES = (_SERVICES, _INVENTORY_SERVICES, _LOSS_SERVICES, _PREFLIGHT_SERVICES)


class Calls:
    """The clients of one project at one API endpoint. Creating it imports and connects to nothing;
    a client is created at its first call.
    """

    def __init__(
        self,
        project: str,
        clock: Clock,
        api_endpoint: str | None,
        credentials: Any,
        adapter: BaseAdapter | None,
    ) -> None:
        self._project = project
        self._clock = clock
        self._api_endpoint = api_endpoint
        is_local = adapter is not None or (api_endpoint or "").startswith("http://")
        self._credentials = credentials or (AnonymousCredentials() if is_local else None)
        self._adapter = adapter
        self._clients: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._maps: deque[tuple[bytes, Body]] = deque(maxlen=4)

    def call(
        self,
        endpoint: Endpoint,
        method: str,
        fields: Mapping[str, Any],
        timeout_seconds: float,
        body_field: str = "",
    ) -> Body:
        """Call a method and return the answer. `fields` are those of the request message, by JSON
        name; `body_field` names the one that is sent as the body. `fields` is no field of any
        message: it selects members of the answer, so it goes into the query. Raises a
        `ComputeError`.
        """
        transport = self._client(endpoint).transport
        stub = getattr(transport, method)
        without_body = {**fields, **({body_field: {}} if body_field else {})}
        request = _request_message(type(stub), {"project": self._project, **without_body})
        exchange = _Exchange(transport._session, fields.get(body_field), fields.get("fields"))
        try:
            replace(stub, _session=exchange)(request, timeout=timeout_seconds)
            if exchange.status < 400:
                is_map = endpoint.service == "url_maps" and method in ("get", "list")
                return (self._parse_map if is_map else _parse_object)(exchange.content)
        except (requests.RequestException, GoogleAuthError) as error:
            raise Retry(
                BACK_OFF_SECONDS, f"no answer to {method} on {endpoint.service}: {error}"
            ) from error
        except ValueError as error:
            raise Retry(
                BACK_OFF_SECONDS, f"garbled answer to {method} on {endpoint.service}: {error}"
            ) from error
        answer = parse_response_error(exchange.status, _parse_or_none(exchange.content))
        raise classify_error(answer, self._clock.now())

    def _parse_map(self, content: bytes) -> Body:
        """The answer; the same object as of an equal one shortly before. Passes that share the
        client read the same large maps again and again, and nothing changes what was read.
        """
        for seen, body in tuple(self._maps):
            if seen == content:
                return body
        found = _parse_object(content)
        self._maps.append((content, found))
        return found

    def _client(self, endpoint: Endpoint) -> Any:
        with self._lock:
            if endpoint.service not in self._clients:
                self._clients[endpoint.service] = self._make_client(endpoint)
            return self._clients[endpoint.service]

    def _make_client(self, endpoint: Endpoint) -> Any:
        library = next(each for each in _LIBRARIES if endpoint.service in each)
        client = getattr(library.service(endpoint.service), endpoint.client)(
            credentials=self._credentials,
            client_options={"api_endpoint": self._api_endpoint} if self._api_endpoint else None,
        )
        self._credentials = client.transport._credentials
        session: requests.Session = client.transport._session
        url = self._api_endpoint or HOST
        _apply_environment(session, url)
        self._adapter = self._adapter or session.get_adapter(url)
        session.mount("https://", self._adapter)
        session.mount("http://", self._adapter)
        return client


class _Exchange:
    """One HTTP exchange. Takes the place of the session in the client's stub for one call: sends
    `body` instead of the stub's, asks for `members` of the answer alone, if it is given, and keeps
    the answer.
    """

    def __init__(self, session: requests.Session, body: Body | None, members: str | None) -> None:
        self._session = session
        self._body = body
        self._members = members
        self.status = 0
        self.content = b""

    def _send(self, method: str, url: str, **options: Any) -> SimpleNamespace:
        if self._body is not None:
            options["data"] = json.dumps(self._body)
        if self._members:
            options["params"] = [*options.get("params", ()), ("fields", self._members)]
        response = self._session.request(method, url, **options)
        self.status, self.content = response.status_code, response.content
        # Parsing the answer into messages that nobody reads takes 20 times as long as reading it.
        return _EMPTY_ANSWER

    get = partialmethod(_send, "GET")
    post = partialmethod(_send, "POST")
    put = partialmethod(_send, "PUT")
    patch = partialmethod(_send, "PATCH")
    delete = partialmethod(_send, "DELETE")


def expand_references(body: Any, project: str, field: str = "") -> Any:
    """A body with partial URLs of other resources expanded to full ones, in the fields listed in
    `REFERENCES`. Everything else stays unchanged.
    """
    if isinstance(body, dict):
        return {name: expand_references(value, project, name) for name, value in body.items()}
    if isinstance(body, list):
        return [expand_references(value, project, field) for value in body]
    if field in REFERENCES and isinstance(body, str) and _PARTIAL_URL.match(body):
        return HOST + (body if body.startswith("projects/") else f"projects/{project}/{body}")
    return body


def _apply_environment(session: requests.Session, url: str) -> None:
    """Read proxies and certificates from the environment once, rather than at every call. A plain
    `http://` endpoint is on this machine and needs no proxy.
    """
    if not url.startswith("http://"):
        found = session.merge_environment_settings(url, {}, None, None, None)
        session.proxies, session.verify, session.cert = (
            found["proxies"],
            found["verify"],
            found["cert"],
        )
    session.trust_env = False


def _request_message(stub: type, fields: Mapping[str, Any]) -> Any:
    """The stub's request message. Fields that the client does not know are accepted: the API
    decides about them, and it may be newer than the client.
    """
    message = _message_class(stub)
    try:
        return message.wrap(
            json_format.ParseDict(fields, message.pb()(), ignore_unknown_fields=True)
        )
    except json_format.ParseError as error:
        raise Refused(Problem("config", "INVALID_BODY", str(error).splitlines()[0])) from error


@cache
def _message_class(stub: Any) -> Any:
    return get_type_hints(stub.__call__)["request"]


def _parse_object(content: bytes) -> Body:
    found = json.loads(content)
    if not isinstance(found, dict):
        raise ValueError(f"{content[:40]!r} is not a JSON object")
    return found


def _parse_or_none(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return None
