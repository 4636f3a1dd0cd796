"""A bad release is rolled back by itself, and the class and sentence of the reason are recorded."""

from __future__ import annotations

from typing import Any

import pytest

from tests.scenario import Scenario


def test_a_release_that_never_becomes_healthy_is_rolled_back_without_an_outage() -> None:
    story = Scenario()
    story.given_serving("1")
    story.given_behaviour("2", never_ready=True)
    healthy: list[int] = []
    story.given_watcher(lambda: healthy.append(story.healthy_by_version().get("1", 0)))
    story.when_released("2")
    story.when_settled()
    assert (story.outcome("2"), story.reason("2")) == ("rolled_back", "unhealthy")
    assert story.healthy_by_version() == {"1": 3}
    assert min(healthy) >= 2


def test_a_release_that_fails_while_it_bakes_is_rolled_back() -> None:
    story = Scenario()
    story.given_serving("1")
    story.given_behaviour("2", unready_after_seconds=150)
    story.when_released("2", rollout={"bake_seconds": 1800})
    story.when_settled()
    assert (story.outcome("2"), story.reason("2")) == ("rolled_back", "unhealthy")
    assert story.healthy_by_version() == {"1": 3}


def test_a_stock_out_during_a_rollout_rolls_back_at_the_deadline() -> None:
    story = Scenario()
    story.given_serving("1")
    story.when_released("2")
    story.when_phase_reached("step_2")
    story.given_stock_out("us-central1")
    story.when_phase_reached("rolling_back")
    assert sum(story.healthy_by_version().values()) == 3
    story.given_no_stock_out()
    story.when_settled()
    assert (story.outcome("2"), story.reason("2")) == ("rolled_back", "stock-out")
    assert story.healthy_by_version() == {"1": 3}


def test_a_stock_out_that_ends_in_time_only_delays_the_release() -> None:
    story = Scenario()
    story.given_serving("1")
    story.when_released("2")
    story.when_phase_reached("step_2")
    story.given_stock_out("us-central1")
    story.when_minutes_pass(5)
    assert any("resources" in condition.why for condition in story.state().conditions)
    story.given_no_stock_out()
    story.when_settled()
    assert story.outcome("2") == "succeeded"


@pytest.mark.parametrize(("kind", "reason"), [("quota", "quota"), ("config", "config")])
def test_a_non_retryable_error_rolls_back_at_once(kind: str, reason: str) -> None:
    story = Scenario()
    story.given_serving("1")
    story.given_behaviour("2", creation_error={"kind": kind})
    start = story.clock.now()
    story.when_released("2")
    story.when_settled()
    assert (story.outcome("2"), story.reason("2")) == ("rolled_back", reason)
    assert (story.clock.now() - start).total_seconds() < 600
    assert story.healthy_by_version() == {"1": 3}


@pytest.mark.parametrize(
    ("sections", "why"),
    [
        (
            {"traffic": {"certificate": "gone"}},
            "The resource 'projects/demo/global/sslCertificates/gone' was not found",
        ),
        ({"placement": {"region": "us-mars1"}}, "us-mars1"),
        ({"machine": {"network": "global/networks/gone"}}, "projects/demo/global/networks/gone"),
        (
            {"machine": {"service_account": "denied@demo.iam.gserviceaccount.com"}},
            "denied@demo.iam.gserviceaccount.com",
        ),
    ],
    ids=str,
)
def test_what_does_not_exist_is_a_configuration_error_at_once(
    sections: dict[str, Any], why: str
) -> None:
    story = Scenario()
    story.emulator.service_accounts["denied@*"] = "denied"
    start = story.clock.now()
    story.when_released("1", **sections)
    story.when_settled()
    assert (story.outcome("1"), story.reason("1")) == ("rolled_back", "config")
    assert why in story.why("1")
    assert (story.clock.now() - start).total_seconds() < 300


def test_a_digest_that_was_rolled_back_is_refused_unless_forced() -> None:
    story = Scenario()
    story.given_serving("1")
    story.given_behaviour("2", never_ready=True)
    story.when_released("2")
    story.when_settled()
    story.when_released("2b", artifact={"image": story.image("2")})
    assert "was rolled back before" in story.quarantine()[0]["why"]
    story.given_default_behaviour()
    story.when_released("2c", artifact={"image": story.image("2")}, force=True)
    story.when_settled()
    assert story.outcome("2c") == "succeeded"


def test_a_rollback_lets_the_autoscaler_scale_in_again() -> None:
    story = Scenario()
    story.given_serving("1")
    story.given_behaviour("2", never_ready=True)
    story.when_released("2")
    story.when_settled()
    assert story.autoscaler()["mode"] == "ON"
