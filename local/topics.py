"""Makes topics and push subscriptions in Google's Pub/Sub emulator, as `deploy/` makes them in the
cloud. Repeating is harmless.

Used by the local stack and by the tests.
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
    """`address` is the emulator's `host:port`, topics are short names."""
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
    """Have the emulator post every message of the topic to `url`, and return the subscription's
    full name.

    The topic goes into the path of the URL, from where functions-framework takes it. Unlike the
    service, the emulator sends no count of attempts, and comes again after about 1, 3, 3 ...
    seconds if the first back-off is shorter."""
    topic_name, name = (
        f"projects/{project}/topics/{topic}",
        f"projects/{project}/subscriptions/{topic}-push",
    )
    wanted = Subscription(
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
        wanted.dead_letter_policy = DeadLetterPolicy(
            dead_letter_topic=where, max_delivery_attempts=attempts
        )
    with grpc.insecure_channel(address) as channel:
        client = SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))
        with suppress(AlreadyExists):
            client.create_subscription(request=wanted, timeout=10)
    return name


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromTimedelta(timedelta(seconds=seconds))
    return duration
