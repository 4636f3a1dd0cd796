"""What must hold of any bytes that reach Slipway: refused in words, or the same after every way
that they go.

The same bytes are read as each thing that a stranger can choose: the data of a message, a sender's
own envelope in it, and the body that functions-framework hands over. Nothing but a refusal may come
of any of them. Shared by tests/assurance/hostile/fuzz.py, which looks for bytes that break it, and
by tests/assurance/hostile/test_corpus.py, which tries again what was found."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from functools import lru_cache

from handlers.redaction import redact_message
from infra.bus.envelope import (
    COMMAND_TYPE,
    PUBLISHED,
    RELEASE_TYPE,
    Message,
    Unreadable,
    parse_message,
    parse_payload,
)
from infra.fleet.resources import instance_template
from infra.fleet.resources.instance_template import metadata, user_data
from rollout.spec.compatibility import incompatible
from rollout.spec.message import Invalid, ReleaseRequested, decode_json, parse, resolve
from rollout.spec.model import Spec, digest, dump, load

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
STRUCTURED = {"content-type": "application/cloudevents+json; charset=utf-8"}


def check(data: bytes) -> bool:
    """Whether it is a message that Slipway takes. Raises AssertionError where the property is
    broken, and whatever else comes."""
    _opens(data)
    _is_from_somebody(Message("1", data, STRUCTURED, NOON))
    return _is_taken(data)


# ---- As the data of a message


def _is_taken(data: bytes) -> bool:
    try:
        asked = parse(decode_json(data))
    except Invalid as refused:
        return _is_legible(refused, data)
    if not isinstance(asked, ReleaseRequested):
        return True
    return [_resolves(asked, base, data) for base in (None, first(asked.model))] != [False, False]


@lru_cache(100)
def first(model: str) -> Spec:
    return resolve(ReleaseRequested(model, "0", {"artifact": {"image": "tiny:1"}}), None)


def _resolves(asked: ReleaseRequested, base: Spec | None, data: bytes) -> bool:
    try:
        spec = resolve(asked, base)
    except Invalid as refused:
        return _is_legible(refused, data)
    again = load(json.loads(json.dumps(dump(spec))))
    assert again == spec, "a spec is not the same after its document"
    assert digest(again) == digest(spec)
    assert resolve(ReleaseRequested(asked.model, "2"), spec) == spec, (
        "a release that says nothing changes something"
    )
    assert not any(map(_is_silent, incompatible(first(asked.model), spec)))
    assert instance_template.name(asked.model, again) == instance_template.name(asked.model, spec)
    assert metadata(spec).get("user-data") in (
        None,
        user_data(),
    ), "what machines run depends on what was asked for"
    return True


def _is_legible(refused: Invalid, data: bytes) -> bool:
    """False, as the message was refused: in words that can be written down, and not in endless
    ones. What is kept of it is made without trouble too."""
    assert refused.problems
    assert 0 < len(str(refused).encode()) < 60_000
    redact_message(data)
    return False


def _is_silent(problem: object) -> bool:
    return not str(problem)


# ---- As an envelope


class Pushed(dict[str, object]):
    """What functions-framework hands over: the context as a mapping, and the body, whatever it
    is."""

    def __init__(self, data: object) -> None:
        super().__init__(
            type=PUBLISHED,
            source="//pubsub.googleapis.com/projects/demo/topics/model-releases",
            id="1",
        )
        self.data = data


def _opens(data: bytes) -> None:
    """The bytes as the body of a request. One that is no JSON is handed over as it is."""
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        body = data
    try:
        message = parse_message(Pushed(body))
    except Unreadable as refused:
        _is_told(refused)
    else:
        assert message.published_at.tzinfo is UTC
        assert "/" not in message.id
        _is_from_somebody(message)


def _is_from_somebody(message: Message) -> None:
    try:
        sent = parse_payload(message)
    except Unreadable as refused:
        _is_told(refused)
        return
    assert sent.type in ("", RELEASE_TYPE, COMMAND_TYPE)
    assert re.fullmatch("[0-9a-f]{32}", sent.key)
    assert sent.at.tzinfo is UTC
    _is_taken(sent.data)


def _is_told(refused: Unreadable) -> None:
    assert 0 < len(refused.why) < 1000
    assert refused.why.isprintable(), "a reason writes on the screen"
