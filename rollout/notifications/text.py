"""What a notification says of a status event: who, why, how long, how to undo it, where to look.

Called by `handlers/status.py`. Invariants: text that others chose is one line without control
characters, and a command is made of valid names only.
"""

from __future__ import annotations

import json
import shlex
from datetime import UTC, timedelta
from urllib.parse import quote

from rollout.gates.base import duration
from rollout.notifications.model import Facts, Notification, StatusEvent
from rollout.spec.types import is_model_name, is_version
from rollout.visible import one_line

MAX_TITLE = 150
MAX_WHY = 700
MAX_PERSON = 100
_IN_PROGRESS = ("desired", "step", "baking", "verdict", "promoted", "approved")
_FAILED = ("rolled_back", "aborted", "refused")


def notification_of(event: StatusEvent, facts: Facts, link: str, project: str) -> Notification:
    undo, fields = _undo(event, facts)
    release = f"release {event.release}" if event.release else "a message"
    change = f"{event.from_} → {event.to}" if event.from_ else event.to
    if event.condition:
        change = f"condition {event.condition} ({event.from_})"
    reason = f" ({event.reason})" if event.reason and event.reason != event.to else ""
    return Notification(
        event,
        title=one_line(f"{event.model or 'no model'}, {release}: {change}{reason}", MAX_TITLE),
        why=one_line(event.why, MAX_WHY),
        details=tuple(filter(None, (_who(facts), _how_long(event), _at(event)))),
        undo=undo,
        undo_command=_command(event.model, fields, project) if fields else "",
        link=_link(event, link),
    )


def _who(facts: Facts) -> str:
    """Who gave a command is part of `why`."""
    person = one_line(facts.requested_by, MAX_PERSON)
    return f"published by {person}" if person else ""


def _how_long(event: StatusEvent) -> str:
    """Nothing for what did not happen in a rollout, or began one."""
    span = event.at - event.begun_at if event.begun_at else timedelta(0)
    return f"{duration(span)} after the rollout began" if span >= timedelta(seconds=1) else ""


def _at(event: StatusEvent) -> str:
    return f"{event.at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _undo(event: StatusEvent, facts: Facts) -> tuple[str, dict[str, str]]:
    """What undoes the transition, as a sentence, and the fields of the command; none of them if
    nothing does, or nothing that is valid whatever has happened since.
    """
    release, name = event.release, event.name
    if not is_model_name(event.model) or not is_version(release):
        return "", {}
    is_rollout = event.from_.startswith("step_") or event.from_ == "baking"
    is_waiting = name == "capacity_scarce" or (name == "degraded" and is_rollout)
    if name in _IN_PROGRESS or is_waiting:
        return "To stop it", {"command": "abort"}
    if name == "paused":
        return "To go on", {"command": "resume"}
    if name in _FAILED:
        return f"To try release {release} again", {"command": "retry", "version": release}
    before = facts.previous
    if name == "succeeded" and facts.stable == release and is_version(before) and before != release:
        return f"To go back to release {before}", {"command": "rollback", "version": before}
    return "", {}


def _command(model: str, fields: dict[str, str], project: str) -> str:
    message = shlex.quote(json.dumps({"model": model} | fields))
    where = f" --project={shlex.quote(project)}" if project else ""
    return f"gcloud pubsub topics publish model-releases{where} --message={message}"


def _link(event: StatusEvent, link: str) -> str:
    if not event.model:
        return ""
    named = link.replace("{model}", quote(event.model, safe=""))
    return named.replace("{release}", quote(event.release, safe=""))
