"""A rollback whose stable release can start no more instances says so, and gives way to a fix."""

from __future__ import annotations

from typing import Any

import pytest

from tests.scenario import Scenario

HALF = [10, {"percent": 50, "hold_seconds": 3600}, 100]
CANNOT_BE_CREATED = {"creation_error": {"kind": "config"}}
NEVER_READY = {"never_ready": True}


def given_a_half_finished_rollout(*kept: str) -> Scenario:
    """Release 2 has replaced half of release 1, and one more step would replace the rest."""
    story = Scenario()
    for version in (*kept, "1"):
        story.given_serving(
            version, scaling={"min": 6, "max": 9}, rollout={"progress_deadline_seconds": 120}
        )
    story.when_released("2", rollout={"steps": HALF})
    story.when_minutes_pass(3)
    assert story.healthy_by_version() == {"1": 3, "2": 3}
    return story


def when_logged(story: Scenario, phase: str, within_minutes: int = 30) -> None:
    for _ in range(within_minutes):
        if phase in phases(story):
            return
        story.when_minutes_pass(1)
    raise AssertionError(f"{phase} was not reached:\n" + story.history())


def phases(story: Scenario) -> list[str]:
    return [entry["to"] for entry in story.log()]


def conditions(story: Scenario) -> dict[str, str]:
    return {condition.type: condition.why for condition in story.state().conditions}


@pytest.mark.parametrize("behaviour", [NEVER_READY, CANNOT_BE_CREATED])
def test_a_rollback_that_cannot_end_says_why_and_a_fix_takes_over(
    behaviour: dict[str, Any],
) -> None:
    story = given_a_half_finished_rollout()
    story.given_behaviour("1", **behaviour)
    story.when_commanded("abort")
    when_logged(story, "stalled")
    story.when_minutes_pass(10)
    assert phases(story).count("stalled") == 1
    assert (
        "no progress for 120 s: 3 instances are not on release 1"
        in (conditions(story)["RollbackStalled"])
    )
    kept = {each.name for each in story.instances() if each.version == "1" and each.healthy}
    assert len(kept) == 3
    story.when_released("3", rollout={"steps": HALF})
    story.when_minutes_pass(4)
    serving = {each.name: each.version for each in story.instances() if each.healthy}
    assert {name for name, version in serving.items() if version == "1"} == kept
    assert story.healthy_by_version() == {"1": 3, "3": 3}
    assert (story.outcome("2"), story.reason("2")) == ("aborted", "aborted")
    story.when_commanded("promote", full=True)
    story.when_settled()
    assert (story.outcome("3"), story.healthy_by_version()) == ("succeeded", {"3": 6})
    assert conditions(story) == {}


def test_a_fix_that_fails_too_gives_way_to_the_next_one() -> None:
    story = given_a_half_finished_rollout()
    for version in ("1", "3", "5"):
        story.given_behaviour(version, **NEVER_READY)
    story.when_commanded("abort")
    story.when_released("3")
    when_logged(story, "step_1")
    story.when_minutes_pass(3)
    story.when_released("4", rollout={"steps": HALF})
    story.when_minutes_pass(4)
    assert story.healthy_by_version() == {"1": 3, "4": 3}
    story.when_commanded("abort")
    story.when_released("5")
    when_logged(story, "stalled")
    story.when_released("6")
    story.when_settled()
    assert [story.outcome(each) for each in "23456"] == [
        "aborted",
        "rolled_back",
        "aborted",
        "rolled_back",
        "succeeded",
    ]
    assert story.healthy_by_version() == {"6": 6}


def test_a_stalled_rollback_gives_way_to_a_rollback_to_another_kept_release() -> None:
    story = given_a_half_finished_rollout("0")
    story.given_behaviour("1", **CANNOT_BE_CREATED)
    story.when_commanded("abort")
    when_logged(story, "stalled")
    for harmless in ("pause", "resume", "promote", "abort", "rollback"):
        story.when_commanded(harmless)
    assert "RollbackStalled" in conditions(story)
    story.when_commanded("rollback", version="0")
    story.when_settled()
    assert (story.outcome("2"), story.serving_version()) == ("aborted", "0")
    assert story.healthy_by_version() == {"0": 6}
    assert story.quarantine() == []


def test_a_stalled_rollback_can_be_retired() -> None:
    story = given_a_half_finished_rollout()
    story.given_behaviour("1", **NEVER_READY)
    story.when_commanded("abort")
    when_logged(story, "stalled")
    story.when_commanded("retire")
    story.when_settled()
    assert (story.instances(), story.outcome("2")) == ([], "retired")


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
    when_logged(story, "aborted")
    assert "3 of 6 instances of release 1 are healthy" in story.why("2")
    assert story.healthy_by_version() == {"1": 3}
    story.given_no_stock_out()
    story.when_minutes_pass(10)
    assert story.healthy_by_version() == {"1": 6}
