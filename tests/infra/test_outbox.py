"""Status events are published even if the bus is down when they are committed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType

from infra.bus.port import Bus
from infra.store import outbox
from infra.store.port import Unavailable
from tests.scenario import Scenario


class FlakyBus:
    """Each status event fails the first time that it is published."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self.failed: set[str] = set()

    def publish(
        self, topic: str, data: bytes, attributes: Mapping[str, str] = MappingProxyType({})
    ) -> str:
        if topic == outbox.STATUS and attributes["ce-id"] not in self.failed:
            self.failed.add(attributes["ce-id"])
            raise Unavailable("no answer")
        return self._bus.publish(topic, data, attributes)


def test_status_events_are_published_though_the_bus_was_down() -> None:
    story = Scenario()
    bus = FlakyBus(story.bus)
    story.world = story.new_worker(bus=bus)
    story.when_released("1")
    story.when_minutes_pass(2)
    story.when_settled()
    story.when_minutes_pass(2)
    published = [json.loads(data)["to"] for data in story.published_on(outbox.STATUS)]
    assert sorted(published) == sorted(entry["to"] for entry in story.log())
    assert len(bus.failed) == len(published)
    assert story.unsent_messages() == ()
