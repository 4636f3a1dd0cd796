"""The forms in which Google brings a Pub/Sub message to a function, made of what its emulator sends. Pure.

The emulator's push lacks fields that the service has: the count of deliveries, the ordering key. Source:
googleapis/google-cloudevents, MessagePublishedData; Pub/Sub, "Push subscriptions"; CloudEvents, "HTTP Protocol Binding".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, assert_never

from tests.emulators.fates import Envelope

Headers = dict[str, str]
TYPE = "google.cloud.pubsub.topic.v1.messagePublished"


def enveloped(push: Mapping[str, Any], topic: str, attempt: int, envelope: Envelope) -> tuple[Headers, bytes]:
    """`push` is the emulator's body, `topic` the full name."""
    message = {**push["message"], "orderingKey": ""}
    body = {"message": message, "subscription": push["subscription"], "deliveryAttempt": attempt}
    context = {
        "specversion": "1.0",
        "id": message["messageId"],
        "source": f"//pubsub.googleapis.com/{topic}",
        "type": TYPE,
        "time": message["publishTime"],
    }
    match envelope:
        case "push":
            return {"Content-Type": "application/json"}, json.dumps(body).encode()
        case "binary":
            headers = {f"ce-{name}": text for name, text in context.items()}
            return {"Content-Type": "application/json", **headers}, json.dumps(body).encode()
        case "structured":
            whole = {**context, "datacontenttype": "application/json", "data": body}
            return {"Content-Type": "application/cloudevents+json"}, json.dumps(whole).encode()
        case _:
            assert_never(envelope)
