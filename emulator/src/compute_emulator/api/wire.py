"""From an HTTP request to an HTTP response: URL -> method -> checks -> handler -> body.

`dispatch` and `batch` call `handle`. A call is refused in the API's order: unknown URL (404),
not implemented (501), injected fault, parameters (400), body (400), then the handler's own
rules.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NoReturn
from urllib.parse import parse_qsl, unquote, urlsplit

import orjson

from compute_emulator.api import (
    discovery,
    request_schema,
    response_schema,
    stale_reads,
)
from compute_emulator.api.call import Call
from compute_emulator.api.collections import HANDLERS
from compute_emulator.api.discovery import Method, Parameter
from compute_emulator.api.fields import select
from compute_emulator.api.request import Request as Request
from compute_emulator.control.faults import STALE, Fault
from compute_emulator.engine.call_log import LoggedCall
from compute_emulator.engine.cloud import Cloud
from compute_emulator.errors import (
    ApiError,
    BadRequest,
    ConnectionDropped,
    Internal,
    Invalid,
    JsonObject,
    NotBuilt,
    NotFound,
    Required,
)
from compute_emulator.keys import Key
from compute_emulator.rules import images

PREFIX = re.compile(r"^.*?/compute/v1/")
MAXIMA = {"maxResults": 500}
"""Limits that the discovery document states only in its descriptions."""
SYSTEM_PARAMETERS = (
    "filter",
    "maxResults",
    "orderBy",
    "pageToken",
    "fields",
    "requestId",
    "returnPartialSuccess",
)


@dataclass(frozen=True, slots=True)
class Response:
    """`delay_seconds` (cloud time) is how long a latency fault holds the response back."""

    status: int
    body: bytes
    content_type: str = "application/json; charset=UTF-8"
    delay_seconds: float = 0.0


def handle(cloud: Cloud, request: Request) -> Response:
    """Raises `ConnectionDropped` if a fault ends the connection."""
    path, segments, query = _parts(request.target)
    if segments is None:
        return error_response(NotFound(path))
    with cloud.lock:
        cloud.advance()
        return _dispatch(cloud, request, segments, query)


@lru_cache(maxsize=4096)  # pollers repeat the same few requests
def _parts(target: str) -> tuple[str, tuple[str, ...] | None, Mapping[str, str]]:
    """A target's path, its segments after `/compute/v1/` (None if there is no such part), and
    its query.
    """
    parts = urlsplit(target)
    found = PREFIX.match(parts.path)
    segments = (
        tuple(unquote(each) for each in parts.path[found.end() :].strip("/").split("/"))
        if found
        else None
    )
    return (
        parts.path,
        segments,
        MappingProxyType(dict(parse_qsl(parts.query, keep_blank_values=True))),
    )


def _dispatch(
    cloud: Cloud, request: Request, segments: tuple[str, ...], query: Mapping[str, str]
) -> Response:
    routed = discovery.route(request.http, segments)
    if routed is None:
        return error_response(_unknown_url(request.http, segments))
    method, path_values = routed
    fault: Fault | None = None
    status, reason = 200, None
    try:
        if method.id not in HANDLERS:
            raise NotBuilt(method.id)
        _check_format(query)
        call, fault = _read_call(cloud, request, method, path_values)
        body = _handle(call)
        if cloud.check_responses and method.response:
            _check_response(method.response, body)
        if query.get("fields"):
            body = select(body, query["fields"], method.response)
    except ApiError as error:
        status, reason, body = error.status, error.reason, error.body()
    finally:
        target = "/".join(segments[2:])
        cloud.calls.record(
            LoggedCall(cloud.now(), method.id, request.http, target, status, reason),
            mutation=method.mutates,
        )
    if fault is not None and fault.kind == "drop_after":
        raise ConnectionDropped(method.id)
    late = fault.seconds if fault is not None and fault.kind == "latency" else 0.0
    return _json(status, body, late, pretty=query.get("prettyPrint") == "true")


def _check_format(query: Mapping[str, str]) -> None:
    """Responses are always JSON, whatever else the document's `alt` allows."""
    for name in ("alt", "$alt"):
        if query.get(name, "json").partition(";")[0] != "json":
            raise Invalid(name, query[name], "Must be json.")


def _read_call(
    cloud: Cloud, request: Request, method: Method, path_values: Mapping[str, str]
) -> tuple[Call, Fault | None]:
    """The validated call, and the fault that strikes it. Raises the error that refuses the call."""
    fault = cloud.faults.first_match(
        method.id, path_values.get(method.name_parameter or "", "") or _name_in(request.body)
    )
    if fault is not None and fault.kind == "drop_before":
        raise ConnectionDropped(method.id)
    if fault is not None and fault.kind == "error":
        raise fault.error()
    project = path_values.get("project", cloud.project)
    if project != cloud.project and not _is_shared(cloud, method, project):
        raise NotFound(f"projects/{project}")
    params = dict(_parameters(request.http, request.target))
    body = _body(method, request)
    call = Call(cloud, method, project, _scope(method, path_values), params, body, fault)
    call.require_known_scope()
    return call, fault


def _is_shared(cloud: Cloud, method: Method, project: str) -> bool:
    """Whether another project lets this one read the collection: public images, and networks of a
    host project that the catalogue control names.
    """
    if method.collection == "images":
        return project in images.FAMILIES
    return (
        method.collection in ("networks", "subnetworks")
        and not method.mutates
        and any(
            each.startswith(f"projects/{project}/")
            for each in cloud.catalogue.get(method.collection, ())
        )
    )


