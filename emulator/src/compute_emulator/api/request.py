"""Normalises HTTP requests: HEAD, method overrides, compressed bodies and chunked bodies.

`server` reads bodies with `read_body`; `dispatch.handle` calls `normalize` on every request.
google-api-python-client relies on it: it sends a GET with a long URL as a POST with
`X-HTTP-Method-Override: GET` and the query in the body.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol
from urllib.parse import urlsplit

from compute_emulator.errors import ApiError, BadRequest

OVERRIDE = "x-http-method-override"
FORM = "application/x-www-form-urlencoded"
VERBS = ("GET", "POST", "PUT", "PATCH", "DELETE")
LARGEST_BODY = 64 * 2**20
"""A larger body is refused, compressed or decompressed."""


class MalformedRequest(BadRequest):
    """A body whose end cannot be determined."""


class Stream(Protocol):
    """The source of a body."""

    def read(self, size: int, /) -> bytes: ...
    def readline(self, size: int, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Request:
    """`target` is the path with its query, or a full URL. The names of `headers` are in lower
    case.
    """

    http: str
    target: str
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


def normalize(request: Request) -> Request:
    """Raises `ApiError` for a body that cannot be decompressed or an unknown method."""
    if request.http == "HEAD":
        return replace(request, http="GET")
    if request.body and request.headers.get("content-encoding", "identity").lower() != "identity":
        request = replace(
            request, body=_decompress(request.body, request.headers["content-encoding"].lower())
        )
    given = request.headers.get(OVERRIDE)
    return (
        request
        if given is None or request.http != "POST"
        else _override_method(request, given.upper())
    )


def read_body(stream: Stream, headers: Mapping[str, str]) -> bytes:
    """A request's body. Raises `MalformedRequest` for an invalid length or a body that is too
    large.
    """
    if "chunked" in headers.get("transfer-encoding", "").lower():
        return b"".join(_chunks(stream))
    given = headers.get("content-length", "0").strip()
    if not (given.isascii() and given.isdigit() and len(given) < 16):
        raise MalformedRequest(f"Content-Length '{given}' is not a number.")
    return _read_exactly(stream, int(given))


def _chunks(stream: Stream) -> Iterator[bytes]:
    """Source: RFC 9112, 7.1."""
    total = 0
    while True:
        line = stream.readline(1024).partition(b";")[0].strip()
        try:
            size = int(line, 16)
        except ValueError as error:
            raise MalformedRequest(f"The length of a chunk is not a number: {line!r}") from error
        total += size
        if size < 0 or total > LARGEST_BODY:
            raise MalformedRequest(
                f"A body must not be larger than {LARGEST_BODY} bytes.",
                status=413,
                reason="uploadTooLarge",
            )
        if size == 0:
            while stream.readline(65536).strip():
                """Trailers are ignored."""
            return
        yield _read_exactly(stream, size)
        stream.readline(1024)


def _read_exactly(stream: Stream, size: int) -> bytes:
    if size > LARGEST_BODY:
        raise MalformedRequest(
            f"A body must not be larger than {LARGEST_BODY} bytes.",
            status=413,
            reason="uploadTooLarge",
        )
    body = stream.read(size) if size else b""
    if len(body) < size:
        raise ConnectionAbortedError(f"{len(body)} of {size} bytes arrived")
    return body


def _override_method(request: Request, http: str) -> Request:
    """The body of a form becomes the query."""
    if http not in VERBS:
        raise BadRequest(f"{OVERRIDE}: '{http}' is not one of {', '.join(VERBS)}.")
    if not request.headers.get("content-type", "").startswith(FORM):
        return replace(request, http=http)
    separator = "&" if urlsplit(request.target).query else "?"
    return replace(
        request,
        http=http,
        target=f"{request.target}{separator}{request.body.decode('latin-1')}",
        body=b"",
    )


def _decompress(body: bytes, coding: str) -> bytes:
    if coding not in ("gzip", "x-gzip"):
        raise ApiError(
            f"Content-Encoding '{coding}' is not supported; use gzip.",
            status=415,
            reason="unsupportedMediaType",
        )
    try:
        decompressor = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        body_bytes = decompressor.decompress(body, LARGEST_BODY)
    except zlib.error as error:
        raise BadRequest(f"The body is not gzip: {error}", reason="parseError") from error
    if decompressor.unconsumed_tail:
        raise BadRequest(
            f"A body must not be larger than {LARGEST_BODY} bytes.",
            status=413,
            reason="uploadTooLarge",
        )
    if not decompressor.eof:
        raise BadRequest("The body is not gzip: it is truncated.", reason="parseError")
    return body_bytes
