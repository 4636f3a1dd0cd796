"""A tag is not content: what a tag means is fixed when a release is accepted."""

from __future__ import annotations

import pytest

from tests.scenario import IMAGE, Scenario

STABLE = f"{IMAGE}:stable"


def running_image(story: Scenario) -> str:
    """The image that every instance runs."""
    story.when_settled()
    images = set()
    for template in {record["template"] for record in story.emulator.instances()}:
        body = story.emulator.find("instanceTemplates", template)
        assert body
        items = {each["key"]: each["value"] for each in body["properties"]["metadata"]["items"]}
        images.add(items["slipway-image"])
    (image,) = images
    assert image.startswith(f"{STABLE}@sha256:")
    return str(image)


def test_the_digest_of_the_acceptance_runs_until_a_new_version_finds_another() -> None:
    story = Scenario()
    story.when_released("1", artifact={"image": STABLE})
    first = running_image(story)
    story.registry.content[STABLE] = "published again"
    story.given_load("slipway-tiny-blue", cpu=3.0)
    story.when_minutes_pass(10)
    assert running_image(story) == first  # grows
    story.when_released("2", scaling={"min": 4, "max": 6}, artifact={"env": {"A": "1"}})
    assert running_image(story) == first  # inherits
    story.when_released("3", artifact={"image": STABLE})
    second = running_image(story)
    assert second != first
    assert set(story.healthy_by_version()) == {"3"}
    story.when_released("4", artifact={"image": STABLE})
    assert running_image(story) == second  # the same content again
    story.when_commanded("rollback", version="1")
    assert running_image(story) == first


def test_a_registry_that_does_not_answer_delays_a_release() -> None:
    story = Scenario()
    story.registry.is_available = False
    story.when_released("1", artifact={"image": STABLE})
    assert story.quarantine() == []
    story.registry.is_available = True
    story.when_minutes_pass(1)
    story.when_settled()
    assert story.outcome("1") == "succeeded"


@pytest.mark.parametrize("force", [False, True])
def test_a_registry_that_says_no_refuses_a_release_with_the_command(force: bool) -> None:
    story = Scenario()
    story.registry.absent.add(STABLE)
    story.when_released("1", artifact={"image": STABLE}, force=force)
    (refused,) = story.quarantine()
    assert refused["why"].startswith(f"artifact.image: {STABLE} is a tag")
    assert f"gcloud artifacts docker images describe {STABLE}" in refused["why"]
