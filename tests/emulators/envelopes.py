"""Builds the requests in which Google delivers a Pub/Sub message to a function, from those of the
emulator. Pure.

The emulator's push lacks what the service sends: the delivery attempt, the ordering key, the
signed token of the push identity. Source: googleapis/google-cloudevents, MessagePublishedData;
Pub/Sub, "Push subscriptions" and "Authentication for push subscriptions"; CloudEvents, "HTTP
Protocol Binding".
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any, assert_never

from tests.emulators.fates import Envelope

Headers = dict[str, str]
# The token's signature: a reader could call the functions.
SECRET = "c2lnbmVkLWJ5LW5vYm9keS1mb3ItdGhlLXRlc3Rz"
TYPE = "google.cloud.pubsub.topic.v1.messagePublished"


def enveloped(
    push: Mapping[str, Any], topic: str, attempt: int, envelope: Envelope
) -> tuple[Headers, bytes]:
    """`push` is the emulator's body, `topic` the full name."""
    given = push["message"]
    twins = {"message_id": given["messageId"], "publish_time": given["publishTime"]}
    message = {**given, **twins, "orderingKey": ""}
    body = {"message": message, "subscription": push["subscription"], "deliveryAttempt": attempt}
    context = {
        "specversion": "1.0",
        "id": message["messageId"],
        "source": f"//pubsub.googleapis.com/{topic}",
        "type": TYPE,
        "time": message["publishTime"],
    }
    token = {"Authorization": f"Bearer {_token(topic)}"}
    match envelope:
        case "push":
            return {**token, "Content-Type": "application/json"}, json.dumps(body).encode()
        case "binary":
            headers = {f"ce-{name}": text for name, text in context.items()}
            return {**token, "Content-Type": "application/json", **headers}, json.dumps(
                body
            ).encode()
        case "structured":
            whole = {**context, "datacontenttype": "application/json", "data": body}
            return {**token, "Content-Type": "application/cloudevents+json"}, json.dumps(
                whole
            ).encode()
        case _:
            assert_never(envelope)


def _token(topic: str) -> str:
    """In the form of the token that Google signs. Cloud Run verifies it before a function sees it;
    no function may store it.
    """
    payload = {
        "aud": f"https://example/{topic}",
        "email": "slipway-invoker@example.iam.gserviceaccount.com",
        "email_verified": True,
    }
    parts = ({"alg": "RS256", "typ": "JWT"}, {**payload, "iss": "https://accounts.google.com"})
    encoded = (
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts
    )
    return ".".join((*encoded, SECRET))
