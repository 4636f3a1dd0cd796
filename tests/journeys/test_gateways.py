"""Gateways: a full one refuses new models before anything is created and stops no other one, and a
model moves from one to another without a moment in which neither serves it.
"""

from __future__ import annotations

from typing import Any

import pytest

from handlers.forecast import forecast
from infra.fleet.resources.url_map import weights as url_map_weights
from rollout.model import TrafficWeight
from rollout.spec.message import ReleaseRequested, parse
from tests.concurrent import ConcurrentScenario
from tests.journeys.second_group import CANARY
from tests.journeys.test_crashes import Crash, CrashPoint
from tests.scenario import IMAGE, Scenario

OTHER = {
    "name": "slipway-other-blue",
    "protocol": "HTTP",
    "loadBalancingScheme": "EXTERNAL_MANAGED",
    "description": "slipway model=other backend service",
}
ANY = {"name": "slipway-any", "description": "slipway gateway routes"}


def given_conditions(story: Scenario, count: int) -> None:
    """Another model has so many paths that its path matcher has this many match conditions."""
    if f"backendServices/{OTHER['name']}" not in story.resources():
        story.given_resource("global/backendServices", OTHER)
        story.when_minutes_pass(1)
    found = story.url_map()
    (matcher,) = found.get("pathMatchers") or [ANY | {"defaultService": found["defaultService"]}]
    rules = [each for each in matcher.get("pathRules", []) if len(each["paths"]) == 2]
    paths = [f"/other/{number}" for number in range(count - 2 * len(rules))]
    rules.append({"paths": paths, "service": f"global/backendServices/{OTHER['name']}"})
    patch = {
        "hostRules": [{"hosts": ["*"], "pathMatcher": "slipway-any"}],
        "pathMatchers": [matcher | {"pathRules": rules}],
    }
    story.emulator.call("PATCH", "global/urlMaps/slipway-gateway", patch)
    story.when_minutes_pass(1)


def given_gateway(story: Scenario) -> None:
    """As a model leaves it that had a route and was retired."""
    story.given_serving("1", "first")
    story.when_commanded("retire", model="first")
    story.when_settled("first", within_minutes=30)


def planned_problems(story: Scenario) -> tuple[str, ...]:
    """What stands in the way of a release, by its plan."""
    request = parse({"model": "tiny", "version": "9", "artifact": {"image": f"{IMAGE}:9"}})
    assert isinstance(request, ReleaseRequested)
    return forecast(story.world, request).problems


def changes(story: Scenario) -> int:
    return story.emulator.calls.mutations


def test_a_new_model_is_refused_before_anything_is_created_and_gets_in_when_others_leave() -> None:
    story = Scenario()
    given_gateway(story)
    given_conditions(story, 899)
    before = changes(story)
    full = (
        "gateway slipway-gateway is full: its URL map would have 901 of 1,000 match conditions of"
        " host *; a model without a route there gets one up to 900; set traffic.gateway"
    )
    assert [each.startswith(full) for each in planned_problems(story)] == [True]
    story.when_released("1")
    story.when_settled(within_minutes=1)
    assert (story.outcome("1"), story.reason("1")) == ("rolled_back", "quota")
    assert story.why("1").startswith(full)
    assert changes(story) == before
    given_conditions(story, 898)
    assert planned_problems(story) == ()
    story.when_commanded("retry")
    story.when_settled()
    assert story.serving_version() == "1"


@pytest.mark.wide
def test_a_model_that_serves_swaps_and_rolls_back_on_a_full_gateway() -> None:
    story = Scenario()
    story.given_serving("1", rollout=CANARY)
    given_conditions(story, 1000)
    story.when_released("2", rollout=CANARY)
    story.when_settled(within_minutes=60)
    assert story.serving_version() == "2"
    story.when_commanded("rollback")
    story.when_settled(within_minutes=60)
    assert story.serving_version() == "1"
    match = {"match": {"header": "x-canary", "value": "1"}}
    before = changes(story)
    story.when_released("3", rollout=CANARY | {"steps": [match, {"weight": 100}]})
    story.when_settled(within_minutes=60)
    assert story.outcome("3") == "rolled_back"  # four conditions more than Compute Engine allows
    assert changes(story) == before


def test_of_two_models_for_the_last_place_none_is_refused_after_it_was_created() -> None:
    story: Any = ConcurrentScenario()
    given_gateway(story)
    given_conditions(story, 898)
    for model in ("a", "b"):
        story.when_released("1", model)
    for model in ("a", "b"):
        story.when_settled(model, within_minutes=30)
    served = {model for model in ("a", "b") if story.serving_version(model)}
    refused = {"a", "b"} - served
    assert served
    assert not any(model in str(story.resources()) for model in refused)


# ---- More than one gateway


EDGE = {"gateway": "edge"}


def served(story: Scenario) -> tuple[bool, bool]:
    """Whether the shared gateway and `edge` have a route of the model."""
    maps = ("slipway-gateway", "slipway-gateway-edge")
    shared, edge = (bool(weights(story, name)) for name in maps)
    return shared, edge


def weights(story: Scenario, url_map: str) -> tuple[TrafficWeight, ...]:
    body = story.emulator.find("urlMaps", url_map)
    return url_map_weights("tiny", body) if body else ()


