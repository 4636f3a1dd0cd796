"""The loop: a decision is saved before anything is changed, an outdated one is dropped, and a
failure leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

import pytest

from handlers.reconcile.loop import reconcile, request_id
from infra.bus.port import Bus
from infra.fleet import naming
from infra.fleet.model import Action
from infra.store import outbox, repository
from infra.store.documents import UnknownSchema
from infra.store.port import Delete, Put
from rollout.model import Desired
from rollout.state import Lease, ModelState
from tests.infra.build import NOON
from tests.scenario import InterceptedStore, Scenario, intercepted_transport

Change = Callable[[], Any]


class RecordingBus:
    """The real bus; keeps the topics that were published on."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self.topics: list[str] = []

    def publish(
        self, topic: str, data: bytes, attributes: Mapping[str, str] = MappingProxyType({})
    ) -> str:
        self.topics.append(topic)
        return self._bus.publish(topic, data, attributes)


def given_a_release_before_its_first_pass() -> Scenario:
    """Release 1 serves and release 2 is desired. The wake-up found the model leased, and now the
    lease is gone.
    """
    story = Scenario()
    story.given_serving("1")
    write_lease(story, Lease("another", story.clock.now() + timedelta(seconds=100)))
    story.when_released("2")
    write_lease(story, None)
    return story


def write_lease(story: Scenario, lease: Lease | None) -> None:
    stored = repository.load_state(story.world.store, "tiny")
    assert stored
    story.store.commit(repository.write_state(stored, replace(stored.state, lease=lease)))


def test_a_decision_is_saved_before_anything_is_changed() -> None:
    story = given_a_release_before_its_first_pass()
    before = story.resources()
    at_each_commit: list[set[str]] = []

    def watch(commit: Change) -> Any:
        at_each_commit.append(story.resources())
        return commit()

    reconcile(story.new_worker(InterceptedStore(story.store, watch)), "tiny")
    assert at_each_commit[0] == before
    assert story.resources() > before


def test_an_outdated_decision_is_neither_saved_nor_applied() -> None:
    story = given_a_release_before_its_first_pass()
    inserts: list[int] = []

    def retire_first(commit: Change) -> Any:
        if not inserts:
            story.when_commanded("retire")
            inserts.append(story.calls("instanceTemplates.insert"))
        return commit()

    reconcile(story.new_worker(InterceptedStore(story.store, retire_first)), "tiny")
    assert inserts == [story.calls("instanceTemplates.insert")]
    story.when_settled()
    assert story.instances() == []
    assert (story.outcome("1"), story.outcome("2")) == ("retired", "superseded")
    assert "step_1" not in [entry["to"] for entry in story.log() if entry["release"] == "2"]


def test_a_wake_up_for_a_model_without_a_document_deletes_nothing() -> None:
    story = Scenario()
    story.given_serving("1")
    before = story.resources()
    story.store.commit(Delete("models/tiny"))
    story.when_woken()
    story.when_minutes_pass(12)
    assert story.resources() == before
    assert len(story.instances()) == 3


def test_a_pass_that_could_not_read_comes_later_instead_of_being_redelivered() -> None:
    story = given_a_release_before_its_first_pass()
    bus = RecordingBus(story.bus)

    def then_fail(change: Change) -> Any:
        if not story.state().rollout.paused:
            story.when_commanded("pause")  # its own wake-up finds the model leased
            story.given_fault("error", method="compute.*", status=503)
        return change()

    worker = story.new_worker(bus=bus, transport=intercepted_transport(story.emulator, then_fail))
    reconcile(worker, "tiny")
    state, now = story.state(), story.clock.now()
    assert state.rollout.paused
    assert state.lease is None
    assert state.requeue_at is not None
    assert timedelta(seconds=5) <= state.requeue_at - now <= timedelta(minutes=6)
    assert outbox.WAKEUPS not in bus.topics


def test_a_wake_up_for_a_pass_that_has_run_since_reads_nothing() -> None:
    story = Scenario()
    story.given_serving("1")
    story.when_released("2")
    number = story.state().wakeups
    assert number > 0
    before = story.emulator.calls.counts.total()
    reconcile(story.new_worker(), "tiny", number=number - 1)
    assert story.emulator.calls.counts.total() == before
    reconcile(story.new_worker(), "tiny", number=number)
    assert story.emulator.calls.counts.total() > before
    assert story.state().wakeups == number + 1


def test_a_pass_over_a_document_of_schema_1_raises_and_changes_nothing() -> None:
    story = given_a_release_before_its_first_pass()
    document = story.store.get("models/tiny")
    assert document
    story.store.commit(Put("models/tiny", document.data | {"schema": 1}))
    before = story.full_state()
    with pytest.raises(UnknownSchema, match="models/tiny: the document has schema 1"):
        reconcile(story.new_worker(), "tiny")
    assert story.full_state() == before


def test_a_repeated_action_has_the_same_request_id_until_something_new_is_saved() -> None:
    """So Compute Engine can distinguish a crashed worker's repeat from the same change after new
    drift.
    """
    state, action = (
        ModelState(Desired("tiny"), revision=7),
        Action(naming.live_check("tiny", "blue"), "update", {"port": 1}, "why"),
    )
    first = request_id(state, action)
    leased = replace(state, lease=Lease("another", NOON))
    assert request_id(leased, replace(action, why="in other words")) == first
    others = (
        (replace(state, revision=8), action),
        (state, replace(action, based_on="x")),
        (state, replace(action, body={"port": 2})),
    )
    assert first not in {request_id(*other) for other in others}


@pytest.mark.parametrize("seconds", [22, 27, 32])
def test_a_newer_release_acts_at_once_though_the_group_still_moves(seconds: int) -> None:
    story = Scenario()
    start, released_at = story.clock.now(), list[datetime]()

    def release_once() -> None:
        if not released_at and story.clock.now() - start > timedelta(seconds=seconds):
            released_at.append(story.clock.now())
            story.when_released("2")

    story.given_watcher(release_once)
    story.when_released("1")
    story.when_settled()
    [end] = [entry for entry in story.log() if entry["to"] == "superseded"]
    assert end["at"] - released_at[0] <= timedelta(seconds=6)
