"""Policy from end to end: refused on arrival, or stopped just before the first change."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from handlers import admission
from infra.store.port import Put
from tests.scenario import IMAGE, Scenario

GPUS = {"type": "g2-standard-12"}
GPU_ZONES = {"zones": [f"us-central1-{letter}" for letter in "abc"]}
SCALING = {"min": 3, "max": 6}  # 9 instances, surge over three zones included


def test_a_release_that_costs_too_much_is_refused_with_the_estimate() -> None:
    story = Scenario()
    story.given_policy(max_cost_per_hour=2)
    story.when_released("1", machine=GPUS)
    assert "policy allows 2 USD an hour, surge included; got 9.06" in story.quarantine()[0]["why"]
    assert story.resources() == set()


def test_the_projects_own_prices_are_used() -> None:
    story = Scenario()
    story.given_policy(max_cost_per_hour=2)
    story.settings.commit(
        Put("settings/prices", {"machine_types": {"g2-standard-12": 0.1}, "currency": "EUR"})
    )
    story.given_serving("1", machine=GPUS, placement=GPU_ZONES)
    story.when_released("2", scaling={"max": 60})
    assert "policy allows 2 EUR an hour" in story.quarantine()[0]["why"]


def test_a_machine_without_a_price_is_refused_under_a_cost_cap() -> None:
    story = Scenario()
    story.given_policy(max_cost_per_hour=1000)
    story.when_released("1", machine={"type": "z9-standard-4"})
    assert (
        "settings/prices has no price for machine type z9-standard-4"
        in story.quarantine()[0]["why"]
    )


def test_a_model_over_the_projects_cap_is_refused_until_another_is_retired() -> None:
    story = Scenario()
    story.given_policy(max_project_instances=20)
    story.given_serving("1", "one", scaling=SCALING)
    story.given_serving("1", "two", scaling=SCALING)
    story.when_released("1", "three", scaling=SCALING)
    assert (
        "policy allows 20 instances in the project; got 27, of which other models may use 18"
        in story.quarantine()[0]["why"]
    )
    story.when_commanded("retire", "one")
    story.when_settled("one")
    story.given_serving("2", "three", scaling=SCALING)


def test_a_release_that_uses_no_more_than_before_is_accepted_over_the_projects_cap() -> None:
    story = Scenario()
    story.given_serving("1", "one", scaling=SCALING)
    story.given_serving("1", "two", scaling=SCALING)
    story.given_policy(max_project_instances=10)
    story.given_serving("2", "one")
    story.when_released("3", "one", scaling={"max": 7})
    assert len(story.quarantine()) == 1


def test_of_two_concurrent_releases_over_the_cap_only_one_is_accepted() -> None:
    story = Scenario()
    story.given_policy(max_project_instances=10)
    one, other = (
        {"model": model, "version": "1", "artifact": {"image": f"{IMAGE}:1"}, "scaling": SCALING}
        for model in ("one", "two")
    )
    is_other_published = False

    def publish_other_first(write: Callable[[], Any]) -> Any:
        """The other release arrives after the first was checked and before it is saved."""
        nonlocal is_other_published
        if not is_other_published:
            is_other_published = True
            story.world, intercepted = story.new_worker(), story.world
            story.when_published(other)
            story.world = intercepted
        return write()

    story.given_crashing_workers(publish_other_first, SystemError)
    story.when_published(one)
    story.when_settled("two")
    assert (story.outcome("1", "two"), story.outcome("1", "one")) == ("succeeded", None)
    assert "got 18, of which other models may use 9" in story.quarantine()[0]["why"]


@pytest.mark.parametrize(
    "tighter",
    [
        {"machine_types": ["e2-standard-2"]},
        {"images": ["gcr.io/elsewhere"]},
        {"max_instances": 5},
        {"max_cost_per_hour": 0.1},
        {"max_project_instances": 5},
        {"max_project_cost_per_hour": 0.1},
    ],
    ids=lambda policy: next(iter(policy)),
)
def test_a_policy_tightened_after_acceptance_stops_the_release_before_any_change(
    tighter: dict[str, Any],
) -> None:
    story = Scenario()

    def then_tighten(handle: Callable[[], None]) -> None:
        handle()
        story.given_policy(**tighter)

    story.run_handler = then_tighten
    story.when_released("1", scaling=SCALING)
    story.when_settled()
    assert (story.outcome("1"), story.reason("1")) == ("rolled_back", "policy")
    assert "policy allows" in story.why("1")
    assert (
        story.calls("instanceTemplates.insert")
        == story.calls("regionInstanceGroupManagers.insert")
        == 0
    )


def test_when_the_cap_allows_one_of_two_releases_the_later_one_is_rolled_back() -> None:
    story = Scenario()

    def tighten_when_both_are_accepted(handle: Callable[[], None]) -> None:
        handle()
        if story.store.get("models/one") and story.store.get("models/two"):
            story.given_policy(max_project_instances=10)

    story.run_handler = tighten_when_both_are_accepted
    for model in ("two", "one"):
        body = {
            "model": model,
            "version": "1",
            "artifact": {"image": f"{IMAGE}:1"},
            "scaling": SCALING,
        }
        story.bus.publish("model-releases", json.dumps(body).encode())
        story.clock.sleep(1)
    story.bus.pump()
    story.when_settled("one")
    story.when_settled("two")
    assert (story.outcome("1", "two"), story.outcome("1", "one")) == ("succeeded", "rolled_back")
    assert "got 18, of which other models may use 9" in story.why("1", "one")
    assert not [name for name in story.resources() if "/slipway-one-" in name]


def test_a_rollback_to_a_release_that_policy_no_longer_allows_is_refused() -> None:
    story = Scenario()
    story.given_serving("1", machine=GPUS, placement=GPU_ZONES)
    story.given_serving("2", machine={"type": "e2-standard-4"})
    story.given_policy(machine_types=["e2-standard-4"])
    story.when_commanded("rollback", version="1")
    assert (
        "machine.type: policy allows e2-standard-4; got g2-standard-12"
        in story.quarantine()[0]["why"]
    )


def test_a_rollback_to_the_previous_release_is_stopped_by_the_pass() -> None:
    story = Scenario()
    story.given_serving("1", machine=GPUS, placement=GPU_ZONES)
    story.given_serving("2", machine={"type": "e2-standard-4"})
    story.given_policy(machine_types=["e2-standard-4"])
    patches = story.calls("regionInstanceGroupManagers.patch")
    story.when_commanded("rollback")
    story.when_settled()
    assert story.healthy_by_version() == {"2": 3}
    assert story.calls("regionInstanceGroupManagers.patch") == patches
    assert "policy allows e2-standard-4" in story.why("1")


def test_a_serving_release_is_never_stopped_by_a_policy_on_machines_or_costs() -> None:
    story = Scenario()
    story.given_serving("1", machine=GPUS, placement=GPU_ZONES)
    story.given_policy(
        machine_types=["e2-standard-4"],
        max_cost_per_hour=0.01,
        max_accelerators=0,
        max_project_instances=0,
    )
    story.when_minutes_pass(20)
    assert story.healthy_by_version() == {"1": 3}


def test_a_grown_fleet_stays_within_a_lowered_cap_surge_included() -> None:
    story = Scenario()
    story.given_serving("1", scaling=SCALING)
    story.given_load("slipway-tiny-blue", cpu=0.95)
    story.when_minutes_pass(15)
    assert len(story.instances()) == 6
    story.given_policy(max_instances=6)
    story.when_minutes_pass(20)
    counts: list[int] = []
    story.given_watcher(lambda: counts.append(len(story.instances())))
    story.when_released("2", scaling={"max": 3})
    story.when_settled()
    assert story.outcome("2") == "succeeded"
    assert max(counts) <= 6


def test_retired_models_do_not_count_toward_the_caps_of_the_project(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(admission, "MAX_MODELS", 1)
    story = Scenario()
    story.given_policy(max_project_instances=40)
    for model in ("a", "b", "c"):
        story.given_serving("1", model=model)
        story.when_commanded("retire", model)
        story.when_settled(model)
    story.given_serving("1")
    assert story.quarantine() == []


def test_no_rollout_begins_or_goes_on_in_a_freeze_but_a_rollback_does() -> None:
    story = Scenario()
    story.given_serving("1")
    story.given_serving("2")
    window = {"reason": "fair", "from": "2026-01-01T00:00", "to": "2026-01-01T03:00"}
    story.given_policy(freezes=[window])
    story.when_released("3")
    story.when_minutes_pass(30)
    assert story.serving_version() == "2"
    assert story.state().waiting_for == "frozen until 2026-01-01 03:00 UTC: fair"
    assert [each.type for each in story.state().conditions] == ["Frozen"]
    story.when_commanded("rollback", version="1")
    story.when_minutes_pass(20)
    assert story.serving_version() == "1"
    story.when_released("4")
    story.when_minutes_pass(180)
    assert story.serving_version() == "4"
    assert story.log()[-1]["at"].hour >= 3


def test_a_freeze_keeps_the_step_that_a_rollout_has_reached() -> None:
    story = Scenario()
    story.given_serving("1")
    story.when_released("2", rollout={"steps": [{"percent": 50, "hold_seconds": 120}, 100]})
    story.when_phase_reached("step_1")
    window = {"reason": "fair", "from": "2026-01-01T00:00", "to": "2026-01-01T02:00"}
    story.given_policy(freezes=[window])
    story.when_minutes_pass(60)
    assert story.log()[-1]["to"] == "step_1"
    story.when_settled()
    assert story.serving_version() == "2"
