"""What strangers can post to a function, through functions-framework as deployed: read as a
message, or refused with a reason."""

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
    """Posts to the function and tells what it made of it."""

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


READ = {
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
            id="unknown version, read as a push",
        ),
        pytest.param(
            BODY,
            {name: text for name, text in BINARY.items() if name != "ce-id"},
            "/",
            (0, "", ""),
            id="no id, read as a push",
        ),
        pytest.param(
            {
                "message": {
                    "data": READ["data"],
                    "attributes": READ["attributes"],
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
def test_each_envelope_of_a_message_is_read(
    poster: Poster, body: Any, headers: dict[str, str], path: str, rest: tuple[int, str, str]
) -> None:
    status, told = poster.post(body, headers, path)

    assert status == 200
    assert told == READ | dict(zip(("attempt", "subscription", "topic"), rest, strict=True))


def message_with(**changes: Any) -> dict[str, Any]:
    return BODY | {
        "message": {name: value for name, value in (MESSAGE | changes).items() if value is not None}
    }


@pytest.mark.parametrize(
    ("body", "headers", "why"),
    [
        pytest.param(b"{", BINARY, "does not hold a Pub/Sub message", id="no JSON"),
        pytest.param(b"", BINARY, "does not hold a Pub/Sub message", id="no body"),
        pytest.param([1], BINARY, "does not hold a Pub/Sub message", id="a list"),
        pytest.param(
            {"message": "hello"},
            BINARY,
            "does not hold a Pub/Sub message",
            id="a text for a message",
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
            id="a source that climbs",
        ),
        pytest.param(
            BODY,
            BINARY | {"ce-source": SOURCE.replace("topics", "snapshots")},
            "projects/P/topics/NAME",
            id="no topic",
        ),
        pytest.param(
            {"specversion": "1.0", "id": "1", "source": "x", "type": "y", "data": BODY},
            {"content-type": "application/cloudevents+json"},
            "type must be google",
            id="structured, of the caller's making",
        ),
        pytest.param(
            BODY | {"subscription": "projects/p/topics/t-1"},
            BINARY,
            "projects/P/subscriptions/NAME",
            id="no subscription",
        ),
        pytest.param(
            BODY | {"subscription": 7},
            BINARY,
            "projects/P/subscriptions/NAME",
            id="a number for a subscription",
        ),
        pytest.param(message_with(messageId=None), BINARY, "messageId", id="no message id"),
        pytest.param(
            message_with(messageId="../../settings/policy"),
            BINARY,
            "messageId",
            id="an id that is a path",
        ),
        pytest.param(
            message_with(messageId="."), BINARY, "messageId", id="an id that no document can have"
        ),
        pytest.param(message_with(messageId="4" * 129), BINARY, "messageId", id="a long id"),
        pytest.param(message_with(messageId=42), BINARY, "messageId", id="a number for an id"),
        pytest.param(message_with(data="aGVsbG8"), BINARY, "not base64", id="cut base64"),
        pytest.param(
            message_with(data="aGVs\nbG8="), BINARY, "not base64", id="base64 with a line break"
        ),
        pytest.param(message_with(data="ü"), BINARY, "not base64", id="no ASCII"),
        pytest.param(
            message_with(data={"model": "tiny"}),
            BINARY,
            "must be base64 text",
            id="an object for data",
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
            id="a list for attributes",
        ),
        pytest.param(
            message_with(attributes={"a": 1}),
            BINARY,
            "map text to text",
            id="a number for an attribute",
        ),
        pytest.param(
            message_with(attributes={str(n): "" for n in range(101)}),
            BINARY,
            "at most 100",
            id="too many attributes",
        ),
        pytest.param(message_with(publishTime="yesterday"), BINARY, "RFC 3339", id="no time"),
        pytest.param(
            message_with(publishTime="2026-03-01T12:00:00"), BINARY, "time zone", id="no time zone"
        ),
        pytest.param(
            message_with(publishTime="0001-01-01T00:00:00+23:00"),
            BINARY,
            "RFC 3339",
            id="before all time",
        ),
        pytest.param(message_with(publishTime=12), BINARY, "RFC 3339", id="a number for a time"),
    ],
)
def test_what_is_no_message_is_refused_with_a_reason_and_acknowledged(
    poster: Poster, body: Any, headers: dict[str, str], why: str
) -> None:
    status, told = poster.post(body, headers)

    assert status == 200
    assert why in told["why"]
    assert set(told) == {"why", "raw"}
    assert len(told["why"]) < 400


def test_a_refusal_keeps_the_raw_bytes_up_to_the_cap(poster: Poster) -> None:
    _, told = poster.post(b'{"broken', BINARY)

    assert base64.b64decode(told["raw"]) == b'{"broken'


def test_a_large_refusal_is_cut(poster: Poster) -> None:
    _, told = poster.post(b"x" * (MAX_DATA_BYTES * 3), BINARY)

    assert base64.b64decode(told["raw"]) == b"x" * MAX_DATA_BYTES


def test_the_largest_data_allowed_is_read(poster: Poster) -> None:
    data = base64.b64encode(b"x" * MAX_DATA_BYTES).decode()

    status, told = poster.post(message_with(data=data), BINARY)

    assert (status, told["data"]) == (200, data)


# ---- The sender's own envelope

BARE = Message("42", b'{"model":"tiny"}', {}, NOON, topic="projects/p/topics/model-releases")
CONTEXT = {"id": "7", "source": "//ci/builds", "type": RELEASE_TYPE, "specversion": "1.0"}


def binary(**changes: str | None) -> Message:
    attributes = {
        f"ce-{name}": text for name, text in (CONTEXT | changes).items() if text is not None
    }
    return Message("42", BARE.data, attributes, NOON)


def structured(envelope: Any, content_type: str = "application/cloudevents+json") -> Message:
    data = envelope if isinstance(envelope, bytes) else json.dumps(envelope).encode()
    return Message("42", data, {"content-type": content_type}, NOON)


def test_bare_data_is_known_by_its_message() -> None:
    found = parse_payload(BARE)

    assert found == Payload(BARE.data, "42", "//pubsub.googleapis.com", "", NOON)
    assert (
        found.key
        == parse_payload(
            Message("42", b"other", {"content-type": "application/json", "x": "y"}, NOON)
        ).key
    )
    assert found.key != parse_payload(Message("43", BARE.data, {}, NOON)).key


@pytest.mark.parametrize("type_", [RELEASE_TYPE, COMMAND_TYPE])
def test_a_cloud_event_is_known_by_its_source_and_id(type_: str) -> None:
    found = parse_payload(binary(type=type_))

    assert found == Payload(BARE.data, "7", "//ci/builds", type_, NOON)
    assert found.key != parse_payload(binary(source="//ci")).key
    assert found.key != parse_payload(binary(id="8")).key
    assert found.key == parse_payload(structured(CONTEXT | {"data": {"other": 1}})).key


def test_a_cloud_events_own_time_counts() -> None:
    found = parse_payload(binary(time="2026-03-01T13:00:00+02:00"))

    assert found.at == datetime(2026, 3, 1, 11, tzinfo=UTC)


def test_structured_data_comes_as_json_or_base64() -> None:
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
        pytest.param(binary(time="noon"), "time must be", id="no time"),
        pytest.param(binary(id="a\nb"), "printable", id="a line break in the id"),
        pytest.param(
            structured(CONTEXT | {"id": "\ud800"}), "printable", id="half a character in the id"
        ),
        pytest.param(structured(CONTEXT | {"id": "x" * 1025}), "id must be", id="a long id"),
        pytest.param(structured(CONTEXT | {"id": 7}), "id must be", id="a number for an id"),
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
        pytest.param(structured(b"{"), "CloudEvent", id="no JSON"),
        pytest.param(structured(b"\xff\xfe{"), "CloudEvent", id="no UTF-8"),
        pytest.param(structured(b'{"id":"1","id":"2"}'), "a field twice", id="a name given twice"),
        pytest.param(structured(b'{"data":NaN}'), "only JSON numbers", id="NaN"),
        pytest.param(structured(b'{"data":1e999}'), "too large", id="a number beyond all numbers"),
        pytest.param(
            structured(b'{"data":' + b"9" * 5000 + b"}"), "CloudEvent", id="a number of 5000 digits"
        ),
        pytest.param(structured(b'{"data":' + b"[" * 100_000), "too deep", id="a very deep list"),
    ],
)
def test_a_cloud_event_that_is_none_of_ours_is_refused_with_a_reason(
    message: Message, why: str
) -> None:
    with pytest.raises(Unreadable, match=why) as refused:
        parse_payload(message)

    assert refused.value.raw == message.data


# ---- Whatever comes

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
def test_whatever_comes_is_a_message_or_unreadable(data: Any, source: str, kind: str) -> None:
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
def test_whatever_is_in_a_message_is_a_payload_or_unreadable(
    data: bytes, attributes: dict[str, str]
) -> None:
    try:
        found = parse_payload(Message("42", data, attributes, NOON))
    except Unreadable:
        return
    assert found.type in ("", RELEASE_TYPE, COMMAND_TYPE)
    assert len(found.key) == 32
