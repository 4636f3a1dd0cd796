"""Whose fault it is: what the environment takes delays a release, and what the release does by
itself takes it back.
"""

from __future__ import annotations

import pytest

from tests.scenario import Scenario, quick


@pytest.mark.parametrize(
    ("how", "seconds"),
    [("dies_after_seconds", 90), ("dies_after_seconds", 300), ("stops_after_seconds", 200)],
)
def test_a_release_that_crashes_again_and_again_ends_at_its_first_step(
    how: str, seconds: int
) -> None:
    story = Scenario()
    story.given_serving("1", scaling={"min": 6, "max": 6})
    story.given_behaviour("2", **{how: seconds})
    healthy: list[int] = []
    story.given_watcher(lambda: healthy.append(sum(story.healthy_by_version().values())))
    default_holds = [{"percent": 10}, {"percent": 50}, {"percent": 100}]
    story.when_released("2", rollout={"steps": default_holds})
    story.when_settled()
    assert (story.outcome("2"), story.reason("2")) == ("rolled_back", "unhealthy")
    assert [entry["to"] for entry in story.log()[-3:]] == ["step_1", "rolling_back", "rolled_back"]
    assert min(healthy) >= 5
    assert story.healthy_by_version() == {"1": 6}


def test_preemptions_delay_a_bake_and_are_a_condition() -> None:
    story = Scenario()
    machine = {"spot": True}
    story.given_serving("1", machine=machine, scaling={"min": 12, "max": 12})
    story.when_released("2", rollout={"bake_seconds": 3600})
    story.when_phase_reached("baking")
    for _ in range(3):
        story.when_minutes_pass(5)
        [taken] = story.emulator.affect_instances("preempt", most=1)
        story.when_seconds_pass(20)
        assert story.state().conditions[0].why == f"instance {taken} was preempted"
    story.when_settled()
    assert story.outcome("2") == "succeeded"
    assert story.state().conditions == ()


@pytest.mark.parametrize(("phase", "size"), [("step_1", 3), ("step_2", 6), ("baking", 6)])
def test_nothing_is_swapped_or_rolled_back_while_a_zone_is_down(phase: str, size: int) -> None:
    story = Scenario()
    story.given_serving("1", scaling={"min": size, "max": size})
    story.when_released("2", rollout=quick({"bake_seconds": 600}))
    story.when_phase_reached(phase)
    story.when_seconds_pass(35)  # its instance runs, so its loss is the zone's
    story.emulator.set_zone_state("us-central1-b", "DOWN")
    story.when_minutes_pass(1)
    before = story.log()
    templates = {each.version for each in story.instances()}
    story.when_minutes_pass(25)
    assert story.log() == before
    assert {each.version for each in story.instances()} == templates
    assert "us-central1-b" in story.state().conditions[0].why
    story.emulator.set_zone_state("us-central1-b", "UP")
    story.when_settled()
    assert story.outcome("2") == "succeeded"
    assert story.healthy_by_version() == {"2": size}


def test_quota_that_growth_meets_is_a_condition_of_a_bake() -> None:
    story = Scenario()
    story.given_serving("1", scaling={"min": 6, "max": 12})
    story.when_released("2")
    story.when_phase_reached("baking")
    story.emulator.quotas["us-central1/CPUS"] = 6
    story.given_load("slipway-tiny-blue", cpu=4.8)
    story.when_minutes_pass(3)
    assert "Quota" in story.state().conditions[0].why
    story.when_settled()
    assert story.outcome("2") == "succeeded"
    assert story.healthy_by_version() == {"2": 6}


def test_a_release_that_gets_no_instance_for_want_of_quota_fails_at_once() -> None:
    story = Scenario()
    story.given_serving("1", scaling={"min": 6, "max": 6})
    story.emulator.quotas["us-central1/CPUS"] = 6
    story.when_released("2")
    story.when_settled()
    assert (story.outcome("2"), story.reason("2")) == ("rolled_back", "quota")
    assert story.healthy_by_version() == {"1": 6}


def test_a_fleet_that_falls_sick_after_its_bake_goes_back_once() -> None:
    story = Scenario()
    story.given_serving("1")
    story.given_behaviour("2", dies_after_seconds=900)
    story.when_released("2", rollout={"watch_seconds": 3600})
    story.when_phase_reached("succeeded")
    story.when_phase_reached("rolled_back")
    story.when_settled()
    assert story.serving_version() == "1"
    assert story.healthy_by_version() == {"1": 3}
    assert story.outcome("2") == "rolled_back"
    story.when_released("2", requested_by="ann", rollout={"watch_seconds": 3600})
    story.when_minutes_pass(2)
    assert story.serving_version() == "1"


def test_a_watched_release_that_stays_well_costs_few_reads_and_its_drift_is_repaired() -> None:
    story = Scenario()
    story.given_serving("1")
    story.when_released("2", rollout={"watch_seconds": 3600})
    story.when_phase_reached("succeeded")
    story.autoscaler()["maxNumReplicas"] = 50
    story.when_minutes_pass(8)
    assert story.autoscaler()["maxNumReplicas"] == 6
    story.emulator.affect_instances("stop", most=3)
    story.when_settled(within_minutes=60)
    assert (story.outcome("2"), story.serving_version()) == ("succeeded", "2")
    assert story.log()[-1]["to"] == "repaired"


def test_a_newer_release_begins_while_the_present_one_is_watched() -> None:
    story = Scenario()
    story.given_serving("1")
    story.when_released("2", rollout={"watch_seconds": 3600})
    story.when_phase_reached("succeeded")
    story.when_released("3", rollout={"watch_seconds": 0})
    story.when_settled()
    assert story.outcome("3") == "succeeded"
    assert story.healthy_by_version() == {"3": 3}