def course(story: Scenario, minutes: int) -> list[tuple[bool, bool]]:
    """What is served in the course of time, each once."""
    found = [served(story)]
    for _ in range(minutes * 6):
        story.when_seconds_pass(10)
        if (now := served(story)) != found[-1]:
            found.append(now)
    return found


def test_a_model_moves_to_another_gateway_and_back_and_leaves_nothing_behind() -> None:
    story = Scenario()
    story.given_serving("1")
    settled = story.url_map()
    story.when_released("2", traffic=EDGE)
    assert course(story, 30) == [(True, True), (False, True)]
    assert story.serving_version() == "2"
    assert story.state().outputs["gateway"] == "edge"
    assert story.state().outputs["address"] != settled.get("address")
    assert "pathMatchers" not in story.url_map()
    assert "forwardingRules/slipway-gateway-edge-http" in story.resources()
    assert (story.state().requeue_at, story.state().rollout.moved) == (None, ())
    story.when_commanded("rollback")
    assert course(story, 30) == [(True, True), (True, False)]
    assert story.serving_version() == "1"
    assert "gateway" not in story.state().outputs
    story.when_commanded("retire")
    story.when_settled(within_minutes=30)
    assert served(story) == (False, False)
    assert not any("tiny" in name for name in story.resources())


@pytest.mark.wide
def test_a_move_that_fails_goes_back_and_a_model_that_moves_can_be_retired() -> None:
    story = Scenario()
    story.given_serving("1")
    story.given_behaviour("2", never_ready=True)
    story.when_released("2", traffic=EDGE)
    assert course(story, 60) == [(True, True), (True, False)]
    assert (story.outcome("2"), story.serving_version()) == ("rolled_back", "1")
    story.given_default_behaviour()
    story.when_released("3", traffic=EDGE)
    story.when_minutes_pass(2)
    assert served(story) == (True, True)
    story.when_commanded("retire")
    story.when_settled(within_minutes=60)
    assert served(story) == (False, False)
    assert not any("tiny" in name for name in story.resources())


@pytest.mark.wide
def test_a_canary_moves_with_its_last_step_and_both_gateways_have_its_weights() -> None:
    story = Scenario()
    story.given_serving("1", rollout=CANARY)
    story.when_released("2", traffic=EDGE, rollout=CANARY)
    story.when_minutes_pass(3)
    assert len(weights(story, "slipway-gateway")) == 2
    assert weights(story, "slipway-gateway") == weights(story, "slipway-gateway-edge")
    story.when_settled(within_minutes=90)
    assert served(story) == (False, True)
    assert story.serving_version() == "2"


@pytest.mark.wide
def test_the_writers_of_two_gateways_do_not_wait_for_each_other() -> None:
    story: Any = ConcurrentScenario()
    story.given_serving("1", "a")
    story.given_serving("1", "b", traffic=EDGE)
    story.emulator.operation_seconds_by_method["compute.urlMaps.update"] = 30
    for model in ("c", "d"):
        story.when_released("1", model, traffic=EDGE if model == "d" else {})
    story.when_settled("c", within_minutes=10)
    story.when_settled("d", within_minutes=10)
    assert {story.serving_version(model) for model in "cd"} == {"1"}
    assert not story.store.list("routes", 10)
    assert story.store.get("settings/route_writer") is None
    assert story.store.get("settings/route_writer@edge") is None


def test_a_route_in_a_gateway_that_no_release_names_is_found_and_removed() -> None:
    story = Scenario()
    story.given_serving("1", "other", traffic=EDGE)
    story.given_serving("1")
    edge = story.emulator.find("urlMaps", "slipway-gateway-edge") or {}
    (matcher,) = edge["pathMatchers"]
    stray = {"paths": ["/tiny"], "service": "global/backendServices/slipway-tiny-blue"}
    patch = {"pathMatchers": [matcher | {"pathRules": [*matcher["pathRules"], stray]}]}
    story.emulator.call("PATCH", "global/urlMaps/slipway-gateway-edge", patch)
    assert served(story) == (True, True)
    story.when_minutes_pass(7)
    assert served(story) == (True, False)


def moved(crash_point: CrashPoint) -> tuple[Scenario, bool]:
    """A model that has moved, and whether it was served all the time."""
    story = Scenario()
    quick = {"steps": [100], "bake_seconds": 60, "watch_seconds": 0}
    story.given_serving("1", rollout=quick)
    story.given_crashing_workers(crash_point.intercept, Crash)
    story.when_released("2", traffic=EDGE)
    is_served = any(served(story))
    for _ in range(25 * 6):
        story.when_seconds_pass(10)
        is_served = is_served and any(served(story))
    return story, is_served


@pytest.mark.nightly
def test_wherever_a_move_crashes_one_of_the_gateways_serves_and_only_the_new_one_in_the_end() -> (
    None
):
    reference = CrashPoint()
    world, _ = moved(reference)
    for at in range(1, reference.count + 1):
        for after in (False, True):
            story, is_served = moved(CrashPoint(at, after))
            context = f"crash {'after' if after else 'before'} write {at}:\n{story.history()}"
            assert is_served, context
            assert served(story) == (False, True), context
            assert (story.resources(), story.state().rollout.moved) == (world.resources(), ())
            assert not story.store.list("routes", 1), context
