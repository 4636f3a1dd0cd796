"""The embedded bus in virtual time: when messages are delivered, and that none is lost."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from infra.bus.embedded import EmbeddedBus
from infra.bus.envelope import CloudEventLike, Message, parse_message
from infra.bus.port import BusError

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.time = NOON

    def now(self) -> datetime:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


class Function:
    """Records its messages, and raises the exceptions in `failures` first."""

    def __init__(self, *failures: BaseException) -> None:
        self.failures = list(failures)
        self.messages: list[Message] = []

    def __call__(self, event: CloudEventLike) -> None:
        self.messages.append(parse_message(event))
        if self.failures:
            raise self.failures.pop(0)


class Crash(BaseException):
    """The instance dies."""


def deliver_all(bus: EmbeddedBus, clock: Clock) -> list[float]:
    """Advance the clock from delivery to delivery, and return the times, in seconds after noon."""
    times: list[float] = []
    while (due := bus.next_due()) and len(times) < 1000:
        clock.time = max(clock.time, due)
        times.extend([(clock.time - NOON).total_seconds()] * bus.pump())
    return times


def test_the_back_off_doubles_up_to_ten_minutes() -> None:
    clock, function = Clock(), Function(*[RuntimeError()] * 9)
    bus = EmbeddedBus(clock)
    bus.subscribe("topic", function)
    bus.publish("topic", b"x")

    times = deliver_all(bus, clock)

    delays = [later - earlier for earlier, later in pairwise(times)]
    assert delays == [10, 20, 40, 80, 160, 320, 600, 600, 600]
    assert {message.id for message in function.messages} == {"1"}
    assert {message.published_at for message in function.messages} == {NOON}


def test_deliveries_are_counted_if_there_is_a_dead_letter_topic() -> None:
    clock, counted, uncounted = Clock(), Function(*[OSError()] * 2), Function(*[OSError()] * 2)
    bus = EmbeddedBus(clock)
    bus.subscribe("topic", counted, dead_letter_topic="dead", attempts=5)
    bus.subscribe("topic", uncounted)
    bus.publish("topic", b"x")

    deliver_all(bus, clock)

    assert [message.attempt for message in counted.messages] == [1, 2, 3]
    assert [message.attempt for message in uncounted.messages] == [0, 0, 0]


def test_a_message_is_dead_lettered_after_its_last_attempt() -> None:
    clock, function, dead = Clock(), Function(*[RuntimeError()] * 3), Function()
    bus = EmbeddedBus(clock)
    bus.subscribe("topic", function, dead_letter_topic="dead", attempts=3)
    bus.subscribe("dead", dead)
    bus.publish("topic", b"x")

    deliver_all(bus, clock)

    assert len(function.messages) == 3
    assert [message.data for message in dead.messages] == [b"x"]


def test_a_message_with_96_attributes_can_be_dead_lettered() -> None:
    bus, dead = EmbeddedBus(Clock()), Function()
    bus.subscribe("topic", Function(RuntimeError()), dead_letter_topic="dead", attempts=1)
    bus.subscribe("dead", dead)

    bus.publish("topic", b"x", {str(number): "" for number in range(96)})
    bus.pump()

    assert len(dead.messages[0].attributes) == 100


def test_messages_that_a_handler_publishes_are_delivered_in_the_same_pump() -> None:
    bus, last = EmbeddedBus(Clock()), Function()

    def fan_out(event: CloudEventLike) -> None:
        for _ in range(2):
            bus.publish("second", parse_message(event).data)

    bus.subscribe("first", fan_out)
    bus.subscribe("second", last)
    bus.publish("first", b"x")

    assert bus.pump() == 3
    assert len(last.messages) == 2
    assert bus.next_due() is None


def test_a_pump_stops_at_its_limit() -> None:
    bus = EmbeddedBus(Clock())

    def republish(event: CloudEventLike) -> None:
        bus.publish("topic", b"again")

    bus.subscribe("topic", republish)
    bus.publish("topic", b"x")

    assert bus.pump(limit=50) == 50


def test_a_message_is_redelivered_after_its_instance_dies() -> None:
    clock, function = Clock(), Function(Crash())
    bus = EmbeddedBus(clock)
    bus.subscribe("topic", function)
    bus.publish("topic", b"x")

    with pytest.raises(Crash):
        bus.pump()
    clock.sleep(10)
    bus.pump()

    assert [message.data for message in function.messages] == [b"x", b"x"]


def test_each_subscription_has_its_own_deliveries() -> None:
    bus, steady, shaky = EmbeddedBus(Clock()), Function(), Function(RuntimeError())
    bus.subscribe("topic", steady)
    bus.subscribe("topic", shaky)
    bus.publish("topic", b"x")

    bus.pump()

    assert (len(steady.messages), len(shaky.messages)) == (1, 1)
    assert bus.next_due() == NOON + timedelta(seconds=10)


def test_the_order_of_deliveries_is_deterministic() -> None:
    def run() -> list[tuple[str, datetime]]:
        clock, got = Clock(), []
        bus = EmbeddedBus(clock)

        def flaky(event: CloudEventLike) -> None:
            message = parse_message(event)
            got.append((message.id, clock.now()))
            if int(message.id) % 3 == 0 and len(got) < 40:
                raise RuntimeError

        bus.subscribe("topic", flaky)
        for number in range(20):
            bus.publish("topic", str(number).encode())
        deliver_all(bus, clock)
        return got

    assert run() == run()


def test_a_restarted_bus_delivers_waiting_messages() -> None:
    clock, function, redelivered = Clock(), Function(RuntimeError()), threading.Event()
    bus = EmbeddedBus(clock)

    def handle(event: CloudEventLike) -> None:
        function(event)
        redelivered.set()

    bus.subscribe("topic", handle)
    bus.publish("topic", b"x")
    bus.pump()

    bus.start(workers=1)
    bus.stop()
    assert len(function.messages) == 1

    clock.sleep(10)
    bus.start(workers=1)
    assert redelivered.wait(10)
    bus.stop()
    assert len(function.messages) == 2


@pytest.mark.parametrize("topic", ["", "ab", "a/b", "1st-topic"])
def test_an_invalid_topic_name_is_refused(topic: str) -> None:
    bus = EmbeddedBus(Clock())

    with pytest.raises(BusError):
        bus.publish(topic, b"x")
    with pytest.raises(BusError):
        bus.subscribe(topic, Function())
    with pytest.raises(BusError):
        bus.subscribe("topic", Function(), dead_letter_topic=topic or "-")
