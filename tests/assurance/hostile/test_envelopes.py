"""The four envelopes in which a message reaches the function, their errors, and bombs in them.

Everything is posted to functions-framework's app of `main.py`, as Pub/Sub, Eventarc or a forger
would.
"""

from __future__ import annotations

import base64
import json
import tracemalloc
from typing import Any

import pytest

from infra.bus.envelope import COMMAND_TYPE, RELEASE_TYPE
from tests.assurance.hostile.intake import (
    BINARY,
    ENVELOPES,
    RAW,
    SMALL,
    STRUCTURED,
    Intake,
    push_body,
    request,
    serve,
)

GOOD = json.dumps(SMALL).encode()
DEEP = 100_000
MAX_MEMORY = 256 * 2**20


def changed(**changes: Any) -> dict[str, Any]:
    """A Pub/Sub push with changed fields in its message; None removes a field."""
    push = push_body(GOOD, "42")
    message = {
        name: value for name, value in (push["message"] | changes).items() if value is not None
    }
    return push | {"message": message}


@pytest.mark.parametrize("envelope", ENVELOPES)
def test_a_release_in_each_envelope_is_accepted(envelope: str) -> None:
    assert Intake().post(*request(envelope, push_body(GOOD, "42"))).model == "tiny"


# ---- Bombs in the data of a message


def a_million_names() -> bytes:
    """`json.dumps` would take a second, whenever tests are collected."""
    thousand = b",".join(b'"k@%03d":1' % number for number in range(1_000))
    return b"{" + b",".join(thousand.replace(b"@", b"%d" % each) for each in range(1_000)) + b"}"


BOMBS: dict[str, bytes] = {
    "deep lists": b"[" * DEEP,
    "deep closed lists": b"[" * 30_000 + b"]" * 30_000,
    "deep objects": b'{"a":' * 13_000,
    "a deep section": (
        b'{"model":"tiny","version":"1","scaling":' + b'{"cpu":' * 500 + b"1" + b"}" * 501
    ),
    "17 levels": b'{"model":' + b"[" * 17 + b"]" * 17 + b"}",
    "as many names as fit": json.dumps({f"k{number}": 1 for number in range(6_000)}).encode(),
    "a million names": a_million_names(),
    "many variables": (
        json.dumps(
            SMALL | {"artifact": {"env": {f"K{number}": "x" for number in range(5_000)}}}
        ).encode()
    ),
    "many arguments": json.dumps(SMALL | {"artifact": {"args": ["x"] * 15_000}}).encode(),
    "many zones": json.dumps(SMALL | {"placement": {"zones": ["us-central1-a"] * 4_000}}).encode(),
    "10 MB of text": b'"' + b"x" * 10_000_000 + b'"',
    "10 MB of spaces": b" " * 10_000_000 + GOOD,
    "64 KB of text": json.dumps(SMALL | {"reason": "x" * 60_000}).encode(),
    "a name of 64 KB": json.dumps(SMALL | {"x" * 60_000: 1}).encode(),
    "a long whole number": b'{"model":' + b"9" * 60_000 + b"}",
    "a long negative number": b'{"model":-' + b"9" * 5_000 + b"}",
    "a long fraction": b'{"model":0.' + b"9" * 60_000 + b"}",
    "a large exponent": b'{"model":1e309}',
    "a very large exponent": b'{"model":1e999999999999}',
    "NaN": b'{"model":NaN}',
    "Infinity": b'{"model":-Infinity}',
    "a name twice": b'{"model":"tiny","model":"tiny","version":"1"}',
    "a name twice, once escaped": b'{"model":"tiny","mod\\u0065l":"evil","version":"1"}',
    "a name twice in a section": b'{"model":"tiny","version":"1","scaling":{"max":1,"max":2000}}',
    "half a character": b'{"model":"\\ud800"}',
    "overlong UTF-8": b'{"model":"\xc0\xaf"}',
    "no UTF-8": b"\xff\xfe{\x00}\x00",
    "UTF-16": '{"model":"tiny"}'.encode("utf-16"),
    "UTF-32": '{"model":"tiny"}'.encode("utf-32"),
    "a byte order mark": b"\xef\xbb\xbf" + GOOD,
    "NUL bytes": b"\x00" * 1000,
    "two values": GOOD + GOOD,
    "a cut value": GOOD[:-1],
    "a comment": b"/* */" + GOOD,
    "single quotes": b"{'model': 'tiny'}",
    "a trailing comma": b'{"model":"tiny","version":"1",}',
    "gzip": base64.b64decode("H4sIAAAAAAAAA6tWSkksSVSqBQA7mHlqCgAAAA=="),
    "XML": b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
    "YAML": b"model: &a [*a, *a]\n",
    "pickle": b"\x80\x04\x95\x17cos\nsystem\n(S'true'\ntR.",
    "a list": b"[]",
    "a list of releases": b"[" + GOOD + b"]",
    "a number": b"7",
    "a text": b'"tiny"',
    "true": b"true",
    "null": b"null",
    "nothing": b"",
    "an empty object": b"{}",
}


