"""The policy's switch `stop`: what stops, what goes on, and how it goes on afterwards."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from rollout.model import Stepping
from tests.journeys.second_group import CANARY, weights
from tests.scenario import Scenario, intercepted_transport

STOP: dict[str, Any] = {"reason": "incident 42", "by": "ann", "since": "2026-01-01T01:00:00Z"}
ALL = STOP | {"rollbacks": True}
STEPS = [{"weight": 50, "hold_seconds": 1200}, {"weight": 100, "hold_seconds": 0}]


class Changes:
    """Counts the requests that change something in Compute Engine."""

    def __init__(self, story: Scenario) -> None:
        self.count = 0
        story.world = story.new_worker(transport=intercepted_transport(story.emulator, self._count))

    def _count(self, change: Callable[[], Any]) -> Any:
        self.count += 1
        return change()


def stopped_canary(stop: dict[str, Any], **behaviour: Any) -> tuple[Scenario, Changes]:
    """Release 2 has half of the requests, and its step is to hold for another 15 minutes."""
    story = Scenario()
    story.given_behaviour("2", **behaviour)
    story.given_serving("1")
    story.given_serving("1", "b")
    story.when_released("2", rollout=CANARY | {"steps": STEPS})
    while weights(story).get("green") != 500:
        story.when_seconds_pass(5)
    story.when_minutes_pass(5)
    story.given_policy(stop=stop)
    return story, Changes(story)


@pytest.mark.parametrize("stop", [STOP, ALL], ids=["stop", "rollbacks-too"])
def test_nothing_is_changed_and_no_clock_runs_while_stopped(stop: dict[str, Any]) -> None:
    story, changes = stopped_canary(stop)
    story.autoscaler("b")["maxNumReplicas"] = 50
    story.when_released("1", "c")
    story.when_minutes_pass(100)
    story.when_commanded("retire", "b")
    story.when_minutes_pass(5)
    assert changes.count == 0
    state = story.state()
    assert [(each.type, each.why) for each in state.conditions] == [("Stopped", state.waiting_for)]
    assert state.waiting_for.startswith("stopped by ann since 2026-01-01T01:00:00Z")
    assert isinstance(state.rollout.phase, Stepping)
    assert story.healthy_by_version("b") == {"1": 3}
    story.given_policy()
    started_at = story.clock.now()
    story.when_phase_reached("step_2")
    assert timedelta(minutes=14) < story.clock.now() - started_at < timedelta(minutes=20)
    for model, serving in (("tiny", "2"), ("b", None), ("c", "1")):
        story.when_settled(model)
        assert story.serving_version(model) == serving
    assert not story.instances("b")


def test_a_candidate_that_fails_while_stopped_rolls_back() -> None:
    story, _ = stopped_canary(STOP, unready_after_seconds=720)
    story.when_released("3")
    story.when_minutes_pass(30)
    assert story.outcome("2") == "rolled_back"
    assert story.healthy_by_version() == {"1": 3}
    assert weights(story) == {"blue": 1000}
    assert story.outcome("3") is None


@pytest.mark.parametrize("command", ["abort", "rollback"])
def test_a_commanded_rollback_goes_on_unless_it_is_stopped_too(command: str) -> None:
    story, changes = stopped_canary(ALL)
    story.when_minutes_pass(15)
    story.when_commanded(command)
    story.when_minutes_pass(15)
    assert (changes.count, weights(story)) == (0, {"blue": 500, "green": 500})
    story.given_policy(stop=STOP)
    story.when_minutes_pass(20)
    assert weights(story) == {"blue": 1000}
    assert story.healthy_by_version() == {"1": 3}
    assert story.outcome("2") in ("aborted", "superseded")
