"""Handles a message on a topic for approvals: `approve` and `reject`, and nothing else.

Called by `main.on_approval`. Pub/Sub does not say who published a message; IAM decides who may
publish on this topic, so the topic is what vouches for the message. Invariant: a topic counts only
if its messages arrive through this entry point. `on_release` never passes one on.
"""

from __future__ import annotations

from typing import Any

from handlers.command import APPROVALS, record_command
from handlers.quarantine import Refuse
from handlers.release import handle_message
from infra.bus.envelope import Message, parse_payload
from infra.store import outbox, repository
from infra.wiring import World
from rollout.spec.message import CommandGiven, decode_json, parse


def handle(world: World, event: Any) -> None:
    handle_message(world, event, accept_approval)


def accept_approval(world: World, message: Message) -> None:
    """Save the approval or rejection, and wake its model."""
    payload = parse_payload(message)
    request = parse(decode_json(payload.data))
    topic = message.topic.rpartition("/")[2]
    if not isinstance(request, CommandGiven) or request.command not in APPROVALS:
        raise Refuse(
            f"command: topic {topic or 'without a name'} takes only approve and reject; publish"
            " everything else on model-releases"
        )
    repository.retry_on_conflict(
        world, lambda: record_command(world, request, payload, message.published_at, topic)
    )
    outbox.wake(world, request.model)
