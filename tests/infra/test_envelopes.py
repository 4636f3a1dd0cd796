"""Untrusted requests to a function, through functions-framework as deployed: parsed as a message,
or refused with a reason.
"""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import functions_framework
import pytest
from cloudevents.http import CloudEvent
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.bus.envelope import (
    COMMAND_TYPE,
    MAX_DATA_BYTES,
    PUBLISHED,
    RELEASE_TYPE,
    Message,
    Payload,
    Unreadable,
    parse_message,
    parse_payload,
)

SOURCE = "//pubsub.googleapis.com/projects/p/topics/model-releases"
SUBSCRIPTION = "projects/p/subscriptions/releases"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MESSAGE = {
    "data": base64.b64encode(b"hello").decode(),
    "attributes": {"a": "1"},
    "messageId": "42",
    "publishTime": "2026-03-01T12:00:00.123456789Z",
}
BODY = {"message": MESSAGE, "subscription": SUBSCRIPTION, "deliveryAttempt": 3}
BINARY = {
    "content-type": "application/json",
    "ce-id": "42",
    "ce-source": SOURCE,
    "ce-specversion": "1.0",
    "ce-type": PUBLISHED,
    "ce-time": "2026-03-01T12:00:00Z",
}
RAW = {"content-type": "application/json"}


class Poster:
    """Posts to the function and returns what it recorded."""

    def __init__(self, journal: Path) -> None:
        source = Path(__file__).with_name("bus_function.py")
        self._journal = journal
        self._client = functions_framework.create_app(
            "on_message", str(source), "cloudevent"
        ).test_client()

    def post(
        self, body: Any, headers: dict[str, str], path: str = "/"
    ) -> tuple[int, dict[str, Any]]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        status = self._client.post(path, data=data, headers=headers).status_code
        return status, json.loads(self._journal.read_text()) if self._journal.exists() else {}


@pytest.fixture
def poster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Poster:
    monkeypatch.setenv("BUS_JOURNAL", str(tmp_path / "journal"))
    return Poster(tmp_path / "journal")


PARSED = {
    "id": "42",
    "data": base64.b64encode(b"hello").decode(),
    "attributes": {"a": "1"},
    "published_at": "2026-03-01T12:00:00.123456+00:00",
}


@pytest.mark.parametrize(
    ("body", "headers", "path", "rest"),
    [
        pytest.param(
            BODY,
            BINARY,
            "/",
            (3, SUBSCRIPTION, "projects/p/topics/model-releases"),
            id="Eventarc, binary",
        ),
        pytest.param(
            {"specversion": "1.0", "id": "42", "source": SOURCE, "type": PUBLISHED, "data": BODY},
            {"content-type": "application/cloudevents+json"},
            "/",
            (3, SUBSCRIPTION, "projects/p/topics/model-releases"),
            id="structured",
        ),
        pytest.param(BODY, RAW, "/", (0, "", ""), id="push"),
        pytest.param(
            BODY,
            RAW,
            "/projects/p/topics/t-1",
            (0, "", "projects/p/topics/t-1"),
            id="push with the topic in its path",
        ),
        pytest.param(
            BODY,
            BINARY | {"ce-specversion": "9.9"},
            "/",
            (0, "", ""),
            id="unknown version, parsed as a push",
        ),
        pytest.param(
            BODY,
            {name: text for name, text in BINARY.items() if name != "ce-id"},
            "/",
            (0, "", ""),
            id="no id, parsed as a push",
        ),
        pytest.param(
            {
                "message": {
                    "data": PARSED["data"],
                    "attributes": PARSED["attributes"],
                    "message_id": "42",
                    "publish_time": MESSAGE["publishTime"],
                }
            },
            BINARY,
            "/",
            (0, "", "projects/p/topics/model-releases"),
            id="snake case",
        ),
    ],
)
def test_every_form_of_delivery_is_parsed(
    poster: Poster, body: Any, headers: dict[str, str], path: str, rest: tuple[int, str, str]
) -> None:
    status, recorded = poster.post(body, headers, path)

    assert status == 200
    assert recorded == PARSED | dict(zip(("attempt", "subscription", "topic"), rest, strict=True))


