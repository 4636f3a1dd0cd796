"""The lease: one worker reconciles a model, and a crashed or late worker does no harm."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from handlers.reconcile import lease
from handlers.reconcile.loop import reconcile
from infra.store import repository
from rollout.state import Lease
from tests.scenario import InterceptedStore, Scenario


def lease_model(story: Scenario, token: str, seconds: float) -> None:
    """Write a lease of the worker with this token into the model's document."""
    stored = repository.load_state(story.world.store, "tiny")
    assert stored
    leased = replace(
        stored.state, lease=Lease(token, story.clock.now() + timedelta(seconds=seconds))
    )
    story.store.commit(repository.write_state(stored, leased))


def test_a_second_worker_leaves_a_leased_model_alone() -> None:
    story = Scenario()
    story.given_serving("1")
    story.when_released("2")
    lease_model(story, "another", 100)
    before = story.full_state()
    reconcile(story.new_worker(), "tiny")
    assert story.full_state() == before


def test_the_lease_of_a_crashed_worker_expires_and_its_work_continues() -> None:
    story = Scenario()
    story.given_serving("1")
    story.when_released("2")
    lease_model(story, "crashed", 100)
    story.when_minutes_pass(3)
    lease_now = story.state().lease
    assert lease_now is None or lease_now.token != "crashed"
    story.when_settled()
    assert story.outcome("2") == "succeeded"


def test_an_expired_lease_on_a_settled_model_is_cleared_with_one_write() -> None:
    story = Scenario()
    story.given_serving("1")
    lease_model(story, "crashed", 1)
    story.when_seconds_pass(60)
    story.when_woken()
    assert story.state().lease is None
    before = story.full_state()
    story.when_woken()
    assert story.full_state() == before


def test_an_event_during_a_lease_is_handled_when_the_lease_is_released() -> None:
    story = Scenario()
    story.given_serving("1")
    lease_model(story, "mine", 100)
    revision = story.state().revision
    story.when_released("2")  # its wake-up finds the model leased
    assert story.state().rollout.candidate is None
    lease.release(story.world, "tiny", "mine", lease.Wait(revision, None, None, None))
    story.bus.pump()
    assert story.state().rollout.candidate


def test_an_event_that_is_saved_while_the_lease_is_released_is_handled_at_once() -> None:
    story = Scenario()
    story.given_serving("1")
    lease_model(story, "mine", 100)
    revision, arriving = story.state().revision, ["2"]

    def release_arrives(commit: Callable[[], Any]) -> Any:
        if arriving:
            story.when_released(arriving.pop())
        return commit()

    worker = story.new_worker(InterceptedStore(story.store, release_arrives))
    lease.release(worker, "tiny", "mine", lease.Wait(revision, None, None, None))
    story.bus.pump()
    assert story.state().rollout.candidate


@pytest.mark.parametrize("is_late", [False, True])
def test_an_event_during_a_pass_that_could_not_read_does_not_wait_for_its_next_try(
    is_late: bool,
) -> None:
    story = Scenario()
    story.given_serving("1")
    story.when_released("2")
    lease_model(story, "mine", 100)
    revision, arriving = story.state().revision, ["abort"]

    def command_arrives(commit: Callable[[], Any]) -> Any:
        if arriving:
            story.when_commanded(arriving.pop())
        return commit()

    if not is_late:
        command_arrives(lambda: None)  # its wake-up finds the model leased
    worker = story.new_worker(InterceptedStore(story.store, command_arrives))
    assert lease.postpone(worker, "tiny", "mine", 300, revision, is_spread=True)
    story.when_seconds_pass(20)
    assert story.outcome("2") == "aborted"


def test_releasing_a_lease_publishes_no_wake_up_when_nothing_arrived() -> None:
    story = Scenario()
    story.given_serving("1")
    lease_model(story, "mine", 100)
    lease.release(story.world, "tiny", "mine", lease.Wait(story.state().revision, None, None, None))
    assert story.bus.next_due() is None
    assert story.state().lease is None


def test_the_lease_is_released_when_the_loop_ends() -> None:
    story = Scenario()
    story.when_released("1")
    assert story.state().lease is None


def test_a_failing_pass_releases_the_lease() -> None:
    story = Scenario()
    story.given_serving("1")
    story.when_released("2")
    story.given_fault("error", method="compute.regionInstanceGroupManagers.get", status=503)
    story.when_woken()
    assert story.state().lease is None


def test_a_worker_past_its_deadline_starts_no_further_action() -> None:
    story = Scenario()
    story.given_operation_seconds(30)
    story.when_released("1")
    assert "forwardingRules/slipway-gateway-http" not in story.resources()
    story.when_settled()
    assert story.outcome("1") == "succeeded"
