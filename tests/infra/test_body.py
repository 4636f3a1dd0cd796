"""What is kept of a request that is too large, whatever its pieces end with."""

from __future__ import annotations

import hashlib
import io
import json
from typing import Any

import pytest

from infra.bus import body as body_module
from infra.bus.body import LONGEST_TEXT, MAX_BODY_BYTES, SMALL_BYTES, BoundedBody, shorten
from infra.bus.envelope import PUBLISHED, Oversize, Unreadable, parse_message

SHORT = 12
TEXTS = {
    "base64": "A" * 40,
    "backslashes": "\\" * 40,
    "quotes": '"' * 40,
    "letters": "é€𝄞" * 20,
    "escapes": "\x01" * 40,
    "cut-within": "A" * (SHORT - 3) + "\x01é" * 9,
}


class Pieces:
    """A stream that returns so many bytes at once, whatever it is asked for."""

    def __init__(self, body: bytes, size: int) -> None:
        self._stream, self._size = io.BytesIO(body), size

    def read(self, _: int) -> bytes:
        return self._stream.read(self._size)


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in TEXTS.items()])
@pytest.mark.parametrize("is_ascii", [True, False], ids=["ascii", "utf-8"])
def test_a_long_text_is_cut_and_the_rest_is_still_json(
    text: str, is_ascii: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(body_module, "LONGEST_TEXT", SHORT)
    given = {"a": 'x"\\é', "data": text, "messageId": "7", "list": [1, None, ""]}
    body = json.dumps(given, ensure_ascii=is_ascii).encode()
    for size in range(1, len(body)):
        kept, oversize = shorten(Pieces(body, size))
        found = json.loads(kept)
        assert oversize == Oversize(len(body), hashlib.sha256(body).hexdigest())
        assert {**found, "data": ""} == {**given, "data": ""}
        assert text.startswith(found["data"])
        assert len(found["data"].encode()) <= SHORT


def test_what_is_not_too_large_is_kept_as_it_is() -> None:
    texts = [b'{"a": "' + b"A" * LONGEST_TEXT + b'"}', b'{"a": "\\', b"", b"\xff" * 99, b'"']
    for body in texts:
        assert shorten(io.BytesIO(body)) == (body, None)
    many = json.dumps(["x" * 99] * 12_000).encode()
    kept, oversize = shorten(io.BytesIO(many))
    assert (len(kept), oversize is not None) == (MAX_BODY_BYTES, True)


def call(app: BoundedBody, body: bytes, **more: str) -> None:
    fields: dict[str, Any] = {"CONTENT_LENGTH": str(len(body)), "wsgi.input": io.BytesIO(body)}
    app(fields | more, None)


def test_a_small_body_is_not_touched_and_one_that_is_no_json_is_read_to_its_end() -> None:
    calls: list[dict[str, Any]] = []

    def app(environment: dict[str, Any], _: Any) -> list[bytes]:
        calls.append(environment)
        return []

    small, large = io.BytesIO(b"x" * SMALL_BYTES), io.BytesIO(b"x" * 3_000_000)
    call(BoundedBody(app), small.getvalue(), **{"wsgi.input": small})  # type: ignore[arg-type]
    assert (calls[-1]["wsgi.input"], small.tell()) == (small, 0)
    call(BoundedBody(app, keep=10), large.getvalue(), **{"wsgi.input": large})  # type: ignore[arg-type]
    assert calls[-1]["wsgi.input"].read() == b"x" * 10
    assert calls[-1]["CONTENT_LENGTH"] == "10"
    assert large.tell() == 3_000_000


class Event(dict[str, Any]):
    oversize = Oversize(13_000_000, "ab" * 32)
    data: Any = None


def test_an_event_of_which_something_was_cut_is_refused_whatever_it_says() -> None:
    event = Event(type=PUBLISHED, source="//pubsub.googleapis.com/projects/p/topics/t")
    message = {
        "messageId": "7",
        "data": "eyJtb2RlbCI6ICJ0aW55In0=",
        "publishTime": "2026-01-01T00:00:00Z",
    }
    for data, raw, key in (
        ({"message": message}, b'{"model": "tiny"}', "7"),
        ({"message": message | {"data": "eyJtb2RlbCI6ICJ0aW55In"}}, b'{"model": "tiny', "7"),
        ({"message": 7}, b'{"message": 7}', hashlib.sha256(b'{"message": 7}').hexdigest()),
        (b"[", b"[", hashlib.sha256(b"[").hexdigest()),
    ):
        event.data = data
        with pytest.raises(Unreadable, match=r"13,000,000 bytes \(SHA-256 abab") as refused:
            parse_message(event)
        assert (refused.value.raw, refused.value.key) == (raw, key)
        assert refused.value.size == 13_000_000
