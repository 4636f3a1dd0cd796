"""Secrets in refused messages: in the wrong field, under a misspelt name, in text that is not JSON.

A refused message leaves a record and a dead letter, so that its sender can correct it. However
wrong it is, neither these nor a status event nor a log line contains a value of `env`, `args`,
`startup_script`, `weights` or an unknown field. Names are kept: they show what to correct.
"""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from handlers.redaction import redact_message
from infra.bus.envelope import RELEASE_TYPE
from rollout.spec.message import Invalid, parse
from tests.assurance.hostile.intake import (
    BINARY,
    ENVELOPES,
    SMALL,
    Intake,
    push_body,
    request,
    scaled,
)

SECRET = "hunter2-do-not-tell"
SECRET_FIELDS: dict[str, Any] = {
    "env": {"TOKEN": SECRET},
    "args": ["--token", SECRET],
    "startup_script": f"#!/bin/sh\nexport TOKEN={SECRET}\n",
    "weights": f"https://models.example.com/tiny?signature={SECRET}",
}


def release(**more: Any) -> dict[str, Any]:
    return SMALL | {"artifact": {"image": "tiny:1", **SECRET_FIELDS}} | more


ARTIFACT = release()["artifact"]
INVALID: dict[str, Any] = {
    "a bad version": release(version="?"),
    "a bad field beside it": release(scaling={"max": -1}),
    "a command": release(command="retire"),
    "a misspelt section": SMALL | {"artefact": ARTIFACT},
    "a section too far out": SMALL | ARTIFACT,
    "a section too deep": {"release": release()},
    "a section of a section": SMALL | {"serving": {"artifact": ARTIFACT}},
    "a field of another section": SMALL | {"serving": SECRET_FIELDS, "machine": SECRET_FIELDS},
    "a list of releases": [release()],
    "a list of sections": SMALL | {"artifact": [ARTIFACT]},
    "a text for the section": SMALL | {"artifact": json.dumps(ARTIFACT)},
    "a text for the variables": release(artifact={"image": "tiny:1", "env": f"TOKEN={SECRET}"}),
    "a list of the variables": release(
        artifact={"image": "tiny:1", "env": [{"name": "TOKEN", "value": SECRET}]}
    ),
    "deep variables": release(artifact={"image": "tiny:1", "env": {"A": {"B": SECRET}}}),
    "another case": SMALL | {"Artifact": {"Env": {"TOKEN": SECRET}}},
    "a secret for a secret's name": release(
        artifact={"image": "tiny:1", "secrets": {"TOKEN": f"{SECRET}=="}}
    ),
    "a key for a signature": release(
        artifact={"image": "tiny:1", "signature": f"-----BEGIN PRIVATE KEY-----\n{SECRET}"}
    ),
    "a bad field beside a signature": (
        SMALL | {"artifact": {"image": "tiny:1", "signature": SECRET * 4}, "scaling": {"max": -1}}
    ),
    "a password in the image": release(
        artifact={"image": f"https://user:{SECRET}@registry.example.com/tiny:1"}
    ),
    "an unknown field": SMALL | {"token": SECRET},
    "an unknown field of a section": (
        SMALL | {"machine": {"metadata": {"items": [{"key": "token", "value": SECRET}]}}}
    ),
    "a text": f"TOKEN={SECRET}",
}
TEXT = json.dumps(release())
UNREADABLE: dict[str, bytes] = {
    "cut off": TEXT[:-1].encode(),
    "a comma too many": TEXT.replace("}}", "},}").encode(),
    "single quotes": TEXT.replace('"', "'").encode(),
    "a name twice": TEXT.replace('"version": "1"', '"version": "1", "version": "1"').encode(),
    "UTF-16": TEXT.encode("utf-16"),
    "UTF-32": TEXT.encode("utf-32"),
    "no UTF-8": TEXT.encode() + b"\xff",
    "a byte order mark": b"\xef\xbb\xbf" + TEXT.encode(),
    "too large": json.dumps(release(reason="x" * 70_000)).encode(),
    "too deep": TEXT.replace("}}", "}").encode() + b', "x": ' + b"[" * 20 + b"]" * 20 + b"}",
    "YAML": f"model: tiny\nartifact:\n  env:\n    TOKEN: {SECRET}\n".encode(),
    "what a shell exports": f"export TOKEN={SECRET}\n".encode(),
    "two messages": TEXT.encode() * 2,
    "a form": f"model=tiny&env.TOKEN={SECRET}".encode(),
}
BODIES = {name: json.dumps(body).encode() for name, body in INVALID.items()} | UNREADABLE