def message_with(**changes: Any) -> dict[str, Any]:
    return BODY | {
        "message": {name: value for name, value in (MESSAGE | changes).items() if value is not None}
    }


@pytest.mark.parametrize(
    ("body", "headers", "why"),
    [
        pytest.param(b"{", BINARY, "does not hold a Pub/Sub message", id="not JSON"),
        pytest.param(b"", BINARY, "does not hold a Pub/Sub message", id="no body"),
        pytest.param([1], BINARY, "does not hold a Pub/Sub message", id="a list"),
        pytest.param(
            {"message": "hello"},
            BINARY,
            "does not hold a Pub/Sub message",
            id="text instead of a message",
        ),
        pytest.param(
            BODY, BINARY | {"ce-type": "io.evil.v1"}, "type must be google", id="another type"
        ),
        pytest.param(
            BODY, BINARY | {"ce-source": "//evil.example/x"}, "source must be", id="another source"
        ),
        pytest.param(
            BODY,
            BINARY | {"ce-source": SOURCE + "/../x"},
            "projects/P/topics/NAME",
            id="a source with ..",
        ),
        pytest.param(
            BODY,
            BINARY | {"ce-source": SOURCE.replace("topics", "snapshots")},
            "projects/P/topics/NAME",
            id="not a topic",
        ),
        pytest.param(
            {"specversion": "1.0", "id": "1", "source": "x", "type": "y", "data": BODY},
            {"content-type": "application/cloudevents+json"},
            "type must be google",
            id="structured, with another type",
        ),
        pytest.param(
            BODY | {"subscription": "projects/p/topics/t-1"},
            BINARY,
            "projects/P/subscriptions/NAME",
            id="not a subscription",
        ),
        pytest.param(
            BODY | {"subscription": 7},
            BINARY,
            "projects/P/subscriptions/NAME",
            id="a number instead of a subscription",
        ),
        pytest.param(message_with(messageId=None), BINARY, "messageId", id="no message id"),
        pytest.param(
            message_with(messageId="../../settings/policy"),
            BINARY,
            "messageId",
            id="an id that is a path",
        ),
        pytest.param(
            message_with(messageId="."), BINARY, "messageId", id="an id that is not a document id"
        ),
        pytest.param(message_with(messageId="4" * 129), BINARY, "messageId", id="a long id"),
        pytest.param(
            message_with(messageId=42), BINARY, "messageId", id="a number instead of an id"
        ),
        pytest.param(message_with(data="aGVsbG8"), BINARY, "not base64", id="truncated base64"),
        pytest.param(
            message_with(data="aGVs\nbG8="), BINARY, "not base64", id="base64 with a line break"
        ),
        pytest.param(message_with(data="ü"), BINARY, "not base64", id="not ASCII"),
        pytest.param(
            message_with(data={"model": "tiny"}),
            BINARY,
            "must be base64 text",
            id="an object instead of data",
        ),
        pytest.param(
            message_with(data="!" * (MAX_DATA_BYTES * 2)),
            BINARY,
            "larger than 256 KiB",
            id="too large",
        ),
        pytest.param(
            message_with(attributes=["a"]),
            BINARY,
            "attributes must be a map",
            id="a list instead of attributes",
        ),
        pytest.param(
            message_with(attributes={"a": 1}),
            BINARY,
            "map text to text",
            id="a number instead of an attribute",
        ),
        pytest.param(
            message_with(attributes={str(n): "" for n in range(101)}),
            BINARY,
            "at most 100",
            id="too many attributes",
        ),
        pytest.param(message_with(publishTime="yesterday"), BINARY, "RFC 3339", id="not a time"),
        pytest.param(
            message_with(publishTime="2026-03-01T12:00:00"), BINARY, "time zone", id="no time zone"
        ),
        pytest.param(
            message_with(publishTime="0001-01-01T00:00:00+23:00"),
            BINARY,
            "RFC 3339",
            id="before the first year",
        ),
        pytest.param(
            message_with(publishTime=12), BINARY, "RFC 3339", id="a number instead of a time"
        ),
    ],
)
def test_an_invalid_message_is_acknowledged_and_recorded_with_a_reason(
    poster: Poster, body: Any, headers: dict[str, str], why: str
) -> None:
    status, recorded = poster.post(body, headers)

    assert status == 200
    assert why in recorded["why"]
    assert set(recorded) == {"why", "raw"}
    assert len(recorded["why"]) < 400


