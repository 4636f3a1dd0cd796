"""The way back of a canary: from every state, in the promised time, and after draining."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from rollout.gates.traffic import PROPAGATION
from tests.journeys.second_group import CANARY, Watch, leftovers, weights
from tests.journeys.test_canary import rule
from tests.scenario import Scenario

pytestmark = pytest.mark.wide

PROPAGATES_IN = 100  # seconds; less than what Slipway allows for
DRAINING = timedelta(seconds=60)
STABLE_ALONE = ({"blue": 1000, "green": 0}, {"blue": 1000})


def canary(**rollout: Any) -> Scenario:
    story = Scenario()
    story.emulator.propagation_seconds = PROPAGATES_IN
    story.given_serving("1", traffic={"draining_seconds": DRAINING.seconds})
    story.when_released("2", rollout=CANARY | rollout)
    return story


def until_green_has(weight: int) -> Callable[[Scenario], None]:
    def wait(story: Scenario) -> None:
        for _ in range(1000):
            if weights(story).get("green", 0) == weight:
                return
            story.when_seconds_pass(5)
        raise AssertionError(story.history())

    return wait


def until_phase(phase: str) -> Callable[[Scenario], None]:
    return lambda story: story.when_phase_reached(phase)


def until_paused(story: Scenario) -> None:
    until_green_has(500)(story)
    story.when_commanded("pause")
    story.when_minutes_pass(1)


def until_edited(story: Scenario) -> None:
    until_green_has(50)(story)
    story.when_seconds_pass(30)
    backends = rule(story)["routeAction"]["weightedBackendServices"]
    backends[0]["weight"], backends[1]["weight"] = 0, 1000


def nothing(story: Scenario) -> None:
    pass


class Drain(Watch):
    """Also when the candidate's group and its backend service went."""

    def __init__(self, story: Scenario) -> None:
        super().__init__(story)
        self.gone: dict[str, datetime] = {}

    def look(self) -> None:
        super().look()
        names = self.story.resources()
        for collection in ("instanceGroupManagers", "backendServices"):
            is_there = f"{collection}/slipway-tiny-green" in names
            if not is_there and collection not in self.gone:
                self.gone[collection] = self.story.clock.now()

    def routed_back_at(self) -> datetime:
        """Since when the URL map sends the candidate nothing."""
        last = max(
            (n for n, each in enumerate(self.seconds) if each.weights.get("green")), default=-1
        )
        return self.seconds[last + 1].at


@pytest.mark.parametrize(
    ("reach", "command"),
    [
        (until_green_has(50), "abort"),
        (until_phase("step_2"), "abort"),
        (until_green_has(500), "abort"),
        (until_green_has(1000), "abort"),
        (until_phase("baking"), "abort"),
        (until_phase("succeeded"), "rollback"),
        (until_paused, "abort"),
        (until_edited, "abort"),
    ],
    ids=["1 %", "before 50 %", "50 %", "100 %", "bake", "keep", "paused", "edited"],
)
def test_a_canary_returns_in_the_promised_time_and_goes_when_it_has_drained(
    reach: Callable[[Scenario], None], command: str
) -> None:
    story = canary()
    reach(story)
    story.when_seconds_pass(15)  # the pass that promises
    if reach is until_edited:
        until_edited(story)
    promised = story.state().seconds_to_roll_back
    began, watch = story.clock.now(), Drain(story)
    story.when_commanded(command)
    story.when_seconds_pass(240)
    story.when_settled()
    served_at = watch.routed_back_at() + timedelta(seconds=1 + PROPAGATES_IN)
    took = (served_at - began).total_seconds()
    assert promised is not None
    assert took <= promised <= took + 90
    drained_at = watch.routed_back_at() + PROPAGATION + DRAINING
    assert drained_at <= watch.gone["backendServices"] <= watch.gone["instanceGroupManagers"]
    assert watch.gone["instanceGroupManagers"] <= drained_at + timedelta(seconds=60)
    assert min(second.healthy["blue"] for second in watch.seconds) == 3
    assert (story.healthy_by_version(), leftovers(story, "green")) == ({"1": 3}, set())


@pytest.mark.parametrize("operation_seconds", [1, 60], ids=["without a weight", "half made"])
def test_a_canary_without_requests_goes_at_once(operation_seconds: int) -> None:
    story = Scenario()
    story.given_serving("1", traffic={"draining_seconds": 600})
    story.given_operation_seconds(operation_seconds)
    story.when_released("2", rollout=CANARY)
    assert (weights(story).get("green", 0), story.state().seconds_to_roll_back) == (0, 0)
    story.when_commanded("abort")
    story.given_operation_seconds(1)
    story.when_minutes_pass(5)
    assert (story.healthy_by_version(), leftovers(story, "green")) == ({"1": 3}, set())


# ---- Others in the URL map


def remove_backend(story: Scenario) -> None:
    del rule(story)["routeAction"]["weightedBackendServices"][1]


