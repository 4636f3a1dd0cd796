"""One event creates a running, autoscaled, load-balanced fleet."""

from __future__ import annotations

import json

from tests.scenario import IMAGE, Scenario


def test_a_first_release_provisions_everything_and_serves() -> None:
    story = Scenario()
    story.when_released("1")
    story.when_settled()
    assert story.outcome("1") == "succeeded"
    assert story.healthy_by_version() == {"1": 3}
    assert {
        "instanceGroupManagers/slipway-tiny-blue",
        "autoscalers/slipway-tiny-blue",
        "backendServices/slipway-tiny-blue",
        "healthChecks/slipway-tiny-blue-lb",
        "healthChecks/slipway-tiny-blue-live",
        "urlMaps/slipway-gateway",
        "targetHttpProxies/slipway-gateway-http",
        "forwardingRules/slipway-gateway-http",
        "addresses/slipway-gateway",
    } <= story.resources()


def test_every_resource_of_a_model_has_the_prefix() -> None:
    story = Scenario()
    story.given_serving("1")
    names = [name.partition("/")[2] for name in story.resources()]
    assert names
    assert all(name.startswith("slipway-") for name in names), names


def test_the_outputs_name_the_group_the_backend_service_and_the_address() -> None:
    story = Scenario()
    story.given_serving("1")
    outputs = story.state().outputs
    assert outputs["instance_group_url"].endswith(
        "regions/us-central1/instanceGroups/slipway-tiny-blue"
    )
    assert outputs["backend_service_url"].endswith("global/backendServices/slipway-tiny-blue")
    assert outputs["address"]
    assert json.loads(story.published_on("model-rollout-status")[-1])["outputs"] == outputs


def test_the_smallest_message_serves_with_the_defaults() -> None:
    story = Scenario()
    story.when_published({"model": "tiny", "version": "1", "artifact": {"image": f"{IMAGE}:1"}})
    story.when_settled()
    assert story.healthy_by_version() == {"1": 1}


def test_a_model_without_exposure_has_no_route_and_no_backend_service() -> None:
    story = Scenario()
    story.when_released("1", traffic={"exposure": "none"})
    story.when_settled()
    assert story.outcome("1") == "succeeded"
    assert not [
        name for name in story.resources() if name.startswith(("backendServices/", "urlMaps/"))
    ]


def test_a_first_release_that_never_becomes_healthy_leaves_nothing_running() -> None:
    story = Scenario()
    story.given_behaviour("1", never_ready=True)
    story.when_released("1")
    story.when_settled()
    assert story.outcome("1") == "rolled_back"
    assert "0 of 3 instances of release 1 are healthy" in story.why("1")
    assert not [name for name in story.resources() if "/slipway-tiny-" in name]


def test_two_models_share_the_gateway_and_nothing_else() -> None:
    story = Scenario()
    story.given_serving("1")
    story.given_serving("1", model="large")
    assert story.healthy_by_version("tiny") == story.healthy_by_version("large") == {"1": 3}
    assert len([name for name in story.resources() if name.startswith("urlMaps/")]) == 1
