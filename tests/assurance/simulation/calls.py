"""The Compute client's calls without the client: the same requests on the same wire, at a tenth of
the cost.

What a call looks like as a request is learnt from the real client, once for each method: `Calls`
makes it with marked values, and the places of the marks are remembered. Errors are read by the
deployed classification. The simulation can run on either; a test holds both to the same trace."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import orjson
import requests
from requests.adapters import BaseAdapter

from compute_emulator.api.wire import Request, Response
from compute_emulator.errors import ConnectionDropped
from infra.clock import Clock
from infra.compute.calls import Calls
from infra.compute.client import Compute
from infra.compute.endpoints import Endpoint
from infra.compute.errors import BACK_OFF_SECONDS, Retry, classify_error, parse_response_error
from infra.fleet.model import Body

ENDPOINT = "http://compute.local"
Line = Callable[[Request], Response]


class LineAdapter(BaseAdapter):
    """The real client's requests, handed to a `Line`."""

    def __init__(self, line: Line) -> None:
        super().__init__()
        self._line = line

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        body = request.body or b""
        try:
            answered = self._line(
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
        """Nothing is held open."""


class _Learnt(Exception):
    """The request has been seen; nobody needs an answer."""


class _Teacher(LineAdapter):
    def __init__(self) -> None:
        super().__init__(self._see)
        self.seen: Request | None = None

    def _see(self, request: Request) -> Response:
        self.seen = request
        raise ConnectionDropped("learnt")


_TEACHER = _Teacher()
_REAL: dict[str, Calls] = {}
_LEARNT: dict[tuple[str, ...], tuple[str, str]] = {}
_REQUESTS: dict[
    tuple[Any, ...], tuple[str, str]
] = {}  # those that were made before, by project, method and fields


class FastCalls:
    """Stands in for `Calls` under `Compute`."""

    def __init__(self, project: str, clock: Clock, line: Line) -> None:
        self.project = project
        self._clock, self._line = clock, line
        self.in_full = Calls(project, clock, ENDPOINT, None, _TEACHER).in_full

    def call(
        self,
        row: Endpoint,
        method: str,
        fields: Mapping[str, Any],
        timeout_seconds: float,
        body_field: str = "",
    ) -> Body:
        key = (
            self.project,
            row.service,
            method,
            *(item for item in fields.items() if item[0] != body_field),
        )
        http, target = _REQUESTS.get(key) or self._request(row, method, fields, body_field)
        if "requestId" not in fields:
            _REQUESTS[key] = http, target
        body = orjson.dumps(fields[body_field]) if body_field else b""
        try:
            answered = self._line(Request(http, target, body))
        except ConnectionDropped as cut:
            raise Retry(BACK_OFF_SECONDS, f"no answer to {method} on {row.service}: {cut}") from cut
        try:
            found = orjson.loads(answered.body)
        except ValueError as error:
            if answered.status == 200:
                raise Retry(
                    BACK_OFF_SECONDS, f"garbled answer to {method} on {row.service}: {error}"
                ) from error
            found = None
        if answered.status != 200:
            raise classify_error(parse_response_error(answered.status, found), self._clock.now())
        return dict(found)

    def _request(
        self, row: Endpoint, method: str, fields: Mapping[str, Any], body_field: str
    ) -> tuple[str, str]:
        marked = {name: value for name, value in fields.items() if name != body_field}
        key = (row.service, method, body_field, *marked)
        if key not in _LEARNT:
            _LEARNT[key] = _learn(self.project, self._clock, row, method, tuple(marked), body_field)
        http, target = _LEARNT[key]
        for number, value in enumerate(marked.values()):
            target = target.replace(_mark(number), quote(str(value), safe=""))
        return http, target


def _mark(number: int) -> str:
    return (  # a number and a name at once, since some parameters are one and some the other
        f"7700{number}0077"
    )


def _learn(
    project: str, clock: Clock, row: Endpoint, method: str, names: tuple[str, ...], body_field: str
) -> tuple[str, str]:
    real = _REAL.setdefault(project, Calls(project, clock, ENDPOINT, None, _TEACHER))
    fields: dict[str, Any] = {
        name: int(_mark(number)) if name == "maxResults" else _mark(number)
        for number, name in enumerate(names)
    }
    _TEACHER.seen = None
    with suppress(Retry):
        real.call(row, method, fields | ({body_field: {}} if body_field else {}), 1.0, body_field)
    if _TEACHER.seen is None:
        raise AssertionError(f"the client made no request for {method} on {row.service}")
    return _TEACHER.seen.http, _TEACHER.seen.target


def compute_on(line: Line, project: str, clock: Clock, *, is_fast: bool) -> Compute:
    compute = Compute(project, clock, ENDPOINT, adapter=LineAdapter(line), workers=1)
    if is_fast:
        compute._calls = FastCalls(project, clock, line)  # type: ignore[assignment]
    return compute