@pytest.mark.parametrize("envelope", ENVELOPES)
def test_a_bomb_is_refused_in_every_envelope(envelope: str) -> None:
    """Refused with a reason, never by a crash, and the record of the refusal is small."""
    intake = Intake()
    for number, (name, bomb) in enumerate(BOMBS.items()):
        found = intake.post(*request(envelope, push_body(bomb, f"bomb-{number}"), f"bomb-{number}"))
        assert found.why, name
        assert len(found.why) < 6_000, name
    assert max(map(len, intake.published)) < 60_000


@pytest.mark.parametrize(
    "name",
    ["a million names", "10 MB of text", "deep lists", "as many names as fit", "many variables"],
)
def test_a_bomb_takes_little_memory(name: str) -> None:
    intake, sent = Intake(), request("binary", push_body(BOMBS[name], "42"))
    intake.post(GOOD, BINARY)
    tracemalloc.start()
    try:
        intake.post(*sent)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < MAX_MEMORY


# ---- Not a message


@pytest.mark.parametrize(
    "push",
    [
        pytest.param({}, id="nothing in it"),
        pytest.param({"message": None}, id="no message"),
        pytest.param({"message": []}, id="a list"),
        pytest.param({"message": {}}, id="an empty message"),
        pytest.param({"message": {"attributes": {"a": "b"}}}, id="no id"),
        pytest.param(changed(messageId=None), id="no message id"),
        pytest.param(changed(messageId="../../settings/policy"), id="an id that climbs"),
        pytest.param(changed(messageId="__proto__/x"), id="an id with a slash"),
        pytest.param(changed(messageId=""), id="an empty id"),
        pytest.param(changed(messageId=7), id="a number for an id"),
        pytest.param(changed(data="%%%"), id="no base64"),
        pytest.param(changed(data=base64.b64encode(GOOD).decode()[:-3]), id="cut base64"),
        pytest.param(
            changed(data=base64.urlsafe_b64encode(b"\xff\xfe\xfd" * 9).decode()),
            id="base64 for URLs",
        ),
        pytest.param(changed(data=7), id="a number for data"),
        pytest.param(changed(data=[GOOD.decode()]), id="a list for data"),
        pytest.param(changed(data=SMALL), id="an object for data"),
        pytest.param(changed(attributes=[]), id="a list for attributes"),
        pytest.param(changed(attributes={"a": {}}), id="an object for an attribute"),
        pytest.param(changed(attributes={f"a{n}": "" for n in range(5_000)}), id="many attributes"),
        pytest.param(changed(publishTime="yesterday"), id="no time"),
        pytest.param(changed(publishTime="2026-03-01T12:00:00"), id="a time of no zone"),
        pytest.param(changed(publishTime="9999-12-31T23:59:59-23:59"), id="a time after all time"),
    ],
)
@pytest.mark.parametrize("envelope", ["binary", "structured"])
def test_an_invalid_message_is_quarantined(envelope: str, push: Any) -> None:
    assert "not a Pub/Sub message" in Intake().post(*request(envelope, push)).why


@pytest.mark.parametrize("data", [None, ""])
@pytest.mark.parametrize("envelope", ENVELOPES)
def test_a_message_without_data_is_quarantined_under_its_id(
    envelope: str, data: str | None
) -> None:
    """functions-framework rejects such a push, and Pub/Sub would redeliver it for hours."""
    intake = Intake()
    push = {
        "message": changed(data=data, attributes={"a": "b"})["message"],
        "subscription": "projects/demo/subscriptions/intake",
    }
    assert "message: must be JSON" in intake.post(*request(envelope, push)).why
    assert intake.store.get("quarantine/42")


