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


def test_a_second_worker_keeps_off_a_claimed_model() -> None:
    story = Scenario()
    story.given_serving("1")
    story.when_released("2")
    claimed(story, "somebody", 100)
    before = story.full_state()
    reconcile(story.new_worker(), "tiny")
    assert story.full_state() == before


def test_a_dead_workers_claim_expires_and_its_work_goes_on() -> None:
    story = Scenario()
    story.given_serving("1")
    story.when_released("2")
    claimed(story, "the-dead", 100)
    story.when_minutes_pass(3)
    left = story.state().lease
    assert left is None or left.token != "the-dead"
    story.when_settled()
    assert story.outcome("2") == "succeeded"


def test_a_settled_model_with_a_dead_workers_claim_is_freed_once_and_then_left_alone() -> None:
    story = Scenario()
    story.given_serving("1")
    claimed(story, "the-dead", 1)
    story.when_seconds_pass(60)
    story.when_woken()
    assert story.state().lease is None
    before = story.full_state()
    story.when_woken()
    assert story.full_state() == before


def test_what_came_while_the_model_was_claimed_is_looked_at_when_the_claim_goes() -> None:
    story = Scenario()
    story.given_serving("1")
    claimed(story, "mine", 100)
    known = story.state().revision
    story.when_commanded("pause")  # its wake-up finds the model claimed
    assert story.state().desired.commands
    lease.release(story.world, "tiny", "mine", known)
    story.bus.pump()
    assert story.state().desired.commands == ()


def test_a_claim_goes_quietly_when_nothing_came() -> None:
    story = Scenario()
    story.given_serving("1")
    claimed(story, "mine", 100)
    lease.release(story.world, "tiny", "mine", story.state().revision)
    assert story.bus.next_due() is None
    assert story.state().lease is None


def test_the_claim_is_gone_when_the_turn_is_over() -> None:
    story = Scenario()
    story.when_released("1")
    assert story.state().lease is None


def test_a_turn_that_breaks_off_frees_the_model_for_the_next_one() -> None:
    story = Scenario()
    story.given_serving("1")
    story.when_released("2")
    story.given_fault("error", method="compute.regionInstanceGroupManagers.get", status=503)
    story.when_woken()
    assert story.state().lease is None


def test_a_worker_whose_time_is_over_starts_nothing_more() -> None:
    story = Scenario()
    story.given_operation_seconds(30)
    story.when_released("1")
    assert "forwardingRules/slipway-gateway-http" not in story.resources()
    story.when_settled()
    assert story.outcome("1") == "succeeded"
