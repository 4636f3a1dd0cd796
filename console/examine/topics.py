"""Which topics and subscriptions a project has. Only for `slipway doctor`."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import grpc
from google.api_core.exceptions import (
    Forbidden,
    GoogleAPICallError,
    NotFound,
    Unauthorized,
)
from google.pubsub_v1.services.publisher import PublisherClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber import SubscriberClient
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport
from google.pubsub_v1.types import Subscription as Described

from console.examine.answer import NoAnswer

TIMEOUT_SECONDS = 10
AT_ONCE = 4


@dataclass(frozen=True)
class Subscription:
    """`push_account` signs what is pushed, for `push_audience`. `dead_letters`: the topic, or
    empty.
    """

    name: str
    push_endpoint: str
    is_active: bool
    push_account: str = ""
    push_audience: str = ""
    dead_letters: str = ""
    ack_seconds: int = 0


Found = tuple[Subscription, ...] | NoAnswer
"""The subscriptions of a topic."""


class Topics:
    """`emulator` is the `host:port` of Google's emulator."""

    def __init__(self, project: str, emulator: str | None) -> None:
        self._project = project
        self._publisher, self._subscriber = _clients(emulator)

    def subscriptions(self, topics: Iterable[str]) -> dict[str, Found]:
        """Those of each topic, read at once."""
        names = tuple(topics)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return dict(zip(names, pool.map(self._of_topic, names), strict=True))

    def _of_topic(self, topic: str) -> Found:
        name = f"projects/{self._project}/topics/{topic}"
        try:
            self._publisher.get_topic(topic=name, timeout=TIMEOUT_SECONDS)
            names = self._publisher.list_topic_subscriptions(topic=name, timeout=TIMEOUT_SECONDS)
            return tuple(map(self._subscription, names))
        except NotFound:
            return NoAnswer("absent", "Pub/Sub: it does not exist")
        except GoogleAPICallError as error:
            is_denied = isinstance(error, Forbidden | Unauthorized)
            return NoAnswer("denied" if is_denied else "failed", f"Pub/Sub: {error.message}")

    def _subscription(self, name: str) -> Subscription:
        found = self._subscriber.get_subscription(subscription=name, timeout=TIMEOUT_SECONDS)
        push = found.push_config
        return Subscription(
            name.rpartition("/")[2],
            push.push_endpoint,
            found.state != Described.State.RESOURCE_ERROR,
            push.oidc_token.service_account_email,
            push.oidc_token.audience,
            found.dead_letter_policy.dead_letter_topic.rpartition("/")[2],
            found.ack_deadline_seconds,
        )


def _clients(emulator: str | None) -> tuple[Any, Any]:
    if emulator is None:
        return PublisherClient(), SubscriberClient()
    channel = grpc.insecure_channel(emulator)
    return (
        PublisherClient(transport=PublisherGrpcTransport(channel=channel)),
        SubscriberClient(transport=SubscriberGrpcTransport(channel=channel)),
    )
