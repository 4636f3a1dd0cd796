"""Strategy `canary`: requests move to a second group by weight, and come back in one patch."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from rollout.model import Stepping, phase_name
from tests.journeys.second_group import (
    BLUE_GREEN,
    CANARY,
    Watch,
    leftovers,
    mirrored,
    routed,
    weights,
)
from tests.scenario import Scenario


def rule(story: Scenario, model: str = "tiny") -> dict[str, Any]:
    """The model's rule in the emulator's URL map itself: to change it is to cause drift."""
    found: dict[str, Any]
    (found,) = (
        rule
        for matcher in story.url_map()["pathMatchers"]
        for rule in matcher.get("pathRules", [])
        if rule["paths"][0] == f"/{model}"
    )
    return found


def canary(serving: str = "blue", **rollout: Any) -> Scenario:
    """Release 1 serves, and release 2 begins as a canary."""
    story = Scenario()
    story.given_serving("1")
    if serving == "green":
        story.when_released("0", rollout=CANARY)
        story.when_settled()
        assert weights(story) == {"green": 1000}
    story.when_released("2", rollout=CANARY | rollout)
    return story


# ---- Forward


@pytest.mark.parametrize(("old", "new"), [("blue", "green"), ("green", "blue")])
def test_a_good_canary_takes_over_by_weight_and_keeps_the_old_group(old: str, new: str) -> None:
    story = canary(serving=old)
    watch = Watch(story)
    story.when_phase_reached("succeeded")
    assert weights(story) == {old: 0, new: 1000}
    assert sum(story.healthy_by_version().values()) >= 6
    story.when_settled()
    assert story.outcome("2") == "succeeded"
    assert story.healthy_by_version() == {"2": 3}
    assert [second.weights for second in watch.course] == [
        {old: 1000, new: 0},
        {old: 950, new: 50},
        {old: 500, new: 500},
        {old: 0, new: 1000},
        {new: 1000},
    ]
    for second in watch.seconds:
        for colour, weight in second.weights.items():
            assert second.healthy[colour] >= 3 * weight / 1000
    assert leftovers(story, old) == set()
    assert story.full_state() == settled_again(story)


def settled_again(story: Scenario) -> tuple[Any, ...]:
    story.when_woken()
    return story.full_state()


def test_a_candidate_is_sized_by_what_serves_and_not_by_its_own_minimum() -> None:
    story = Scenario()
    story.given_serving("1")
    story.when_released("2", scaling={"min": 1}, rollout=CANARY)
    watch = Watch(story)
    story.when_settled()
    sizes = {second.weights["green"]: second.healthy["green"] for second in watch.course[1:]}
    assert (sizes[50], sizes[500]) == (1, 2)
    assert max(second.healthy["green"] for second in watch.seconds) == 4


def test_a_hold_begins_when_the_weights_have_reached_the_load_balancer() -> None:
    story = canary()
    watch = Watch(story)
    story.when_settled()
    spans = {present["green"]: span for present, span in watch.spans()}
    assert 240 <= spans[50] <= 300
    assert 240 <= spans[500] <= 400  # with the time that the last step needs for its instances


def test_each_kind_of_step_sends_its_requests_once_its_instances_are_healthy() -> None:
    """A cohort lasts until the candidate has everything, a mirror for its own step."""
    kinds: list[dict[str, Any]] = [
        {"percent": 50},
        {"match": {"header": "x-canary", "value": "1"}},
        {"mirror": 10},
    ]
    steps = [each | {"hold_seconds": 60} for each in (*kinds, {"weight": 5}, {"weight": 100})]
    story = Scenario()
    story.given_serving("1")
    seen: dict[str, list[tuple[bool, float, int]]] = {}

    def look() -> None:
        phase = story.state().rollout.phase
        if isinstance(phase, Stepping):
            cohort = routed(story, {"x-canary": "1"}).get("green") == 1000
            split = weights(story).get("green", 0)
            moment = (cohort, mirrored(story), split)
            moments = seen.setdefault(phase_name(phase), [])
            if moments[-1:] != [moment]:
                moments.append(moment)
            if cohort or split or mirrored(story):
                assert story.healthy_by_version()["2"] >= 2

    story.given_watcher(look)
    story.when_released("2", rollout=CANARY | {"steps": steps}, traffic={"mirror_safe": True})
    story.when_settled()
    assert story.outcome("2") == "succeeded"
    assert seen == {
        "step_1": [(False, 0, 0)],
        "step_2": [(True, 0, 0)],
        "step_3": [(True, 10, 0)],
        "step_4": [(True, 0, 50)],
        "step_5": [(True, 0, 50), (True, 0, 1000)],
    }


# ---- Back


@pytest.mark.parametrize(
    ("behaviour", "phase", "most"),
    [
        ({"never_ready": True}, "step_1", 0),
        ({"unready_after_seconds": 100}, "step_1", 50),
        ({"dies_after_seconds": 100}, "step_1", 50),
        ({"unready_after_seconds": 400}, "step_2", 500),
        ({"unready_after_seconds": 650}, "step_3", 1000),
        ({"unready_after_seconds": 800}, "baking", 1000),
        ({"unready_after_seconds": 1200}, "settled", 1000),
    ],
)
def test_a_bad_canary_is_taken_back_by_one_patch_before_its_group_goes(
    behaviour: dict[str, Any], phase: str, most: int
) -> None:
    story = Scenario()
    story.given_serving("1")
    story.given_behaviour("2", **behaviour)
    watch = Watch(story)
    story.when_released("2", rollout=CANARY)
    story.when_settled()
    assert (story.outcome("2"), story.reason("2")) == ("rolled_back", "unhealthy")
    (back,) = (entry for entry in story.log() if entry["to"] == "rolling_back")
    assert back["from"] == phase
    assert story.healthy_by_version() == {"1": 3}
    assert max(second.weights.get("green", 0) for second in watch.seconds) == most
    course = [second.weights for second in watch.course]
    assert course[-2:] == [{"blue": 1000, "green": 0}, {"blue": 1000}]
    assert min(second.healthy["blue"] for second in watch.seconds) == 3
    assert leftovers(story, "green") == set()


def repaired(story: Scenario) -> list[str]:
    """The groups of the instances that Compute Engine has recreated by itself."""
    story.emulator.advance()
    return [
        operation["targetLink"].rsplit("-", 2)[1]
        for operation in story.emulator.operations()
        if operation["operationType"] == "compute.instances.repair.recreateInstance"
    ]


def test_an_unhealthy_instance_of_a_candidate_stays_until_it_is_judged() -> None:
    story = canary(on_failure="pause")
    story.when_phase_reached("baking")
    story.emulator.affect_instances("kill", most=1, group="slipway-tiny-green")
    story.emulator.affect_instances("kill", most=1, group="slipway-tiny-blue")
    story.when_minutes_pass(6)
    assert story.state().rollout.paused
    assert repaired(story) == ["blue"]


@pytest.mark.parametrize(("rollout", "most"), [(CANARY, 500), (BLUE_GREEN, 1000)])
def test_a_release_that_fails_only_under_load_is_taken_back(
    rollout: dict[str, Any], most: int
) -> None:
    story = Scenario()
    story.given_serving("1")

    def overload() -> None:
        if weights(story).get("green", 0) >= most:
            story.emulator.affect_instances("unready", group="slipway-tiny-green")

    story.given_watcher(overload)
    story.when_released("2", rollout=rollout)
    story.when_settled()
    assert (story.outcome("2"), story.reason("2")) == ("rolled_back", "unhealthy")
    (back,) = (entry for entry in story.log() if entry["to"] == "rolling_back")
    assert back["from"] == "step_2"
    assert (weights(story), story.healthy_by_version()) == ({"blue": 1000}, {"1": 3})


def test_the_group_of_a_bad_canary_stays_until_it_has_drained() -> None:
    story = Scenario()
    story.given_serving("1", traffic={"draining_seconds": 60})
    story.given_behaviour("2", unready_after_seconds=400)
    watch = Watch(story)
    story.when_released("2", rollout=CANARY)
    story.when_settled()
    present, span = watch.spans()[-1]
    assert present == {"blue": 1000, "green": 0}
    assert 180 <= span <= 240


# ---- People, newer releases, drift


@pytest.mark.parametrize("step", ["step_1", "step_2", "step_3", "baking"])
def test_an_aborted_canary_goes_back(step: str) -> None:
    story = canary()
    story.when_phase_reached(step)
    story.when_seconds_pass(20)
    story.when_commanded("abort")
    story.when_seconds_pass(10)
    assert {"green": 0} | weights(story) == {"blue": 1000, "green": 0}
    story.when_settled()
    assert story.outcome("2") == "aborted"
    assert story.healthy_by_version() == {"1": 3}
    assert leftovers(story, "green") == set()


@pytest.mark.parametrize("strategy", ["rolling", "canary"])
def test_a_newer_release_follows_when_the_superseded_canary_is_gone(strategy: str) -> None:
    story = canary()
    story.when_phase_reached("step_2")
    newest = CANARY if strategy == "canary" else {"strategy": "rolling", "steps": None}
    newest = newest | {"keep_old_seconds": 600 if strategy == "canary" else None}
    story.when_released("3", rollout=newest)
    watch = Watch(story)
    story.when_settled()
    assert (story.outcome("2"), story.outcome("3")) == ("superseded", "succeeded")
    assert story.healthy_by_version() == {"3": 3}
    colour = "green" if strategy == "canary" else "blue"
    assert weights(story) == {colour: 1000}
    assert max(sum(second.healthy.values()) for second in watch.seconds) <= 8


def test_a_paused_canary_keeps_its_weight_until_it_is_resumed() -> None:
    story = canary()
    story.when_phase_reached("step_2")
    story.when_seconds_pass(60)
    story.when_commanded("pause")
    story.when_minutes_pass(60)
    assert weights(story) == {"blue": 500, "green": 500}
    story.when_commanded("resume")
    story.when_settled()
    assert story.outcome("2") == "succeeded"


def test_a_promoted_canary_gets_everything_once_it_has_the_instances() -> None:
    story = canary()
    watch = Watch(story)
    story.when_commanded("promote", full=True)
    story.when_settled()
    assert story.outcome("2") == "succeeded"
    for second in watch.seconds:
        assert second.healthy["green"] >= 3 * second.weights.get("green", 0) / 1000


def test_a_kept_group_takes_everything_back_in_seconds() -> None:
    story = canary()
    story.when_phase_reached("succeeded")
    story.when_commanded("rollback")
    story.when_seconds_pass(10)
    assert weights(story) == {"blue": 1000, "green": 0}
    story.when_settled()
    assert story.serving_version() == "1"
    assert story.healthy_by_version() == {"1": 3}
    assert leftovers(story, "green") == set()


def test_a_newer_release_ends_the_keep() -> None:
    story = canary()
    story.when_phase_reached("succeeded")
    story.when_released(
        "3", rollout={"strategy": "rolling", "steps": None, "keep_old_seconds": None}
    )
    story.when_settled()
    assert story.outcome("3") == "succeeded"
    assert story.healthy_by_version() == {"3": 3}
    assert weights(story) == {"green": 1000}


def routed_since(story: Scenario) -> datetime:
    phase = story.state().rollout.phase
    assert isinstance(phase, Stepping)
    assert phase.routed_since
    return phase.routed_since


def test_edited_weights_are_restored_and_the_hold_begins_again() -> None:
    story = canary()
    story.when_phase_reached("step_2")
    story.when_seconds_pass(90)
    before = routed_since(story)
    backends = rule(story)["routeAction"]["weightedBackendServices"]
    backends[0]["weight"], backends[1]["weight"] = 0, 1000
    story.when_seconds_pass(30)
    assert weights(story) == {"blue": 500, "green": 500}
    assert routed_since(story) > before
    story.when_settled()
    assert story.outcome("2") == "succeeded"


def test_what_others_have_in_the_url_map_survives_every_step() -> None:
    story = Scenario()
    story.given_serving("1")
    story.given_serving("1", model="other")
    theirs = {"name": "theirs", "defaultService": story.url_map()["defaultService"]}
    story.url_map()["pathMatchers"].append(theirs)
    story.url_map()["hostRules"].append({"hosts": ["theirs.example.com"], "pathMatcher": "theirs"})
    other = rule(story, "other")
    kept: list[bool] = []
    story.given_watcher(
        lambda: kept.append(
            theirs in story.url_map()["pathMatchers"] and rule(story, "other") == other
        )
    )
    story.when_released("2", rollout=CANARY)
    story.when_settled()
    assert story.outcome("2") == "succeeded"
    assert all(kept)


def test_a_canary_may_change_what_a_group_fixes() -> None:
    story = Scenario()
    story.given_serving("1")
    story.when_released(
        "2",
        rollout=CANARY,
        serving={"port": 9000, "readiness_path": "/ready"},
        placement={"zones": ["us-central1-b", "us-central1-c"]},
    )
    story.when_settled()
    assert story.outcome("2") == "succeeded"


def test_a_model_that_is_retired_amid_a_canary_leaves_nothing() -> None:
    story = canary()
    story.when_phase_reached("step_2")
    story.when_seconds_pass(90)
    story.when_commanded("retire")
    story.when_settled()
    assert not any("slipway-tiny" in name for name in story.resources())