def encodings(text: bytes) -> Iterator[bytes]:
    """The text in several encodings; in base64 at each of the three possible offsets."""
    yield text
    yield text.decode().encode("utf-16-le")
    yield text.decode().encode("utf-32-le")
    for lead in range(3):
        yield base64.b64encode(b"x" * lead + text)[4:-4]


def stored_and_published(intake: Intake, caplog: pytest.LogCaptureFixture) -> Iterator[bytes]:
    for document in (*intake.store.list("quarantine", 100), *intake.store.list("models", 100)):
        yield json.dumps(document.data, default=str).encode()
        yield base64.b64decode(document.data.get("raw", ""))
    yield from intake.published
    for record in caplog.records:
        yield json.dumps([record.getMessage(), getattr(record, "fields", {})], default=str).encode()


def assert_no_secret(intake: Intake, caplog: pytest.LogCaptureFixture) -> None:
    kept = list(stored_and_published(intake, caplog))
    assert len(kept) >= 4
    forms = [*encodings(SECRET.encode())]
    found = {form: text[:200] for text in kept for form in forms if form in text}
    assert not found


@pytest.fixture(autouse=True)
def _every_line(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.DEBUG, "slipway"):
        yield


@pytest.mark.parametrize("name", BODIES)
def test_a_refused_message_reveals_no_secret(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """Each message in one envelope; in the nightly run in every envelope."""
    for envelope in ENVELOPES[list(BODIES).index(name) % scaled(4, 1) :: scaled(4, 1)]:
        intake = Intake()
        assert intake.post(*request(envelope, push_body(BODIES[name], "42"))).why
        assert_no_secret(intake, caplog)


@pytest.mark.parametrize(
    "body",
    [INVALID["a bad version"], INVALID["a misspelt section"], release()],
    ids=["bad", "misspelt", "good"],
)
@pytest.mark.parametrize("kind", [RELEASE_TYPE, "io.evil.v1"])
@pytest.mark.parametrize("member", ["data", "data_base64", "data as text"])
def test_an_envelope_of_the_sender_reveals_no_secret(
    member: str, kind: str, body: Any, caplog: pytest.LogCaptureFixture
) -> None:
    text = json.dumps(body)
    data = {
        "data": body,
        "data_base64": base64.b64encode(text.encode()).decode(),
        "data as text": text,
    }[member]
    envelope = {
        "specversion": "1.0",
        "id": "7",
        "source": "//ci/builds",
        "type": kind,
        member.split()[0]: data,
    }
    intake = Intake()
    why = intake.deliver(envelope, {"content-type": "application/cloudevents+json"}).why
    if why:
        assert_no_secret(intake, caplog)
    else:
        assert (kind, body) == (RELEASE_TYPE, release())


@pytest.mark.parametrize(
    "changes", [{"messageId": "../x"}, {"publishTime": "yesterday"}, {"attributes": []}], ids=str
)
def test_an_unreadable_message_reveals_no_secret(
    changes: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    push = push_body(TEXT.encode(), "42")
    intake = Intake()
    assert intake.post(push | {"message": push["message"] | changes}, BINARY).why
    assert_no_secret(intake, caplog)


def test_a_message_without_an_envelope_reveals_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    for body in (TEXT.encode(), b"{" + TEXT.encode(), b"x" * 40_000 + TEXT.encode()):
        intake = Intake()
        assert intake.post(body, BINARY).why
        assert_no_secret(intake, caplog)


def test_harmless_fields_are_kept() -> None:
    spec = {
        "scaling": {"min": 1, "max": -1},
        "machine": {"labels": {"team": "a"}},
        "rollout": {"steps": [50, 100]},
    }
    artifact = {"image": "host/app:1", "secrets": {"TOKEN": "hf-token@3"}}
    body = SMALL | {"artifact": artifact, "requested_by": "somebody", "reason": "to see", **spec}
    assert json.loads(redact_message(json.dumps(body).encode())) == body
    assert redact_message(b'{"model": 7}') == b'{"model": 7}'


def test_names_are_kept_and_a_redacted_message_cannot_be_resent_by_mistake() -> None:
    kept = json.loads(redact_message(TEXT.encode()))
    assert set(kept["artifact"]) == set(ARTIFACT)
    assert set(kept["artifact"]["env"]) == {"TOKEN"}
    for name in SECRET_FIELDS:
        with pytest.raises(Invalid):
            parse(SMALL | {"artifact": {"image": "tiny:1", name: kept["artifact"][name]}})
