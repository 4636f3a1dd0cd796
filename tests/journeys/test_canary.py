"""Strategy `canary`: requests move to a second group by weight, and come back in one patch."""

from __future__ import annotations

from typing import Any

from tests.scenario import Scenario

STEPS = [
    {"weight": 5, "hold_seconds": 300},
    {"weight": 50, "hold_seconds": 300},
    {"weight": 100, "hold_seconds": 0},
]
CANARY: dict[str, Any] = {
    "strategy": "canary",
    "steps": STEPS,
    "bake_seconds": 300,
    "watch_seconds": 600,
    "keep_old_seconds": 1200,
}


def weights(story: Scenario) -> dict[str, int]:
    """The weights of the model's route by colour."""
    (rule,) = (rule for each in story.url_map()["pathMatchers"] for rule in each["pathRules"])
    if "service" in rule:
        return {rule["service"].rsplit("-", 1)[-1]: 1000}
    return {
        each["backendService"].rsplit("-", 1)[-1]: each.get("weight", 0)
        for each in rule["routeAction"]["weightedBackendServices"]
    }


def test_a_good_canary_takes_over_by_weight_and_keeps_the_old_group() -> None:
    story = Scenario()
    story.given_serving("1")
    story.when_released("2", rollout=CANARY)
    story.when_settled()
    print(story.history())
    assert story.outcome("2") == "succeeded"
    assert story.healthy_by_version() == {"2": 3}
    assert weights(story) == {"green": 1000}
