"""Makes the Compute client's requests without the client, at a tenth of the cost.

The request of each method is recorded once from the real client: `Calls` makes it with
placeholder values, and their places in the URL are kept as a template. Errors go through the
deployed classification. Journeys and the simulation run on either, and a test holds both to the
same trace.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import Any
from urllib.parse import quote, urlencode

import orjson
import requests
from requests.adapters import BaseAdapter
from requests.structures import CaseInsensitiveDict

from compute_emulator import ConnectionDropped, Request, Response
from infra.clock import Clock
from infra.compute.calls import Calls
from infra.compute.client import Compute
from infra.compute.endpoints import Endpoint
from infra.compute.errors import BACK_OFF_SECONDS, Retry, classify_error, parse_response_error
from infra.fleet.model import Body

ENDPOINT = "http://compute.local"
Transport = Callable[[Request], Response]


class TransportAdapter(BaseAdapter):
    """Hands the real client's requests to a `Transport`."""

    def __init__(self, transport: Transport) -> None:
        super().__init__()
        self._transport = transport

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        body = request.body or b""
        try:
            answered = self._transport(
                Request(
                    request.method or "",
                    str(request.url),
                    body.encode() if isinstance(body, str) else body,
                )
            )
        except ConnectionDropped as cut:
            raise requests.ConnectionError(
                f"connection ended without an answer ({cut})", request=request
            ) from cut
        response = requests.Response()
        response.status_code, response._content = answered.status, answered.body
        response.headers["content-type"], response.url, response.request = (
            answered.content_type,
            str(request.url),
            request,
        )
        return response

    def close(self) -> None:
        """Nothing to close."""


class _Recorder(TransportAdapter):
    """Keeps the request that the real client would have sent."""

    def __init__(self) -> None:
        super().__init__(self._record)
        self.request: Request | None = None

    def _record(self, request: Request) -> Response:
        self.request = request
        raise ConnectionDropped("recorded")


_RECORDER = _Recorder()
_REAL: dict[str, Calls] = {}
_TEMPLATES: dict[tuple[str, ...], tuple[str, str]] = {}
# HTTP method and target by project, method and fields.
_REQUESTS: dict[tuple[Any, ...], tuple[str, str]] = {}


class FastCalls:
    """Replaces `Calls` in `Compute`."""

    def __init__(self, project: str, clock: Clock, transport: Transport) -> None:
        self.project = project
        self._clock, self._transport = clock, transport

    def call(
        self,
        endpoint: Endpoint,
        method: str,
        fields: Mapping[str, Any],
        timeout_seconds: float,
        body_field: str = "",
    ) -> Body:
        key = (
            self.project,
            endpoint.service,
            method,
            *(item for item in fields.items() if item[0] != body_field),
        )
        http, target = _REQUESTS.get(key) or self._request(endpoint, method, fields, body_field)
        if "requestId" not in fields:
            _REQUESTS[key] = http, target
        body = orjson.dumps(fields[body_field]) if body_field else b""
        try:
            answered = self._transport(Request(http, target, body))
        except ConnectionDropped as cut:
            raise Retry(
                BACK_OFF_SECONDS, f"no answer to {method} on {endpoint.service}: {cut}"
            ) from cut
        try:
            found = orjson.loads(answered.body)
        except ValueError as error:
            if answered.status == 200:
                raise Retry(
                    BACK_OFF_SECONDS, f"garbled answer to {method} on {endpoint.service}: {error}"
                ) from error
            found = None
        if answered.status != 200:
            raise classify_error(parse_response_error(answered.status, found), self._clock.now())
        return dict(found)

    def _request(
        self, endpoint: Endpoint, method: str, fields: Mapping[str, Any], body_field: str
    ) -> tuple[str, str]:
        substituted = {name: value for name, value in fields.items() if name != body_field}
        key = (endpoint.service, method, body_field, *substituted)
        if key not in _TEMPLATES:
            _TEMPLATES[key] = _record_template(
                self.project, self._clock, endpoint, method, substituted, body_field
            )
        http, target = _TEMPLATES[key]
        for number, value in enumerate(substituted.values()):
            target = target.replace(_placeholder(number), quote(str(value), safe=""))
        return http, target


def _placeholder(number: int) -> str:
    """Both a number and a name, since some parameters are one and some the other."""
    return f"7700{number}0077"


def _record_template(
    project: str,
    clock: Clock,
    endpoint: Endpoint,
    method: str,
    substituted: Mapping[str, Any],
    body_field: str,
) -> tuple[str, str]:
    real = _REAL.setdefault(project, Calls(project, clock, ENDPOINT, None, _RECORDER))
    fields: dict[str, Any] = {
        name: value if isinstance(value, bool) else type(value)(_placeholder(number))
        for number, (name, value) in enumerate(substituted.items())
    }
    _RECORDER.request = None
    with suppress(Retry):
        real.call(
            endpoint, method, fields | ({body_field: {}} if body_field else {}), 1.0, body_field
        )
    if _RECORDER.request is None:
        raise AssertionError(f"the client made no request for {method} on {endpoint.service}")
    return _RECORDER.request.http, _RECORDER.request.target


class DirectCalls(Calls):
    """The real calls with a session that hands each request to the adapter at once. What `requests`
    does in between (merging settings, cookies, default headers) takes a quarter of a journey's
    time; `tests/infra/test_compute.py` covers it.
    """

    def _make_client(self, endpoint: Endpoint) -> Any:
        client = super()._make_client(endpoint)
        client.transport._session = DirectSession(client.transport._session.get_adapter("https://"))
        return client


class DirectSession:
    def __init__(self, adapter: BaseAdapter) -> None:
        self._adapter = adapter

    def request(
        self,
        method: str,
        url: str,
        params: Sequence[tuple[str, str]] = (),
        data: str | None = None,
        headers: Mapping[str, str] = MappingProxyType({}),
        timeout: float | None = None,
    ) -> requests.Response:
        request = requests.PreparedRequest()
        request.method, request.body = method, data
        request.url = f"{url}?{urlencode(params)}" if params else url
        request.headers = CaseInsensitiveDict(headers)
        return self._adapter.send(request, timeout=timeout)


def make_compute(transport: Transport, project: str, clock: Clock, *, is_fast: bool) -> Compute:
    compute = Compute(project, clock, ENDPOINT, workers=1)
    if is_fast:
        compute._calls = FastCalls(project, clock, transport)  # type: ignore[assignment]
    else:
        adapter = TransportAdapter(transport)
        compute._calls = DirectCalls(project, clock, ENDPOINT, None, adapter)
    return compute
