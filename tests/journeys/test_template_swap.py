"""A good release takes over step by step; the capacity held for it is released afterwards."""

from __future__ import annotations

from tests.scenario import IMAGE, Scenario


def test_a_good_release_rolls_through_its_steps_and_bakes() -> None:
    story = Scenario()
    story.given_serving("1")
    story.when_released("2")
    story.when_settled()
    assert story.outcome("2") == "succeeded"
    assert [entry["to"] for entry in story.log() if entry["release"] == "2"] == [
        "desired",
        "step_1",
        "step_2",
        "step_3",
        "baking",
        "succeeded",
    ]
    assert story.healthy_by_version() == {"2": 3}


def test_a_swap_stays_between_the_floor_and_the_surge() -> None:
    story = Scenario()
    story.given_serving("1")
    counts: list[tuple[int, int]] = []
    story.given_watcher(
        lambda: counts.append((sum(story.healthy_by_version().values()), len(story.instances())))
    )
    story.when_released("2")
    story.when_settled()
    assert min(healthy for healthy, _ in counts) >= 3
    assert max(total for _, total in counts) <= 3 + 3


def test_a_swap_waits_for_instances_that_start() -> None:
    """Compute Engine would replace those first, without surge; and this release is bad."""
    story = Scenario()
    story.given_serving("1")
    story.given_behaviour("2", never_ready=True)
    story.emulator.affect_instances("stop", most=2)
    story.when_seconds_pass(50)
    assert [each["action"] for each in story.emulator.instances()].count("VERIFYING") == 2
    story.when_released("2", rollout={"steps": [100]})
    assert "2 instances of release 1 start, and a swap would lose them" in story.state().waiting_for
    story.when_seconds_pass(60)
    assert (story.healthy_by_version(), len(story.instances())) == ({"1": 3}, 6)


def test_scale_in_is_off_during_a_rollout_and_on_again_afterwards() -> None:
    story = Scenario()
    story.given_serving("1")
    story.when_released("2")
    story.when_phase_reached("step_2")
    assert story.autoscaler()["mode"] == "ONLY_SCALE_OUT"
    story.when_settled()
    assert story.autoscaler()["mode"] == "ON"


def test_the_template_of_the_previous_release_is_kept() -> None:
    story = Scenario()
    story.given_serving("1")
    story.when_released("2")
    story.when_phase_reached("baking")
    assert len(story.templates()) == 2
    story.when_settled()
    story.when_released("3")
    story.when_settled()
    assert len(story.templates()) == 2


def test_a_release_that_only_changes_scaling_replaces_no_instance() -> None:
    story = Scenario()
    story.given_serving("1")
    before = {instance.name for instance in story.instances()}
    story.when_released("2", artifact={"image": f"{IMAGE}:1"}, scaling={"min": 3, "max": 9})
    story.when_settled()
    assert story.outcome("2") == "succeeded"
    assert {instance.name for instance in story.instances()} == before
    assert story.autoscaler()["maxNumReplicas"] == 9


def test_a_later_release_inherits_omitted_fields_and_null_restores_the_default() -> None:
    story = Scenario()
    story.given_serving("1", serving={"startup_seconds": 200})
    story.given_serving("2")
    assert story.spec().serving.startup_seconds == 200
    story.given_serving("3", serving={"startup_seconds": None})
    assert story.spec().serving.startup_seconds == 120


def test_a_newer_release_supersedes_the_candidate() -> None:
    story = Scenario()
    story.given_serving("1")
    story.when_released("2")
    story.when_phase_reached("step_2")
    versions: list[set[str]] = []
    story.given_watcher(
        lambda: versions.append({instance.version for instance in story.instances()})
    )
    story.when_released("3")
    story.when_settled()
    assert (story.outcome("2"), story.outcome("3")) == ("superseded", "succeeded")
    assert story.healthy_by_version() == {"3": 3}
    assert max(len(live) for live in versions) == 2


def test_a_model_that_may_scale_to_zero_keeps_instances_during_a_rollout() -> None:
    """Without an instance nothing is unhealthy, which proves nothing about the release."""
    queue = {"name": "custom.googleapis.com/queue", "per_instance": 5}
    story = Scenario()
    story.given_behaviour("2", never_ready=True)
    story.given_serving("1", scaling={"min": 0, "max": 3, "metrics": [queue]})
    story.when_released("2", rollout={"steps": [100]})
    story.when_settled()
    assert story.outcome("2") == "rolled_back"
    assert story.reason("2") == "unhealthy"


def test_a_swap_to_a_lower_floor_keeps_the_higher_one_until_it_ends() -> None:
    story = Scenario()
    story.given_serving("1", scaling={"min": 4, "max": 6})
    story.when_released("2", scaling={"min": 2})
    story.when_phase_reached("step_2")
    assert story.autoscaler()["minNumReplicas"] == 4
    story.when_settled()
    assert story.autoscaler()["minNumReplicas"] == 2


def test_a_balanced_group_is_replaced_in_one_step() -> None:
    story = Scenario()
    story.given_serving("1", placement={"target_shape": "balanced"})
    story.when_released("2")
    story.when_settled()
    assert story.healthy_by_version() == {"2": 3}
    assert [entry["to"] for entry in story.log() if entry["release"] == "2"] == [
        "desired",
        "step_1",
        "baking",
        "succeeded",
    ]
