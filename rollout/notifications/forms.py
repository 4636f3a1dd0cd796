"""The form of a notification for each kind of destination: Slack's, and that of Standard Webhooks.

Called by `infra/notifications/https.py`. Invariant: no text that others chose is markup: Slack
shows it as it is, mentions nobody and follows no link in it.
"""

from __future__ import annotations

import json
from datetime import UTC
from typing import Any

from rollout.notifications.model import Notification

_ESCAPED = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
MAX_HEADER = 150  # Slack's limits, of text as it is sent
MAX_SECTION = 3000


def slack_message(notification: Notification) -> dict[str, Any]:
    """The same for an incoming webhook and for `chat.postMessage`. `text` is what a notification of
    the desktop shows. Only the command and the link, which nobody else chose, may have markup.
    """
    title = escape(notification.title, MAX_HEADER)
    about = "\n".join(filter(None, (notification.why, " · ".join(notification.details))))
    blocks = [
        {"type": "header", "text": _plain(title)},
        {"type": "section", "text": _plain(escape(about, MAX_SECTION))},
    ]
    if notification.undo_command:
        command = escape(notification.undo_command, MAX_SECTION // 2)
        text = f"{escape(notification.undo, MAX_HEADER)}:\n```{command}```"
        blocks.append(_section(text, is_verbatim=True))
    if notification.link:
        blocks.append(_section(escape(notification.link, MAX_SECTION), is_verbatim=False))
    return {"text": title, "blocks": blocks, "unfurl_links": False, "unfurl_media": False}


def _plain(text: str) -> dict[str, Any]:
    return {"type": "plain_text", "text": text, "emoji": False}


def _section(text: str, *, is_verbatim: bool) -> dict[str, Any]:
    """`is_verbatim`: Slack makes no links of URLs, and no mentions of names, by itself."""
    return {
        "type": "section",
        "text": {"type": "mrkdwn", "text": text, "verbatim": is_verbatim},
    }


def escape(text: str, longest: int) -> str:
    """The text in Slack's form, in which no part of it is a link, a user or a channel; cut off
    before it is too long.
    """
    parts: list[str] = []
    left = longest - 1
    for each in text:
        part = _ESCAPED.get(each, each)
        if len(part) > left:
            return "".join([*parts, "…"])
        parts.append(part)
        left -= len(part)
    return "".join(parts)


def webhook_body(notification: Notification) -> bytes:
    """The payload that Standard Webhooks recommends: type, time and the event with what is added
    to it.
    """
    event = notification.event
    kind = "message" if event.to == "quarantined" else "rollout"
    kind = "condition" if event.condition else kind
    body = {
        "type": f"{kind}.{event.name}",
        "timestamp": event.at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "data": {
            **event.data,
            "id": event.id,
            "release": event.release,
            "to": event.to,
            "thread": event.thread,
            "text": notification.text,
            "undo_command": notification.undo_command or None,
            "link": notification.link or None,
        },
    }
    return json.dumps(body, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")
