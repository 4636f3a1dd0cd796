"""A day without Slipway: no function runs, no tick comes, and what was published waits. What serves goes on serving."""

from __future__ import annotations

import pytest

from tests.scenario import Scenario

UNTIL = ("settled", "step_2", "baking")


def at(moment: str) -> Scenario:
    story = Scenario()
    story.given_serving("1", scaling={"min": 4, "max": 8})
    if moment == "settled":
        return story
    story.when_released("2", rollout={"bake_seconds": 300, "progress_deadline_seconds": 600})
    story.when_until(moment)
    return story


@pytest.mark.parametrize("moment", UNTIL)
def test_a_day_without_slipway_changes_nothing_and_takes_no_instance_away(moment: str) -> None:
    story = at(moment)
    calls, written = dict(story.cloud.calls.counts), story.everything_written()[0]
    for _ in range(24):
        story.clock.sleep(3600)
        story.cloud.advance()
        assert sum(story.healthy_by_version().values()) >= 4
    assert (dict(story.cloud.calls.counts), story.everything_written()[0]) == (calls, written)


@pytest.mark.parametrize("moment", UNTIL)
def test_after_a_day_without_slipway_the_rollout_ends_as_if_nothing_had_been(moment: str) -> None:
    """The time that nobody watched counts neither for the release nor against it."""
    story, undisturbed = at(moment), at(moment)
    story.clock.sleep(24 * 3600)
    for each in (story, undisturbed):
        each.when_minutes_pass(1)
        each.when_settled()
    assert story.serving_version() == undisturbed.serving_version()
    assert story.healthy_by_version() == undisturbed.healthy_by_version()
    assert [story.outcome(version) for version in "12"] == [undisturbed.outcome(version) for version in "12"]
    assert story.leftovers() == undisturbed.leftovers() == ()
