"""A bus within one process, with at-least-once delivery to handlers. For machines without the
Pub/Sub emulator; never deployed.

A handler gets the same CloudEvent as a deployed function. If it returns, the message is
acknowledged. If it raises, the message is delivered again after an exponential back-off, and after
the last attempt the message goes to the dead-letter topic. Messages are not ordered. There are two
ways to run it: `pump` delivers the due messages in the calling thread, in a deterministic order,
for virtual time and tests; `start` and `stop` run threads that deliver, for the local stack.
"""

from __future__ import annotations

import base64
import heapq
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import field, replace
from datetime import datetime, timedelta
from types import MappingProxyType

from cloudevents.http import CloudEvent

from infra.bus import validators
from infra.bus.envelope import PUBLISHED, Message
from infra.bus.port import BusError, check_outgoing
from infra.clock import Clock
from rollout.deferred import dataclass

Handler = Callable[[CloudEvent], None]
log = logging.getLogger("slipway")


@dataclass(frozen=True)
class _Subscription:
    name: str
    topic: str
    handler: Handler
    dead_letter_topic: str | None
    attempts: int


@dataclass(frozen=True, order=True)
class _Delivery:
    due: datetime
    number: int
    subscription: _Subscription = field(compare=False)
    message: Message = field(compare=False)


