"""Two workers at once: one works, the other keeps off, and a dead or late one does no harm."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from handlers.reconcile import lease
from handlers.reconcile.loop import reconcile
from infra.store import repository
from rollout.state import Lease
from tests.scenario import Scenario


def claimed(story: Scenario, token: str, seconds: float) -> None:
    held = repository.load_state(story.world.store, "tiny")
    assert held
    taken = Lease(token, story.clock.now() + timedelta(seconds=seconds))
    story.store.commit(repository.write_state(held, replace(held.state, lease=taken)))


def test_a_second_worker_leaves_a_leased_model_alone() -> None:
    story = Scenario()
    story.given_serving("1")
    story.when_released("2")
    claimed(story, "somebody", 100)
    before = story.full_state()
    reconcile(story.new_worker(), "tiny")
    assert story.full_state() == before


def test_the_lease_of_a_crashed_worker_expires_and_its_work_continues() -> None:
    story = Scenario()
    story.given_serving("1")
    story.when_released("2")
    claimed(story, "the-dead", 100)
    story.when_minutes_pass(3)
    left = story.state().lease
    assert left is None or left.token != "the-dead"
    story.when_settled()
    assert story.outcome("2") == "succeeded"


def test_an_expired_lease_on_a_settled_model_is_cleared_with_one_write() -> None:
    story = Scenario()
    story.given_serving("1")
    claimed(story, "the-dead", 1)
    story.when_seconds_pass(60)
    story.when_woken()
    assert story.state().lease is None
    before = story.full_state()
    story.when_woken()
    assert story.full_state() == before


def test_an_event_during_a_lease_is_handled_when_the_lease_is_released() -> None:
    story = Scenario()
    story.given_serving("1")
    claimed(story, "mine", 100)
    known = story.state().revision
    story.when_commanded("pause")  # its wake-up finds the model claimed
    assert story.state().desired.commands
    lease.release(story.world, "tiny", "mine", known)
    story.bus.pump()
    assert story.state().desired.commands == ()


def test_releasing_a_lease_publishes_no_wake_up_when_nothing_arrived() -> None:
    story = Scenario()
    story.given_serving("1")
    claimed(story, "mine", 100)
    lease.release(story.world, "tiny", "mine", story.state().revision)
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
