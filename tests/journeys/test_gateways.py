"""A gateway that is full refuses new models before anything is created, and stops no other one."""

from __future__ import annotations

from typing import Any

from tests.concurrent import ConcurrentScenario
from tests.journeys.second_group import CANARY
from tests.scenario import Scenario

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


def changes(story: Scenario) -> int:
    return story.emulator.calls.mutations


def test_a_new_model_is_refused_before_anything_is_created_and_gets_in_when_others_leave() -> None:
    story = Scenario()
    given_gateway(story)
    given_conditions(story, 899)
    before = changes(story)
    story.when_released("1")
    story.when_settled(within_minutes=1)
    assert (story.outcome("1"), story.reason("1")) == ("rolled_back", "quota")
    assert story.why("1").startswith(
        "gateway slipway-gateway is full: its URL map would have 901 of 1,000 match conditions of"
        " host *; a model without a route there gets one up to 900; set traffic.gateway"
    )
    assert changes(story) == before
    given_conditions(story, 898)
    story.when_commanded("retry")
    story.when_settled()
    assert story.serving_version() == "1"


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
