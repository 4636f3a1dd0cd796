"""An alert policy of Cloud Monitoring fails the releases that name it."""

from __future__ import annotations

from typing import Any

from tests.infra.test_alerts import NOTIFICATION
from tests.scenario import ALERTS, Scenario

POLICY = NOTIFICATION["incident"]["policy_name"]
NAMED = {"abort_on_alerts": [POLICY]}


def when_alerted(story: Scenario, incident: str = "0.a", ago: float = 0, **changes: Any) -> None:
    """An incident that began so many seconds ago."""
    started_at = int(story.clock.now().timestamp() - ago)
    found = NOTIFICATION["incident"] | {"incident_id": incident, "started_at": started_at}
    story.when_published(NOTIFICATION | {"incident": found | changes}, ALERTS)


def given_a_rollout(**rollout: Any) -> Scenario:
    story = Scenario()
    story.given_serving("1")
    held = [{"percent": 10, "hold_seconds": 3600}, 100]
    story.when_released("2", rollout=NAMED | {"steps": held} | rollout)
    story.when_minutes_pass(5)
    assert story.healthy_by_version() == {"1": 2, "2": 1}
    return story


def test_an_incident_takes_the_release_back() -> None:
    story = given_a_rollout()
    when_alerted(story)
    when_alerted(story)
    story.when_settled()
    assert (story.outcome("2"), story.reason("2")) == ("rolled_back", "alert")
    assert "alert policy tiny: error budget: incident 0.a is open since" in story.why("2")
    assert story.healthy_by_version() == {"1": 3}
    assert [entry["to"] for entry in story.log()].count("alerted") == 1


def test_incidents_of_others_closed_old_or_unreadable_change_nothing() -> None:
    story = given_a_rollout()
    before = story.full_state()
    when_alerted(story, policy_name="another")
    when_alerted(story, state="closed", ended_at=1767268900)
    when_alerted(story, ago=3600)
    story.when_published(NOTIFICATION | {"version": "test"}, ALERTS)
    assert story.full_state() == before
    when_alerted(story, state="burning")
    (refused,) = story.quarantine()
    assert "incident.state must be open or closed" in refused["why"]
    story.when_minutes_pass(2)
    assert story.healthy_by_version() == {"1": 2, "2": 1}


def test_a_person_may_try_again_while_the_incident_is_open() -> None:
    """A reminder of the same incident does not fail the second attempt."""
    story = given_a_rollout(on_failure="pause")
    when_alerted(story)
    story.when_minutes_pass(2)
    assert story.state().rollout.paused
    story.when_commanded("retry")
    story.when_minutes_pass(1)
    when_alerted(story)
    story.when_minutes_pass(2)
    assert story.state().rollout.paused is None
    assert story.state().rollout.failure is None
    when_alerted(story, "0.b")
    story.when_minutes_pass(2)
    assert story.state().rollout.paused


def test_an_incident_after_promotion_takes_the_release_back() -> None:
    story = Scenario()
    story.given_serving("1")
    story.when_released("2", rollout=NAMED | {"watch_seconds": 3600})
    story.when_minutes_pass(15)
    assert story.outcome("2") == "succeeded"
    when_alerted(story)
    story.when_settled()
    assert (story.outcome("2"), story.serving_version()) == ("rolled_back", "1")
    assert story.healthy_by_version() == {"1": 3}
