"""The ten rules that Slipway never breaks, each with an attempt to break it. docs/guarantees.md
numbers them.
"""

from __future__ import annotations

import json
import logging

import pytest

from infra.store import outbox
from infra.store.port import Put
from tests.scenario import IMAGE, Scenario


def test_rule_1_every_accepted_release_ends_with_an_outcome_and_a_reason() -> None:
    story = Scenario()
    story.given_serving("1")
    story.given_behaviour("3", never_ready=True)
    for version in ("2", "3", "4", "5"):
        story.when_released(version)
        story.when_seconds_pass(70)
    story.when_settled()
    story.when_commanded("retire")
    story.when_settled()
    ends = {
        version: (story.outcome(version), bool(story.why(version)))
        for version in ("1", "2", "3", "4", "5")
    }
    assert all(outcome and why for outcome, why in ends.values()), ends


def test_rule_2_never_below_the_floor_and_never_above_the_cap() -> None:
    story = Scenario()
    story.given_policy(max_instances=9)
    story.given_serving("1", scaling={"min": 3, "max": 6})
    story.given_behaviour("3", never_ready=True)
    counts: list[tuple[int, int]] = []
    story.given_watcher(
        lambda: counts.append((sum(story.healthy_by_version().values()), len(story.instances())))
    )
    for version in ("2", "3"):
        story.when_released(version)
        story.when_settled()
    story.when_commanded("rollback", version="1")
    story.when_settled()
    assert min(healthy for healthy, _ in counts) >= 3
    assert max(total for _, total in counts) <= 9


def test_rule_3_at_most_two_versions_live_and_an_aborted_one_is_gone_when_recorded() -> None:
    story = Scenario()
    story.given_serving("1")
    live: list[set[str]] = []
    after_abort: list[bool] = []

    def watch() -> None:
        versions = {instance.version for instance in story.instances()}
        live.append(versions)
        if story.outcome("2") == "aborted":
            after_abort.append("2" in versions)

    story.given_watcher(watch)
    story.when_released("2")
    story.when_phase_reached("step_2")
    story.when_commanded("abort")
    story.when_released("3")
    story.when_settled()
    assert max(map(len, live)) == 2
    assert not any(after_abort)


def test_rule_4_the_way_back_exists_until_the_candidate_has_baked() -> None:
    story = Scenario()
    story.given_serving("1")
    stable = story.templates()
    kept: list[bool] = []
    story.given_watcher(lambda: kept.append(stable <= story.templates()))
    story.when_released("2")
    story.when_settled()
    assert all(kept)


def test_rule_5_a_duplicate_an_old_or_a_replayed_event_changes_nothing() -> None:
    story = Scenario()
    story.given_serving("1")
    first, second = (
        {"model": "tiny", "version": v, "artifact": {"image": f"{IMAGE}:{v}"}} for v in ("2", "3")
    )
    for body in (first, second):
        story.when_published(body, **_event(body["version"]))
        story.when_settled()
    before, resources = story.full_state(), story.resources()
    for body in (second, first, second):
        story.when_published(body, **_event(body["version"]))
        story.when_minutes_pass(2)
    assert story.full_state() == before
    for body in (second, first):
        story.when_published(body)
        story.when_minutes_pass(2)
    assert [entry["to"] for entry in story.log()[-2:]] == ["unchanged", "unchanged"]
    assert story.resources() == resources
    assert story.serving_version() == "3"


def _event(event_id: object) -> dict[str, str]:
    return {
        "ce-id": str(event_id),
        "ce-source": "//ci",
        "ce-type": "io.slipway.model.release.v1",
        "ce-specversion": "1.0",
    }


def test_rule_6_once_faults_end_the_desired_state_is_reached_and_kept() -> None:
    story = Scenario()
    story.given_serving("1")
    story.given_fault("error", method="compute.*", status=503, chance=0.3)
    story.when_released("2")
    story.when_minutes_pass(10)
    story.given_no_faults()
    story.when_settled()
    assert story.healthy_by_version() == {story.serving_version(): 3}
    before = story.full_state()
    story.when_minutes_pass(50)
    assert story.full_state() == before


def test_rule_7_the_autoscaler_owns_the_size() -> None:
    story = Scenario()
    story.given_serving("1")
    story.given_load("slipway-tiny-blue", cpu=0.95)
    story.when_minutes_pass(10)
    story.group()["updatePolicy"]["maxSurge"] = {"fixed": 9}
    story.when_minutes_pass(6)
    assert story.group()["updatePolicy"]["maxSurge"]["fixed"] == 3
    assert story.group()["targetSize"] == 6


