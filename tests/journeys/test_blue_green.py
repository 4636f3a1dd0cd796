"""Strategy `blue_green`: a second group of full size, a preview, and one switch."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.journeys.second_group import BLUE_GREEN, CANARY, Watch, leftovers, routed, weights
from tests.scenario import Scenario

PREVIEW = {"preview_host": "next.example.com"}


def blue_green(old: str = "blue", **sections: Any) -> Scenario:
    """Release 1 serves, and release 2 begins."""
    story = Scenario()
    story.given_serving("1")
    if old == "green":
        story.when_released("0", rollout=CANARY)
        story.when_settled()
    rollout = BLUE_GREEN | sections.pop("rollout", {})
    story.when_released("2", rollout=rollout, **sections)
    return story


def preview(story: Scenario, version: str = "2") -> dict[str, int]:
    return routed(story, {"x-slipway-preview": version})


@pytest.mark.parametrize(("old", "new"), [("blue", "green"), ("green", "blue")])
def test_a_good_release_is_previewed_at_full_size_and_then_gets_everything(
    old: str, new: str
) -> None:
    story = blue_green(old, traffic=PREVIEW)
    watch = Watch(story)
    story.when_seconds_pass(200)
    assert preview(story) == routed(story, host="next") == {new: 1000}
    assert preview(story, "1") == weights(story) == {old: 1000, new: 0}
    assert story.healthy_by_version()["2"] >= 4
    story.when_phase_reached("succeeded")
    assert weights(story) == {old: 0, new: 1000}
    assert preview(story) == weights(story)
    story.when_settled()
    assert [second.weights for second in watch.course] == [
        {old: 1000, new: 0},
        {old: 0, new: 1000},
        {new: 1000},
    ]
    assert story.healthy_by_version() == {"2": 3}
    assert leftovers(story, old) == set()


@pytest.mark.parametrize(
    ("behaviour", "phase"),
    [
        ({"never_ready": True}, "step_1"),
        ({"unready_after_seconds": 150}, "step_1"),
        ({"unready_after_seconds": 420}, "step_2"),
        ({"unready_after_seconds": 600}, "baking"),
        ({"unready_after_seconds": 1000}, "settled"),
    ],
)
def test_a_bad_release_goes_back_and_reaches_no_user_before_the_switch(
    behaviour: dict[str, Any], phase: str
) -> None:
    story = Scenario()
    story.given_serving("1")
    story.given_behaviour("2", **behaviour)
    watch = Watch(story)
    story.when_released("2", rollout=BLUE_GREEN)
    story.when_settled()
    assert (story.outcome("2"), story.reason("2")) == ("rolled_back", "unhealthy")
    (back,) = (entry for entry in story.log() if entry["to"] == "rolling_back")
    assert back["from"] == phase
    users = max(second.weights.get("green", 0) for second in watch.seconds)
    assert users == (0 if phase == "step_1" else 1000)
    assert min(second.healthy["blue"] for second in watch.seconds) == 3
    assert story.healthy_by_version() == {"1": 3}
    assert leftovers(story, "green") == set()


@pytest.mark.parametrize(
    ("phase", "end"),
    [
        ("step_1", "aborted"),
        ("step_2", "aborted"),
        ("baking", "aborted"),
        ("step_1", "superseded"),
        ("step_2", "superseded"),
        ("step_1", "paused"),
        ("step_2", "paused"),
        ("step_1", "frozen"),
    ],
)
def test_a_release_is_stopped_at_each_step(phase: str, end: str) -> None:
    story = blue_green()
    story.when_phase_reached(phase)
    story.when_seconds_pass(90)
    before = weights(story), preview(story)
    match end:
        case "aborted":
            story.when_commanded("abort")
        case "superseded":
            story.when_released("3")
        case "paused":
            story.when_commanded("pause")
        case _:
            until = story.clock.now() + timedelta(minutes=20)
            window = {"from": "2026-01-01T00:00", "to": f"{until:%Y-%m-%dT%H:%M}"}
            story.given_policy(freezes=[window | {"reason": "fair"}])
    story.when_seconds_pass(20)
    if end in ("aborted", "superseded"):
        assert preview(story) == weights(story) == {"blue": 1000, "green": 0}
        story.when_settled()
        assert story.outcome("2") == end
        assert story.healthy_by_version() == {"1" if end == "aborted" else "3": 3}
        return
    story.when_minutes_pass(10)
    assert (weights(story), preview(story)) == before
    if end == "paused":
        story.when_commanded("resume")
    story.when_settled()
    assert (story.outcome("2"), story.healthy_by_version()) == ("succeeded", {"2": 3})


@pytest.mark.parametrize(("on_newer", "minutes"), [("wait", 10), ("supersede", 0)])
def test_a_newer_release_gets_the_place_of_the_kept_group(on_newer: str, minutes: int) -> None:
    story = blue_green(rollout={"on_newer": on_newer})
    story.when_phase_reached("succeeded")
    kept = story.state().rollout.kept
    assert kept
    story.when_released("3", rollout={"on_newer": None})
    story.when_phase_reached("step_1")
    begun = story.log()[-1]["at"]
    assert (begun >= kept.until) == bool(minutes)
    story.when_settled()
    assert (story.outcome("3"), story.healthy_by_version()) == ("succeeded", {"3": 3})
    assert weights(story) == {"blue": 1000}


def test_a_promoted_release_does_not_wait_for_the_end_of_the_keep() -> None:
    story = blue_green(rollout={"on_newer": "wait", "keep_old_seconds": 86400})
    story.when_phase_reached("succeeded")
    story.when_released("3")
    story.when_minutes_pass(20)
    assert "is kept until" in story.state().waiting_for
    story.when_commanded("promote", full=True)
    story.when_phase_reached("succeeded")
    assert story.serving_version() == "3"


def test_the_strategy_may_change_from_release_to_release_in_every_direction() -> None:
    """Steps that were for another strategy are not inherited, and the log says so."""
    story = Scenario()
    story.given_serving("1", rollout={"steps": [50, 100]})
    names = ("canary", "blue_green", "rolling", "blue_green", "canary", "rolling")
    for number, name in enumerate(names, 2):
        rollout: dict[str, Any] = {"strategy": name, "bake_seconds": 60, "watch_seconds": 60}
        story.when_released(str(number), rollout=rollout)
        accepted = next(each for each in story.log()[::-1] if each["to"] == "desired")
        assert ("for rollout.steps, which release 1 has" in accepted["why"]) == (number == 2)
        story.when_commanded("promote", full=True)
        story.when_phase_reached("succeeded")
        assert story.serving_version() == str(number)
    story.when_settled()
    assert story.healthy_by_version() == {"7": 3}
    assert weights(story) == {"blue": 1000}
    assert leftovers(story, "green") == set()


def test_a_rollback_brings_back_what_only_a_second_group_could_change() -> None:
    story = blue_green(serving={"port": 9000, "readiness_path": "/ready"})
    story.when_settled()
    assert (story.outcome("2"), weights(story)) == ("succeeded", {"green": 1000})
    story.when_commanded("rollback")
    watch = Watch(story)
    story.when_settled()
    assert story.serving_version() == "1"
    assert story.healthy_by_version() == {"1": 3}
    assert min(sum(second.healthy.values()) for second in watch.seconds) >= 3
