"""A rollback whose stable release can start no more instances says so, and gives way to a fix."""

from __future__ import annotations

import pytest

from tests.scenario import Scenario

BROKEN = {"never_ready": True}


def given_a_stalled_rollback(**behaviour: object) -> Scenario:
    """Release 2 failed when it had replaced most of release 1, which cannot start any more."""
    story = Scenario()
    story.given_serving("1", scaling={"min": 6, "max": 9})
    story.given_behaviour("2", unready_after_seconds=200)
    story.when_released("2", rollout={"bake_seconds": 1800})
    story.when_phase_reached("baking")
    story.given_behaviour("1", **behaviour)
    story.when_phase_reached("stalled", within_seconds=7200)
    return story


def conditions(story: Scenario) -> dict[str, str]:
    return {condition.type: condition.why for condition in story.state().conditions}


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        (BROKEN, "no progress for 15 min"),
        ({"creation_error": {"kind": "config"}}, "0 of 6 instances of release 1 are healthy"),
    ],
)
def test_a_rollback_that_cannot_end_says_why_and_a_fix_takes_over(
    behaviour: dict[str, object], words: str
) -> None:
    story = given_a_stalled_rollback(**behaviour)
    assert words in conditions(story)["RollbackStalled"]
    story.when_released("3")
    story.when_settled()
    assert (story.outcome("2"), story.reason("2")) == ("rolled_back", "unhealthy")
    assert story.outcome("3") == "succeeded"
    assert story.healthy_by_version() == {"3": 6}
    assert conditions(story) == {}


def given_a_half_finished_rollout() -> Scenario:
    """Release 2 has replaced half of release 1 and is paused."""
    story = Scenario()
    story.given_serving("1", scaling={"min": 6, "max": 9})
    story.when_released("2")
    story.when_phase_reached("step_2")
    story.when_commanded("pause")
    story.when_minutes_pass(3)
    assert story.healthy_by_version() == {"1": 3, "2": 3}
    return story


def test_a_fix_that_takes_over_leaves_healthy_stable_instances_untouched() -> None:
    story = given_a_half_finished_rollout()
    story.given_behaviour("1", never_ready=True)
    story.when_commanded("abort")
    healthy: list[int] = []
    kept = {each.name for each in story.instances() if each.version == "1" and each.healthy}
    assert len(kept) == 3
    story.when_released("3")
    story.given_watcher(lambda: healthy.append(sum(each.name in kept for each in story.instances())))
    story.when_phase_reached("step_3")
    assert min(healthy) == 3
    story.when_settled()
    assert story.outcome("3") == "succeeded"
    assert story.healthy_by_version() == {"3": 6}


def test_a_fix_that_fails_too_gives_way_to_the_next_one() -> None:
    story = given_a_half_finished_rollout()
    story.given_behaviour("1", never_ready=True)
    story.when_commanded("abort")
    story.given_behaviour("3", never_ready=True)
    story.when_released("3")
    story.when_phase_reached("step_1")
    story.when_released("4")
    story.when_settled()
    assert [story.outcome(each) for each in "234"] == ["aborted", "superseded", "succeeded"]
    assert story.healthy_by_version() == {"4": 6}


def test_a_stalled_rollback_gives_way_to_a_rollback_to_another_kept_release() -> None:
    story = Scenario()
    story.given_serving("0", scaling={"min": 6, "max": 9})
    story.given_serving("1")
    story.given_behaviour("2", unready_after_seconds=100)
    story.when_released("2", rollout={"progress_deadline_seconds": 300})
    story.when_phase_reached("step_2")
    story.given_behaviour("1", creation_error={"kind": "config"})
    story.when_phase_reached("stalled", within_seconds=7200)
    story.when_commanded("rollback", version="0")
    story.when_settled()
    assert (story.outcome("2"), story.serving_version()) == ("rolled_back", "0")
    assert story.healthy_by_version() == {"0": 6}


def test_without_room_the_way_back_replaces_in_place_and_says_so() -> None:
    story = given_a_half_finished_rollout()
    story.emulator.quotas["CPUS"] = 6
    story.when_commanded("abort")
    story.when_settled()
    assert (story.outcome("2"), story.healthy_by_version()) == ("aborted", {"1": 6})
    assert "in place, since there is no room for more" in story.history()


def test_a_rollback_without_capacity_ends_with_what_serves_and_says_what_is_missing() -> None:
    story = given_a_half_finished_rollout()
    story.given_stock_out("us-central1")
    story.when_commanded("abort")
    story.when_phase_reached("aborted", within_seconds=7200)
    assert "of 6 instances of release 1 are healthy" in story.log()[-1]["why"]
    assert story.healthy_by_version() == {"1": 3}
    story.given_no_stock_out()
    story.when_minutes_pass(30)
    assert story.healthy_by_version() == {"1": 6}
