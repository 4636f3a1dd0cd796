"""Creates topics and push subscriptions in Google's Pub/Sub emulator, like `deploy/` in a project.

Used by the local stack and the tests. Safe to repeat.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from datetime import timedelta

import grpc
from google.api_core.exceptions import AlreadyExists
from google.protobuf.duration_pb2 import Duration
from google.pubsub_v1.services.publisher import PublisherClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber import SubscriberClient
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport
from google.pubsub_v1.types import (
    DeadLetterPolicy,
    ExpirationPolicy,
    PushConfig,
    RetryPolicy,
    Subscription,
)


def make_topics(address: str, project: str, topics: Iterable[str]) -> None:
    """Creates topics, given by short names. `address` is the emulator's `host:port`."""
    with grpc.insecure_channel(address) as channel:
        client = PublisherClient(transport=PublisherGrpcTransport(channel=channel))
        for topic in topics:
            with suppress(AlreadyExists):
                client.create_topic(name=f"projects/{project}/topics/{topic}", timeout=10)


def push_to(
    address: str,
    project: str,
    topic: str,
    url: str,
    *,
    dead_letter_topic: str | None = None,
    attempts: int = 20,
    first_backoff_seconds: float = 10.0,
    ack_deadline_seconds: int = 135,
) -> str:
    """Makes the emulator push the topic's messages to `url`; returns the subscription's full name.

    functions-framework reads the topic from the path of the URL. Unlike the service, the emulator
    sends no delivery attempt, and redelivers after about 1, 3, 3 ... seconds if the minimum backoff
    is shorter.
    """
    topic_name, name = (
        f"projects/{project}/topics/{topic}",
        f"projects/{project}/subscriptions/{topic}-push",
    )
    subscription = Subscription(
        name=name,
        topic=topic_name,
        push_config=PushConfig(push_endpoint=f"{url.rstrip('/')}/{topic_name}"),
        ack_deadline_seconds=ack_deadline_seconds,
        retry_policy=RetryPolicy(
            minimum_backoff=_duration(first_backoff_seconds), maximum_backoff=_duration(600)
        ),
        expiration_policy=ExpirationPolicy(),
    )
    if dead_letter_topic:
        where = f"projects/{project}/topics/{dead_letter_topic}"
        subscription.dead_letter_policy = DeadLetterPolicy(
            dead_letter_topic=where, max_delivery_attempts=attempts
        )
    with grpc.insecure_channel(address) as channel:
        client = SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))
        with suppress(AlreadyExists):
            client.create_subscription(request=subscription, timeout=10)
    return name


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromTimedelta(timedelta(seconds=seconds))
    return duration
