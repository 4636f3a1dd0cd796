"""Commands during a rollout and afterwards: pause, resume, promote, abort, rollback, retire."""

from __future__ import annotations

from typing import Any

from tests.scenario import Scenario, quick


def given_a_rollout_in_step_2(version: str = "2") -> Scenario:
    story = Scenario()
    story.given_serving("1")
    story.when_released(version)
    story.when_phase_reached("step_2")
    return story


def test_pause_keeps_the_step_until_resume() -> None:
    story = given_a_rollout_in_step_2()
    story.when_commanded("pause", reason="on call is asleep")
    story.when_minutes_pass(60)
    assert story.healthy_by_version() == {"1": 1, "2": 2}
    assert story.state().conditions[0].why == "paused on command: on call is asleep"
    story.when_commanded("resume")
    story.when_settled()
    assert story.outcome("2") == "succeeded"


def test_promote_skips_the_rest_of_the_bake_time() -> None:
    story = Scenario()
    story.given_serving("1")
    story.when_released("2", rollout={"bake_seconds": 86400})
    story.when_phase_reached("baking")
    story.when_commanded("promote")
    story.when_minutes_pass(1)
    assert story.outcome("2") == "succeeded"


def test_abort_returns_to_the_stable_release() -> None:
    story = given_a_rollout_in_step_2()
    story.when_commanded("abort", requested_by="ann")
    story.when_settled()
    assert (story.outcome("2"), story.why("2")) == ("aborted", "aborted by ann")
    assert story.healthy_by_version() == {"1": 3}


def test_rollback_returns_to_the_previous_release() -> None:
    story = Scenario()
    story.given_serving("1")
    story.given_serving("2")
    story.when_commanded("rollback")
    story.when_settled()
    assert story.serving_version() == "1"
    assert story.healthy_by_version() == {"1": 3}


def test_rollback_returns_to_any_kept_release_by_version() -> None:
    story = Scenario()
    for version in ("1", "2", "3"):
        story.given_serving(version)
    story.when_commanded("rollback", version="1")
    story.when_settled()
    assert story.healthy_by_version() == {"1": 3}


def test_rollback_to_a_release_that_never_served_is_refused_with_the_reason() -> None:
    story = Scenario()
    story.given_serving("1")
    story.when_commanded("rollback", version="9")
    assert "never served" in story.quarantine()[0]["why"]


def test_rollback_to_a_release_that_was_rolled_back_is_refused() -> None:
    story = Scenario()
    story.given_behaviour("2", never_ready=True)
    story.given_serving("1")
    story.when_released("2", rollout={"progress_deadline_seconds": 60})
    story.when_settled()
    story.given_serving("3", rollout={"progress_deadline_seconds": 900})
    before = story.log()
    story.when_commanded("rollback", version="2")
    assert "never served" in story.quarantine()[0]["why"]
    story.when_minutes_pass(5)
    assert [each for each in story.log() if each["to"] != "quarantined"] == before
    assert story.serving_version() == "3"


def test_that_a_release_has_baked_outlasts_its_later_attempts() -> None:
    story = Scenario()
    story.given_serving("1")
    story.given_serving("2")
    same: dict[str, Any] = {"scaling": {"min": 3, "max": 6}, "traffic": {"draining_seconds": 0}}
    story.when_released("1", force=True, **same, rollout=quick({}))
    story.when_phase_reached("step_1")
    story.when_commanded("abort")
    story.when_settled()
    record = story.store.get("models/tiny/releases/1")
    assert record is not None
    assert [attempt["outcome"] for attempt in record.data["attempts"]] == ["succeeded", "aborted"]
    story.when_commanded("rollback", version="1")
    story.when_settled()
    assert story.healthy_by_version() == {"1": 3}


def test_a_retired_release_that_never_baked_is_no_rollback_target() -> None:
    story = Scenario()
    story.when_released("1")
    story.when_phase_reached("step_1")
    story.when_commanded("retire")
    story.when_settled()
    assert story.outcome("1") == "retired"
    story.given_serving("2")
    story.when_commanded("rollback", version="1")
    assert "never served" in story.quarantine()[0]["why"]
    assert story.serving_version() == "2"


def test_retire_removes_all_resources_of_the_model_and_no_others() -> None:
    story = Scenario()
    story.given_serving("1", model="large")
    before = story.resources()
    story.given_serving("1")
    story.when_commanded("retire")
    story.when_settled()
    assert story.resources() == before
    assert story.outcome("1") == "retired"
    assert story.healthy_by_version("large") == {"1": 3}


def test_retire_during_a_rollout_ends_both_releases() -> None:
    story = given_a_rollout_in_step_2()
    story.when_commanded("retire")
    story.when_settled()
    assert (story.outcome("1"), story.outcome("2")) == ("retired", "retired")
    assert not [name for name in story.resources() if "/slipway-tiny-" in name]


def test_a_retired_model_can_be_released_again() -> None:
    story = Scenario()
    story.given_serving("1")
    story.when_commanded("retire")
    story.when_settled()
    story.when_released("2", scaling={"min": 3, "max": 6}, traffic={"draining_seconds": 0})
    story.when_settled()
    assert story.healthy_by_version() == {"2": 3}


def test_a_command_for_an_unknown_model_is_quarantined() -> None:
    story = Scenario()
    story.when_commanded("pause", model="ghost")
    assert (
        story.quarantine()[0]["why"]
        == "model: there is no model ghost, so there is nothing to pause"
    )


def test_promote_ends_one_hold_and_with_full_all_of_them() -> None:
    story = Scenario()
    story.given_serving("1")
    held = [{"percent": percent, "hold_seconds": 3600} for percent in (10, 50, 100)]
    story.when_released("2", rollout={"steps": held, "bake_seconds": 86400})
    story.when_minutes_pass(5)
    story.when_commanded("promote", requested_by="ann")
    story.when_minutes_pass(30)
    assert story.log()[-1]["to"] == "step_2"
    assert story.healthy_by_version() == {"1": 1, "2": 2}
    story.when_commanded("promote", full=True)
    story.when_minutes_pass(5)
    assert story.outcome("2") == "succeeded"


def test_retry_tries_a_release_again_that_was_rolled_back() -> None:
    """Its content need not be published again."""
    story = Scenario()
    story.given_serving("1")
    story.given_behaviour("2", never_ready=True)
    story.when_released("2", rollout={"progress_deadline_seconds": 60})
    story.when_settled()
    assert story.outcome("2") == "rolled_back"
    story.when_commanded("retry", version="1")
    assert "has not failed, its outcome is succeeded" in story.quarantine()[0]["why"]
    story.given_default_behaviour()
    story.when_commanded("retry", requested_by="ann")
    assert "release 2 was tried again by ann" in {entry["why"] for entry in story.log()}
    story.when_settled()
    assert (story.outcome("2"), story.healthy_by_version()) == ("succeeded", {"2": 3})
    story.when_commanded("retry")
    assert "no release of tiny has failed" in story.quarantine()[-1]["why"]


def test_retry_goes_on_with_a_candidate_that_is_paused_after_a_failure() -> None:
    """Here the release starts more slowly than its deadline allows."""
    story = Scenario()
    story.given_serving("1")
    story.given_behaviour("2", ready_after_seconds=100)
    story.when_released("2", rollout={"progress_deadline_seconds": 100, "on_failure": "pause"})
    story.when_phase_reached("paused")
    story.when_commanded("retry")
    story.when_phase_reached("step_2")
    story.when_commanded("retry")
    assert story.log()[-1]["why"] == "retry changes nothing: it has not failed"
