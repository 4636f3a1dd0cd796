"""What comes first: the save before what it decides, what others saved before what one decided, the
record before the answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from types import MappingProxyType
from typing import Any

from handlers.reconcile.loop import reconcile, request_id
from infra.bus.port import Bus
from infra.fleet import naming
from infra.fleet.model import Action
from infra.store import outbox, repository
from infra.store.port import Delete, Unavailable
from rollout.model import Desired
from rollout.state import Lease, ModelState
from tests.infra.build import NOON
from tests.scenario import InterceptedStore, Scenario

Call = Callable[[], Any]


def given_a_release_that_no_turn_has_seen() -> Scenario:
    """Release 1 serves, 2 is desired: its wake-up found the model claimed, and now the claim is
    gone."""
    story = Scenario()
    story.given_serving("1")
    claim(story, Lease("somebody", story.clock.now() + timedelta(seconds=100)))
    story.when_released("2")
    claim(story, None)
    return story


def claim(story: Scenario, held_by: Lease | None) -> None:
    held = repository.load_state(story.world.store, "tiny")
    assert held
    story.store.commit(repository.write_state(held, replace(held.state, lease=held_by)))


def test_a_decision_is_saved_before_anything_is_changed() -> None:
    story = given_a_release_that_no_turn_has_seen()
    before, seen = story.resources(), []

    def watched(commit: Call) -> Any:
        seen.append(story.resources())
        return commit()

    reconcile(story.new_worker(InterceptedStore(story.store, watched)), "tiny")
    assert seen[0] == before
    assert story.resources() > before


def test_an_outdated_decision_is_neither_saved_nor_applied() -> None:
    story = given_a_release_that_no_turn_has_seen()
    made: list[int] = []

    def late(commit: Call) -> Any:
        if not made:
            story.when_commanded("retire")
            made.append(story.calls("instanceTemplates.insert"))
        return commit()

    reconcile(story.new_worker(InterceptedStore(story.store, late)), "tiny")
    assert made == [story.calls("instanceTemplates.insert")]
    story.when_settled()
    assert story.instances() == []
    assert (story.outcome("1"), story.outcome("2")) == ("retired", "superseded")
    assert "step_1" not in [entry["to"] for entry in story.log() if entry["release"] == "2"]


def test_a_release_that_could_not_be_saved_is_redelivered() -> None:
    story = Scenario()
    failures = ["no answer", "no answer"]

    def down(commit: Call) -> Any:
        if failures:
            raise Unavailable(failures.pop())
        return commit()

    story.world = story.new_worker(InterceptedStore(story.store, down))
    story.when_released("1")
    assert story.store.get("models/tiny") is None
    story.when_minutes_pass(2)
    story.when_settled()
    assert story.serving_version() == "1"


def test_a_wake_up_for_a_model_without_a_document_deletes_nothing() -> None:
    story = Scenario()
    story.given_serving("1")
    before = story.resources()
    story.store.commit(Delete("models/tiny"))
    story.when_woken()
    story.when_minutes_pass(12)
    assert story.resources() == before
    assert len(story.instances()) == 3


class ShakyBus:
    """Every status event fails the first time."""

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
    shaky = ShakyBus(story.bus)
    story.world = story.new_worker(bus=shaky)
    story.when_released("1")
    story.when_minutes_pass(2)
    story.when_settled()
    story.when_minutes_pass(2)
    told = [json.loads(data)["to"] for data in story.published_on(outbox.STATUS)]
    assert sorted(told) == sorted(entry["to"] for entry in story.log())
    assert len(shaky.failed) == len(told)
    assert story.unsent_messages() == ()


def test_a_repeated_action_has_the_same_request_id_until_something_new_is_saved() -> None:
    """So Compute Engine knows the repeat of a worker that died from the same change after new
    drift."""
    state, action = (
        ModelState(Desired("tiny"), revision=7),
        Action(naming.live_check("tiny", "blue"), "update", {"port": 1}, "why"),
    )
    asked = request_id(state, action)
    assert (
        request_id(
            replace(state, lease=Lease("another", NOON)), replace(action, why="put otherwise")
        )
        == asked
    )
    others = (
        (replace(state, revision=8), action),
        (state, replace(action, based_on="x")),
        (state, replace(action, body={"port": 2})),
    )
    assert asked not in {request_id(*other) for other in others}