class EmbeddedBus:
    """Back-offs are in seconds of `clock`; the defaults are Pub/Sub's."""

    def __init__(
        self,
        clock: Clock,
        project: str = "local",
        *,
        first_backoff_seconds: float = 10.0,
        longest_backoff_seconds: float = 600.0,
    ) -> None:
        self._clock = clock
        self._project = project
        self._first, self._longest = (
            timedelta(seconds=first_backoff_seconds),
            timedelta(seconds=longest_backoff_seconds),
        )
        self._subscriptions: list[_Subscription] = []
        self._waiting: list[_Delivery] = []  # a heap
        self._published = self._queued = 0
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._stopping = False

    def subscribe(
        self,
        topic: str,
        handler: Handler,
        *,
        dead_letter_topic: str | None = None,
        attempts: int = 20,
    ) -> None:
        """Deliver every message published to the topic from now on to `handler`. As with Pub/Sub,
        without a dead-letter topic a message is delivered until it is acknowledged.
        """
        self._topic_name(topic)
        self._topic_name(dead_letter_topic or topic)
        with self._changed:
            name = f"projects/{self._project}/subscriptions/{topic}-{len(self._subscriptions) + 1}"
            self._subscriptions.append(
                _Subscription(name, topic, handler, dead_letter_topic, attempts)
            )

    def publish(
        self, topic: str, data: bytes, attributes: Mapping[str, str] = MappingProxyType({})
    ) -> str:
        check_outgoing(data, attributes)
        return self._enqueue(topic, data, attributes, self._clock.now())

    def publish_at(self, topic: str, data: bytes, at: datetime) -> None:
        """Publish at a later time, like a Cloud Tasks queue in front of the topic."""
        check_outgoing(data, {})
        self._enqueue(topic, data, {}, max(at, self._clock.now()))

    def pump(self, limit: int = 10_000) -> int:
        """Deliver the messages that are due now, and those that their handlers publish. Returns the
        number of deliveries. Does not advance the clock.
        """
        done = 0
        while done < limit and (delivery := self._take_due()):
            self._deliver(delivery)
            done += 1
        return done

    def next_due(self) -> datetime | None:
        """When the next delivery is due; None if none is waiting. Deliveries in progress do not
        count.
        """
        with self._changed:
            return self._waiting[0].due if self._waiting else None

    def start(self, workers: int = 4) -> None:
        self._stopping = False
        for number in range(workers):
            thread = threading.Thread(target=self._work, name=f"embedded-bus-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        """Finish the deliveries in progress, then stop. Waiting deliveries are kept."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        while self._threads:
            self._threads.pop().join()

    def _work(self) -> None:
        while delivery := self._wait_for_due():
            self._deliver(delivery)

    def _wait_for_due(self) -> _Delivery | None:
        with self._changed:
            while not self._stopping:
                if delivery := self._take_due():
                    return delivery
                # A scaled clock runs faster than real time, so look at the back-offs regularly.
                self._changed.wait(0.1 if self._waiting else None)
        return None

    def _take_due(self) -> _Delivery | None:
        with self._changed:
            due = self._waiting and self._waiting[0].due <= self._clock.now()
            return heapq.heappop(self._waiting) if due else None

    def _enqueue(self, topic: str, data: bytes, attributes: Mapping[str, str], at: datetime) -> str:
        with self._changed:
            self._published += 1
            name = self._topic_name(topic)
            message = Message(str(self._published), data, dict(attributes), at, topic=name)
            for subscription in self._subscriptions:
                if subscription.topic == topic:
                    self._queue(
                        at,
                        subscription,
                        replace(message, attempt=1, subscription=subscription.name),
                    )
            return message.id

    def _queue(self, due: datetime, subscription: _Subscription, message: Message) -> None:
        with self._changed:
            self._queued += 1
            heapq.heappush(self._waiting, _Delivery(due, self._queued, subscription, message))
            self._changed.notify()

    def _deliver(self, delivery: _Delivery) -> None:
        try:
            delivery.subscription.handler(self._make_event(delivery))
        except Exception as error:
            self._redeliver(delivery, error)
        except BaseException as error:
            self._redeliver(delivery, error)
            raise

    def _redeliver(self, delivery: _Delivery, error: BaseException) -> None:
        subscription, message = delivery.subscription, delivery.message
        fields = {
            "topic": subscription.topic,
            "event_id": message.id,
            "attempt": message.attempt,
            "why": repr(error),
        }
        log.warning("message not acknowledged", extra={"fields": fields})
        if subscription.dead_letter_topic and message.attempt >= subscription.attempts:
            self._enqueue(
                subscription.dead_letter_topic,
                message.data,
                {**message.attributes, **self._dead_letter_attributes(delivery)},
                self._clock.now(),
            )
            return
        backoff = min(self._first * 2 ** min(message.attempt - 1, 30), self._longest)
        self._queue(
            self._clock.now() + backoff, subscription, replace(message, attempt=message.attempt + 1)
        )

    def _make_event(self, delivery: _Delivery) -> CloudEvent:
        """The event as Eventarc delivers it."""
        message, at = (
            delivery.message,
            delivery.message.published_at.isoformat().replace("+00:00", "Z"),
        )
        data: dict[str, object] = {
            "message": {
                "data": base64.b64encode(message.data).decode(),
                "attributes": dict(message.attributes),
                "messageId": message.id,
                "message_id": message.id,
                "publishTime": at,
                "publish_time": at,
            },
            "subscription": message.subscription,
        }
        if delivery.subscription.dead_letter_topic:
            data["deliveryAttempt"] = message.attempt
        context = {
            "id": message.id,
            "source": f"//pubsub.googleapis.com/{message.topic}",
            "type": PUBLISHED,
            "time": at,
        }
        return CloudEvent({"specversion": "1.0", **context}, data)

    def _topic_name(self, topic: str) -> str:
        try:
            return validators.parse_resource_name(
                f"projects/{self._project}/topics/{topic}", "topics"
            )
        except ValueError as error:
            raise BusError(str(error)) from error

    def _dead_letter_attributes(self, delivery: _Delivery) -> dict[str, str]:
        """The attributes that Pub/Sub adds to a dead-lettered message."""
        return {
            "CloudPubSubDeadLetterSourceDeliveryCount": str(delivery.message.attempt),
            "CloudPubSubDeadLetterSourceSubscription": delivery.subscription.name.rpartition("/")[
                2
            ],
            "CloudPubSubDeadLetterSourceSubscriptionProject": self._project,
            "CloudPubSubDeadLetterSourceTopicPublishTime": (
                delivery.message.published_at.isoformat()
            ),
        }