@pytest.mark.parametrize(
    "body",
    [b"[]", b"x", b"null", b"", b"7", b'{"message":', b'{"data": 1}', b'{"message": {"data": 1}}'],
)
@pytest.mark.parametrize("headers", [BINARY, STRUCTURED, RAW], ids=["binary", "structured", "push"])
def test_an_invalid_body_is_quarantined(headers: dict[str, str], body: bytes) -> None:
    assert "not a Pub/Sub message" in Intake().post(body, headers).why


# ---- Forged


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"ce-type": "io.evil.v1"}, id="another type"),
        pytest.param({"ce-type": RELEASE_TYPE}, id="our own type, one envelope too far out"),
        pytest.param({"ce-type": "google.cloud.audit.log.v1.written"}, id="an audit log"),
        pytest.param(
            {"ce-type": "google.cloud.pubsub.topic.v1.messagePublished\u00a0"},
            id="a type that looks the same",
        ),
        pytest.param(
            {"ce-source": "//evil.example/projects/demo/topics/model-releases"},
            id="another service",
        ),
        pytest.param(
            {"ce-source": "//pubsub.googleapis.com.evil.example/projects/p/topics/t-1"},
            id="a service that looks the same",
        ),
        pytest.param(
            {"ce-source": "//pubsub.googleapis.com/projects/demo/topics/../x"},
            id="a source that climbs",
        ),
        pytest.param(
            {"ce-source": "//pubsub.googleapis.com/projects/demo/subscriptions/model-releases"},
            id="no topic",
        ),
        pytest.param(
            {"ce-source": "//pubsub.googleapis.com/projects/demo/topics/model-releases?x=1"},
            id="a query",
        ),
        pytest.param(
            {"ce-source": "https://pubsub.googleapis.com/projects/demo/topics/model-releases"},
            id="a scheme",
        ),
    ],
)
@pytest.mark.parametrize("mode", ["binary", "structured"])
def test_an_event_of_another_type_or_source_is_refused(mode: str, changes: dict[str, str]) -> None:
    push = push_body(GOOD, "42")
    headers = BINARY | {name: text.encode().decode("latin-1") for name, text in changes.items()}
    if mode == "binary":
        assert "not a Pub/Sub message" in Intake().post(push, headers).why
        return
    context = {
        name.removeprefix("ce-"): text
        for name, text in (BINARY | changes).items()
        if name.startswith("ce-")
    }
    assert "not a Pub/Sub message" in Intake().post(context | {"data": push}, STRUCTURED).why


@pytest.mark.parametrize(
    "subscription",
    [
        "projects/demo/topics/x-1",
        "../x",
        "projects/demo/subscriptions/x-1/../y",
        7,
        ["x"],
        "projects//subscriptions/x-1",
        "x" * 5_000,
    ],
)
def test_an_invalid_subscription_is_refused(subscription: object) -> None:
    assert (
        "projects/P/subscriptions/NAME"
        in Intake().post(push_body(GOOD, "42") | {"subscription": subscription}, BINARY).why
    )


OTHER_PROJECTS = ("evil", "demo-evil", "example.com:demo", "demo1")


@pytest.mark.parametrize("project", OTHER_PROJECTS)
@pytest.mark.parametrize("mode", ["binary", "structured"])
def test_an_event_from_another_project_is_refused(mode: str, project: str) -> None:
    push, source = (
        push_body(GOOD, "42"),
        f"//pubsub.googleapis.com/projects/{project}/topics/model-releases",
    )
    body, headers, path = request(mode, push)
    if mode == "binary":
        forged: tuple[object, dict[str, str]] = body, headers | {"ce-source": source}
    else:
        forged = dict(body) | {"source": source}, headers  # type: ignore[call-overload]
    assert f"it is from project {project}, and this is demo" in Intake().post(*forged, path).why
    theirs = push | {"subscription": f"projects/{project}/subscriptions/model-releases"}
    assert (
        f"it is from project {project}, and this is demo"
        in Intake().post(*request(mode, theirs)).why
    )


def test_a_project_number_is_accepted() -> None:
    push = push_body(GOOD, "42") | {
        "subscription": "projects/123456789012/subscriptions/eventarc-us-central1-intake-sub-123"
    }
    assert Intake().post(*request("binary", push)).model == "tiny"


CONTEXT = {
    "ce-id": "7",
    "ce-source": "//ci/builds",
    "ce-type": RELEASE_TYPE,
    "ce-specversion": "1.0",
}


