"""Parses a status event from its message on `model-rollout-status`. No I/O.

Called by `handlers/status.py`. Only what a notification needs is read. Input that cannot be read
raises `Unreadable` and no other exception, so that the handler can acknowledge it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from infra.bus.envelope import Message, Unreadable
from infra.bus.validators import display, parse_timestamp
from rollout.notifications.model import CONDITIONS, StatusEvent

ROLLOUT_TYPE = "io.slipway.rollout.v1"
CONDITION_TYPE = "io.slipway.condition.v1"
QUARANTINE_TYPE = "io.slipway.quarantine.v1"
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,255}")
_MAX_NAME = 100


def parse_status(message: Message) -> StatusEvent:
    attributes = message.attributes
    kind, event_id = attributes.get("ce-type", ""), attributes.get("ce-id", "")
    try:
        if kind not in (ROLLOUT_TYPE, CONDITION_TYPE, QUARANTINE_TYPE):
            raise ValueError(f"ce-type must be that of a status event, not {display(kind)}")
        if not _ID.fullmatch(event_id):
            raise ValueError(f"ce-id is missing or malformed: {display(event_id)}")
        data = json.loads(message.data, parse_constant=lambda _: None)
        if not isinstance(data, dict):
            raise ValueError("the data must be a JSON object")
        if kind == QUARANTINE_TYPE:
            at = parse_timestamp(attributes.get("ce-time"), "ce-time")
            return _refused(event_id, data, at)
        return _condition(event_id, data) if kind == CONDITION_TYPE else _transition(event_id, data)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"not a status event: {error}", message.data) from error


def _transition(event_id: str, data: Mapping[str, Any]) -> StatusEvent:
    return StatusEvent(
        id=event_id,
        model=_text(data, "model", _MAX_NAME),
        release=_text(data, "release", _MAX_NAME),
        from_=_text(data, "from", _MAX_NAME),
        to=_text(data, "to", _MAX_NAME),
        why=_text(data, "why"),
        at=parse_timestamp(data.get("at"), "at"),
        reason=_text(data, "reason", _MAX_NAME),
        outcome=_text(data, "outcome", _MAX_NAME),
        begun_at=_begun_at(data),
        data=data,
    )


def _condition(event_id: str, data: Mapping[str, Any]) -> StatusEvent:
    condition = _text(data, "condition", _MAX_NAME)
    return StatusEvent(
        id=event_id,
        model=_text(data, "model", _MAX_NAME),
        release=_text(data, "release", _MAX_NAME),
        from_=_text(data, "phase", _MAX_NAME),
        to=CONDITIONS.get(condition, condition),
        why=_text(data, "why"),
        at=parse_timestamp(data.get("at"), "at"),
        begun_at=_begun_at(data),
        condition=condition,
        data=data,
    )


def _refused(event_id: str, data: Mapping[str, Any], at: datetime) -> StatusEvent:
    return StatusEvent(
        id=event_id,
        model=_text(data, "model", _MAX_NAME),
        release=_text(data, "version", _MAX_NAME),
        from_="published",
        to="quarantined",
        why=_text(data, "why"),
        at=at,
        data=data,
    )


def _begun_at(data: Mapping[str, Any]) -> datetime | None:
    given = data.get("begun_at")
    return parse_timestamp(given, "begun_at") if given else None


def _text(data: Mapping[str, Any], name: str, longest: int = 1 << 20) -> str:
    """A text, empty if it is missing or null."""
    given = data.get(name)
    if given is None:
        return ""
    if not isinstance(given, str) or len(given) > longest:
        raise ValueError(f"{name} must be text, not {display(given)}")
    return given
