"""Redacts a refused message: the mistake stays visible, and no possible secret is kept.

Called by `handlers/release.py` for quarantine records and dead letters. People paste secrets into
the wrong field, under a misspelt name, or into text that is not JSON; so a value is kept only
in a harmless field that the schema knows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any, get_args

from rollout.spec.message import CommandMessage, Invalid, ReleaseMessage, decode_json
from rollout.spec.model import Sections
from rollout.spec.section import Section

# Not a legal value of any of these fields, so that a dead letter cannot be sent again by mistake.
HIDDEN = {"hidden": True}
# `signature`: someone may have pasted the key instead.
SECRETIVE = frozenset({"args", "startup_script", "weights", "data_base64", "signature"})
# Around a release: a sender's own CloudEvent, and what Pub/Sub pushes.
ENVELOPE = frozenset(
    {
        "id",
        "source",
        "type",
        "specversion",
        "time",
        "datacontenttype",
        "subscription",
        "deliveryAttempt",
        "attributes",
    }
    | {"messageId", "message_id", "publishTime", "publish_time"}
    | {"content-type", "ce-id", "ce-source", "ce-type", "ce-specversion", "ce-time"}
)
# A string in place of one of these may hold everything that belongs inside it.
HOLDERS = frozenset({"message", "data", *Sections.model_fields})
NAMED_BY_SENDER = frozenset({"labels", "schedules"})
_SECRET_NAME = re.compile(r"[A-Za-z0-9_-]{1,255}(@[a-z0-9]{1,10})?")
_IMAGE = re.compile(r"[^@]*(@sha256:[0-9a-f]*)?")  # no user:password@host
_WORD = re.compile(rb"[A-Za-z0-9_\x80-\xff]+")


def redact_message(raw: bytes) -> bytes:
    """The message without the values that could be secrets. A message that is not JSON keeps its
    length, its punctuation and the names of fields, so that a mistake can be located; all other
    words are masked.
    """
    try:
        body = decode_json(raw)
    except Invalid:
        return _WORD.sub(_mask_word, raw)
    kept = _redact_member("data", body)
    return raw if kept == body else json.dumps(kept).encode()


def _mask_word(word: re.Match[bytes]) -> bytes:
    return word[0] if word[0].decode("latin-1") in _known_names() else b"x" * len(word[0])


def _redact_member(name: str, value: Any) -> Any:
    if name in HOLDERS and isinstance(value, list):
        return [_redact_member(name, each) for each in value]
    match name, value:
        case "env", dict():
            return dict.fromkeys(value, HIDDEN)
        case "secrets", dict():
            return {variable: _keep_if(_SECRET_NAME, secret) for variable, secret in value.items()}
        case "image", _:
            return _keep_if(_IMAGE, value)
        case _, dict() if name in NAMED_BY_SENDER:
            return {each: _redact(inner) for each, inner in value.items()}
    is_harmless = name in _known_names() and name not in SECRETIVE | {"env", "secrets"}
    return (
        _redact(value)
        if is_harmless and not (name in HOLDERS and isinstance(value, str))
        else HIDDEN
    )


def _redact(value: Any) -> Any:
    match value:
        case dict():
            return {name: _redact_member(name, inner) for name, inner in value.items()}
        case list():
            return [_redact(inner) for inner in value]
        case _:
            return value


def _keep_if(pattern: re.Pattern[str], value: Any) -> Any:
    return value if isinstance(value, str) and pattern.fullmatch(value) else HIDDEN


@cache
def _known_names() -> frozenset[str]:
    return frozenset({*_names(ReleaseMessage), *_names(CommandMessage), *ENVELOPE, *HOLDERS})


def _names(section: type[Section]) -> Iterator[str]:
    """The names of a section's fields, and of all that are within them."""
    for name, field in section.model_fields.items():
        yield name
        for inner in _sections(field.annotation):
            yield from _names(inner)


def _sections(annotation: Any) -> Iterator[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
    for argument in get_args(annotation):
        yield from _sections(argument)