def test_rule_8_only_resources_with_our_name_and_description_are_changed() -> None:
    story = Scenario()
    story.given_foreign_health_check("slipway-tiny-blue-live")
    story.when_released("1")
    story.when_settled()
    assert story.why("1").startswith(
        "global/healthChecks/slipway-tiny-blue-live exists and is not owned by Slipway"
    )
    assert {name for name in story.resources() if "/slipway-tiny-" in name} == {
        "healthChecks/slipway-tiny-blue-live"
    }


@pytest.mark.parametrize("kind", ["drop_before", "drop_after"])
def test_rule_9_an_unknown_outcome_is_retried_and_nothing_is_created_twice(kind: str) -> None:
    story = Scenario()
    story.given_fault(kind, method="compute.*.insert", times=4)
    story.when_released("1")
    story.when_settled()
    assert story.outcome("1") == "succeeded"
    assert story.healthy_by_version() == {"1": 3}


def test_rule_9_no_health_data_is_never_healthy() -> None:
    story = Scenario()
    story.given_serving("1")
    story.given_fault("error", method="compute.backendServices.getHealth", status=503)
    story.when_released("2")
    story.when_minutes_pass(30)
    assert story.healthy_by_version()["1"] >= 2
    assert story.outcome("2") is None


@pytest.mark.parametrize("status", [503, 403])
def test_rule_9_a_failed_observation_is_recorded_and_its_time_does_not_count(status: int) -> None:
    story = Scenario()
    story.given_serving("1")
    story.when_released("2")
    story.when_phase_reached("baking")
    story.given_fault("error", method="compute.*", status=status)
    story.when_minutes_pass(30)
    assert [condition.type for condition in story.state().conditions] == ["ObservationFailed"]
    assert sum("cannot observe the rollout" in entry["why"] for entry in story.log()) == 1
    story.given_no_faults()
    observed_again = story.clock.now()
    story.when_settled()
    assert (story.outcome("2"), story.state().conditions) == ("succeeded", ())
    (done,) = [
        entry["at"]
        for entry in story.log()
        if entry["to"] == "succeeded" and entry["release"] == "2"
    ]
    assert (done - observed_again).total_seconds() > 200


def test_rule_10_no_secret_leaves_through_logs_documents_dead_letters_or_errors(
    log_records: list[logging.LogRecord],
) -> None:
    secret = "hunter2-do-not-tell"
    story = Scenario()
    artifact = {
        "image": f"{IMAGE}:1",
        "env": {"TOKEN": secret, "bad name": secret},
        "args": [secret],
        "colour": secret,
    }
    story.when_published({"model": "tiny", "version": "1", "artifact": artifact})
    story.when_released("2", artifact={"image": f"{IMAGE}:2", "env": {"TOKEN": secret}})
    story.when_settled()
    lines = [
        json.dumps(getattr(record, "fields", {}), default=str) + record.getMessage()
        for record in log_records
    ]
    documents = [str(document) for document in story.quarantine()] + [
        str(entry) for entry in story.log()
    ]
    letters = [
        data.decode()
        for topic in (outbox.DEAD_LETTERS, outbox.STATUS)
        for data in story.published_on(topic)
    ]
    assert len(lines) > 10
    assert len(letters) > 3
    assert not [text for text in (*lines, *documents, *letters) if secret in text]


def test_rule_10_caps_hold_when_a_release_arrives() -> None:
    story = Scenario()
    story.given_policy(max_instances=5, regions=["europe-west4"])
    story.when_released("1")
    assert "policy allows 5 instances, surge included; got 9" in story.quarantine()[0]["why"]
    assert "policy allows europe-west4; got us-central1" in story.quarantine()[0]["why"]
    assert story.resources() == set()


def test_rule_10_caps_hold_again_when_the_policy_changes_during_a_rollout() -> None:
    story = Scenario()
    story.given_serving("1")
    story.when_released("2")
    story.when_phase_reached("step_2")
    story.given_policy(images=["elsewhere.example.com/"])
    story.when_settled()
    assert (story.outcome("2"), story.reason("2")) == ("rolled_back", "policy")


def test_a_misspelt_cap_is_an_error_and_is_not_ignored() -> None:
    story = Scenario()
    story.settings.commit(Put("settings/policy", {"max_instance": 5}))
    story.when_released("1")
    story.when_minutes_pass(2)
    assert story.resources() == set()
