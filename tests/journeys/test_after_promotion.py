"""Releases that go bad when they have all requests."""

from __future__ import annotations

from typing import Any

import pytest

from tests.journeys.second_group import weights
from tests.requests_sent import SentRequests
from tests.scenario import Scenario

pytestmark = pytest.mark.wide

BLUE, GREEN = "slipway-tiny-blue", "slipway-tiny-green"
SWITCHED: dict[str, Any] = {
    "strategy": "blue_green",
    "steps": [{"preview": True, "hold_seconds": 60}, {"weight": 100, "hold_seconds": 0}],
    "gates": {"http_errors": {}},
    "bake_seconds": 180,
    "watch_seconds": 0,
    "keep_old_seconds": 1200,
}


def switched() -> tuple[Scenario, SentRequests]:
    """Release 2 has got all requests at once, and the group of release 1 is kept."""
    story = Scenario()
    sent = SentRequests(story, 20)
    sent.bad = {BLUE: 0.01, GREEN: 0.01}
    story.given_serving("1")
    story.when_minutes_pass(10)
    story.when_released("2", rollout=SWITCHED)
    story.when_phase_reached("succeeded")
    return story, sent


def test_a_release_that_goes_bad_after_its_promotion_is_taken_back() -> None:
    story, sent = switched()
    sent.bad[GREEN] = 0.05
    began = story.clock.now()
    story.when_phase_reached("rolling_back", within_seconds=600)
    assert (story.clock.now() - began).total_seconds() <= 480
    assert weights(story)["blue"] == 1000
    story.when_settled()
    assert (story.serving_version(), story.outcome("2")) == ("1", "rolled_back")
    assert story.reason("2") == "gate"


def test_a_release_that_stays_good_stays() -> None:
    story, _ = switched()
    story.when_settled()
    assert (story.serving_version(), story.outcome("2")) == ("2", "succeeded")
    assert weights(story) == {"green": 1000}