@pytest.mark.parametrize(
    "changes",
    [
        {"ce-type": "io.evil.v1"},
        {"ce-type": RELEASE_TYPE.upper()},
        {"ce-type": "io.slipway.rollout.v1"},
        {"ce-type": "io.slipway.quarantine.v1"},
        {"ce-specversion": "0.3"},
        {"ce-specversion": "2.0"},
        {"ce-id": ""},
        {"ce-id": "x" * 2_000},
        {"ce-id": "a\nb"},
        {"ce-source": ""},
        {"ce-source": "\u202eslipway"},
        {"ce-time": "0000-00-00T00:00:00Z"},
        {"content-type": "application/cloudevents"},
        {"content-type": "application/cloudevents-batch+json"},
        {"content-type": "application/avro"},
    ],
    ids=str,
)
@pytest.mark.parametrize("envelope", ENVELOPES)
def test_an_invalid_envelope_of_the_sender_is_refused(
    envelope: str, changes: dict[str, str]
) -> None:
    push = push_body(GOOD, "42", CONTEXT | changes)
    assert "not a CloudEvent that Slipway accepts" in Intake().post(*request(envelope, push)).why


@pytest.mark.parametrize("missing", list(CONTEXT))
def test_an_incomplete_envelope_of_the_sender_is_refused(missing: str) -> None:
    context = {name: text for name, text in CONTEXT.items() if name != missing}
    assert "not a CloudEvent that Slipway accepts" in Intake().deliver(GOOD, context).why


def test_the_type_of_an_event_does_not_override_its_content() -> None:
    """A command with the type of a release is validated as a command."""
    found = Intake().deliver(
        {"model": "tiny", "command": "retire"}, CONTEXT | {"ce-type": RELEASE_TYPE}
    )
    assert found.why == "model: there is no model tiny, so there is nothing to retire"
    assert Intake().deliver(SMALL, CONTEXT | {"ce-type": COMMAND_TYPE}).model == "tiny"


def test_the_path_of_a_push_is_ignored() -> None:
    for path in (
        "/projects/demo/topics/other",
        "/a/../b",
        "/%00",
        "/%2e%2e/x",
        "/robots.txt",
        "/?a=b",
    ):
        assert Intake().post(push_body(GOOD, "42"), RAW, path).model == "tiny", path


@pytest.mark.parametrize("project", OTHER_PROJECTS[:2])
def test_a_push_whose_path_names_another_project_is_refused(project: str) -> None:
    why = (
        Intake().post(push_body(GOOD, "42"), RAW, f"/projects/{project}/topics/model-releases").why
    )
    assert f"it is from project {project}" in why


@pytest.mark.parametrize(
    "changes",
    [
        {"ce-id": None},
        {"ce-specversion": "9.9"},
        {"ce-specversion": None},
        {"ce-type": None},
        {"ce-source": None},
    ],
    ids=str,
)
def test_an_incomplete_event_counts_as_a_push_and_its_headers_are_ignored(
    changes: dict[str, str | None],
) -> None:
    """functions-framework then treats the request as a push and sets type and source itself."""
    forged = BINARY | {"ce-source": "//pubsub.googleapis.com/projects/evil/topics/other"} | changes
    headers = {name: text for name, text in forged.items() if text is not None}
    intake = Intake()
    assert intake.post(push_body(GOOD, "42"), headers).model == "tiny"
    assert intake.store.get("models/tiny")


def test_methods_other_than_post_are_rejected() -> None:
    intake = Intake()
    with serve(intake.world) as client:
        for method in (
            client.get,
            client.put,
            client.patch,
            client.delete,
            client.head,
            client.options,
        ):
            assert method("/", data=GOOD, headers=BINARY).status_code == 405
    assert not intake.store.writes


@pytest.mark.parametrize(
    "body",
    [b"[" * DEEP, b'{"a":' * DEEP, b'{"message":' + b"9" * 6_000 + b"}", b"\xff"],
    ids=["deep", "deeper", "digits", "bytes"],
)
def test_a_body_that_the_framework_cannot_parse_changes_nothing(
    body: bytes,
) -> None:
    """Pub/Sub cannot send these bodies, since it makes the envelope; only a forger can."""
    intake = Intake()
    with serve(intake.world) as client:
        assert client.post("/", data=body, headers=RAW).status_code == 500
    assert not intake.store.writes
