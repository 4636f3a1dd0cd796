"""One call to Compute Engine: through the official client's own methods, with JSON bodies as they
are, and every failure as one of ours.

Used by `infra/compute/client.py` alone. All clients share one transport adapter and one set of
credentials, so there is one pool of connections and one token. Two hooks of their sessions keep
JSON whole: what goes out is our body and not the client's rendering of it (which can express
neither `null` nor an empty list, the two ways to clear something by a patch), and what comes in is
read from the answer itself (the client drops the fields that it is too old to know, and a foreign
rule in a shared URL map must survive being written back)."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, get_args, get_type_hints

import requests
from google.api_core.exceptions import GoogleAPICallError
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import GoogleAuthError
from google.protobuf import json_format
from requests.adapters import BaseAdapter

from infra.clock import Clock
from infra.compute.endpoints import (
    AGGREGATED,
    ENDPOINTS,
    GLOBAL_OPERATIONS,
    REFERENCES,
    REGION_OPERATIONS,
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
_PARTIAL = re.compile(r"(?:projects/[^/]+/)?(?:global/[a-zA-Z]+|regions/[^/]+|zones)/[^/]+")

_services = Library(
    row.service for row in (*ENDPOINTS.values(), GLOBAL_OPERATIONS, REGION_OPERATIONS)
)
_survey = Library(row.service for row, _ in AGGREGATED.values())


class _Exchange(threading.local):
    """What a thread's call at hand sends, and what it got."""

    body: Body | None = None
    status: int = 0
    content: bytes = b""


class Calls:
    """The clients of one project at one endpoint. Made without any import or connection; a client
    is made when its first call is."""

    def __init__(
        self,
        project: str,
        clock: Clock,
        endpoint: str | None,
        credentials: Any,
        adapter: BaseAdapter | None,
    ) -> None:
        self.project = project
        self._clock = clock
        self._endpoint = endpoint
        is_local = adapter is not None or (endpoint or "").startswith("http://")
        self._credentials = credentials or (AnonymousCredentials() if is_local else None)
        self._adapter = adapter
        self._clients: dict[str, Any] = {}
        self._exchange = _Exchange()
        self._lock = threading.Lock()

    def call(
        self,
        row: Endpoint,
        method: str,
        fields: Mapping[str, Any],
        timeout_seconds: float,
        body_field: str = "",
    ) -> Body:
        """Call a method of a row's client; `fields` are the request message's, by JSON name, and
        `body_field` is the one to be sent as it is. Raises `compute_errors.Trouble`."""
        bound = getattr(self._client(row), method)
        exchange = self._exchange
        exchange.body, exchange.status, exchange.content = fields.get(body_field), 0, b""
        request = _request(bound, {"project": self.project, **fields})
        try:
            bound(request=request, retry=None, timeout=timeout_seconds)
            return _object(exchange.content)
        except GoogleAPICallError as error:
            raise classify_error(
                parse_response_error(exchange.status, _json(exchange.content)), self._clock.now()
            ) from error
        except (requests.RequestException, GoogleAuthError) as error:
            raise Retry(
                BACK_OFF_SECONDS, f"no answer to {method} on {row.service}: {error}"
            ) from error
        except (json_format.ParseError, ValueError) as error:
            raise Retry(
                BACK_OFF_SECONDS, f"garbled answer to {method} on {row.service}: {error}"
            ) from error

    def in_full(self, body: Any, field: str = "") -> Any:
        """A body with its references as full URLs, as some fields need them; everything else as it
        is."""
        if isinstance(body, dict):
            return {name: self.in_full(value, name) for name, value in body.items()}
        if isinstance(body, list):
            return [self.in_full(value, field) for value in body]
        if field in REFERENCES and isinstance(body, str) and _PARTIAL.match(body):
            return HOST + (
                body if body.startswith("projects/") else f"projects/{self.project}/{body}"
            )
        return body

    def _client(self, row: Endpoint) -> Any:
        with self._lock:
            if row.service not in self._clients:
                self._clients[row.service] = self._make(row)
            return self._clients[row.service]

    def _make(self, row: Endpoint) -> Any:
        library = _services if row.service in _services else _survey
        make = getattr(library.service(row.service), row.client)
        client = make(
            credentials=self._credentials,
            client_options={"api_endpoint": self._endpoint} if self._endpoint else None,
        )
        self._credentials = client.transport._credentials
        session: requests.Session = client.transport._session
        _settle(session, self._endpoint or HOST)
        session.auth = self._send_as_it_is
        session.hooks["response"].append(self._keep)
        self._adapter = self._adapter or session.get_adapter(self._endpoint or HOST)
        session.mount("https://", self._adapter)
        session.mount("http://", self._adapter)
        return client

    def _send_as_it_is(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._exchange.body is not None:
            request.body = json.dumps(self._exchange.body)
        return request

    def _keep(self, response: requests.Response, *_: Any, **__: Any) -> None:
        self._exchange.status, self._exchange.content = response.status_code, response.content
        if response.ok:
            response._content = (  # the client would render all of it, at twenty times the cost of reading it, for nobody
                b"{}"
            )


def _settle(session: requests.Session, url: str) -> None:
    """Take proxies and certificates from the environment now, rather than search all of it again in
    every call. A plain `http://` endpoint is on this machine, where no proxy leads."""
    if not url.startswith("http://"):
        found = session.merge_environment_settings(url, {}, None, None, None)
        session.proxies, session.verify, session.cert = (
            found["proxies"],
            found["verify"],
            found["cert"],
        )
    session.trust_env = False


def _request(bound: Callable[..., Any], fields: Mapping[str, Any]) -> Any:
    """The request message. Fields that the client does not know pass: the API judges them, and it
    may be the newer one."""
    message = _message(bound.__func__)  # type: ignore[attr-defined]
    try:
        return message.wrap(
            json_format.ParseDict(fields, message.pb()(), ignore_unknown_fields=True)
        )
    except json_format.ParseError as error:
        raise Refused(Problem("config", "INVALID_BODY", str(error).splitlines()[0])) from error


@cache
def _message(method: Callable[..., Any]) -> Any:
    """The request message's class, out of the method's annotation: `Optional[Union[Message,
    dict]]`."""
    return next(each for each in get_args(get_type_hints(method)["request"]) if hasattr(each, "pb"))


def _object(content: bytes) -> Body:
    found = json.loads(content)
    if not isinstance(found, dict):
        raise ValueError(f"{content[:40]!r} is no JSON object")
    return found


def _json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return None
