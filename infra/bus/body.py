"""Bounds what the body of a request takes of a function's memory. No I/O but the request's own.

`main.py` puts `BoundedBody` before the functions framework, which reads each body as a whole and
copies it several times: eight messages of 10 MB at once would end the instance, and with it each
later delivery of the same messages. A large body is read in pieces. Of a JSON body, long texts are
cut, so that what names the message is still there; of any other, what exceeds the limit is dropped.
Nothing that was cut is ever accepted: `Shortened` says so to `infra/bus/envelope.py`.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from infra.bus.envelope import MAX_DATA_BYTES, CloudEventLike, Oversize
from rollout.deferred import dataclass

SMALL_BYTES = 512 * 1024
"""As much is passed on as it is: the largest event in base64, and its attributes."""
LONGEST_TEXT = (MAX_DATA_BYTES + 2) // 3 * 4
MAX_BODY_BYTES = 1024 * 1024
PIECE_BYTES = 64 * 1024
OVERSIZE = "slipway.oversize"  # in the WSGI environment

Wsgi = Callable[[dict[str, Any], Any], Iterable[bytes]]

_IN_TEXT = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_CUT_ESCAPE = re.compile(rb"(?<!\\)(?:\\\\)*(\\(?:u[0-9a-fA-F]{0,3})?)\Z")


class Stream(Protocol):
    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True)
class Shortened:
    """An event of whose body something was cut."""

    event: CloudEventLike
    oversize: Oversize

    @property
    def data(self) -> Any:
        return self.event.data

    def get(self, key: str, default: Any = None) -> Any:
        return self.event.get(key, default)


def received(event: CloudEventLike, environment: Mapping[str, Any]) -> CloudEventLike:
    """The event of a request, marked if something of it was cut."""
    oversize = environment.get(OVERSIZE)
    return Shortened(event, oversize) if oversize else event


class BoundedBody:
    """WSGI middleware. `keep`: so many bytes are kept of a body that is not JSON."""

    def __init__(self, app: Wsgi, keep: int | None = None) -> None:
        self._app, self._keep = app, keep

    def __call__(self, environment: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        from werkzeug.wsgi import get_input_stream

        length = environment.get("CONTENT_LENGTH") or ""
        if length.isdecimal() and int(length) <= SMALL_BYTES and self._keep is None:
            return self._app(environment, start_response)
        stream = get_input_stream(environment)
        if self._keep is None:
            body, oversize = shorten(stream)
        else:
            body, oversize = stream.read(self._keep), None
            while stream.read(PIECE_BYTES):
                pass  # a proxy may take an answer before the end of the request for a failure
        environment["wsgi.input"] = io.BytesIO(body)
        environment["CONTENT_LENGTH"] = str(len(body))
        environment.pop("HTTP_TRANSFER_ENCODING", None)
        environment[OVERSIZE] = oversize
        return self._app(environment, start_response)


def shorten(stream: Stream) -> tuple[bytes, Oversize | None]:
    """The body with its long texts cut, and what it was if anything is missing."""
    shortener, digest, size = _Shortener(), hashlib.sha256(), 0
    while piece := stream.read(PIECE_BYTES):
        size += len(piece)
        digest.update(piece)
        shortener.feed(piece)
    body = bytes(shortener.kept)
    return body, Oversize(size, digest.hexdigest()) if shortener.is_cut else None


class _Shortener:
    """Follows JSON from text to text, whatever the pieces end with."""

    def __init__(self) -> None:
        self.kept = bytearray()
        self.is_cut = False
        self._length: int | None = None  # of the text that has begun
        self._is_escaped = False

    def feed(self, piece: bytes) -> None:
        at = 0
        while at < len(piece):
            at = self._outside(piece, at) if self._length is None else self._inside(piece, at)

    def _outside(self, piece: bytes, at: int) -> int:
        quote = piece.find(b'"', at)
        end = quote + 1 if quote >= 0 else len(piece)
        self._keep(piece[at:end])
        if quote >= 0:
            self._length = 0
        return end

    def _inside(self, piece: bytes, at: int) -> int:
        start = at
        if self._is_escaped:
            self._is_escaped, at = False, at + 1
        found = _IN_TEXT.match(piece, at)
        end = found.end() if found else at
        if end < len(piece) and piece[end : end + 1] == b"\\":  # the piece ends within an escape
            self._is_escaped, end = True, end + 1
        self._keep_text(piece[start:end])
        if end < len(piece):
            self._end_text()
            end += 1
        return end

    def _keep_text(self, text: bytes) -> None:
        before = self._length or 0
        self._length = before + len(text)
        self._keep(text[: max(0, LONGEST_TEXT - before)])

    def _end_text(self) -> None:
        if (self._length or 0) > LONGEST_TEXT:
            self.is_cut = True
            while self.kept and self.kept[-1] >= 0x80:  # the bytes of a character that was cut
                self.kept.pop()
            if found := _CUT_ESCAPE.search(self.kept[-LONGEST_TEXT:]):
                del self.kept[len(self.kept) - len(found[1]) :]
        self._length = None
        self._keep(b'"')

    def _keep(self, part: bytes) -> None:
        room = MAX_BODY_BYTES - len(self.kept)
        self.kept += part[:room]
        self.is_cut = self.is_cut or len(part) > room
