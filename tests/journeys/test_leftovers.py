"""A resource that appears after its model was retired, for example by a late insert, is found and
deleted.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.scenario import Scenario

OURS = "slipway model=tiny late"
PROPERTIES = {
    "machineType": "e2-small",
    "disks": [
        {
            "boot": True,
            "initializeParams": {
                "sourceImage": "projects/cos-cloud/global/images/family/cos-stable"
            },
        }
    ],
    "networkInterfaces": [{"network": "global/networks/default"}],
}
LATE: dict[str, dict[str, Any]] = {
    "global/instanceTemplates": {"name": "slipway-tiny-0123456789", "properties": PROPERTIES},
    "global/healthChecks": {
        "name": "slipway-tiny-blue-live",
        "type": "TCP",
        "tcpHealthCheck": {"port": 80},
    },
    "global/backendServices": {
        "name": "slipway-tiny-green",
        "protocol": "HTTP",
        "loadBalancingScheme": "EXTERNAL_MANAGED",
        "healthChecks": ["global/healthChecks/theirs"],
    },
    "regions/us-central1/instanceGroupManagers": {
        "name": "slipway-tiny-blue",
        "targetSize": 2,
        "versions": [{"instanceTemplate": "global/instanceTemplates/theirs"}],
    },
}


def given_late(story: Scenario, collection: str, **changed: Any) -> str:
    """Inserts the resource as a late worker would. Returns its `collection/name`."""
    if collection != "global/healthChecks":
        story.given_resource(
            "global/healthChecks", {"name": "theirs", "type": "TCP", "tcpHealthCheck": {"port": 80}}
        )
        story.given_resource(
            "global/instanceTemplates", {"name": "theirs", "properties": PROPERTIES}
        )
        story.when_seconds_pass(5)
    body = LATE[collection] | {"description": OURS} | changed
    story.given_resource(collection, body)
    return f"{collection.rpartition('/')[2]}/{body['name']}"


@pytest.mark.parametrize("collection", LATE)
def test_a_resource_created_after_its_model_was_retired_is_removed(collection: str) -> None:
    story = Scenario()
    story.given_serving("1")
    story.when_commanded("retire")
    story.when_settled()
    late = given_late(story, collection)
    assert late in story.resources()
    story.when_minutes_pass(12)
    assert late not in story.resources()
    assert story.state().requeue_at is None
    assert [entry["why"] for entry in story.log() if entry["to"] == "repaired"]


@pytest.mark.parametrize("collection", ["global/instanceTemplates", "global/backendServices"])
def test_an_unneeded_resource_of_a_serving_model_is_removed(collection: str) -> None:
    story = Scenario()
    story.given_serving("1")
    late = given_late(story, collection)
    story.when_minutes_pass(12)
    assert late not in story.resources()
    assert story.serving_version() == "1"


@pytest.mark.parametrize("collection", LATE)
def test_a_resource_without_our_description_is_kept(collection: str) -> None:
    story = Scenario()
    story.given_serving("1")
    story.when_commanded("retire")
    story.when_settled()
    theirs = given_late(story, collection, description="of another team")
    story.when_minutes_pass(12)
    assert theirs in story.resources()


def test_models_with_a_common_name_prefix_are_not_confused() -> None:
    story = Scenario()
    for model in ("tiny", "tiny-blue", "tiny-x"):
        story.given_serving("1", model=model)
    story.when_commanded("retire")
    story.when_settled()
    given_late(story, "global/instanceTemplates")
    before = {
        resource
        for resource in story.resources()
        if "/slipway-tiny-blue-" in resource or "/slipway-tiny-x-" in resource
    }
    story.when_minutes_pass(12)
    assert before <= story.resources()
    assert {story.serving_version("tiny-blue"), story.serving_version("tiny-x")} == {"1"}


def test_a_retired_model_without_resources_is_never_written_again() -> None:
    story = Scenario()
    story.given_serving("1")
    story.when_commanded("retire")
    story.when_settled()
    before = story.full_state()
    story.when_minutes_pass(30)
    assert story.full_state() == before
