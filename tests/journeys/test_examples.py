"""Every example event leads to the fleet that it describes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.scenario import PROJECT, Scenario

HOST_PROJECT = "example-host"
"""Shares its network with the model's project; here, the model's project has it itself."""
EXAMPLES = {
    path.stem: json.loads(path.read_text().replace(HOST_PROJECT, PROJECT))
    for path in (Path(__file__).parents[2] / "examples").glob("*.json")
}
RELEASES = sorted(
    name for name, body in EXAMPLES.items() if "command" not in body and name != "next-release"
)
FIRST = "cpu-metric-schedule"


def given_published(*names: str) -> Scenario:
    story = Scenario()
    story.given_certificate("models-example-com")
    story.emulator.catalogue["networks"] = ["global/networks/serving"]
    story.emulator.catalogue["subnetworks"] = ["regions/europe-west4/subnetworks/serving-eu"]
    for name in names:
        story.when_published(EXAMPLES[name])
        assert story.quarantine() == [], name
        story.when_settled(EXAMPLES[name]["model"], within_minutes=300)
    return story


def serves(story: Scenario, body: dict[str, Any]) -> bool:
    healthy = story.healthy_by_version(body["model"])
    return story.outcome(body["version"], body["model"]) == "succeeded" and set(healthy) == {
        body["version"]
    }


@pytest.mark.parametrize("name", RELEASES)
def test_an_example_release_serves(name: str) -> None:
    assert serves(given_published(name), EXAMPLES[name])


def test_the_next_release_example_follows_the_release_of_its_model() -> None:
    following = EXAMPLES["next-release"]
    assert serves(given_published(FIRST, "next-release"), following)


def test_the_rollback_example_returns_to_a_release_that_served() -> None:
    story = given_published(FIRST, "next-release", "command-rollback")
    assert (
        story.serving_version("ranker")
        == EXAMPLES["command-rollback"]["version"]
        == EXAMPLES[FIRST]["version"]
    )