def remove_rule(story: Scenario) -> None:
    (matcher,) = (
        each for each in story.url_map()["pathMatchers"] if rule(story) in each["pathRules"]
    )
    matcher["pathRules"].remove(rule(story))


def edit_weights(story: Scenario) -> None:
    """Through the API, so that Compute Engine knows who did it."""
    backends = rule(story)["routeAction"]["weightedBackendServices"]
    body = {"pathMatchers": story.url_map()["pathMatchers"]}
    backends[0]["weight"], backends[1]["weight"] = 0, 1000
    story.emulator.call("PATCH", "global/urlMaps/slipway-gateway", body)


def test_edits_are_restored_and_the_second_one_pauses_until_a_person_resumes() -> None:
    story = canary(steps=[{"weight": 50, "hold_seconds": 3600}, {"weight": 100}])
    until_green_has(500)(story)
    for number, edit in enumerate((edit_weights, remove_backend, remove_rule, edit_weights)):
        story.when_minutes_pass(2)
        edit(story)
        story.when_seconds_pass(45)
        assert weights(story) == {"blue": 500, "green": 500}
        assert bool(story.state().rollout.paused) == bool(number % 2)
        if number % 2:
            story.when_commanded("resume")
    first, second, *_ = [entry["why"] for entry in story.log() if entry["to"] == "repaired"]
    assert "was changed by emulator@localhost at 2" in first
    assert "was changed outside of Slipway" in second
    assert len([entry for entry in story.log() if entry["to"] == "paused"]) == 2
    story.when_settled()
    assert story.outcome("2") == "succeeded"


def test_edits_do_not_keep_a_canary_from_its_way_back() -> None:
    story = canary()
    until_green_has(500)(story)
    story.when_commanded("abort")
    for _ in range(4):
        story.when_seconds_pass(30)
        assert weights(story) in STABLE_ALONE
        edit_weights(story)
    story.when_settled()
    assert story.outcome("2") == "aborted"
    assert (weights(story), leftovers(story, "green")) == ({"blue": 1000}, set())


# ---- A stable release that is short


def test_requests_return_as_the_stable_release_heals() -> None:
    story = canary()
    until_green_has(1000)(story)
    story.when_seconds_pass(30)
    (lost,) = [each for each in story.instances() if "-blue-" in each.name][:1]
    story.emulator.set_zone_state(lost.zone, "DOWN")
    story.when_seconds_pass(20)
    watch = Watch(story)
    story.when_commanded("abort")
    story.when_minutes_pass(2)
    assert weights(story) == {"blue": 600, "green": 400}
    story.emulator.set_zone_state(lost.zone, "UP")
    story.when_settled()
    returned = [second.weights.get("green", 0) for second in watch.course]
    assert returned[-3:] == [400, 0, 0]
    assert story.healthy_by_version() == {"1": 3}


# ---- Retired while it serves


def test_a_retired_model_drains_before_its_groups_go() -> None:
    story = Scenario()
    story.given_serving("1", traffic={"draining_seconds": DRAINING.seconds})
    unrouted: list[datetime] = []
    gone: list[datetime] = []

    def watch() -> None:
        if not story.url_map().get("pathMatchers"):
            unrouted.append(story.clock.now())
        if len(story.instances()) < 3 or "backendServices/slipway-tiny-blue" not in resources():
            gone.append(story.clock.now())

    def resources() -> str:
        return " ".join(story.resources())

    story.given_watcher(watch)
    story.when_commanded("retire")
    story.when_settled()
    assert gone[0] >= unrouted[0] + PROPAGATION + DRAINING
    assert not any("slipway-tiny" in name for name in story.resources())


def take_rule(story: Scenario) -> None:
    """Point the model's rule at a backend service of others."""
    found = rule(story)
    found.pop("routeAction", None)
    found["service"] = story.url_map()["defaultService"]


def until_rolling_back(story: Scenario) -> None:
    until_green_has(500)(story)
    story.when_commanded("abort")
    story.when_seconds_pass(30)


@pytest.mark.parametrize(
    ("reach", "restored", "outcome"),
    [
        (until_green_has(500), {"blue": 500, "green": 500}, "succeeded"),
        (until_rolling_back, {"blue": 1000}, "aborted"),
    ],
    ids=["forward", "way back"],
)
def test_a_rule_that_others_have_taken_is_restored(
    reach: Callable[[Scenario], None], restored: dict[str, int], outcome: str
) -> None:
    story = canary()
    reach(story)
    story.when_seconds_pass(30)
    take_rule(story)
    story.when_seconds_pass(45)
    assert {name: weight for name, weight in weights(story).items() if weight} == restored
    assert [entry for entry in story.log() if entry["to"] == "repaired"]
    story.when_settled()
    assert story.outcome("2") == outcome
    take_rule(story)
    story.when_minutes_pass(7)  # a drift scan
    assert sum(weights(story).values()) == 1000