def _handle(call: Call) -> JsonObject:
    """Replay an earlier operation, fail by a fault, or run the handler."""
    request_id = call.params.get("requestId")
    if request_id:
        _check_request_id(request_id)
        earlier = call.cloud.operations.find_replay(call.method.id, request_id)
        if earlier is not None:
            return earlier
    fault = call.fault
    if fault is not None and fault.kind == "operation_error" and call.method.mutates:
        target = (
            call.key
            if call.name
            else Key(call.scope, call.collection, str(call.body.get("name", "")))
        )
        return call.cloud.operations.start(
            call.operation_type(),
            target,
            method_id=call.method.id,
            request_id=request_id,
            error=fault.error(),
        )
    stale_reads.remember(call)
    if fault is not None and fault.kind == STALE:
        return _stale(call, fault)
    return HANDLERS[call.method.id](call)


def _stale(call: Call, fault: Fault) -> JsonObject:
    try:
        fresh = HANDLERS[call.method.id](call)
    except NotFound as error:
        return stale_reads.deleted_as_before(call, fault, error)
    return stale_reads.as_before(call, fault, fresh)


def _check_response(response: str, body: JsonObject) -> None:
    error = response_schema.problems(response, body)
    if error:
        raise Internal("the emulator's response violates its schema: " + "; ".join(error[:5]))


def _unknown_url(http: str, segments: tuple[str, ...]) -> ApiError:
    path = "/".join(segments)
    if discovery.methods_of(http, segments):
        return ApiError(
            f"{http} is not a method of '{path}'.", status=405, reason="httpMethodNotAllowed"
        )
    return ApiError(
        f"The requested URL '{path}' is not part of Compute v1.", status=404, reason="notFound"
    )


def _scope(method: Method, path_values: Mapping[str, str]) -> str:
    for place in ("region", "zone"):
        if place in path_values and place != method.name_parameter:
            return f"{place}s/{path_values[place]}"
    return "aggregated" if "/aggregated/" in method.path else "global"


@lru_cache(maxsize=4096)  # as for `_parts`; errors are not cached
def _parameters(http: str, target: str) -> dict[str, Any]:
    """The parsed path and query of a request that has a method. Unknown parameters are dropped,
    except those that every list supports. The result is shared: copy it.
    """
    _, segments, query = _parts(target)
    routed = discovery.route(http, segments or ())
    if routed is None:
        raise NotFound(target)
    method, path_values = routed
    params: dict[str, Any] = dict(path_values)
    for parameter in method.path_parameters:
        given = path_values[parameter.name]
        if parameter.pattern is not None and not parameter.pattern.fullmatch(given):
            raise Invalid(
                parameter.name, given, f"Must be a match of regex '{parameter.pattern.pattern}'"
            )
    for parameter in method.query:
        if parameter.name in query:
            params[parameter.name] = _parse_parameter(parameter, query[parameter.name])
        elif parameter.required:
            raise Required(parameter.name)
    for name in SYSTEM_PARAMETERS:
        if name in query and name not in params:
            params[name] = query[name]
    return params


def _parse_parameter(parameter: Parameter, given: str) -> Any:
    try:
        match parameter.type:
            case "integer":
                number = int(given)
                low, high = parameter.minimum, MAXIMA.get(parameter.name, parameter.maximum)
                if (low is not None and number < low) or (high is not None and number > high):
                    raise Invalid(parameter.name, given, f"Must be between {low} and {high}.")
                return number
            case "boolean":
                return {"true": True, "false": False}[given.lower()]
            case _:
                return given
    except (KeyError, ValueError) as error:
        raise Invalid(parameter.name, given, f"Must be of type {parameter.type}.") from error


def _body(method: Method, request: Request) -> JsonObject:
    if method.request is None or not request.body:
        given: Any = {}
    else:
        try:
            given = json.loads(request.body, parse_constant=_reject_constant)
        except (ValueError, RecursionError) as error:
            raise BadRequest(
                f"Invalid JSON payload received. {error}", reason="parseError"
            ) from error
    if method.request is None:
        return {}
    body = request_schema.clean(
        method.request,
        given,
        merge=method.http == "PATCH",
        ignored=[parameter.name for parameter in method.path_parameters],
    )
    if method.http == "POST":
        for name in method.required:
            if name not in body:
                raise Required(f"resource.{name}")
    return body


def _reject_constant(word: str) -> NoReturn:
    """Python parses NaN and Infinity as numbers; JSON does not have them."""
    raise ValueError(f"Unexpected token {word}")


def _name_in(body: bytes) -> str:
    """The name in an insert's body, for faults that match on it."""
    try:
        return str(json.loads(body).get("name", "")) if body else ""
    except (ValueError, AttributeError, RecursionError):
        return ""


def _check_request_id(given: str) -> None:
    try:
        zero = uuid.UUID(given).int == 0
    except ValueError as error:
        raise Invalid("requestId", given, "The request ID must be a valid UUID.") from error
    if zero:
        raise Invalid("requestId", given, "The zero UUID is not supported.")


def _json(
    status: int, body: JsonObject, delay_seconds: float = 0.0, *, pretty: bool = False
) -> Response:
    return Response(status, _encode(body, pretty), delay_seconds=delay_seconds)


def _encode(body: JsonObject, pretty: bool) -> bytes:
    try:
        return orjson.dumps(
            body, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE if pretty else None
        )
    except orjson.JSONEncodeError:  # half a surrogate pair, or a number beyond 64 bits
        return json.dumps(body, separators=(",", ":")).encode()


def error_response(error: ApiError) -> Response:
    """The response for an error."""
    return _json(error.status, error.body())


def internal_error_response(error: Exception) -> Response:
    """The 500 for an error in the emulator itself."""
    return error_response(Internal(f"the emulator failed: {type(error).__name__}: {error}"))