def test_an_unreadable_message_keeps_its_raw_bytes(poster: Poster) -> None:
    _, recorded = poster.post(b'{"broken', BINARY)

    assert base64.b64decode(recorded["raw"]) == b'{"broken'


def test_a_large_unreadable_message_is_truncated(poster: Poster) -> None:
    _, recorded = poster.post(b"x" * (MAX_DATA_BYTES * 3), BINARY)

    assert base64.b64decode(recorded["raw"]) == b"x" * MAX_DATA_BYTES


def test_data_of_the_maximum_size_is_parsed(poster: Poster) -> None:
    data = base64.b64encode(b"x" * MAX_DATA_BYTES).decode()

    status, recorded = poster.post(message_with(data=data), BINARY)

    assert (status, recorded["data"]) == (200, data)


# ---- Payloads

PLAIN = Message("42", b'{"model":"tiny"}', {}, NOON, topic="projects/p/topics/model-releases")
CONTEXT = {"id": "7", "source": "//ci/builds", "type": RELEASE_TYPE, "specversion": "1.0"}


def binary(**changes: str | None) -> Message:
    attributes = {
        f"ce-{name}": text for name, text in (CONTEXT | changes).items() if text is not None
    }
    return Message("42", PLAIN.data, attributes, NOON)


def structured(envelope: Any, content_type: str = "application/cloudevents+json") -> Message:
    data = envelope if isinstance(envelope, bytes) else json.dumps(envelope).encode()
    return Message("42", data, {"content-type": content_type}, NOON)


def test_data_without_a_cloud_event_is_identified_by_its_message() -> None:
    found = parse_payload(PLAIN)

    assert found == Payload(PLAIN.data, "42", "//pubsub.googleapis.com", "", NOON)
    assert (
        found.key
        == parse_payload(
            Message("42", b"other", {"content-type": "application/json", "x": "y"}, NOON)
        ).key
    )
    assert found.key != parse_payload(Message("43", PLAIN.data, {}, NOON)).key


@pytest.mark.parametrize("type_", [RELEASE_TYPE, COMMAND_TYPE])
def test_a_cloud_event_is_identified_by_source_and_id(type_: str) -> None:
    found = parse_payload(binary(type=type_))

    assert found == Payload(PLAIN.data, "7", "//ci/builds", type_, NOON)
    assert found.key != parse_payload(binary(source="//ci")).key
    assert found.key != parse_payload(binary(id="8")).key
    assert found.key == parse_payload(structured(CONTEXT | {"data": {"other": 1}})).key


def test_the_time_of_a_cloud_event_takes_precedence() -> None:
    found = parse_payload(binary(time="2026-03-01T13:00:00+02:00"))

    assert found.at == datetime(2026, 3, 1, 11, tzinfo=UTC)


def test_structured_data_is_json_or_base64() -> None:
    encoded = base64.b64encode(b'{"a":1}').decode()

    assert json.loads(
        parse_payload(structured(CONTEXT | {"data": {"a": [1, None, "ü"]}})).data
    ) == {"a": [1, None, "ü"]}
    assert parse_payload(structured(CONTEXT | {"data_base64": encoded})).data == b'{"a":1}'


