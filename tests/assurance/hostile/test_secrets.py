"""Secrets in messages that are refused: pasted into the wrong field, under a misspelt name, into
text that is no JSON at all.

Of a refused message a record and a dead letter are kept, for whoever has to put it right. Whatever
way it is wrong, none of that, no status event and no line of the log holds a value of `env`,
`args`, `startup_script` or `weights`, or of a field that nobody knows. Names are kept: they say
what to put right."""

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
from tests.assurance.hostile.intake import BINARY, ENVELOPES, SMALL, Intake, pushed, request, scaled

SECRET = "hunter2-do-not-tell"
WHERE: dict[str, Any] = {
    "env": {"TOKEN": SECRET},
    "args": ["--token", SECRET],
    "startup_script": f"#!/bin/sh\nexport TOKEN={SECRET}\n",
    "weights": f"https://models.example.com/tiny?signature={SECRET}",
}


def release(**more: Any) -> dict[str, Any]:
    return SMALL | {"artifact": {"image": "tiny:1", **WHERE}} | more


ARTIFACT = release()["artifact"]
WRONG: dict[str, Any] = {
    "a bad version": release(version="?"),
    "a bad field beside it": release(scaling={"max": -1}),
    "a command": release(command="retire"),
    "a misspelt section": SMALL | {"artefact": ARTIFACT},
    "a section too far out": SMALL | ARTIFACT,
    "a section too deep": {"release": release()},
    "a section of a section": SMALL | {"serving": {"artifact": ARTIFACT}},
    "a field of another section": SMALL | {"serving": WHERE, "machine": WHERE},
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
BODIES = {name: json.dumps(body).encode() for name, body in WRONG.items()} | UNREADABLE


def forms(of: bytes) -> Iterator[bytes]:
    """A text as it is, and what is left of it within base64, wherever in a group of three bytes it
    begins."""
    yield of
    yield of.decode().encode("utf-16-le")
    yield of.decode().encode("utf-32-le")
    for lead in range(3):
        yield base64.b64encode(b"x" * lead + of)[4:-4]


def everything_kept(intake: Intake, caplog: pytest.LogCaptureFixture) -> Iterator[bytes]:
    for document in (*intake.store.list("quarantine", 100), *intake.store.list("models", 100)):
        yield json.dumps(document.data, default=str).encode()
        yield base64.b64decode(document.data.get("raw", ""))
    yield from intake.told
    for record in caplog.records:
        yield json.dumps([record.getMessage(), getattr(record, "fields", {})], default=str).encode()


def then_nothing_is_told(intake: Intake, caplog: pytest.LogCaptureFixture) -> None:
    kept = list(everything_kept(intake, caplog))
    assert len(kept) >= 4
    found = {form: text[:200] for text in kept for form in forms(SECRET.encode()) if form in text}
    assert not found


@pytest.fixture(autouse=True)
def _every_line(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.DEBUG, "slipway"):
        yield


@pytest.mark.parametrize("name", BODIES)
def test_a_refused_message_tells_no_secret(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """For every commit the messages take turns with the envelopes."""
    for envelope in ENVELOPES[list(BODIES).index(name) % scaled(4, 1) :: scaled(4, 1)]:
        intake = Intake()
        assert intake.post(*request(envelope, pushed(BODIES[name], "42"))).why
        then_nothing_is_told(intake, caplog)


@pytest.mark.parametrize(
    "body",
    [WRONG["a bad version"], WRONG["a misspelt section"], release()],
    ids=["bad", "misspelt", "good"],
)
@pytest.mark.parametrize("kind", [RELEASE_TYPE, "io.evil.v1"])
@pytest.mark.parametrize("member", ["data", "data_base64", "data as text"])
def test_nor_does_one_in_an_envelope_of_its_sender_s(
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
    why = intake.take(envelope, {"content-type": "application/cloudevents+json"}).why
    if why:
        then_nothing_is_told(intake, caplog)
    else:
        assert (kind, body) == (RELEASE_TYPE, release())


@pytest.mark.parametrize(
    "changes", [{"messageId": "../x"}, {"publishTime": "yesterday"}, {"attributes": []}], ids=str
)
def test_nor_does_one_whose_message_cannot_be_opened(
    changes: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    push = pushed(TEXT.encode(), "42")
    intake = Intake()
    assert intake.post(push | {"message": push["message"] | changes}, BINARY).why
    then_nothing_is_told(intake, caplog)


def test_nor_does_one_that_came_without_any_envelope(caplog: pytest.LogCaptureFixture) -> None:
    for body in (TEXT.encode(), b"{" + TEXT.encode(), b"x" * 40_000 + TEXT.encode()):
        intake = Intake()
        assert intake.post(body, BINARY).why
        then_nothing_is_told(intake, caplog)


def test_what_is_harmless_is_kept_so_that_it_can_be_put_right() -> None:
    spec = {
        "scaling": {"min": 1, "max": -1},
        "machine": {"labels": {"team": "a"}},
        "rollout": {"steps": [50, 100]},
    }
    artifact = {"image": "host/app:1", "secrets": {"TOKEN": "hf-token@3"}}
    body = SMALL | {"artifact": artifact, "requested_by": "somebody", "reason": "to see", **spec}
    assert json.loads(redact_message(json.dumps(body).encode())) == body
    assert redact_message(b'{"model": 7}') == b'{"model": 7}'


def test_names_are_kept_and_what_is_hidden_cannot_be_sent_again_by_mistake() -> None:
    kept = json.loads(redact_message(TEXT.encode()))
    assert set(kept["artifact"]) == set(ARTIFACT)
    assert set(kept["artifact"]["env"]) == {"TOKEN"}
    for name in WHERE:
        with pytest.raises(Invalid):
            parse(SMALL | {"artifact": {"image": "tiny:1", name: kept["artifact"][name]}})
