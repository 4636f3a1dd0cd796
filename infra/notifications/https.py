"""Sends a notification by one HTTPS request: to a Slack webhook, to Slack's API, or signed to a
webhook as Standard Webhooks says.

Called by `handlers/status.py` through the port, for several destinations at once. Invariants: the
`webhook-id` of a status event never changes, so a receiver recognizes a repetition, and neither a
Slack URL nor a token or key is part of an answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, assert_never

from infra.notifications.port import TIMEOUT_SECONDS, NotSent, Sent
from infra.outbound import NoReply, Outbound, Reply
from infra.verdicts.signing import read_secrets
from rollout.notifications.forms import slack_message, webhook_body
from rollout.notifications.model import Notification
from rollout.notifications.settings import Destination

MAX_BYTES = 64 * 1024
POST_MESSAGE = "https://slack.com/api/chat.postMessage"
MAX_RETRY_AFTER = 3600
_GONE = 410
_NAME = "SLIPWAY_NOTIFICATION_SECRETS"
_HEADERS = {"accept-encoding": "identity", "user-agent": "slipway"}
_JSON = {"content-type": "application/json; charset=utf-8"}


class HttpsNotifier:
    """`secrets` by name; `outbound` and `post_message` (Slack's API) are replaced by tests, whose
    servers are on this machine.
    """

    def __init__(
        self,
        secrets: Mapping[str, str],
        outbound: Outbound | None = None,
        post_message: str = POST_MESSAGE,
    ) -> None:
        self._secrets = secrets
        self._outbound = outbound or Outbound(TIMEOUT_SECONDS, MAX_BYTES)
        self._post_message = post_message

    def send(
        self, destination: Destination, notification: Notification, thread: str, now: datetime
    ) -> Sent | NotSent:
        secret = self._secrets.get(destination.secret, "")
        if not secret:
            return NotSent(f"{_NAME} has no secret {destination.secret}")
        match destination.type:
            case "slack":
                return self._post(secret, _encoded(slack_message(notification)), _JSON)
            case "slack_bot":
                return self._post_as_bot(destination, notification, secret, thread)
            case "webhook":
                return self._post_signed(destination, notification, secret, now)
            case _:
                assert_never(destination.type)

    def _post_signed(
        self, destination: Destination, notification: Notification, secret: str, now: datetime
    ) -> Sent | NotSent:
        try:
            keys = read_secrets(secret, f"{_NAME}.{destination.secret}")
        except ValueError as error:
            return NotSent(str(error))
        body = webhook_body(notification)
        return self._post(destination.url, body, keys.sign(notification.event.id, now, body))

    def _post_as_bot(
        self, destination: Destination, notification: Notification, token: str, thread: str
    ) -> Sent | NotSent:
        """Slack answers 200 to what it refuses, too."""
        if not re.fullmatch(r"xox[a-z]-[A-Za-z0-9-]+", token):
            return NotSent(f"{_NAME}.{destination.secret} is not the token of a Slack bot")
        message = slack_message(notification) | {"channel": destination.channel}
        if thread:
            message |= {"thread_ts": thread}
        headers = _JSON | {"authorization": f"Bearer {token}"}
        reply = self._outbound.post(self._post_message, _encoded(message), _HEADERS | headers)
        if isinstance(reply, NoReply) or reply.status != 200:
            return _result(reply)
        try:
            answer = json.loads(reply.body)
        except ValueError:
            answer = None
        match answer:
            case {"ok": True, "ts": str(ts)}:
                return Sent(thread or ts)
            case {"ok": False, "error": str(error)}:
                return NotSent(f"Slack answered {error[:60]!r}")
            case _:
                return NotSent("Slack's answer is not that of chat.postMessage")

    def _post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Sent | NotSent:
        return _result(self._outbound.post(url, body, {**_HEADERS, **_JSON, **headers}))


def _result(reply: Reply | NoReply) -> Sent | NotSent:
    match reply:
        case NoReply(_, why):
            return NotSent(why)
        case Reply(status) if 200 <= status < 300:
            return Sent()
        case Reply(status) if 300 <= status < 400:
            return NotSent(f"the receiver answered {status}; name the URL that it redirects to")
        case Reply(status, headers):
            after = _seconds(headers.get("retry-after", ""))
            return NotSent(f"the receiver answered {status}", after, is_final=status == _GONE)
        case _:
            assert_never(reply)


def _seconds(text: str) -> int:
    """`Retry-After` in seconds, at most an hour; its form as a date is left to our own back-off."""
    return min(int(text), MAX_RETRY_AFTER) if re.fullmatch(r"[0-9]{1,9}", text) else 0


def _encoded(message: Mapping[str, Any]) -> bytes:
    return json.dumps(message).encode()


def read_notification_secrets(text: str) -> Mapping[str, str]:
    """The secrets in the setting: a JSON object, by name. Raises ValueError, which shows none."""
    try:
        found = json.loads(text) if text else {}
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(isinstance(each, str) for each in found.values()):
        raise ValueError(f"{_NAME} must be a JSON object that maps names to secrets")
    return {str(name): secret.strip() for name, secret in found.items()}
