"""Drift of resources that Slipway owns is repaired and recorded; others are left alone."""

from __future__ import annotations

from tests.scenario import Scenario


def test_a_manual_change_of_an_autoscaler_is_repaired_and_recorded() -> None:
    story = Scenario()
    story.given_serving("1")
    story.autoscaler()["maxNumReplicas"] = 50
    story.when_minutes_pass(6)
    assert story.autoscaler()["maxNumReplicas"] == 6
    repaired = [entry["why"] for entry in story.log() if entry["to"] == "repaired"]
    assert len(repaired) == 1
    assert "50" in repaired[0]
    assert story.state().requeue_at is None


def test_a_deleted_route_is_restored() -> None:
    story = Scenario()
    story.given_serving("1")
    story.url_map()["pathMatchers"] = []
    story.url_map()["hostRules"] = []
    story.when_minutes_pass(6)
    assert story.url_map()["pathMatchers"]


def test_foreign_rules_in_the_shared_url_map_survive() -> None:
    story = Scenario()
    story.given_serving("1")
    service = story.url_map()["defaultService"]
    foreign = {"name": "theirs", "defaultService": service}
    story.url_map()["pathMatchers"].append(dict(foreign))
    story.url_map()["hostRules"].append({"hosts": ["theirs.example.com"], "pathMatcher": "theirs"})
    story.given_serving("2")
    story.given_serving("1", model="large")
    story.when_commanded("retire")
    story.when_settled()
    assert foreign in story.url_map()["pathMatchers"]


def test_a_foreign_resource_with_our_name_is_not_touched() -> None:
    story = Scenario()
    story.given_foreign_health_check("slipway-tiny-blue-lb")
    story.when_released("1")
    story.when_settled()
    assert story.outcome("1") == "rolled_back"
    assert story.reason("1") == "config"
    assert "healthChecks/slipway-tiny-blue-lb" in story.resources()


def test_slipway_never_resizes_an_autoscaled_group() -> None:
    story = Scenario()
    story.given_serving("1")
    story.given_load("slipway-tiny-blue", cpu=0.95)
    story.when_minutes_pass(15)
    grown = len(story.instances())
    assert grown > 3
    story.when_released("2")
    story.when_settled()
    assert len(story.instances()) >= grown
    assert story.calls("regionInstanceGroupManagers.resize") == 0


def test_the_same_drift_is_repaired_each_time() -> None:
    """The second repair has the same body as the first, but is a new request."""
    story = Scenario()
    story.given_serving("1")
    for _ in range(3):
        story.autoscaler()["maxNumReplicas"] = 50
        story.when_minutes_pass(6)
        assert story.autoscaler()["maxNumReplicas"] == 6
    assert len([entry for entry in story.log() if entry["to"] == "repaired"]) == 3
