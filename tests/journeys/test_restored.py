"""The store is restored from a backup, and Compute Engine is newer: nothing is changed until a
person resumes.
"""

from __future__ import annotations

from typing import Any

import pytest

from infra.store.port import Delete, Put
from tests.journeys.second_group import CANARY, Watch, weights
from tests.scenario import Scenario

KINDS = (
    "models",
    *(f"models/{model}/{kind}" for model in ("tiny", "other") for kind in ("releases", "log")),
)


def back_up(story: Scenario) -> dict[str, Any]:
    return {
        document.path: document.data for kind in KINDS for document in story.store.list(kind, 500)
    }


def restore(story: Scenario, backup: dict[str, Any]) -> None:
    for path in back_up(story).keys() - backup.keys():
        story.store.commit(Delete(path))
    for path, data in backup.items():
        story.store.commit(Put(path, data))


def conditions(story: Scenario, model: str = "tiny") -> list[str]:
    return [condition.type for condition in story.state(model).conditions]


def world_of(story: Scenario) -> tuple[set[str], dict[str, Any]]:
    """All resources, instances among them, by name, and the bounds."""
    return story.resources(), story.autoscaler()


def given_restored(story: Scenario, **sections: Any) -> None:
    """Releases 2 and 3 were rolled out after the backup."""
    story.given_serving("1")
    backup = back_up(story)
    story.given_serving("2")
    story.given_serving("3", **sections)
    restore(story, backup)


def test_a_restored_store_changes_nothing_until_a_person_resumes() -> None:
    story = Scenario()
    given_restored(story, scaling={"max": 50})
    before = world_of(story)
    story.when_woken()
    story.when_minutes_pass(3 * 60)
    assert world_of(story) == before
    assert conditions(story) == ["Restored"]
    why = story.state().conditions[0].why
    assert "goes on with release 1" in why
    # Published again, it is known, and resuming replaces no instance.
    names = {instance.name for instance in story.instances()}
    story.when_released("3", scaling={"max": 50})
    story.when_minutes_pass(5)
    assert world_of(story) == before
    story.when_commanded("resume", requested_by="ada")
    story.when_settled()
    assert (story.serving_version(), story.outcome("3")) == ("3", "succeeded")
    assert {instance.name for instance in story.instances()} == names
    assert story.state().rollout.stable is not None
    assert conditions(story) == []
    story.given_serving("4")
    assert story.healthy_by_version() == {"4": 3}


def test_resuming_without_the_release_that_runs_goes_on_with_the_state() -> None:
    story = Scenario()
    given_restored(story)
    before = world_of(story)
    story.when_woken()
    story.when_commanded("resume", version="3")
    story.when_minutes_pass(5)
    assert conditions(story) == ["Restored"]
    assert "release 3 is not known" in story.state().conditions[0].why
    assert world_of(story) == before
    story.when_commanded("resume")
    story.when_minutes_pass(10)
    assert (story.serving_version(), story.healthy_by_version()) == ("1", {"1": 3})


def test_a_backup_of_a_rollout_goes_on_with_the_candidate_that_has_succeeded() -> None:
    story = Scenario()
    story.given_serving("1")
    story.when_released("2")
    story.when_phase_reached("step_1")
    backup = back_up(story)
    story.when_settled()
    restore(story, backup)
    before = world_of(story)
    story.when_minutes_pass(10)
    assert world_of(story) == before
    assert conditions(story) == ["Restored"]
    story.when_commanded("resume")
    story.when_settled()
    assert (story.outcome("2"), story.healthy_by_version()) == ("succeeded", {"2": 3})


def test_a_backup_without_a_rollback_does_not_bring_the_bad_release_back() -> None:
    story = Scenario()
    story.given_serving("1")
    story.given_serving("2")
    backup = back_up(story)
    story.when_commanded("rollback")
    story.when_settled()
    restore(story, backup)
    story.when_woken()
    story.when_minutes_pass(10)
    assert story.healthy_by_version() == {"1": 3}
    assert conditions(story) == ["Restored"]
    story.when_commanded("resume")
    story.when_settled()
    assert (story.serving_version(), story.healthy_by_version()) == ("1", {"1": 3})


def test_a_model_that_was_retired_after_the_backup_is_not_created_while_another_is_on_hold() -> (
    None
):
    story = Scenario()
    story.given_serving("1")
    story.given_serving("1", "other")
    backup = back_up(story)
    story.given_serving("2")
    story.when_commanded("retire", "other")
    story.when_settled("other")
    restore(story, backup)
    before = world_of(story)
    story.when_minutes_pass(60)
    assert world_of(story) == before
    assert conditions(story) == ["Restored"]
    story.when_commanded("retire", "other")
    story.when_commanded("resume")
    story.when_settled()
    story.when_settled("other")
    story.when_minutes_pass(10)
    assert story.healthy_by_version() == {"1": 3}
    assert not [name for name in story.resources() if "slipway-other" in name]


def test_a_model_that_the_backup_does_not_have_is_left_alone_and_adopted() -> None:
    story = Scenario()
    story.given_serving("1")
    restore(story, {})
    before = world_of(story)
    story.when_minutes_pass(30)
    assert world_of(story) == before
    story.when_released("1", scaling={"min": 3, "max": 6}, traffic={"draining_seconds": 0})
    story.when_minutes_pass(5)
    assert world_of(story) == before
    assert conditions(story) == ["Restored"]
    story.when_commanded("resume")
    story.when_settled()
    assert story.outcome("1") == "succeeded"
    assert story.healthy_by_version() == {"1": 3}


@pytest.mark.parametrize("moment", ["before the canary", "during it"])
def test_a_backup_from_before_a_canary_leaves_what_runs_and_is_routed(moment: str) -> None:
    """The canary has moved to the other group since, and the old group is gone."""
    story = Scenario()
    story.given_serving("1")
    backup = back_up(story)
    story.when_released("2", rollout=CANARY)
    if moment == "during it":
        story.when_phase_reached("step_2")
        backup = back_up(story)
    story.when_settled()
    assert weights(story) == {"green": 1000}
    restore(story, backup)
    story.when_minutes_pass(5)
    assert conditions(story) == ["Restored"]
    if moment == "before the canary":
        story.when_released("2", rollout=CANARY)
    watch = Watch(story)
    names = {instance.name for instance in story.instances()}
    story.when_commanded("resume")
    story.when_settled()
    assert (story.serving_version(), story.outcome("2")) == ("2", "succeeded")
    assert {instance.name for instance in story.instances()} == names
    assert [second.weights for second in watch.course] == [{"green": 1000}]
    assert conditions(story) == []


def test_a_backup_from_the_first_weights_goes_on_with_those_of_the_url_map() -> None:
    story = Scenario()
    story.given_serving("1")
    story.when_released("2", rollout=CANARY)
    story.when_phase_reached("step_1")
    backup = back_up(story)
    story.when_phase_reached("step_2")
    story.when_seconds_pass(90)
    restore(story, backup)
    story.when_minutes_pass(5)
    assert conditions(story) == ["Restored"]
    watch = Watch(story)
    story.when_commanded("resume")
    story.when_settled()
    assert (story.serving_version(), story.outcome("2")) == ("2", "succeeded")
    assert [second.weights["green"] for second in watch.course] == [500, 1000, 1000]
