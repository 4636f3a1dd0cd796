"""No model starves, and nothing that fails stops everything else."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import timedelta
from types import MappingProxyType

import pytest

from handlers import wakeup
from infra.bus.embedded import EmbeddedBus
from infra.bus.port import BusError
from infra.schedule.port import NoScheduler
from infra.store import outbox
from infra.store.limits import MAX_DOCUMENT_BYTES, document_bytes
from infra.store.port import Put
from tests.scenario import IMAGE, PROJECT, Scenario

GATEWAY = (
    "global/forwardingRules/slipway-gateway-http",
    "global/targetHttpProxies/slipway-gateway-http",
    "global/urlMaps/slipway-gateway",
)


class Broken:
    """The bus, in which one topic refuses every message."""

    def __init__(self, bus: EmbeddedBus, topic: str) -> None:
        self._bus, self.topic = bus, topic

    def publish(
        self, topic: str, data: bytes, attributes: Mapping[str, str] = MappingProxyType({})
    ) -> str:
        if topic == self.topic:
            raise BusError(f"there is no topic {topic}")
        return self._bus.publish(topic, data, attributes)


def count_deliveries(story: Scenario) -> list[int]:
    """A list that grows with each delivery of a message to a function."""
    found: list[int] = []

    def handle(deliver: Callable[[], None]) -> None:
        found.append(1)
        deliver()

    story.run_handler = handle
    return found


def test_models_that_are_due_for_good_starve_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wakeup, "PAGE", 2)
    story = Scenario()
    story.given_serving("1")
    due = {"schema": 1, "requeue_at": story.clock.now() - timedelta(days=1)}
    for name in ("a", "b", "c"):
        story.store.commit(Put(f"models/{name}", due | {"model": name}))
    lost = EmbeddedBus(story.clock, PROJECT)
    story.world = story.new_worker(bus=lost)
    story.when_released("2")
    story.world = story.new_worker()
    assert story.serving_version() == "1"
    story.when_settled(within_minutes=30)
    assert story.serving_version() == "2"


def test_paused_models_are_looked_at_rarely_and_with_few_reads() -> None:
    story = Scenario()
    story.given_serving("1")
    story.when_released("2")
    story.when_commanded("pause")
    story.when_minutes_pass(15)
    before, passes = story.emulator.calls.counts.total(), story.state().wakeups
    story.when_minutes_pass(60)
    scans = 60 // 5 * 13
    assert story.state().wakeups - passes <= 7
    assert story.emulator.calls.counts.total() - before - scans < 90
    requeue_at = story.state().requeue_at
    assert requeue_at is not None
    assert requeue_at > story.clock.now()
    story.when_commanded("resume")
    story.when_settled()
    assert story.serving_version() == "2"


def test_a_paused_release_that_fails_is_rolled_back_long_before_its_next_pass() -> None:
    story = Scenario()
    story.given_serving("1")
    story.when_released("2", rollout={"steps": [{"percent": 50, "hold_seconds": 86_400}, 100]})
    story.when_minutes_pass(5)
    story.when_commanded("pause")
    story.when_minutes_pass(350)
    requeue_at = story.state().requeue_at
    assert requeue_at
    assert requeue_at - story.clock.now() > timedelta(hours=1)
    story.given_behaviour("2", dies_after_seconds=60)
    story.emulator.affect_instances("stop", template=candidate_template(story))
    story.when_minutes_pass(50)
    assert story.outcome("2") == "rolled_back"


def candidate_template(story: Scenario) -> str:
    candidate = story.state().rollout.candidate
    assert candidate
    return candidate.template


def test_a_watched_model_costs_few_reads() -> None:
    story = Scenario()
    story.given_serving("1")
    story.when_released("2", rollout={"watch_seconds": 3600})
    story.when_phase_reached("succeeded")
    before, passes = story.emulator.calls.counts.total(), story.state().wakeups
    story.when_minutes_pass(30)
    assert story.state().rollout.watched_since
    assert story.state().wakeups - passes >= 28
    assert story.emulator.calls.counts.total() - before < 30 * 8


def test_a_release_is_carried_on_without_any_tick() -> None:
    story = Scenario()
    story.when_released("1")
    while (due := story.bus.next_due()) is not None:
        story.clock.sleep((due - story.clock.now()).total_seconds())
        story.bus.pump()
    assert story.serving_version() == "1"


def test_ticks_alone_carry_a_release_on_and_do_not_condemn_it() -> None:
    story = Scenario()
    story.given_serving("1")
    story.world = story.new_worker()
    story.world.__dict__["scheduler"] = NoScheduler()
    story.when_released("2", rollout={"progress_deadline_seconds": 300})
    story.when_settled(within_minutes=60)
    assert story.outcome("2") == "succeeded"


def test_a_throttled_model_comes_later_and_its_messages_do_not_multiply() -> None:
    story = Scenario()
    story.given_serving("1")
    story.when_released("2")
    story.given_fault("error", status=429, reason="rateLimitExceeded")
    deliveries = count_deliveries(story)
    story.when_minutes_pass(30)
    ticks = 30
    assert len(deliveries) - ticks < 40
    assert "ObservationFailed" in {each.type for each in story.state().conditions}
    story.given_no_faults()
    story.when_settled()
    assert story.outcome("2") == "succeeded"


def test_a_tick_that_waited_behind_others_is_dropped() -> None:
    story = Scenario()
    story.given_serving("1")
    slow, late = EmbeddedBus(story.clock, PROJECT), EmbeddedBus(story.clock, PROJECT)
    slow.subscribe(outbox.WAKEUPS, lambda event: wakeup.handle(story.new_worker(bus=late), event))
    woken: list[object] = []
    late.subscribe(outbox.WAKEUPS, woken.append)
    story.store.commit(
        Put("models/due", {"model": "due", "requeue_at": story.clock.now() - timedelta(hours=1)})
    )
    for seconds, expected in ((59, 1), (60, 0)):
        woken.clear()
        slow.publish(outbox.WAKEUPS, b'{"tick": true}')
        story.clock.sleep(seconds)
        slow.pump()
        late.pump()
        assert len(woken) == expected, f"{seconds} s late"


@pytest.mark.parametrize("parts", [GATEWAY[:1], GATEWAY], ids=["the rule alone", "everything"])
def test_the_gateway_deleted_by_hand_is_repaired_and_other_drift_too(
    parts: tuple[str, ...],
) -> None:
    story = Scenario()
    for model in ("large", "tiny"):
        story.given_serving("1", model=model)
    before = story.resources()
    for part in parts:
        story.emulator.call("DELETE", part)
        story.clock.sleep(2)
    story.emulator.advance()
    story.autoscaler()["maxNumReplicas"] = 50
    assert len(before - story.resources()) == len(parts)
    story.when_minutes_pass(12)
    assert story.resources() == before
    assert story.autoscaler()["maxNumReplicas"] == 6
    routes = json.dumps(story.url_map())
    assert all(f"backendServices/slipway-{model}-blue" in routes for model in ("large", "tiny"))
    assert "repaired" in [entry["to"] for entry in story.log("large")]


def test_an_undeliverable_status_topic_stops_nothing_and_multiplies_no_wake_up() -> None:
    story = Scenario()
    story.given_serving("1")
    bus = Broken(story.bus, outbox.STATUS)
    story.world = story.new_worker(bus=bus)
    story.when_released("2")
    story.when_settled()
    story.autoscaler()["maxNumReplicas"] = 50
    deliveries = count_deliveries(story)
    story.when_minutes_pass(12)
    assert story.autoscaler()["maxNumReplicas"] == 6
    assert len(deliveries) < 12 + 6
    assert len(story.unsent_messages()) > 3
    bus.topic = ""
    story.when_minutes_pass(2)
    assert story.unsent_messages() == ()
    assert "repaired" in str(story.published_on(outbox.STATUS))


def test_what_could_outgrow_its_document_is_refused_before_it_is_accepted() -> None:
    story = Scenario()
    variables = {f"V{number}": "x" * 4000 for number in range(15)}
    story.when_released("1", artifact={"image": f"{IMAGE}:1", "env": variables})
    story.when_settled()
    story.when_released("2", artifact={"image": f"{IMAGE}:2", "args": ["y" * 4000] * 15})
    story.when_settled()
    for _ in range(10):
        story.when_commanded("rollback", version="1")
        story.when_commanded("rollback", version="2")
    assert "the model's document could have" in story.quarantine()[0]["why"]
    story.when_commanded("pause")
    story.when_commanded("resume")
    story.when_settled()
    document = story.store.get("models/tiny")
    assert document
    assert document_bytes("models/tiny", document.data) < MAX_DOCUMENT_BYTES
