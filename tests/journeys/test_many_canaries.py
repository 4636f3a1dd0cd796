"""Many canaries change their weights at once while the URL map is slow, and one of them is bad."""

from __future__ import annotations

from datetime import timedelta

import pytest

from infra.store import routes
from tests.concurrent import ConcurrentScenario
from tests.journeys.second_group import CANARY, routed

WRITE_SECONDS = 30


@pytest.mark.parametrize(
    "count", [pytest.param(5, marks=pytest.mark.wide), pytest.param(50, marks=pytest.mark.nightly)]
)
def test_a_rollback_is_in_the_map_after_the_write_in_flight(count: int) -> None:
    story = ConcurrentScenario()
    good = [f"good{number:02}" for number in range(count)]
    for model in (*good, "bad"):
        story.when_released("1", model, scaling={"min": 1, "max": 2})
    for model in (*good, "bad"):
        story.when_settled(model)
    story.given_behaviour("2bad", unready_after_seconds=200)
    story.emulator.operation_seconds_by_method["compute.urlMaps.update"] = WRITE_SECONDS
    before = story.calls("urlMaps.update")
    for model in good:
        story.when_released("2", model, rollout=CANARY)
    story.when_released("2bad", "bad", rollout=CANARY)
    story.when_phase_reached("rolling_back", "bad")
    decided_at = story.log("bad")[-1]["at"]
    while routed(story, model="bad") != {"blue": 1000, "green": 0}:
        story.when_seconds_pass(1)
    # Accepted once the write in flight has ended, and served when its own has.
    assert story.clock.now() - decided_at <= timedelta(seconds=WRITE_SECONDS + 5)
    story.when_seconds_pass(120)
    assert all(routed(story, model=model) == {"blue": 500, "green": 500} for model in good)
    # Three changes of each good canary's route, and three of the bad one's.
    assert story.calls("urlMaps.update") - before <= 9
    assert not story.store.list(routes.COLLECTION, 1)
