"""A day without Slipway: no function runs, no tick comes, and what was published waits. What serves
goes on serving."""

from __future__ import annotations

import pytest

from tests.assurance.hostile.intake import scaled
from tests.scenario import Scenario

MOMENTS = ("settled", "step_1", "step_2", "baking")[:: scaled(2, 1)]


def at(moment: str) -> Scenario:
    story = Scenario()
    story.given_serving("1")
    if moment != "settled":
        story.when_released("2", rollout={"bake_seconds": 300, "progress_deadline_seconds": 600})
        story.when_phase_reached(moment)
    return story


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_day_without_slipway_changes_nothing_and_takes_no_instance_away(moment: str) -> None:
    """The time that nobody watched counts neither for a release nor against it: it ends as it would
    have."""
    story, undisturbed = at(moment), at(moment)
    calls, written = dict(story.cloud.calls.counts), story.full_state()[0]
    for _ in range(24):
        story.clock.sleep(3600)
        story.cloud.advance()
        assert sum(story.healthy_by_version().values()) >= 3
    assert (dict(story.cloud.calls.counts), story.full_state()[0]) == (calls, written)
    for each in (story, undisturbed):
        each.when_minutes_pass(1)
        each.when_settled()
    assert story.healthy_by_version() == undisturbed.healthy_by_version()
    assert [story.outcome(version) for version in "12"] == [
        undisturbed.outcome(version) for version in "12"
    ]
    assert story.unsent_messages() == undisturbed.unsent_messages() == ()
