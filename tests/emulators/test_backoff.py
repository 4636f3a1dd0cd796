"""What the proxy adds to the emulator: Pub/Sub's backoff, and the service's envelopes."""

from __future__ import annotations

import base64
import json
import time
from itertools import pairwise
from typing import Any, cast

import pytest
import requests

from infra.bus.envelope import PUBLISHED, parse_message, parse_payload
from tests.emulators.backoff import Backoffs, backoff_seconds
from tests.emulators.envelopes import SECRET, enveloped
from tests.emulators.fates import ENVELOPES, WELL, Envelope
from tests.emulators.proxy import NO_INSTANCE, Proxy
from tests.emulators.workers import Worker, Workers

TOPIC = "projects/demo/topics/model-wakeups"
PUSH = {
    "message": {
        "data": base64.b64encode(b'{"model": "m0"}').decode(),
        "messageId": "7",
        "publishTime": "2026-03-01T12:00:00Z",
    },
    "subscription": "projects/demo/subscriptions/model-wakeups-push",
}


class Nobody:
    """Workers without an instance that is up."""

    def next(self, patience_seconds: float) -> Worker | None:
        return None


class Heard:
    """The event that functions-framework creates from a binary request."""

    def __init__(self, headers: dict[str, str], body: bytes) -> None:
        self.context = {
            name.removeprefix("ce-"): text
            for name, text in headers.items()
            if name.startswith("ce-")
        }
        self.data: Any = json.loads(body)

    def get(self, key: str, default: Any = None) -> Any:
        return self.context.get(key, default)


def test_the_delay_doubles_with_each_failure_up_to_the_maximum_of_the_subscription() -> None:
    assert [backoff_seconds("model-releases", failures) for failures in (1, 2, 3, 7, 99)] == [
        10,
        20,
        40,
        600,
        600,
    ]
    assert [backoff_seconds("model-wakeups", failures) for failures in (1, 2, 3, 7, 99)] == [
        10,
        20,
        40,
        60,
        60,
    ]


def test_each_message_has_its_own_backoff_in_the_time_of_the_stack() -> None:
    backoffs = Backoffs(speed=10)
    assert [backoffs.after_failure("model-releases", message) for message in "aaba"] == [1, 2, 1, 4]
    assert backoffs.waiting_for == [10, 20, 10, 40]


def test_the_proxy_redelivers_failed_messages_at_growing_intervals() -> None:
    with Proxy(
        {"model-wakeups": cast("Workers", Nobody())}, lambda topic, model, number: WELL, speed=2000
    ) as proxy:
        began = time.monotonic()
        assert requests.post(f"{proxy.url}/{TOPIC}", json=PUSH, timeout=10).status_code == 204
        while len(proxy.deliveries) < 6 and time.monotonic() < began + 30:
            time.sleep(0.01)
        assert not proxy.is_idle
    times = [delivery.began for delivery in proxy.deliveries[:6]]
    delays = [later - earlier for earlier, later in pairwise(times)]
    assert all(
        delay >= least / 2000 for delay, least in zip(delays, (10, 20, 40, 60, 60), strict=True)
    )
    assert [delivery.status for delivery in proxy.deliveries[:6]] == [NO_INSTANCE] * 6
    assert proxy.backoffs.waiting_for[:5] == [10, 20, 40, 60, 60]


@pytest.mark.parametrize("envelope", sorted(set(ENVELOPES)))
def test_an_envelope_has_the_fields_that_only_the_service_sends(
    envelope: Envelope,
) -> None:
    headers, body = enveloped(PUSH, TOPIC, 3, envelope)
    whole = json.loads(body)
    data = whole["data"] if envelope == "structured" else whole
    assert (data["deliveryAttempt"], data["subscription"]) == (3, PUSH["subscription"])
    assert {"messageId", "message_id", "publishTime", "publish_time", "orderingKey"} <= data[
        "message"
    ].keys()
    scheme, token = headers["Authorization"].split()
    assert (scheme, token.count(".")) == ("Bearer", 2)
    assert SECRET in token


def test_a_binary_envelope_is_decoded_to_its_message() -> None:
    headers, body = enveloped(PUSH, TOPIC, 3, "binary")
    message = parse_message(Heard(headers, body), "demo")
    assert (message.id, message.attempt, message.topic) == ("7", 3, TOPIC)
    assert message.subscription == PUSH["subscription"]
    assert parse_payload(message).data == b'{"model": "m0"}'
    assert Heard(headers, body).get("type") == PUBLISHED