@pytest.mark.parametrize(
    ("message", "why"),
    [
        pytest.param(binary(id=None), "id must be", id="no id"),
        pytest.param(binary(id=""), "id must be", id="empty id"),
        pytest.param(binary(source=None), "source must be", id="no source"),
        pytest.param(binary(type=None), "type must be", id="no type"),
        pytest.param(binary(specversion=None), "specversion must be", id="no specversion"),
        pytest.param(binary(specversion="0.3"), "specversion must be 1.0", id="an old specversion"),
        pytest.param(
            binary(type="io.slipway.model.release.v2"),
            "type must be io.slipway.model.release.v1",
            id="unknown type",
        ),
        pytest.param(binary(time="noon"), "time must be", id="not a time"),
        pytest.param(binary(id="a\nb"), "printable", id="a line break in the id"),
        pytest.param(
            structured(CONTEXT | {"id": "\ud800"}), "printable", id="a lone surrogate in the id"
        ),
        pytest.param(structured(CONTEXT | {"id": "x" * 1025}), "id must be", id="a long id"),
        pytest.param(structured(CONTEXT | {"id": 7}), "id must be", id="a number instead of an id"),
        pytest.param(
            structured(CONTEXT, "application/cloudevents-batch+json"),
            "content-type must be",
            id="a batch",
        ),
        pytest.param(
            structured(CONTEXT, "application/cloudevents+avro"), "content-type must be", id="Avro"
        ),
        pytest.param(
            structured(CONTEXT | {"datacontenttype": "text/xml"}), "application/json", id="XML"
        ),
        pytest.param(structured(CONTEXT | {"data": 1, "data_base64": ""}), "both", id="data twice"),
        pytest.param(structured(CONTEXT | {"data_base64": "!"}), "base64", id="bad base64"),
        pytest.param(structured(b"[]"), "JSON object", id="a list"),
        pytest.param(structured(b"{"), "CloudEvent", id="not JSON"),
        pytest.param(structured(b"\xff\xfe{"), "CloudEvent", id="not UTF-8"),
        pytest.param(structured(b'{"id":"1","id":"2"}'), "repeat a name", id="a name given twice"),
        pytest.param(structured(b'{"data":NaN}'), "only JSON numbers", id="NaN"),
        pytest.param(structured(b'{"data":1e999}'), "a number beyond", id="an infinite number"),
        pytest.param(
            structured(b'{"data":' + b"9" * 5000 + b"}"), "CloudEvent", id="a number of 5000 digits"
        ),
        pytest.param(structured(b'{"data":' + b"[" * 100_000), "too deep", id="a very deep list"),
    ],
)
def test_an_invalid_cloud_event_is_refused_with_a_reason(message: Message, why: str) -> None:
    with pytest.raises(Unreadable, match=why) as refused:
        parse_payload(message)

    assert refused.value.raw == message.data


# ---- Arbitrary input

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
NEAR_MESSAGE = st.fixed_dictionaries(
    {},
    optional={
        name: JSON | st.just(value)
        for name, value in (MESSAGE | {"message_id": "42", "publish_time": "x"}).items()
    },
)
NEAR_BODY = st.fixed_dictionaries(
    {"message": NEAR_MESSAGE}, optional={"subscription": JSON, "deliveryAttempt": JSON}
)


@settings(deadline=None)
@given(JSON | NEAR_BODY | st.binary(), st.text() | st.just(SOURCE), st.text() | st.just(PUBLISHED))
def test_any_event_is_a_message_or_unreadable(data: Any, source: str, kind: str) -> None:
    event = CloudEvent(
        {"type": kind, "source": source, "id": "1", "time": "2026-03-01T12:00:00Z"}, data
    )
    try:
        found = parse_message(event)
    except Unreadable:
        return
    assert (kind, isinstance(found.data, bytes), isinstance(found.attempt, int)) == (
        PUBLISHED,
        True,
        True,
    )


@settings(deadline=None)
@given(
    st.binary()
    | JSON.map(lambda value: json.dumps(value).encode())
    | st.dictionaries(st.sampled_from([*CONTEXT, "data", "time"]), JSON).map(
        lambda envelope: json.dumps(CONTEXT | envelope).encode()
    ),
    st.dictionaries(
        st.sampled_from(
            ["content-type", "ce-id", "ce-source", "ce-type", "ce-specversion", "ce-time"]
        ),
        st.text(),
    )
    | st.just({"content-type": "application/cloudevents+json"}),
)
def test_any_message_has_a_payload_or_is_unreadable(
    data: bytes, attributes: dict[str, str]
) -> None:
    try:
        found = parse_payload(Message("42", data, attributes, NOON))
    except Unreadable:
        return
    assert found.type in ("", RELEASE_TYPE, COMMAND_TYPE)
    assert len(found.key) == 32
