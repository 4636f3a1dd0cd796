"""The embedded bus in virtual time: what is delivered when, and that nothing is lost."""

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
    """Notes what it gets, and fails as long as `failing` has errors left."""

    def __init__(self, *failing: BaseException) -> None:
        self.failing = list(failing)
        self.got: list[Message] = []

    def __call__(self, event: CloudEventLike) -> None:
        self.got.append(parse_message(event))
        if self.failing:
            raise self.failing.pop(0)


class Crash(BaseException):
    """The instance dies."""


def live_through(bus: EmbeddedBus, clock: Clock) -> list[float]:
    """Let time pass from one delivery to the next, and return when each came, in seconds after
    noon."""
    times: list[float] = []
    while (due := bus.next_due()) and len(times) < 1000:
        clock.time = max(clock.time, due)
        times.extend([(clock.time - NOON).total_seconds()] * bus.pump())
    return times


def test_a_failing_message_backs_off_twice_as_long_each_time_up_to_ten_minutes() -> None:
    clock, function = Clock(), Function(*[RuntimeError()] * 9)
    bus = EmbeddedBus(clock)
    bus.subscribe("topic", function)
    bus.publish("topic", b"x")

    times = live_through(bus, clock)

    waits = [later - earlier for earlier, later in pairwise(times)]
    assert waits == [10, 20, 40, 80, 160, 320, 600, 600, 600]
    assert {message.id for message in function.got} == {"1"}
    assert {message.published_at for message in function.got} == {NOON}


def test_deliveries_are_counted_where_a_dead_letter_topic_is_set() -> None:
    clock, counted, uncounted = Clock(), Function(*[OSError()] * 2), Function(*[OSError()] * 2)
    bus = EmbeddedBus(clock)
    bus.subscribe("topic", counted, dead_letter_topic="dead", attempts=5)
    bus.subscribe("topic", uncounted)
    bus.publish("topic", b"x")

    live_through(bus, clock)

    assert [message.attempt for message in counted.got] == [1, 2, 3]
    assert [message.attempt for message in uncounted.got] == [0, 0, 0]


def test_a_message_is_given_up_on_after_its_last_attempt_and_not_before() -> None:
    clock, function, dead = Clock(), Function(*[RuntimeError()] * 3), Function()
    bus = EmbeddedBus(clock)
    bus.subscribe("topic", function, dead_letter_topic="dead", attempts=3)
    bus.subscribe("dead", dead)
    bus.publish("topic", b"x")

    live_through(bus, clock)

    assert len(function.got) == 3
    assert [message.data for message in dead.got] == [b"x"]


def test_a_message_with_all_its_attributes_taken_can_still_be_given_up_on() -> None:
    bus, dead = EmbeddedBus(Clock()), Function()
    bus.subscribe("topic", Function(RuntimeError()), dead_letter_topic="dead", attempts=1)
    bus.subscribe("dead", dead)

    bus.publish("topic", b"x", {str(number): "" for number in range(96)})
    bus.pump()

    assert len(dead.got[0].attributes) == 100


def test_what_a_handler_publishes_is_delivered_in_the_same_pump() -> None:
    bus, last = EmbeddedBus(Clock()), Function()

    def fan_out(event: CloudEventLike) -> None:
        for _ in range(2):
            bus.publish("second", parse_message(event).data)

    bus.subscribe("first", fan_out)
    bus.subscribe("second", last)
    bus.publish("first", b"x")

    assert bus.pump() == 3
    assert len(last.got) == 2
    assert bus.next_due() is None


def test_a_pump_ends_although_messages_beget_messages() -> None:
    bus = EmbeddedBus(Clock())

    def breed(event: CloudEventLike) -> None:
        bus.publish("topic", b"again")

    bus.subscribe("topic", breed)
    bus.publish("topic", b"x")

    assert bus.pump(limit=50) == 50


def test_a_message_survives_the_death_of_the_instance_that_handled_it() -> None:
    clock, function = Clock(), Function(Crash())
    bus = EmbeddedBus(clock)
    bus.subscribe("topic", function)
    bus.publish("topic", b"x")

    with pytest.raises(Crash):
        bus.pump()
    clock.sleep(10)
    bus.pump()

    assert [message.data for message in function.got] == [b"x", b"x"]


def test_each_subscription_has_its_own_deliveries() -> None:
    bus, steady, shaky = EmbeddedBus(Clock()), Function(), Function(RuntimeError())
    bus.subscribe("topic", steady)
    bus.subscribe("topic", shaky)
    bus.publish("topic", b"x")

    bus.pump()

    assert (len(steady.got), len(shaky.got)) == (1, 1)
    assert bus.next_due() == NOON + timedelta(seconds=10)


def test_the_same_run_delivers_in_the_same_order() -> None:
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
        live_through(bus, clock)
        return got

    assert run() == run()


def test_stopping_leaves_what_waits_and_starting_again_delivers_it() -> None:
    clock, function, came_again = Clock(), Function(RuntimeError()), threading.Event()
    bus = EmbeddedBus(clock)

    def handle(event: CloudEventLike) -> None:
        function(event)
        came_again.set()

    bus.subscribe("topic", handle)
    bus.publish("topic", b"x")
    bus.pump()

    bus.start(workers=1)
    bus.stop()
    assert len(function.got) == 1

    clock.sleep(10)
    bus.start(workers=1)
    assert came_again.wait(10)
    bus.stop()
    assert len(function.got) == 2


@pytest.mark.parametrize("topic", ["", "ab", "a/b", "1st-topic"])
def test_a_name_that_pubsub_would_not_take_for_a_topic_is_refused(topic: str) -> None:
    bus = EmbeddedBus(Clock())

    with pytest.raises(BusError):
        bus.publish(topic, b"x")
    with pytest.raises(BusError):
        bus.subscribe(topic, Function())
    with pytest.raises(BusError):
        bus.subscribe("topic", Function(), dead_letter_topic=topic or "-")
