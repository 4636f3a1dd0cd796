"""What must hold of any bytes that reach Slipway: they are refused with a reason, or parsed
consistently.

The same bytes are parsed as everything that a stranger controls: the data of a message, the
sender's envelope in it, and the body that functions-framework passes on. fuzz.py searches for bytes
that break this, and test_corpus.py replays what it found.
"""

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
    """Whether Slipway accepts the data. Raises an AssertionError, or whatever the code under test
    raises, if the property is violated.
    """
    _check_body(data)
    _check_payload(Message("1", data, STRUCTURED, NOON))
    return _check_data(data)


# ---- As the data of a message


def _check_data(data: bytes) -> bool:
    try:
        request = parse(decode_json(data))
    except Invalid as refused:
        return _check_refusal(refused, data)
    if not isinstance(request, ReleaseRequested):
        return True
    return [_check_release(request, base, data) for base in (None, first_spec(request.model))] != [
        False,
        False,
    ]


@lru_cache(100)
def first_spec(model: str) -> Spec:
    return resolve(ReleaseRequested(model, "0", {"artifact": {"image": "tiny:1"}}), None)


def _check_release(request: ReleaseRequested, base: Spec | None, data: bytes) -> bool:
    try:
        spec = resolve(request, base)
    except Invalid as refused:
        return _check_refusal(refused, data)
    again = load(json.loads(json.dumps(dump(spec))))
    assert again == spec, "a spec changes in a round trip through its document"
    assert digest(again) == digest(spec)
    assert resolve(ReleaseRequested(request.model, "2"), spec) == spec, (
        "an empty release changes the spec"
    )
    assert not any(map(_is_silent, incompatible(first_spec(request.model), spec)))
    assert instance_template.name(request.model, again) == instance_template.name(
        request.model, spec
    )
    assert metadata(spec).get("user-data") in (
        None,
        user_data(),
    ), "the startup files depend on the message"
    return True


def _check_refusal(refused: Invalid, data: bytes) -> bool:
    """False, since the message is refused. The reason must be encodable and not too long, and the
    message must be redactable.
    """
    assert refused.problems
    assert 0 < len(str(refused).encode()) < 60_000
    redact_message(data)
    return False


def _is_silent(problem: object) -> bool:
    return not str(problem)


# ---- As an envelope


class FrameworkEvent(dict[str, object]):
    """An event of functions-framework: the context as a mapping, and any body."""

    def __init__(self, data: object) -> None:
        super().__init__(
            type=PUBLISHED,
            source="//pubsub.googleapis.com/projects/demo/topics/model-releases",
            id="1",
        )
        self.data = data


def _check_body(data: bytes) -> None:
    """Parses the bytes as the body of a request; if they are not JSON, they are passed on as they
    are.
    """
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        body = data
    try:
        message = parse_message(FrameworkEvent(body))
    except Unreadable as refused:
        _check_reason(refused)
    else:
        assert message.published_at.tzinfo is UTC
        assert "/" not in message.id
        _check_payload(message)


def _check_payload(message: Message) -> None:
    try:
        sent = parse_payload(message)
    except Unreadable as refused:
        _check_reason(refused)
        return
    assert sent.type in ("", RELEASE_TYPE, COMMAND_TYPE)
    assert re.fullmatch("[0-9a-f]{32}", sent.key)
    assert sent.at.tzinfo is UTC
    _check_data(sent.data)


def _check_reason(refused: Unreadable) -> None:
    assert 0 < len(refused.why) < 1000
    assert refused.why.isprintable(), "a reason contains control characters"
