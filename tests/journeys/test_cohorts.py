"""Previews, cohorts and mirrors: whom the load balancer sends to a candidate, asked with real
requests to the emulator's data plane.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import requests

from compute_emulator import DataPlane
from tests.scenario import Scenario

pytestmark = pytest.mark.wide

PREVIEW = "preview.example.com"
STEPS: list[dict[str, Any]] = [
    {"preview": True, "hold_seconds": 120},
    {"match": {"header": "x-canary", "value": "1"}, "hold_seconds": 120},
    {"mirror": 100, "hold_seconds": 120},
    {"weight": 100, "hold_seconds": 0},
]
BLUE_GREEN: dict[str, Any] = {
    "strategy": "blue_green",
    "steps": STEPS,
    "bake_seconds": 300,
    "watch_seconds": 600,
    "keep_old_seconds": 600,
}
WHO = {
    "all": {},
    "preview": {"x-slipway-preview": "2"},
    "preview of another": {"x-slipway-preview": "1"},
    "cohort": {"x-canary": "1"},
    "not quite the cohort": {"x-canary": "11"},
    "preview host": {"host": PREVIEW},
}


def groups(story: Scenario, plane: DataPlane, model: str) -> dict[str, str]:
    """The group that answers each of them, as the load balancer sends them now."""
    plane.refresh()
    return {who: group(story, model, headers) for who, headers in WHO.items()}


def group(story: Scenario, model: str, headers: dict[str, str]) -> str:
    (rule,) = story.emulator.control("GET", "/data-plane")["forwarding_rules"].values()
    url = f"{rule['url']}/{model}/v1/models"
    sent = requests.get(url, headers={"host": "any.example.com"} | headers, timeout=10)
    return str(sent.json()["group"]) if sent.ok else f"{sent.status_code}"


def sends(to_green: set[str]) -> dict[str, str]:
    return {who: "slipway-tiny-green" if who in to_green else "slipway-tiny-blue" for who in WHO}


def mirrored(plane: DataPlane) -> int:
    """How many copies the candidate has got."""
    (family,) = (each for each in plane.metrics.families() if "lb_mirrored" in each)
    counts = [line.split()[-1] for line in family.splitlines() if "slipway-tiny-green" in line]
    return sum(int(count) for count in counts)


def until(is_true: Callable[[], bool]) -> None:
    """A copy is sent beside the request, and its answer is awaited by nobody."""
    for _ in range(500):
        if is_true():
            return
        time.sleep(0.01)
    raise AssertionError("it has not happened within five seconds")


def test_a_candidate_is_reached_by_its_preview_and_its_cohort_and_by_nobody_else() -> None:
    story = Scenario()
    story.given_serving("1")
    story.given_serving("1", "tiny-2")
    with story.emulator.data_plane() as plane:
        before, others = groups(story, plane, "tiny"), groups(story, plane, "tiny-2")
        assert before == sends(set())
        assert set(others.values()) == {"slipway-tiny-2-blue"}

        traffic = {"preview_host": PREVIEW, "mirror_safe": True}
        story.when_released("2", rollout=BLUE_GREEN, traffic=traffic)
        story.when_seconds_pass(200)  # its instances are healthy, and the preview is held
        assert groups(story, plane, "tiny") == sends({"preview", "preview host"})
        story.when_phase_reached("step_2")
        story.when_seconds_pass(20)
        cohort = {"preview", "preview host", "cohort"}
        assert groups(story, plane, "tiny") == sends(cohort)
        assert groups(story, plane, "tiny-2") == others | {"preview host": "slipway-tiny-green"}
        assert mirrored(plane) == 0
        story.when_phase_reached("step_3")
        story.when_seconds_pass(20)
        assert groups(story, plane, "tiny") == sends(cohort)
        until(lambda: mirrored(plane) == 3)

        story.when_settled()
        assert story.outcome("2") == "succeeded"
        story.when_minutes_pass(20)  # the old group has gone
        assert groups(story, plane, "tiny") == sends(set(WHO))
        assert groups(story, plane, "tiny-2") == others
    assert story.url_map()["pathMatchers"][0].keys() >= {"pathRules"}
    assert [entry["to"] for entry in story.log("tiny-2")][-1] == "succeeded"


def test_a_preview_beside_a_rule_of_others_is_refused_and_the_release_goes_back() -> None:
    story = Scenario()
    story.given_serving("1")
    (matcher,) = story.url_map()["pathMatchers"]
    theirs = {"paths": ["/pay"], "service": story.url_map()["defaultService"]}
    matcher["pathRules"].append(theirs)
    story.when_released("2", rollout=BLUE_GREEN, traffic={"mirror_safe": True})
    story.when_settled()
    assert (story.outcome("2"), story.reason("2")) == ("rolled_back", "config")
    assert "(like /pay to slipway-gateway-default)" in story.why("2")
    (matcher,) = story.url_map()["pathMatchers"]
    assert theirs in matcher["pathRules"]
    assert story.serving_version() == "1"


def test_a_cohort_ends_though_others_have_edited_its_rules() -> None:
    """What was inserted for it goes, and theirs stays, in the form and the place that it has."""
    story = Scenario()
    story.given_serving("1")
    story.when_released("2", rollout=BLUE_GREEN, traffic={"mirror_safe": True})
    story.when_phase_reached("step_3")
    (matcher,) = story.url_map()["pathMatchers"]
    theirs = {
        "priority": 7,
        "matchRules": [{"prefixMatch": "/tiny/pay"}],
        "service": story.url_map()["defaultService"],
    }
    matcher["routeRules"].insert(0, theirs)
    story.when_commanded("abort")
    story.when_settled()
    assert story.outcome("2") == "aborted"
    (matcher,) = story.url_map()["pathMatchers"]
    first, own = matcher["routeRules"]
    assert first == theirs
    assert own["service"].endswith("slipway-tiny-blue")
    assert not [name for name in story.resources() if "green" in name]
