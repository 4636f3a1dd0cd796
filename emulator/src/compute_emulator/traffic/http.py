"""The part of HTTP/1.1 that the data plane needs: parse messages from bytes, and encode them.
Pure.

Whole bodies are held in memory (Content-Length or chunked); header names are in lower case.
HTTP/1.0 clients are supported: `ab -k`, for one, waits forever unless the response says that the
connection stays open."""

from __future__ import annotations

from dataclasses import dataclass, field
from http.client import responses

HEAD_BYTES, BODY_BYTES = 65_536, 32 * 1024 * 1024
NO_BODY = (204, 304)


class BadMessage(Exception):
    """Malformed HTTP/1.1; `status` is the server's response to it."""

    def __init__(self, why: str, status: int = 400) -> None:
        super().__init__(why)
        self.status = status


@dataclass(slots=True)
class Request:
    """`target` is the path with its query. `asks_to_keep`: the client has explicitly asked to
    keep the connection open."""

    method: str
    target: str
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    keeps_alive: bool = True
    asks_to_keep: bool = False

    def encoded(self) -> bytes:
        return _message(f"{self.method} {self.target} HTTP/1.1", self.headers, self.body)


@dataclass(slots=True)
class Response:
    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    def encoded(self) -> bytes:
        return _message(
            self._start,
            self.headers,
            b"" if self.status in NO_BODY else self.body,
            self.status not in NO_BODY,
        )

    def encoded_for(self, request: Request) -> bytes:
        """As the response to a request: without a body for HEAD, and with a Connection header."""
        headers = self.headers
        if not request.keeps_alive:
            headers = headers | {"connection": "close"}
        elif request.asks_to_keep:
            headers = headers | {"connection": "keep-alive"}
        body = b"" if request.method == "HEAD" else self.body
        return Response(self.status, headers, body).encoded()

    @property
    def _start(self) -> str:
        return f"HTTP/1.1 {self.status} {responses.get(self.status, 'Unknown')}"


def _message(start: str, headers: dict[str, str], body: bytes, tells_length: bool = True) -> bytes:
    lines = [start, *(f"{name}: {value}" for name, value in headers.items())]
    lines += [f"content-length: {len(body)}", "", ""] if tells_length else ["", ""]
    return "\r\n".join(lines).encode("latin-1", "replace") + body


def _in_absolute_form(target: str, headers: dict[str, str]) -> str:
    """`http://host/path`, as sent to a proxy; its host takes precedence over the header. Source:
    RFC 9112, 3.2.2."""
    scheme, mark, rest = target.partition("://")
    if not mark or scheme.lower() not in ("http", "https"):
        return target
    headers["host"], slash, path = rest.partition("/")
    return slash + path or "/"


class Reader:
    """Buffers bytes as they arrive; `request` and `response` return the next complete message,
    or None."""

    __slots__ = ("_buffer", "_continue_sent", "_head")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._head: tuple[str, dict[str, str]] | None = None
        self._continue_sent = False

    def feed(self, data: bytes) -> None:
        self._buffer += data

    @property
    def expects_continue(self) -> bool:
        """Whether the sender waits for `100 Continue` before it sends the body. True once."""
        if (
            self._continue_sent
            or self._head is None
            or self._head[1].get("expect", "").lower() != "100-continue"
        ):
            return False
        self._continue_sent = True
        return True

    def request(self) -> Request | None:
        taken = self._take()
        if taken is None:
            return None
        start, headers, body = taken
        parts = start.split(" ")
        if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
            raise BadMessage("the request line is malformed")
        options = {each.strip() for each in headers.pop("connection", "").lower().split(",")}
        asks_to_keep = "keep-alive" in options
        keeps = "close" not in options and (asks_to_keep or parts[2] != "HTTP/1.0")
        target = parts[1] if parts[1].startswith("/") else _in_absolute_form(parts[1], headers)
        return Request(parts[0], target, headers, body, keeps, asks_to_keep)

    def response(self) -> Response | None:
        taken = self._take()
        if taken is None:
            return None
        start, headers, body = taken
        status = start.split(" ", 2)[1]
        if not status.isdigit():
            raise BadMessage("the status line is malformed")
        headers.pop("connection", None)
        return Response(int(status), headers, body)

    def _take(self) -> tuple[str, dict[str, str], bytes] | None:
        if self._head is None:
            self._head = self._read_head()
            if self._head is None:
                return None
        start, headers = self._head
        body = self._body(headers)
        if body is None:
            return None
        for name in ("content-length", "transfer-encoding", "expect"):
            headers.pop(name, None)
        self._head, self._continue_sent = None, False
        return start, headers, body

    def _read_head(self) -> tuple[str, dict[str, str]] | None:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0 or end > HEAD_BYTES:
            if len(self._buffer) > HEAD_BYTES:
                raise BadMessage("the headers are too large", 431)
            return None
        lines = bytes(self._buffer[:end]).decode("latin-1").split("\r\n")
        del self._buffer[: end + 4]
        headers: dict[str, str] = {}
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            if not colon or name != name.strip() or not name:
                raise BadMessage("a header is malformed")
            name, value = name.lower(), value.strip()
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        return lines[0], headers

    def _body(self, headers: dict[str, str]) -> bytes | None:
        if "chunked" in headers.get("transfer-encoding", "").lower():
            return self._chunked()
        given = headers.get("content-length", "0")
        if not given.isdigit():
            raise BadMessage("Content-Length is not a number")
        length = int(given)
        if length > BODY_BYTES:
            raise BadMessage("the body is too large", 413)
        if len(self._buffer) < length:
            return None
        body = bytes(self._buffer[:length])
        del self._buffer[:length]
        return body

    def _chunked(self) -> bytes | None:
        """Parses from the start again whenever more bytes have arrived; bodies are small here."""
        at, parts = 0, []
        while True:
            end = self._buffer.find(b"\r\n", at)
            if end < 0:
                return None
            try:
                size = int(bytes(self._buffer[at:end]).partition(b";")[0], 16)
            except ValueError as error:
                raise BadMessage("a chunk has no size") from error
            if end + size > BODY_BYTES:
                raise BadMessage("the body is too large", 413)
            at = end + 2
            if len(self._buffer) < at + size + 2:
                return None
            if size == 0:
                break
            parts.append(bytes(self._buffer[at : at + size]))
            at += size + 2
        while (end := self._buffer.find(b"\r\n", at)) != at:  # trailers
            if end < 0:
                return None
            at = end + 2
        del self._buffer[: at + 2]
        return b"".join(parts)
