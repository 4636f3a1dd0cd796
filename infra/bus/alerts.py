"""Parses the notification of an incident that Cloud Monitoring publishes on a Pub/Sub topic. No
I/O.

Source: Cloud Monitoring, "Create and manage notification channels", schema of Pub/Sub and webhook
notifications, version 1.2. Only what Slipway needs is read, and further fields are ignored. Input
that cannot be read raises `Unreadable` and no other exception, so that a handler can record it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from infra.bus.envelope import Unreadable
from infra.bus.validators import display
from rollout.alerts import Alert
from rollout.spec.problems import Invalid
from rollout.spec.strict_json import read_json
from rollout.visible import is_visible, one_line

_POLICY_ID = re.compile(r"projects/[^/]+/alertPolicies/([0-9]{1,30})(/.*)?")
_TEST = "test"
MAX_TEXT = 512


def parse_alert(data: bytes) -> Alert | None:
    """The incident; None for a notification that only tests the channel."""
    try:
        document = read_json(data)
        if not isinstance(document, dict) or not isinstance(document.get("incident"), dict):
            raise ValueError("there is no incident")
        version = document.get("version")
        if version == _TEST:
            return None
        if not isinstance(version, str) or not version.startswith("1."):
            raise ValueError(f"version must be 1.2, not {display(version)}")
        return _parse_incident(document["incident"])
    except (Invalid, ValueError, RecursionError) as error:
        why = "the JSON is nested too deep" if isinstance(error, RecursionError) else str(error)
        raise Unreadable(f"not a notification of Cloud Monitoring: {why}", data) from error


def _parse_incident(incident: Mapping[str, Any]) -> Alert:
    state = incident.get("state")
    if not isinstance(state, str) or state.lower() not in ("open", "closed"):
        raise ValueError(f"incident.state must be open or closed, not {display(state)}")
    condition = incident.get("condition")
    name = condition.get("name") if isinstance(condition, dict) else None
    found = _POLICY_ID.fullmatch(name) if isinstance(name, str) else None
    return Alert(
        incident=_text(incident, "incident_id"),
        policy=_text(incident, "policy_name"),
        policy_id=found[1] if found else "",
        is_open=state.lower() == "open",
        started_at=_time(incident, "started_at"),
        summary=_line(incident.get("summary")),
        url=_line(incident.get("url")),
    )


def _text(incident: Mapping[str, Any], field: str) -> str:
    text = incident.get(field)
    if not isinstance(text, str) or not 0 < len(text) <= MAX_TEXT or not is_visible(text):
        raise ValueError(
            f"incident.{field} must be text of 1 to {MAX_TEXT} printable characters, not"
            f" {display(text)}"
        )
    return text


def _time(incident: Mapping[str, Any], field: str) -> datetime:
    seconds = incident.get(field)
    if isinstance(seconds, int | float) and not isinstance(seconds, bool) and seconds >= 0:
        try:
            return datetime.fromtimestamp(seconds, UTC)
        except (ValueError, OverflowError, OSError):
            pass
    raise ValueError(f"incident.{field} must be Unix time in seconds, not {display(seconds)}")


def _line(given: Any) -> str:
    """A text for people on one line; empty if there is none."""
    return one_line(given, MAX_TEXT) if isinstance(given, str) else ""
