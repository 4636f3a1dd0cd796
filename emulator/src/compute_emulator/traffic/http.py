"""The part of HTTP/1.1 that the data plane needs: parse messages from bytes, and encode them.
Pure.

Bodies of requests are held in memory (Content-Length or chunked). A response that has not
arrived whole is streamed: its head comes first, then its body part by part
(`Reader.response_start`). Header names are in lower case.
HTTP/1.0 clients are supported: `ab -k`, for one, waits forever unless the response says that the
connection stays open.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from http.client import responses

from compute_emulator.traffic.body_stream import BodyStream

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
    keep the connection open. `is_modern`: HTTP/1.1 or later, so the client knows chunks.
    """

    method: str
    target: str
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    keeps_alive: bool = True
    asks_to_keep: bool = False
    is_modern: bool = True

    def encoded(self) -> bytes:
        return _message(f"{self.method} {self.target} HTTP/1.1", self.headers, self.body)


@dataclass(slots=True)
class Response:
    """`stream` carries the body of a response that is still arriving; `body` is empty then."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    stream: BodyStream | None = None

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

    def head_for(self, request: Request) -> tuple[bytes, bool]:
        """The head of a streamed response, and whether its body has to be sent in chunks. An
        HTTP/1.0 client gets a body of unknown length up to the end of the connection.
        """
        length = self.stream.length if self.stream is not None else None
        headers = dict(self.headers)
        is_chunked = length is None and request.is_modern
        if length is not None:
            headers["content-length"] = str(length)
        elif is_chunked:
            headers["transfer-encoding"] = "chunked"
        if not request.keeps_alive or (length is None and not is_chunked):
            headers["connection"] = "close"
        elif request.asks_to_keep:
            headers["connection"] = "keep-alive"
        return _message(self._start, headers, b"", tells_length=False), is_chunked

    @property
    def _start(self) -> str:
        return f"HTTP/1.1 {self.status} {responses.get(self.status, 'Unknown')}"


def as_chunk(data: bytes) -> bytes:
    """Data as a chunk of a chunked body; empty data ends the body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def _response(start: str, headers: dict[str, str], body: bytes) -> Response:
    status = start.split(" ", 2)[1]
    if not status.isdigit():
        raise BadMessage("the status line is malformed")
    headers.pop("connection", None)
    return Response(int(status), headers, body)


def _chunk_size(line: bytes) -> int:
    try:
        return int(line.partition(b";")[0], 16)
    except ValueError as error:
        raise BadMessage("a chunk has no size") from error


def _message(start: str, headers: dict[str, str], body: bytes, tells_length: bool = True) -> bytes:
    lines = [start, *(f"{name}: {value}" for name, value in headers.items())]
    lines += [f"content-length: {len(body)}", "", ""] if tells_length else ["", ""]
    return "\r\n".join(lines).encode("latin-1", "replace") + body


def _in_absolute_form(target: str, headers: dict[str, str]) -> str:
    """`http://host/path`, as sent to a proxy; its host takes precedence over the header. Source:
    RFC 9112, 3.2.2.
    """
    scheme, mark, rest = target.partition("://")
    if not mark or scheme.lower() not in ("http", "https"):
        return target
    headers["host"], slash, path = rest.partition("/")
    return slash + path or "/"


class Reader:
    """Buffers bytes as they arrive; `request` and `response` return the next complete message,
    or None.
    """

    __slots__ = (
        "_buffer",
        "_continue_sent",
        "_head",
        "_in_chunk",
        "_in_trailers",
        "_is_chunked",
        "_left",
    )

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._head: tuple[str, dict[str, str]] | None = None
        self._continue_sent = False
        self._is_chunked = self._in_chunk = self._in_trailers = False
        self._left = 0

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
        is_modern = parts[2] != "HTTP/1.0"
        return Request(parts[0], target, headers, body, keeps, asks_to_keep, is_modern)

    def response(self) -> Response | None:
        """The next whole response."""
        taken = self._take()
        return _response(*taken) if taken is not None else None

    def response_start(self) -> Response | None:
        """The next response as soon as its head is complete. If its body is not, the response has a
        `stream`, and `body_part` returns the body.
        """
        whole = self.response()
        if whole is not None or self._head is None:
            return whole
        start, headers = self._head
        self._head, self._continue_sent = None, False
        is_chunked = "chunked" in headers.pop("transfer-encoding", "").lower()
        length = None if is_chunked else int(headers.pop("content-length"))
        headers.pop("content-length", None)
        self._left = 0 if length is None else length
        self._is_chunked, self._in_chunk, self._in_trailers = is_chunked, False, False
        response = _response(start, headers, b"")
        response.stream = BodyStream(length)
        return response

    def body_part(self) -> tuple[bytes, bool]:
        """What has arrived of a streamed body, and whether that is its end. Keeps nothing that it
        returned.
        """
        if not self._is_chunked:
            part = self._take_bytes()
            return part, self._left == 0
        parts: list[bytes] = []
        while True:
            if self._left:
                parts.append(self._take_bytes())
                if self._left:
                    break
            line_end = self._buffer.find(b"\r\n")
            if line_end < 0:
                if len(self._buffer) > HEAD_BYTES:
                    raise BadMessage("a chunk has no size")
                break
            line = bytes(self._buffer[:line_end])
            del self._buffer[: line_end + 2]
            if self._in_trailers and not line:
                return b"".join(parts), True
            self._read_chunk_line(line)
        return b"".join(parts), False

    def _read_chunk_line(self, line: bytes) -> None:
        """A trailer, the end of a chunk, or the size of the next one."""
        if self._in_trailers:
            return
        if self._in_chunk:
            if line:
                raise BadMessage("a chunk is longer than its size")
            self._in_chunk = False
            return
        self._left = _chunk_size(line)
        self._in_chunk, self._in_trailers = self._left > 0, self._left == 0

    def _take_bytes(self) -> bytes:
        part = bytes(self._buffer[: self._left])
        del self._buffer[: self._left]
        self._left -= len(part)
        return part

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
            size = _chunk_size(bytes(self._buffer[at:end]))
            if size < 0 or end + size > BODY_BYTES:
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
