"""What a rollout borrows of its groups' bounds comes back, whatever happens to the rollout; and
what it does when there are not enough machines.
"""

from __future__ import annotations

from typing import Any

import pytest

from infra.store.port import Put
from infra.store.repository import model_path
from tests.scenario import Scenario, quick

pytestmark = pytest.mark.wide

CANARY: dict[str, Any] = {
    "strategy": "canary",
    "steps": [{"weight": 50, "hold_seconds": 300}, {"weight": 100, "hold_seconds": 0}],
    "watch_seconds": 0,
    "keep_old_seconds": 0,
}
QUICK = CANARY | {
    "steps": [{"weight": 50, "hold_seconds": 0}, {"weight": 100, "hold_seconds": 0}],
    "bake_seconds": 0,
}
OWN = {"blue": ("ON", 3, 6), "green": ("ON", 1, 6)}


def bounds(story: Scenario) -> dict[str, tuple[Any, ...]]:
    """Mode and bounds of each group's autoscaler."""
    found = {}
    for key, body in story.emulator.resources("autoscalers"):
        policy = body["autoscalingPolicy"]
        fields = ("mode", "minNumReplicas", "maxNumReplicas")
        found[key.name.rpartition("-")[2]] = tuple(policy[field] for field in fields)
    return found


def half_way() -> Scenario:
    story = Scenario()
    story.given_serving("1")
    story.when_released("2", scaling={"min": 1}, rollout=CANARY)
    story.when_minutes_pass(5)
    assert bounds(story) == {"blue": ("ONLY_SCALE_OUT", 3, 6), "green": ("ONLY_SCALE_OUT", 2, 6)}
    return story


def break_record(story: Scenario) -> None:
    document = story.store.get(model_path("tiny"))
    assert document
    gone: dict[str, Any] = {"rollout": {}, "candidate": None, "requeue_at": None, "lease": None}
    story.store.commit(Put(model_path("tiny"), document.data | gone))


def test_a_rollout_whose_record_is_gone_gives_back_what_it_borrowed() -> None:
    story = half_way()
    break_record(story)
    story.when_minutes_pass(20)
    assert bounds(story)["blue"] == ("ONLY_SCALE_OUT", 3, 6)
    story.when_minutes_pass(50)
    assert bounds(story) == OWN


def test_what_no_pass_can_renew_is_given_back_and_lent_again_when_one_can() -> None:
    story = half_way()
    lent = bounds(story)
    story.given_policy(max_instances="many", stop={"reason": "incident"})
    story.when_minutes_pass(62)
    assert bounds(story) == lent  # stopped is stopped
    story.given_policy(max_instances="many")
    story.when_minutes_pass(2)
    assert bounds(story) == OWN
    story.given_policy()
    story.when_minutes_pass(2)
    assert bounds(story) == {"blue": ("ONLY_SCALE_OUT", 3, 6), "green": ("ONLY_SCALE_OUT", 2, 6)}
    story.when_settled()
    assert story.outcome("2") == "succeeded"
    assert bounds(story) == {"green": OWN["green"]}
    assert story.state().rollout.capacity_lease is None


# ---- Too few machines


def test_a_release_that_waits_touches_nothing_until_the_quota_has_room() -> None:
    story = Scenario()
    story.given_serving("1")
    story.emulator.quotas["CPUS"] = 6
    before = story.resources()
    story.when_released("2", rollout=QUICK | {"capacity": "wait"})
    story.when_minutes_pass(10)
    assert story.resources() == before
    (condition,) = story.state().conditions
    assert (condition.type, condition.why) == (
        "CapacityScarce",
        "quota CPUS in us-central1 has room for 3 more instances (limit 6, in use 3), and the"
        " rollout needs 4",
    )
    story.emulator.quotas["CPUS"] = 7
    story.when_phase_reached("step_1")
    story.emulator.quotas["CPUS"] = 6  # somebody else was faster
    story.when_minutes_pass(20)  # longer than the progress deadline
    assert (story.log()[-1]["to"], story.state().rollout.paused) == ("step_2", None)
    assert "Quota 'CPUS' exceeded" in story.state().conditions[0].why
    assert story.healthy_by_version()["1"] == 3
    story.emulator.quotas["CPUS"] = 8
    story.when_settled()
    assert story.outcome("2") == "succeeded"


def test_instances_replaced_in_place_need_no_quota_and_never_all_go_at_once() -> None:
    story = Scenario()
    story.given_serving("1", scaling={"min": 6, "max": 6})
    story.emulator.quotas["CPUS"] = 6
    least = 6

    def watch() -> None:
        nonlocal least
        least = min(least, sum(story.healthy_by_version().values()))

    story.given_watcher(watch)
    story.when_released("2", rollout=quick({"surge": 3, "unavailable": 3}))
    story.when_settled()
    assert story.healthy_by_version() == {"2": 6}
    assert least >= 3
    assert story.why("2").endswith("6 of 6 instances of release 2 are healthy")
    begun = next(entry for entry in story.log() if "asks for 10 %" in entry["why"])
    assert begun["why"].endswith(
        "capacity replace_in_place: quota CPUS in us-central1 has room for 0 more instances"
        " (limit 6, in use 6), and the rollout needs 1"
    )
